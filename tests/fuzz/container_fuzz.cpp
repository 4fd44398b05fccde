// Fuzz contract of the container: any bytes give success or an Error. Each input is tried as it is and with the
// checksums of slot A and of the index made to fit, so that mutations reach the index.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "format/container/container.h"
#include "format/container/header.h"
#include "format/tensor/fingerprint.h"

namespace {

/// The bytes as a file that lives in memory.
class MemoryFile {
 public:
  explicit MemoryFile(ingot::Bytes bytes) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      __builtin_trap();
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

void read_all(ingot::Bytes bytes) {
  const MemoryFile file(bytes);
  try {
    const ingot::tensor::Model model = ingot::container::open(file.path());
    for (const ingot::tensor::Tensor& tensor : model.tensors) (void)ingot::tensor::fingerprint(tensor);
  } catch (const ingot::Error&) {
  }
  (void)ingot::container::verify(file.path(), true, {});
}

void seal(std::vector<std::byte>& bytes) {
  using ingot::container::kSlotOffsets;
  std::byte* const slot = bytes.data() + kSlotOffsets[0];
  const auto index_offset = ingot::load_le<std::uint64_t>(slot + 32),
             index_size = ingot::load_le<std::uint64_t>(slot + 40);
  if (index_offset <= bytes.size() && index_size <= bytes.size() - index_offset) {
    const ingot::Hash128 hash = ingot::hash128(ingot::Bytes(bytes.data() + index_offset, index_size));
    std::copy(hash.bytes.begin(), hash.bytes.end(), slot + 48);
  }
  ingot::store_le(slot + 120, ingot::hash64(ingot::Bytes(slot, 120)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ingot::Bytes bytes = std::as_bytes(std::span(data, size));
  read_all(bytes);
  if (size < ingot::container::kHeaderBytes) return 0;
  std::vector<std::byte> sealed(bytes.begin(), bytes.end());
  seal(sealed);
  read_all(sealed);
  return 0;
}

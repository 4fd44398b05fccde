#include "format/base/scratch_block.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <limits>
#include <utility>

namespace ingot {

std::optional<ScratchBlock> ScratchBlock::create(const std::filesystem::path& directory, std::uint64_t bytes) {
  if (bytes == 0 || bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return std::nullopt;
  const int descriptor = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor < 0) return std::nullopt;
  void* address = MAP_FAILED;
  if (::fallocate(descriptor, 0, 0, static_cast<off_t>(bytes)) == 0)
    address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  ::close(descriptor);  // the mapping keeps the file
  if (address == MAP_FAILED) return std::nullopt;
  return ScratchBlock({static_cast<std::byte*>(address), bytes});
}

bool ScratchBlock::is_on_disk_in(const std::filesystem::path& directory) noexcept {
  const int descriptor = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor < 0) return false;
  struct statfs status {};
  const bool is_known = ::fstatfs(descriptor, &status) == 0;
  ::close(descriptor);
  return is_known && status.f_type != TMPFS_MAGIC && status.f_type != RAMFS_MAGIC;
}

ScratchBlock::ScratchBlock(ScratchBlock&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

ScratchBlock& ScratchBlock::operator=(ScratchBlock&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

ScratchBlock::~ScratchBlock() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace ingot

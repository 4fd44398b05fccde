// Fuzz target: any bytes as a file of torch.save, and as the pickle in one, give a state dict inside the file or an
// Error.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "converters/files/torch_file.h"
#include "converters/files/torch_state.h"

namespace {

template <class Read>
void attempt(const Read& read) {
  try {
    read();
  } catch (const ingot::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A block of exactly this size, so that a sanitizer sees the first byte too far.
  const auto exact = std::make_unique<std::byte[]>(size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, exact.get());
  const ingot::Bytes bytes(exact.get(), size);
  attempt([&] {
    for (const ingot::convert::WeightEntry& entry : ingot::convert::read_torch_file(bytes, "fuzz").entries)
      if (entry.begin > entry.end || entry.end > size) std::abort();
  });
  attempt([&] {
    ingot::ByteReader reader(bytes, "fuzz");
    ingot::convert::TorchObjects objects;
    const ingot::convert::Pickle pickle(reader, objects);
    (void)ingot::convert::find_state_dict(pickle, objects, "fuzz");
  });
  return 0;
}

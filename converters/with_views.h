// Planes of any source brought into memory, for packers that pick bytes in another order than units.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "format/base/scratch_block.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Planes of more bytes than this do not lie in memory of the process where a directory for them is known.
inline constexpr std::uint64_t kLargePlanesBytes = std::uint64_t{192} << 20;

/// Memory that tensors after each other use, so that the system need not clear pages for every one of them.
struct PlaneBuffers {
  std::filesystem::path scratch;  // directory for large planes; empty: they lie in memory too
  std::uint64_t left_free = 0;    // bytes of its disk that are for the output
  std::uint64_t large_bytes = kLargePlanesBytes;
  std::vector<std::byte> memory;
  std::optional<ScratchBlock> large;  // of the last tensor that was too large for memory
};

/// Would planes of `bytes` lie on the disk of `directory`, which is to keep `left_free` for the output? Not where its
/// file system has no files without a name or is memory itself.
[[nodiscard]] bool planes_go_to_disk(const std::filesystem::path& directory, std::uint64_t left_free,
                                     std::uint64_t bytes);

/// The tensor with all planes mapped or in memory, so that every byte can be picked; `tensor` itself when that is so
/// already. Reads in parallel; allocates the size of the tensor's planes. Throws what the source throws.
[[nodiscard]] tensor::Tensor with_views(const tensor::Tensor& tensor);
/// The same with planes in `buffers`, until the next call with them. Those of a large tensor lie in a file without a
/// name where the directory has room for it.
[[nodiscard]] tensor::Tensor with_views(const tensor::Tensor& tensor, PlaneBuffers& buffers);

}  // namespace ingot::convert

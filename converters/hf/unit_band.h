// Some tiles of a matrix as a tensor of their own, for writers that bring planes into memory: not all of a large one at
// once.
#pragma once

#include <cstdint>

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Has the tensor rows that can be taken apart: one matrix in tiles, with its rows where the
/// logical ones are, and no parameters that a few rows share?
[[nodiscard]] bool has_bands(const tensor::Tensor& tensor);
/// The rows of units [begin, end) of a tensor that has bands. Planes that are not sliced are those of the whole. Keeps
/// the tensor's planes alive.
[[nodiscard]] tensor::Tensor band_of(const tensor::Tensor& tensor, std::uint64_t begin, std::uint64_t end);

}  // namespace ingot::convert

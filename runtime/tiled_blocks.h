// Tensors of bitsandbytes as kernels want them: codes in tiles, one binary32 scale for each block.
#pragma once

#include "format/tensor/tensor.h"

namespace ingot::runtime {

/// The same values in tiles with plain scales, for matrices of 4-bit table codes whose blocks are a flat run, or whose
/// scales are coded themselves and rounded (double quantization). Codes that lie in tiles already stay where they are.
/// Anything else comes back as it is. Throws what the planes throw.
[[nodiscard]] tensor::Tensor with_tiled_blocks(tensor::Tensor tensor);

}  // namespace ingot::runtime

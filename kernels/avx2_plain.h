// The AVX2 products of one input with tiles whose parameters are plain.
#pragma once

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

/// Where codes have 4 unsigned or 8 signed bits, scales are binary16 or bfloat16, and what is beside them is one zero
/// point of all, biases of the same type or, with 4 bits, zero points of 8 bits: out[16*t + r], and true. False: these
/// tiles are others.
bool avx2_multiply_plain(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                         float* out) noexcept;

}  // namespace ingot::kernels

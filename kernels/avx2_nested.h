// The AVX2 products of tiles whose scales have two levels.
#pragma once

#include <cstdint>

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

/// Where the scales of the tiles, and minimums if there are any, are bytes times binary16 steps: out[16*t + r] for one
/// input, and true. False: these tiles are others.
bool avx2_multiply_nested(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                          float* out) noexcept;

}  // namespace ingot::kernels

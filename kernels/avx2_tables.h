// The AVX2 products of tiles whose codes index a table.
#pragma once

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

/// out[16*t + r] for one input and tiles that all have the same table.
void avx2_multiply_tables(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                          float* out) noexcept;

}  // namespace ingot::kernels

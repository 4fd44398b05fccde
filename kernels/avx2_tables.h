// What the AVX2 files of integer products share: the sums that avx2_tables.cpp makes of table entries.
#pragma once

#include <cstdint>

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

// out[i][s][r]: the sum of segment first + s and output r of tile i, times the codes of one input.
using Avx2Sums = void(const IntegerTile* tiles, std::uint64_t step, std::uint64_t first, std::uint64_t count,
                      const std::int8_t* codes, std::int32_t (*out)[16][16]) noexcept;

// For segments of `step` inputs: of one tile, of two tiles.
struct Avx2TableSums {
  Avx2Sums *one, *tiles;
};
Avx2TableSums avx2_table_sums(bool is_wide, std::uint64_t step) noexcept;

}  // namespace ingot::kernels

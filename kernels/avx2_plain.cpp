// AVX2: products of one input with tiles whose parameters are read where they lie (Q4_0, Q8_0, Q4_1, MLX, and all that
// is stored alike). Sums and parameters meet in registers: with one input there are enough, and the reading of memory
// goes on meanwhile.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include "kernels/avx2_plain.h"

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_sums.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

namespace {

constexpr int kTilesAtOnce = 2;

// What is the same for all tiles of a product.
struct Plan {
  u64 step, per_group;  // inputs of a segment, segments of a group; 0: all
  float zero;
  const IntegerInput& input;
};

const std::uint16_t* halves_of(const TileParameters& parameters) noexcept {
  return static_cast<const std::uint16_t*>(parameters.elements);
}
__m256 eight_halves(const std::uint16_t* at) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

// The integer sums of one segment.
template <u32 kBits, int kTiles>
inline __attribute__((always_inline)) void add_up(const IntegerTile* tiles, const Plan& plan, u64 segment,
                                                  Sums<kTiles, 1>& sums) noexcept {
  u64 run = segment * plan.step / kIntegerRun;
  const std::int8_t* at[1] = {plan.input.codes + segment * plan.step};
  Run runs[kTiles];
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) runs[t] = run_at<kBits>(tiles[t], run);
  add_fields<kBits, false, true, 0, 8>(runs, at, sums);
  for (u64 rest = plan.step - kIntegerRun; rest != 0; rest -= kIntegerRun) {
    at[0] += kIntegerRun;
    ++run;
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) runs[t] = run_at<kBits>(tiles[t], run);
    add_fields<kBits, false, false, 0, 8>(runs, at, sums);
  }
}

template <u32 kBits, bool kBiases, int kTiles>
void multiply_tiles(const IntegerTile* tiles, const Plan& plan, float* out) noexcept {
  __m256 totals[kTiles][2];
  for (int t = 0; t < kTiles; ++t) totals[t][0] = totals[t][1] = _mm256_setzero_ps();
  const __m256 zero = _mm256_set1_ps(plan.zero);
  u64 place = 0, left = plan.per_group;  // of the group's parameters; segments until the next group
  for (u64 segment = 0, end = tiles[0].cols / plan.step; segment < end; ++segment) {
    Sums<kTiles, 1> sums;
    add_up<kBits, kTiles>(tiles, plan, segment, sums);
    const __m256 scale = _mm256_broadcast_ss(plan.input.scales + segment);
    const __m256 sum = _mm256_broadcast_ss(plan.input.sums + segment), moved = _mm256_mul_ps(zero, sum);
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
      for (u64 h = 0; h < 2; ++h) {
        const u64 at = place + h * kHalf;
        const __m256 value = _mm256_fmsub_ps(_mm256_cvtepi32_ps(sums.of[t][h]), scale, moved);
        if constexpr (kBiases)
          totals[t][h] = _mm256_fmadd_ps(eight_halves(halves_of(tiles[t].offsets) + at), sum, totals[t][h]);
        totals[t][h] = _mm256_fmadd_ps(eight_halves(halves_of(tiles[t].scales) + at), value, totals[t][h]);
      }
    }
    if (--left == 0) {
      left = plan.per_group;
      place += kRows;
    }
  }
  for (int t = 0; t < kTiles; ++t) {
    for (u64 h = 0; h < 2; ++h) _mm256_storeu_ps(out + static_cast<u64>(t) * kRows + h * kHalf, totals[t][h]);
  }
}

template <u32 kBits, bool kBiases>
void multiply_all(const IntegerTile* tiles, int tile_count, const Plan& plan, float* out) noexcept {
  int t = 0;
  for (; t + kTilesAtOnce <= tile_count; t += kTilesAtOnce)
    multiply_tiles<kBits, kBiases, kTilesAtOnce>(tiles + t, plan, out + static_cast<u64>(t) * kRows);
  if (t < tile_count) multiply_tiles<kBits, kBiases, 1>(tiles + t, plan, out + static_cast<u64>(t) * kRows);
}

bool are_halves(const TileParameters& parameters) noexcept {
  return parameters.type == ParameterType::f16 && parameters.steps == nullptr && !parameters.negated &&
         parameters.factor == 1;
}

}  // namespace

bool avx2_multiply_plain(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                         float* out) noexcept {
  const IntegerTile& tile = tiles[0];
  const bool known =
      tile.table == nullptr && ((tile.bits == 4 && !tile.is_signed) || (tile.bits == 8 && tile.is_signed));
  const bool biases = tile.offset == OffsetKind::bias;
  if (!known || layout.segment < kIntegerRun || !are_halves(tile.scales)) return false;
  if (biases ? !are_halves(tile.offsets)
             : tile.offset == OffsetKind::zero_point && tile.offsets.type != ParameterType::constant)
    return false;
  const u64 per_group = tile.group_cols >= tile.cols ? 0 : tile.group_cols / layout.segment;
  const float zero = tile.offset == OffsetKind::zero_point ? tile.offsets.constant : 0;
  using Multiply = decltype(multiply_all<4, false>);
  static constexpr Multiply* kProducts[2][2] = {{multiply_all<4, false>, multiply_all<4, true>},
                                                {multiply_all<8, false>, multiply_all<8, true>}};
  kProducts[tile.bits == 8 ? 1 : 0][biases ? 1 : 0](tiles, tile_count, {layout.segment, per_group, zero, input}, out);
  return true;
}

}  // namespace ingot::kernels

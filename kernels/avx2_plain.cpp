// AVX2: products of one input with tiles whose parameters are read where they lie (Q4_0, Q8_0, Q4_1, GPTQ, AWQ, MLX,
// and all that is stored alike). Sums and parameters meet in registers: with one input there are enough, and the
// reading of memory goes on meanwhile. Includes nothing but the table: every other symbol has internal linkage (house
// style section 5).
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

  // A segment is one run and a group of its own: Q4_0, Q8_0 and their like.
  [[nodiscard]] bool has_single_runs() const noexcept { return step == kIntegerRun && per_group == 1; }
};

// What is beside the scales: one zero point of all or none, biases of the same type, or zero points of 8 bits.
enum class Beside : std::uint8_t { one_zero, biases, zeros, other };

// Where the reading of a tile is. Pointers that move are worth a tenth against offsets from its beginning.
struct Place {
  Run run;
  const std::uint16_t *scales, *biases;
  const std::uint8_t* zeros;

  template <u32 kBits>
  static Place of(const IntegerTile& tile) noexcept {
    return {run_at<kBits>(tile, 0), static_cast<const std::uint16_t*>(tile.scales.elements),
            static_cast<const std::uint16_t*>(tile.offsets.elements),
            static_cast<const std::uint8_t*>(tile.offsets.elements)};
  }
  template <u32 kBits>
  void next_run() noexcept {
    run.slices[0] += kBits * kRows;
  }
  template <Beside kBeside>
  void next_group() noexcept {
    scales += kRows;
    if constexpr (kBeside == Beside::biases) biases += kRows;
    if constexpr (kBeside == Beside::zeros) zeros += kRows;
  }
};

// Eight 16-bit floats.
template <ParameterType kType>
__m256 eight_floats(const std::uint16_t* elements) noexcept {
  const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(elements));
  if constexpr (kType == ParameterType::f16) return _mm256_cvtph_ps(eight);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
}

__m256 eight_zeros(const std::uint8_t* bytes) noexcept {
  const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight));
}

// Adds the next run of each tile to the sums, or starts them with it. `codes` are its inputs.
template <u32 kBits, bool kStart, int kTiles>
inline __attribute__((always_inline)) void add_run(Place* places, const std::int8_t* codes,
                                                   Sums<kTiles>& sums) noexcept {
  Run runs[kTiles];
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) {
    runs[t] = places[t].run;
    if constexpr (kBits == 4) fetch_codes<kBits>(runs[t]);
    places[t].template next_run<kBits>();
  }
  add_fields<kBits, false, kStart, 0, 8>(runs, codes, sums);
}

template <u32 kBits, ParameterType kType, Beside kBeside, bool kSingleRuns, int kTiles>
void multiply_tiles(const IntegerTile* tiles, const Plan& plan, float* out) noexcept {
  __m256 totals[kTiles][2];
  Place places[kTiles];
  for (int t = 0; t < kTiles; ++t) {
    totals[t][0] = totals[t][1] = _mm256_setzero_ps();
    places[t] = Place::of<kBits>(tiles[t]);
  }
  const std::int8_t* codes = plan.input.codes;
  const u64 step = kSingleRuns ? kIntegerRun : plan.step;
  u64 left = plan.per_group;  // segments until the next group
  for (u64 segment = 0, end = tiles[0].cols / step; segment < end; ++segment) {
    Sums<kTiles> sums;
    add_run<kBits, true, kTiles>(places, codes, sums);
    codes += kIntegerRun;
    for (u64 rest = step - kIntegerRun; rest != 0; rest -= kIntegerRun, codes += kIntegerRun)
      add_run<kBits, false, kTiles>(places, codes, sums);
    const __m256 scale = _mm256_broadcast_ss(plan.input.scales + segment);
    const __m256 sum = _mm256_broadcast_ss(plan.input.sums + segment);
    __m256 moved = _mm256_set1_ps(plan.zero * plan.input.sums[segment]);
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
      for (u64 h = 0; h < 2; ++h) {
        if constexpr (kBeside == Beside::zeros) moved = _mm256_mul_ps(eight_zeros(places[t].zeros + h * kHalf), sum);
        const __m256 value = _mm256_fmsub_ps(_mm256_cvtepi32_ps(sums.of[t][h]), scale, moved);
        if constexpr (kBeside == Beside::biases)
          totals[t][h] = _mm256_fmadd_ps(eight_floats<kType>(places[t].biases + h * kHalf), sum, totals[t][h]);
        totals[t][h] = _mm256_fmadd_ps(eight_floats<kType>(places[t].scales + h * kHalf), value, totals[t][h]);
      }
    }
    if (!kSingleRuns && --left != 0) continue;
    left = plan.per_group;
    for (int t = 0; t < kTiles; ++t) places[t].template next_group<kBeside>();
  }
  for (int t = 0; t < kTiles; ++t) {
    for (u64 h = 0; h < 2; ++h) _mm256_storeu_ps(out + static_cast<u64>(t) * kRows + h * kHalf, totals[t][h]);
  }
}

template <u32 kBits, ParameterType kType, Beside kBeside, bool kSingleRuns>
void multiply_pairs(const IntegerTile* tiles, int tile_count, const Plan& plan, float* out) noexcept {
  int t = 0;
  for (; t + kTilesAtOnce <= tile_count; t += kTilesAtOnce)
    multiply_tiles<kBits, kType, kBeside, kSingleRuns, kTilesAtOnce>(tiles + t, plan,
                                                                     out + static_cast<u64>(t) * kRows);
  if (t < tile_count)
    multiply_tiles<kBits, kType, kBeside, kSingleRuns, 1>(tiles + t, plan, out + static_cast<u64>(t) * kRows);
}

template <u32 kBits, ParameterType kType, Beside kBeside>
void multiply_all(const IntegerTile* tiles, int tile_count, const Plan& plan, float* out) noexcept {
  if (plan.has_single_runs()) return multiply_pairs<kBits, kType, kBeside, true>(tiles, tile_count, plan, out);
  multiply_pairs<kBits, kType, kBeside, false>(tiles, tile_count, plan, out);
}

bool are_stored_as(const TileParameters& parameters, ParameterType type) noexcept {
  return parameters.type == type && parameters.steps == nullptr && !parameters.negated && parameters.factor == 1;
}

Beside beside_of(const IntegerTile& tile) noexcept {
  const TileParameters& offsets = tile.offsets;
  if (tile.offset == OffsetKind::bias) return are_stored_as(offsets, tile.scales.type) ? Beside::biases : Beside::other;
  if (tile.offset == OffsetKind::none || offsets.type == ParameterType::constant) return Beside::one_zero;
  const bool bytes = offsets.bits == 8 && !offsets.is_signed && are_stored_as(offsets, ParameterType::integer);
  return bytes ? Beside::zeros : Beside::other;
}

using Multiply = decltype(multiply_all<4, ParameterType::f16, Beside::biases>);

template <ParameterType kType>
constexpr Multiply* kProducts[2][4] = {
    {multiply_all<4, kType, Beside::one_zero>, multiply_all<4, kType, Beside::biases>,
     multiply_all<4, kType, Beside::zeros>, nullptr},
    {multiply_all<8, kType, Beside::one_zero>, multiply_all<8, kType, Beside::biases>, nullptr, nullptr}};

// Null: no such product.
Multiply* product_for(const IntegerTile& tile, Beside beside) noexcept {
  const bool known =
      tile.table == nullptr && ((tile.bits == 4 && !tile.is_signed) || (tile.bits == 8 && tile.is_signed));
  if (!known) return nullptr;
  const int width = tile.bits / 8, at = static_cast<int>(beside);
  if (are_stored_as(tile.scales, ParameterType::f16)) return kProducts<ParameterType::f16>[width][at];
  if (are_stored_as(tile.scales, ParameterType::bf16)) return kProducts<ParameterType::bf16>[width][at];
  return nullptr;
}

}  // namespace

bool avx2_multiply_plain(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                         float* out) noexcept {
  const IntegerTile& tile = tiles[0];
  const Beside beside = beside_of(tile);
  Multiply* const product = product_for(tile, beside);
  if (product == nullptr || layout.segment < kIntegerRun) return false;
  const u64 per_group = tile.group_cols >= tile.cols ? 0 : tile.group_cols / layout.segment;
  const bool one_zero = tile.offset == OffsetKind::zero_point && beside == Beside::one_zero;
  product(tiles, tile_count, {layout.segment, per_group, one_zero ? tile.offsets.constant : 0, input}, out);
  return true;
}

}  // namespace ingot::kernels

// AVX2: products of one input with tiles whose 4-bit codes index a table (integer_kernels.h). vpshufb looks up 32 codes
// at once. Products of small entries are added up in 16 bits; others are looked up less 128, so that they have signs as
// the inputs do, and vpsignb brings both into one operand of vpmaddubsw. Sums and parameters meet in registers.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include "kernels/avx2_tables.h"

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_byte_floats.h"
#include "kernels/avx2_codes.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

void avx2_widen_parameters(const TileParameters& parameters, std::uint64_t first, std::uint64_t groups,
                           float* out) noexcept;

namespace {

constexpr int kTilesAtOnce = 2;
constexpr u64 kLineInputs = 8;
constexpr u64 kAhead = 2048;  // bytes of codes that are asked for early

__m256i both_lanes(const std::uint8_t* entries) noexcept {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
}

// --- integer sums ----------------------------------------------------------------------------------------------------
// The sums of one tile, by half of its outputs.
using Halves = __m256i[2];

// Looks up the codes of field 0 or 1 of a line.
inline __attribute__((always_inline)) __m256i entries_of(__m256i lookup, __m256i words, int field) noexcept {
  const __m256i moved = field == 0 ? words : _mm256_srli_epi32(words, 4);
  return _mm256_shuffle_epi8(lookup, _mm256_and_si256(moved, _mm256_set1_epi8(15)));
}

// Adds kLines lines of 8 inputs: those of a run, or of half a run. Of small entries the products of two lines fit 16
// bits (4 * 2 * 31 * 127 < 2^15), of others those of two inputs (2 * 127 * 127).
template <bool kSmall, u64 kLines>
inline __attribute__((always_inline)) void add_lines(__m256i lookup, const u32* words, const std::int8_t* inputs,
                                                     Halves& sums) noexcept {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i batch[2];
#pragma GCC unroll 4
  for (u64 line = 0; line < kLines; ++line) {
    const __m256i word[2] = {load_words(words + line * kRows), load_words(words + line * kRows + kHalf)};
#pragma GCC unroll 2
    for (int f = 0; f < 2; ++f) {
      const __m256i four = four_inputs(inputs + line * kLineInputs + 4 * f), size = _mm256_abs_epi8(four);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i entries = entries_of(lookup, word[h], f);
        if constexpr (kSmall) {
          const __m256i pairs = _mm256_maddubs_epi16(entries, four);
          batch[h] = line % 2 == 0 && f == 0 ? pairs : _mm256_add_epi16(batch[h], pairs);
          if (line % 2 == 0 || f == 0) continue;
          sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(batch[h], ones));
        } else {
          const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(entries, four));
          sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(pairs, ones));
          keep_order(sums[h]);
        }
      }
    }
  }
}

// --- products --------------------------------------------------------------------------------------------------------
// What is the same for all tiles of a product.
struct Plan {
  u64 step, per_group;  // inputs of a segment, segments of a group
  float factor, zero;   // of all scales; the zero point of what is looked up, times it
  const IntegerInput& input;
};

// A tile at a segment and its group.
struct Place {
  const u32* words;
  const void* scales;
};

template <ParameterType kType>
__m256 eight_scales(const void* elements, u64 half) noexcept {
  if constexpr (kType == ParameterType::f32) return _mm256_loadu_ps(static_cast<const float*>(elements) + half);
  if constexpr (kType == ParameterType::e8m0) return eight_e8m0(eight_bytes(elements, half));
  if constexpr (kType == ParameterType::e4m3) return eight_e4m3(eight_bytes(elements, half));
  const auto* const at = reinterpret_cast<const __m128i*>(static_cast<const std::uint16_t*>(elements) + half);
  return _mm256_cvtph_ps(_mm_loadu_si128(at));
}
template <ParameterType kType>
constexpr u64 kScaleBytes = kType == ParameterType::f32   ? 4
                            : kType == ParameterType::f16 ? 2
                                                          : 1;

// Adds what `count` segments from `first` on yield to the totals of kTiles tiles. `first` begins a group.
template <bool kSmall, u64 kLines, ParameterType kType, int kTiles>
void add_segments(__m256i lookup, const Plan& plan, Place* tiles, u64 first, u64 count, float* out) noexcept {
  __m256 totals[kTiles][2];
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) {
    totals[t][0] = _mm256_loadu_ps(out + static_cast<u64>(t) * kRows);
    totals[t][1] = _mm256_loadu_ps(out + static_cast<u64>(t) * kRows + kHalf);
  }
  const u64 lines = plan.step / kLineInputs;
  u64 left = plan.per_group;
  for (u64 segment = first; segment < first + count; ++segment) {
    const std::int8_t* const inputs = plan.input.codes + segment * plan.step;
    const __m256 scale = _mm256_set1_ps(plan.input.scales[segment] * plan.factor);
    const __m256 moved = _mm256_set1_ps(plan.input.sums[segment] * plan.zero);
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
      if constexpr (!kSmall) prefetch_lines<2>(tiles[t].words, lines * kRows * sizeof(u32), kAhead);
      Halves sums = {_mm256_setzero_si256(), _mm256_setzero_si256()};
      for (u64 line = 0; line < lines; line += kLines)
        add_lines<kSmall, kLines>(lookup, tiles[t].words + line * kRows, inputs + line * kLineInputs, sums);
#pragma GCC unroll 2
      for (u64 h = 0; h < 2; ++h) {
        const __m256 value = _mm256_fmsub_ps(_mm256_cvtepi32_ps(sums[h]), scale, moved);
        totals[t][h] = _mm256_fmadd_ps(eight_scales<kType>(tiles[t].scales, h * kHalf), value, totals[t][h]);
      }
      tiles[t].words += lines * kRows;
      if (left == 1) tiles[t].scales = static_cast<const char*>(tiles[t].scales) + kRows * kScaleBytes<kType>;
    }
    left = left == 1 ? plan.per_group : left - 1;
  }
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) {
    _mm256_storeu_ps(out + static_cast<u64>(t) * kRows, totals[t][0]);
    _mm256_storeu_ps(out + static_cast<u64>(t) * kRows + kHalf, totals[t][1]);
  }
}

// Of one tile, of two.
using AddSegments = decltype(add_segments<true, 4, ParameterType::f32, 1>);
struct Kernels {
  AddSegments* some[kTilesAtOnce];
};
template <bool kSmall, u64 kLines, ParameterType kType>
constexpr Kernels kKernels = {{add_segments<kSmall, kLines, kType, 1>, add_segments<kSmall, kLines, kType, 2>}};

template <bool kSmall, u64 kLines>
Kernels kernels_of(ParameterType type) noexcept {
  switch (type) {
    case ParameterType::f16: return kKernels<kSmall, kLines, ParameterType::f16>;
    case ParameterType::e8m0: return kKernels<kSmall, kLines, ParameterType::e8m0>;
    case ParameterType::e4m3: return kKernels<kSmall, kLines, ParameterType::e4m3>;
    default: return kKernels<kSmall, kLines, ParameterType::f32>;
  }
}
Kernels kernels_for(bool are_small, u64 step, ParameterType type) noexcept {
  constexpr u64 kRunLines = kIntegerRun / kLineInputs;
  if (step < kIntegerRun)
    return are_small ? kernels_of<true, kRunLines / 2>(type) : kernels_of<false, kRunLines / 2>(type);
  return are_small ? kernels_of<true, kRunLines>(type) : kernels_of<false, kRunLines>(type);
}

bool is_read_in_place(const TileParameters& scales) noexcept {
  if (scales.steps != nullptr || scales.negated) return false;
  return scales.type == ParameterType::f32 || scales.type == ParameterType::f16 || scales.type == ParameterType::e8m0 ||
         scales.type == ParameterType::e4m3;
}

// Tiles whose scales are widened first, some groups after the others.
void add_widened(const IntegerTile* tiles, int count, const Kernels& kernels, __m256i lookup, const Plan& plan,
                 float* out) noexcept {
  constexpr u64 kGroups = 16;
  alignas(32) float scales[kTilesAtOnce][kGroups * kRows];
  const u64 segments = tiles[0].cols / plan.step, most = kGroups * plan.per_group;
  Place places[kTilesAtOnce];
  for (int t = 0; t < count; ++t) places[t].words = tiles[t].slices[0];
  for (u64 first = 0; first < segments; first += most) {
    const u64 some = segments - first < most ? segments - first : most, group = first / plan.per_group;
    for (int t = 0; t < count; ++t) {
      avx2_widen_parameters(tiles[t].scales, group, (some + plan.per_group - 1) / plan.per_group, scales[t]);
      places[t].scales = scales[t];
    }
    kernels.some[count - 1](lookup, plan, places, first, some, out);
  }
}

}  // namespace

void avx2_multiply_tables(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                          float* out) noexcept {
  const IntegerTile& tile = tiles[0];
  const u64 step = layout.segment, segments = tile.cols / step;
  const bool in_place = is_read_in_place(tile.scales);
  const float factor = in_place ? tile.scales.factor : 1;
  const Plan plan = {step, tile.group_cols >= tile.cols ? segments : tile.group_cols / step, factor,
                     factor * (tile.offsets.constant - (tile.table->are_small ? 0 : kEntryMiddle)), input};
  const bool are_small = tile.table->are_small;
  const __m256i entries = both_lanes(tile.table->entries);
  const __m256i lookup = are_small ? entries : _mm256_xor_si256(entries, _mm256_set1_epi8(-kEntryMiddle));
  const Kernels kernels = kernels_for(are_small, step, in_place ? tile.scales.type : ParameterType::f32);
  for (u64 r = 0; r < static_cast<u64>(tile_count) * kRows; ++r) out[r] = 0;
  for (int t = 0; t < tile_count;) {
    const int some = t + kTilesAtOnce <= tile_count ? kTilesAtOnce : 1;
    float* const to = out + static_cast<u64>(t) * kRows;
    if (in_place) {
      Place places[kTilesAtOnce];
      for (int i = 0; i < some; ++i) places[i] = {tiles[t + i].slices[0], tiles[t + i].scales.elements};
      kernels.some[some - 1](lookup, plan, places, 0, segments, to);
    } else {
      add_widened(tiles + t, some, kernels, lookup, plan, to);
    }
    t += some;
  }
}

}  // namespace ingot::kernels

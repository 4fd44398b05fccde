// AVX2: products of one input with tiles whose 4-bit codes index a table (integer_kernels.h). vpshufb looks up 32 codes
// at once, for wide entries twice: a product of such an entry and an input is 64 times that of its high part and that
// of its low part, and vpmaddwd, which adds pairs anyway, applies the 64. Sums and parameters meet in registers, eight
// outputs after the other: so tables, sums and totals have room together.
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

struct Lookup {
  __m256i low, high;
};

__m256i both_lanes(const std::uint8_t* entries) noexcept {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
}

// --- integer sums ----------------------------------------------------------------------------------------------------
// What the four codes of eight outputs each yield times four inputs: sums of two.
struct Products {
  __m256i low, high;
};

template <bool kWide>
Products products(const Lookup& lookup, __m256i codes, const std::int8_t* inputs) noexcept {
  const __m256i four = four_inputs(inputs);
  Products result;
  result.low = _mm256_maddubs_epi16(_mm256_shuffle_epi8(lookup.low, codes), four);
  if constexpr (kWide) result.high = _mm256_maddubs_epi16(_mm256_shuffle_epi8(lookup.high, codes), four);
  return result;
}

// The sums of eight outputs over kLines lines, by twos: those of a run, or of half a run. Of wide entries two products
// can be added in 16 bits (2 * 2 * 63 * 127 < 2^15), of others four (4 * 2 * 31 * 127).
template <bool kWide, u64 kLines>
inline __attribute__((always_inline)) __m256i lines_sum(const Lookup& lookup, const u32* words,
                                                        const std::int8_t* inputs) noexcept {
  __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (u64 pair = 0; pair < kLines; pair += 2) {
    __m256i batch = _mm256_setzero_si256();
#pragma GCC unroll 2
    for (u64 line = pair; line < pair + 2; ++line) {
      const __m256i word = load_words(words + line * kRows), nibble = _mm256_set1_epi8(15);
      const std::int8_t* const at = inputs + line * kLineInputs;
      const Products first = products<kWide>(lookup, _mm256_and_si256(word, nibble), at);
      const Products second = products<kWide>(lookup, _mm256_and_si256(_mm256_srli_epi32(word, 4), nibble), at + 4);
      if constexpr (kWide) {
        const __m256i low = _mm256_add_epi16(first.low, second.low), high = _mm256_add_epi16(first.high, second.high);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, _mm256_set1_epi16(1)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(high, _mm256_set1_epi16(kEntryParts)));
        keep_order(sum);
      } else {
        batch = _mm256_add_epi16(batch, _mm256_add_epi16(first.low, second.low));
      }
    }
    if constexpr (!kWide) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(batch, _mm256_set1_epi16(1)));
  }
  return sum;
}

// --- products --------------------------------------------------------------------------------------------------------
// What is the same for all tiles of a product.
struct Plan {
  u64 step, per_group;  // inputs of a segment, segments of a group
  float factor, zero;   // of all scales; the zero point times it
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
template <bool kWide, u64 kLines, ParameterType kType, int kTiles>
void add_segments(const Lookup& lookup, const Plan& plan, Place* tiles, u64 first, u64 count, float* out) noexcept {
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
#pragma GCC unroll 2
      for (u64 h = 0; h < 2; ++h) {
        const u32* const words = tiles[t].words + h * kHalf;
        __m256i sum = lines_sum<kWide, kLines>(lookup, words, inputs);
        for (u64 line = kLines; line < lines; line += kLines) {
          const __m256i more = lines_sum<kWide, kLines>(lookup, words + line * kRows, inputs + line * kLineInputs);
          sum = _mm256_add_epi32(sum, more);
        }
        const __m256 value = _mm256_fmsub_ps(_mm256_cvtepi32_ps(sum), scale, moved);
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
template <bool kWide, u64 kLines, ParameterType kType>
constexpr Kernels kKernels = {{add_segments<kWide, kLines, kType, 1>, add_segments<kWide, kLines, kType, 2>}};

template <bool kWide, u64 kLines>
Kernels kernels_of(ParameterType type) noexcept {
  switch (type) {
    case ParameterType::f16: return kKernels<kWide, kLines, ParameterType::f16>;
    case ParameterType::e8m0: return kKernels<kWide, kLines, ParameterType::e8m0>;
    case ParameterType::e4m3: return kKernels<kWide, kLines, ParameterType::e4m3>;
    default: return kKernels<kWide, kLines, ParameterType::f32>;
  }
}
Kernels kernels_for(bool is_wide, u64 step, ParameterType type) noexcept {
  constexpr u64 kRunLines = kIntegerRun / kLineInputs;
  if (step < kIntegerRun)
    return is_wide ? kernels_of<true, kRunLines / 2>(type) : kernels_of<false, kRunLines / 2>(type);
  return is_wide ? kernels_of<true, kRunLines>(type) : kernels_of<false, kRunLines>(type);
}

bool is_read_in_place(const TileParameters& scales) noexcept {
  if (scales.steps != nullptr || scales.negated) return false;
  return scales.type == ParameterType::f32 || scales.type == ParameterType::f16 || scales.type == ParameterType::e8m0 ||
         scales.type == ParameterType::e4m3;
}

// Tiles whose scales are widened first, some groups after the others.
void add_widened(const IntegerTile* tiles, int count, const Kernels& kernels, const Lookup& lookup, const Plan& plan,
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
                     factor * tile.offsets.constant, input};
  const Lookup lookup = {both_lanes(tile.table->low), both_lanes(tile.table->high)};
  const Kernels kernels = kernels_for(tile.table->is_wide, step, in_place ? tile.scales.type : ParameterType::f32);
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

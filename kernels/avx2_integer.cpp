// AVX2 + FMA + F16C. A word of a line holds the codes of one output, so a 32-bit lane collects the sum of one output:
// `and` and shifts take four codes of each out of their words, vpmaddubsw multiplies them by four inputs that are the
// same for all. This file is for one input. First come the integer sums of some segments, then what their parameters
// make of them: together they need more registers than there are.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_nested.h"
#include "kernels/avx2_panels.h"
#include "kernels/avx2_plain.h"
#include "kernels/avx2_sums.h"
#include "kernels/avx2_tables.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

const IntegerKernels& avx2_integer_kernels() noexcept;
RoundInput* avx2_round_input() noexcept;
void avx2_widen_parameters(const TileParameters& parameters, std::uint64_t first, std::uint64_t groups,
                           float* out) noexcept;

namespace {

// How far ahead codes are fetched, in bytes: the processor's own prefetching ends with each page.
constexpr u64 kAhead = 4096;

template <u32 kBits>
constexpr float shift_of(bool is_signed) noexcept {
  if (kBits == 8) return is_signed ? 0 : -128;
  return is_signed ? 1 << (kBits - 1) : 0;
}

// --- integer sums ----------------------------------------------------------------------------------------------------
// Segments whose sums are made before their parameters are applied: a loop for each keeps its values in registers.
constexpr u64 kSegmentsAtOnce = 16;
using BlockSums = std::int32_t[kSegmentsAtOnce][kRows];

// Asks for the lines of the low slice that are kAhead bytes after those of `step` inputs.
template <u32 kBits>
void fetch(const Run& run, u64 step) noexcept {
  const char* at = reinterpret_cast<const char*>(run.slices[0]) + kAhead;
  const u64 bytes = step * Slices<kBits>::low * kRows / 8;
  for (u64 i = 0; i < bytes; i += 64) _mm_prefetch(at + i, _MM_HINT_T0);
}

enum class Step : std::uint8_t { half_run, run, runs };

// Sums of `count` segments from `first` on: of kTiles tiles times one input.
template <u32 kBits, bool kFlip, Step kStep, int kTiles>
void block_sums(const IntegerTile* tiles, u64 step, u64 first, u64 count, const std::int8_t* codes,
                BlockSums* out) noexcept {
  for (u64 segment = first; segment < first + count; ++segment) {
    const u64 col = segment * step, end = col + step;
    Sums<kTiles> sums;
    u64 run = col / kIntegerRun;
    const std::int8_t* at = codes + run * kIntegerRun;
    Run runs[kTiles];
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      runs[t] = run_at<kBits>(tiles[t], run);
      fetch<kBits>(runs[t], step);
    }
    if constexpr (kStep == Step::half_run) {
      if (col % kIntegerRun == 0) {
        add_fields<kBits, kFlip, true, 0, 4>(runs, at, sums);
      } else {
        add_fields<kBits, kFlip, true, 4, 4>(runs, at, sums);
      }
    } else {
      add_fields<kBits, kFlip, true, 0, 8>(runs, at, sums);
      while (kStep == Step::runs && ++run * kIntegerRun < end) {
        at += kIntegerRun;
#pragma GCC unroll 4
        for (int t = 0; t < kTiles; ++t) runs[t] = run_at<kBits>(tiles[t], run);
        add_fields<kBits, kFlip, false, 0, 8>(runs, at, sums);
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      auto* const to = reinterpret_cast<__m256i*>(out[t][segment - first]);
      _mm256_store_si256(to, sums.of[t][0]);
      _mm256_store_si256(to + 1, sums.of[t][1]);
    }
  }
}

// --- parameters ------------------------------------------------------------------------------------------------------
__m128i eight_halves(const void* elements, u64 index) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const std::uint16_t*>(elements) + index));
}

struct Sixteen {
  __m256 low, high;
};

// The parameters of a block as sums of codes meet them: scale * (code - zero), with a bias to add or without.
struct Widened {
  alignas(32) float scales[kSegmentsAtOnce * kRows], offsets[kSegmentsAtOnce * kRows];
  const std::uint16_t* halves;  // the scales where they lie, binary16; null: `scales`
  float zero;                   // of all, where offsets are no zero points

  __attribute__((noinline)) void fill(const IntegerTile& tile, u64 first, u64 groups, float shift) noexcept {
    halves = nullptr;
    if (tile.scales.type == ParameterType::f16 && tile.scales.steps == nullptr && !tile.scales.negated &&
        tile.scales.factor == 1) {
      halves = static_cast<const std::uint16_t*>(tile.scales.elements) + first * kRows;
    } else {
      avx2_widen_parameters(tile.scales, first, groups, scales);
    }
    zero = shift;
    if (tile.offset == OffsetKind::none) return;
    if (tile.offset == OffsetKind::zero_point && tile.offsets.type == ParameterType::constant) {
      zero += tile.offsets.constant;
      return;
    }
    avx2_widen_parameters(tile.offsets, first, groups, offsets);
    if (tile.offset == OffsetKind::zero_point && shift != 0) {
      const __m256 moved = _mm256_set1_ps(shift);
      for (u64 i = 0; i < groups * kRows; i += kHalf)
        _mm256_store_ps(offsets + i, _mm256_add_ps(_mm256_load_ps(offsets + i), moved));
    }
  }
};

// Which parameters a block has beside its scales.
enum class Beside : std::uint8_t { one_zero, zeros, biases };

// How scales are read: from where they lie, or from the widened block.
enum class Reads : std::uint8_t { halves, widened };
constexpr int kTilesAtOnce = 2;

template <Reads kReads>
Sixteen scales_at(const Widened& parameters, u64 place) noexcept {
  if constexpr (kReads == Reads::widened)
    return {_mm256_load_ps(parameters.scales + place), _mm256_load_ps(parameters.scales + place + kHalf)};
  _mm_prefetch(parameters.halves + place + kAhead / 2, _MM_HINT_T0);
  return {_mm256_cvtph_ps(eight_halves(parameters.halves, place)),
          _mm256_cvtph_ps(eight_halves(parameters.halves, place + kHalf))};
}

// The total of eight outputs with what one segment of an input adds to it.
template <Beside kBeside>
__m256 with_segment(__m256 total, const std::int32_t* sums, __m256 scales, const float* offsets, __m256 input_scale,
                    __m256 input_sum, __m256 moved) noexcept {
  const __m256 codes = _mm256_cvtepi32_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(sums)));
  if constexpr (kBeside == Beside::biases) total = _mm256_fmadd_ps(_mm256_load_ps(offsets), input_sum, total);
  const __m256 value = kBeside == Beside::zeros
                           ? _mm256_fnmadd_ps(_mm256_load_ps(offsets), input_sum, _mm256_mul_ps(codes, input_scale))
                           : _mm256_fmsub_ps(codes, input_scale, moved);
  return _mm256_fmadd_ps(scales, value, total);
}

// Adds what the segments [first, first + count) yield to the totals of one tile.
template <Beside kBeside, Reads kReads>
void apply(const Widened& parameters, u64 per_group, u64 first, u64 count, const IntegerInput& input,
           const BlockSums& sums, float* totals) noexcept {
  __m256 low = _mm256_loadu_ps(totals), high = _mm256_loadu_ps(totals + kHalf);
  const u64 first_group = first / per_group;
  const __m256 zero = _mm256_set1_ps(parameters.zero);
  u64 segment = first;
  for (u64 group = first_group; segment < first + count; ++group) {
    const u64 place = (group - first_group) * kRows;
    const Sixteen scales = scales_at<kReads>(parameters, place);
    const float* const offsets = parameters.offsets + place;
    const u64 end = (group + 1) * per_group < first + count ? (group + 1) * per_group : first + count;
    for (; segment < end; ++segment) {
      const __m256 scale = _mm256_broadcast_ss(input.scales + segment);
      const __m256 sum = _mm256_broadcast_ss(input.sums + segment), moved = _mm256_mul_ps(zero, sum);
      const std::int32_t* const at = sums[segment - first];
      low = with_segment<kBeside>(low, at, scales.low, offsets, scale, sum, moved);
      high = with_segment<kBeside>(high, at + kHalf, scales.high, offsets + kHalf, scale, sum, moved);
    }
  }
  _mm256_storeu_ps(totals, low);
  _mm256_storeu_ps(totals + kHalf, high);
}

// --- products --------------------------------------------------------------------------------------------------------
// out[i][s][r]: the sum of segment first + s and output r of tile i, times the codes of one input.
using BlockProduct = void(const IntegerTile* tiles, u64 step, u64 first, u64 count, const std::int8_t* codes,
                          BlockSums* out) noexcept;
// The sums of codes of one width: of one tile, of some tiles.
struct SumKernels {
  BlockProduct *one, *tiles;
  float shift;  // that the codes in the sums are greater by
};

template <u32 kBits, bool kFlip, Step kStep>
constexpr SumKernels sum_kernels(bool is_signed) noexcept {
  return {block_sums<kBits, kFlip, kStep, 1>, block_sums<kBits, kFlip, kStep, kTilesAtOnce>,
          kFlip ? shift_of<kBits>(is_signed) : 0};
}
template <u32 kBits, bool kFlip>
SumKernels sum_kernels(bool is_signed, u64 step) noexcept {
  if (step < kIntegerRun) return sum_kernels<kBits, kFlip, Step::half_run>(is_signed);
  return step == kIntegerRun ? sum_kernels<kBits, kFlip, Step::run>(is_signed)
                             : sum_kernels<kBits, kFlip, Step::runs>(is_signed);
}
template <u32 kBits>
SumKernels sum_kernels_of(bool is_signed, u64 step) noexcept {
  const bool flip = (kBits == 8) != is_signed;
  return flip ? sum_kernels<kBits, true>(is_signed, step) : sum_kernels<kBits, false>(is_signed, step);
}

// What is the same for all blocks of a product.
struct Plan {
  SumKernels kernels;
  u64 step, segments, per_group;
  Beside beside;

  Plan(const IntegerTile& tile, u64 segment) noexcept {
    using Choose = SumKernels (*)(bool, u64) noexcept;
    static constexpr Choose kWidths[9] = {nullptr,           sum_kernels_of<1>, sum_kernels_of<2>,
                                          sum_kernels_of<3>, sum_kernels_of<4>, sum_kernels_of<5>,
                                          sum_kernels_of<6>, sum_kernels_of<7>, sum_kernels_of<8>};
    kernels = kWidths[tile.bits](tile.is_signed, segment);
    step = segment;
    segments = tile.cols / step;
    per_group = tile.group_cols >= tile.cols ? segments : tile.group_cols / step;
    const bool constant = tile.offsets.type == ParameterType::constant;
    beside = tile.offset == OffsetKind::bias                      ? Beside::biases
             : tile.offset == OffsetKind::zero_point && !constant ? Beside::zeros
                                                                  : Beside::one_zero;
  }

  void fill(const IntegerTile& tile, u64 first, u64 count, Widened& parameters) const noexcept {
    const u64 group = first / per_group, end = (first + count - 1) / per_group + 1;
    parameters.fill(tile, group, end - group, kernels.shift);
  }
  void add(const Widened& parameters, u64 first, u64 count, const IntegerInput& input, const BlockSums& sums,
           float* totals) const noexcept {
    const Reads reads = parameters.halves != nullptr ? Reads::halves : Reads::widened;
    kApply[static_cast<int>(beside)][static_cast<int>(reads)](parameters, per_group, first, count, input, sums, totals);
  }

 private:
  template <Beside kBeside>
  static constexpr decltype(&apply<kBeside, Reads::widened>) kReadings[2] = {apply<kBeside, Reads::halves>,
                                                                             apply<kBeside, Reads::widened>};
  static constexpr decltype(&kReadings<Beside::zeros>[0]) kApply[3] = {
      kReadings<Beside::one_zero>, kReadings<Beside::zeros>, kReadings<Beside::biases>};
};

// Some tiles times one input: several streams of codes at once.
void input_product(const Plan& plan, const IntegerTile* tiles, int tile_count, const IntegerInput& input,
                   float* out) noexcept {
  Widened parameters;
  alignas(32) BlockSums sums[kTilesAtOnce];
  for (u64 first = 0; first < plan.segments; first += kSegmentsAtOnce) {
    const u64 count = plan.segments - first < kSegmentsAtOnce ? plan.segments - first : kSegmentsAtOnce;
    (tile_count == kTilesAtOnce ? plan.kernels.tiles : plan.kernels.one)(tiles, plan.step, first, count, input.codes,
                                                                         sums);
    for (int t = 0; t < tile_count; ++t) {
      plan.fill(tiles[t], first, count, parameters);
      plan.add(parameters, first, count, input, sums[t], out + static_cast<u64>(t) * kRows);
    }
  }
}

void multiply_one(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                  float* out) noexcept {
  if (tiles[0].table != nullptr) return avx2_multiply_tables(tiles, tile_count, layout, input, out);
  if (avx2_multiply_nested(tiles, tile_count, layout, input, out)) return;
  if (avx2_multiply_plain(tiles, tile_count, layout, input, out)) return;
  const Plan plan(tiles[0], layout.segment);
  for (u64 r = 0; r < static_cast<u64>(tile_count) * kRows; ++r) out[r] = 0;
  for (int t = 0; t < tile_count;) {
    const int some = t + kTilesAtOnce <= tile_count ? kTilesAtOnce : 1;
    input_product(plan, tiles + t, some, input, out + static_cast<u64>(t) * kRows);
    t += some;
  }
}

// A few inputs take turns: the codes are in the second-level cache from the first one on. How many depends on what it
// takes to get at the codes, which is done anew for each of them.
u64 few_inputs(const IntegerTile& tile) noexcept { return tile.table == nullptr && tile.slices[1] == nullptr ? 8 : 5; }

void multiply(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput* inputs, u64 vectors,
              float* out, u64 out_stride) noexcept {
  if (vectors > few_inputs(tiles[0]))
    return avx2_multiply_many(tiles, tile_count, layout, inputs, vectors, out, out_stride);
  for (u64 v = 0; v < vectors; ++v) multiply_one(tiles, tile_count, layout, inputs[v], out + v * out_stride);
}

}  // namespace

const IntegerKernels& avx2_integer_kernels() noexcept {
  static const IntegerKernels kernels = {avx2_round_input(), multiply, multiply};
  return kernels;
}

}  // namespace ingot::kernels

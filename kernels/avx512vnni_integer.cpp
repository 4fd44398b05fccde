// AVX-512 VNNI. A line of words is one register and holds the codes of sixteen outputs, one a lane: `and` and shifts
// take four codes of each out of their words, vpdpbusd multiplies them by four inputs that are the same for all and
// adds them to the sums. Signed codes are made unsigned by turning over their sign; what that adds goes with the zero
// points. Includes nothing but the interfaces: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/avx512vnni_codes.h"
#include "kernels/avx512vnni_segments.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

const IntegerKernels& avx512vnni_integer_kernels() noexcept;
RoundInput* avx512vnni_round_input() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

// How far ahead codes are fetched, in bytes: the processor's own prefetching ends with each page.
constexpr u64 kAhead = 4096;
// Tiles times one input, and inputs times one tile, whose sums are made together.
constexpr int kTilesAtOnce = 4, kVectorsAtOnce = 8, kFewVectors = 4;
constexpr int kSumsAtOnce = kVectorsAtOnce;

// --- integer sums ----------------------------------------------------------------------------------------------------
// of[segment][tile or vector][output].
struct alignas(64) Sums {
  std::int32_t of[kSegmentsAtOnce][kSumsAtOnce][kRows];
};

__m512i four_inputs(const std::int8_t* at) noexcept {
  return _mm512_castps_si512(_mm512_broadcastss_ps(_mm_load_ss(reinterpret_cast<const float*>(at))));
}

// Asks for the lines of the low slice that are kAhead bytes after those of `step` inputs.
template <u32 kBits>
void fetch(const Run& run, u64 step) noexcept {
  const char* at = reinterpret_cast<const char*>(run.slices[0]) + kAhead;
  const u64 bytes = step * Slices<kBits>::low * kRows / 8;
  for (u64 i = 0; i < bytes; i += 64) _mm_prefetch(at + i, _MM_HINT_T0);
}

// What four codes of each output give to the sums: themselves,
template <u32 kWidth>
struct Numbers {
  static constexpr u32 kBits = kWidth;
  __m512i sign;

  explicit Numbers(const IntegerTile& tile) noexcept : sign(sign_of(tile)) {}
  __m512i field_of(const Run& run, u32 n) const noexcept { return field<kBits>(run, n, sign); }
};

// or the entries of a table.
struct Entries {
  static constexpr u32 kBits = 4;
  __m512i entries;

  explicit Entries(const IntegerTile& tile) noexcept : entries(sixteen_entries(tile.table->entries)) {}
  __m512i field_of(const Run& run, u32 n) const noexcept {
    return _mm512_shuffle_epi8(entries, field<kBits>(run, n, _mm512_setzero_si512()));
  }
};

// Adds kFields fields from kFirst on. inputs[v] points at the first input of the run. One of the counts is 1.
template <class Codes, u32 kFirst, u32 kFields, int kTiles, int kVectors>
inline __attribute__((always_inline)) void add_fields(const Codes& codes, const Run* runs,
                                                      const std::int8_t* const* inputs, __m512i* sums) noexcept {
#pragma GCC unroll 8
  for (u32 n = kFirst; n < kFirst + kFields; ++n) {
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      const __m512i numbers = codes.field_of(runs[t], n);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        sums[t + v] = _mm512_dpbusd_epi32(sums[t + v], numbers, four_inputs(inputs[v] + 4 * n));
    }
  }
}

// Sums of a block: of kTiles tiles times one input, or of one tile times kVectors inputs.
template <class Codes, bool kHalfRuns, int kTiles, int kVectors>
void block_sums(const IntegerTile* tiles, u64 step, const SegmentBlock& block, const IntegerInput* inputs,
                Sums& out) noexcept {
  constexpr int kSums = kTiles + kVectors - 1;
  const Codes codes(tiles[0]);
  for (u64 at = 0; at < block.count; ++at) {
    const u64 col = (block.first + at) * step, first_run = col / kIntegerRun;
    __m512i sums[kSums];
#pragma GCC unroll 8
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    for (u64 run = first_run; run * kIntegerRun < col + step; ++run) {
      const std::int8_t* from[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) from[v] = inputs[v].codes + run * kIntegerRun;
      Run runs[kTiles];
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) {
        runs[t] = run_at<Codes::kBits>(tiles[t], run);
        if (kVectors == 1 && run == first_run) fetch<Codes::kBits>(runs[t], step);
      }
      if constexpr (!kHalfRuns) {
        add_fields<Codes, 0, kRunFields, kTiles, kVectors>(codes, runs, from, sums);
      } else if (col % kIntegerRun == 0) {
        add_fields<Codes, 0, kRunFields / 2, kTiles, kVectors>(codes, runs, from, sums);
      } else {
        add_fields<Codes, kRunFields / 2, kRunFields / 2, kTiles, kVectors>(codes, runs, from, sums);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) _mm512_store_si512(out.of[at][i], sums[i]);
  }
}

// --- products --------------------------------------------------------------------------------------------------------
using SumsOf = void (*)(const IntegerTile*, u64, const SegmentBlock&, const IntegerInput*, Sums&) noexcept;

// The sums of codes of one width: of one tile and input, of some tiles, of some inputs.
struct SumKernels {
  SumsOf one, tiles, few_vectors, vectors;
};
template <class Codes, bool kHalfRuns>
constexpr SumKernels kSumKernels = {block_sums<Codes, kHalfRuns, 1, 1>, block_sums<Codes, kHalfRuns, kTilesAtOnce, 1>,
                                    block_sums<Codes, kHalfRuns, 1, kFewVectors>,
                                    block_sums<Codes, kHalfRuns, 1, kVectorsAtOnce>};

template <bool kHalfRuns>
const SumKernels& sum_kernels(const IntegerTile& tile) noexcept {
  static constexpr const SumKernels* kNumbers[9] = {nullptr,
                                                    &kSumKernels<Numbers<1>, kHalfRuns>,
                                                    &kSumKernels<Numbers<2>, kHalfRuns>,
                                                    &kSumKernels<Numbers<3>, kHalfRuns>,
                                                    &kSumKernels<Numbers<4>, kHalfRuns>,
                                                    &kSumKernels<Numbers<5>, kHalfRuns>,
                                                    &kSumKernels<Numbers<6>, kHalfRuns>,
                                                    &kSumKernels<Numbers<7>, kHalfRuns>,
                                                    &kSumKernels<Numbers<8>, kHalfRuns>};
  return tile.table == nullptr ? *kNumbers[tile.bits] : kSumKernels<Entries, kHalfRuns>;
}

// What is the same for all blocks of a product.
struct Plan {
  const SumKernels& sums;
  const SegmentKernels& segments = avx512vnni_segments();
  u64 step, count, per_group;
  float shift;

  Plan(const IntegerTile& tile, u64 segment) noexcept
      : sums(segment < kIntegerRun ? sum_kernels<true>(tile) : sum_kernels<false>(tile)),
        step(segment),
        count(tile.cols / segment),
        per_group(tile.group_cols >= tile.cols ? count : tile.group_cols / segment),
        shift(tile.is_signed ? static_cast<float>(1u << (tile.bits - 1)) : 0) {}

  SegmentBlock block_at(u64 first) const noexcept {
    return {first, count - first < kSegmentsAtOnce ? count - first : kSegmentsAtOnce, per_group};
  }
};

// One tile times all inputs: a block of its codes stays in the first-level cache meanwhile.
void tile_product(const Plan& plan, const IntegerTile& tile, const IntegerInput* inputs, u64 vectors, float* out,
                  u64 out_stride) noexcept {
  BlockParameters parameters;
  Sums sums;
  for (u64 first = 0; first < plan.count; first += kSegmentsAtOnce) {
    const SegmentBlock block = plan.block_at(first);
    plan.segments.widen(tile, block, plan.shift, parameters);
    for (u64 v = 0; v < vectors;) {
      const u64 left = vectors - v, some = left >= kVectorsAtOnce ? kVectorsAtOnce
                                           : left >= kFewVectors  ? kFewVectors
                                                                  : 1;
      const SumsOf make = some == kVectorsAtOnce ? plan.sums.vectors
                          : some == kFewVectors  ? plan.sums.few_vectors
                                                 : plan.sums.one;
      make(&tile, plan.step, block, inputs + v, sums);
      plan.segments.add(parameters, block, inputs + v, some, {sums.of[0], kSumsAtOnce}, out + v * out_stride,
                        out_stride);
      v += some;
    }
  }
}

// Some tiles times one input: several streams of codes at once.
void input_product(const Plan& plan, const IntegerTile* tiles, int tile_count, const IntegerInput& input,
                   float* out) noexcept {
  BlockParameters parameters;
  Sums sums;
  for (u64 first = 0; first < plan.count; first += kSegmentsAtOnce) {
    const SegmentBlock block = plan.block_at(first);
    (tile_count == kTilesAtOnce ? plan.sums.tiles : plan.sums.one)(tiles, plan.step, block, &input, sums);
    for (int t = 0; t < tile_count; ++t) {
      plan.segments.widen(tiles[t], block, plan.shift, parameters);
      plan.segments.add(parameters, block, &input, 1, {sums.of[0] + t, kSumsAtOnce}, out + static_cast<u64>(t) * kRows,
                        0);
    }
  }
}

void multiply(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput* inputs, u64 vectors,
              float* out, u64 out_stride) noexcept {
  const Plan plan(tiles[0], layout.segment);
  for (u64 v = 0; v < vectors; ++v) {
    for (u64 r = 0; r < static_cast<u64>(tile_count) * kRows; ++r) out[v * out_stride + r] = 0;
  }
  for (int t = 0; t < tile_count;) {
    const int some = vectors == 1 && t + kTilesAtOnce <= tile_count ? kTilesAtOnce : 1;
    float* const to = out + static_cast<u64>(t) * kRows;
    if (vectors == 1) {
      input_product(plan, tiles + t, some, inputs[0], to);
    } else {
      tile_product(plan, tiles[t], inputs, vectors, to, out_stride);
    }
    t += some;
  }
}

}  // namespace

const IntegerKernels& avx512vnni_integer_kernels() noexcept {
  static const IntegerKernels kernels = {avx512vnni_round_input(), multiply, multiply};
  return kernels;
}

}  // namespace ingot::kernels

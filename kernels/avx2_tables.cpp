// AVX2: integer sums of tiles whose 4-bit codes index a table (integer_kernels.h). vpshufb looks up 32 codes at once,
// for wide entries twice: a product of such an entry and an input is 128 times that of its high part and that of its low
// part, and vpmaddwd, which adds pairs anyway, applies the 128.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_tables.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kRows = 16, kHalf = 8, kLines = 4;  // lines of a run of 32 inputs
constexpr u64 kAhead = 4096;                      // bytes that codes are fetched before they are needed

struct Lookup {
  __m256i low, high;
};

__m256i both_lanes(const std::uint8_t* entries) noexcept {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
}

// Four codes of each of eight outputs: field n (0..7) of a run.
__m256i field(const u32* run, u32 n, u64 half) noexcept {
  const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(run + n / 2 * kRows + half));
  return _mm256_and_si256(n % 2 == 0 ? word : _mm256_srli_epi32(word, 4), _mm256_set1_epi8(15));
}

__m256i four_inputs(const std::int8_t* at) noexcept {
  return _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(at)));
}

// Without it g++ makes all products before it adds the first two, and stores them meanwhile.
inline __attribute__((always_inline)) void keep_order(__m256i& value) noexcept { asm("" : "+x"(value)); }

// Adds to `sums` (tile, half of the outputs) what kFields fields from kFirst on yield.
template <bool kWide, u32 kFirst, u32 kFields, int kTiles>
inline __attribute__((always_inline)) void add_fields(const Lookup& lookup, const u32* const* runs,
                                                      const std::int8_t* inputs, __m256i (&sums)[kTiles][2]) noexcept {
  constexpr u32 kBatch = kWide ? 1 : 4;  // sums of two products that 16 bits hold: 4 * 2 * 31 * 127 < 2^15
#pragma GCC unroll 8
  for (u32 begin = kFirst; begin < kFirst + kFields; begin += kBatch) {
    __m256i batch[kTiles][2];
#pragma GCC unroll 4
    for (u32 n = begin; n < begin + kBatch; ++n) {
      const __m256i four = four_inputs(inputs + 4 * n);
#pragma GCC unroll 2
      for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const __m256i codes = field(runs[t], n, static_cast<u64>(half) * kHalf);
          const __m256i pairs = _mm256_maddubs_epi16(_mm256_shuffle_epi8(lookup.low, codes), four);
          batch[t][half] = n == begin ? pairs : _mm256_add_epi16(batch[t][half], pairs);
          keep_order(batch[t][half]);
          if constexpr (kWide) {
            const __m256i high = _mm256_maddubs_epi16(_mm256_shuffle_epi8(lookup.high, codes), four);
            const __m256i upper = _mm256_madd_epi16(high, _mm256_set1_epi16(128));
            const __m256i lower = _mm256_madd_epi16(batch[t][half], _mm256_set1_epi16(1));
            sums[t][half] = _mm256_add_epi32(sums[t][half], _mm256_add_epi32(upper, lower));
            keep_order(sums[t][half]);
          }
        }
      }
    }
#pragma GCC unroll 2
    for (int t = 0; !kWide && t < kTiles; ++t) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half)
        sums[t][half] = _mm256_add_epi32(sums[t][half], _mm256_madd_epi16(batch[t][half], _mm256_set1_epi16(1)));
    }
  }
}

enum class Step : std::uint8_t { half_run, run, runs };

template <bool kWide, Step kStep, int kTiles>
void block_sums(const IntegerTile* tiles, u64 step, u64 first, u64 count, const std::int8_t* codes,
                std::int32_t (*out)[16][16]) noexcept {
  const Lookup lookup = {both_lanes(tiles[0].table->low), both_lanes(tiles[0].table->high)};
  for (u64 segment = first; segment < first + count; ++segment) {
    const u64 col = segment * step, end = col + step;
    u64 run = col / kIntegerRun;
    const std::int8_t* at = codes + run * kIntegerRun;
    const u32* runs[kTiles];
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
      runs[t] = tiles[t].slices[0] + run * kLines * kRows;
      const char* ahead = reinterpret_cast<const char*>(runs[t]) + kAhead;
      for (u64 i = 0; i < step * kRows / 2; i += 64) _mm_prefetch(ahead + i, _MM_HINT_T0);
    }
    __m256i sums[kTiles][2];
#pragma GCC unroll 2
    for (auto& sum : sums) sum[0] = sum[1] = _mm256_setzero_si256();
    if constexpr (kStep == Step::half_run) {
      if (col % kIntegerRun == 0) {
        add_fields<kWide, 0, 4, kTiles>(lookup, runs, at, sums);
      } else {
        add_fields<kWide, 4, 4, kTiles>(lookup, runs, at, sums);
      }
    } else {
      add_fields<kWide, 0, 8, kTiles>(lookup, runs, at, sums);
      while (kStep == Step::runs && ++run * kIntegerRun < end) {
        at += kIntegerRun;
#pragma GCC unroll 2
        for (int t = 0; t < kTiles; ++t) runs[t] += kLines * kRows;
        add_fields<kWide, 0, 8, kTiles>(lookup, runs, at, sums);
      }
    }
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
      auto* const to = reinterpret_cast<__m256i*>(out[t][segment - first]);
      _mm256_store_si256(to, sums[t][0]);
      _mm256_store_si256(to + 1, sums[t][1]);
    }
  }
}

template <bool kWide, Step kStep>
constexpr Avx2TableSums kSums = {block_sums<kWide, kStep, 1>, block_sums<kWide, kStep, 2>};
template <bool kWide>
Avx2TableSums sums_of(u64 step) noexcept {
  if (step < kIntegerRun) return kSums<kWide, Step::half_run>;
  return step == kIntegerRun ? kSums<kWide, Step::run> : kSums<kWide, Step::runs>;
}

}  // namespace

Avx2TableSums avx2_table_sums(bool is_wide, std::uint64_t step) noexcept {
  return is_wide ? sums_of<true>(step) : sums_of<false>(step);
}

}  // namespace ingot::kernels

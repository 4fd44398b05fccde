// Integer sums of codes times inputs with AVX2. Included only by files compiled with AVX2 flags, each of which holds
// its own copy (house style section 5).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_codes.h"

namespace ingot::kernels {
namespace {

// Sums of two products, 16 bits each; kBatch of them can be added: 8 * 15 * 127 * 2 < 2^15.
template <u32 kBits>
__m256i pairs(__m256i codes, __m256i inputs) noexcept {
  if constexpr (kBits == 8) return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(inputs, codes));
  return _mm256_maddubs_epi16(codes, inputs);
}
template <u32 kBits>
constexpr u32 kBatch = kBits <= 4   ? 8
                       : kBits == 5 ? 4
                       : kBits == 6 ? 2
                                    : 1;

inline __m256i four_sums(__m256i sums_of_two) noexcept { return _mm256_madd_epi16(sums_of_two, _mm256_set1_epi16(1)); }

// Integer sums of kTiles tiles and one input, (tile, half).
template <int kTiles>
struct Sums {
  __m256i of[kTiles][2];
};

// Adds kFields fields from kFirst on, or starts the sums with them. `inputs` is the first one of the run.
template <u32 kBits, bool kFlip, bool kStart, u32 kFirst, u32 kFields, int kTiles>
inline __attribute__((always_inline)) void add_fields(const Run* runs, const std::int8_t* inputs,
                                                      Sums<kTiles>& sums) noexcept {
  constexpr u32 kStep = kBatch<kBits> < kFields ? kBatch<kBits> : kFields;
#pragma GCC unroll 8
  for (u32 begin = kFirst; begin < kFirst + kFields; begin += kStep) {
    __m256i batch[kTiles][2];
#pragma GCC unroll 8
    for (u32 n = begin; n < begin + kStep; ++n) {
      const __m256i four = four_inputs(inputs + 4 * n);
      __m256i codes[kTiles][2];
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) {
        codes[t][0] = field<kBits, kFlip>(runs[t], n, 0);
        codes[t][1] = field<kBits, kFlip>(runs[t], n, kHalf);
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const __m256i added = pairs<kBits>(codes[t][half], four);
          batch[t][half] = n == begin ? added : _mm256_add_epi16(batch[t][half], added);
          keep_order(batch[t][half]);
        }
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      for (int half = 0; half < 2; ++half) {
        const __m256i added = four_sums(batch[t][half]);
        sums.of[t][half] = kStart && begin == kFirst ? added : _mm256_add_epi32(sums.of[t][half], added);
      }
    }
  }
}

}  // namespace
}  // namespace ingot::kernels

// How codes come out of the words of a tile with AVX2, eight outputs at once. Included only by files compiled with AVX2
// flags, each of which holds its own copy (house style section 5).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/code_slices.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {
namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kRows = 16, kHalf = 8;

inline __m256i load_words(const u32* at) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }
inline __m256i four_inputs(const std::int8_t* at) noexcept {
  return _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(at)));
}

// Asks for the lines that lie `ahead` bytes behind those from `begin` on, for the cache of this level.
template <int kLevel>
inline __attribute__((always_inline)) void prefetch_lines(const void* begin, u64 bytes, u64 ahead) noexcept {
  const char* const at = static_cast<const char*>(begin) + ahead;
  for (u64 i = 0; i < bytes; i += 64) _mm_prefetch(at + i, kLevel == 1 ? _MM_HINT_T0 : _MM_HINT_T1);
}

// Asks for codes of the low slice, four runs of 4 bits ahead: where work beside the loads lets the processor's own
// prefetching fall behind, that is worth 7 to 15 %. Codes of 8 bits are read more slowly with it.
template <u32 kBits>
inline __attribute__((always_inline)) void fetch_codes(const Run& run) noexcept {
  constexpr u64 kAhead = 1024;
  prefetch_lines<2>(run.slices[0], sizeof(u32) * Slices<kBits>::low * kRows, kAhead);
}

// p bits of every byte, from bit `from` to bit `to`.
inline __m256i bits_of(const u32* words, u32 p, u32 from, u32 to) noexcept {
  const __m256i word = load_words(words);
  if (p == 8) return word;
  const __m256i moved = from >= to ? _mm256_srli_epi32(word, static_cast<int>(from - to))
                                   : _mm256_slli_epi32(word, static_cast<int>(to - from));
  return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(((1u << p) - 1) << to)));
}

// Four codes of each of eight outputs: field n (0..7) of the run. `n` is a constant once the loop around is unrolled.
// With kFlip, a signed code becomes the unsigned one greater by 2^(bits-1), an unsigned byte the signed one less by
// 128.
template <u32 kBits, bool kFlip>
__m256i field(const Run& run, u32 n, u64 half) noexcept {
  using S = Slices<kBits>;
  constexpr u32 kPerLow = 8 / S::low;
  __m256i codes = bits_of(run.slices[0] + n / kPerLow * kRows + half, S::low, n % kPerLow * S::low, 0);
  if constexpr (S::middle != 0) {
    constexpr u32 kPer = 8 / S::middle;
    const u32* const words = run.slices[1] + n / kPer * kRows + half;
    codes = _mm256_or_si256(codes, bits_of(words, S::middle, n % kPer * S::middle, S::low));
  }
  if constexpr (S::top != 0) {
    codes = _mm256_or_si256(codes, bits_of(run.slices[2] + half, S::top, n, S::low + S::middle));
  }
  if constexpr (kFlip) codes = _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(1u << (kBits - 1))));
  return codes;
}

// Without it g++ makes all products of a batch before it adds the first two, and stores them meanwhile.
inline __attribute__((always_inline)) void keep_order(__m256i& value) noexcept { asm("" : "+x"(value)); }

}  // namespace
}  // namespace ingot::kernels

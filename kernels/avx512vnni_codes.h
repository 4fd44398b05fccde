// How codes come out of the words of a tile, sixteen outputs at once. Included only by files compiled with AVX-512
// flags, each of which holds its own copy (house style section 5).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/code_slices.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {
namespace {

constexpr std::uint64_t kRows = 16;      // outputs of a tile, words of a line
constexpr std::uint32_t kRunFields = 8;  // fields of a run of kIntegerRun inputs, four codes of each output

inline __m512i every_byte(std::uint32_t value) noexcept { return _mm512_set1_epi8(static_cast<char>(value)); }

// Words moved so that the bits from `from` on are at `to`; what surrounds them stays.
inline __m512i moved(const std::uint32_t* words, std::uint32_t from, std::uint32_t to) noexcept {
  const __m512i word = _mm512_loadu_si512(words);
  if (from == to) return word;
  return from > to ? _mm512_srli_epi32(word, from - to) : _mm512_slli_epi32(word, to - from);
}

// The low `bits` of every byte from `low`, the others from `high`.
inline __m512i joined(std::uint32_t bits, __m512i low, __m512i high) noexcept {
  return _mm512_ternarylogic_epi32(every_byte((1u << bits) - 1), low, high, 0xCA);  // a ? b : c
}

// Bits of every code that are turned over, so that a signed one becomes the unsigned one greater by 2^(bits-1).
inline __m512i sign_of(const IntegerTile& tile) noexcept {
  return every_byte(tile.is_signed ? 1u << (tile.bits - 1) : 0);
}

// Four codes of each output as bytes, `sign` turned over: field n (0..7) of the run. `n` is a constant once the loop
// around is unrolled.
template <std::uint32_t kBits>
inline __attribute__((always_inline)) __m512i field(const Run& run, std::uint32_t n, __m512i sign) noexcept {
  using S = Slices<kBits>;
  constexpr std::uint32_t kPerLow = 8 / S::low;
  __m512i codes = moved(run.slices[0] + n / kPerLow * kRows, n % kPerLow * S::low, 0);
  if constexpr (S::middle != 0) {
    constexpr std::uint32_t kPer = 8 / S::middle;
    codes = joined(S::low, codes, moved(run.slices[1] + n / kPer * kRows, n % kPer * S::middle, S::low));
  }
  if constexpr (S::top != 0) codes = joined(S::low + S::middle, codes, moved(run.slices[2], n, S::low + S::middle));
  return _mm512_ternarylogic_epi32(codes, every_byte((1u << kBits) - 1), sign, 0x6A);  // (a & b) ^ c
}

// Sixteen entries of a table, for _mm512_shuffle_epi8 by codes of four bits.
inline __m512i sixteen_entries(const std::uint8_t* table) noexcept {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}

}  // namespace
}  // namespace ingot::kernels

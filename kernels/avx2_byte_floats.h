// Scales of 8 bits, eight at a time, with AVX2. Included only by files compiled with AVX2 flags, each of which holds
// its own copy (house style section 5).
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ingot::kernels {
namespace {

inline __m128i eight_bytes(const void* elements, std::uint64_t index) noexcept {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(static_cast<const std::uint8_t*>(elements) + index));
}
// Powers of two: the bits are the exponent; the least one is subnormal, 255 is NaN.
inline __m256 eight_e8m0(__m128i bytes) noexcept {
  const __m256i codes = _mm256_cvtepu8_epi32(bytes);
  const __m256i least = _mm256_and_si256(_mm256_cmpeq_epi32(codes, _mm256_setzero_si256()), _mm256_set1_epi32(1 << 22));
  const __m256i no_number =
      _mm256_and_si256(_mm256_cmpeq_epi32(codes, _mm256_set1_epi32(255)), _mm256_set1_epi32(1 << 22));
  return _mm256_castsi256_ps(_mm256_or_si256(_mm256_slli_epi32(codes, 23), _mm256_or_si256(least, no_number)));
}
// Seven bits are those of a binary16 number, from bit 7 on, whose exponent is 8 greater.
inline __m256 eight_e4m3(__m128i bytes) noexcept {
  const __m128i codes = _mm_cvtepu8_epi16(bytes), magnitude = _mm_and_si128(codes, _mm_set1_epi16(0x7F));
  const __m128i sign = _mm_slli_epi16(_mm_srli_epi16(codes, 7), 15);
  const __m128i no_number = _mm_and_si128(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F)), _mm_set1_epi16(0x7E00));
  const __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign), no_number);
  return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256));
}

}  // namespace
}  // namespace ingot::kernels

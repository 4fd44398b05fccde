// The bodies of BulkLoops, in an unnamed namespace: included once by bulk.cpp and once by bulk_avx2.cpp, each with its own flags.
#pragma once

#include "format/tensor/bulk.h"
#include "format/tensor/float_bits.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace ingot::tensor {
namespace {

template <class T>
inline T load_unaligned(const void* base, std::uint64_t index) noexcept {
  T value;
  __builtin_memcpy(&value, static_cast<const unsigned char*>(base) + index * sizeof(T), sizeof value);
  return value;
}

void loop_f16_to_f32(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i))));
  }
#endif
  for (; i < count; ++i) dst[i] = from_bits(f16_bits_to_f32_bits(load_unaligned<std::uint16_t>(src, i)));
}

void loop_bf16_to_f32(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(load_unaligned<std::uint16_t>(src, i)) << 16;
    __builtin_memcpy(dst + i, &bits, sizeof bits);  // not through a float: a signalling NaN keeps its bits
  }
}

void loop_f32_to_f16(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) dst[i] = f32_bits_to_f16_bits(load_unaligned<std::uint32_t>(src, i));
}

void loop_f32_to_bf16(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) dst[i] = f32_bits_to_bf16_bits(load_unaligned<std::uint32_t>(src, i));
}

void loop_canonical_f32(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) dst[i] = canonical_bits(load_unaligned<std::uint32_t>(src, i));
}

void loop_canonical_f16(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
#ifdef __F16C__
  const __m256i magnitude_mask = _mm256_set1_epi32(0x7FFFFFFF);
  const __m256i infinity = _mm256_set1_epi32(0x7F800000);
  const __m256i nan = _mm256_set1_epi32(0x7FC00000);
  for (; i + 8 <= count; i += 8) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const unsigned char*>(src) + 2 * i));
    const __m256i bits = _mm256_castps_si256(_mm256_cvtph_ps(half));
    const __m256i magnitude = _mm256_and_si256(bits, magnitude_mask);
    const __m256i nonzero = _mm256_andnot_si256(_mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256()), bits);
    const __m256i is_nan = _mm256_cmpgt_epi32(magnitude, infinity);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i), _mm256_blendv_epi8(nonzero, nan, is_nan));
  }
#endif
  for (; i < count; ++i) dst[i] = canonical_bits(f16_bits_to_f32_bits(load_unaligned<std::uint16_t>(src, i)));
}

void loop_canonical_bf16(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    dst[i] = canonical_bits(static_cast<std::uint32_t>(load_unaligned<std::uint16_t>(src, i)) << 16);
  }
}

constexpr BulkLoops kLoops = {loop_f16_to_f32,    loop_bf16_to_f32,   loop_f32_to_f16,    loop_f32_to_bf16,
                              loop_canonical_f32, loop_canonical_f16, loop_canonical_bf16};

}  // namespace
}  // namespace ingot::tensor

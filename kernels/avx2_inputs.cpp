// AVX2: inputs rounded to int8, with the scale and the sum of each segment.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

RoundInput* avx2_round_input() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kHalf = 8, kRows = 16;

float greatest_of(__m256 v) noexcept {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Sixteen inputs as bytes, in their own order.
__m128i rounded(const float* x, __m256 inverse) noexcept {
  const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
  const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + kHalf), inverse));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
  return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

// How the bytes of 16 inputs are ordered; a run of width 1 spans 32 of them and is woven from two.
__m128i order_of(u32 low_bits) noexcept {
  if (low_bits == 8) return _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if (low_bits == 4) return _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  if (low_bits == 2) return _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
}

void round_input(const float* x, u64 cols, IntegerLayout layout, std::int8_t* codes, float* scales,
                 float* sums) noexcept {
  const __m128i order = order_of(layout.low_bits);
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  const __m256 limit = _mm256_castsi256_ps(_mm256_set1_epi32(0x7F7FFFFF));  // the greatest finite number
  for (u64 first = 0, segment = 0; first < cols; first += layout.segment, ++segment) {
    __m256 greatest = _mm256_setzero_ps(), finite = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (u64 i = first; i < first + layout.segment; i += kHalf) {
      const __m256 size = _mm256_and_ps(_mm256_loadu_ps(x + i), magnitude);
      finite = _mm256_and_ps(finite, _mm256_cmp_ps(size, limit, _CMP_LE_OQ));
      greatest = _mm256_max_ps(size, greatest);
    }
    const bool usable = _mm256_movemask_ps(finite) == 0xFF;
    const float most = greatest_of(greatest);
    float inverse = usable && most > 0 ? static_cast<float>(kInputLimit) / most : 0;
    if (!(inverse <= 0x1.fffffep127f)) inverse = 0;  // `most` is subnormal: all codes are zero
    __m128i total = _mm_setzero_si128();
    for (u64 i = first; i < first + layout.segment; i += kRows) {
      const __m128i bytes = usable ? rounded(x + i, _mm256_set1_ps(inverse)) : _mm_setzero_si128();
      // Sums of unsigned bytes: with 128 added to each.
      total = _mm_add_epi64(total, _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), _mm_setzero_si128()));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i), _mm_shuffle_epi8(bytes, order));
    }
    if (layout.low_bits == 1) {  // each field of four takes two bytes from either half of its run
      for (u64 i = first; i < first + layout.segment; i += kIntegerRun) {
        __m128i* const run = reinterpret_cast<__m128i*>(codes + i);
        const __m128i low = _mm_loadu_si128(run), high = _mm_loadu_si128(run + 1);
        _mm_storeu_si128(run, _mm_unpacklo_epi16(low, high));
        _mm_storeu_si128(run + 1, _mm_unpackhi_epi16(low, high));
      }
    }
    const std::int64_t biased = _mm_cvtsi128_si64(total) + _mm_extract_epi64(total, 1);
    scales[segment] = usable ? most / static_cast<float>(kInputLimit) : __builtin_nanf("");
    sums[segment] = scales[segment] * static_cast<float>(biased - 128 * static_cast<std::int64_t>(layout.segment));
  }
}

}  // namespace

RoundInput* avx2_round_input() noexcept { return round_input; }

}  // namespace ingot::kernels

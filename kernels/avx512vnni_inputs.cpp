// AVX-512: inputs rounded to int8, with the scale and the sum of each segment.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

RoundInput* avx512vnni_round_input() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kLanes = 16;

// How the bytes of 16 inputs are ordered; a run of width 1 spans 32 of them and is woven from two.
__m128i order_of(u32 low_bits) noexcept {
  if (low_bits == 8) return _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if (low_bits == 4) return _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  if (low_bits == 2) return _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
}

// Each field of four takes two bytes from either half of its run.
void weave_runs(std::int8_t* codes, u64 count) noexcept {
  for (u64 i = 0; i < count; i += kIntegerRun) {
    auto* const run = reinterpret_cast<__m128i*>(codes + i);
    const __m128i low = _mm_loadu_si128(run), high = _mm_loadu_si128(run + 1);
    _mm_storeu_si128(run, _mm_unpacklo_epi16(low, high));
    _mm_storeu_si128(run + 1, _mm_unpackhi_epi16(low, high));
  }
}

void round_input(const float* x, u64 cols, IntegerLayout layout, std::int8_t* codes, float* scales,
                 float* sums) noexcept {
  const __m128i order = order_of(layout.low_bits);
  const __m512 limit = _mm512_castsi512_ps(_mm512_set1_epi32(0x7F7FFFFF));  // the greatest finite number
  for (u64 first = 0, segment = 0; first < cols; first += layout.segment, ++segment) {
    __m512 greatest = _mm512_setzero_ps();
    __mmask16 finite = 0xFFFF;
    for (u64 i = first; i < first + layout.segment; i += kLanes) {
      const __m512 size = _mm512_abs_ps(_mm512_loadu_ps(x + i));
      finite = static_cast<__mmask16>(finite & _mm512_cmp_ps_mask(size, limit, _CMP_LE_OQ));
      greatest = _mm512_max_ps(size, greatest);
    }
    const bool usable = finite == 0xFFFF;
    const float most = _mm512_reduce_max_ps(greatest);
    float inverse = usable && most > 0 ? static_cast<float>(kInputLimit) / most : 0;
    if (!(inverse <= 0x1.fffffep127f)) inverse = 0;  // `most` is subnormal: all codes are zero
    __m512i total = _mm512_setzero_si512();
    for (u64 i = first; i < first + layout.segment; i += kLanes) {
      const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(inverse));
      const __m512i rounded = usable ? _mm512_cvtps_epi32(scaled) : _mm512_setzero_si512();
      total = _mm512_add_epi32(total, rounded);
      const __m128i bytes = _mm_shuffle_epi8(_mm512_cvtepi32_epi8(rounded), order);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i), bytes);
    }
    if (layout.low_bits == 1) weave_runs(codes + first, layout.segment);
    scales[segment] = usable ? most / static_cast<float>(kInputLimit) : __builtin_nanf("");
    sums[segment] = scales[segment] * static_cast<float>(_mm512_reduce_add_epi32(total));
  }
}

}  // namespace

RoundInput* avx512vnni_round_input() noexcept { return round_input; }

}  // namespace ingot::kernels

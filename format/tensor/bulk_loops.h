// The bodies of BulkLoops, in an unnamed namespace: included once by bulk.cpp and once by bulk_avx2.cpp, each with its
// own flags.
#pragma once

#include "format/tensor/bulk.h"
#include "format/tensor/difference_loops.h"
#include "format/tensor/float_bits.h"
#include "format/tensor/near_difference_loops.h"

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

#ifdef __F16C__
/// The hardware keeps a part of a NaN's payload; ours is the one quiet NaN.
inline __m128i to_f16_lanes(__m256 values) noexcept {
  const __m128i halves = _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT);
  const __m128i magnitude = _mm_and_si128(halves, _mm_set1_epi16(0x7FFF));
  const __m128i quiet_nan = _mm_or_si128(_mm_andnot_si128(_mm_set1_epi16(0x7FFF), halves), _mm_set1_epi16(0x7E00));
  return _mm_blendv_epi8(halves, quiet_nan, _mm_cmpgt_epi16(magnitude, _mm_set1_epi16(0x7C00)));
}
#endif

void loop_f32_to_f16(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i), to_f16_lanes(_mm256_loadu_ps(src + i)));
#endif
  for (; i < count; ++i) dst[i] = f32_bits_to_f16_bits(load_unaligned<std::uint32_t>(src, i));
}

#ifdef __AVX2__
/// In the low half of each lane; the high half is zero.
inline __m256i to_bf16_lanes(__m256i bits) noexcept {
  const __m256i high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd), 16);
  const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF));
  const __m256i is_nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7F800000));
  return _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), is_nan);
}
#endif

void loop_f32_to_bf16(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
#ifdef __AVX2__
  for (; i + 16 <= count; i += 16) {
    const __m256i low = to_bf16_lanes(_mm256_castps_si256(_mm256_loadu_ps(src + i)));
    const __m256i high = to_bf16_lanes(_mm256_castps_si256(_mm256_loadu_ps(src + i + 8)));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8);  // undo the lane order
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i), packed);
  }
#endif
  for (; i < count; ++i) dst[i] = f32_bits_to_bf16_bits(load_unaligned<std::uint32_t>(src, i));
}

// A value that survives differs from what comes back in nothing but the payload of a NaN.
bool loop_all_fit_f16(const float* values, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) {
    const __m256 value = _mm256_loadu_ps(values + i);
    const __m256 back = _mm256_cvtph_ps(_mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    if (_mm256_movemask_ps(_mm256_cmp_ps(value, back, _CMP_NEQ_OQ)) != 0) return false;
  }
#endif
  for (; i < count; ++i) {
    const float back = from_bits(f16_bits_to_f32_bits(f32_bits_to_f16_bits(bits_of(values[i]))));
    if (values[i] < back || values[i] > back) return false;
  }
  return true;
}

bool loop_all_fit_bf16(const float* values, std::uint64_t count) noexcept {
  std::uint32_t lost = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = load_unaligned<std::uint32_t>(values, i);
    const std::uint32_t is_number = (bits & 0x7FFFFFFFu) <= 0x7F800000u ? 0xFFFFu : 0u;
    lost |= bits & is_number;
  }
  return lost == 0;
}

#ifdef __AVX2__
inline __m256i canonical_lanes(__m256i bits) noexcept {
  const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF));
  const __m256i nonzero = _mm256_andnot_si256(_mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256()), bits);
  const __m256i is_nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7F800000));
  return _mm256_blendv_epi8(nonzero, _mm256_set1_epi32(0x7FC00000), is_nan);
}
inline __m128i load_halves(const void* base, std::uint64_t index) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const unsigned char*>(base) + 2 * index));
}
inline void store_lanes(std::uint32_t* at, __m256i lanes) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), lanes);
}
#endif

void loop_canonical_f32(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
#ifdef __AVX2__
  for (; i + 8 <= count; i += 8) {
    const void* at = static_cast<const unsigned char*>(src) + 4 * i;
    store_lanes(dst + i, canonical_lanes(_mm256_loadu_si256(static_cast<const __m256i*>(at))));
  }
#endif
  for (; i < count; ++i) dst[i] = canonical_bits(load_unaligned<std::uint32_t>(src, i));
}

void loop_canonical_f16(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8)
    store_lanes(dst + i, canonical_lanes(_mm256_castps_si256(_mm256_cvtph_ps(load_halves(src, i)))));
#endif
  for (; i < count; ++i) dst[i] = canonical_bits(f16_bits_to_f32_bits(load_unaligned<std::uint16_t>(src, i)));
}

void loop_canonical_bf16(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
#ifdef __AVX2__
  // Sixteen at once where none is -0 or a NaN, which is nearly everywhere: then the bits are only moved.
  const __m256i negative_zero = _mm256_set1_epi16(static_cast<short>(0x8000));
  const __m256i infinity = _mm256_set1_epi16(0x7F80);
  const __m256i none = _mm256_setzero_si256();
  for (; i + 16 <= count; i += 16) {
    const __m256i halves =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(static_cast<const unsigned char*>(src) + 2 * i));
    const __m256i magnitude = _mm256_andnot_si256(negative_zero, halves);
    const __m256i special =
        _mm256_or_si256(_mm256_cmpeq_epi16(halves, negative_zero), _mm256_cmpgt_epi16(magnitude, infinity));
    const __m256i in_order = _mm256_permute4x64_epi64(halves, 0xD8);  // unpacking works on each half of the register
    __m256i first = _mm256_unpacklo_epi16(none, in_order), second = _mm256_unpackhi_epi16(none, in_order);
    if (!_mm256_testz_si256(special, special)) {
      first = canonical_lanes(first);
      second = canonical_lanes(second);
    }
    store_lanes(dst + i, first);
    store_lanes(dst + i + 8, second);
  }
  for (; i + 8 <= count; i += 8) {
    store_lanes(dst + i, canonical_lanes(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(src, i)), 16)));
  }
#endif
  for (; i < count; ++i) {
    dst[i] = canonical_bits(static_cast<std::uint32_t>(load_unaligned<std::uint16_t>(src, i)) << 16);
  }
}

// A body decodes `n` codes of one run. The vector part works on eight codes; the rest goes one by one.

void run_of_integers(const std::uint8_t* codes, std::uint8_t flip, std::uint64_t n, const Run& run,
                     float* out) noexcept {
  std::uint64_t i = 0;
#ifdef __AVX2__
  const __m256 scale = _mm256_set1_ps(run.scale);
  const __m256 zero = _mm256_set1_ps(run.zero);
  const __m256 add = _mm256_set1_ps(run.add);
  const __m128i flips = _mm_set1_epi8(static_cast<char>(flip));
  for (; i + 8 <= n; i += 8) {
    const __m128i bytes = _mm_xor_si128(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)), flips);
    const __m256 code = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_mul_ps(scale, _mm256_sub_ps(code, zero)), add));
  }
#endif
  for (; i < n; ++i) out[i] = run.scale * (static_cast<float>(codes[i] ^ flip) - run.zero) + run.add;
}

void run_of_table16(const std::uint8_t* codes, const float* table, std::uint64_t n, const Run& run,
                    float* out) noexcept {
  std::uint64_t i = 0;
#ifdef __AVX2__
  const __m256 scale = _mm256_set1_ps(run.scale);
  const __m256 zero = _mm256_set1_ps(run.zero);
  const __m256 add = _mm256_set1_ps(run.add);
  const __m256 low_half = _mm256_loadu_ps(table);
  const __m256 high_half = _mm256_loadu_ps(table + 8);
  for (; i + 8 <= n; i += 8) {
    const __m256i index = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)));
    const __m256 low = _mm256_permutevar8x32_ps(low_half, index);
    const __m256 high = _mm256_permutevar8x32_ps(high_half, index);
    const __m256 entry =
        _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));  // bit 3 chooses
    _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_mul_ps(scale, _mm256_sub_ps(entry, zero)), add));
  }
#endif
  for (; i < n; ++i) out[i] = run.scale * (table[codes[i]] - run.zero) + run.add;
}

void run_of_table256(const std::uint8_t* codes, const float* table, std::uint64_t n, const Run& run,
                     float* out) noexcept {
  std::uint64_t i = 0;
#ifdef __AVX2__
  const __m256 scale = _mm256_set1_ps(run.scale);
  const __m256 zero = _mm256_set1_ps(run.zero);
  const __m256 add = _mm256_set1_ps(run.add);
  for (; i + 8 <= n; i += 8) {
    const __m256i index = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)));
    const __m256 entry = _mm256_i32gather_ps(table, index, 4);
    _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_mul_ps(scale, _mm256_sub_ps(entry, zero)), add));
  }
#endif
  for (; i < n; ++i) out[i] = run.scale * (table[codes[i]] - run.zero) + run.add;
}

#ifdef __AVX2__
/// The numbers of eight e4m3 codes; NaN is that of float_codes.h. No step sees a subnormal number, which would be slow.
inline __m256 e4m3_numbers(__m256i codes) noexcept {
  const __m256i all_ones = _mm256_set1_epi32(0x7F);  // NaN, but for the sign
  const __m256i implicit_bit = _mm256_set1_epi32(1 << 23);
  const __m256i magnitude = _mm256_and_si256(codes, all_ones);
  const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(codes, 7), 31);
  const __m256i fields = _mm256_slli_epi32(magnitude, 20);  // exponent and mantissa in their places
  const __m256i small = _mm256_cmpgt_epi32(implicit_bit, fields);
  // Without an exponent, mantissa * 2^-9 is (1 + mantissa / 8) * 2^-6 less 2^-6.
  const __m256i rebased = _mm256_add_epi32(fields, _mm256_set1_epi32((127 - 7) << 23));
  const __m256 number = _mm256_castsi256_ps(_mm256_add_epi32(rebased, _mm256_and_si256(small, implicit_bit)));
  const __m256 excess = _mm256_and_ps(_mm256_castsi256_ps(small), _mm256_set1_ps(0x1p-6f));
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
  const __m256 is_nan = _mm256_castsi256_ps(_mm256_cmpeq_epi32(magnitude, all_ones));
  return _mm256_or_ps(_mm256_blendv_ps(_mm256_sub_ps(number, excess), nan, is_nan), _mm256_castsi256_ps(sign));
}
#endif

void run_of_e4m3(const std::uint8_t* codes, const float* table, std::uint64_t n, const Run& run, float* out) noexcept {
  std::uint64_t i = 0;
#ifdef __AVX2__
  const __m256 scale = _mm256_set1_ps(run.scale);
  const __m256 zero = _mm256_set1_ps(run.zero);
  const __m256 add = _mm256_set1_ps(run.add);
  for (; i + 8 <= n; i += 8) {
    const __m256 entry =
        e4m3_numbers(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i))));
    _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_mul_ps(scale, _mm256_sub_ps(entry, zero)), add));
  }
#endif
  for (; i < n; ++i) out[i] = run.scale * (table[codes[i]] - run.zero) + run.add;
}

/// Calls body(first, n, run) for every run of `count` columns.
template <class Body>
inline void each_run(std::uint64_t count, std::uint64_t run_cols, const Run* runs, Body body) noexcept {
  for (std::uint64_t first = 0; first < count; first += run_cols, ++runs) {
    body(first, count - first < run_cols ? count - first : run_cols, *runs);
  }
}

void loop_decode_integers(const std::uint8_t* codes, std::uint8_t flip, std::uint64_t count, std::uint64_t run_cols,
                          const Run* runs, float* out) noexcept {
  each_run(count, run_cols, runs, [&](std::uint64_t at, std::uint64_t n, const Run& run) {
    run_of_integers(codes + at, flip, n, run, out + at);
  });
}

void loop_decode_table16(const std::uint8_t* codes, const float* table, std::uint64_t count, std::uint64_t run_cols,
                         const Run* runs, float* out) noexcept {
  each_run(count, run_cols, runs, [&](std::uint64_t at, std::uint64_t n, const Run& run) {
    run_of_table16(codes + at, table, n, run, out + at);
  });
}

void loop_decode_table256(const std::uint8_t* codes, const float* table, std::uint64_t count, std::uint64_t run_cols,
                          const Run* runs, float* out) noexcept {
  each_run(count, run_cols, runs, [&](std::uint64_t at, std::uint64_t n, const Run& run) {
    run_of_table256(codes + at, table, n, run, out + at);
  });
}

void loop_decode_e4m3(const std::uint8_t* codes, const float* table, std::uint64_t count, std::uint64_t run_cols,
                      const Run* runs, float* out) noexcept {
  each_run(count, run_cols, runs, [&](std::uint64_t at, std::uint64_t n, const Run& run) {
    run_of_e4m3(codes + at, table, n, run, out + at);
  });
}

void loop_round_products(const double* numbers, std::uint64_t count, const WideRun& run, float* out) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) out[i] = static_cast<float>(run.scale * (numbers[i] - run.zero));
}

// a + b for a binary32 result: the exact sum rounded to odd in binary64, so that the conversion to binary32 is the only
// rounding that counts. TwoSum (Knuth) gives the error exactly; an inexact sum with an even last bit moves one step
// towards the error.
inline double sum_rounded_to_odd(double a, double b) noexcept {
  const double sum = a + b;
  const double b_part = sum - a;
  const double error = (a - (sum - b_part)) + (b - b_part);
  if (!(error > 0 || error < 0)) return sum;  // exact, or the NaN that an infinite sum leaves
  std::uint64_t bits;
  __builtin_memcpy(&bits, &sum, sizeof bits);
  if ((bits & 1u) == 0) bits += (error > 0) == (sum > 0) ? 1 : ~std::uint64_t{0};
  double odd;
  __builtin_memcpy(&odd, &bits, sizeof odd);
  return odd;
}

void loop_round_sums(const double* numbers, std::uint64_t count, const WideRun& run, float* out) noexcept {
  std::uint64_t i = 0;
#ifdef __AVX2__
  const __m256d scale = _mm256_set1_pd(run.scale);
  const __m256d zero = _mm256_set1_pd(run.zero);
  const __m256d add = _mm256_set1_pd(run.add);
  const __m256i one = _mm256_set1_epi64x(1);
  for (; i + 4 <= count; i += 4) {
    const __m256d product = _mm256_mul_pd(scale, _mm256_sub_pd(_mm256_loadu_pd(numbers + i), zero));
    const __m256d sum = _mm256_add_pd(product, add);
    const __m256d add_part = _mm256_sub_pd(sum, product);
    const __m256d error =
        _mm256_add_pd(_mm256_sub_pd(product, _mm256_sub_pd(sum, add_part)), _mm256_sub_pd(add, add_part));
    const __m256i bits = _mm256_castpd_si256(sum);
    const __m256i inexact =
        _mm256_castpd_si256(_mm256_cmp_pd(error, _mm256_setzero_pd(), _CMP_NEQ_OQ));  // false for NaN
    const __m256i even = _mm256_cmpeq_epi64(_mm256_and_si256(bits, one), _mm256_setzero_si256());
    const __m256i opposite = _mm256_srli_epi64(_mm256_xor_si256(bits, _mm256_castpd_si256(error)), 63);
    const __m256i step = _mm256_sub_epi64(one, _mm256_slli_epi64(opposite, 1));  // +1 away from zero, -1 towards it
    const __m256i odd = _mm256_add_epi64(bits, _mm256_and_si256(_mm256_and_si256(inexact, even), step));
    _mm_storeu_ps(out + i, _mm256_cvtpd_ps(_mm256_castsi256_pd(odd)));
  }
#endif
  for (; i < count; ++i) out[i] = static_cast<float>(sum_rounded_to_odd(run.scale * (numbers[i] - run.zero), run.add));
}

constexpr BulkLoops kLoops = {
    loop_f16_to_f32,     loop_bf16_to_f32,     loop_f32_to_f16,           loop_f32_to_bf16,     loop_all_fit_f16,
    loop_all_fit_bf16,   loop_add_differences, loop_add_near_differences, loop_canonical_f32,   loop_canonical_f16,
    loop_canonical_bf16, loop_decode_integers, loop_decode_table16,       loop_decode_table256, loop_decode_e4m3,
    loop_round_products, loop_round_sums};

}  // namespace
}  // namespace ingot::tensor

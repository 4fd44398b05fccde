// AVX-512 (F, BW, VL; the integer products of avx512vnni_integer.cpp also use VNNI). A tile's 16 outputs are the lanes
// of one register: a line of codes is one load, a dot product needs no horizontal sums.
// Includes nothing but the table and the walk: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/affine_walk.h"
#include "kernels/code_slices.h"
#include "kernels/kernel_table.h"

namespace ingot::kernels {

const KernelTable& avx512vnni_table() noexcept;
const FloatKernels& avx512vnni_float_kernels() noexcept;
const IntegerKernels& avx512vnni_integer_kernels() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kLanes = 16;

__m512 loadu(const float* at) noexcept { return _mm512_loadu_ps(at); }
__m512i load_words(const u32* at) noexcept { return _mm512_loadu_si512(at); }
__m256i load_halves(const std::uint16_t* at) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}
__m512 widen_f16(const std::uint16_t* at) noexcept { return _mm512_cvtph_ps(load_halves(at)); }
__m512 widen_bf16(const std::uint16_t* at) noexcept {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(at)), 16));
}
float sum(__m512 v) noexcept {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
float widen_one_f16(std::uint16_t bits) noexcept { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))); }
float widen_one_bf16(std::uint16_t bits) noexcept {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(static_cast<u32>(bits) << 16))));
}
float identity(float value) noexcept { return value; }

// --- dot products of plain rows --------------------------------------------------------------------------------------
template <class Element, __m512 (*kLoad)(const Element*) noexcept, float (*kOne)(Element) noexcept>
float dot(const Element* w, const float* x, u64 n) noexcept {
  __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
  u64 i = 0;
  for (; i + 64 <= n; i += 64) {
    a = _mm512_fmadd_ps(kLoad(w + i), loadu(x + i), a);
    b = _mm512_fmadd_ps(kLoad(w + i + 16), loadu(x + i + 16), b);
    c = _mm512_fmadd_ps(kLoad(w + i + 32), loadu(x + i + 32), c);
    d = _mm512_fmadd_ps(kLoad(w + i + 48), loadu(x + i + 48), d);
  }
  for (; i + kLanes <= n; i += kLanes) a = _mm512_fmadd_ps(kLoad(w + i), loadu(x + i), a);
  float total = sum(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));
  for (; i < n; ++i) total += kOne(w[i]) * x[i];
  return total;
}

float dot_f32(const float* w, const float* x, u64 n) noexcept { return dot<float, loadu, identity>(w, x, n); }

// Four rows at once: as many streams of weights, and every loaded input serves them all.
template <__m512 (*kLoad)(const std::uint16_t*) noexcept, float (*kOne)(std::uint16_t) noexcept>
void rows(const std::uint16_t* w, u64 w_stride, u64 count, const float* x, u64 cols, float* out) noexcept {
  constexpr u64 kStreams = 4;
  u64 r = 0;
  for (; r + kStreams <= count; r += kStreams, w += kStreams * w_stride) {
    __m512 even[kStreams], odd[kStreams];
    for (u64 k = 0; k < kStreams; ++k) even[k] = odd[k] = _mm512_setzero_ps();
    u64 i = 0;
    for (; i + 2 * kLanes <= cols; i += 2 * kLanes) {
      const __m512 first = loadu(x + i), second = loadu(x + i + kLanes);
      for (u64 k = 0; k < kStreams; ++k) {
        even[k] = _mm512_fmadd_ps(kLoad(w + k * w_stride + i), first, even[k]);
        odd[k] = _mm512_fmadd_ps(kLoad(w + k * w_stride + i + kLanes), second, odd[k]);
      }
    }
    for (u64 k = 0; k < kStreams; ++k) {
      float total = sum(_mm512_add_ps(even[k], odd[k]));
      for (u64 rest = i; rest < cols; ++rest) total += kOne(w[k * w_stride + rest]) * x[rest];
      out[r + k] = total;
    }
  }
  for (; r < count; ++r, w += w_stride) out[r] = dot<std::uint16_t, kLoad, kOne>(w, x, cols);
}

// Vectors take turns at a few rows, which stay in the caches meanwhile.
template <__m512 (*kLoad)(const std::uint16_t*) noexcept, float (*kOne)(std::uint16_t) noexcept>
void rows_in_turn(const std::uint16_t* w, u64 w_stride, u64 count, const float* x, u64 x_stride, u64 vectors, u64 cols,
                  float* out, u64 out_stride) noexcept {
  constexpr u64 kAtOnce = 16;
  for (u64 r = 0; r < count; r += kAtOnce) {
    const u64 some = count - r < kAtOnce ? count - r : kAtOnce;
    for (u64 t = 0; t < vectors; ++t)
      rows<kLoad, kOne>(w + r * w_stride, w_stride, some, x + t * x_stride, cols, out + t * out_stride + r);
  }
}

// kRowCount rows times kVectors vectors at once: every loaded weight serves kVectors sums.
template <int kRowCount, int kVectors>
void rows_block(const float* w, u64 w_stride, const float* x, u64 x_stride, u64 cols, float* out,
                u64 out_stride) noexcept {
  __m512 sums[kRowCount][kVectors];
  for (auto& row : sums) {
    for (__m512& s : row) s = _mm512_setzero_ps();
  }
  u64 i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    __m512 inputs[kVectors];
    for (int t = 0; t < kVectors; ++t) inputs[t] = loadu(x + t * x_stride + i);
    for (int r = 0; r < kRowCount; ++r) {
      const __m512 weights = loadu(w + r * w_stride + i);
      for (int t = 0; t < kVectors; ++t) sums[r][t] = _mm512_fmadd_ps(weights, inputs[t], sums[r][t]);
    }
  }
  for (int r = 0; r < kRowCount; ++r) {
    for (int t = 0; t < kVectors; ++t) {
      float total = sum(sums[r][t]);
      for (u64 k = i; k < cols; ++k) total += w[r * w_stride + k] * x[t * x_stride + k];
      out[t * out_stride + r] = total;
    }
  }
}

void rows_dot(const float* w, u64 w_stride, u64 rows, const float* x, u64 x_stride, u64 vectors, u64 cols, float* out,
              u64 out_stride) noexcept {
  u64 r = 0;
  for (; r + 4 <= rows; r += 4) {
    u64 t = 0;
    for (; t + 2 <= vectors; t += 2) {
      rows_block<4, 2>(w + r * w_stride, w_stride, x + t * x_stride, x_stride, cols, out + t * out_stride + r,
                       out_stride);
    }
    if (t < vectors)
      rows_block<4, 1>(w + r * w_stride, w_stride, x + t * x_stride, x_stride, cols, out + t * out_stride + r,
                       out_stride);
  }
  for (; r < rows; ++r) {
    for (u64 t = 0; t < vectors; ++t) out[t * out_stride + r] = dot_f32(w + r * w_stride, x + t * x_stride, cols);
  }
}

// --- conversions -----------------------------------------------------------------------------------------------------
void f16_to_f32(const std::uint16_t* src, float* dst, u64 n) noexcept {
  u64 i = 0;
  for (; i + kLanes <= n; i += kLanes) _mm512_storeu_ps(dst + i, widen_f16(src + i));
  for (; i < n; ++i) dst[i] = widen_one_f16(src[i]);
}

void bf16_to_f32(const std::uint16_t* src, float* dst, u64 n) noexcept {
  u64 i = 0;
  for (; i + kLanes <= n; i += kLanes) _mm512_storeu_ps(dst + i, widen_bf16(src + i));
  for (; i < n; ++i) dst[i] = widen_one_bf16(src[i]);
}

void f32_to_f16(const float* src, std::uint16_t* dst, u64 n) noexcept {
  u64 i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i),
                        _mm512_cvtps_ph(loadu(src + i), _MM_FROUND_TO_NEAREST_INT));
  }
  for (; i < n; ++i) {
    dst[i] = static_cast<std::uint16_t>(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(src[i]), _MM_FROUND_TO_NEAREST_INT)));
  }
}

// Sixteen values as 32-bit lanes whose low half is the bfloat16.
__m512i narrow_bf16(__m512 values) noexcept {
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd), 16);
  const __m512i quieted = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q), rounded, quieted);
}

void f32_to_bf16(const float* src, std::uint16_t* dst, u64 n) noexcept {
  u64 i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i), _mm512_cvtepi32_epi16(narrow_bf16(loadu(src + i))));
  }
  for (; i < n; ++i) {
    dst[i] = static_cast<std::uint16_t>(_mm_cvtsi128_si32(_mm512_castsi512_si128(narrow_bf16(_mm512_set1_ps(src[i])))));
  }
}

// --- affine tiles ----------------------------------------------------------------------------------------------------
__m512i shifted_field(const u32* word, u32 shift, u32 width) noexcept {
  return _mm512_and_si512(_mm512_srli_epi32(load_words(word), static_cast<int>(shift)),
                          _mm512_set1_epi32((1 << width) - 1));
}

// Codes of input `input` of a run for the 16 outputs. Unrolled loops turn every shift into an immediate.
template <u32 kBits, bool kSigned>
inline __attribute__((always_inline)) __m512i codes_at(const Run& run, u64 input) noexcept {
  using S = Slices<kBits>;
  constexpr u32 kPerLow = 32 / S::low;
  const u32* low = run.slices[0] + input / kPerLow * kLineWords;
  const u32 low_shift = S::low * static_cast<u32>(input % kPerLow);
  if constexpr (kSigned && S::middle == 0) {
    const __m512i left = _mm512_slli_epi32(load_words(low), static_cast<int>(32 - S::low - low_shift));
    return _mm512_srai_epi32(left, 32 - S::low);
  } else {
    __m512i code = shifted_field(low, low_shift, S::low);
    if constexpr (S::middle != 0) {
      constexpr u32 kPerWord = 32 / S::middle;
      const u32 shift = high_shift<S::low, S::middle>(static_cast<u32>(input % kPerWord));
      const __m512i field = shifted_field(run.slices[1] + input / kPerWord * kLineWords, shift, S::middle);
      code = _mm512_or_si512(code, _mm512_slli_epi32(field, S::low));
    }
    if constexpr (S::top != 0) {
      const u32 shift = high_shift<S::low, S::top>(static_cast<u32>(input));
      const __m512i field = shifted_field(run.slices[2], shift, S::top);
      code = _mm512_or_si512(code, _mm512_slli_epi32(field, S::low + S::middle));
    }
    if constexpr (kSigned) {
      const __m512i sign = _mm512_set1_epi32(1 << (kBits - 1));
      code = _mm512_sub_epi32(_mm512_xor_si512(code, sign), sign);
    }
    return code;
  }
}

// For affine_walk.h.
struct Avx512 {
  using Numbers = __m512;
  static constexpr u64 kSums = 4;

  static __m512 load(const float* at) noexcept { return loadu(at); }
  static void store(float* at, __m512 numbers) noexcept { _mm512_storeu_ps(at, numbers); }
  static __m512 zero() noexcept { return _mm512_setzero_ps(); }
  static __m512 broadcast(const float* at) noexcept { return _mm512_set1_ps(*at); }
  static __m512 add(__m512 a, __m512 b) noexcept { return _mm512_add_ps(a, b); }
  static __m512 multiply_add(__m512 a, __m512 b, __m512 c) noexcept { return _mm512_fmadd_ps(a, b, c); }
  template <u32 kBits, bool kSigned, bool kSubtract>
  static inline __attribute__((always_inline)) __m512 value(const Run& run, u64 input, __m512 scale,
                                                            __m512 offset) noexcept {
    const __m512 code = _mm512_cvtepi32_ps(codes_at<kBits, kSigned>(run, input));
    if constexpr (kSubtract) {
      return _mm512_mul_ps(scale, _mm512_sub_ps(code, offset));
    } else {
      return _mm512_fmadd_ps(scale, code, offset);
    }
  }
};

}  // namespace

const KernelTable& avx512vnni_table() noexcept {
  static const KernelTable table = {"avx512vnni",
                                    dot_f32,
                                    rows_in_turn<widen_f16, widen_one_f16>,
                                    rows_in_turn<widen_bf16, widen_one_bf16>,
                                    f16_to_f32,
                                    bf16_to_f32,
                                    f32_to_f16,
                                    f32_to_bf16,
                                    nullptr,
                                    nullptr,
                                    rows_dot,
                                    {tile_dot<Avx512>, tile_decode<Avx512>},
                                    avx512vnni_float_kernels(),
                                    {},
                                    avx512vnni_integer_kernels()};
  return table;
}

}  // namespace ingot::kernels

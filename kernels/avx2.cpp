// AVX2 + FMA + F16C: plain rows, and conversions of numbers. The table of what the other files have.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace ingot::kernels {

const KernelTable& avx2_table() noexcept;
const FloatKernels& avx2_float_kernels() noexcept;
const FunctionKernels& avx2_function_kernels() noexcept;
const IntegerKernels& avx2_integer_kernels() noexcept;
const TileKernels& avx2_tile_kernels() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kLanes = 8;

__m256 loadu(const float* at) noexcept { return _mm256_loadu_ps(at); }
__m256 broadcast(const float* at) noexcept { return _mm256_broadcast_ss(at); }
__m128i load_halves(const std::uint16_t* at) noexcept { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }
__m256 widen_f16(const std::uint16_t* at) noexcept { return _mm256_cvtph_ps(load_halves(at)); }
__m256 widen_bf16(const std::uint16_t* at) noexcept {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(at)), 16));
}
float sum(__m256 v) noexcept {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
float widen_one_f16(std::uint16_t bits) noexcept { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))); }
float widen_one_bf16(std::uint16_t bits) noexcept {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(static_cast<u32>(bits) << 16))));
}
float identity(float value) noexcept { return value; }

// --- dot products of plain rows --------------------------------------------------------------------------------------
template <class Element, __m256 (*kLoad)(const Element*) noexcept, float (*kOne)(Element) noexcept>
float dot(const Element* w, const float* x, u64 n) noexcept {
  __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
  u64 i = 0;
  for (; i + 32 <= n; i += 32) {
    a = _mm256_fmadd_ps(kLoad(w + i), loadu(x + i), a);
    b = _mm256_fmadd_ps(kLoad(w + i + 8), loadu(x + i + 8), b);
    c = _mm256_fmadd_ps(kLoad(w + i + 16), loadu(x + i + 16), c);
    d = _mm256_fmadd_ps(kLoad(w + i + 24), loadu(x + i + 24), d);
  }
  for (; i + kLanes <= n; i += kLanes) a = _mm256_fmadd_ps(kLoad(w + i), loadu(x + i), a);
  float total = sum(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
  for (; i < n; ++i) total += kOne(w[i]) * x[i];
  return total;
}

float dot_f32(const float* w, const float* x, u64 n) noexcept { return dot<float, loadu, identity>(w, x, n); }

constexpr u64 kStreams = 4;

// Four rows at once, each from another quarter: every loaded input serves them all, and the streams of weights are long
// (rows beside each other are read anew page by page, before the processor's prefetching has got going).
template <__m256 (*kLoad)(const std::uint16_t*) noexcept, float (*kOne)(std::uint16_t) noexcept>
void rows_of_one(const std::uint16_t* w, u64 w_stride, u64 count, const float* x, u64 cols, float* out) noexcept {
  const u64 quarter = count / kStreams, apart = quarter * w_stride;
  for (u64 r = 0; r < quarter; ++r, w += w_stride) {
    __m256 even[kStreams], odd[kStreams];
    for (u64 k = 0; k < kStreams; ++k) even[k] = odd[k] = _mm256_setzero_ps();
    u64 i = 0;
    for (; i + 2 * kLanes <= cols; i += 2 * kLanes) {
      const __m256 first = loadu(x + i), second = loadu(x + i + kLanes);
      for (u64 k = 0; k < kStreams; ++k) {
        even[k] = _mm256_fmadd_ps(kLoad(w + k * apart + i), first, even[k]);
        odd[k] = _mm256_fmadd_ps(kLoad(w + k * apart + i + kLanes), second, odd[k]);
      }
    }
    for (u64 k = 0; k < kStreams; ++k) {
      float total = sum(_mm256_add_ps(even[k], odd[k]));
      for (u64 rest = i; rest < cols; ++rest) total += kOne(w[k * apart + rest]) * x[rest];
      out[k * quarter + r] = total;
    }
  }
  w += (kStreams - 1) * apart;
  for (u64 r = kStreams * quarter; r < count; ++r, w += w_stride) out[r] = dot<std::uint16_t, kLoad, kOne>(w, x, cols);
}

// Four rows `apart` from each other times kVectors vectors: every widened weight serves all of these.
template <__m256 (*kLoad)(const std::uint16_t*) noexcept, float (*kOne)(std::uint16_t) noexcept, int kVectors>
void four_rows(const std::uint16_t* w, u64 apart, const float* x, u64 x_stride, u64 cols, float* out, u64 out_apart,
               u64 out_stride) noexcept {
  __m256 sums[kStreams][kVectors];
#pragma GCC unroll 4
  for (auto& row : sums) {
#pragma GCC unroll 3
    for (__m256& s : row) s = _mm256_setzero_ps();
  }
  u64 i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    __m256 inputs[kVectors];
#pragma GCC unroll 3
    for (int t = 0; t < kVectors; ++t) inputs[t] = loadu(x + static_cast<u64>(t) * x_stride + i);
#pragma GCC unroll 4
    for (u64 k = 0; k < kStreams; ++k) {
      const __m256 weights = kLoad(w + k * apart + i);
#pragma GCC unroll 3
      for (int t = 0; t < kVectors; ++t) sums[k][t] = _mm256_fmadd_ps(weights, inputs[t], sums[k][t]);
    }
  }
  for (u64 k = 0; k < kStreams; ++k) {
    for (int t = 0; t < kVectors; ++t) {
      const float* const input = x + static_cast<u64>(t) * x_stride;
      float total = sum(sums[k][t]);
      for (u64 rest = i; rest < cols; ++rest) total += kOne(w[k * apart + rest]) * input[rest];
      out[static_cast<u64>(t) * out_stride + k * out_apart] = total;
    }
  }
}

template <__m256 (*kLoad)(const std::uint16_t*) noexcept, float (*kOne)(std::uint16_t) noexcept>
void rows(const std::uint16_t* w, u64 w_stride, u64 count, const float* x, u64 x_stride, u64 vectors, u64 cols,
          float* out, u64 out_stride) noexcept {
  if (vectors == 1) return rows_of_one<kLoad, kOne>(w, w_stride, count, x, cols, out);
  const u64 quarter = count / kStreams, apart = quarter * w_stride;
  for (u64 r = 0; r < quarter; ++r) {
    u64 t = 0;
    for (; vectors - t == 3 || vectors - t > 4; t += 3)
      four_rows<kLoad, kOne, 3>(w + r * w_stride, apart, x + t * x_stride, x_stride, cols, out + t * out_stride + r,
                                quarter, out_stride);
    for (; t < vectors; t += 2)
      four_rows<kLoad, kOne, 2>(w + r * w_stride, apart, x + t * x_stride, x_stride, cols, out + t * out_stride + r,
                                quarter, out_stride);
  }
  for (u64 r = kStreams * quarter; r < count; ++r) {
    for (u64 t = 0; t < vectors; ++t)
      out[t * out_stride + r] = dot<std::uint16_t, kLoad, kOne>(w + r * w_stride, x + t * x_stride, cols);
  }
}

// Some weighted sums of kSums registers of every row: a loaded row serves them all.
template <int kVectors, int kSums>
void add_rows_block(const float* rows, u64 count, u64 cols, const float* weights, u64 weights_stride, float* out,
                    u64 out_stride) noexcept {
  __m256 sums[kVectors][kSums];
  for (int t = 0; t < kVectors; ++t) {
    for (int i = 0; i < kSums; ++i) sums[t][i] = loadu(out + t * out_stride + i * kLanes);
  }
  for (u64 r = 0; r < count; ++r) {
    __m256 row[kSums];
    for (int i = 0; i < kSums; ++i) row[i] = loadu(rows + r * cols + i * kLanes);
    for (int t = 0; t < kVectors; ++t) {
      const __m256 weight = broadcast(weights + t * weights_stride + r);
      for (int i = 0; i < kSums; ++i) sums[t][i] = _mm256_fmadd_ps(weight, row[i], sums[t][i]);
    }
  }
  for (int t = 0; t < kVectors; ++t) {
    for (int i = 0; i < kSums; ++i) _mm256_storeu_ps(out + t * out_stride + i * kLanes, sums[t][i]);
  }
}

template <int kVectors>
void add_all_cols(const float* rows, u64 count, u64 cols, const float* weights, u64 weights_stride, float* out,
                  u64 out_stride) noexcept {
  u64 i = 0;
  for (; i + 2 * kLanes <= cols; i += 2 * kLanes)
    add_rows_block<kVectors, 2>(rows + i, count, cols, weights, weights_stride, out + i, out_stride);
  for (; i + kLanes <= cols; i += kLanes)
    add_rows_block<kVectors, 1>(rows + i, count, cols, weights, weights_stride, out + i, out_stride);
  for (; i < cols; ++i) {
    for (int t = 0; t < kVectors; ++t) {
      for (u64 r = 0; r < count; ++r) out[t * out_stride + i] += weights[t * weights_stride + r] * rows[r * cols + i];
    }
  }
}

void add_rows(const float* rows, u64 count, u64 cols, const float* weights, u64 weights_stride, u64 vectors, float* out,
              u64 out_stride) noexcept {
  constexpr u64 kAtOnce = 6;
  u64 t = 0;
  for (; t + kAtOnce <= vectors; t += kAtOnce)
    add_all_cols<kAtOnce>(rows, count, cols, weights + t * weights_stride, weights_stride, out + t * out_stride,
                          out_stride);
  for (; t < vectors; ++t)
    add_all_cols<1>(rows, count, cols, weights + t * weights_stride, weights_stride, out + t * out_stride, out_stride);
}

// kRowCount rows times kVectors vectors at once: every loaded weight serves kVectors sums.
template <int kRowCount, int kVectors>
void rows_block(const float* w, u64 w_stride, const float* x, u64 x_stride, u64 cols, float* out,
                u64 out_stride) noexcept {
  __m256 sums[kRowCount][kVectors];
  for (auto& row : sums) {
    for (__m256& s : row) s = _mm256_setzero_ps();
  }
  u64 i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    __m256 inputs[kVectors];
    for (int t = 0; t < kVectors; ++t) inputs[t] = loadu(x + t * x_stride + i);
    for (int r = 0; r < kRowCount; ++r) {
      const __m256 weights = loadu(w + r * w_stride + i);
      for (int t = 0; t < kVectors; ++t) sums[r][t] = _mm256_fmadd_ps(weights, inputs[t], sums[r][t]);
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
    for (; t + 3 <= vectors; t += 3) {
      rows_block<4, 3>(w + r * w_stride, w_stride, x + t * x_stride, x_stride, cols, out + t * out_stride + r,
                       out_stride);
    }
    for (; t < vectors; ++t)
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
  for (; i + kLanes <= n; i += kLanes) _mm256_storeu_ps(dst + i, widen_f16(src + i));
  for (; i < n; ++i) dst[i] = widen_one_f16(src[i]);
}

void bf16_to_f32(const std::uint16_t* src, float* dst, u64 n) noexcept {
  u64 i = 0;
  for (; i + kLanes <= n; i += kLanes) _mm256_storeu_ps(dst + i, widen_bf16(src + i));
  for (; i < n; ++i) dst[i] = widen_one_bf16(src[i]);
}

void f32_to_f16(const float* src, std::uint16_t* dst, u64 n) noexcept {
  u64 i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i), _mm256_cvtps_ph(loadu(src + i), _MM_FROUND_TO_NEAREST_INT));
  }
  for (; i < n; ++i) {
    dst[i] = static_cast<std::uint16_t>(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(src[i]), _MM_FROUND_TO_NEAREST_INT)));
  }
}

// Eight values as 32-bit lanes whose low half is the bfloat16.
__m256i narrow_bf16(__m256 values) noexcept {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd), 16);
  const __m256i quieted = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quieted, is_nan);
}

void f32_to_bf16(const float* src, std::uint16_t* dst, u64 n) noexcept {
  u64 i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m256i wide = narrow_bf16(loadu(src + i));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(wide, wide), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i), _mm256_castsi256_si128(packed));
  }
  for (; i < n; ++i) {
    dst[i] = static_cast<std::uint16_t>(_mm256_extract_epi32(narrow_bf16(_mm256_set1_ps(src[i])), 0));
  }
}

// Eight integers of kBits bits are kBits bytes: each lane takes the two bytes that hold its own.
template <u32 kBits>
__m256i eight_integers(const std::byte* at) noexcept {
  std::uint64_t window = 0;
  __builtin_memcpy(&window, at, kBits);
  const __m256i both = _mm256_broadcastq_epi64(_mm_cvtsi64_si128(static_cast<long long>(window)));
  alignas(32) static constexpr auto kPlaces = [] {
    struct {
      std::uint8_t bytes[32];
      std::uint32_t shifts[8];
    } result{};
    for (u32 lane = 0; lane < 8; ++lane) {
      const u32 byte = lane * kBits / 8;
      result.bytes[4 * lane] = static_cast<std::uint8_t>(byte);
      result.bytes[4 * lane + 1] = static_cast<std::uint8_t>(byte + 1 < kBits ? byte + 1 : 0x80);
      result.bytes[4 * lane + 2] = result.bytes[4 * lane + 3] = 0x80;
      result.shifts[lane] = lane * kBits % 8;
    }
    return result;
  }();
  const __m256i spread = _mm256_shuffle_epi8(both, _mm256_load_si256(reinterpret_cast<const __m256i*>(kPlaces.bytes)));
  const __m256i shifts = _mm256_load_si256(reinterpret_cast<const __m256i*>(kPlaces.shifts));
  return _mm256_and_si256(_mm256_srlv_epi32(spread, shifts), _mm256_set1_epi32((1 << kBits) - 1));
}

template <u32 kBits>
void integers(const std::byte* stream, bool is_signed, float* dst, u64 n) noexcept {
  const __m256i sign = _mm256_set1_epi32(is_signed ? 1 << (kBits - 1) : 0);
  u64 i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const __m256i codes = eight_integers<kBits>(stream + i / 8 * kBits);
    _mm256_storeu_ps(dst + i, _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_xor_si256(codes, sign), sign)));
  }
  for (; i < n; ++i) {
    const u64 bit = i * kBits;
    u32 window = static_cast<u32>(stream[bit / 8]);
    if (bit % 8 + kBits > 8) window |= static_cast<u32>(stream[bit / 8 + 1]) << 8;
    const int code = static_cast<int>(window >> bit % 8 & ((1u << kBits) - 1));
    const int bias = is_signed ? 1 << (kBits - 1) : 0;
    dst[i] = static_cast<float>((code ^ bias) - bias);
  }
}

void integers_to_f32(const std::byte* stream, u32 bits, bool is_signed, float* dst, u64 n) noexcept {
  using Integers = void (*)(const std::byte*, bool, float*, u64) noexcept;
  static constexpr Integers kWidths[9] = {nullptr,     integers<1>, integers<2>, integers<3>, integers<4>,
                                          integers<5>, integers<6>, integers<7>, integers<8>};
  kWidths[bits](stream, is_signed, dst, n);
}

}  // namespace

const KernelTable& avx2_table() noexcept {
  static const KernelTable table = {"avx2",
                                    dot_f32,
                                    rows<widen_f16, widen_one_f16>,
                                    rows<widen_bf16, widen_one_bf16>,
                                    f16_to_f32,
                                    bf16_to_f32,
                                    f32_to_f16,
                                    f32_to_bf16,
                                    integers_to_f32,
                                    add_rows,
                                    rows_dot,
                                    avx2_tile_kernels(),
                                    avx2_float_kernels(),
                                    avx2_function_kernels(),
                                    avx2_integer_kernels()};
  return table;
}

}  // namespace ingot::kernels

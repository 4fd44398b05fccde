// AVX2 + FMA: affine tiles, exactly decoded. A tile's 16 outputs are two registers of 8 lanes, one output per lane, so
// a dot product needs no horizontal sums.
// Includes nothing but the table and the walk: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/affine_walk.h"
#include "kernels/code_slices.h"
#include "kernels/kernel_table.h"

namespace ingot::kernels {

const TileKernels& avx2_tile_kernels() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kLanes = 8;

__m256i load_words(const u32* at) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }

__m256i shifted_field(const u32* word, u32 shift, u32 width) noexcept {
  return _mm256_and_si256(_mm256_srli_epi32(load_words(word), static_cast<int>(shift)),
                          _mm256_set1_epi32((1 << width) - 1));
}

// Codes of input `input` of a run for 8 outputs, `half` = 0 or 8. Unrolled loops turn every shift into an immediate.
template <u32 kBits, bool kSigned>
inline __attribute__((always_inline)) __m256i codes_at(const Run& run, u64 input, u64 half) noexcept {
  using S = Slices<kBits>;
  constexpr u32 kPerLow = 32 / S::low;
  const u32* low = run.slices[0] + input / kPerLow * kLineWords + half;
  const u32 low_shift = S::low * static_cast<u32>(input % kPerLow);
  if constexpr (kSigned && S::middle == 0) {
    const __m256i left = _mm256_slli_epi32(load_words(low), static_cast<int>(32 - S::low - low_shift));
    return _mm256_srai_epi32(left, 32 - S::low);
  } else {
    __m256i code = shifted_field(low, low_shift, S::low);
    if constexpr (S::middle != 0) {
      constexpr u32 kPerWord = 32 / S::middle;
      const u32 shift = high_shift<S::low, S::middle>(static_cast<u32>(input % kPerWord));
      const __m256i field = shifted_field(run.slices[1] + input / kPerWord * kLineWords + half, shift, S::middle);
      code = _mm256_or_si256(code, _mm256_slli_epi32(field, S::low));
    }
    if constexpr (S::top != 0) {
      const u32 shift = high_shift<S::low, S::top>(static_cast<u32>(input));
      const __m256i field = shifted_field(run.slices[2] + half, shift, S::top);
      code = _mm256_or_si256(code, _mm256_slli_epi32(field, S::low + S::middle));
    }
    if constexpr (kSigned) {
      const __m256i sign = _mm256_set1_epi32(1 << (kBits - 1));
      code = _mm256_sub_epi32(_mm256_xor_si256(code, sign), sign);
    }
    return code;
  }
}

template <bool kSubtract>
__m256 value_of(__m256i codes, __m256 scale, __m256 offset) noexcept {
  const __m256 code = _mm256_cvtepi32_ps(codes);
  if constexpr (kSubtract) {
    return _mm256_mul_ps(scale, _mm256_sub_ps(code, offset));
  } else {
    return _mm256_fmadd_ps(scale, code, offset);
  }
}

// For affine_walk.h.
struct Avx2 {
  struct Numbers {
    __m256 low, high;  // outputs 0..7 and 8..15
  };
  static constexpr u64 kSums = 2;

  static Numbers load(const float* at) noexcept { return {_mm256_loadu_ps(at), _mm256_loadu_ps(at + kLanes)}; }
  static void store(float* at, const Numbers& numbers) noexcept {
    _mm256_storeu_ps(at, numbers.low);
    _mm256_storeu_ps(at + kLanes, numbers.high);
  }
  static Numbers zero() noexcept { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static __m256 broadcast(const float* at) noexcept { return _mm256_broadcast_ss(at); }
  static Numbers add(const Numbers& a, const Numbers& b) noexcept {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
  }
  static Numbers multiply_add(const Numbers& a, __m256 b, const Numbers& c) noexcept {
    return {_mm256_fmadd_ps(a.low, b, c.low), _mm256_fmadd_ps(a.high, b, c.high)};
  }
  template <u32 kBits, bool kSigned, bool kSubtract>
  static inline __attribute__((always_inline)) Numbers value(const Run& run, u64 input, const Numbers& scale,
                                                             const Numbers& offset) noexcept {
    return {value_of<kSubtract>(codes_at<kBits, kSigned>(run, input, 0), scale.low, offset.low),
            value_of<kSubtract>(codes_at<kBits, kSigned>(run, input, kLanes), scale.high, offset.high)};
  }
};

}  // namespace

const TileKernels& avx2_tile_kernels() noexcept {
  static const TileKernels kernels = {tile_dot<Avx2>, tile_decode<Avx2>};
  return kernels;
}

}  // namespace ingot::kernels

// AVX2: panels of binary32 numbers times many vectors, six at once: twelve sums in registers, two loads and six
// broadcasts for twelve multiply-adds.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/float_panels.h"

namespace ingot::kernels {

const FloatKernels& avx2_float_kernels() noexcept;

namespace {

constexpr u64 kVectorsAtOnce = 6;

// Adds a panel times kVectors vectors to their totals.
template <u64 kVectors>
void add_panel(const float* panel, u64 cols, const float* x, float* totals) noexcept {
  __m256 sums[kVectors][2];
#pragma GCC unroll 6
  for (u64 t = 0; t < kVectors; ++t) {
    sums[t][0] = loadu(totals + t * kMaxFloatRows);
    sums[t][1] = loadu(totals + t * kMaxFloatRows + kLanes);
  }
#pragma GCC unroll 4
  for (u64 col = 0; col < cols; ++col) {
    const __m256 low = loadu(panel + col * kRows), high = loadu(panel + col * kRows + kLanes);
#pragma GCC unroll 6
    for (u64 t = 0; t < kVectors; ++t) {
      const __m256 input = _mm256_broadcast_ss(x + col * kVectors + t);
      sums[t][0] = _mm256_fmadd_ps(low, input, sums[t][0]);
      sums[t][1] = _mm256_fmadd_ps(high, input, sums[t][1]);
    }
  }
#pragma GCC unroll 6
  for (u64 t = 0; t < kVectors; ++t) {
    _mm256_storeu_ps(totals + t * kMaxFloatRows, sums[t][0]);
    _mm256_storeu_ps(totals + t * kMaxFloatRows + kLanes, sums[t][1]);
  }
}

constexpr AddPanel kAddPanel[kVectorsAtOnce] = {add_panel<1>, add_panel<2>, add_panel<3>,
                                                add_panel<4>, add_panel<5>, add_panel<6>};

}  // namespace

const FloatKernels& avx2_float_kernels() noexcept {
  static const FloatKernels kernels = {pack<kVectorsAtOnce>, multiply_rows<kVectorsAtOnce, kAddPanel>,
                                       panel_dot<kVectorsAtOnce, kAddPanel>};
  return kernels;
}

}  // namespace ingot::kernels

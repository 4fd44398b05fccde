// AVX-512: panels of binary32 numbers times many vectors, sixteen at once: as many sums in registers.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/float_panels.h"

namespace ingot::kernels {

const FloatKernels& avx512vnni_float_kernels() noexcept;

namespace {

constexpr u64 kVectorsAtOnce = 16;

// Adds a panel times kVectors vectors to their totals.
template <int kVectors>
void add_panel(const float* panel, u64 cols, const float* x, u64 x_stride, float* totals) noexcept {
  __m512 sums[kVectors];
  for (u64 t = 0; t < kVectors; ++t) sums[t] = _mm512_loadu_ps(totals + t * kMaxFloatRows);
#pragma GCC unroll 2
  for (u64 col = 0; col < cols; ++col) {
    const __m512 values = _mm512_loadu_ps(panel + col * kRows);
    for (u64 t = 0; t < kVectors; ++t)
      sums[t] = _mm512_fmadd_ps(values, _mm512_set1_ps(x[t * x_stride + col]), sums[t]);
  }
  for (u64 t = 0; t < kVectors; ++t) _mm512_storeu_ps(totals + t * kMaxFloatRows, sums[t]);
}

void add_to_all(const float* panel, u64 cols, const float* x, u64 x_stride, u64 vectors, float* totals) noexcept {
  u64 t = 0;
  for (; t + kVectorsAtOnce <= vectors; t += kVectorsAtOnce)
    add_panel<kVectorsAtOnce>(panel, cols, x + t * x_stride, x_stride, totals + t * kMaxFloatRows);
  for (; t + 4 <= vectors; t += 4) add_panel<4>(panel, cols, x + t * x_stride, x_stride, totals + t * kMaxFloatRows);
  for (; t < vectors; ++t) add_panel<1>(panel, cols, x + t * x_stride, x_stride, totals + t * kMaxFloatRows);
}

}  // namespace

const FloatKernels& avx512vnni_float_kernels() noexcept {
  static const FloatKernels kernels = {multiply_rows<add_to_all>, panel_dot<add_to_all>};
  return kernels;
}

}  // namespace ingot::kernels

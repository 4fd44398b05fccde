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
template <u64 kVectors>
void add_panel(const float* panel, u64 cols, const float* x, float* totals) noexcept {
  __m512 sums[kVectors];
#pragma GCC unroll 16
  for (u64 t = 0; t < kVectors; ++t) sums[t] = _mm512_loadu_ps(totals + t * kMaxFloatRows);
#pragma GCC unroll 2
  for (u64 col = 0; col < cols; ++col) {
    const __m512 values = _mm512_loadu_ps(panel + col * kRows);
#pragma GCC unroll 16
    for (u64 t = 0; t < kVectors; ++t)
      sums[t] = _mm512_fmadd_ps(values, _mm512_set1_ps(x[col * kVectors + t]), sums[t]);
  }
#pragma GCC unroll 16
  for (u64 t = 0; t < kVectors; ++t) _mm512_storeu_ps(totals + t * kMaxFloatRows, sums[t]);
}

constexpr AddPanel kAddPanel[kVectorsAtOnce] = {add_panel<1>,  add_panel<2>,  add_panel<3>,  add_panel<4>,
                                                add_panel<5>,  add_panel<6>,  add_panel<7>,  add_panel<8>,
                                                add_panel<9>,  add_panel<10>, add_panel<11>, add_panel<12>,
                                                add_panel<13>, add_panel<14>, add_panel<15>, add_panel<16>};

}  // namespace

const FloatKernels& avx512vnni_float_kernels() noexcept {
  static const FloatKernels kernels = {pack<kVectorsAtOnce>, multiply_rows<kVectorsAtOnce, kAddPanel>,
                                       panel_dot<kVectorsAtOnce, kAddPanel>};
  return kernels;
}

}  // namespace ingot::kernels

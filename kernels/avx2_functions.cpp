// AVX2: functions of many numbers. An exponential is 2^n times a polynomial of the rest, which is at most ln(2)/2; it
// is wrong by at most two units in the last place. Beyond the normal numbers it is infinite, or the smallest one of
// them until the true one rounds to 0. Includes nothing but the table: every other symbol has internal linkage (house
// style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/kernel_table.h"

namespace ingot::kernels {

const FunctionKernels& avx2_function_kernels() noexcept;

namespace {

using u64 = std::uint64_t;

constexpr u64 kLanes = 8;

__m256 loadu(const float* at) noexcept { return _mm256_loadu_ps(at); }
__m256 all(float value) noexcept { return _mm256_set1_ps(value); }

constexpr float kGreatest = 88.37626f, kLeast = -87.33654f, kZeroBelow = -103.97208f;

// The operands of min and max are ordered so that what is no number stays none.
__m256 exponential(__m256 argument) noexcept {
  const __m256 x = _mm256_max_ps(all(kLeast), _mm256_min_ps(all(kGreatest), argument));
  const __m256 n =
      _mm256_round_ps(_mm256_mul_ps(x, all(0x1.715476p+0f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln(2) in two parts: n times the first is exact.
  __m256 rest = _mm256_fnmadd_ps(n, all(0x1.62ep-1f), x);
  rest = _mm256_fnmadd_ps(n, all(0x1.0bfbe8p-15f), rest);
  static constexpr float kFactors[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
  __m256 sum = all(1.0f / 5040);
  for (const float factor : kFactors) sum = _mm256_fmadd_ps(sum, rest, all(factor));
  const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  const __m256 power = _mm256_mul_ps(sum, _mm256_castsi256_ps(exponent));
  const __m256 vanishes = _mm256_cmp_ps(argument, all(kZeroBelow), _CMP_LT_OQ);
  const __m256 overflows = _mm256_cmp_ps(argument, all(kGreatest), _CMP_GT_OQ);
  return _mm256_blendv_ps(_mm256_andnot_ps(vanishes, power), all(__builtin_inff()), overflows);
}

float greatest_of(const float* values, u64 size) noexcept {
  __m256 most = all(-__builtin_inff());
  u64 i = 0;
  for (; i + kLanes <= size; i += kLanes) most = _mm256_max_ps(loadu(values + i), most);  // NaN is passed over
  alignas(32) float lanes[kLanes];
  _mm256_store_ps(lanes, most);
  float result = lanes[0];
  for (const float lane : lanes) result = lane > result ? lane : result;
  for (; i < size; ++i) result = values[i] > result ? values[i] : result;
  return result;
}

// The numbers from `begin` on in as many lanes as there are, then zeros.
struct Rest {
  alignas(32) float lanes[kLanes] = {};
  Rest(const float* values, u64 begin, u64 size) noexcept {
    for (u64 i = begin; i < size; ++i) lanes[i - begin] = values[i];
  }
  void store(__m256 values, float* to, u64 begin, u64 size) noexcept {
    _mm256_store_ps(lanes, values);
    for (u64 i = begin; i < size; ++i) to[i] = lanes[i - begin];
  }
};

void softmax(float* values, u64 size, float scale) noexcept {
  u64 i = 0;
  for (; i + kLanes <= size; i += kLanes) _mm256_storeu_ps(values + i, _mm256_mul_ps(loadu(values + i), all(scale)));
  for (; i < size; ++i) values[i] *= scale;
  const __m256 greatest = all(greatest_of(values, size));
  __m256d low = _mm256_setzero_pd(), high = low;
  for (i = 0; i + kLanes <= size; i += kLanes) {
    const __m256 weights = exponential(_mm256_sub_ps(loadu(values + i), greatest));
    low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(weights)));
    high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(weights, 1)));
    _mm256_storeu_ps(values + i, weights);
  }
  alignas(32) double sums[4];
  _mm256_store_pd(sums, _mm256_add_pd(low, high));
  double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  if (i < size) {
    Rest rest(values, i, size);
    rest.store(exponential(_mm256_sub_ps(_mm256_load_ps(rest.lanes), greatest)), values, i, size);
    for (u64 k = i; k < size; ++k) sum += values[k];
  }
  const __m256 norm = all(static_cast<float>(sum));
  for (i = 0; i + kLanes <= size; i += kLanes) _mm256_storeu_ps(values + i, _mm256_div_ps(loadu(values + i), norm));
  for (; i < size; ++i) values[i] /= static_cast<float>(sum);
}

// x / (1 + exp(-x))
__m256 silu(__m256 x) noexcept {
  return _mm256_div_ps(x, _mm256_add_ps(all(1), exponential(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}
// x/2 * (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) * (x + 0.044715 x^3)
__m256 gelu_tanh(__m256 x) noexcept {
  const __m256 cube = _mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(all(0.044715f), x), x), x);
  const __m256 twice = _mm256_mul_ps(all(-2 * 0.7978845608028654f), _mm256_add_ps(x, cube));
  return _mm256_div_ps(x, _mm256_add_ps(all(1), exponential(twice)));
}

template <__m256 (*kFunction)(__m256) noexcept>
void gate(float* values, const float* factors, u64 size) noexcept {
  u64 i = 0;
  for (; i + kLanes <= size; i += kLanes)
    _mm256_storeu_ps(values + i, _mm256_mul_ps(kFunction(loadu(values + i)), loadu(factors + i)));
  if (i == size) return;
  Rest rest(values, i, size);
  const Rest others(factors, i, size);
  rest.store(_mm256_mul_ps(kFunction(_mm256_load_ps(rest.lanes)), _mm256_load_ps(others.lanes)), values, i, size);
}

}  // namespace

const FunctionKernels& avx2_function_kernels() noexcept {
  static const FunctionKernels kernels = {softmax, gate<silu>, gate<gelu_tanh>};
  return kernels;
}

}  // namespace ingot::kernels

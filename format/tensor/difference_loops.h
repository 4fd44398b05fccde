// The body of BulkLoops::add_differences, a part of bulk_loops.h: errors of values, in steps and in places, in one pass.
#pragma once

#include "format/tensor/bulk.h"
#include "format/tensor/float_bits.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kLanes = Differences::kLanes;
constexpr FloatGrid kBinary32{23, -126};

/// Errors of the values that share a step.
struct RunErrors {
  double squared[kLanes];
  double worst[kLanes];
};

inline std::uint64_t bits_of(double value) noexcept {
  std::uint64_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// 1 / the distance of neighbouring numbers around a value (as binary64, so that no exponent is subnormal): a power of
/// two. Infinities and NaN count as zero.
inline double places_per_unit(double value, const FloatGrid& grid) noexcept {
  const auto field = static_cast<std::int64_t>(bits_of(value) >> 52 & 2047);
  const std::int64_t own = field == 2047 ? -1023 : field - 1023;
  const std::int64_t exponent = own < grid.min_exponent ? grid.min_exponent : own;
  const std::uint64_t bits = static_cast<std::uint64_t>(1023 + grid.mantissa_bits - exponent) << 52;
  double places;
  __builtin_memcpy(&places, &bits, sizeof places);
  return places;
}

inline void raise_to(double& largest, double value) noexcept {
  if (value > largest) largest = value;  // never for NaN
}

/// `by_grid`: steps are places of the grid, else finish_run() adds them.
inline void add_difference(float a, float b, const FloatGrid& grid, bool by_grid, std::size_t lane, RunErrors& run,
                           Differences& sum) noexcept {
  const double wide = a;
  sum.squared_value[lane] += (bits_of(a) & 0x7F800000u) == 0x7F800000u ? 0.0 : wide * wide;
  if (a == b || (a != a && b != b)) return;
  ++sum.differing;
  const double distance = __builtin_fabs(static_cast<double>(b) - wide);
  const double error = distance == distance ? distance : __builtin_inf();
  run.squared[lane] += error * error;
  raise_to(run.worst[lane], error);
  const double places = error * places_per_unit(wide, kBinary32);
  sum.squared_places[lane] += places * places;
  raise_to(sum.worst_places[lane], places);
  if (!by_grid) return;
  const double steps = error * places_per_unit(wide, grid);
  sum.squared_steps[lane] += steps * steps;
  raise_to(sum.worst_steps[lane], steps);
}

#ifdef __AVX2__
/// Eight lanes of binary64.
struct Wide {
  __m256d low, high;
};

inline Wide load_wide(const double* lanes) noexcept { return {_mm256_loadu_pd(lanes), _mm256_loadu_pd(lanes + 4)}; }
inline void store_wide(double* lanes, Wide value) noexcept {
  _mm256_storeu_pd(lanes, value.low);
  _mm256_storeu_pd(lanes + 4, value.high);
}
inline Wide widened(__m256 values) noexcept {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(values)), _mm256_cvtps_pd(_mm256_extractf128_ps(values, 1))};
}
inline Wide product(Wide a, Wide b) noexcept { return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)}; }
inline void add_square(Wide& sum, Wide value) noexcept {
  sum.low = _mm256_add_pd(sum.low, _mm256_mul_pd(value.low, value.low));
  sum.high = _mm256_add_pd(sum.high, _mm256_mul_pd(value.high, value.high));
}
inline void raise_to(Wide& largest, Wide value) noexcept {
  largest = {_mm256_max_pd(value.low, largest.low), _mm256_max_pd(value.high, largest.high)};
}
inline Wide distance(Wide a, Wide b) noexcept {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return {_mm256_andnot_pd(sign, _mm256_sub_pd(b.low, a.low)), _mm256_andnot_pd(sign, _mm256_sub_pd(b.high, a.high))};
}

/// places_per_unit() of eight finite values, from the exponents in their bits; no grid has numbers below binary32's.
inline Wide places_lanes(__m256i exponents, const FloatGrid& grid) noexcept {
  const __m256i clamped = _mm256_max_epi32(exponents, _mm256_set1_epi32((127 + grid.min_exponent) << 23));
  const __m256i top = _mm256_set1_epi32((1023 + 127 + grid.mantissa_bits) << 20);
  const __m256i words = _mm256_sub_epi32(top, _mm256_srli_epi32(clamped, 3));  // the upper halves
  const auto as_doubles = [](__m128i four) {
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_cvtepu32_epi64(four), 32));
  };
  return {as_doubles(_mm256_castsi256_si128(words)), as_doubles(_mm256_extracti128_si256(words, 1))};
}

/// As add_difference() does one value, eight at a time; returns how many were done.
template <bool by_grid>
inline std::uint64_t add_by_eight(const float* a, const float* b, const FloatGrid& grid, std::uint64_t count,
                                  RunErrors& run, Differences& sum) noexcept {
  const __m256i special = _mm256_set1_epi32(0x7F800000);
  Wide squared_value = load_wide(sum.squared_value), squared = load_wide(run.squared), worst = load_wide(run.worst);
  Wide squared_places = load_wide(sum.squared_places), worst_places = load_wide(sum.worst_places);
  Wide squared_steps{}, worst_steps{};
  if constexpr (by_grid) {
    squared_steps = load_wide(sum.squared_steps);
    worst_steps = load_wide(sum.worst_steps);
  }
  std::uint64_t i = 0, differing = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const __m256 values = _mm256_loadu_ps(a + i), others = _mm256_loadu_ps(b + i);
    const __m256i exponents = _mm256_and_si256(_mm256_castps_si256(values), special);
    const __m256i other_exponents = _mm256_and_si256(_mm256_castps_si256(others), special);
    const __m256i not_finite =
        _mm256_or_si256(_mm256_cmpeq_epi32(exponents, special), _mm256_cmpeq_epi32(other_exponents, special));
    if (_mm256_testz_si256(not_finite, not_finite) == 0) break;
    const unsigned unequal = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(values, others, _CMP_NEQ_OQ)));
    differing += static_cast<std::uint64_t>(__builtin_popcount(unequal));
    const Wide from = widened(values);
    add_square(squared_value, from);
    const Wide error = distance(from, widened(others));
    add_square(squared, error);
    raise_to(worst, error);
    const Wide places = product(error, places_lanes(exponents, kBinary32));
    add_square(squared_places, places);
    raise_to(worst_places, places);
    if constexpr (by_grid) {
      const Wide steps = product(error, places_lanes(exponents, grid));
      add_square(squared_steps, steps);
      raise_to(worst_steps, steps);
    }
  }
  sum.differing += differing;
  store_wide(sum.squared_value, squared_value);
  store_wide(run.squared, squared);
  store_wide(run.worst, worst);
  store_wide(sum.squared_places, squared_places);
  store_wide(sum.worst_places, worst_places);
  if constexpr (by_grid) {
    store_wide(sum.squared_steps, squared_steps);
    store_wide(sum.worst_steps, worst_steps);
  }
  return i;
}
inline void add_lanes(double* lanes, Wide value) noexcept {
  const Wide sum = load_wide(lanes);
  store_wide(lanes, {_mm256_add_pd(sum.low, value.low), _mm256_add_pd(sum.high, value.high)});
}
inline void raise_lanes(double* lanes, Wide value) noexcept {
  Wide largest = load_wide(lanes);
  raise_to(largest, value);
  store_wide(lanes, largest);
}
inline Wide quotient(Wide value, double divisor) noexcept {
  const __m256d by = _mm256_set1_pd(divisor);
  return {_mm256_div_pd(value.low, by), _mm256_div_pd(value.high, by)};
}

inline void finish_lanes(const RunErrors& run, bool has_step, double step, Differences& sum) noexcept {
  const Wide squared = load_wide(run.squared), worst = load_wide(run.worst);
  add_lanes(sum.squared_error, squared);
  raise_lanes(sum.worst_error, worst);
  if (!has_step) return;
  if (step > 0) add_lanes(sum.squared_steps, quotient(squared, step * step));
  raise_lanes(sum.worst_steps, quotient(worst, step));
}
#endif

/// Adds what had to wait for the end of the run, whose size may be null.
inline void finish_run(const RunErrors& run, const float* size, Differences& sum) noexcept {
  const double step = size == nullptr ? 0 : __builtin_fabs(static_cast<double>(*size));
#ifdef __AVX2__
  finish_lanes(run, size != nullptr, step, sum);
#else
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sum.squared_error[lane] += run.squared[lane];
    raise_to(sum.worst_error[lane], run.worst[lane]);
    if (size == nullptr) continue;
    if (step > 0) sum.squared_steps[lane] += run.squared[lane] / (step * step);
    raise_to(sum.worst_steps[lane], run.worst[lane] / step);
  }
#endif
}

inline void add_run(const float* a, const float* b, const FloatGrid& grid, bool by_grid, std::uint64_t count,
                    RunErrors& run, Differences& sum) noexcept {
  std::uint64_t i = 0;
  while (i < count) {
#ifdef __AVX2__
    if (!by_grid) i += add_by_eight<false>(a + i, b + i, grid, count - i, run, sum);
    if (by_grid && grid.min_exponent >= kBinary32.min_exponent)
      i += add_by_eight<true>(a + i, b + i, grid, count - i, run, sum);
#endif
    const std::uint64_t end = i + kLanes < count ? i + kLanes : count;  // the rest, or what is not finite
    for (; i < end; ++i) add_difference(a[i], b[i], grid, by_grid, i % kLanes, run, sum);
  }
}

inline void clear(RunErrors& run) noexcept {
  for (std::size_t lane = 0; lane < kLanes; ++lane) run.squared[lane] = run.worst[lane] = 0;
}

void loop_add_differences(const float* a, const float* b, const Steps& steps, std::uint64_t count,
                          Differences& sum) noexcept {
  const bool by_grid = steps.sizes == nullptr;
  const float* size = steps.sizes;
  std::uint64_t end = by_grid ? count : steps.run_elems - steps.skipped;
  for (std::uint64_t begin = 0; begin < count; begin = end, end += steps.run_elems) {
    if (end > count) end = count;
    RunErrors run;
    clear(run);
    add_run(a + begin, b + begin, steps.grid, by_grid, end - begin, run, sum);
    finish_run(run, size, sum);
    if (!by_grid) ++size;
  }
}

}  // namespace
}  // namespace ingot::tensor

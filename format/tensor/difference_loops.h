// The body of BulkLoops::add_differences, a part of bulk_loops.h: errors of values, in steps and in places, in one
// pass.
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
  const double farther = __builtin_fabs(wide) > __builtin_fabs(static_cast<double>(b)) ? wide : b;
  const double places = error * places_per_unit(farther, kBinary32);
  sum.squared_places[lane] += places * places;
  raise_to(sum.worst_places[lane], places);
  if (!by_grid) return;
  const double steps = error * places_per_unit(farther, grid);
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
inline Wide load_widened(const float* values) noexcept {
  return {_mm256_cvtps_pd(_mm_loadu_ps(values)), _mm256_cvtps_pd(_mm_loadu_ps(values + 4))};
}
inline Wide product(Wide a, Wide b) noexcept { return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)}; }
inline void add_square(Wide& sum, Wide value) noexcept {
  sum.low = _mm256_add_pd(sum.low, _mm256_mul_pd(value.low, value.low));
  sum.high = _mm256_add_pd(sum.high, _mm256_mul_pd(value.high, value.high));
}
inline __m256d larger_magnitude(__m256d a, __m256d b) noexcept {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return _mm256_max_pd(_mm256_andnot_pd(sign, a), _mm256_andnot_pd(sign, b));
}
inline Wide larger_magnitude(Wide a, Wide b) noexcept {
  return {larger_magnitude(a.low, b.low), larger_magnitude(a.high, b.high)};
}
inline void raise_to(Wide& largest, Wide value) noexcept {
  largest = {_mm256_max_pd(value.low, largest.low), _mm256_max_pd(value.high, largest.high)};
}
inline Wide distance(Wide a, Wide b) noexcept {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return {_mm256_andnot_pd(sign, _mm256_sub_pd(b.low, a.low)), _mm256_andnot_pd(sign, _mm256_sub_pd(b.high, a.high))};
}

/// places_per_unit() of four finite values: their powers of two, turned over by a subtraction of exponents.
inline __m256d places_lanes(__m256d values, __m256d least_power, __m256i top) noexcept {
  const __m256d exponent = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7FF0000000000000));
  const __m256d power = _mm256_max_pd(_mm256_and_pd(values, exponent), least_power);
  return _mm256_castsi256_pd(_mm256_sub_epi64(top, _mm256_castpd_si256(power)));
}
inline Wide places_lanes(Wide values, const FloatGrid& grid) noexcept {
  const auto exponent_bits = [](int exponent) { return static_cast<long long>(exponent) << 52; };
  const __m256d least = _mm256_castsi256_pd(_mm256_set1_epi64x(exponent_bits(1023 + grid.min_exponent)));
  const __m256i top = _mm256_set1_epi64x(exponent_bits(2 * 1023 + grid.mantissa_bits));
  return {places_lanes(values.low, least, top), places_lanes(values.high, least, top)};
}

inline Wide times(Wide value, double factor) noexcept {
  const __m256d by = _mm256_set1_pd(factor);
  return {_mm256_mul_pd(value.low, by), _mm256_mul_pd(value.high, by)};
}
inline double largest_lane(Wide value) noexcept {
  const __m256d four = _mm256_max_pd(value.low, value.high);
  const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_max_sd(_mm_unpackhi_pd(two, two), two));
}
inline void add(Wide& sum, Wide value) noexcept {
  sum.low = _mm256_add_pd(sum.low, value.low);
  sum.high = _mm256_add_pd(sum.high, value.high);
}

/// Differences and RunErrors in registers.
struct WideErrors {
  Wide squared{}, worst{};
};
struct WideSums {
  Wide squared_value, squared_error, squared_steps, squared_places, worst_error, worst_steps, worst_places;
  std::uint64_t differing;
  __m256i more_differing{};  // lanes of 32 bits: fewer than 2^35 values come at once
  explicit WideSums(const Differences& sum) noexcept
      : squared_value(load_wide(sum.squared_value)),
        squared_error(load_wide(sum.squared_error)),
        squared_steps(load_wide(sum.squared_steps)),
        squared_places(load_wide(sum.squared_places)),
        worst_error(load_wide(sum.worst_error)),
        worst_steps(load_wide(sum.worst_steps)),
        worst_places(load_wide(sum.worst_places)),
        differing(sum.differing) {}
  void store(Differences& sum) const noexcept {
    store_wide(sum.squared_value, squared_value);
    store_wide(sum.squared_error, squared_error);
    store_wide(sum.squared_steps, squared_steps);
    store_wide(sum.squared_places, squared_places);
    store_wide(sum.worst_error, worst_error);
    store_wide(sum.worst_steps, worst_steps);
    store_wide(sum.worst_places, worst_places);
    std::uint32_t more[kLanes];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(more), more_differing);
    sum.differing = differing;
    for (const std::uint32_t lane : more) sum.differing += lane;
  }
};

/// As add_difference() does one value; false, and nothing done, where one of the eight is not finite.
template <bool by_grid>
inline bool add_eight(const float* a, const float* b, const FloatGrid& grid, WideErrors& run, WideSums& sum) noexcept {
  const __m256i special = _mm256_set1_epi32(0x7F800000);
  const __m256 values = _mm256_loadu_ps(a), others = _mm256_loadu_ps(b);
  const __m256i larger = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(values), special),
                                          _mm256_and_si256(_mm256_castps_si256(others), special));
  if (_mm256_movemask_epi8(_mm256_cmpeq_epi32(larger, special)) != 0) return false;
  const __m256i unequal = _mm256_castps_si256(_mm256_cmp_ps(values, others, _CMP_NEQ_OQ));  // -1 where so
  sum.more_differing = _mm256_sub_epi32(sum.more_differing, unequal);
  const Wide from = load_widened(a), to = load_widened(b);
  add_square(sum.squared_value, from);
  const Wide error = distance(from, to);
  add_square(run.squared, error);
  raise_to(run.worst, error);
  const Wide farther = larger_magnitude(from, to);
  const Wide places = product(error, places_lanes(farther, kBinary32));
  add_square(sum.squared_places, places);
  raise_to(sum.worst_places, places);
  if constexpr (by_grid) {
    const Wide steps = product(error, places_lanes(farther, grid));
    add_square(sum.squared_steps, steps);
    raise_to(sum.worst_steps, steps);
  }
  return true;
}

/// As add_difference() does fewer than eight values, or some that are not finite.
inline void add_one_by_one(const float* a, const float* b, std::uint64_t count, const FloatGrid& grid, bool by_grid,
                           WideErrors& run, WideSums& sum) noexcept {
  Differences stored;
  RunErrors errors;
  sum.store(stored);
  store_wide(errors.squared, run.squared);
  store_wide(errors.worst, run.worst);
  for (std::uint64_t i = 0; i < count; ++i) add_difference(a[i], b[i], grid, by_grid, i, errors, stored);
  sum = WideSums(stored);
  run = {load_wide(errors.squared), load_wide(errors.worst)};
}

/// Adds what had to wait for the end of the run.
inline void finish_wide(const WideErrors& run, const float* size, WideSums& sum) noexcept {
  add(sum.squared_error, run.squared);
  raise_to(sum.worst_error, run.worst);
  if (size == nullptr) return;
  const double step = __builtin_fabs(static_cast<double>(*size));
  if (step > 0) add(sum.squared_steps, times(run.squared, 1 / (step * step)));
  const __m128d worst = _mm_set_sd(largest_lane(run.worst) / step);
  sum.worst_steps.low = _mm256_max_pd(_mm256_zextpd128_pd256(worst), sum.worst_steps.low);
}

template <bool by_grid>
void add_wide(const float* a, const float* b, const Steps& steps, std::uint64_t count, Differences& sum) noexcept {
  WideSums wide(sum);
  const float* size = steps.sizes;
  std::uint64_t end = by_grid ? count : steps.run_elems - steps.skipped;
  for (std::uint64_t begin = 0; begin < count; begin = end, end += steps.run_elems) {
    if (end > count) end = count;
    WideErrors run;
    for (std::uint64_t i = begin; i < end; i += kLanes) {
      if (end - i >= kLanes && add_eight<by_grid>(a + i, b + i, steps.grid, run, wide)) continue;
      const std::uint64_t some = end - i < kLanes ? end - i : kLanes;
      add_one_by_one(a + i, b + i, some, steps.grid, by_grid, run, wide);
    }
    finish_wide(run, size, wide);
    if (!by_grid) ++size;
  }
  wide.store(sum);
}
#endif

/// Adds what had to wait for the end of the run, whose size may be null.
inline void finish_run(const RunErrors& run, const float* size, Differences& sum) noexcept {
  const double step = size == nullptr ? 0 : __builtin_fabs(static_cast<double>(*size));
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sum.squared_error[lane] += run.squared[lane];
    raise_to(sum.worst_error[lane], run.worst[lane]);
    if (size == nullptr) continue;
    if (step > 0) sum.squared_steps[lane] += run.squared[lane] * (1 / (step * step));
    raise_to(sum.worst_steps[0], run.worst[lane] / step);
  }
}

inline void clear(RunErrors& run) noexcept {
  for (std::size_t lane = 0; lane < kLanes; ++lane) run.squared[lane] = run.worst[lane] = 0;
}

void loop_add_differences(const float* a, const float* b, const Steps& steps, std::uint64_t count,
                          Differences& sum) noexcept {
  const bool by_grid = steps.sizes == nullptr;
#ifdef __AVX2__
  if (!by_grid) return add_wide<false>(a, b, steps, count, sum);
  if (steps.grid.min_exponent >= kBinary32.min_exponent) return add_wide<true>(a, b, steps, count, sum);
#endif
  const float* size = steps.sizes;
  std::uint64_t end = by_grid ? count : steps.run_elems - steps.skipped;
  for (std::uint64_t begin = 0; begin < count; begin = end, end += steps.run_elems) {
    if (end > count) end = count;
    RunErrors run;
    clear(run);
    for (std::uint64_t i = begin; i < end; ++i)
      add_difference(a[i], b[i], steps.grid, by_grid, (i - begin) % kLanes, run, sum);
    finish_run(run, size, sum);
    if (!by_grid) ++size;
  }
}

}  // namespace
}  // namespace ingot::tensor

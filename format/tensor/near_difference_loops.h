// The body of BulkLoops::add_near_differences, a part of bulk_loops.h: errors in binary32, chunk by chunk, and exactly
// where that could be seen.
#pragma once

#include "format/tensor/difference_loops.h"
#include "format/tensor/eight_lanes.h"

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kChunkElems = 128;  // added up in binary32: sixteen values a lane
constexpr float kTooLarge = 0x1p120f;       // sums beyond it are made exactly,
constexpr float kTooSmall = 0x1p-90f;       // and those whose squares may have been lost
constexpr float kNearly = 1 - 0x1p-20f;     // largest errors of binary32 are off by less

static_assert(kEight == kLanes);

inline void add_square(Eight& sum, const Eight& value) noexcept { sum = plus(sum, product(value, value)); }

/// Of a chunk. Places are those of numbers without a mantissa; so are steps by a grid.
struct NearSums {
  Eight value = every(0), error = every(0), steps = every(0), places = every(0);
  Eight worst_error = every(0), worst_steps = every(0), worst_places = every(0);
  Counts unequal{};
};

/// The worst that is known, and what is so near to it that errors have to be looked at.
struct NearLimits {
  Eight error, steps, places;
  Eight near_error, near_steps, near_places;
};

inline std::int32_t least_power_of(const FloatGrid& grid) noexcept { return (127 + grid.min_exponent) << 23; }
inline double power_of_two(int exponent) noexcept {
  const std::uint64_t bits = static_cast<std::uint64_t>(1023 + exponent) << 52;
  double power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return power;
}
inline double largest_of(const double (&lanes)[kLanes]) noexcept {
  double largest = 0;
  for (const double lane : lanes) raise_to(largest, lane);
  return largest;
}
/// The greatest number of binary32 that is not above a known worst error, in the unit of NearSums.
inline float floor_of(double worst, int mantissa_bits) noexcept {
  const double number = worst * power_of_two(-mantissa_bits);
  if (!(number < kTooLarge)) return kTooLarge;
  const auto nearest = static_cast<float>(number);
  return nearest > number ? from_bits(bits_of(nearest) - 1) : nearest;
}

inline NearLimits limits_of(const Differences& sum, int step_bits) noexcept {
  const float error = floor_of(largest_of(sum.worst_error), 0),
              steps = floor_of(largest_of(sum.worst_steps), step_bits),
              places = floor_of(largest_of(sum.worst_places), kBinary32.mantissa_bits);
  return {every(error),           every(steps),           every(places),
          every(error * kNearly), every(steps * kNearly), every(places * kNearly)};
}

/// Eights of values that share a step, which is 1 / `inverse` without a grid.
template <bool by_grid>
inline void add_near(const float* a, const float* b, std::uint64_t count, const FloatGrid& grid, float inverse,
                     NearSums& sum) noexcept {
  Eight error_sum = every(0), worst = every(0);
  for (std::uint64_t i = 0; i < count; i += kLanes) {
    const Eight from = load_eight(a + i), to = load_eight(b + i), error = distance(from, to);
    count_unequal(sum.unequal, from, to);
    add_square(sum.value, from);
    add_square(error_sum, error);
    worst = larger(worst, error);
    const Eight farther = larger_magnitude(from, to);
    const Eight places = product(error, inverse_powers(farther, least_power_of(kBinary32)));
    add_square(sum.places, places);
    sum.worst_places = larger(sum.worst_places, places);
    if constexpr (by_grid) {
      const Eight steps = product(error, inverse_powers(farther, least_power_of(grid)));
      add_square(sum.steps, steps);
      sum.worst_steps = larger(sum.worst_steps, steps);
    }
  }
  sum.error = plus(sum.error, error_sum);
  sum.worst_error = larger(sum.worst_error, worst);
  if constexpr (!by_grid) {
    const Eight by = every(inverse);
    sum.steps = plus(sum.steps, product(product(error_sum, by), by));
    sum.worst_steps = larger(sum.worst_steps, product(worst, by));
  }
}

/// Would binary64 add up to something else? Infinities and NaN get into the sums.
inline bool has_near_sums(const NearSums& sum) noexcept {
  const Eight all = plus(plus(sum.value, sum.error), plus(sum.steps, sum.places));
  return !any_not_below(all, every(kTooLarge)) && !any_below(sum.value, every(kTooSmall)) &&
         !any_lost(sum.error, sum.worst_error, kTooSmall) && !any_lost(sum.steps, sum.worst_error, kTooSmall);
}

inline bool is_below(const NearSums& sum, const NearLimits& limits) noexcept {
  return !any_above(sum.worst_error, limits.near_error) && !any_above(sum.worst_steps, limits.near_steps) &&
         !any_above(sum.worst_places, limits.near_places);
}

/// Where a value is in its run.
struct RunPosition {
  std::uint64_t run, in_run;
};

template <bool by_grid>
inline NearSums near_sums(const float* a, const float* b, std::uint64_t count, const Steps& steps,
                          RunPosition at) noexcept {
  NearSums sum;
  if constexpr (by_grid) {
    add_near<true>(a, b, count, steps.grid, 0, sum);
    return sum;
  }
  for (std::uint64_t begin = 0; begin < count; at = {at.run + 1, 0}) {
    const std::uint64_t rest = steps.run_elems - at.in_run, some = rest < count - begin ? rest : count - begin;
    add_near<false>(a + begin, b + begin, some, steps.grid, 1 / __builtin_fabsf(steps.sizes[at.run]), sum);
    begin += some;
  }
  return sum;
}

inline double largest_lane(const Eight& value) noexcept {
  float lanes[kLanes];
  store_eight(lanes, value);
  float largest = 0;
  for (const float lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}

/// Are all differences numbers of binary32?
inline bool are_exact(const float* a, const float* b, std::uint64_t count) noexcept {
  Eight lost = every(0);
  for (std::uint64_t i = 0; i < count; i += kLanes)
    lost = any_bit(lost, distance(every(0), lost_of_distance(load_eight(a + i), load_eight(b + i))));
  return !any_not_below(lost, every(0x1p-149f));
}

/// Of exact differences: does one have more steps than `worst`? No grid.
inline bool has_more_steps(const float* a, const float* b, std::uint64_t count, const Steps& steps, RunPosition at,
                           double worst) noexcept {
  for (std::uint64_t begin = 0; begin < count; at = {at.run + 1, 0}) {
    const std::uint64_t rest = steps.run_elems - at.in_run, some = rest < count - begin ? rest : count - begin;
    Eight error = every(0);
    for (std::uint64_t i = begin; i < begin + some; i += kLanes)
      error = larger(error, distance(load_eight(a + i), load_eight(b + i)));
    if (largest_lane(error) / __builtin_fabs(static_cast<double>(steps.sizes[at.run])) > worst) return true;
    begin += some;
  }
  return false;
}

/// Are there errors as large as the largest that are known, but none beyond? Values on few steps have them everywhere.
template <bool by_grid>
bool has_known_worst(const float* a, const float* b, std::uint64_t count, const Steps& steps, RunPosition at,
                     const NearSums& near, const NearLimits& limits, double worst_steps) noexcept {
  if (any_above(near.worst_error, limits.error) || any_above(near.worst_places, limits.places) ||
      (by_grid && any_above(near.worst_steps, limits.steps)) || !are_exact(a, b, count))
    return false;
  return by_grid || !any_above(near.worst_steps, limits.near_steps) ||
         !has_more_steps(a, b, count, steps, at, worst_steps);
}

template <bool by_grid>
void add_near_chunks(const float* a, const float* b, const Steps& steps, std::uint64_t count,
                     Differences& sum) noexcept {
  const int step_bits = by_grid ? steps.grid.mantissa_bits : 0;
  const double in_steps = power_of_two(2 * step_bits), in_places = power_of_two(2 * kBinary32.mantissa_bits);
  NearLimits known = limits_of(sum, step_bits);
  for (std::uint64_t begin = 0; begin < count; begin += kChunkElems) {
    const std::uint64_t some = count - begin < kChunkElems ? count - begin : kChunkElems;
    const std::uint64_t passed = steps.skipped + begin;
    const RunPosition at =
        by_grid ? RunPosition{0, 0} : RunPosition{passed / steps.run_elems, passed % steps.run_elems};
    if (some % kLanes == 0) {
      const NearSums own = near_sums<by_grid>(a + begin, b + begin, some, steps, at);
      if (has_near_sums(own) &&
          (is_below(own, known) ||
           has_known_worst<by_grid>(a + begin, b + begin, some, steps, at, own, known, largest_of(sum.worst_steps)))) {
        add_widened(sum.squared_value, own.value, 1);
        add_widened(sum.squared_error, own.error, 1);
        add_widened(sum.squared_steps, own.steps, in_steps);
        add_widened(sum.squared_places, own.places, in_places);
        sum.differing += total(own.unequal);
        continue;
      }
    }
    Steps own = steps;
    if (!by_grid) own.sizes += at.run;
    own.skipped = at.in_run;
    loop_add_differences(a + begin, b + begin, own, some, sum);
    known = limits_of(sum, step_bits);
  }
}

void loop_add_near_differences(const float* a, const float* b, const Steps& steps, std::uint64_t count,
                               Differences& sum) noexcept {
  const bool by_grid = steps.sizes == nullptr;
  if (by_grid && steps.grid.min_exponent >= kBinary32.min_exponent)
    return add_near_chunks<true>(a, b, steps, count, sum);
  if (!by_grid && steps.run_elems % kLanes == 0 && steps.skipped % kLanes == 0)
    return add_near_chunks<false>(a, b, steps, count, sum);
  loop_add_differences(a, b, steps, count, sum);
}

}  // namespace
}  // namespace ingot::tensor

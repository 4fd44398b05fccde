// Means with their standard errors, from sums that can be stored and continued; medians.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace ingot::runtime {

struct RunningMean {
  std::uint64_t count = 0;
  double sum = 0, sum_of_squares = 0;

  void add(double value) noexcept {
    ++count;
    sum += value;
    sum_of_squares += value * value;
  }
  [[nodiscard]] double mean() const noexcept { return count == 0 ? 0 : sum / static_cast<double>(count); }
  /// Standard deviation of the mean, the values taken as independent; 0 for fewer than two.
  [[nodiscard]] double error() const noexcept {
    if (count < 2) return 0;
    const double variance = sum_of_squares / static_cast<double>(count) - mean() * mean();
    return variance > 0 ? std::sqrt(variance / static_cast<double>(count - 1)) : 0;
  }
};

/// The middle one, or the mean of the two in the middle. `values` is not empty.
[[nodiscard]] inline double median(std::vector<double> values) noexcept {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace ingot::runtime

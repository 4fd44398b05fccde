// Means with their standard errors, from sums that can be stored and continued.
#pragma once

#include <cmath>
#include <cstdint>

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

}  // namespace ingot::runtime

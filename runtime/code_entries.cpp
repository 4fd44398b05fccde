#include "runtime/code_entries.h"

#include <algorithm>
#include <cmath>

namespace ingot::runtime {
namespace {

constexpr int kGreatestEntry = kernels::kEntryMiddle - 1;  // of either sign

// The greatest power of two that divides all values; they are finite and not all zero.
double common_power(std::span<const float> values) {
  int least = 1000;
  for (const float value : values) {
    if (value == 0) continue;
    int exponent = 0;
    auto digits = static_cast<long>(std::ldexp(std::frexp(std::fabs(value), &exponent), 24));
    exponent -= 24;
    for (; digits % 2 == 0; digits /= 2) ++exponent;
    least = std::min(least, exponent);
  }
  return std::ldexp(1.0, least);
}

// Into how many steps, not a whole number of them, the greatest magnitude is best cut: where no value is far from a
// whole number of steps.
double best_steps(std::span<const float> values, double greatest) {
  constexpr int kTrials = 64;  // for each whole number
  double best = kGreatestEntry, least = 1;
  for (int trial = kGreatestEntry * kTrials; trial > kGreatestEntry * kTrials * 7 / 8; --trial) {
    const double steps = static_cast<double>(trial) / kTrials;
    double error = 0;
    for (const float value : values) {
      const double exact = value / greatest * steps;
      error = std::max(error, std::fabs(exact - std::nearbyint(exact)) / steps);
    }
    if (error < least) best = steps;
    least = std::min(least, error);
  }
  return best;
}

}  // namespace

std::optional<CodeEntries> code_entries(std::span<const float> values) {
  constexpr double kLeast = 1e-30, kMost = 1e30;
  double greatest = 0;
  for (const float value : values) {
    if (!std::isfinite(value)) return std::nullopt;
    greatest = std::max(greatest, std::fabs(static_cast<double>(value)));
  }
  if (values.size() != 16 || greatest < kLeast || greatest > kMost) return std::nullopt;
  double step = common_power(values), origin = kernels::kEntryMiddle;
  const auto is_small = [&] {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    return (*most - *least) / step < kernels::kSmallEntries;
  };
  const bool is_exact = greatest / step <= kGreatestEntry, are_small = is_exact && is_small();
  if (!is_exact) step = static_cast<float>(greatest / best_steps(values, greatest));
  if (are_small) origin = std::max(0.0, -*std::min_element(values.begin(), values.end()) / step);
  CodeEntries result = {{{}, are_small}, static_cast<float>(step), static_cast<float>(origin)};
  for (std::size_t c = 0; c < values.size(); ++c)
    result.table.entries[c] = static_cast<std::uint8_t>(std::nearbyint(values[c] / step) + origin);
  return result;
}

}  // namespace ingot::runtime

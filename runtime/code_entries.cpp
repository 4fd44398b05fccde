#include "runtime/code_entries.h"

#include <algorithm>
#include <cmath>

namespace ingot::runtime {
namespace {

// Of either sign; entries are shifted by it to become unsigned.
constexpr int kGreatestEntry = kernels::kEntryParts * kernels::kEntryParts / 2 - 1;
constexpr int kNarrowEntries = 32;

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

// Into how many steps the greatest magnitude is best cut: where no value is far from a whole number of them.
int best_steps(std::span<const float> values, double greatest) {
  int best = kGreatestEntry;
  double least = 1;
  for (int steps = kGreatestEntry; steps > kGreatestEntry * 7 / 8; --steps) {
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
  double step = common_power(values), origin = kGreatestEntry;
  if (greatest / step <= kGreatestEntry) {
    origin = std::max(0.0, -*std::min_element(values.begin(), values.end()) / step);
  } else {
    step = static_cast<float>(greatest / best_steps(values, greatest));
  }
  CodeEntries result = {{}, static_cast<float>(step), static_cast<float>(origin)};
  for (std::size_t c = 0; c < values.size(); ++c) {
    const double steps = std::nearbyint(values[c] / step);
    const auto entry = static_cast<int>(steps + origin);
    result.table.low[c] = static_cast<std::uint8_t>(entry % kernels::kEntryParts);
    result.table.high[c] = static_cast<std::uint8_t>(entry / kernels::kEntryParts);
    result.table.is_wide = result.table.is_wide || entry >= kNarrowEntries;
  }
  return result;
}

}  // namespace ingot::runtime

// Does a block of floats lie on a grid, and which one? Implements spec/recovery.md sections 2 and 3.
#include "converters/recover/lattice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "format/tensor/float_codes.h"

namespace ingot::convert::recovering {
namespace {

using tensor::DType;

constexpr double kMostNumber = 255;  // magnitude of an integer
constexpr double kSlack = 1.5;       // of magnitudes that were rounded, to denormals at worst

/// A value, less the offset, and how far the number may be that was rounded to it. Magnitudes; the sign is apart.
struct Point {
  double magnitude, reach;
  bool negative;
};

struct Range {
  double low, high;
  [[nodiscard]] double middle() const noexcept { return (low + high) / 2; }
  /// Keeps the scales for which scale * number rounds to the point; false: none is left.
  [[nodiscard]] bool narrow(const Point& point, double number) noexcept {
    low = std::max(low, (point.magnitude - point.reach) / number);
    high = std::min(high, (point.magnitude + point.reach) / number);
    return low <= high;
  }
};
Range range_of(const Point& point, double number) noexcept {
  return {(point.magnitude - point.reach) / number, (point.magnitude + point.reach) / number};
}

double rounded_scale(DType type, double value) noexcept {
  if (type == DType::e8m0) return std::exp2(std::clamp(std::nearbyint(std::log2(value)), -127.0, 127.0));
  return Precision(type).round(value);
}

/// Chooses the scale of the fit: one that gives the values themselves, else one whose products round to them.
class ScaleChoice {
 public:
  ScaleChoice(const Lattice& lattice, const std::vector<Point>& points, const std::vector<double>& numbers)
      : lattice_(lattice), points_(points), numbers_(numbers), precision_(lattice.source) {}

  [[nodiscard]] bool choose(const Range& range, Fit& fit) const {
    const double quotient = points_.back().magnitude / numbers_.back();
    const double first = rounded_scale(lattice_.scale_type, quotient);
    if (first == quotient && accept(first, fit) && fit.exact) return true;
    if (lattice_.scale_type == DType::e8m0) return false;
    constexpr int kSteps = 8;
    const double middle = rounded_scale(lattice_.scale_type, range.middle());
    const double step = Precision(lattice_.scale_type).gap(middle);
    for (int i = 0; i <= 2 * kSteps; ++i) {
      const double scale = rounded_scale(lattice_.scale_type, middle + (i % 2 == 0 ? i / 2 : -(i + 1) / 2) * step);
      if (accept(scale, fit)) return true;
    }
    return false;
  }

 private:
  [[nodiscard]] bool accept(double scale, Fit& fit) const noexcept {
    if (!(scale > 0) || !std::isfinite(scale)) return false;
    bool exact = true;
    for (std::size_t i = 0; i < points_.size(); ++i) {
      const double sign = points_[i].negative ? -1 : 1, wanted = fit.offset + sign * points_[i].magnitude;
      const double product = sign * (scale * numbers_[i]);
      const double made = static_cast<float>(fit.offset + product);
      if (made == wanted) continue;
      const bool in_one_step = precision_.round(made) == wanted;
      // MLX rounds twice.
      if (!in_one_step && precision_.round(fit.offset + precision_.round(product)) != wanted) return false;
      exact = false;
    }
    fit.scale = scale;
    fit.exact = exact;
    return true;
  }

  const Lattice& lattice_;
  const std::vector<Point>& points_;
  const std::vector<double>& numbers_;
  Precision precision_;
};

/// Every value but one must match; repeated ones are worth the least of all.
double evidence_of(const std::vector<Point>& points, const std::vector<double>& steps, std::uint64_t nonzero) {
  if (points.size() < 2) return 0;
  double sum = 0, least = std::numeric_limits<double>::max(), greatest = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double bits = std::max(0.0, std::log2(steps[i] / (2 * points[i].reach)));
    sum += bits;
    least = std::min(least, bits);
    greatest = std::max(greatest, bits);
  }
  const std::uint64_t repeated = nonzero > points.size() ? nonzero - points.size() : 0;
  return sum - greatest + static_cast<double>(repeated) * least;
}

/// Integers: the largest step of which every point is a multiple.
bool fit_multiples(const Lattice& lattice, const std::vector<Point>& points, std::uint64_t nonzero, Fit& fit) {
  const double spread = points.back().magnitude / points.front().magnitude;
  std::vector<double> numbers(points.size());
  for (int first = 1; first * spread < kMostNumber + 1; ++first) {
    Range range = range_of(points[0], first);
    bool fits = range.low > 0;
    for (std::size_t i = 0; fits && i < points.size(); ++i) {
      numbers[i] = std::nearbyint(points[i].magnitude / range.middle());
      fits = numbers[i] >= 1 && numbers[i] <= kMostNumber && range.narrow(points[i], numbers[i]);
    }
    if (!fits || !ScaleChoice(lattice, points, numbers).choose(range, fit)) continue;
    fit.least = fit.greatest = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
      const int number = static_cast<int>(points[i].negative ? -numbers[i] : numbers[i]);
      fit.least = std::min(fit.least, number);
      fit.greatest = std::max(fit.greatest, number);
    }
    if (fit.greatest - fit.least > static_cast<int>(kMostNumber)) return false;
    fit.evidence = evidence_of(points, std::vector<double>(points.size(), fit.scale), nonzero);
    return true;
  }
  return false;
}

bool fit_integers(const Lattice& lattice, const BlockValues& values, Fit& fit) {
  fit = Fit{};
  if (values.distinct().empty()) return true;
  const Precision precision(lattice.source);
  std::vector<Point> points;
  for (const float value : values.distinct()) points.push_back({std::fabs(value), precision.gap(value) / 2, value < 0});
  return fit_multiples(lattice, points, values.nonzero(), fit);
}

/// Code 0 stands for the greatest value (`down`, the scale is negative) or for the least.
bool fit_from(const Lattice& lattice, const std::vector<double>& all, bool down, std::uint64_t nonzero, Fit& fit) {
  const Precision precision(lattice.source);
  fit = Fit{};
  fit.offset = down ? *std::max_element(all.begin(), all.end()) : *std::min_element(all.begin(), all.end());
  if (Precision(lattice.scale_type).round(fit.offset) != fit.offset) return false;
  std::vector<Point> points;
  for (const double value : all) {
    const double distance = value - fit.offset;
    if (distance != 0)
      points.push_back({std::fabs(distance), (precision.gap(value) + precision.gap(distance)) / 2, down});
  }
  if (points.empty()) return true;
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.magnitude < b.magnitude; });
  if (!fit_multiples(lattice, points, nonzero, fit)) return false;
  if (down) {
    fit.scale = -fit.scale;
    fit.greatest = -fit.least;
    fit.least = 0;
  }
  return true;
}

/// The direction with the fewer codes.
bool fit_biased(const Lattice& lattice, const BlockValues& values, Fit& fit) {
  std::vector<double> all(values.distinct().begin(), values.distinct().end());
  if (values.has_zero()) all.push_back(0);
  Fit down;
  const bool fits_up = fit_from(lattice, all, false, values.nonzero(), fit);
  if (!fit_from(lattice, all, true, values.nonzero(), down)) return fits_up;
  if (!fits_up || down.greatest < fit.greatest) fit = down;
  return true;
}

const Lattice::Entry& nearest_entry(const std::vector<Lattice::Entry>& entries, double number) noexcept {
  const auto above = std::lower_bound(entries.begin(), entries.end(), number,
                                      [](const Lattice::Entry& entry, double wanted) { return entry.number < wanted; });
  if (above == entries.begin()) return entries.front();
  if (above == entries.end()) return entries.back();
  return number - (above - 1)->number <= above->number - number ? *(above - 1) : *above;
}

/// Distance to the nearer neighbour.
double entry_step(const std::vector<Lattice::Entry>& entries, const Lattice::Entry& entry) noexcept {
  const auto at = static_cast<std::size_t>(&entry - entries.data());
  double step = std::numeric_limits<double>::max();
  if (at > 0) step = entry.number - entries[at - 1].number;
  if (at + 1 < entries.size()) step = std::min(step, entries[at + 1].number - entry.number);
  return step;
}

/// With the value of largest magnitude at `anchor`.
bool fit_anchored(const Lattice& lattice, const std::vector<Point>& points, double anchor, std::uint64_t nonzero,
                  Fit& fit) {
  Range range = range_of(points.back(), anchor);
  std::vector<double> numbers(points.size()), steps(points.size());
  for (std::size_t i = points.size(); i-- > 0;) {
    const double number = points[i].magnitude / range.middle();
    const Lattice::Entry& entry = nearest_entry(lattice.entries, points[i].negative ? -number : number);
    numbers[i] = std::fabs(entry.number);
    if (numbers[i] == 0 || (entry.number < 0) != points[i].negative || !range.narrow(points[i], numbers[i]))
      return false;
    steps[i] = entry_step(lattice.entries, entry);
  }
  if (!ScaleChoice(lattice, points, numbers).choose(range, fit)) return false;
  for (double& step : steps) step *= fit.scale;
  fit.evidence = evidence_of(points, steps, nonzero);
  return true;
}

bool fit_table(const Lattice& lattice, const BlockValues& values, Fit& fit) {
  fit = Fit{};
  if (values.distinct().empty()) return true;
  const Precision precision(lattice.source);
  std::vector<Point> points;
  for (const float value : values.distinct()) points.push_back({std::fabs(value), precision.gap(value) / 2, value < 0});
  if (points.size() > lattice.entries.size()) return false;
  const double sign = points.back().negative ? -1 : 1;
  std::vector<double> anchors;
  for (const Lattice::Entry& entry : lattice.entries)
    if (sign * entry.number > 0) anchors.push_back(sign * entry.number);
  std::sort(anchors.begin(), anchors.end(), std::greater<>());
  if (lattice.anchored) anchors.resize(std::min<std::size_t>(anchors.size(), 1));
  return std::any_of(anchors.begin(), anchors.end(),
                     [&](double anchor) { return fit_anchored(lattice, points, anchor, values.nonzero(), fit); });
}

}  // namespace

Precision::Precision(DType type) noexcept
    : type_(type),
      mantissa_bits_(type == DType::f32   ? 23
                     : type == DType::f16 ? 10
                                          : 7),
      least_exponent_(type == DType::f16 ? -14 : -126) {}

double Precision::round(double value) const noexcept {
  const auto narrow = static_cast<float>(value);
  if (type_ == DType::f16) return tensor::f16_to_f32(tensor::f32_to_f16(narrow));
  if (type_ == DType::bf16) return tensor::bf16_to_f32(tensor::f32_to_bf16(narrow));
  return narrow;
}

double Precision::gap(double value) const noexcept {
  const int exponent = value == 0 ? least_exponent_ : std::max(std::ilogb(value), least_exponent_);
  return std::ldexp(1.0, exponent - mantissa_bits_);
}

void BlockValues::clear() noexcept {
  distinct_.clear();
  has_zero_ = false;
  nonzero_ = 0;
  least_ = greatest_ = 0;
}

bool BlockValues::add(const float* values, std::uint64_t count) {
  keys_.clear();
  for (std::uint64_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(values[i]);
    if (!(magnitude <= std::numeric_limits<float>::max())) return false;
    if (magnitude == 0) {
      has_zero_ = true;
      continue;
    }
    if (least_ == 0 || magnitude < least_) least_ = magnitude;
    greatest_ = std::max(greatest_, magnitude);
    // Magnitude first, then the sign: integers that sort as the points are wanted.
    keys_.push_back(std::rotl(std::bit_cast<std::uint32_t>(values[i]), 1));
  }
  if (widest_ > 0 && greatest_ > widest_ * static_cast<double>(least_)) return false;
  nonzero_ += keys_.size();
  std::sort(keys_.begin(), keys_.end());
  keys_.erase(std::unique(keys_.begin(), keys_.end()), keys_.end());
  if (keys_.size() > kMost) return false;
  const auto key = [](float value) { return std::rotl(std::bit_cast<std::uint32_t>(value), 1); };
  merged_.clear();
  std::vector<std::uint32_t> known;
  known.reserve(distinct_.size());
  for (const float value : distinct_) known.push_back(key(value));
  std::set_union(keys_.begin(), keys_.end(), known.begin(), known.end(), std::back_inserter(merged_));
  distinct_.clear();
  for (const std::uint32_t merged : merged_) distinct_.push_back(std::bit_cast<float>(std::rotr(merged, 1)));
  return distinct_.size() <= kMost;
}

double Lattice::widest() const noexcept {
  if (kind == LatticeKind::biased) return 0;
  if (kind == LatticeKind::integers) return kMostNumber * kSlack;
  double least = std::numeric_limits<double>::max(), greatest = 0;
  for (const Entry& entry : entries) {
    if (entry.number != 0) least = std::min(least, std::fabs(entry.number));
    greatest = std::max(greatest, std::fabs(entry.number));
  }
  return greatest / least * kSlack;
}

bool Lattice::fit(const BlockValues& values, Fit& fit) const {
  switch (kind) {
    case LatticeKind::integers: return fit_integers(*this, values, fit);
    case LatticeKind::biased: return fit_biased(*this, values, fit);
    case LatticeKind::table: return fit_table(*this, values, fit);
  }
  return false;
}

int Lattice::number_of(float value, const Fit& fit) const noexcept {
  const double number = (static_cast<double>(value) - fit.offset) / fit.scale;
  if (kind == LatticeKind::table) return nearest_entry(entries, number).code;
  return static_cast<int>(std::nearbyint(number));
}

}  // namespace ingot::convert::recovering

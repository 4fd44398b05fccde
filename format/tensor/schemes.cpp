// The families in order of precedence. Implements spec/schemes/README.md section 6.
#include "format/tensor/schemes.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace ingot::tensor {
namespace {

constexpr FamilyCode kFamilies[] = {
    // name            matches          specification page                  value
    {{"float", is_float, "spec/schemes/float.md"}, float_value},
    {{"stepped", is_stepped, "spec/schemes/stepped.md"}, stepped_value},
    {{"microscaling", is_microscaling, "spec/schemes/microscaling.md"}, microscaling_value},
    {{"grid", is_grid, "spec/schemes/grid.md"}, grid_value},
    {{"two_level", is_two_level, "spec/schemes/two_level.md"}, two_level_value},
    {{"table", is_table, "spec/schemes/table.md"}, table_value},
    {{"affine", is_affine, "spec/schemes/affine.md"}, affine_value},
};

const FamilyCode* find_family(const Scheme& scheme) noexcept {
  for (const FamilyCode& row : kFamilies) {
    if (row.family.matches(scheme)) return &row;
  }
  return nullptr;
}

}  // namespace

const FamilyCode& family_code(const Scheme& scheme) noexcept {
  const FamilyCode* row = find_family(scheme);
  assert(row != nullptr);
  return *row;
}

const SchemeFamily* family(const Scheme& scheme) noexcept {
  const FamilyCode* row = find_family(scheme);
  return row == nullptr ? nullptr : &row->family;
}

const std::vector<const SchemeFamily*>& families() noexcept {
  static const std::vector<const SchemeFamily*> rows = [] {
    std::vector<const SchemeFamily*> list;
    for (const FamilyCode& row : kFamilies) list.push_back(&row.family);
    return list;
  }();
  return rows;
}

float rounded_scale(const Scheme& scheme, std::span<const double> levels, float scale_offset) noexcept {
  float scale = 1;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const auto level = static_cast<float>(levels[i]);
    scale = scheme.scales[i].divide ? scale / level : scale * level;
  }
  return scheme.scale_offset ? scale + scale_offset : scale;
}

void add_scaled_code(ExactSum& sum, const Scheme& scheme, const ElementParts& parts) noexcept {
  std::array<double, ExactSum::kMaxFactors> factors{};
  std::size_t count = 0;
  if (scheme.rounded_scale) {
    factors[count++] = rounded_scale(scheme, {parts.scales.data(), parts.scale_count}, parts.scale_offset);
  } else {
    for (; count < parts.scale_count; ++count) factors[count] = parts.scales[count];
  }
  if (count == 0) factors[count++] = 1;
  factors[0] = std::ldexp(factors[0], parts.shift);  // exact in binary64
  double& last = factors[count];
  const std::span<const double> product(factors.data(), count + 1);
  const bool finite = std::all_of(factors.begin(), factors.begin() + static_cast<std::ptrdiff_t>(count),
                                  [](double f) { return std::isfinite(f); });
  if (!finite || !std::isfinite(parts.code)) {  // infinity times the difference, not the difference of two infinities
    last = parts.code - parts.zero;
    sum.add(product);
    return;
  }
  last = parts.code;
  sum.add(product);
  last = parts.zero;
  sum.subtract(product);
}

void add_bias(ExactSum& sum, const Scheme& scheme, const ElementParts& parts) noexcept {
  if (scheme.offset.kind == OffsetKind::bias) sum.add({&parts.bias, 1});
}

void subtract_minimum(ExactSum& sum, const Scheme& scheme, const ElementParts& parts) noexcept {
  if (scheme.offset.kind == OffsetKind::minimum) sum.subtract({parts.mins.data(), parts.min_count});
}

}  // namespace ingot::tensor

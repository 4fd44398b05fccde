// The part of the decision that schemes alone settle: columns, levels, code rules.
#include "converters/recode/plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "format/tensor/element_numbers.h"
#include "format/tensor/tables.h"

namespace ingot::convert::recoding {
namespace {

using tensor::Block;
using tensor::CodeKind;
using tensor::DType;
using tensor::Level;
using tensor::OffsetKind;
using tensor::Order;
using tensor::Scheme;

bool integer_codes(const Scheme& scheme) noexcept {
  return scheme.codes.kind == CodeKind::number && !tensor::info(scheme.codes.type).is_float;
}
bool integer_zeros(const Scheme& scheme) noexcept {
  return scheme.offset.kind == OffsetKind::zero_points && !tensor::info(scheme.offset.levels[0].type).is_float;
}
bool constant_offset(const Scheme& scheme) noexcept {
  return scheme.offset.kind == OffsetKind::none || scheme.offset.kind == OffsetKind::zero;
}

/// Rounding every operation of so short a formula changes nothing.
bool steps_do_not_matter(const Scheme& scheme) noexcept {
  return scheme.scales.size() <= 1 && (constant_offset(scheme) || integer_zeros(scheme)) &&
         scheme.codes.kind == CodeKind::number && scheme.shift == 0;
}

class Planner {
 public:
  Planner(const tensor::Tensor& source, const tensor::Tensor& target)
      : source_tensor_(source), target_(target), plan_{std::make_shared<Conversion>(), {}, false} {}
  Plan plan();

 private:
  Conversion& conversion() noexcept { return *plan_.conversion; }
  const Side& source() noexcept { return conversion().source; }
  const Side& wanted() noexcept { return conversion().wanted; }
  bool refuse(std::string reason) {
    plan_.refusal = std::move(reason);
    return false;
  }
  void plan_sides();
  bool plan_arithmetic();
  bool plan_columns();
  bool plan_codes();
  bool make_code_map();
  void plan_shift();
  [[nodiscard]] bool contained(std::size_t from, std::size_t to);
  [[nodiscard]] std::optional<double> constant_zero_point();
  [[nodiscard]] bool settled();

  const tensor::Tensor& source_tensor_;
  const tensor::Tensor& target_;
  Plan plan_;
};

void Planner::plan_sides() {
  Conversion& c = conversion();
  c.source_tensor = source_tensor_;
  c.source = source_side(source_tensor_);
  const tensor::Shape stored = target_.stored_shape();
  c.wanted = wanted_side(stored, target_.scheme);
  c.rows = RowMap(source_tensor_.transforms, target_.transforms, stored.size() < 2 ? 1 : stored[stored.size() - 2]);
}

bool Planner::plan_columns() {
  Conversion& c = conversion();
  for (const Level& level : target_.scheme.scales) {
    if (!level.custom_table) continue;
    if (c.source.scale_table.empty()) return refuse("its scales have no table of their own");
    c.wanted.scale_table = c.source.scale_table;
    const std::size_t entries = std::size_t{1} << tensor::bits(level.type);
    if (c.wanted.scale_table.size() != entries * sizeof(float)) return refuse("the scale table has another size");
  }
  c.wanted.scale_offset = c.source.scale_offset;
  add_levels(c.wanted);
  c.columns.emplace(c.source, c.wanted, c.rows);
  if (c.columns->refused()) return refuse(c.columns->reason());
  c.whole_wanted.resize(c.wanted.levels.size());
  c.whole_rounded.resize(c.wanted.levels.size());
  return true;
}

bool Planner::plan_arithmetic() {
  Conversion& c = conversion();
  const Scheme &from = c.source.scheme, &to = c.wanted.scheme;
  bool same = from.scales.size() == to.scales.size() && from.rounded_scale == to.rounded_scale &&
              from.scale_offset == to.scale_offset && from.shift == to.shift;
  bool divides_alike = true;
  for (std::size_t i = 0; same && i < to.scales.size(); ++i)
    divides_alike &= from.scales[i].divide == to.scales[i].divide;
  c.carry = same && divides_alike;
  c.inverts = same && !divides_alike && to.rounded_scale && !to.scale_offset;
  const bool float_offset = to.offset.kind == OffsetKind::bias || to.offset.kind == OffsetKind::minimum;
  c.scales_change = !float_offset && (from.offset.kind == OffsetKind::bias || from.offset.kind == OffsetKind::minimum);
  if (from.rounded_steps != to.rounded_steps && !(steps_do_not_matter(from) && steps_do_not_matter(to))) {
    if (!from.rounded_steps) return refuse("the wanted scheme rounds every operation");
    const double greatest = std::ldexp(1.0, tensor::bits(from.codes.type));
    c.step_slack = std::ldexp(greatest * static_cast<double>(from.scales.size() + 1), -24);
  }
  if (from.rounded_steps && to.rounded_steps && !c.carry && !(steps_do_not_matter(from) && steps_do_not_matter(to)))
    return refuse("its operations are rounded one by one, those of the wanted scheme are others");
  if (c.carry)
    return to.offset.levels.size() < 2 || from.offset.levels.size() == to.offset.levels.size() ||
           refuse("a minimum of two levels cannot be formed");
  if (to.offset.levels.size() > 1) return refuse("a minimum of two levels cannot be formed");
  if (to.scale_offset) return refuse("scales with an offset cannot be formed");
  for (std::size_t i = 0; i < to.scales.size(); ++i) {
    if (to.scales[i].divide && i == 0) return refuse("a scale that divides cannot be formed");
    if (to.scales.size() > 1 && i == 0 && !tensor::info(to.scales[i].type).is_float)
      return refuse("scales of " + std::to_string(to.scales.size()) + " levels cannot be formed");
  }
  return true;
}

/// For every code of the source the wanted code of the same number.
bool Planner::make_code_map() {
  Conversion& c = conversion();
  const std::vector<double>&from = c.source.code_numbers, &to = c.wanted.code_numbers;
  c.code_rule = CodeRule::map;
  bool any = false;
  for (std::size_t code = 0; code < from.size(); ++code) {
    std::int16_t found = -1;
    for (std::size_t other = 0; other < to.size(); ++other) {
      if (!same_number(from[code], to[other])) continue;
      const bool better = found < 0 || (std::signbit(to[other]) == std::signbit(from[code]) &&
                                        std::signbit(to[static_cast<std::size_t>(found)]) != std::signbit(from[code]));
      if (better) found = static_cast<std::int16_t>(other);
    }
    c.code_map[code] = found;
    c.map_has_gaps |= found < 0;
    any |= found >= 0;
  }
  return any || refuse("the two kinds of codes have no number in common");
}

bool Planner::plan_codes() {
  Conversion& c = conversion();
  const tensor::Codes &from = c.source.scheme.codes, &to = c.wanted.scheme.codes;
  const bool own_table = to.kind == CodeKind::table && to.table == tensor::kCustomTable;
  if (own_table) {
    if (tensor::bits(to.type) < tensor::bits(from.type)) return refuse("its table is too small");
    c.wanted.table.resize((std::size_t{1} << tensor::bits(to.type)) * sizeof(float));
    for (std::size_t i = 0; i < c.source.code_numbers.size(); ++i) {
      const auto entry = static_cast<float>(c.source.code_numbers[i]);
      std::memcpy(c.wanted.table.data() + i * sizeof entry, &entry, sizeof entry);
    }
  }
  load_code_numbers(c.wanted);
  if (c.source.code_numbers.empty() || c.wanted.code_numbers.empty())
    return refuse("a code table is not known to this build");
  const auto finite_range = [](const std::vector<double>& numbers, double& least, double& greatest) {
    least = greatest = 0;
    for (const double number : numbers) {
      if (!std::isfinite(number)) continue;
      least = std::min(least, number);
      greatest = std::max(greatest, number);
    }
  };
  finite_range(c.source.code_numbers, c.least_code, c.greatest_code);
  finite_range(c.wanted.code_numbers, c.wanted_least_code, c.wanted_greatest_code);
  if (integer_codes(c.source.scheme) && integer_codes(c.wanted.scheme)) {
    plan_shift();
  } else if (tensor::bits(from.type) == tensor::bits(to.type) && c.source.code_numbers == c.wanted.code_numbers) {
    c.code_rule = CodeRule::copy;
  } else if (from == to) {
    c.code_rule = CodeRule::copy;  // with NaN among the numbers
  } else if (!make_code_map()) {
    return false;
  }
  if (integer_zeros(c.wanted.scheme)) {
    const Level& level = c.wanted.scheme.offset.levels[0];
    const tensor::DTypeInfo& type = tensor::info(level.type);
    const double least = type.is_signed ? -std::ldexp(1.0, type.bits - 1) : 0;
    const double greatest = std::ldexp(1.0, type.is_signed ? type.bits - 1 : type.bits) - 1;
    c.least_zero = std::min(level.multiply * least, level.multiply * greatest) + level.add;
    c.greatest_zero = std::max(level.multiply * least, level.multiply * greatest) + level.add;
  }
  return true;
}

void Planner::plan_shift() {
  Conversion& c = conversion();
  const tensor::DTypeInfo &from = tensor::info(c.source.scheme.codes.type),
                          &to = tensor::info(c.wanted.scheme.codes.type);
  c.code_rule = CodeRule::shift;
  const bool contains = c.wanted_least_code <= c.least_code && c.wanted_greatest_code >= c.greatest_code;
  if (contains)
    c.natural_shift = 0;
  else if (to.bits >= from.bits)
    c.natural_shift = static_cast<std::int32_t>(c.wanted_least_code - c.least_code);
  else if (from.is_signed && !to.is_signed)
    c.natural_shift = 1 << (to.bits - 1);
  if (from.type != to.type) return;
  // Codes that cannot move: both zeros constant and equal, or nothing that forces the zero elsewhere.
  const tensor::Offset &a = c.source.scheme.offset, &b = c.wanted.scheme.offset;
  const bool both_constant = constant_offset(c.source.scheme) && constant_offset(c.wanted.scheme);
  if (both_constant && a.zero == b.zero) c.code_rule = CodeRule::copy;
  if (b.kind == OffsetKind::bias || b.kind == OffsetKind::minimum) c.code_rule = CodeRule::copy;
  if (b.kind == OffsetKind::zero_points && !integer_zeros(c.wanted.scheme)) c.code_rule = CodeRule::copy;
}

/// Does every number of one level have its place in the other, whatever the parameters are?
bool Planner::contained(std::size_t from, std::size_t to) {
  Conversion& c = conversion();
  const LevelPlane &a = c.source.levels[from], &b = c.wanted.levels[to];
  if (c.columns->flat()) return false;
  const std::uint32_t rows = a.level.block.rows, wanted_rows = b.level.block.rows;
  if (wanted_rows != 1 && !(c.rows.identity() && (rows == 0 || (wanted_rows != 0 && rows % wanted_rows == 0))))
    return false;
  const Pieces& pieces = c.columns->first_row();
  std::vector<std::int64_t> column(b.cols, -1);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::int64_t& seen = column[pieces.wanted[to][i]];
    if (seen >= 0 && seen != pieces.source[from][i]) return false;
    seen = pieces.source[from][i];
  }
  const auto kind_of = [](const Level& level) {
    return std::tuple(level.type, level.multiply, level.add, level.custom_table);
  };
  if (kind_of(a.level) == kind_of(b.level)) return true;
  if (b.level.type == DType::f32 && (a.level.type == DType::f16 || a.level.type == DType::bf16)) return true;
  if (tensor::bits(a.level.type) > 8) return false;
  std::vector<std::byte> elements(std::size_t{1} << tensor::bits(a.level.type));
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<std::byte>(i);
  std::vector<double> numbers(elements.size()), rounded(elements.size());
  a.codec.decode(elements.data(), elements.size(), numbers.data());
  return b.codec.round(numbers.data(), numbers.size(), rounded.data());
}

/// No value need be looked at for it. As RowMaker::settle_zero_points() finds it.
std::optional<double> Planner::constant_zero_point() {
  const Conversion& c = conversion();
  const Scheme &from = c.source.scheme, &to = c.wanted.scheme;
  if (!constant_offset(from) || !integer_zeros(to) || c.code_rule == CodeRule::map || c.columns->flat())
    return std::nullopt;
  const LevelPlane& plane = c.wanted.levels[c.wanted.scale_count];
  if (!plane.sliced) return std::nullopt;
  std::vector<bool> served(plane.cols, false);
  for (const std::uint32_t column : c.columns->first_row().wanted[c.wanted.scale_count]) served[column] = true;
  if (std::find(served.begin(), served.end(), false) != served.end()) return std::nullopt;
  const double shift = c.natural_shift, zero = (from.offset.kind == OffsetKind::zero ? from.offset.zero : 0) + shift;
  const bool codes_fit = c.code_rule == CodeRule::copy || (c.least_code + shift >= c.wanted_least_code &&
                                                           c.greatest_code + shift <= c.wanted_greatest_code);
  double stored = 0;  // an element may stand for every second number only
  const bool fits =
      codes_fit && zero >= c.least_zero && zero <= c.greatest_zero && plane.codec.round(&zero, 1, &stored);
  return fits ? std::optional(zero) : std::nullopt;
}

bool Planner::settled() {
  Conversion& c = conversion();
  if (!c.carry || c.step_slack != 0 || c.scales_change || c.map_has_gaps) return false;
  for (std::size_t i = 0; i < c.wanted.scale_count; ++i)
    if (!contained(i, i)) return false;
  const Scheme &from = c.source.scheme, &to = c.wanted.scheme;
  if (constant_offset(from) && constant_offset(to)) {
    const double shift = to.offset.zero - from.offset.zero;
    return c.code_rule == CodeRule::shift
               ? c.least_code + shift >= c.wanted_least_code && c.greatest_code + shift <= c.wanted_greatest_code
               : shift == 0;
  }
  if (c.zero_point) {
    if (from.codes.type == to.codes.type && c.natural_shift == 0) c.code_rule = CodeRule::copy;
    return true;
  }
  if (const std::optional<GroupShifts> shifts = group_shifts(c)) {
    if (!all_groups_fit(c.source_tensor, *shifts)) return false;
    c.shifts = shifts;
    if (from.codes.type == to.codes.type) c.code_rule = CodeRule::copy;  // the zero point that fits moves nothing
    return true;
  }
  c.biases = group_biases(c);
  if (from.offset.kind != to.offset.kind || c.source.levels.size() != c.wanted.levels.size()) return false;
  if (integer_zeros(from) != integer_zeros(to) || c.natural_shift != 0) return false;
  if (!(c.wanted_least_code <= c.least_code && c.wanted_greatest_code >= c.greatest_code)) return false;
  for (std::size_t i = c.wanted.scale_count; i < c.wanted.levels.size(); ++i)
    if (!contained(i, i)) return false;
  if (from.codes.type == to.codes.type) c.code_rule = CodeRule::copy;
  return true;
}

Plan Planner::plan() {
  plan_sides();
  if (plan_arithmetic() && plan_columns() && plan_codes()) {
    conversion().zero_point = constant_zero_point();
    plan_.settled = settled();
  }
  return std::move(plan_);
}

}  // namespace

Plan make_plan(const tensor::Tensor& source, const tensor::Tensor& target) { return Planner(source, target).plan(); }

}  // namespace ingot::convert::recoding

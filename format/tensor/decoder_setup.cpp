// What a decoder works out once per tensor: plane positions, tables, orders, runs, and the arithmetic that is exact for
// its types.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numeric>

#include "format/base/error.h"
#include "format/tensor/decoder.h"
#include "format/tensor/element_numbers.h"
#include "format/tensor/grids.h"
#include "format/tensor/packing.h"
#include "format/tensor/tables.h"

namespace ingot::tensor {
namespace {

std::vector<std::uint32_t> u32_elements(Bytes bytes) {
  std::vector<std::uint32_t> elements(bytes.size() / 4);
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = load_le<std::uint32_t>(bytes.data() + 4 * i);
  return elements;
}

void check_size(const Tensor& tensor, const PlaneSpec& spec, Bytes bytes) {
  if (bytes.size() == spec.total_bytes) return;
  throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": plane " + spec.role + " holds " +
                                            std::to_string(bytes.size()) + " bytes, expected " +
                                            std::to_string(spec.total_bytes));
}

}  // namespace

Decoder::Decoder(const Tensor& tensor)
    : scheme_(tensor.scheme),
      geometry_(tensor.geometry()),
      source_(tensor.planes),
      value_(family_code(tensor.scheme).value) {
  if (scheme_.codes.kind == CodeKind::opaque) {
    throw Error(ErrorKind::unsupported,
                "tensor " + tensor.name + ": " + describe(scheme_) + " has no numeric values to decode");
  }
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  Bytes table, scale_table;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    plane_unit_bytes_.push_back(specs[i].sliced ? specs[i].unit_bytes : 0);
    views_.push_back(specs[i].sliced ? source_->view(i) : std::optional<Bytes>(source_->whole(i)));
    if (views_[i]) check_size(tensor, specs[i], *views_[i]);
    has_views_ = has_views_ && views_.back().has_value();
    if (specs[i].role == "table") table = *views_[i];
    if (specs[i].role == "scale_table") scale_table = *views_[i];
    if (specs[i].role == "scale_offset") scale_offset_ = load_le<float>(views_[i]->data());
    if (specs[i].role == "permutation") permutation_ = u32_elements(*views_[i]);
    if (specs[i].role == "group_index") group_index_ = u32_elements(*views_[i]);
    if (specs[i].role == "signs") sign_plane_ = i;
  }
  std::size_t next = 0;
  const auto add = [&](const Level& level, std::string_view role) {
    while (specs[next].role != role) ++next;  // levels and specs are in the same order
    add_level(level, next, specs[next], scale_table);
  };
  for (std::size_t i = 0; i < scheme_.scales.size(); ++i) add(scheme_.scales[i], "scales_" + std::to_string(i));
  scale_count_ = levels_.size();
  for (std::size_t i = 0; i < scheme_.offset.levels.size(); ++i) {
    const bool minimum = scheme_.offset.kind == OffsetKind::minimum;
    add(scheme_.offset.levels[i], minimum                                   ? "mins_" + std::to_string(i)
                                  : scheme_.offset.kind == OffsetKind::bias ? "biases"
                                                                            : "zero_points");
  }
  load_code_tables(table);
  check_order(tensor.name);
  choose_runs();
  choose_arithmetic();
}

void Decoder::add_level(const Level& level, std::size_t plane, const PlaneSpec& spec, Bytes scale_table) {
  LevelPlane entry{level, plane, spec.sliced, spec.rows, spec.cols, level.block.cols, {}, {}, {}};
  if (level.custom_table) {
    for (std::size_t i = 0; 4 * i < scale_table.size(); ++i)
      entry.numbers.push_back(load_le<float>(scale_table.data() + 4 * i));
    entry.range = range_of(entry.numbers);
  } else if (bits(level.type) <= 8) {
    entry.numbers = numbers_of_codes(level.type);
    if (level.multiply != 1 || level.add != 0) {  // a float's -0 stays what it is
      for (double& number : entry.numbers) number = level.multiply * number + level.add;
    }
    entry.range = range_of(entry.numbers);
  } else {
    const double multiply = level.multiply, constant = level.add;
    const bool changed = level.multiply != 1 || level.add != 0;
    entry.range = range_of(level.type);
    if (changed)
      entry.range = range_of_sum(range_of_product(entry.range, range_of({&multiply, 1})), range_of({&constant, 1}));
  }
  entry.values.assign(entry.numbers.begin(), entry.numbers.end());
  levels_.push_back(std::move(entry));
}

void Decoder::load_code_tables(Bytes custom_table) {
  const Codes& codes = scheme_.codes;
  window_alignment_ = kWindowCols;
  if (codes.kind == CodeKind::grid) {
    const Grid* grid = find_grid(codes.table);  // known: plane_specs() needed its width
    grid_ = expand(*grid);
    grid_width_ = grid->width;
    sign_bits_ = grid->sign_bits;
    code_form_ = CodeForm::grid;
    code_numbers_.resize(256);
    for (std::size_t i = 0; i < 256; ++i) code_numbers_[i] = static_cast<double>(i) - 128;  // codes are entry + 128
  } else if (codes.kind == CodeKind::table) {
    code_form_ = CodeForm::table_bytes;
    if (codes.table == kCustomTable) {
      for (std::size_t i = 0; 4 * i < custom_table.size(); ++i)
        code_numbers_.push_back(load_le<float>(custom_table.data() + 4 * i));
    } else {
      const CodeTable* table = find_code_table(codes.table);
      if (table == nullptr)
        throw Error(ErrorKind::unsupported, "code table \"" + codes.table + "\" is not known to this build");
      code_numbers_.assign(table->entries.begin(), table->entries.end());
    }
  } else if (bits(codes.type) <= 8) {
    code_form_ = info(codes.type).is_float ? CodeForm::table_bytes : CodeForm::integer_bytes;
    code_numbers_ = numbers_of_codes(codes.type);
  } else {
    code_form_ = CodeForm::wide;
    window_alignment_ = 1;
  }
  code_table_.assign(code_numbers_.begin(), code_numbers_.end());
  if (code_form_ != CodeForm::wide)
    code_table_.resize(std::max<std::size_t>(code_table_.size(), 16));  // vector loops load 16 entries
}

void Decoder::check_order(const std::string& tensor_name) const {
  std::vector<bool> seen(permutation_.size());
  for (std::size_t i = 0; i < permutation_.size(); ++i) {
    if (permutation_[i] >= seen.size() || seen[permutation_[i]]) {
      throw Error(ErrorKind::invalid_value, "tensor " + tensor_name +
                                                ": plane permutation is not a permutation (entry " + std::to_string(i) +
                                                " is " + std::to_string(permutation_[i]) + ")");
    }
    seen[permutation_[i]] = true;
  }
  for (std::size_t i = 0; i < group_index_.size(); ++i) {
    for (const LevelPlane& plane : levels_) {
      if (plane.columns_per_parameter == 0 || group_index_[i] < plane.cols) continue;
      throw Error(ErrorKind::invalid_value, "tensor " + tensor_name + ": group_index of column " + std::to_string(i) +
                                                " is " + std::to_string(group_index_[i]) + ", but there are " +
                                                std::to_string(plane.cols) + " parameter columns");
    }
  }
}

void Decoder::choose_runs() {
  run_cols_ = 0;
  indexed_runs_ = 1;
  bool any = false;
  for (const LevelPlane& plane : levels_) {
    if (plane.columns_per_parameter == 0) continue;
    run_cols_ = std::gcd(run_cols_, plane.columns_per_parameter);
    indexed_runs_ = any ? std::min(indexed_runs_, plane.cols) : plane.cols;
    any = true;
  }
  if (!any || run_cols_ > geometry_.cols) run_cols_ = std::max<std::uint64_t>(geometry_.cols, 1);
}

void Decoder::choose_arithmetic() {
  if (scheme_.rounded_steps) {
    arithmetic_ = fallback_ = steps_fit_loops() ? Arithmetic::steps : Arithmetic::reference;
    return;
  }
  const std::span<const LevelPlane> scales(levels_.data(), scale_count_);
  const std::span<const LevelPlane> offsets = std::span<const LevelPlane>(levels_).subspan(scale_count_);
  NumberRange scale{std::ldexp(1.0, scheme_.shift), scheme_.shift, 1};
  if (scheme_.rounded_scale)
    scale = range_of_product(scale, range_of(DType::f32));
  else
    for (const LevelPlane& plane : scales) scale = range_of_product(scale, plane.range);

  NumberRange code = code_form_ == CodeForm::wide ? range_of(scheme_.codes.type) : range_of(code_numbers_);
  const NumberRange plain_code = code;
  const double constant_zero = scheme_.offset.zero;
  if (scheme_.offset.kind == OffsetKind::zero) code = range_of_sum(code, range_of({&constant_zero, 1}));
  if (scheme_.offset.kind == OffsetKind::zero_points) code = range_of_sum(code, offsets[0].range);
  const NumberRange product = range_of_product(scale, code);

  bool all32 = code_form_ != CodeForm::wide && exact_in_binary32(scale) && exact_in_binary32(code);
  bool all64 = exact_in_binary64(scale) && exact_in_binary64(code) && exact_in_binary64(product);
  if (scheme_.offset.kind == OffsetKind::zero_points && !all32 && !all64) {
    distribute_zero_ = exact_in_binary64(range_of_product(scale, plain_code)) &&
                       exact_in_binary64(range_of_product(scale, offsets[0].range));
    all64 = has_sum_ = distribute_zero_;
  }
  if (scheme_.offset.kind == OffsetKind::bias || scheme_.offset.kind == OffsetKind::minimum) {
    has_sum_ = true;
    NumberRange offset = offsets[0].range;
    for (const LevelPlane& plane : offsets.subspan(1)) offset = range_of_product(offset, plane.range);
    // A product too large for binary32 is found when the scales are known.
    largest_scale_ = product.max > FLT_MAX ? FLT_MAX / code.max : 0;
    all32 = all32 &&
            exact_in_binary32({std::min<double>(product.max, FLT_MAX), product.lowest, product.significant_bits}) &&
            exact_in_binary32(offset);
    all64 = all64 && exact_in_binary64(offset);
  }
  arithmetic_ = all32 ? Arithmetic::binary32 : all64 ? Arithmetic::binary64 : Arithmetic::reference;
  fallback_ = all64 ? Arithmetic::binary64 : Arithmetic::reference;
}

}  // namespace ingot::tensor

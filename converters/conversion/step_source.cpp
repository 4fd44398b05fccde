#include "converters/conversion/step_source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>

#include "format/tensor/tables.h"

namespace ingot::convert {
namespace {

using tensor::CodeKind;
using tensor::DType;
using tensor::FloatGrid;
using tensor::PlaneSpec;
using tensor::Scheme;
using tensor::Tensor;

constexpr std::string_view kTableRole = "table";

bool is_code_role(std::string_view role) noexcept { return role.starts_with("codes"); }

/// The planes of a quantized tensor with every code replaced by 1 and the offset's planes left out. `table`: in place
/// of the table's own entries.
class StepSource final : public tensor::PlaneSource {
 public:
  /// `steps`: all but its planes.
  StepSource(const Tensor& tensor, const Tensor& steps, std::vector<float> table)
      : inner_(tensor.planes), table_(std::move(table)) {
    const tensor::Geometry geometry = steps.geometry();
    const std::vector<PlaneSpec> inner_specs = tensor.plane_specs();
    inner_count_ = inner_specs.size();
    specs_ = steps.plane_specs();
    for (const PlaneSpec& spec : specs_) {
      const auto same_role =
          std::find_if(inner_specs.begin(), inner_specs.end(), [&](const PlaneSpec& s) { return s.role == spec.role; });
      inner_index_.push_back(static_cast<std::size_t>(same_role - inner_specs.begin()));
      if (is_code_role(spec.role)) unit_of_ones_.emplace_back(spec.unit_bytes);
    }
    const std::vector<std::uint8_t> ones(geometry.rows_per_unit * geometry.cols, 1);
    std::array<std::byte*, 3> planes{};
    for (std::size_t i = 0; i < unit_of_ones_.size(); ++i) planes[i] = unit_of_ones_[i].data();
    tensor::pack_unit(geometry, tensor::bits(tensor.scheme.codes.type), ones.data(), planes.data());
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (is_code_role(specs_[index].role)) return std::nullopt;
    return is_table(index) ? std::optional(whole(index)) : inner_->view(inner_index_[index]);
  }

  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    std::vector<std::byte*> inner_out(inner_count_, nullptr);
    bool any = false;
    for (std::size_t i = 0; i < specs_.size(); ++i) {
      if (out[i] == nullptr || is_table(i)) continue;
      if (is_code_role(specs_[i].role)) {
        for (std::uint64_t unit = 0; unit < unit_end - unit_begin; ++unit)
          std::memcpy(out[i] + unit * specs_[i].unit_bytes, unit_of_ones_[i].data(), specs_[i].unit_bytes);
      } else {
        inner_out[inner_index_[i]] = out[i];
        any = true;
      }
    }
    if (any) inner_->read_units(unit_begin, unit_end, inner_out);
  }

  [[nodiscard]] Bytes whole(std::size_t index) const override {
    return is_table(index) ? std::as_bytes(std::span(table_)) : inner_->whole(inner_index_[index]);
  }

 private:
  [[nodiscard]] bool is_table(std::size_t index) const noexcept { return specs_[index].role == kTableRole; }

  std::shared_ptr<const tensor::PlaneSource> inner_;
  std::vector<float> table_;
  std::size_t inner_count_ = 0;
  std::vector<PlaneSpec> specs_;
  std::vector<std::size_t> inner_index_;
  std::vector<std::vector<std::byte>> unit_of_ones_;  // code planes come first, so the index is that of specs_
};

// Values are compared as binary32, whose smallest number is 2^-149: no smaller exponent matters.
constexpr std::array<std::pair<DType, FloatGrid>, 8> kFloatGrids = {{{DType::f64, {52, -149}},
                                                                     {DType::f32, {23, -126}},
                                                                     {DType::f16, {10, -14}},
                                                                     {DType::bf16, {7, -126}},
                                                                     {DType::e4m3, {3, -6}},
                                                                     {DType::e5m2, {2, -14}},
                                                                     {DType::e4m3fnuz, {3, -7}},
                                                                     {DType::e5m2fnuz, {2, -15}}}};

std::vector<float> table_of(const Tensor& tensor) {
  if (const tensor::CodeTable* known = tensor::find_code_table(tensor.scheme.codes.table))
    return {known->entries.begin(), known->entries.end()};
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].role != kTableRole) continue;
    std::vector<float> entries(specs[i].total_bytes / sizeof(float));
    std::memcpy(entries.data(), tensor.planes->whole(i).data(), specs[i].total_bytes);
    return entries;
  }
  return {};
}

/// The smallest distance of two entries; 0 where all are equal.
float least_gap(std::vector<float> entries) {
  std::sort(entries.begin(), entries.end());
  float least = 0;
  for (std::size_t i = 1; i < entries.size(); ++i) {
    const float gap = entries[i] - entries[i - 1];
    if (gap > 0 && (least == 0 || gap < least)) least = gap;
  }
  return least;
}

/// Columns that share all scales, where the tensor may be looked at in runs of so many; else 1.
std::uint64_t run_of(const Tensor& tensor) {
  const Scheme& scheme = tensor.scheme;
  const bool in_rows = std::all_of(tensor.transforms.begin(), tensor.transforms.end(), [](const auto& transform) {
    return transform.kind == tensor::TransformKind::rope_interleave;
  });
  if (scheme.order != tensor::Order::identity || scheme.flat != 0 || tensor.shape.size() < 2 || !in_rows) return 1;
  const std::uint64_t cols = tensor.shape.back();
  std::uint64_t run = cols;
  for (const tensor::Level& level : scheme.scales)
    if (level.block.cols != 0) run = std::gcd(run, std::uint64_t{level.block.cols});
  return run;
}

/// A plane of scales as rows of numbers: [group][16] of tiles turned over.
class ScaleRows final : public tensor::PlaneSource {
 public:
  explicit ScaleRows(const Tensor& tensor) : inner_(tensor.planes), geometry_(tensor.geometry()) {
    const std::vector<PlaneSpec> specs = tensor.plane_specs();
    plane_count_ = specs.size();
    while (specs[plane_].role != kScaleRole) ++plane_;
    spec_ = specs[plane_];
    row_bytes_ = spec_.cols * (tensor::bits(spec_.type) / 8u);
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override {
    return geometry_.packing == tensor::Packing::rows ? inner_->view(plane_) : std::nullopt;
  }
  void read_units(std::uint64_t row_begin, std::uint64_t row_end, std::vector<std::byte*>& out) const override {
    if (out[0] == nullptr || row_begin == row_end) return;
    if (geometry_.packing == tensor::Packing::rows) return read_inner(row_begin, row_end, out[0]);
    std::vector<std::byte> tile(spec_.unit_bytes), rows(spec_.unit_bytes);
    for (std::uint64_t row = row_begin; row < row_end;) {
      const std::uint64_t in_matrix = row % geometry_.rows, first = in_matrix % tensor::kTileRows;
      const std::uint64_t unit = row / geometry_.rows * geometry_.units_per_matrix + in_matrix / tensor::kTileRows;
      const std::uint64_t count = std::min({tensor::kTileRows - first, geometry_.rows - in_matrix, row_end - row});
      read_inner(unit, unit + 1, tile.data());
      tensor::unpack_parameters(geometry_, spec_.type, spec_.cols, tile.data(), rows.data());
      std::memcpy(out[0] + (row - row_begin) * row_bytes_, rows.data() + first * row_bytes_, count * row_bytes_);
      row += count;
    }
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return {}; }  // the only plane is cut in rows

 private:
  static constexpr std::string_view kScaleRole = "scales_0";

  void read_inner(std::uint64_t begin, std::uint64_t end, std::byte* out) const {
    if (const std::optional<Bytes> view = inner_->view(plane_)) {
      std::memcpy(out, view->data() + begin * spec_.unit_bytes, (end - begin) * spec_.unit_bytes);
      return;
    }
    std::vector<std::byte*> wanted(plane_count_, nullptr);
    wanted[plane_] = out;
    inner_->read_units(begin, end, wanted);
  }

  std::shared_ptr<const tensor::PlaneSource> inner_;
  tensor::Geometry geometry_;
  std::size_t plane_count_ = 0, plane_ = 0;
  PlaneSpec spec_;
  std::uint64_t row_bytes_ = 0;
};

/// Are the steps of integer codes the very numbers of a plane, one for `run` columns of a row?
bool are_plain_scales(const Tensor& tensor, std::uint64_t run) {
  const Scheme& scheme = tensor.scheme;
  if (scheme.scales.size() != 1 || scheme.rounded_scale || scheme.scale_offset || scheme.shift != 0) return false;
  const tensor::Level& level = scheme.scales[0];
  const bool is_float = level.type == DType::f16 || level.type == DType::bf16 || level.type == DType::f32;
  return is_float && level.block.rows == 1 && level.block.cols == run && level.multiply == 1 && level.add == 0 &&
         !level.custom_table && !level.divide;
}

/// The same scales for columns that are `run` times as wide.
void widen_columns(Tensor& steps, std::uint64_t run) {
  steps.shape.back() /= run;
  for (tensor::Level& level : steps.scheme.scales) level.block.cols /= static_cast<std::uint32_t>(run);
}

}  // namespace

std::optional<StepSizes> step_sizes(const Tensor& tensor) {
  const Scheme& scheme = tensor.scheme;
  if (scheme.scales.empty() || tensor::bits(scheme.codes.type) > 8) return std::nullopt;
  const bool integers = scheme.codes.kind == CodeKind::number && !tensor::info(scheme.codes.type).is_float;
  const bool small_floats = scheme.codes.kind == CodeKind::number && scheme.codes.type == DType::e2m1;
  std::vector<float> table;
  if (scheme.codes.kind == CodeKind::table) table = table_of(tensor);
  if (!integers && !small_floats && table.empty()) return std::nullopt;
  Tensor steps = tensor;
  steps.fingerprint.reset();
  steps.scheme.offset = {};
  if (!table.empty()) {
    steps.scheme.codes.table = tensor::kCustomTable;
    std::fill(table.begin(), table.end(), least_gap(table));
  }
  const std::uint64_t run = run_of(tensor);
  if (run > 1) widen_columns(steps, run);
  if (run > 1 && integers && are_plain_scales(tensor, run)) {
    steps.scheme = Scheme::plain(scheme.scales[0].type);
    steps.packing = tensor::Packing::rows;
    steps.planes = std::make_shared<ScaleRows>(tensor);
    return StepSizes{std::move(steps), run};
  }
  steps.planes = std::make_shared<StepSource>(tensor, steps, std::move(table));
  return StepSizes{std::move(steps), run};
}

std::optional<FloatGrid> float_grid(const Scheme& scheme) noexcept {
  if (!scheme.is_plain()) return std::nullopt;
  for (const auto& [type, grid] : kFloatGrids)
    if (type == scheme.codes.type) return grid;
  return std::nullopt;
}

}  // namespace ingot::convert

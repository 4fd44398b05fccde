// Exactness: one float factor is itself; an integer of at most 8 bits times a binary16 number has at most 19
// significant bits. So the only rounding is that of the kernel's last operation, as the value's definition asks.
// Anything else is left to the generic decoder.
#include "runtime/affine_parameters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/tensor/tables.h"

namespace ingot::runtime {
namespace {

using tensor::DType;
using tensor::OffsetKind;

constexpr std::uint64_t kRows = tensor::kTileRows;

bool is_plain_float(DType type) noexcept { return type == DType::f16 || type == DType::bf16 || type == DType::f32; }
bool is_byte_float(DType type) noexcept { return type == DType::e8m0 || type == DType::e4m3; }
bool is_small_integer(DType type) noexcept {
  return !tensor::info(type).is_float && tensor::bits(type) <= 8 && type != DType::boolean;
}

// Index of the plane with this role; the number of planes when absent.
std::size_t plane_index(const std::vector<tensor::PlaneSpec>& specs, std::string_view role) noexcept {
  const auto found =
      std::find_if(specs.begin(), specs.end(), [&](const tensor::PlaneSpec& s) { return s.role == role; });
  return static_cast<std::size_t>(found - specs.begin());
}

const std::byte* viewed(const tensor::Tensor& tensor, std::size_t index) {
  const std::optional<Bytes> view = tensor.planes->view(index);
  if (!view || reinterpret_cast<std::uintptr_t>(view->data()) % alignof(std::uint32_t) != 0) return nullptr;
  return view->data();
}

// Element `index` of a dense stream of integers of at most 8 bits.
float small_integer(const std::byte* plane, DType type, std::uint64_t index) noexcept {
  const std::uint32_t width = tensor::bits(type);
  const std::uint64_t bit = index * width;
  std::uint32_t window = static_cast<std::uint32_t>(plane[bit / 8]);
  if (bit % 8 + width > 8) window |= static_cast<std::uint32_t>(plane[bit / 8 + 1]) << 8;
  const std::uint32_t value = window >> bit % 8 & ((1u << width) - 1);
  const std::uint32_t sign = tensor::info(type).is_signed ? 1u << (width - 1) : 0;
  return static_cast<float>(static_cast<std::int32_t>(value ^ sign) - static_cast<std::int32_t>(sign));
}

}  // namespace

std::unique_ptr<AffineParameters> AffineParameters::make(const tensor::Tensor& tensor,
                                                         const kernels::KernelTable& kernels) {
  const tensor::Scheme& scheme = tensor.scheme;
  const bool integers = scheme.codes.kind == tensor::CodeKind::number && is_small_integer(scheme.codes.type);
  const bool simple =
      !scheme.rounded_steps && !scheme.scale_offset && scheme.order == tensor::Order::identity && scheme.flat == 0;
  const bool exact = !scheme.rounded_scale && scheme.shift == 0;
  if (!simple || tensor.packing != tensor::Packing::tiles || tensor.geometry().matrices != 1) return nullptr;
  std::unique_ptr<AffineParameters> result(new AffineParameters());
  result->kernels_ = &kernels;
  result->cols_ = tensor.geometry().cols;
  result->group_cols_ = result->cols_;
  if (!(integers ? exact : result->add_entries(tensor))) return nullptr;
  if (!result->add_codes(tensor) || !result->add_scales(tensor) || !result->add_offset(tensor)) return nullptr;
  if (!result->find_groups()) return nullptr;
  result->set_first_tile();
  return result;
}

// The table of 4-bit codes that are no integers.
bool AffineParameters::add_entries(const tensor::Tensor& tensor) {
  static constexpr float kE2m1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  const tensor::Codes& codes = tensor.scheme.codes;
  std::vector<float> values;
  if (codes.kind == tensor::CodeKind::number && codes.type == DType::e2m1) {
    values.assign(std::begin(kE2m1), std::end(kE2m1));
  } else if (codes.kind != tensor::CodeKind::table || codes.type != DType::u4) {
    return false;
  } else if (codes.table != tensor::kCustomTable) {
    const tensor::CodeTable* const named = tensor::find_code_table(codes.table);
    if (named == nullptr) return false;
    values.assign(named->entries.begin(), named->entries.end());
  } else {
    const std::size_t index = plane_index(tensor.plane_specs(), "table");
    const std::byte* const plane = viewed(tensor, index);
    if (plane == nullptr) return false;
    for (std::size_t c = 0; c < 16; ++c) values.push_back(load_le<float>(plane + c * sizeof(float)));
  }
  entries_ = code_entries(values);
  if (!entries_ || tensor.scheme.offset.kind != OffsetKind::none) return false;
  entries_->step = std::ldexp(entries_->step, tensor.scheme.shift);
  return std::isnormal(entries_->step);
}

bool AffineParameters::find_groups() {
  for (const auto* factors : {&scales_, &offsets_}) {
    for (const Factor& factor : *factors) group_cols_ = std::min(group_cols_, factor.group_cols);
  }
  for (const auto* factors : {&scales_, &offsets_}) {
    for (const Factor& factor : *factors) {
      if (factor.group_cols < cols_ && factor.group_cols % group_cols_ != 0) return false;
    }
  }
  groups_ = ceil_div(cols_, group_cols_);
  // What is not read in place is multiplied out, which knows no 8-bit floats.
  const bool bytes = std::any_of(scales_.begin(), scales_.end(), [](const Factor& f) { return is_byte_float(f.type); });
  return !bytes || in_place(scales_).has_value();
}

bool AffineParameters::add_codes(const tensor::Tensor& tensor) {
  const DType type = tensor.scheme.codes.type;
  bits_ = tensor::bits(type);
  is_signed_ = !entries_ && tensor::info(type).is_signed;
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  slice_count_ = tensor::code_slices(static_cast<std::uint8_t>(bits_)).count;
  constexpr std::string_view kRoles[] = {"codes", "codes_high", "codes_top"};
  for (std::uint32_t s = 0; s < slice_count_; ++s) {
    const std::size_t index = plane_index(specs, kRoles[s]);
    if (index == specs.size()) return false;
    slices_[s] = viewed(tensor, index);
    slice_unit_bytes_[s] = specs[index].unit_bytes;
    if (slices_[s] == nullptr) return false;
  }
  return cols_ > 0;
}

bool AffineParameters::add_factor(const tensor::Tensor& tensor, const tensor::Level& level, std::string_view role,
                                  std::vector<Factor>& factors) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  const std::size_t index = plane_index(specs, role);
  const bool known =
      is_plain_float(level.type) || is_small_integer(level.type) || (entries_.has_value() && is_byte_float(level.type));
  if (index == specs.size() || level.custom_table || !known) return false;
  Factor factor;
  factor.type = level.type;
  factor.plane = viewed(tensor, index);
  factor.multiply = static_cast<float>(level.multiply);
  factor.add = static_cast<float>(level.add);
  if (factor.plane == nullptr) return false;
  if (level.block.rows == 1) {
    if (!specs[index].sliced) return false;
    factor.unit_bytes = specs[index].unit_bytes;
    factor.group_cols = level.block.cols == 0 ? cols_ : std::min<std::uint64_t>(level.block.cols, cols_);
    factor.groups = ceil_div(cols_, factor.group_cols);
  } else {
    if (level.block.rows != 0 || level.block.cols != 0) return false;
    factor.group_cols = cols_;
    if (is_byte_float(level.type)) return false;
    if (is_small_integer(level.type)) {
      factor.constant = small_integer(factor.plane, level.type, 0);
    } else if (level.type == DType::f32) {
      factor.constant = load_le<float>(factor.plane);
    } else {
      const auto bits = load_le<std::uint16_t>(factor.plane);
      (level.type == DType::f16 ? kernels_->f16_to_f32 : kernels_->bf16_to_f32)(&bits, &factor.constant, 1);
    }
    factor.constant = factor.constant * factor.multiply + factor.add;
    factor.plane = nullptr;
  }
  factors.push_back(factor);
  return true;
}

bool AffineParameters::add_scales(const tensor::Tensor& tensor) {
  const std::vector<tensor::Level>& levels = tensor.scheme.scales;
  const auto is_simple = [&](const tensor::Level& level) {
    return is_plain_float(level.type) || (entries_.has_value() && is_byte_float(level.type));
  };
  if (levels.size() > 2) return false;
  if (levels.size() == 1 && !is_simple(levels[0])) return false;
  const bool of_tensor = levels.size() == 2 && levels[1].block == tensor::Block{0, 0};
  if (levels.size() == 2 && !(is_small_integer(levels[0].type) && levels[1].type == DType::f16) &&
      !(entries_.has_value() && of_tensor && is_simple(levels[0])))
    return false;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (!add_factor(tensor, levels[i], "scales_" + std::to_string(i), scales_)) return false;
  }
  if (!entries_.has_value() || !of_tensor) return levels.empty() || !levels.back().divide;
  const float constant = scales_.back().constant;
  scales_.pop_back();
  entries_->step = levels[1].divide ? entries_->step / constant : entries_->step * constant;
  return !levels[0].divide && std::isnormal(entries_->step);
}

bool AffineParameters::add_offset(const tensor::Tensor& tensor) {
  const tensor::Offset& offset = tensor.scheme.offset;
  const std::vector<tensor::Level>& levels = offset.levels;
  switch (offset.kind) {
    case OffsetKind::none: return true;
    case OffsetKind::zero: {
      subtract_ = true;
      Factor constant;
      constant.constant = static_cast<float>(offset.zero);
      constant.group_cols = cols_;
      offsets_.push_back(constant);
      return true;
    }
    case OffsetKind::zero_points:
      subtract_ = true;
      return levels.size() == 1 && is_small_integer(levels[0].type) &&
             add_factor(tensor, levels[0], "zero_points", offsets_);
    case OffsetKind::bias:
      return levels.size() == 1 && is_plain_float(levels[0].type) && add_factor(tensor, levels[0], "biases", offsets_);
    case OffsetKind::minimum:
      negate_ = true;
      if (levels.empty() || levels.size() > 2) return false;
      if (levels.size() == 2 && !(is_small_integer(levels[0].type) && levels[1].type == DType::f16)) return false;
      if (levels.size() == 1 && !is_plain_float(levels[0].type)) return false;
      for (std::size_t i = 0; i < levels.size(); ++i) {
        if (!add_factor(tensor, levels[i], "mins_" + std::to_string(i), offsets_)) return false;
      }
      return true;
  }
  return false;
}

std::uint64_t AffineParameters::scratch_elems() const noexcept { return 3 * groups_ * kRows; }

void AffineParameters::widen(const Factor& factor, std::uint64_t tile, float* out) const noexcept {
  const std::uint64_t count = factor.groups * kRows;
  if (factor.plane == nullptr) {
    std::fill_n(out, count, factor.constant);
    return;
  }
  const std::byte* unit = factor.plane + tile * factor.unit_bytes;
  if (factor.type == DType::f32) {
    std::memcpy(out, unit, count * sizeof(float));
  } else if (factor.type == DType::f16) {
    kernels_->f16_to_f32(reinterpret_cast<const std::uint16_t*>(unit), out, count);
  } else if (factor.type == DType::bf16) {
    kernels_->bf16_to_f32(reinterpret_cast<const std::uint16_t*>(unit), out, count);
  } else {
    kernels_->integers_to_f32(unit, tensor::bits(factor.type), tensor::info(factor.type).is_signed, out, count);
    if (factor.multiply == 1 && factor.add == 0) return;
    for (std::uint64_t i = 0; i < count; ++i) out[i] = out[i] * factor.multiply + factor.add;
  }
}

void AffineParameters::product(const std::vector<Factor>& factors, std::uint64_t tile, float* out,
                               float* spare) const noexcept {
  bool first = true;
  for (const Factor& factor : factors) {
    const bool finest = factor.groups == groups_;
    float* const values = first && finest ? out : spare;
    widen(factor, tile, values);
    if (!(first && finest)) {
      for (std::uint64_t group = 0; group < groups_; ++group) {
        const float* from = spare + std::min(group * group_cols_ / factor.group_cols, factor.groups - 1) * kRows;
        float* to = out + group * kRows;
        for (std::uint64_t r = 0; r < kRows; ++r) to[r] = first ? from[r] : to[r] * from[r];
      }
    }
    first = false;
  }
}

void AffineParameters::multiplied_out(std::uint64_t tile, float* scales, float* offsets, float* spare) const noexcept {
  if (scales_.empty()) {
    std::fill_n(scales, groups_ * kRows, 1.0f);
  } else {
    product(scales_, tile, scales, spare);
  }
  if (offsets_.empty()) {
    std::fill_n(offsets, groups_ * kRows, 0.0f);
  } else {
    product(offsets_, tile, offsets, spare);
  }
  if (negate_) {
    for (std::uint64_t i = 0; i < groups_ * kRows; ++i) offsets[i] = -offsets[i];
  }
}

kernels::AffineTile AffineParameters::fill(std::uint64_t tile, float* scratch) const noexcept {
  float* const scales = scratch;
  float* const offsets = scratch + groups_ * kRows;
  multiplied_out(tile, scales, offsets, offsets + groups_ * kRows);
  kernels::AffineTile result = {};
  for (std::uint32_t s = 0; s < slice_count_; ++s) {
    result.slices[s] = reinterpret_cast<const std::uint32_t*>(slices_[s] + tile * slice_unit_bytes_[s]);
  }
  result.bits = bits_;
  result.is_signed = is_signed_;
  result.subtract_offset = subtract_;
  result.scales = scales;
  result.offsets = offsets;
  result.cols = cols_;
  result.group_cols = group_cols_;
  return result;
}

std::optional<kernels::IntegerLayout> AffineParameters::integer_layout() const noexcept {
  if (cols_ % kernels::kIntegerRun != 0) return std::nullopt;
  const std::uint32_t low = tensor::code_slices(static_cast<std::uint8_t>(bits_)).bits[0];
  for (const std::uint8_t segment : {std::uint8_t{128}, std::uint8_t{64}, std::uint8_t{32}, std::uint8_t{16}}) {
    if (segment == 16 && low == 1) break;
    if (cols_ % segment == 0 && (group_cols_ >= cols_ || group_cols_ % segment == 0))
      return kernels::IntegerLayout{static_cast<std::uint8_t>(low), segment};
  }
  return std::nullopt;
}

// Those of the first tile: a factor of its own, or an integer one times binary16 steps that some of its groups share.
std::optional<kernels::TileParameters> AffineParameters::in_place(const std::vector<Factor>& factors) const noexcept {
  using kernels::ParameterType;
  kernels::TileParameters result;
  if (factors.empty()) return result;
  const Factor& factor = factors[0];
  result.constant = factor.constant;
  if (factor.plane == nullptr) return factors.size() > 1 ? std::nullopt : std::optional(result);
  if (factor.groups != groups_ || factor.multiply != 1 || factor.add != 0) return std::nullopt;
  result.elements = factor.plane;
  switch (factor.type) {
    case DType::f32: result.type = ParameterType::f32; break;
    case DType::f16: result.type = ParameterType::f16; break;
    case DType::bf16: result.type = ParameterType::bf16; break;
    case DType::e8m0: result.type = ParameterType::e8m0; break;
    case DType::e4m3: result.type = ParameterType::e4m3; break;
    default:
      result.type = ParameterType::integer;
      result.bits = static_cast<std::uint8_t>(tensor::bits(factor.type));
      result.is_signed = tensor::info(factor.type).is_signed;
  }
  if (factors.size() == 1) return result;
  const Factor& steps = factors[1];
  if (steps.plane == nullptr || steps.type != DType::f16 || steps.multiply != 1 || steps.add != 0) return std::nullopt;
  result.steps = reinterpret_cast<const std::uint16_t*>(steps.plane);
  result.groups_per_step = steps.groups == 1 ? groups_ : steps.group_cols / group_cols_;
  return result;
}

void AffineParameters::set_first_tile() noexcept {
  first_.cols = cols_;
  first_.group_cols = group_cols_;
  first_.bits = static_cast<std::uint8_t>(bits_);
  first_.is_signed = is_signed_;
  for (std::uint32_t s = 0; s < slice_count_; ++s)
    first_.slices[s] = reinterpret_cast<const std::uint32_t*>(slices_[s]);
  const auto scales = in_place(scales_), offsets = in_place(offsets_);
  reads_in_place_ = scales.has_value() && offsets.has_value();
  if (scales) first_.scales = *scales;
  if (scales_.empty()) first_.scales.constant = 1;
  if (entries_) {
    first_.table = &entries_->table;
    first_.scales.factor = entries_->step;
    first_.offset = kernels::OffsetKind::zero_point;
    first_.offsets.constant = entries_->origin;
    return;
  }
  first_.offset = offsets_.empty() ? kernels::OffsetKind::none
                  : subtract_      ? kernels::OffsetKind::zero_point
                                   : kernels::OffsetKind::bias;
  if (offsets) first_.offsets = *offsets;
  first_.offsets.negated = negate_;
}

void AffineParameters::move(const std::vector<Factor>& factors, std::uint64_t tile,
                            kernels::TileParameters& parameters) noexcept {
  if (parameters.elements == nullptr) return;
  parameters.elements = static_cast<const std::byte*>(parameters.elements) + tile * factors[0].unit_bytes;
  if (parameters.steps != nullptr) parameters.steps += tile * factors[1].unit_bytes / sizeof(std::uint16_t);
}

void AffineParameters::fill_integer_tile(std::uint64_t tile, float* scratch, kernels::IntegerTile& out) const noexcept {
  out = first_;
  for (std::uint32_t s = 0; s < slice_count_; ++s) out.slices[s] += tile * slice_unit_bytes_[s] / sizeof(std::uint32_t);
  if (reads_in_place_) {
    move(scales_, tile, out.scales);
    move(offsets_, tile, out.offsets);
    return;
  }
  float* const scales = scratch;
  float* const offsets = scratch + groups_ * kRows;
  const auto multiplied = [](const float* values, float factor) {
    kernels::TileParameters parameters;
    parameters.type = kernels::ParameterType::f32;
    parameters.elements = values;
    parameters.factor = factor;
    return parameters;
  };
  if (entries_) {
    product(scales_, tile, scales, offsets);
    out.scales = multiplied(scales, entries_->step);
    return;
  }
  multiplied_out(tile, scales, offsets, offsets + groups_ * kRows);
  if (subtract_) {
    for (std::uint64_t i = 0; i < groups_ * kRows; ++i) offsets[i] *= -scales[i];
    out.offset = kernels::OffsetKind::bias;
  }
  out.scales = multiplied(scales, 1);
  if (out.offset != kernels::OffsetKind::none) out.offsets = multiplied(offsets, 1);
}

}  // namespace ingot::runtime

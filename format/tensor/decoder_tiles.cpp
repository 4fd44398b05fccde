// Parameters of whole tiles as the loops of tile_loops.h take them: binary32, sixteen rows side by side. They compute
// fma(scale, T(code) - zero, add), which is the value where each of the three is a binary32 number.
#include <cmath>
#include <limits>

#include "format/tensor/decoder.h"
#include "format/tensor/packing.h"

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kLoopCodes = 8;  // of a row, that the loops do at once

/// Calls work(sixteen of a run, sixteen of its parameter); a parameter serves `runs_each` runs, the last one fewer.
template <class Work>
void each_run(std::vector<float>& of_runs, std::uint64_t runs_each, const std::vector<float>& parameters, Work work) {
  const float* parameter = parameters.data();
  for (std::uint64_t begin = 0; begin < of_runs.size(); parameter += kTileRows) {
    const std::uint64_t end = std::min<std::uint64_t>(of_runs.size(), begin + runs_each * kTileRows);
    for (; begin < end; begin += kTileRows) work(of_runs.data() + begin, parameter);
  }
}

void set(std::vector<float>& of_runs, std::uint64_t runs_each, const std::vector<float>& parameters) {
  each_run(of_runs, runs_each, parameters,
           [](float* run, const float* parameter) { std::copy_n(parameter, kTileRows, run); });
}

void multiply(std::vector<float>& of_runs, std::uint64_t runs_each, const std::vector<float>& parameters) {
  each_run(of_runs, runs_each, parameters, [](float* run, const float* parameter) {
    for (std::uint64_t row = 0; row < kTileRows; ++row) run[row] *= parameter[row];
  });
}

bool all_within(const std::vector<float>& numbers, float limit) noexcept {
  unsigned others = 0;
  for (const float number : numbers) others |= !(std::fabs(number) <= limit);  // NaN is not within
  return others == 0;
}

bool all_finite(const std::vector<double>& numbers) noexcept {
  return std::all_of(numbers.begin(), numbers.end(), [](double number) { return std::isfinite(number); });
}

}  // namespace

/// The product of the levels is exact, step by step.
bool Decoder::is_exact_product(std::size_t level_begin, std::size_t level_end, NumberRange factor) const noexcept {
  for (std::size_t i = level_begin; i < level_end; ++i) {
    if (!exact_in_binary32(levels_[i].range)) return false;
    factor = range_of_product(factor, levels_[i].range);
    if (!exact_in_binary32(factor)) return false;
  }
  return true;
}

bool Decoder::all_exact_levels() const noexcept {
  return std::all_of(levels_.begin(), levels_.end(),
                     [](const LevelPlane& plane) { return exact_in_binary32(plane.range); });
}

/// Are scale, T(code) - zero and addend binary32 numbers?
bool Decoder::is_one_fma() const noexcept {
  const double constant_zero = scheme_.offset.zero;
  NumberRange code = range_of(code_numbers_);
  if (scheme_.offset.kind == OffsetKind::zero) code = range_of_sum(code, range_of({&constant_zero, 1}));
  if (scheme_.offset.kind == OffsetKind::zero_points) {
    if (levels_[scale_count_].range.lowest < 0) return false;  // no integers
    code = range_of_sum(code, levels_[scale_count_].range);
  }
  const bool has_addend = scheme_.offset.kind == OffsetKind::bias || scheme_.offset.kind == OffsetKind::minimum;
  const bool is_exact_scale =
      scheme_.rounded_scale ? scheme_.shift == 0 && all_exact_levels()
                            : is_exact_product(0, scale_count_, {std::ldexp(1.0, scheme_.shift), scheme_.shift, 1});
  return exact_in_binary32(code) && is_exact_scale &&
         (!has_addend || is_exact_product(scale_count_, levels_.size(), {1, 0, 1}));
}

TileForm Decoder::tile_form() const noexcept {
  if (geometry_.packing != Packing::tiles || scheme_.order != Order::identity || scheme_.rounded_steps ||
      geometry_.cols % kLoopCodes != 0 || run_cols_ % kLoopCodes != 0 || !all_finite_codes() || !is_one_fma())
    return TileForm::none;
  const bool is_nibble = bits(scheme_.codes.type) == 4;
  if (code_form_ == CodeForm::integer_bytes) return is_nibble ? TileForm::nibbles : TileForm::bytes;
  if (code_form_ != CodeForm::table_bytes) return TileForm::none;
  if (is_nibble) return TileForm::table16;
  const bool is_e4m3 = scheme_.codes.kind == CodeKind::number && scheme_.codes.type == DType::e4m3;
  return is_e4m3 && scheme_.offset.kind == OffsetKind::none ? TileForm::e4m3 : TileForm::none;
}

/// e4m3's NaN is looked for where the codes are.
bool Decoder::all_finite_codes() const noexcept {
  return scheme_.codes.type == DType::e4m3 || all_finite(code_numbers_);
}

void Decoder::read_tile_elements(const LevelPlane& plane, const std::byte* bytes, std::uint64_t first,
                                 std::uint64_t count, float* out, std::vector<std::uint8_t>& codes) const {
  const std::uint8_t element_bits = bits(plane.level.type);
  if (element_bits > 8) {
    wide_values(plane.level.type, bytes + first * element_bits / 8, count, out);
    if (plane.is_element()) return;
    const auto multiply = static_cast<float>(plane.level.multiply), add = static_cast<float>(plane.level.add);
    for (std::uint64_t i = 0; i < count; ++i) out[i] = multiply * out[i] + add;
    return;
  }
  if (plane.level.type == DType::u8 && plane.is_element()) {  // no table needed
    for (std::uint64_t i = 0; i < count; ++i)
      out[i] = static_cast<float>(std::to_integer<std::uint8_t>(bytes[first + i]));
    return;
  }
  if (element_bits == 8) {
    for (std::uint64_t i = 0; i < count; ++i) out[i] = plane.values[std::to_integer<std::size_t>(bytes[first + i])];
    return;
  }
  codes.resize(count);
  unpack_dense(element_bits, bytes, first, count, codes.data());
  for (std::uint64_t i = 0; i < count; ++i) out[i] = plane.values[codes[i]];
}

/// Of all 16 rows, (columns, 16). Parameters that are not sliced are those of the rows that share them.
void Decoder::read_tile_level(const LevelPlane& plane, std::uint64_t unit, const std::byte* bytes,
                              std::vector<float>& out, TileRunBuffers& buffers) const {
  const std::uint64_t cols = plane.columns_per_parameter == 0 ? 1 : plane.cols;
  out.resize(cols * kTileRows);
  if (plane.sliced) return read_tile_elements(plane, bytes, 0, cols * kTileRows, out.data(), buffers.codes);
  const std::uint64_t matrix = unit / geometry_.units_per_matrix;
  const std::uint64_t first_row = unit % geometry_.units_per_matrix * kTileRows;
  std::uint64_t previous = std::numeric_limits<std::uint64_t>::max();
  buffers.row.resize(cols);
  for (std::uint64_t row = 0; row < kTileRows; ++row) {
    const std::uint64_t in_matrix = std::min(first_row + row, geometry_.rows - 1);  // padding is like the last row
    const std::uint64_t parameter_row =
        matrix * plane.rows + (plane.level.block.rows == 0 ? 0 : in_matrix / plane.level.block.rows);
    if (parameter_row != previous)
      read_tile_elements(plane, bytes, parameter_row * plane.cols, cols, buffers.row.data(), buffers.codes);
    for (std::uint64_t col = 0; col < cols; ++col) out[col * kTileRows + row] = buffers.row[col];
    previous = parameter_row;
  }
}

bool Decoder::read_tile_runs(std::uint64_t unit, std::span<const std::byte* const> planes,
                             TileRunBuffers& buffers) const {
  buffers.levels.resize(levels_.size());
  for (std::size_t i = 0; i < levels_.size(); ++i)
    read_tile_level(levels_[i], unit, planes[levels_[i].plane], buffers.levels[i], buffers);
  const std::uint64_t runs = (geometry_.cols + run_cols_ - 1) / run_cols_;
  const auto runs_each = [&](std::size_t level) {
    const std::uint64_t step = levels_[level].columns_per_parameter;
    return step == 0 ? runs : step / run_cols_;
  };
  const std::size_t count = runs * kTileRows;
  if (buffers.scales.size() != count) {  // else the constant ones are there
    buffers.scales.assign(count, std::ldexp(1.0f, scheme_.shift));
    buffers.zeros.assign(count, static_cast<float>(scheme_.offset.zero) + sign_offset());
    buffers.adds.assign(count, 0.0f);
  }
  if (scheme_.rounded_scale) {
    round_tile_scales(buffers, runs, runs_each);
  } else if (scale_count_ != 0) {
    set(buffers.scales, runs_each(0), buffers.levels[0]);
    if (scheme_.shift != 0)
      for (float& scale : buffers.scales) scale *= std::ldexp(1.0f, scheme_.shift);
    for (std::size_t i = 1; i < scale_count_; ++i) multiply(buffers.scales, runs_each(i), buffers.levels[i]);
  }
  if (scheme_.offset.kind == OffsetKind::zero_points) {
    const float in_codes = sign_offset();
    each_run(buffers.zeros, runs_each(scale_count_), buffers.levels[scale_count_], [&](float* run, const float* zero) {
      for (std::uint64_t row = 0; row < kTileRows; ++row) run[row] = zero[row] + in_codes;
    });
  } else if (levels_.size() > scale_count_) {
    for (std::size_t i = scale_count_; i < levels_.size(); ++i)
      (i == scale_count_ ? set : multiply)(buffers.adds, runs_each(i), buffers.levels[i]);
    const bool is_minimum = scheme_.offset.kind == OffsetKind::minimum;
    for (float& add : buffers.adds) add = is_minimum ? 0.0f - add : 0.0f + add;  // never -0
  }
  return fit_tile_loops(buffers);
}

/// Products of finite levels are finite (is_exact_product).
bool Decoder::fit_tile_loops(const TileRunBuffers& buffers) const noexcept {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    const bool may_be_infinite = levels_[i].level.custom_table || info(levels_[i].level.type).is_float;
    if (may_be_infinite && !all_within(buffers.levels[i], kLargest)) return false;
  }
  const bool is_e4m3 = scheme_.codes.kind == CodeKind::number && scheme_.codes.type == DType::e4m3;
  if (!is_e4m3 && !scheme_.rounded_scale) return true;
  return all_within(buffers.scales, is_e4m3 ? kLargest / 256 : kLargest);
}

template <class RunsEach>
void Decoder::round_tile_scales(TileRunBuffers& buffers, std::uint64_t runs, RunsEach runs_each) const {
  for (std::uint64_t run = 0; run < runs; ++run) {
    for (std::uint64_t row = 0; row < kTileRows; ++row) {
      std::array<double, 3> numbers{};
      for (std::size_t i = 0; i < scale_count_; ++i)
        numbers[i] = buffers.levels[i][run / runs_each(i) * kTileRows + row];
      buffers.scales[run * kTileRows + row] = rounded_scale(scheme_, {numbers.data(), scale_count_}, scale_offset_);
    }
  }
}

}  // namespace ingot::tensor

#include "converters/recode/biases.h"

#include <atomic>
#include <cstring>

#include "converters/recode/elements.h"
#include "format/base/parallel.h"
#include "format/tensor/bulk.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert::recoding {
namespace {

using tensor::DType;
using tensor::kTileRows;
using tensor::OffsetKind;

constexpr std::size_t kScales = 0, kOffsets = 1;  // levels
constexpr std::uint64_t kUnitsAtOnce = 64;

bool is_float(DType type) { return type == DType::f32 || type == DType::f16 || type == DType::bf16; }

bool is_plain(const LevelPlane& plane, std::uint64_t cols) {
  const tensor::Level& level = plane.level;
  return plane.sliced && level.block.rows == 1 && level.multiply == 1 && level.add == 0 && !level.custom_table &&
         !level.divide && plane.cols == cols;
}

bool is_such(const Conversion& conversion) {
  const Side &from = conversion.source, &to = conversion.wanted;
  if (from.scheme.order != tensor::Order::identity || to.scheme.order != tensor::Order::identity) return false;
  const bool one_matrix_form = from.geometry.packing == tensor::Packing::tiles && from.scheme.flat == 0 &&
                               to.geometry.packing == tensor::Packing::tiles && to.scheme.flat == 0 &&
                               conversion.rows.identity() && conversion.columns->codes_stay();
  if (!one_matrix_form || conversion.code_rule != CodeRule::copy || !conversion.carry || conversion.step_slack != 0 ||
      conversion.natural_shift != 0 || from.scheme.rounded_scale || from.scheme.shift != 0)
    return false;
  if (from.scale_count != 1 || from.levels.size() != 2 || to.scale_count != 1 || to.levels.size() != 2 ||
      from.scheme.offset.kind != OffsetKind::zero_points || to.scheme.offset.kind != OffsetKind::bias)
    return false;
  const std::uint64_t groups = from.levels[kScales].cols, wanted_groups = to.levels[kScales].cols;
  const std::uint64_t cols = from.geometry.cols;
  return groups != 0 && cols % groups == 0 && wanted_groups % groups == 0 && cols % wanted_groups == 0 &&
         is_plain(from.levels[kScales], groups) && is_plain(from.levels[kOffsets], groups) &&
         is_plain(to.levels[kScales], wanted_groups) && is_plain(to.levels[kOffsets], wanted_groups) &&
         is_float(from.levels[kScales].level.type) && from.levels[kOffsets].level.type == DType::u8 &&
         is_float(to.levels[kScales].level.type) && is_float(to.levels[kOffsets].level.type);
}

bool all_fit(const std::vector<float>& numbers, DType type) {
  if (type == DType::f16) return tensor::bulk().all_fit_f16(numbers.data(), numbers.size());
  return type == DType::f32 || tensor::bulk().all_fit_bf16(numbers.data(), numbers.size());
}

/// -scale * zero in binary64, where it is exact.
double bias_of(float scale, float zero) noexcept {
  return 0.0 - static_cast<double>(scale) * static_cast<double>(zero);
}

}  // namespace

ZerosIntoBiases::ZerosIntoBiases(std::shared_ptr<const Conversion> conversion)
    : conversion_(std::move(conversion)),
      split_(conversion_->wanted.levels[kScales].cols / conversion_->source.levels[kScales].cols) {}

std::shared_ptr<const ZerosIntoBiases> ZerosIntoBiases::of(std::shared_ptr<const Conversion> conversion) {
  if (!is_such(*conversion)) return nullptr;
  std::shared_ptr<const ZerosIntoBiases> made(new ZerosIntoBiases(std::move(conversion)));
  return made->all_exact() ? made : nullptr;
}

void ZerosIntoBiases::load(std::uint64_t unit, Unit& buffers) const {
  const Side& from = conversion_->source;
  const LevelPlane &scales = from.levels[kScales], &zeros = from.levels[kOffsets];
  const std::uint64_t count = scales.cols * kTileRows;
  buffers.scale_bytes.resize(from.specs[scales.plane].unit_bytes);
  buffers.zero_bytes.resize(from.specs[zeros.plane].unit_bytes);
  std::vector<std::byte*> out(from.specs.size(), nullptr);
  out[scales.plane] = buffers.scale_bytes.data();
  out[zeros.plane] = buffers.zero_bytes.data();
  conversion_->source_tensor.planes->read_units(unit, unit + 1, out);
  buffers.zeros.resize(count);
  buffers.biases.resize(count);
  widen(scales.level.type, buffers.scale_bytes, buffers.scales);
  for (std::uint64_t i = 0; i < count; ++i) buffers.zeros[i] = std::to_integer<std::uint8_t>(buffers.zero_bytes[i]);
  for (std::uint64_t i = 0; i < count; ++i)
    buffers.biases[i] = static_cast<float>(bias_of(buffers.scales[i], buffers.zeros[i]));
}

bool ZerosIntoBiases::all_exact() const {
  std::atomic<bool> exact{true};
  const Side& to = conversion_->wanted;
  parallel_for(to.geometry.units, kUnitsAtOnce, [&](std::uint64_t begin, std::uint64_t end, int) {
    Unit buffers;
    for (std::uint64_t unit = begin; unit < end && exact.load(std::memory_order_relaxed); ++unit) {
      load(unit, buffers);
      unsigned lost = 0;
      for (std::size_t i = 0; i < buffers.biases.size(); ++i) {
        const double bias = bias_of(buffers.scales[i], buffers.zeros[i]);
        lost |= !(static_cast<double>(buffers.biases[i]) == bias) | !std::isfinite(buffers.scales[i]);
      }
      if (lost != 0 || !all_fit(buffers.scales, to.levels[kScales].level.type) ||
          !all_fit(buffers.biases, to.levels[kOffsets].level.type))
        exact = false;
    }
  });
  return exact;
}

/// Numbers of a unit in their type, every group as often as it is split.
void ZerosIntoBiases::spread(const std::vector<float>& numbers, DType type, std::byte* out) const {
  const std::uint64_t element_bytes = tensor::bits(type) / 8, group_bytes = kTileRows * element_bytes;
  std::uint16_t halves[kTileRows];
  for (std::uint64_t at = 0; at < numbers.size(); at += kTileRows) {
    const void* group = numbers.data() + at;
    if (type != DType::f32) {
      const auto narrow = type == DType::f16 ? tensor::bulk().f32_to_f16 : tensor::bulk().f32_to_bf16;
      narrow(numbers.data() + at, halves, kTileRows);
      group = halves;
    }
    for (std::uint64_t i = 0; i < split_; ++i, out += group_bytes) std::memcpy(out, group, group_bytes);
  }
}

void ZerosIntoBiases::make(std::uint64_t unit_begin, std::uint64_t unit_end, std::byte* scales,
                           std::byte* biases) const {
  const Side& to = conversion_->wanted;
  Unit buffers;
  for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit) {
    load(unit, buffers);
    const std::uint64_t slot = unit - unit_begin;
    const LevelPlane &scale = to.levels[kScales], &bias = to.levels[kOffsets];
    if (scales != nullptr) spread(buffers.scales, scale.level.type, scales + slot * to.specs[scale.plane].unit_bytes);
    if (biases != nullptr) spread(buffers.biases, bias.level.type, biases + slot * to.specs[bias.plane].unit_bytes);
  }
}

}  // namespace ingot::convert::recoding

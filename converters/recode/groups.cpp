#include "converters/recode/groups.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>

#include "converters/recode/rows.h"
#include "format/base/parallel.h"
#include "format/tensor/bulk.h"
#include "format/tensor/element_numbers.h"

namespace ingot::convert::recoding {
namespace {

using tensor::kTileRows;
using tensor::OffsetKind;

constexpr std::uint64_t kTilesAtOnce = 64;

bool is_unsigned(const tensor::Scheme& scheme) noexcept {
  const tensor::DTypeInfo& type = tensor::info(scheme.codes.type);
  return scheme.codes.kind == tensor::CodeKind::number && !type.is_float && !type.is_signed;
}

/// Whole bytes that are the zero points themselves.
bool is_byte_level(const LevelPlane& plane) noexcept {
  const tensor::Level& level = plane.level;
  return level.type == tensor::DType::u8 && plane.sliced && level.multiply == 1 && level.add == 0 &&
         !level.custom_table && level.block.rows == 1;
}

/// 16-bit floats that are the scales themselves.
bool is_half_level(const LevelPlane& plane) noexcept {
  const tensor::Level& level = plane.level;
  return (level.type == tensor::DType::f16 || level.type == tensor::DType::bf16) && plane.sliced &&
         level.multiply == 1 && level.add == 0 && !level.custom_table && !level.divide && level.block.rows == 1;
}

/// Tiles on both sides, every code in its place.
bool stays_in_tiles(const Conversion& conversion) noexcept {
  const tensor::Geometry &from = conversion.source.geometry, &to = conversion.wanted.geometry;
  return from.packing == tensor::Packing::tiles && to.packing == tensor::Packing::tiles && from.units == to.units &&
         from.rows == to.rows && from.cols == to.cols && conversion.columns->codes_stay() && conversion.rows.identity();
}

/// Bytes of some planes of tiles [begin, end).
class TilePlanes {
 public:
  TilePlanes(const tensor::Tensor& source, std::uint64_t begin, std::uint64_t end, std::vector<std::size_t> planes)
      : specs_(source.plane_specs()), bytes_(specs_.size()) {
    std::vector<std::byte*> wanted(specs_.size(), nullptr);
    for (const std::size_t plane : planes) {
      bytes_[plane].resize((end - begin) * specs_[plane].unit_bytes);
      wanted[plane] = bytes_[plane].data();
    }
    source.planes->read_units(begin, end, wanted);
  }
  /// The tile at this distance from `begin`.
  [[nodiscard]] const std::byte* tile(std::size_t plane, std::uint64_t index) const noexcept {
    return bytes_[plane].data() + index * specs_[plane].unit_bytes;
  }

 private:
  std::vector<tensor::PlaneSpec> specs_;
  std::vector<std::vector<std::byte>> bytes_;
};

std::uint64_t rows_in_tile(const tensor::Geometry& view, std::uint64_t tile) noexcept {
  return std::min(kTileRows, view.rows - tile % view.units_per_matrix * kTileRows);
}

/// The largest |bias + scale * zero point| / |scale| of some groups, and the first row of the tile where it is not 0.
void measure_biases(const GroupBiases& biases, const std::byte* scales, const std::byte* zero_points,
                    std::uint64_t rows, std::uint64_t first_row, BiasLoss& loss) {
  constexpr std::uint64_t kPiece = 256;
  std::byte made[kPiece * sizeof(float)];
  float scale[kPiece], bias[kPiece];
  const std::uint64_t all = biases.groups * kTileRows;
  for (std::uint64_t begin = 0; begin < all; begin += kPiece) {
    const std::uint64_t count = std::min(kPiece, all - begin);
    const std::byte* zeros = zero_points == nullptr ? nullptr : zero_points + begin;
    biases.make(scales + 2 * begin, zeros, count, made);
    tensor::wide_values(biases.scale_type, scales + 2 * begin, count, scale);
    tensor::wide_values(biases.bias_type, made, count, bias);
    bool exact = true, regular = true;
    for (std::uint64_t i = 0; i < count; ++i) {
      const float zero = zeros == nullptr ? biases.zero : static_cast<float>(std::to_integer<std::uint8_t>(zeros[i]));
      exact &= bias[i] == 0 - scale[i] * zero;
      regular &= bias[i] - bias[i] == 0 && scale[i] - scale[i] == 0;
    }
    loss.regular = loss.regular && regular;
    if (exact || !regular) continue;
    for (std::uint64_t i = 0; i < count; ++i) {
      const double zero = zeros == nullptr ? biases.zero : std::to_integer<std::uint8_t>(zeros[i]);
      const double error = std::fabs(bias[i] - (0.0 - double{scale[i]} * zero));
      if (error == 0 || (begin + i) % kTileRows >= rows) continue;
      loss.worst_steps = std::max(loss.worst_steps, error / std::fabs(double{scale[i]}));
      loss.first_row = std::min(loss.first_row, first_row + (begin + i) % kTileRows);
    }
  }
}

}  // namespace

std::optional<GroupShifts> group_shifts(const Conversion& conversion) {
  const Side &source = conversion.source, &wanted = conversion.wanted;
  const OffsetKind to = wanted.scheme.offset.kind;
  const bool from_zero_points =
      source.scheme.offset.kind == OffsetKind::zero_points && source.levels.size() == source.scale_count + 1;
  if (conversion.code_rule != CodeRule::shift || !from_zero_points || !stays_in_tiles(conversion) ||
      !is_unsigned(source.scheme) || (to != OffsetKind::none && to != OffsetKind::zero))
    return std::nullopt;
  const LevelPlane& zeros = source.levels.back();
  if (!is_byte_level(zeros)) return std::nullopt;
  const std::uint64_t run_cols = zeros.level.block.cols == 0 ? source.geometry.cols : zeros.level.block.cols;
  const std::int32_t zero = to == OffsetKind::zero ? wanted.scheme.offset.zero : 0;
  const auto limit = [&](double code, double wanted_code) {
    return zero + static_cast<std::int32_t>(code - wanted_code);
  };
  return GroupShifts{zeros.plane,
                     run_cols,
                     zeros.cols,
                     zeros.cols * kTileRows,
                     zero,
                     limit(conversion.greatest_code, conversion.wanted_greatest_code),
                     limit(conversion.least_code, conversion.wanted_least_code)};
}

bool all_groups_fit(const tensor::Tensor& source, const GroupShifts& shifts) {
  const tensor::Geometry view = source.geometry();
  std::atomic<bool> fit{true};
  parallel_for(view.units, kTilesAtOnce, [&](std::uint64_t begin, std::uint64_t end, int) {
    if (!fit) return;
    const TilePlanes planes(source, begin, end, {shifts.plane});
    for (std::uint64_t tile = begin; tile < end; ++tile) {
      const std::byte* zero_points = planes.tile(shifts.plane, tile - begin);
      const std::uint64_t rows = rows_in_tile(view, tile);
      std::uint8_t least = 255, greatest = 0;
      for (std::uint64_t group = 0; group < shifts.groups; ++group, zero_points += kTileRows) {
        for (std::uint64_t row = 0; row < rows; ++row) {
          least = std::min(least, std::to_integer<std::uint8_t>(zero_points[row]));
          greatest = std::max(greatest, std::to_integer<std::uint8_t>(zero_points[row]));
        }
      }
      if (least <= greatest && (least < shifts.least || greatest > shifts.greatest)) fit = false;
    }
  });
  return fit;
}

std::optional<GroupBiases> group_biases(const Conversion& conversion) {
  const Side &source = conversion.source, &wanted = conversion.wanted;
  const tensor::Offset &from = source.scheme.offset, &to = wanted.scheme.offset;
  const bool codes_fit = conversion.natural_shift == 0 && conversion.wanted_least_code <= conversion.least_code &&
                         conversion.wanted_greatest_code >= conversion.greatest_code;
  const bool constant = from.kind == OffsetKind::none || from.kind == OffsetKind::zero;
  if (to.kind != OffsetKind::bias || source.scale_count != 1 || wanted.levels.size() != 2 || !codes_fit ||
      !stays_in_tiles(conversion) || !is_unsigned(source.scheme) || !is_half_level(source.levels[0]) ||
      source.levels[0].level.type != wanted.levels[0].level.type || source.scheme.shift != 0 ||
      source.scheme.rounded_steps || wanted.scheme.rounded_steps)
    return std::nullopt;
  const tensor::Level& bias = wanted.levels[1].level;
  const bool float_bias =
      bias.type == tensor::DType::f16 || bias.type == tensor::DType::bf16 || bias.type == tensor::DType::f32;
  if (!float_bias || !wanted.levels[1].sliced || bias.block != wanted.levels[0].level.block || bias.multiply != 1 ||
      bias.add != 0 || bias.custom_table)
    return std::nullopt;
  GroupBiases biases{source.levels[0].plane,      std::nullopt, 0,
                     source.levels[0].level.type, bias.type,    source.levels[0].cols};
  if (from.kind == OffsetKind::zero_points && source.levels.size() == 2 && is_byte_level(source.levels[1]) &&
      source.levels[1].level.block == source.levels[0].level.block)
    biases.zero_plane = source.levels[1].plane;
  else if (constant)
    biases.zero = static_cast<float>(from.kind == OffsetKind::zero ? from.zero : 0);
  else
    return std::nullopt;
  return biases;
}

/// In binary32, where a product of 11 and 8 bits is exact.
void GroupBiases::make(const std::byte* scales, const std::byte* zero_points, std::uint64_t count,
                       std::byte* biases) const noexcept {
  constexpr std::uint64_t kPiece = 256;
  float values[kPiece];
  std::uint16_t halves[kPiece];
  const std::uint64_t bias_bytes = tensor::bits(bias_type) / 8;
  for (std::uint64_t begin = 0; begin < count; begin += kPiece, biases += kPiece * bias_bytes) {
    const std::uint64_t piece = std::min(kPiece, count - begin);
    tensor::wide_values(scale_type, scales + 2 * begin, piece, values);
    if (zero_points == nullptr) {
      for (std::uint64_t i = 0; i < piece; ++i) values[i] = 0 - values[i] * zero;
    } else {
      for (std::uint64_t i = 0; i < piece; ++i)
        values[i] = 0 - values[i] * static_cast<float>(std::to_integer<std::uint8_t>(zero_points[begin + i]));
    }
    if (bias_type == tensor::DType::f32) {
      std::memcpy(biases, values, piece * sizeof(float));
      continue;
    }
    (bias_type == tensor::DType::f16 ? tensor::bulk().f32_to_f16 : tensor::bulk().f32_to_bf16)(values, halves, piece);
    std::memcpy(biases, halves, piece * sizeof(std::uint16_t));
  }
}

BiasLoss look_at_biases(const tensor::Tensor& source, const GroupBiases& biases, bool stop_at_loss) {
  const tensor::Geometry view = source.geometry();
  BiasLoss loss;
  std::mutex mutex;
  std::atomic<bool> stopped{false};
  std::vector<std::size_t> planes = {biases.scale_plane};
  if (biases.zero_plane) planes.push_back(*biases.zero_plane);
  parallel_for(view.units, kTilesAtOnce, [&](std::uint64_t begin, std::uint64_t end, int) {
    if (stopped) return;
    const TilePlanes bytes(source, begin, end, planes);
    BiasLoss own;
    for (std::uint64_t tile = begin; tile < end; ++tile) {
      const std::uint64_t first_row =
          tile / view.units_per_matrix * view.rows + tile % view.units_per_matrix * kTileRows;
      measure_biases(biases, bytes.tile(biases.scale_plane, tile - begin),
                     biases.zero_plane ? bytes.tile(*biases.zero_plane, tile - begin) : nullptr,
                     rows_in_tile(view, tile), first_row, own);
      if (!own.regular || (stop_at_loss && own.worst_steps > 0)) stopped = true;
      if (stopped) break;
    }
    const std::scoped_lock lock(mutex);
    loss.regular = loss.regular && own.regular;
    loss.worst_steps = std::max(loss.worst_steps, own.worst_steps);
    loss.first_row = std::min(loss.first_row, own.first_row);
  });
  return loss;
}

void MovedCodes::row(const std::byte* zero_points, std::uint64_t row, std::vector<std::uint8_t>& moves) const {
  moves.resize(shifts.groups);
  for (std::uint64_t group = 0; group < shifts.groups; ++group)
    moves[group] =
        static_cast<std::uint8_t>(shifts.zero - std::to_integer<std::int32_t>(zero_points[group * kTileRows + row]));
}

}  // namespace ingot::convert::recoding

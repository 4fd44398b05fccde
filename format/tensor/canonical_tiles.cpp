#include "format/tensor/canonical_tiles.h"

#include <cmath>
#include <limits>

#include "format/tensor/float_codes.h"
#include "format/tensor/tile_loops.h"

namespace ingot::tensor {
namespace {

constexpr std::size_t kScalePlane = 1;
constexpr std::uint32_t kWordCodes = 8;
constexpr std::uint64_t kPieceElems = 2048;  // canonicalized and hashed at a time: stays in the first-level cache

bool is_float_group(const Level& level) {
  return (level.type == DType::f16 || level.type == DType::bf16 || level.type == DType::f32) && level.block.rows == 1 &&
         level.block.cols % kWordCodes == 0 && !level.custom_table && !level.divide && level.multiply == 1 &&
         level.add == 0;
}

/// Offsets for which the difference of code and zero is exact.
bool is_exact_offset(const Scheme& scheme) {
  if (scheme.offset.kind == OffsetKind::none || scheme.offset.kind == OffsetKind::zero)
    return std::abs(scheme.offset.zero) <= 256;
  if (scheme.offset.levels.size() != 1 || scheme.offset.levels[0].block != scheme.scales[0].block) return false;
  const Level& offset = scheme.offset.levels[0];
  if (scheme.offset.kind == OffsetKind::zero_points)
    return offset.type == DType::u8 && !offset.custom_table && offset.multiply == 1 && offset.add == 0;
  return scheme.offset.kind == OffsetKind::bias && is_float_group(offset);
}

/// Elements of a float type.
void widen(DType type, const std::byte* elements, std::uint64_t count, float* numbers) noexcept {
  if (type == DType::f16) return f16_to_f32(reinterpret_cast<const std::uint16_t*>(elements), numbers, count);
  if (type == DType::bf16) return bf16_to_f32(reinterpret_cast<const std::uint16_t*>(elements), numbers, count);
  std::copy_n(elements, count * sizeof(float), reinterpret_cast<std::byte*>(numbers));
}

bool all_finite(const std::vector<float>& numbers) noexcept {
  unsigned others = 0;
  for (const float number : numbers) others |= !(std::fabs(number) <= std::numeric_limits<float>::max());
  return others == 0;
}

}  // namespace

bool CanonicalTiles::takes(const Tensor& tensor) {
  const Scheme& scheme = tensor.scheme;
  return scheme.codes.kind == CodeKind::number && scheme.codes.type == DType::u4 && tensor.packing == Packing::tiles &&
         tensor.transforms.empty() && scheme.flat == 0 && scheme.order == Order::identity && !scheme.rounded_scale &&
         !scheme.rounded_steps && !scheme.scale_offset && scheme.shift == 0 && scheme.scales.size() == 1 &&
         is_float_group(scheme.scales[0]) && is_exact_offset(scheme) && tensor.geometry().cols % kWordCodes == 0;
}

CanonicalTiles::CanonicalTiles(const Tensor& tensor)
    : scheme_(tensor.scheme), geometry_(tensor.geometry()), source_(tensor.planes), decoder_(tensor) {
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    views_.push_back(source_->view(i));
    unit_bytes_.push_back(specs[i].unit_bytes);
  }
  if (specs.size() > kScalePlane + 1) offset_plane_ = kScalePlane + 1;
  runs_ = specs[kScalePlane].cols;
  run_cols_ = scheme_.scales[0].block.cols == 0 ? geometry_.cols : scheme_.scales[0].block.cols;
  constant_zero_ = static_cast<float>(scheme_.offset.zero);
}

std::pair<std::uint64_t, std::uint64_t> CanonicalTiles::units_ending_in(std::uint64_t begin,
                                                                        std::uint64_t end) const noexcept {
  const std::uint64_t unit_elems = kTileRows * geometry_.cols;
  if (geometry_.matrices > 1 && geometry_.rows % kTileRows != 0) return {0, 0};
  return {begin / unit_elems, end == geometry_.elements ? geometry_.units : end / unit_elems};
}

const std::byte* CanonicalTiles::plane(std::size_t index, std::uint64_t unit, const Scratch& scratch) const noexcept {
  if (views_[index]) return views_[index]->data() + unit * unit_bytes_[index];
  return scratch.units[index].data() + (unit - scratch.unit_begin) * unit_bytes_[index];
}

void CanonicalTiles::read_units(std::uint64_t begin, std::uint64_t end, Scratch& scratch) const {
  scratch.units.resize(views_.size());
  std::vector<std::byte*> wanted(views_.size(), nullptr);
  bool any = false;
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (views_[i]) continue;
    scratch.units[i].resize((end - begin) * unit_bytes_[i]);
    wanted[i] = scratch.units[i].data();
    any = true;
  }
  if (!any) return;
  scratch.unit_begin = scratch.unit_end = 0;  // in case the source throws
  source_->read_units(begin, end, wanted);
  scratch.unit_begin = begin;
  scratch.unit_end = end;
}

void CanonicalTiles::load_parameters(std::uint64_t unit, Scratch& scratch) const {
  const std::uint64_t count = runs_ * kTileRows;
  scratch.scales.resize(count);
  scratch.zeros.assign(count, constant_zero_);
  scratch.adds.assign(count, 0.0f);
  widen(scheme_.scales[0].type, plane(kScalePlane, unit, scratch), count, scratch.scales.data());
  if (scheme_.offset.kind == OffsetKind::zero_points) {
    const std::byte* zeros = plane(offset_plane_, unit, scratch);
    for (std::uint64_t i = 0; i < count; ++i) scratch.zeros[i] = std::to_integer<std::uint8_t>(zeros[i]);
  } else if (scheme_.offset.kind == OffsetKind::bias) {
    widen(scheme_.offset.levels[0].type, plane(offset_plane_, unit, scratch), count, scratch.adds.data());
    for (float& add : scratch.adds) add += 0.0f;  // -0 becomes 0
  }
  scratch.is_ordinary = all_finite(scratch.scales) && all_finite(scratch.adds);
}

void CanonicalTiles::load_tile(std::uint64_t unit, Scratch& scratch) const {
  if (scratch.tile == unit) return;
  scratch.tile = unit;
  load_parameters(unit, scratch);
  const std::uint64_t row_words = geometry_.cols / kWordCodes;
  scratch.words.resize(kTileRows * row_words);
  tile_loops().rows_of_lines(plane(0, unit, scratch), row_words, reinterpret_cast<std::byte*>(scratch.words.data()),
                             row_words * sizeof(std::uint32_t));
}

/// Canonical bits of columns [col_begin, col_end) of a row.
void CanonicalTiles::make_values(std::uint64_t row, std::uint64_t col_begin, std::uint64_t col_end, std::uint32_t* out,
                                 Scratch& scratch) const {
  load_tile(unit_of(row), scratch);
  const std::uint64_t in_tile = row % geometry_.rows % kTileRows;
  if (scratch.is_ordinary) {
    const TileRuns runs{scratch.scales.data(), scratch.zeros.data(), scratch.adds.data(), run_cols_};
    return tile_loops().canonical_nibbles(scratch.words.data() + in_tile * (geometry_.cols / kWordCodes), col_begin,
                                          col_end, runs, in_tile, out);
  }
  std::vector<float> values(geometry_.cols);
  decoder_.decode(row, row + 1, 0, geometry_.cols, values.data(), geometry_.cols, scratch.decoded);
  bulk().canonical_f32(values.data() + col_begin, out, col_end - col_begin);
}

void CanonicalTiles::hash(std::uint64_t begin, std::uint64_t block_elems, std::span<Hash128> hashes,
                          Scratch& scratch) const {
  const std::uint64_t cols = geometry_.cols;
  const std::uint64_t all_end = std::min(geometry_.elements, begin + hashes.size() * block_elems);
  if (begin >= all_end) return;
  read_units(unit_of(begin / cols), unit_of((all_end - 1) / cols) + 1, scratch);
  scratch.tile = ~std::uint64_t{0};
  std::uint32_t canonical[kPieceElems];
  for (Hash128& hash : hashes) {
    const std::uint64_t end = std::min(all_end, begin + block_elems);
    Hasher128 hasher;
    std::uint64_t filled = 0;
    while (begin < end) {
      const std::uint64_t row = begin / cols, col = begin % cols;
      const std::uint64_t count = std::min({cols - col, end - begin, kPieceElems - filled});
      make_values(row, col, col + count, canonical + filled, scratch);
      filled += count;
      begin += count;
      if (filled < kPieceElems && begin < end) continue;
      hasher.update(std::as_bytes(std::span(canonical).first(filled)));
      filled = 0;
    }
    hash = hasher.digest();
  }
}

}  // namespace ingot::tensor

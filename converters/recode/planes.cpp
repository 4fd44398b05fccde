// Planes of recoded tensors, unit by unit.
#include "converters/recode/planes.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/base/error.h"

namespace ingot::convert::recoding {
namespace {

using tensor::Geometry;
using tensor::PlaneSpec;

constexpr std::size_t kNone = ~std::size_t{0};

bool same_units(const Geometry& a, const Geometry& b) noexcept {
  return a.packing == b.packing && a.matrices == b.matrices && a.rows == b.rows && a.cols == b.cols;
}

/// Are the parameters of the two levels the same elements in the same places?
bool same_elements(const Conversion& conversion, const LevelPlane& from, const LevelPlane& to) {
  return from.level == to.level && from.rows == to.rows && from.cols == to.cols && conversion.rows.identity() &&
         same_units(conversion.source.geometry, conversion.wanted.geometry) &&
         conversion.source.scheme.flat == conversion.wanted.scheme.flat &&
         (!from.sliced || conversion.source.geometry.packing == conversion.wanted.geometry.packing);
}

/// Do parameter columns of both sides serve the same elements?
bool same_parameter_columns(const Conversion& conversion, std::size_t from, std::size_t to) {
  const Pieces& pieces = conversion.columns->first_row();
  return conversion.columns->flat() || pieces.source[from] == pieces.wanted[to];
}

class ConvertedPlanes final : public tensor::PlaneSource {
 public:
  ConvertedPlanes(std::shared_ptr<const Conversion> conversion, std::shared_ptr<const ZerosIntoBiases> biases)
      : conversion_(std::move(conversion)), biases_(std::move(biases)) {
    through_.assign(wanted().specs.size(), kNone);
    spread_.resize(wanted().specs.size());
    pass_codes();
    pass_levels();
    make_whole_planes();
    if (conversion_->zero_point) fill_zero_unit(*conversion_->zero_point);
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (!wanted().specs[index].sliced) return whole(index);
    if (through_[index] == kNone) return std::nullopt;
    return conversion_->source_tensor.planes->view(through_[index]);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override {
    return through_[index] == kNone ? Bytes(whole_[index]) : conversion_->source_tensor.planes->whole(through_[index]);
  }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override;
  void done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const override;
  [[nodiscard]] std::optional<MovedCodes> moved_codes() const {
    if (!conversion_->shifts) return std::nullopt;
    return MovedCodes{&conversion_->source_tensor, *conversion_->shifts};
  }

 private:
  /// Buffers of one unit, one element per byte(s).
  struct Unit {
    std::vector<std::uint8_t> codes;
    std::vector<std::vector<std::byte>> parameters;  // by level
    std::vector<std::byte> unwanted;                 // target of a code slice that nobody asked for
  };

  /// A sliced level whose columns are columns of a level of the source, element for element; or their biases.
  struct Spread {
    std::size_t from = kNone;            // the source's level
    std::vector<std::uint32_t> columns;  // by wanted column
  };

  [[nodiscard]] const Side& wanted() const noexcept { return conversion_->wanted; }
  void pass_codes();
  void pass_levels();
  void spread_level(std::size_t from, std::size_t to);
  void spread_columns(std::size_t from, std::size_t to);
  void read_spread(std::size_t plane, std::uint64_t unit_begin, std::uint64_t unit_end,
                   std::vector<std::byte>& elements) const;
  [[nodiscard]] std::size_t bias_plane() const noexcept {
    return conversion_->biases ? wanted().levels.back().plane : kNone;
  }
  void make_whole_planes();
  void fill_zero_unit(double zero);
  [[nodiscard]] std::size_t zero_plane() const noexcept {
    return zero_unit_.empty() ? kNone : wanted().levels[wanted().scale_count].plane;
  }
  void write_zero_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::byte* out) const;
  void write_zeros(std::uint64_t rows, std::byte* out) const;
  [[nodiscard]] bool moves_bytes() const noexcept;
  /// Parameters that biases_ makes.
  [[nodiscard]] bool is_made_by_units(std::size_t plane) const noexcept {
    return biases_ != nullptr && plane >= wanted().code_planes && through_[plane] == kNone &&
           spread_[plane].from == kNone;
  }
  void move_bytes(std::uint64_t unit_begin, std::uint64_t unit_end, std::byte* out) const;
  void spread_units(std::uint64_t unit_begin, std::uint64_t unit_end, const std::vector<std::byte*>& out) const;
  void make_unit(std::uint64_t unit, RowMaker& rows, Unit& buffers, std::uint64_t slot,
                 const std::vector<std::byte*>& out) const;
  [[nodiscard]] std::uint64_t first_row(std::uint64_t unit) const noexcept {
    const Geometry& view = wanted().geometry;
    return unit / view.units_per_matrix * view.rows + unit % view.units_per_matrix * view.rows_per_unit;
  }
  [[nodiscard]] std::uint64_t rows_in(std::uint64_t unit) const noexcept {
    const Geometry& view = wanted().geometry;
    return std::min(view.rows_per_unit, view.rows - unit % view.units_per_matrix * view.rows_per_unit);
  }

  [[nodiscard]] std::unique_ptr<RowMaker> take_maker(bool codes) const {
    const std::scoped_lock lock(mutex_);
    if (idle_[codes].empty()) return nullptr;
    std::unique_ptr<RowMaker> maker = std::move(idle_[codes].back());
    idle_[codes].pop_back();
    return maker;
  }
  void give_back(std::unique_ptr<RowMaker> maker, bool codes) const {
    const std::scoped_lock lock(mutex_);
    if (!ended_) idle_[codes].push_back(std::move(maker));
  }
  /// Tensors live as long as the conversion: what each would keep after its last unit adds up.
  void keep_makers(bool keep) const {
    const std::scoped_lock lock(mutex_);
    ended_ = !keep;
    if (ended_)
      for (auto& makers : idle_) makers.clear();
  }

  std::shared_ptr<const Conversion> conversion_;
  std::shared_ptr<const ZerosIntoBiases> biases_;  // null: parameters are made row by row
  std::vector<std::size_t> through_;               // by plane: the source's plane; kNone: computed
  std::vector<Spread> spread_;                     // by plane
  std::vector<std::vector<std::byte>> whole_;      // by plane: computed whole planes
  std::vector<std::byte> zero_unit_;               // elements of zero points that are alike; empty: they are made
  // At most one maker per thread that ever read at the same time: without codes, and with. From the first unit to the
  // last.
  mutable std::mutex mutex_;
  mutable std::array<std::vector<std::unique_ptr<RowMaker>>, 2> idle_;
  mutable bool ended_ = false;
};

void ConvertedPlanes::pass_codes() {
  const Conversion& conversion = *conversion_;
  if (conversion.code_rule != CodeRule::copy || !conversion.columns->codes_stay() || !conversion.rows.identity() ||
      !same_units(conversion.source.geometry, wanted().geometry))
    return;
  for (std::size_t i = 0; i < wanted().code_planes; ++i) through_[i] = i;
}

void ConvertedPlanes::pass_levels() {
  const Conversion& conversion = *conversion_;
  const Side& source = conversion.source;
  const auto pass = [&](std::size_t from, std::size_t to) {
    if (same_elements(conversion, source.levels[from], wanted().levels[to]) &&
        same_parameter_columns(conversion, from, to))
      through_[wanted().levels[to].plane] = source.levels[from].plane;
    else
      spread_level(from, to);
  };
  if (conversion.carry && !conversion.scales_change)
    for (std::size_t i = 0; i < wanted().scale_count; ++i) pass(i, i);
  if (conversion.biases) return spread_columns(0, wanted().scale_count);
  if (conversion.code_rule == CodeRule::shift || source.scheme.offset.kind != wanted().scheme.offset.kind) return;
  for (std::size_t i = wanted().scale_count; i < wanted().levels.size(); ++i)
    if (wanted().levels.size() == source.levels.size()) pass(i, i);
}

/// Codes of a byte that all move by the same number: u8 <-> i8.
bool ConvertedPlanes::moves_bytes() const noexcept {
  const Conversion& c = *conversion_;
  const tensor::Offset &from = c.source.scheme.offset, &to = c.wanted.scheme.offset;
  const auto constant = [](const tensor::Offset& offset) {
    return offset.kind == tensor::OffsetKind::none || offset.kind == tensor::OffsetKind::zero;
  };
  return c.code_rule == CodeRule::shift && constant(from) && constant(to) &&
         tensor::bits(c.source.scheme.codes.type) == 8 && tensor::bits(c.wanted.scheme.codes.type) == 8 &&
         c.columns->codes_stay() && c.rows.identity() && same_units(c.source.geometry, c.wanted.geometry);
}

void ConvertedPlanes::move_bytes(std::uint64_t unit_begin, std::uint64_t unit_end, std::byte* out) const {
  const Conversion& c = *conversion_;
  const Geometry& view = wanted().geometry;
  const std::uint64_t unit_bytes = wanted().specs[0].unit_bytes, count = (unit_end - unit_begin) * unit_bytes;
  std::vector<std::byte*> planes(c.source.specs.size(), nullptr);
  planes[0] = out;
  c.source_tensor.planes->read_units(unit_begin, unit_end, planes);
  const auto shift = static_cast<std::uint8_t>(wanted().scheme.offset.zero - c.source.scheme.offset.zero);
  for (std::uint64_t i = 0; i < count; ++i)
    out[i] = static_cast<std::byte>(std::to_integer<std::uint8_t>(out[i]) + shift);
  if (view.packing == tensor::Packing::rows) return;
  constexpr std::uint64_t kWord = 4;  // bytes of a row in every line of a tile; padding stays zero
  const std::uint64_t lines = unit_bytes / (kWord * tensor::kTileRows), in_last = view.cols % kWord;
  for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit, out += unit_bytes) {
    const std::uint64_t rows = rows_in(unit);
    for (std::uint64_t line = 0; line < lines; ++line) {
      std::byte* words = out + line * kWord * tensor::kTileRows;
      std::fill(words + rows * kWord, words + tensor::kTileRows * kWord, std::byte{0});
      if (line + 1 < lines || in_last == 0) continue;
      for (std::uint64_t row = 0; row < rows; ++row)
        std::fill(words + row * kWord + in_last, words + (row + 1) * kWord, std::byte{0});
    }
  }
}

/// Groups that were split: whole bytes per element, the same type, the same rows.
void ConvertedPlanes::spread_level(std::size_t from, std::size_t to) {
  const Conversion& conversion = *conversion_;
  const LevelPlane &a = conversion.source.levels[from], &b = wanted().levels[to];
  tensor::Level same = a.level;
  same.block = b.level.block;
  if (!a.sliced || !b.sliced || same != b.level || tensor::bits(a.level.type) % 8 != 0 || conversion.columns->flat() ||
      !conversion.rows.identity() || !same_units(conversion.source.geometry, wanted().geometry))
    return;
  spread_columns(from, to);
}

void ConvertedPlanes::spread_columns(std::size_t from, std::size_t to) {
  const LevelPlane& level = wanted().levels[to];
  const Pieces& pieces = conversion_->columns->first_row();
  std::vector<std::uint32_t> columns(level.cols, ~std::uint32_t{0});
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::uint32_t& column = columns[pieces.wanted[to][i]];
    if (column != ~std::uint32_t{0} && column != pieces.source[from][i]) return;
    column = pieces.source[from][i];
  }
  if (std::find(columns.begin(), columns.end(), ~std::uint32_t{0}) != columns.end()) return;
  spread_[level.plane] = {from, std::move(columns)};
}

/// What the columns of a spread plane are taken from: units of the source's level, or the biases of its groups.
void ConvertedPlanes::read_spread(std::size_t plane, std::uint64_t unit_begin, std::uint64_t unit_end,
                                  std::vector<std::byte>& elements) const {
  const Side& source = conversion_->source;
  const std::uint64_t units = unit_end - unit_begin;
  std::vector<std::byte*> planes(source.specs.size(), nullptr);
  const auto read = [&](std::size_t index, std::vector<std::byte>& bytes) {
    bytes.resize(units * source.specs[index].unit_bytes);
    planes[index] = bytes.data();
  };
  if (plane != bias_plane()) {
    read(source.levels[spread_[plane].from].plane, elements);
    return conversion_->source_tensor.planes->read_units(unit_begin, unit_end, planes);
  }
  const GroupBiases& biases = *conversion_->biases;
  std::vector<std::byte> scales, zero_points;
  read(biases.scale_plane, scales);
  if (biases.zero_plane) read(*biases.zero_plane, zero_points);
  conversion_->source_tensor.planes->read_units(unit_begin, unit_end, planes);
  const std::uint64_t count = scales.size() / 2;
  elements.resize(count * tensor::bits(biases.bias_type) / 8);
  biases.make(scales.data(), biases.zero_plane ? zero_points.data() : nullptr, count, elements.data());
}

void ConvertedPlanes::spread_units(std::uint64_t unit_begin, std::uint64_t unit_end,
                                   const std::vector<std::byte*>& out) const {
  std::vector<std::byte> elements;
  for (std::size_t i = 0; i < spread_.size(); ++i) {
    if (spread_[i].from == kNone || i >= out.size() || out[i] == nullptr) continue;
    read_spread(i, unit_begin, unit_end, elements);
    const std::uint64_t unit_bytes = elements.size() / (unit_end - unit_begin);
    const std::uint64_t column_bytes = wanted().specs[i].unit_bytes / spread_[i].columns.size();
    const std::byte* from = elements.data();
    std::byte* to = out[i];
    for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit, from += unit_bytes) {
      for (const std::uint32_t column : spread_[i].columns) {
        std::memcpy(to, from + column * column_bytes, column_bytes);
        to += column_bytes;
      }
    }
  }
}

void ConvertedPlanes::make_whole_planes() {
  const Side& side = wanted();
  whole_.resize(side.specs.size());
  for (std::size_t level = 0; level < side.levels.size(); ++level) {
    const LevelPlane& plane = side.levels[level];
    if (plane.sliced || through_[plane.plane] != kNone) continue;
    const std::vector<double>& numbers = conversion_->whole_rounded[level];
    std::vector<std::byte> elements(numbers.size() * plane.codec.element_bytes());
    plane.codec.encode(numbers.data(), numbers.size(), elements.data());
    std::vector<std::byte>& bytes = whole_[plane.plane];
    bytes.resize(side.specs[plane.plane].total_bytes);
    const std::uint8_t bits = tensor::bits(plane.level.type);
    if (bits >= 8) {
      bytes = std::move(elements);
      continue;
    }
    for (std::size_t i = 0; i < elements.size(); ++i) {
      const std::uint64_t at = i * bits;
      const auto spread = static_cast<std::uint32_t>(std::to_integer<std::uint32_t>(elements[i]) << at % 8);
      bytes[at / 8] |= static_cast<std::byte>(spread & 255u);
      if (spread > 255u) bytes[at / 8 + 1] |= static_cast<std::byte>(spread >> 8);
    }
  }
  const auto fill = [&](std::string_view role, const void* data, std::size_t size) {
    const std::size_t index = side.plane(role);
    if (index == side.specs.size()) return;
    whole_[index].resize(size);
    if (size != 0) std::memcpy(whole_[index].data(), data, size);
  };
  fill("table", side.table.data(), side.table.size());
  fill("scale_table", side.scale_table.data(), side.scale_table.size());
  fill("scale_offset", &side.scale_offset, sizeof side.scale_offset);
  fill("permutation", side.order.data(), side.order.size() * 4);
  fill("group_index", side.order.data(), side.order.size() * 4);
}

void ConvertedPlanes::fill_zero_unit(double zero) {
  const LevelPlane& plane = wanted().levels[wanted().scale_count];
  const std::vector<double> numbers(wanted().geometry.rows_per_unit * plane.cols, zero);
  zero_unit_.resize(numbers.size() * plane.codec.element_bytes());
  plane.codec.encode(numbers.data(), numbers.size(), zero_unit_.data());
}

/// Of a unit with so many rows.
void ConvertedPlanes::write_zeros(std::uint64_t rows, std::byte* out) const {
  const LevelPlane& plane = wanted().levels[wanted().scale_count];
  std::vector<std::byte> elements = zero_unit_;
  std::fill(elements.begin() + static_cast<std::ptrdiff_t>(rows * plane.cols * plane.codec.element_bytes()),
            elements.end(), std::byte{0});
  tensor::pack_parameters(wanted().geometry, plane.level.type, plane.cols, elements.data(), out);
}

void ConvertedPlanes::write_zero_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::byte* out) const {
  const std::uint64_t unit_bytes = wanted().specs[zero_plane()].unit_bytes;
  const std::byte* whole_unit = nullptr;
  for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit, out += unit_bytes) {
    const bool is_whole = rows_in(unit) == wanted().geometry.rows_per_unit;
    if (is_whole && whole_unit != nullptr)
      std::memcpy(out, whole_unit, unit_bytes);
    else
      write_zeros(rows_in(unit), out);
    if (is_whole) whole_unit = out;
  }
}

void ConvertedPlanes::make_unit(std::uint64_t unit, RowMaker& rows, Unit& buffers, std::uint64_t slot,
                                const std::vector<std::byte*>& out) const {
  const Side& side = wanted();
  const std::uint64_t count = rows_in(unit), first = first_row(unit);
  const auto is_made = [&](std::size_t plane) {
    return out[plane] != nullptr && through_[plane] == kNone && spread_[plane].from == kNone &&
           !is_made_by_units(plane) && !(plane == 0 && moves_bytes()) && plane != zero_plane();
  };
  bool codes = false;
  for (std::size_t i = 0; i < side.code_planes; ++i) codes |= is_made(i);
  if (count < side.geometry.rows_per_unit) {
    std::fill(buffers.codes.begin(), buffers.codes.end(), std::uint8_t{0});
    for (auto& bytes : buffers.parameters) std::fill(bytes.begin(), bytes.end(), std::byte{0});
  }
  for (std::uint64_t r = 0; r < count; ++r) {
    rows.make(first + r, nullptr);
    for (std::size_t level = 0; level < side.levels.size(); ++level) {
      const LevelPlane& plane = side.levels[level];
      if (!plane.sliced || !is_made(plane.plane)) continue;
      plane.codec.encode(rows.numbers(level).data(), plane.cols,
                         buffers.parameters[level].data() + r * plane.cols * plane.codec.element_bytes());
    }
    if (codes) rows.make_codes(buffers.codes.data() + r * side.geometry.cols);
  }
  if (codes) {
    std::byte* slices[3] = {};
    for (std::size_t i = 0; i < side.code_planes; ++i)
      slices[i] = out[i] != nullptr ? out[i] + slot * side.specs[i].unit_bytes : buffers.unwanted.data();
    tensor::pack_unit(side.geometry, tensor::bits(side.scheme.codes.type), buffers.codes.data(), slices);
  }
  for (std::size_t level = 0; level < side.levels.size(); ++level) {
    const LevelPlane& plane = side.levels[level];
    if (!plane.sliced || !is_made(plane.plane)) continue;
    tensor::pack_parameters(side.geometry, plane.level.type, plane.cols, buffers.parameters[level].data(),
                            out[plane.plane] + slot * side.specs[plane.plane].unit_bytes);
  }
}

void ConvertedPlanes::read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const {
  const Side& side = wanted();
  std::vector<std::byte*> passed(conversion_->source.specs.size(), nullptr);
  bool pass = false, make = false, codes = false;
  for (std::size_t i = 0; i < side.specs.size(); ++i) {
    if (i >= out.size() || out[i] == nullptr || !side.specs[i].sliced) continue;
    if (spread_[i].from != kNone || is_made_by_units(i)) continue;
    if (i == 0 && moves_bytes()) {
      move_bytes(unit_begin, unit_end, out[0]);
    } else if (i == zero_plane() && through_[i] == kNone) {
      write_zero_units(unit_begin, unit_end, out[i]);
    } else if (through_[i] == kNone) {
      make = true;
      codes |= i < side.code_planes;
    } else {
      passed[through_[i]] = out[i];
      pass = true;
    }
  }
  if (pass) conversion_->source_tensor.planes->read_units(unit_begin, unit_end, passed);
  spread_units(unit_begin, unit_end, out);
  if (biases_ != nullptr) {
    const auto target = [&](std::size_t plane) { return is_made_by_units(plane) ? out[plane] : nullptr; };
    std::byte *scales = target(side.levels[0].plane), *biases = target(side.levels[1].plane);
    if (scales != nullptr || biases != nullptr) biases_->make(unit_begin, unit_end, scales, biases);
  }
  if (!make) return;
  Unit buffers;
  buffers.codes.resize(codes ? side.geometry.rows_per_unit * side.geometry.cols : 0);
  for (const LevelPlane& plane : side.levels)
    buffers.parameters.emplace_back(
        plane.sliced ? side.geometry.rows_per_unit * plane.cols * plane.codec.element_bytes() : 0);
  for (std::size_t i = 0; i < side.code_planes; ++i)
    buffers.unwanted.resize(std::max<std::size_t>(buffers.unwanted.size(), side.specs[i].unit_bytes));
  if (unit_begin == 0) keep_makers(true);
  std::unique_ptr<RowMaker> rows = take_maker(codes);
  if (rows == nullptr) rows = std::make_unique<RowMaker>(*conversion_, codes);
  for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit)
    make_unit(unit, *rows, buffers, unit - unit_begin, out);
  give_back(std::move(rows), codes);
}

void ConvertedPlanes::done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const {
  const Geometry &to = wanted().geometry, &from = conversion_->source.geometry;
  if (unit_end == to.units) keep_makers(false);
  if (unit_begin >= unit_end || from.rows == 0 || from.cols == 0) return;
  const tensor::PlaneSource& planes = *conversion_->source_tensor.planes;
  if (unit_begin == 0 && unit_end == to.units) return planes.done_with(0, from.units);
  // Whole groups of rows that end in the range, so that ranges that follow each other name every unit once.
  const std::uint64_t group = conversion_->rows.group();
  const std::uint64_t first = first_row(unit_begin) / group * group;
  const std::uint64_t last = (first_row(unit_end - 1) + rows_in(unit_end - 1)) / group * group;
  if (first >= last) return;
  const auto source_row = [&](std::uint64_t row) {  // in units of whole rows, the flat ones by elements
    return conversion_->columns->flat() ? std::min(row * to.cols / from.cols, from.rows * from.matrices) : row;
  };
  const auto unit_of = [&](std::uint64_t row) {
    return row / from.rows * from.units_per_matrix + row % from.rows / from.rows_per_unit;
  };
  const std::uint64_t begin = unit_of(source_row(first)), end = unit_of(source_row(last));
  if (begin < end) planes.done_with(begin, end);
}

class MovedRows final : public tensor::PlaneSource {
 public:
  MovedRows(const tensor::Tensor& source, const RowMap& rows)
      : source_(source.planes), specs_(source.plane_specs()), rows_(rows) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    return specs_[index].sliced ? std::nullopt : std::optional(whole(index));
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return source_->whole(index); }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    std::vector<std::byte*> one(specs_.size(), nullptr);
    for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit) {
      for (std::size_t i = 0; i < specs_.size(); ++i) {
        const bool wanted = i < out.size() && out[i] != nullptr && specs_[i].sliced;
        one[i] = wanted ? out[i] + (unit - unit_begin) * specs_[i].unit_bytes : nullptr;
      }
      const std::uint64_t from = rows_(unit);
      source_->read_units(from, from + 1, one);
    }
  }

 private:
  std::shared_ptr<const tensor::PlaneSource> source_;
  std::vector<PlaneSpec> specs_;
  RowMap rows_;
};

}  // namespace

std::shared_ptr<const tensor::PlaneSource> converted_planes(std::shared_ptr<const Conversion> conversion,
                                                            std::shared_ptr<const ZerosIntoBiases> biases) {
  return std::make_shared<ConvertedPlanes>(std::move(conversion), std::move(biases));
}

std::optional<MovedCodes> moved_codes(const tensor::Tensor& recoded) {
  const auto* planes = dynamic_cast<const ConvertedPlanes*>(recoded.planes.get());
  return planes == nullptr ? std::nullopt : planes->moved_codes();
}

std::shared_ptr<const tensor::PlaneSource> moved_rows(const tensor::Tensor& source, const RowMap& rows) {
  return std::make_shared<MovedRows>(source, rows);
}

}  // namespace ingot::convert::recoding

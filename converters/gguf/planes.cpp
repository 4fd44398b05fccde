// Splitting blocks unit by unit into the canonical packing, and joining them again.
#include "converters/gguf/planes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/tensor/packing.h"
#include "format/tensor/tile_loops.h"

namespace ingot::convert::gguf {
namespace {

using tensor::DType;
using tensor::Geometry;
using tensor::PlaneSpec;

constexpr std::uint8_t kWordBits = 4;  // of codes that blocks take as words of tiles

constexpr std::array<float, 2> kSignTable = {-1.0f, 1.0f};  // Q1_0: bit 0 and bit 1

/// A plane of codes, one per element. The indexes of a grid are handled as parameters.
bool is_code_plane(const PlaneSpec& spec, const tensor::Scheme& scheme) {
  return spec.role.starts_with("codes") && scheme.codes.kind != tensor::CodeKind::grid;
}

/// Codes of a row, `run_cols` at a time.
void move_codes(const std::vector<std::uint8_t>& moves, std::uint64_t run_cols,
                std::span<std::uint8_t> codes) noexcept {
  for (std::size_t run = 0; run < moves.size() && run * run_cols < codes.size(); ++run) {
    const std::uint8_t move = moves[run];
    for (std::uint8_t& code : codes.subspan(run * run_cols, std::min(run_cols, codes.size() - run * run_cols)))
      code = static_cast<std::uint8_t>(code + move);
  }
}

std::uint64_t plain_element_bytes(DType type) { return ceil_div(tensor::bits(type), 8); }

/// File bytes viewed in place: plain numbers.
class ViewedPlanes final : public tensor::PlaneSource {
 public:
  ViewedPlanes(std::shared_ptr<const MappedFile> mapping, Bytes data, std::uint64_t unit_bytes)
      : mapping_(std::move(mapping)), data_(data), unit_bytes_(unit_bytes) {}

  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return data_; }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    const Bytes range = data_.subspan(unit_begin * unit_bytes_, (unit_end - unit_begin) * unit_bytes_);
    if (!out.empty() && out[0] != nullptr && !range.empty()) std::memcpy(out[0], range.data(), range.size());
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return data_; }
  void done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const override {
    if (mapping_ != nullptr)
      mapping_->drop(data_.subspan(unit_begin * unit_bytes_, (unit_end - unit_begin) * unit_bytes_));
  }

 private:
  std::shared_ptr<const MappedFile> mapping_;
  Bytes data_;
  std::uint64_t unit_bytes_;
};

/// Words of the rows of a unit, by slice: the nibbles and, where there are any, the fifth bits.
struct WordBuffers {
  std::array<std::uint64_t, 2> words{}, strides{};
  std::array<std::vector<std::byte>, 2> rows;
};

/// Blocks split on the fly.
class SplitPlanes final : public tensor::PlaneSource {
 public:
  SplitPlanes(std::shared_ptr<const MappedFile> mapping, Bytes data, const BlockType& type,
              const tensor::Shape& stored_shape)
      : mapping_(std::move(mapping)), data_(data), type_(type) {
    scheme_ = type.scheme();
    const tensor::Packing packing = tensor::canonical_packing(stored_shape, scheme_);
    geometry_ = tensor::geometry(stored_shape, scheme_, packing);
    specs_ = tensor::plane_specs(stored_shape, scheme_, packing);
    code_bits_ = tensor::bits(scheme_.codes.type);
    row_blocks_ = geometry_.cols / type.block_elems;
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (!specs_[index].sliced) return whole(index);
    return std::nullopt;
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return std::as_bytes(std::span(kSignTable)); }
  [[nodiscard]] const BlockType& type() const noexcept { return type_; }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override;
  void done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const override {
    if (mapping_ != nullptr && unit_begin < unit_end) mapping_->drop(bytes_of(unit_begin, unit_end));
  }
  [[nodiscard]] std::vector<Bytes> file_bytes(std::uint64_t unit_begin, std::uint64_t unit_end) const override {
    if (mapping_ == nullptr || unit_begin >= unit_end) return {};
    return {bytes_of(unit_begin, unit_end)};
  }

 private:
  [[nodiscard]] Bytes bytes_of(std::uint64_t unit_begin, std::uint64_t unit_end) const {
    const std::uint64_t row_bytes = row_blocks_ * type_.block_bytes;
    const std::uint64_t begin = first_row(unit_begin) * row_bytes;
    return data_.subspan(begin, (first_row(unit_end - 1) + rows_in(unit_end - 1)) * row_bytes - begin);
  }
  [[nodiscard]] bool has_words() const noexcept {
    return type_.codec->split_words != nullptr && geometry_.packing == tensor::Packing::tiles;
  }
  [[nodiscard]] WordBuffers word_buffers() const;
  void split_words(std::uint64_t unit, WordBuffers& buffers, std::byte* const slices[3]) const noexcept;
  [[nodiscard]] std::uint64_t first_row(std::uint64_t unit) const noexcept {
    return unit / geometry_.units_per_matrix * geometry_.rows +
           unit % geometry_.units_per_matrix * geometry_.rows_per_unit;
  }
  [[nodiscard]] std::uint64_t rows_in(std::uint64_t unit) const noexcept {
    return std::min(geometry_.rows_per_unit,
                    geometry_.rows - unit % geometry_.units_per_matrix * geometry_.rows_per_unit);
  }

  std::shared_ptr<const MappedFile> mapping_;
  Bytes data_;
  const BlockType& type_;
  tensor::Scheme scheme_;
  Geometry geometry_;
  std::vector<PlaneSpec> specs_;
  std::uint8_t code_bits_ = 0;
  std::uint64_t row_blocks_ = 0;
};

/// Plain-side buffers of one unit.
struct UnitBuffers {
  std::unique_ptr<std::uint8_t[]> codes;  // (rows of a unit, columns); null: nobody asked for them
  std::array<std::vector<std::byte>, kMaxParameterPlanes> parameters;
  std::array<std::uint64_t, kMaxParameterPlanes> row_bytes{};
  std::vector<std::byte> unwanted;  // target of a code slice that nobody asked for
  WordBuffers words;                // instead of codes
};

WordBuffers SplitPlanes::word_buffers() const {
  constexpr std::uint64_t kPad = 64;  // rows a power of two apart would share few lines of the first-level cache
  const tensor::CodeSlices slices = tensor::code_slices(code_bits_);
  WordBuffers buffers;
  for (std::size_t i = 0; i < slices.count; ++i) {
    buffers.words[i] = geometry_.cols * slices.bits[i] / 32;
    buffers.strides[i] = buffers.words[i] * 4 + kPad;
    buffers.rows[i].resize(tensor::kTileRows * buffers.strides[i]);
  }
  return buffers;
}

/// Codes of a unit: blocks have them nearly in the order of the words of tiles.
void SplitPlanes::split_words(std::uint64_t unit, WordBuffers& buffers, std::byte* const slices[3]) const noexcept {
  const std::uint64_t rows = rows_in(unit), row_bytes = row_blocks_ * type_.block_bytes;
  for (std::size_t i = 0; i < buffers.rows.size() && rows < tensor::kTileRows; ++i)
    std::fill(buffers.rows[i].begin(), buffers.rows[i].end(), std::byte{0});
  for (std::uint64_t r = 0; r < rows; ++r)
    type_.codec->split_words(data_.data() + (first_row(unit) + r) * row_bytes, row_blocks_,
                             buffers.rows[0].data() + r * buffers.strides[0],
                             buffers.rows[1].data() + r * buffers.strides[1]);
  for (std::size_t i = 0; i < buffers.rows.size(); ++i)
    if (slices[i] != nullptr && buffers.words[i] != 0)
      tensor::tile_loops().lines_of_rows(buffers.rows[i].data(), buffers.strides[i], buffers.words[i], slices[i]);
}

void SplitPlanes::read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const {
  UnitBuffers buffers;
  const std::uint64_t unit_codes = geometry_.rows_per_unit * geometry_.cols;
  std::array<std::size_t, kMaxParameterPlanes> parameter_index{};
  std::size_t parameter_count = 0, slice_count = 0;
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    const bool codes = is_code_plane(specs_[i], scheme_);
    if (codes) ++slice_count;
    if (codes || !specs_[i].sliced) continue;
    buffers.row_bytes[parameter_count] = specs_[i].cols * plain_element_bytes(specs_[i].type);
    buffers.parameters[parameter_count].resize(geometry_.rows_per_unit * buffers.row_bytes[parameter_count]);
    parameter_index[parameter_count++] = i;
  }
  bool codes_wanted = false;
  for (std::size_t i = 0; i < slice_count; ++i) codes_wanted |= out[i] != nullptr;
  const bool as_words = codes_wanted && has_words();
  if (as_words) buffers.words = word_buffers();
  if (!as_words && (codes_wanted || !type_.codec->has_codes_apart))
    buffers.codes = std::make_unique_for_overwrite<std::uint8_t[]>(unit_codes);
  for (std::size_t i = 0; codes_wanted && !as_words && i < slice_count; ++i)
    buffers.unwanted.resize(std::max<std::size_t>(buffers.unwanted.size(), specs_[i].unit_bytes));

  const std::uint64_t row_bytes = row_blocks_ * type_.block_bytes;
  for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit) {
    const std::uint64_t rows = rows_in(unit);
    if (rows < geometry_.rows_per_unit) {
      if (buffers.codes) std::fill_n(buffers.codes.get(), unit_codes, std::uint8_t{0});
      for (auto& bytes : buffers.parameters) std::fill(bytes.begin(), bytes.end(), std::byte{0});
    }
    for (std::uint64_t r = 0; r < rows; ++r) {
      MutableRowView row{buffers.codes ? buffers.codes.get() + r * geometry_.cols : nullptr, {}};
      for (std::size_t p = 0; p < parameter_count; ++p)
        row.parameters[p] = buffers.parameters[p].data() + r * buffers.row_bytes[p];
      type_.codec->split(data_.data() + (first_row(unit) + r) * row_bytes, row_blocks_, row);
    }
    std::byte* slices[3] = {};
    for (std::size_t i = 0; codes_wanted && i < slice_count; ++i) {
      std::byte* unwanted = as_words ? nullptr : buffers.unwanted.data();
      slices[i] = out[i] != nullptr ? out[i] + (unit - unit_begin) * specs_[i].unit_bytes : unwanted;
    }
    if (as_words)
      split_words(unit, buffers.words, slices);
    else if (codes_wanted)
      tensor::pack_unit(geometry_, code_bits_, buffers.codes.get(), slices);
    for (std::size_t p = 0; p < parameter_count; ++p) {
      const PlaneSpec& spec = specs_[parameter_index[p]];
      if (out[parameter_index[p]] == nullptr) continue;
      tensor::pack_parameters(geometry_, spec.type, spec.cols, buffers.parameters[p].data(),
                              out[parameter_index[p]] + (unit - unit_begin) * spec.unit_bytes);
    }
  }
}

}  // namespace

std::shared_ptr<const tensor::PlaneSource> block_planes(std::shared_ptr<const MappedFile> mapping, Bytes data,
                                                        const BlockType& type, const tensor::Shape& stored_shape) {
  if (type.kind == BlockKind::coded) return std::make_shared<SplitPlanes>(std::move(mapping), data, type, stored_shape);
  const std::uint64_t row_elems = stored_shape.empty() ? 1 : stored_shape.back();
  return std::make_shared<ViewedPlanes>(std::move(mapping), data, row_elems * type.block_bytes);
}

RowUnpacker::RowUnpacker(const tensor::Tensor& tensor, const BlockType& type)
    : tensor_(tensor),
      type_(type),
      moved_(recoding::moved_codes(tensor)),
      geometry_(tensor.geometry()),
      specs_(tensor.plane_specs()) {
  const tensor::Tensor& codes = moved_ ? *moved_->source : tensor;
  code_specs_ = codes.plane_specs();
  code_bits_ = tensor::bits(codes.scheme.codes.type);
  for (std::size_t i = 0; i < code_specs_.size(); ++i)
    if (is_code_plane(code_specs_[i], codes.scheme)) code_planes_.push_back(i);
  slices_ = code_planes_.size();
  if (moved_) code_planes_.push_back(moved_->shifts.plane);
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (is_code_plane(specs_[i], tensor.scheme) || !specs_[i].sliced) continue;
    parameter_planes_.push_back(i);
    parameters_.push_back({i, specs_[i].cols, plain_element_bytes(specs_[i].type)});
  }
  row_blocks_ = geometry_.cols / type.block_elems;
  has_words_ = type.codec->join_words != nullptr && geometry_.packing == tensor::Packing::tiles && slices_ == 1 &&
               code_bits_ == kWordBits && (!moved_ || moved_->shifts.run_cols % type.block_elems == 0);
  constexpr std::uint64_t kPad = 64;  // rows a power of two apart would share few lines of the first-level cache
  const std::uint64_t row_bytes = has_words_ ? geometry_.cols * kWordBits / 8 : geometry_.cols;
  code_stride_ = slices_ == 0 ? 0 : row_bytes + (geometry_.rows_per_unit > 1 ? kPad : 0);
  plain_.resize(parameters_.size());
}

std::uint64_t RowUnpacker::unit_of(std::uint64_t row) const noexcept {
  return row / geometry_.rows * geometry_.units_per_matrix + row % geometry_.rows / geometry_.rows_per_unit;
}

void RowUnpacker::load(std::uint64_t row_begin, std::uint64_t row_end) {
  first_unit_ = unit_of(row_begin);
  const std::uint64_t unit_end = unit_of(row_end - 1) + 1;
  read_planes(moved_ ? *moved_->source : tensor_, code_planes_, unit_end, raw_codes_, code_bytes_);
  read_planes(tensor_, parameter_planes_, unit_end, raw_parameters_, parameter_bytes_);
  if (has_words_)
    unpack_words(unit_end - first_unit_);
  else if (slices_ != 0)
    unpack_codes(unit_end - first_unit_);
  unpack_parameters(unit_end - first_unit_);
}

/// Units [first_unit_, unit_end) of some planes.
void RowUnpacker::read_planes(const tensor::Tensor& tensor, const std::vector<std::size_t>& planes,
                              std::uint64_t unit_end, std::vector<std::vector<std::byte>>& raw,
                              std::vector<const std::byte*>& bytes) {
  const std::vector<PlaneSpec>& specs = &tensor == &tensor_ ? specs_ : code_specs_;
  raw.resize(specs.size());
  bytes.resize(specs.size());
  std::vector<std::byte*> wanted(specs.size(), nullptr);
  bool any = false;
  for (const std::size_t i : planes) {
    if (const auto view = tensor.planes->view(i)) {
      bytes[i] = view->data() + first_unit_ * specs[i].unit_bytes;
      continue;
    }
    raw[i].resize((unit_end - first_unit_) * specs[i].unit_bytes);
    bytes[i] = wanted[i] = raw[i].data();
    any = true;
  }
  if (any) tensor.planes->read_units(first_unit_, unit_end, wanted);
}

void RowUnpacker::unpack_codes(std::uint64_t unit_count) {
  const std::uint64_t rows = geometry_.rows_per_unit;
  codes_.resize(unit_count * rows * code_stride_);
  for (std::uint64_t unit = 0; unit < unit_count; ++unit) {
    const std::byte* slices[3] = {};
    for (std::size_t i = 0; i < slices_; ++i)
      slices[i] = code_bytes_[code_planes_[i]] + unit * code_specs_[code_planes_[i]].unit_bytes;
    std::uint8_t* codes = codes_.data() + unit * rows * code_stride_;
    if (geometry_.packing == tensor::Packing::rows)
      tensor::unpack_unit(geometry_, code_bits_, slices, codes);
    else
      tensor::unpack_tile(code_bits_, slices, 0, geometry_.cols, codes, code_stride_);
    if (!moved_) continue;
    const std::byte* zero_points = code_bytes_[moved_->shifts.plane] + unit * moved_->shifts.tile_bytes;
    for (std::uint64_t row = 0; row < rows; ++row) {
      moved_->row(zero_points, row, moves_);
      move_codes(moves_, moved_->shifts.run_cols, {codes + row * code_stride_, geometry_.cols});
    }
  }
}

void RowUnpacker::unpack_words(std::uint64_t unit_count) {
  const std::uint64_t rows = geometry_.rows_per_unit, plane = code_planes_[0];
  codes_.resize(unit_count * rows * code_stride_);
  if (moved_) block_moves_.resize(unit_count * rows * row_blocks_);
  for (std::uint64_t unit = 0; unit < unit_count; ++unit) {
    tensor::tile_loops().rows_of_lines(
        code_bytes_[plane] + unit * code_specs_[plane].unit_bytes, geometry_.cols * kWordBits / 32,
        reinterpret_cast<std::byte*>(codes_.data()) + unit * rows * code_stride_, code_stride_);
    if (moved_) find_moves(unit);
  }
}

/// Of the blocks of a loaded unit.
void RowUnpacker::find_moves(std::uint64_t unit) {
  const recoding::GroupShifts& shifts = moved_->shifts;
  const std::uint64_t rows = geometry_.rows_per_unit, group_blocks = shifts.run_cols / type_.block_elems;
  const std::byte* zero_points = code_bytes_[shifts.plane] + unit * shifts.tile_bytes;
  std::uint8_t* moves = block_moves_.data() + unit * rows * row_blocks_;
  for (std::uint64_t row = 0; row < rows; ++row, moves += row_blocks_) {
    for (std::uint64_t group = 0, block = 0; block < row_blocks_; ++group, block += group_blocks) {
      const auto zero_point = std::to_integer<std::int32_t>(zero_points[group * rows + row]);
      const auto move = static_cast<std::uint8_t>(shifts.zero - zero_point);
      const std::uint64_t count = std::min(group_blocks, row_blocks_ - block);
      for (std::uint64_t i = 0; i < count; ++i) moves[block + i] = move;
    }
  }
}

void RowUnpacker::unpack_parameters(std::uint64_t unit_count) {
  const std::uint64_t rows = geometry_.rows_per_unit;
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    const PlaneSpec& spec = specs_[parameters_[p].index];
    const std::uint64_t unit_elements = rows * spec.cols * parameters_[p].element_bytes;
    plain_[p].resize(unit_count * unit_elements);
    for (std::uint64_t unit = 0; unit < unit_count; ++unit) {
      tensor::unpack_parameters(geometry_, spec.type, spec.cols,
                                parameter_bytes_[parameters_[p].index] + unit * spec.unit_bytes,
                                plain_[p].data() + unit * unit_elements);
    }
  }
}

void RowUnpacker::join(std::uint64_t index, std::byte* blocks) const noexcept {
  const std::uint64_t in_unit = index % geometry_.rows % geometry_.rows_per_unit;
  const std::uint64_t slot = (unit_of(index) - first_unit_) * geometry_.rows_per_unit + in_unit;
  const std::uint8_t* codes = slices_ == 0 ? nullptr : codes_.data() + slot * code_stride_;
  const auto place = [&](auto row) {
    for (std::size_t p = 0; p < parameters_.size(); ++p)
      row.parameters[p] = plain_[p].data() + slot * parameters_[p].cols * parameters_[p].element_bytes;
    return row;
  };
  if (!has_words_) return type_.codec->join(place(RowView{codes, {}}), row_blocks_, blocks);
  const std::uint8_t* moves = moved_ ? block_moves_.data() + slot * row_blocks_ : nullptr;
  const RowWords words{reinterpret_cast<const std::byte*>(codes), moves, {}};
  type_.codec->join_words(place(words), row_blocks_, blocks);
}

namespace {

/// Do all bytes of plane `role` (padding included, which is zero) satisfy `fits`?
template <class Fits>
bool all_bytes(const tensor::Tensor& tensor, std::string_view role, Fits fits) {
  const auto specs = tensor.plane_specs();
  const std::uint64_t units = tensor.geometry().units;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].role != role) continue;
    const std::uint64_t unit_bytes = specs[i].unit_bytes;
    const std::optional<Bytes> view = tensor.planes->view(i);
    std::vector<std::byte> buffer(view ? 0 : unit_bytes);
    std::vector<std::byte*> out(specs.size(), nullptr);
    out[i] = buffer.data();
    for (std::uint64_t unit = 0; unit < units; ++unit) {
      if (!view) tensor.planes->read_units(unit, unit + 1, out);
      const std::byte* bytes = view ? view->data() + unit * unit_bytes : buffer.data();
      bool all = true;
      for (std::uint64_t b = 0; b < unit_bytes; ++b) all &= fits(std::to_integer<std::uint8_t>(bytes[b]));
      if (!all) return false;
    }
  }
  return true;
}

/// ggml takes E4M3 scales for positive, and 0x7F for zero.
bool has_positive_scales(const tensor::Tensor& tensor) {
  return all_bytes(tensor, "scales_0", [](std::uint8_t scale) { return scale < 0x7F || scale == 0xFF; });
}

/// Integer scales and minimums of at most `bits` bits.
bool has_narrow_scales(const tensor::Tensor& tensor, std::uint8_t bits) {
  const bool is_signed = tensor::info(tensor.scheme.scales[0].type).is_signed;
  const auto middle = static_cast<std::uint8_t>(is_signed ? 1u << (bits - 1) : 0);
  const auto fits = [&](std::uint8_t scale) { return static_cast<std::uint8_t>(scale + middle) >> bits == 0; };
  return all_bytes(tensor, "scales_0", fits) && all_bytes(tensor, "mins_0", fits);
}

/// Planes that are blocks of the type hold what blocks can.
bool comes_from_blocks(const tensor::Tensor& tensor, const BlockType& type) {
  const auto* split = dynamic_cast<const SplitPlanes*>(tensor.planes.get());
  return split != nullptr && &split->type() == &type;
}

}  // namespace

bool has_form_of(const BlockType& type, const tensor::Tensor& tensor) {
  if (type.kind != BlockKind::coded || tensor.scheme != type.scheme()) return false;
  if (tensor.geometry().cols % type.block_elems != 0) return false;
  if (tensor.scheme.codes.table != "custom") return true;
  const auto specs = tensor.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].role != "table") continue;
    const Bytes table = tensor.planes->whole(i);
    return table.size() == sizeof kSignTable && std::memcmp(table.data(), kSignTable.data(), sizeof kSignTable) == 0;
  }
  return false;
}

bool holds(const BlockType& type, const tensor::Tensor& tensor) {
  if (!has_form_of(type, tensor)) return false;
  if (comes_from_blocks(tensor, type)) return true;
  if (type.sub_scale_bits != 0) return has_narrow_scales(tensor, type.sub_scale_bits);
  return tensor.scheme.scales.empty() || tensor.scheme.scales[0].type != tensor::DType::e4m3 ||
         has_positive_scales(tensor);
}

void pack_blocks(const tensor::Tensor& tensor, const BlockType& type, std::uint64_t begin, std::span<std::byte> out) {
  if (out.empty()) return;
  const Geometry geometry = tensor.geometry();
  const std::uint64_t row_blocks = geometry.cols / type.block_elems;
  const std::uint64_t row_bytes = row_blocks * type.block_bytes;
  const std::uint64_t row_begin = begin / row_bytes, row_end = ceil_div(begin + out.size(), row_bytes);
  // Pieces of whole tiles, so that no unit is unpacked twice by two threads more often than at piece borders.
  constexpr std::uint64_t kPieceRows = 64;
  parallel_for(row_end - row_begin, kPieceRows, [&](std::uint64_t piece_begin, std::uint64_t piece_end, int) {
    RowUnpacker rows(tensor, type);
    std::vector<std::byte> partial;
    for (std::uint64_t from = row_begin + piece_begin; from < row_begin + piece_end;) {
      const std::uint64_t to = std::min(row_begin + piece_end, (from / tensor::kTileRows + 1) * tensor::kTileRows);
      rows.load(from, to);
      for (std::uint64_t r = from; r < to; ++r) {
        const std::uint64_t at = r * row_bytes;
        if (at >= begin && at + row_bytes <= begin + out.size()) {
          rows.join(r, out.data() + (at - begin));
          continue;
        }
        partial.resize(row_bytes);
        rows.join(r, partial.data());
        const std::uint64_t first = std::max(at, begin), last = std::min(at + row_bytes, begin + out.size());
        std::memcpy(out.data() + (first - begin), partial.data() + (first - at), last - first);
      }
      from = to;
    }
  });
}

}  // namespace ingot::convert::gguf

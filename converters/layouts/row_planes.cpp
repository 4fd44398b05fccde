// Row-major matrices <-> canonical planes.
#include "converters/layouts/row_planes.h"

#include <algorithm>
#include <cstring>

#include "format/base/checked_math.h"
#include "format/tensor/tile_loops.h"

namespace ingot::convert {
namespace {

using tensor::Geometry;
using tensor::kTileRows;
using tensor::Packing;
using tensor::PlaneSpec;

constexpr std::uint64_t kRunWords = 64;  // words of every row that are moved before the next run: 4 KiB of lines

std::uint32_t swap_nibbles(std::uint32_t word) noexcept {
  return (word & 0x0f0f0f0fu) << 4 | (word >> 4 & 0x0f0f0f0fu);
}
std::byte swap_nibbles(std::byte value) noexcept { return value << 4 | value >> 4; }

void copy_codes(const std::byte* from, std::uint64_t count, bool swapped, std::byte* to) noexcept {
  if (!swapped) {
    std::copy_n(from, count, to);
  } else {
    for (std::uint64_t i = 0; i < count; ++i) to[i] = swap_nibbles(from[i]);
  }
}

/// `rows` rows of `count` elements side by side become [count][16]; rows beyond are zero.
template <class Element>
void interleave(const std::byte* from, std::uint64_t stride, std::uint64_t rows, std::uint64_t count,
                std::byte* to) noexcept {
  if (sizeof(Element) == 4 && rows == kTileRows) return tensor::tile_loops().lines_of_rows(from, stride, count, to);
  if (rows < kTileRows) std::fill_n(to, count * kTileRows * sizeof(Element), std::byte{0});
  for (std::uint64_t run = 0; run < count; run += kRunWords) {
    const std::uint64_t end = std::min(run + kRunWords, count);
    for (std::uint64_t row = 0; row < rows; ++row) {
      const std::byte* source = from + row * stride;
      std::byte* target = to + row * sizeof(Element);
      for (std::uint64_t i = run; i < end; ++i)
        store_le(target + i * kTileRows * sizeof(Element), load_le<Element>(source + i * sizeof(Element)));
    }
  }
}
template <class Element>
void separate(const std::byte* from, std::uint64_t stride, std::uint64_t rows, std::uint64_t count,
              std::byte* to) noexcept {
  if (sizeof(Element) == 4 && rows == kTileRows) return tensor::tile_loops().rows_of_lines(from, count, to, stride);
  for (std::uint64_t run = 0; run < count; run += kRunWords) {
    const std::uint64_t end = std::min(run + kRunWords, count);
    for (std::uint64_t row = 0; row < rows; ++row) {
      const std::byte* source = from + row * sizeof(Element);
      std::byte* target = to + row * stride;
      for (std::uint64_t i = run; i < end; ++i)
        store_le(target + i * sizeof(Element), load_le<Element>(source + i * kTileRows * sizeof(Element)));
    }
  }
}

using Mover = void (*)(const std::byte*, std::uint64_t, std::uint64_t, std::uint64_t, std::byte*) noexcept;
Mover interleaver(std::uint64_t element_bytes) noexcept {
  return element_bytes == 1   ? interleave<std::uint8_t>
         : element_bytes == 2 ? interleave<std::uint16_t>
                              : interleave<std::uint32_t>;
}
Mover separator(std::uint64_t element_bytes) noexcept {
  return element_bytes == 1   ? separate<std::uint8_t>
         : element_bytes == 2 ? separate<std::uint16_t>
                              : separate<std::uint32_t>;
}

bool are_lines(std::uint8_t bits) noexcept { return 32 % bits == 0; }

/// Dense stream <-> one byte per code. 8 codes are `bits` whole bytes.
void spread_codes(const std::byte* stream, std::uint64_t bytes, std::uint8_t bits, std::uint64_t count,
                  std::uint8_t* codes) noexcept {
  const std::uint64_t mask = (1u << bits) - 1;
  for (std::uint64_t i = 0; i < count; i += 8) {
    const std::uint64_t at = i / 8 * bits;
    std::uint64_t word = 0;
    std::memcpy(&word, stream + at, std::min<std::uint64_t>(bits, bytes - at));
    const std::uint64_t fields = std::min<std::uint64_t>(8, count - i);
    for (std::uint64_t field = 0; field < fields; ++field)
      codes[i + field] = static_cast<std::uint8_t>(word >> (field * bits) & mask);
  }
}
void gather_codes(const std::uint8_t* codes, std::uint8_t bits, std::uint64_t count, std::byte* stream,
                  std::uint64_t bytes) noexcept {
  for (std::uint64_t i = 0; i < count; i += 8) {
    std::uint64_t word = 0;
    const std::uint64_t fields = std::min<std::uint64_t>(8, count - i);
    for (std::uint64_t field = 0; field < fields; ++field) word |= std::uint64_t{codes[i + field]} << (field * bits);
    const std::uint64_t at = i / 8 * bits;
    std::memcpy(stream + at, &word, std::min<std::uint64_t>(bits, bytes - at));
  }
}

/// The shape of the codes in the file.
struct CodeRows {
  explicit CodeRows(const tensor::Tensor& tensor)
      : geometry(tensor.geometry()),
        bits(tensor::bits(tensor.scheme.codes.type)),
        row_bytes(ceil_div(geometry.cols * bits, 8)),
        total_rows(geometry.matrices * geometry.rows) {}

  /// Rows of unit `unit`: the first, counted over all matrices, and how many.
  [[nodiscard]] std::uint64_t first_row(std::uint64_t unit) const noexcept {
    return unit / geometry.units_per_matrix * geometry.rows + unit % geometry.units_per_matrix * geometry.rows_per_unit;
  }
  [[nodiscard]] std::uint64_t row_count(std::uint64_t unit) const noexcept {
    return std::min(geometry.rows_per_unit, geometry.rows - unit % geometry.units_per_matrix * geometry.rows_per_unit);
  }

  Geometry geometry;
  std::uint8_t bits;
  std::uint64_t row_bytes, total_rows;
};

class RowPlanes final : public tensor::PlaneSource {
 public:
  RowPlanes(const tensor::Tensor& tensor, RowParts parts)
      : rows_(tensor), specs_(tensor.plane_specs()), parts_(std::move(parts)) {
    slices_ = specs_.size() - parts_.others.size();
    swapped_ = parts_.nibbles == Nibbles::high_first;
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (index >= slices_) {
      if (specs_[index].sliced && rows_.geometry.packing == Packing::tiles) return std::nullopt;
      return part(index).bytes;
    }
    if (rows_.geometry.packing == Packing::tiles || swapped_) return std::nullopt;
    if (parts_.codes.bytes.size() < specs_[0].total_bytes) return std::nullopt;
    return parts_.codes.bytes.first(specs_[0].total_bytes);
  }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    if (rows_.geometry.packing == Packing::rows) return read_rows(begin, end, out);
    const bool codes_wanted = std::any_of(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(slices_),
                                          [](const std::byte* plane) { return plane != nullptr; });
    if (codes_wanted) are_lines(rows_.bits) ? read_lines(begin, end, out[0]) : read_slices(begin, end, out);
    for (std::size_t i = slices_; i < specs_.size(); ++i) {
      if (!specs_[i].sliced || out[i] == nullptr) continue;
      const std::uint64_t element_bytes = tensor::bits(specs_[i].type) / 8, stride = specs_[i].cols * element_bytes;
      const Mover move = interleaver(element_bytes);
      for (std::uint64_t unit = begin; unit < end; ++unit)
        move(part(i).bytes.data() + rows_.first_row(unit) * stride, stride, rows_.row_count(unit), specs_[i].cols,
             out[i] + (unit - begin) * specs_[i].unit_bytes);
    }
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return part(index).bytes; }
  void done_with(std::uint64_t begin, std::uint64_t end) const override {
    each_range(begin, end, [](const RowPart& part, Bytes bytes) { part.file->drop(bytes); });
  }
  [[nodiscard]] std::vector<Bytes> file_bytes(std::uint64_t begin, std::uint64_t end) const override {
    std::vector<Bytes> all;
    each_range(begin, end, [&all](const RowPart&, Bytes bytes) { all.push_back(bytes); });
    return all;
  }

 private:
  [[nodiscard]] const RowPart& part(std::size_t index) const { return parts_.others.at(index - slices_); }
  /// Calls visit(part, bytes) for what the files have of units [begin, end).
  template <class Visit>
  void each_range(std::uint64_t begin, std::uint64_t end, const Visit& visit) const {
    if (begin >= end) return;
    const std::uint64_t first = rows_.first_row(begin), last = rows_.first_row(end - 1) + rows_.row_count(end - 1);
    const auto visit_rows = [&](const RowPart& part, std::uint64_t row_bytes) {
      const std::uint64_t from = first * row_bytes, to = std::min<std::uint64_t>(last * row_bytes, part.bytes.size());
      if (part.file != nullptr && from < to) visit(part, part.bytes.subspan(from, to - from));
    };
    visit_rows(parts_.codes, rows_.row_bytes);
    for (std::size_t i = slices_; i < specs_.size(); ++i)
      if (specs_[i].sliced) visit_rows(part(i), specs_[i].cols * tensor::bits(specs_[i].type) / 8);
  }

  void read_rows(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const {
    if (out[0] != nullptr) {
      const std::uint64_t first = begin * rows_.row_bytes, wanted = (end - begin) * rows_.row_bytes;
      const std::uint64_t stored = parts_.codes.bytes.size();
      const std::uint64_t present = first < stored ? std::min(wanted, stored - first) : 0;
      copy_codes(parts_.codes.bytes.data() + (first < stored ? first : 0), present, swapped_, out[0]);
      std::fill_n(out[0] + present, wanted - present, std::byte{0});
      clear_padding(first, wanted, out[0]);
    }
    for (std::size_t i = slices_; i < specs_.size(); ++i) {
      if (!specs_[i].sliced || out[i] == nullptr) continue;
      const Bytes wanted = part(i).bytes.subspan(begin * specs_[i].unit_bytes, (end - begin) * specs_[i].unit_bytes);
      std::copy(wanted.begin(), wanted.end(), out[i]);
    }
  }
  /// An odd number of elements in a flat run leaves half a byte, and what follows, that mean nothing.
  void clear_padding(std::uint64_t first, std::uint64_t count, std::byte* codes) const noexcept {
    const std::uint64_t used_bits = rows_.geometry.elements * rows_.bits, last = used_bits / 8;
    if (used_bits >= rows_.total_rows * rows_.row_bytes * 8) return;
    if (used_bits % 8 != 0 && last >= first && last < first + count)
      codes[last - first] &= static_cast<std::byte>((1u << used_bits % 8) - 1);
    const std::uint64_t clear = std::max(ceil_div(used_bits, 8), first);
    if (clear < first + count) std::fill_n(codes + (clear - first), first + count - clear, std::byte{0});
  }

  void read_lines(std::uint64_t begin, std::uint64_t end, std::byte* out) const {
    const std::uint64_t words = rows_.row_bytes / 4, left_over = rows_.row_bytes % 4, unit_bytes = specs_[0].unit_bytes;
    for (std::uint64_t unit = begin; unit < end; ++unit, out += unit_bytes) {
      const std::byte* from = parts_.codes.bytes.data() + rows_.first_row(unit) * rows_.row_bytes;
      const std::uint64_t count = rows_.row_count(unit);
      interleave<std::uint32_t>(from, rows_.row_bytes, count, words, out);
      if (left_over != 0) {
        std::byte* line = out + words * tensor::kLineBytes;
        std::fill_n(line, tensor::kLineBytes, std::byte{0});
        for (std::uint64_t row = 0; row < count; ++row)
          std::memcpy(line + row * 4, from + row * rows_.row_bytes + words * 4, left_over);
      }
      if (swapped_) {
        for (std::uint64_t i = 0; i < unit_bytes; i += 4)
          store_le(out + i, swap_nibbles(load_le<std::uint32_t>(out + i)));
      }
    }
  }
  void read_slices(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const {
    std::vector<std::uint8_t> codes(kTileRows * rows_.geometry.cols);
    std::vector<std::byte> unwanted;
    for (std::uint64_t unit = begin; unit < end; ++unit) {
      const std::byte* from = parts_.codes.bytes.data() + rows_.first_row(unit) * rows_.row_bytes;
      const std::uint64_t count = rows_.row_count(unit);
      for (std::uint64_t row = 0; row < count; ++row)
        spread_codes(from + row * rows_.row_bytes, rows_.row_bytes, rows_.bits, rows_.geometry.cols,
                     codes.data() + row * rows_.geometry.cols);
      std::fill(codes.begin() + static_cast<std::ptrdiff_t>(count * rows_.geometry.cols), codes.end(), std::uint8_t{0});
      std::byte* slices[3] = {};
      for (std::size_t i = 0; i < slices_; ++i) {
        unwanted.resize(std::max<std::size_t>(unwanted.size(), specs_[i].unit_bytes));
        slices[i] = out[i] != nullptr ? out[i] + (unit - begin) * specs_[i].unit_bytes : unwanted.data();
      }
      tensor::pack_unit(rows_.geometry, rows_.bits, codes.data(), slices);
    }
  }

  CodeRows rows_;
  std::vector<PlaneSpec> specs_;
  RowParts parts_;
  std::size_t slices_ = 1;
  bool swapped_ = false;
};

Bytes plane_bytes(const tensor::Tensor& tensor, const PlaneSpec& spec, std::size_t index) {
  return spec.sliced ? tensor.planes->view(index).value() : tensor.planes->whole(index);
}

/// Bytes [begin, begin + out.size()) of a matrix of rows of `row_bytes`: whole tiles go straight to their place, the
/// others through a buffer. make_tile(unit, rows) writes the rows of a unit.
template <class MakeTile>
void pack_tiles(const CodeRows& rows, std::uint64_t row_bytes, std::uint64_t begin, std::span<std::byte> out,
                const MakeTile& make_tile) {
  if (row_bytes == 0 || out.empty()) return;
  const std::uint64_t end = begin + out.size();
  const auto unit_of = [&](std::uint64_t row) {
    return row / rows.geometry.rows * rows.geometry.units_per_matrix + row % rows.geometry.rows / kTileRows;
  };
  const std::uint64_t first_row = begin / row_bytes, last_row = std::min(ceil_div(end, row_bytes), rows.total_rows);
  std::vector<std::byte> tile(kTileRows * row_bytes);
  std::uint64_t filled = begin;
  for (std::uint64_t unit = first_row < last_row ? unit_of(first_row) : rows.geometry.units;
       unit < rows.geometry.units && rows.first_row(unit) * row_bytes < end; ++unit) {
    const std::uint64_t from = rows.first_row(unit) * row_bytes, to = from + rows.row_count(unit) * row_bytes;
    if (from >= begin && to <= end) {
      make_tile(unit, out.data() + (from - begin));
    } else {
      make_tile(unit, tile.data());
      const std::uint64_t first = std::max(from, begin), last = std::min(to, end);
      std::memcpy(out.data() + (first - begin), tile.data() + (first - from), last - first);
    }
    filled = std::min(to, end);
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(filled - begin), out.end(), std::byte{0});
}

/// Copies of a plane in packing rows; zero beyond its end.
void pack_plain_rows(Bytes plane, bool swapped, std::uint64_t begin, std::span<std::byte> out) noexcept {
  const std::uint64_t present = begin < plane.size() ? std::min<std::uint64_t>(out.size(), plane.size() - begin) : 0;
  copy_codes(plane.data() + (present > 0 ? begin : 0), present, swapped, out.data());
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(present), out.end(), std::byte{0});
}

void separate_lines(const CodeRows& rows, const std::byte* lines, std::uint64_t count, std::byte* out) noexcept {
  const std::uint64_t words = rows.row_bytes / 4, left_over = rows.row_bytes % 4;
  separate<std::uint32_t>(lines, rows.row_bytes, count, words, out);
  if (left_over == 0) return;
  for (std::uint64_t row = 0; row < count; ++row)
    std::memcpy(out + row * rows.row_bytes + words * 4, lines + words * tensor::kLineBytes + row * 4, left_over);
}

}  // namespace

RowPart owned_part(std::vector<std::byte> bytes) {
  RowPart part;
  part.owned = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  part.bytes = Bytes(*part.owned);
  return part;
}

std::shared_ptr<const tensor::PlaneSource> row_planes(const tensor::Tensor& tensor, RowParts parts) {
  return std::make_shared<RowPlanes>(tensor, std::move(parts));
}

void pack_row_codes(const tensor::Tensor& tensor, Nibbles nibbles, std::uint64_t begin, std::span<std::byte> out) {
  const CodeRows rows(tensor);
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  const bool swapped = nibbles == Nibbles::high_first;
  const Bytes codes = plane_bytes(tensor, specs[0], 0);
  if (rows.geometry.packing == Packing::rows) return pack_plain_rows(codes, swapped, begin, out);
  if (are_lines(rows.bits)) {
    return pack_tiles(rows, rows.row_bytes, begin, out, [&](std::uint64_t unit, std::byte* to) {
      const std::uint64_t count = rows.row_count(unit);
      separate_lines(rows, codes.data() + unit * specs[0].unit_bytes, count, to);
      if (swapped) copy_codes(to, count * rows.row_bytes, true, to);
    });
  }
  const std::size_t slice_count = tensor::code_slices(rows.bits).count;
  std::vector<Bytes> planes;
  for (std::size_t i = 0; i < slice_count; ++i) planes.push_back(plane_bytes(tensor, specs[i], i));
  std::vector<std::uint8_t> unpacked(kTileRows * rows.geometry.cols);
  pack_tiles(rows, rows.row_bytes, begin, out, [&](std::uint64_t unit, std::byte* to) {
    const std::byte* slices[3] = {};
    for (std::size_t i = 0; i < slice_count; ++i) slices[i] = planes[i].data() + unit * specs[i].unit_bytes;
    tensor::unpack_unit(rows.geometry, rows.bits, slices, unpacked.data());
    for (std::uint64_t row = 0; row < rows.row_count(unit); ++row)
      gather_codes(unpacked.data() + row * rows.geometry.cols, rows.bits, rows.geometry.cols, to + row * rows.row_bytes,
                   rows.row_bytes);
  });
}

void pack_row_plane(const tensor::Tensor& tensor, std::string_view role, std::uint64_t begin,
                    std::span<std::byte> out) {
  const CodeRows rows(tensor);
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].role != role) continue;
    const Bytes plane = plane_bytes(tensor, specs[i], i);
    if (!specs[i].sliced || rows.geometry.packing == Packing::rows) return pack_plain_rows(plane, false, begin, out);
    const std::uint64_t element_bytes = tensor::bits(specs[i].type) / 8, row_bytes = specs[i].cols * element_bytes;
    const Mover move = separator(element_bytes);
    return pack_tiles(rows, row_bytes, begin, out, [&](std::uint64_t unit, std::byte* to) {
      move(plane.data() + unit * specs[i].unit_bytes, row_bytes, rows.row_count(unit), specs[i].cols, to);
    });
  }
  throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': " + tensor::describe(tensor.scheme) +
                                            " has no plane " + std::string(role));
}

}  // namespace ingot::convert

// Lines <-> canonical planes: in place where they are the same bytes, sliced, permuted or cut into rows where not.
#include "converters/layouts/linear_planes.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using tensor::Geometry;
using tensor::kLineBytes;
using tensor::kTileRows;
using tensor::Packing;
using tensor::PlaneSpec;

constexpr std::uint64_t kSliceRun = 32;  // inputs: a whole number of words in every slice, and in the dense stream
using Line = std::array<std::uint32_t, kTileRows>;

Line load_line(const std::byte* at) noexcept {
  Line line;
  std::memcpy(line.data(), at, sizeof line);
  return line;
}
void store_line(std::byte* at, const Line& line) noexcept { std::memcpy(at, line.data(), sizeof line); }

bool are_lines(std::uint8_t bits) noexcept { return 32 % bits == 0; }  // 2, 4, 8: lines are the plane itself

/// Codes of one input, all 16 outputs.
Line code_at(const std::byte* lines, std::uint8_t bits, std::uint64_t input) noexcept {
  const std::uint64_t position = input * bits, word = position / 32;
  const unsigned shift = position % 32, mask = (1u << bits) - 1;
  Line code = load_line(lines + word * kLineBytes);
  for (std::uint32_t& value : code) value >>= shift;
  if (shift + bits > 32) {
    const Line next = load_line(lines + (word + 1) * kLineBytes);
    for (std::size_t r = 0; r < kTileRows; ++r) code[r] |= next[r] << (32 - shift);
  }
  for (std::uint32_t& value : code) value &= mask;
  return code;
}

/// Adds the codes of input `input` to zeroed lines.
void add_code(std::byte* lines, std::uint8_t bits, std::uint64_t input, const Line& code) noexcept {
  const std::uint64_t position = input * bits, word = position / 32;
  const unsigned shift = position % 32;
  Line line = load_line(lines + word * kLineBytes);
  for (std::size_t r = 0; r < kTileRows; ++r) line[r] |= code[r] << shift;
  store_line(lines + word * kLineBytes, line);
  if (shift + bits <= 32) return;
  line = load_line(lines + (word + 1) * kLineBytes);
  for (std::size_t r = 0; r < kTileRows; ++r) line[r] |= code[r] >> (32 - shift);
  store_line(lines + (word + 1) * kLineBytes, line);
}

/// Lines [begin, end) of a tile whose input i is input from[i] of `source`; the words of 2-, 4- and 8-bit codes.
void gather_lines(const std::byte* source, std::span<const std::uint32_t> from, std::uint8_t bits, std::uint64_t begin,
                  std::uint64_t end, std::byte* out) noexcept {
  const std::uint64_t per_word = 32 / bits;
  const std::uint32_t mask = (1u << bits) - 1;
  for (std::uint64_t k = begin; k < end; ++k, out += kLineBytes) {
    Line line{};
    const std::uint64_t count = std::min<std::uint64_t>(per_word, from.size() - k * per_word);
    for (std::uint64_t field = 0; field < count; ++field) {
      const std::uint64_t input = from[k * per_word + field];
      const Line word = load_line(source + input / per_word * kLineBytes);
      const unsigned right = static_cast<unsigned>(input % per_word) * bits, left = static_cast<unsigned>(field) * bits;
      for (std::size_t r = 0; r < kTileRows; ++r) line[r] |= ((word[r] >> right) & mask) << left;
    }
    store_line(out, line);
  }
}

/// The same for any width: all lines of the tile.
void gather_all(const std::byte* source, std::span<const std::uint32_t> from, std::uint8_t bits, std::byte* out) {
  if (are_lines(bits)) return gather_lines(source, from, bits, 0, lines_of(from.size(), bits), out);
  std::fill_n(out, lines_of(from.size(), bits) * kLineBytes, std::byte{0});
  for (std::uint64_t i = 0; i < from.size(); ++i) add_code(out, bits, i, code_at(source, bits, from[i]));
}

/// Row-major codes (16, inputs) of a tile's lines.
void codes_of_lines(const std::byte* lines, std::uint8_t bits, std::uint64_t inputs, std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < inputs; ++i) {
    const Line code = code_at(lines, bits, i);
    for (std::size_t r = 0; r < kTileRows; ++r) codes[r * inputs + i] = static_cast<std::uint8_t>(code[r]);
  }
}
void lines_of_codes(const std::uint8_t* codes, std::uint8_t bits, std::uint64_t inputs, std::byte* lines) noexcept {
  std::fill_n(lines, lines_of(inputs, bits) * kLineBytes, std::byte{0});
  for (std::uint64_t i = 0; i < inputs; ++i) {
    Line code;
    for (std::size_t r = 0; r < kTileRows; ++r) code[r] = codes[r * inputs + i];
    add_code(lines, bits, i, code);
  }
}

void clear_padding(std::byte* lines, std::uint64_t inputs, std::uint8_t bits) noexcept {
  const std::uint64_t count = lines_of(inputs, bits), used = inputs * bits - (count - 1) * 32;
  if (used == 32) return;
  Line last = load_line(lines + (count - 1) * kLineBytes);
  for (std::uint32_t& word : last) word &= (1u << used) - 1;
  store_line(lines + (count - 1) * kLineBytes, last);
}

/// Does one row of packing `rows` out of a tile's lines, or the reverse.
std::uint64_t row_bytes_of(std::uint64_t inputs, std::uint8_t bits) noexcept { return ceil_div(inputs * bits, 8); }

void row_of_lines(const std::byte* lines, std::uint64_t row, std::uint64_t row_bytes, std::byte* out) noexcept {
  for (std::uint64_t at = 0; at < row_bytes; at += 4) {
    std::memcpy(out + at, lines + at / 4 * kLineBytes + row * 4, std::min<std::uint64_t>(4, row_bytes - at));
  }
}

struct ParameterPlane {
  std::size_t index = 0;  // in plane_specs order
  const std::function<void(std::uint64_t, std::byte*)>* load = nullptr;
};

class LinearPlanes final : public tensor::PlaneSource {
 public:
  LinearPlanes(const tensor::Tensor& tensor, LinearParts parts)
      : geometry_(tensor.geometry()), specs_(tensor.plane_specs()), parts_(std::move(parts)) {
    bits_ = tensor::bits(tensor.scheme.codes.type);
    slices_ = geometry_.packing == Packing::tiles ? tensor::code_slices(bits_).count : 1;
    permuted_ = tensor.scheme.order == tensor::Order::permutation;
    for (std::size_t i = slices_; i < specs_.size(); ++i) {
      if (!specs_[i].sliced) continue;
      parameters_.push_back({i, specs_[i].role == "scales_0" ? &parts_.load_scales : &parts_.load_offsets});
    }
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (!specs_[index].sliced) return whole(index);
    return std::nullopt;
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return std::as_bytes(std::span(parts_.order)); }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    bool codes_wanted = false;
    for (std::size_t i = 0; i < slices_; ++i) codes_wanted |= out[i] != nullptr;
    if (codes_wanted) read_codes(unit_begin, unit_end, out);
    for (const ParameterPlane& plane : parameters_)
      if (out[plane.index] != nullptr) read_parameters(plane, unit_begin, unit_end, out[plane.index]);
  }
  /// Outputs lie side by side in the files, so nothing can be dropped before the end.
  void done_with(std::uint64_t, std::uint64_t unit_end) const override {
    if (unit_end < geometry_.units) return;
    for (std::size_t i = 0; i < parts_.files.size(); ++i) parts_.files[i]->drop(parts_.ranges[i]);
  }
  [[nodiscard]] std::vector<Bytes> file_bytes(std::uint64_t unit_begin, std::uint64_t) const override {
    return unit_begin == 0 ? parts_.ranges : std::vector<Bytes>();
  }

 private:
  [[nodiscard]] std::uint64_t tile_of(std::uint64_t unit) const noexcept {
    return geometry_.packing == Packing::tiles ? unit : unit / kTileRows;
  }
  /// Lines of tiles, inputs in stored order, padding cleared.
  void load(std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes) const {
    if (!permuted_) {
      parts_.load_lines(begin, end, lines, stride_bytes);
    } else {
      std::vector<std::byte> in_file_order((end - begin) * stride_bytes);
      parts_.load_lines(begin, end, in_file_order.data(), stride_bytes);
      for (std::uint64_t tile = 0; tile < end - begin; ++tile)
        gather_all(in_file_order.data() + tile * stride_bytes, parts_.order, bits_, lines + tile * stride_bytes);
    }
    for (std::uint64_t tile = 0; tile < end - begin; ++tile)
      clear_padding(lines + tile * stride_bytes, geometry_.cols, bits_);
  }
  void read_codes(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const;
  void read_parameters(const ParameterPlane& plane, std::uint64_t unit_begin, std::uint64_t unit_end,
                       std::byte* out) const;

  Geometry geometry_;
  std::vector<PlaneSpec> specs_;
  LinearParts parts_;
  std::vector<ParameterPlane> parameters_;
  std::uint8_t bits_ = 0;
  std::size_t slices_ = 1;
  bool permuted_ = false;
};

void LinearPlanes::read_codes(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const {
  if (geometry_.packing == Packing::tiles && are_lines(bits_))
    return load(unit_begin, unit_end, out[0], specs_[0].unit_bytes);
  std::vector<std::byte> lines(lines_of(geometry_.cols, bits_) * kLineBytes), unwanted;
  std::vector<std::uint8_t> codes;
  std::uint64_t loaded = ~std::uint64_t{0};
  for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit) {
    if (tile_of(unit) != loaded) load(tile_of(unit), tile_of(unit) + 1, lines.data(), lines.size());
    loaded = tile_of(unit);
    if (geometry_.packing == Packing::rows) {
      row_of_lines(lines.data(), unit % kTileRows, specs_[0].unit_bytes,
                   out[0] + (unit - unit_begin) * specs_[0].unit_bytes);
      continue;
    }
    codes.resize(kTileRows * geometry_.cols);
    codes_of_lines(lines.data(), bits_, geometry_.cols, codes.data());
    std::byte* slices[3] = {};
    for (std::size_t i = 0; i < slices_; ++i) {
      unwanted.resize(std::max<std::size_t>(unwanted.size(), specs_[i].unit_bytes));
      slices[i] = out[i];
    }
    for (std::size_t i = 0; i < slices_; ++i)
      slices[i] = slices[i] != nullptr ? slices[i] + (unit - unit_begin) * specs_[i].unit_bytes : unwanted.data();
    tensor::pack_unit(geometry_, bits_, codes.data(), slices);
  }
}

void LinearPlanes::read_parameters(const ParameterPlane& plane, std::uint64_t unit_begin, std::uint64_t unit_end,
                                   std::byte* out) const {
  const PlaneSpec& spec = specs_[plane.index];
  if (geometry_.packing == Packing::tiles) {
    for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit, out += spec.unit_bytes) (*plane.load)(unit, out);
    return;
  }
  const std::uint64_t element_bytes = tensor::bits(spec.type) / 8;
  std::vector<std::byte> tile(spec.cols * kTileRows * element_bytes);
  std::uint64_t loaded = ~std::uint64_t{0};
  for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit) {
    if (tile_of(unit) != loaded) (*plane.load)(tile_of(unit), tile.data());
    loaded = tile_of(unit);
    for (std::uint64_t group = 0; group < spec.cols; ++group, out += element_bytes)
      std::memcpy(out, tile.data() + (group * kTileRows + unit % kTileRows) * element_bytes, element_bytes);
  }
}

[[noreturn]] void refuse(const tensor::Tensor& tensor) {
  throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': " + tensor::describe(tensor.scheme) +
                                            " is no linear layer of integer codes with scales by group");
}

bool is_group_level(const tensor::Level& level) { return level.block.rows == 1 && tensor::bits(level.type) >= 8; }

void check_scheme(const tensor::Tensor& tensor) {
  const tensor::Scheme& scheme = tensor.scheme;
  const std::uint8_t bits = tensor::bits(scheme.codes.type);
  const bool good = scheme.codes.kind == tensor::CodeKind::number && bits >= 2 && bits <= 8 &&
                    scheme.scales.size() == 1 && is_group_level(scheme.scales[0]) && scheme.offset.levels.size() <= 1 &&
                    (scheme.offset.levels.empty() || (is_group_level(scheme.offset.levels[0]) &&
                                                      scheme.offset.levels[0].block == scheme.scales[0].block)) &&
                    scheme.flat == 0 && tensor.shape.size() == 2 && tensor.transforms.empty();
  if (!good) refuse(tensor);
}

}  // namespace

std::uint64_t lines_of(std::uint64_t inputs, std::uint8_t bits) noexcept { return ceil_div(inputs * bits, 32); }

std::shared_ptr<const tensor::PlaneSource> linear_planes(const tensor::Tensor& tensor, LinearParts parts) {
  check_scheme(tensor);
  return std::make_shared<LinearPlanes>(tensor, std::move(parts));
}

LinearView::LinearView(const tensor::Tensor& tensor)
    : tensor_(tensor), geometry_(tensor.geometry()), specs_(tensor.plane_specs()) {
  check_scheme(tensor);
  bits_ = tensor::bits(tensor.scheme.codes.type);
  tiles_ = ceil_div(geometry_.rows, kTileRows);
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    planes_.push_back(specs_[i].sliced ? tensor.planes->view(i).value() : tensor.planes->whole(i));
    if (specs_[i].role == "scales_0") scale_plane_ = i;
    if (specs_[i].role == "zero_points" || specs_[i].role == "biases") offset_plane_ = i;
  }
  scales_ = &specs_[scale_plane_];
  if (tensor.scheme.order != tensor::Order::permutation) return;
  const std::vector<std::uint32_t> permutation = order_plane();
  position_.assign(permutation.size(), 0);
  for (std::size_t k = 0; k < permutation.size(); ++k) {
    if (permutation[k] >= position_.size()) refuse(tensor);
    position_[permutation[k]] = static_cast<std::uint32_t>(k);
  }
}

std::vector<std::uint32_t> LinearView::order_plane() const {
  std::vector<std::uint32_t> order(geometry_.cols);
  std::memcpy(order.data(), planes_.back().data(), order.size() * sizeof(std::uint32_t));
  return order;
}

std::uint64_t LinearView::group_size() const noexcept {
  const std::uint32_t cols = tensor_.scheme.scales[0].block.cols;
  return cols == 0 ? geometry_.cols : cols;
}

std::uint64_t LinearView::scale_bytes() const noexcept { return tensor::bits(scales_->type) / 8; }
std::uint64_t LinearView::offset_bytes() const noexcept {
  return offset_plane_ == 0 ? 0 : tensor::bits(specs_[offset_plane_].type) / 8;
}

void LinearView::copy_parameters(std::size_t plane, std::uint64_t tile, std::uint64_t begin, std::uint64_t end,
                                 std::byte* out) const noexcept {
  const PlaneSpec& spec = specs_[plane];
  const std::uint64_t element_bytes = tensor::bits(spec.type) / 8;
  if (geometry_.packing == Packing::tiles) {
    const std::byte* from = planes_[plane].data() + tile * spec.unit_bytes + begin * kTileRows * element_bytes;
    std::memcpy(out, from, (end - begin) * kTileRows * element_bytes);
    return;
  }
  std::fill_n(out, (end - begin) * kTileRows * element_bytes, std::byte{0});
  const std::uint64_t rows = std::min(kTileRows, geometry_.rows - tile * kTileRows);
  for (std::uint64_t r = 0; r < rows; ++r) {
    const std::byte* from = planes_[plane].data() + (tile * kTileRows + r) * spec.unit_bytes;
    for (std::uint64_t group = begin; group < end; ++group)
      std::memcpy(out + ((group - begin) * kTileRows + r) * element_bytes, from + group * element_bytes, element_bytes);
  }
}

void LinearView::scales(std::uint64_t tile, std::uint64_t begin, std::uint64_t end, std::byte* out) const noexcept {
  copy_parameters(scale_plane_, tile, begin, end, out);
}
void LinearView::offsets(std::uint64_t tile, std::uint64_t begin, std::uint64_t end, std::byte* out) const noexcept {
  copy_parameters(offset_plane_, tile, begin, end, out);
}

/// Lines in stored order, out of rows or out of slices.
void LinearView::stored_lines(std::uint64_t tile, std::uint64_t begin, std::uint64_t end, std::byte* out) const {
  if (geometry_.packing == Packing::rows) {
    std::fill_n(out, (end - begin) * kLineBytes, std::byte{0});
    const std::uint64_t row_bytes = row_bytes_of(geometry_.cols, bits_);
    const std::uint64_t rows = std::min(kTileRows, geometry_.rows - tile * kTileRows);
    for (std::uint64_t r = 0; r < rows; ++r) {
      const std::byte* from = planes_[0].data() + (tile * kTileRows + r) * row_bytes;
      for (std::uint64_t at = begin * 4; at < std::min(end * 4, row_bytes); at += 4) {
        std::memcpy(out + (at / 4 - begin) * kLineBytes + r * 4, from + at, std::min<std::uint64_t>(4, row_bytes - at));
      }
    }
    return;
  }
  if (are_lines(bits_)) {
    std::memcpy(out, planes_[0].data() + tile * specs_[0].unit_bytes + begin * kLineBytes, (end - begin) * kLineBytes);
    return;
  }
  // Runs of 32 inputs are `bits_` whole lines, and whole words of every slice.
  const std::uint64_t run_begin = begin / bits_, first = run_begin * kSliceRun;
  const std::uint64_t last = std::min(ceil_div(end, bits_) * kSliceRun, geometry_.cols);
  Geometry part = geometry_;
  part.cols = last - first;
  const tensor::CodeSlices slices = tensor::code_slices(bits_);
  const std::byte* from[3] = {};
  for (std::size_t i = 0; i < slices.count; ++i) {
    from[i] = planes_[i].data() + tile * specs_[i].unit_bytes + first * slices.bits[i] / 32 * kLineBytes;
  }
  std::vector<std::uint8_t> codes(kTileRows * part.cols);
  tensor::unpack_unit(part, bits_, from, codes.data());
  std::vector<std::byte> lines(lines_of(part.cols, bits_) * kLineBytes);
  lines_of_codes(codes.data(), bits_, part.cols, lines.data());
  std::memcpy(out, lines.data() + (begin - run_begin * bits_) * kLineBytes, (end - begin) * kLineBytes);
}

const std::byte* LinearView::lines(std::uint64_t tile, std::uint64_t begin, std::uint64_t end,
                                   std::vector<std::byte>& scratch) const {
  const bool in_place = geometry_.packing == Packing::tiles && are_lines(bits_);
  const std::byte* tile_lines = planes_[0].data() + (in_place ? tile * specs_[0].unit_bytes : 0);
  if (position_.empty() && in_place) return tile_lines + begin * kLineBytes;
  scratch.resize((end - begin) * kLineBytes);
  if (position_.empty()) {
    stored_lines(tile, begin, end, scratch.data());
    return scratch.data();
  }
  std::vector<std::byte> all;
  if (!in_place) {
    all.resize(line_count() * kLineBytes);
    stored_lines(tile, 0, line_count(), all.data());
    tile_lines = all.data();
  }
  if (are_lines(bits_)) {
    gather_lines(tile_lines, position_, bits_, begin, end, scratch.data());
    return scratch.data();
  }
  std::vector<std::byte> in_file_order(all.size());
  gather_all(tile_lines, position_, bits_, in_file_order.data());
  std::memcpy(scratch.data(), in_file_order.data() + begin * kLineBytes, scratch.size());
  return scratch.data();
}

std::vector<std::uint32_t> LinearView::group_of_inputs() const {
  if (tensor_.scheme.order == tensor::Order::group_index) return order_plane();
  std::vector<std::uint32_t> groups(geometry_.cols);
  for (std::size_t i = 0; i < groups.size(); ++i)
    groups[i] = static_cast<std::uint32_t>((position_.empty() ? i : position_[i]) / group_size());
  return groups;
}

}  // namespace ingot::convert

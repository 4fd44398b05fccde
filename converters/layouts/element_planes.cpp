#include "converters/layouts/element_planes.h"

#include <algorithm>
#include <cstring>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using tensor::DType;
using tensor::Geometry;
using tensor::PlaneSpec;
using Stored = HfCheckpoint::Stored;

/// Rows of unit `unit`: the first, counted over all matrices, and how many.
std::uint64_t first_row_of(const Geometry& view, std::uint64_t unit) noexcept {
  return unit / view.units_per_matrix * view.rows + unit % view.units_per_matrix * view.rows_per_unit;
}
std::uint64_t row_count_of(const Geometry& view, std::uint64_t unit) noexcept {
  return std::min(view.rows_per_unit, view.rows - unit % view.units_per_matrix * view.rows_per_unit);
}

class ElementPlanes final : public tensor::PlaneSource {
 public:
  ElementPlanes(const tensor::Tensor& tensor, ElementParts parts)
      : view_(tensor.geometry()),
        specs_(tensor.plane_specs()),
        parts_(std::move(parts)),
        slices_(specs_.size() - parts_.others.size()),
        bits_(tensor::bits(tensor.scheme.codes.type)) {}

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (index < slices_ || specs_[index].sliced) return std::nullopt;
    return whole(index);
  }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    for (std::size_t i = slices_; i < specs_.size(); ++i)
      if (specs_[i].sliced && out[i] != nullptr) read_parameters(i, begin, end, out[i]);
    const bool codes_wanted = std::any_of(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(slices_),
                                          [](const std::byte* plane) { return plane != nullptr; });
    if (!codes_wanted) return;
    std::vector<std::uint8_t> codes(view_.rows_per_unit * view_.cols);
    std::vector<std::byte> unwanted;
    for (std::uint64_t unit = begin; unit < end; ++unit) {
      const std::uint64_t count = row_count_of(view_, unit);
      parts_.load_codes(first_row_of(view_, unit), count, codes.data());
      std::fill(codes.begin() + static_cast<std::ptrdiff_t>(count * view_.cols), codes.end(), std::uint8_t{0});
      std::byte* slices[3] = {};
      for (std::size_t i = 0; i < slices_; ++i) {
        unwanted.resize(std::max<std::size_t>(unwanted.size(), specs_[i].unit_bytes));
        slices[i] = out[i] != nullptr ? out[i] + (unit - begin) * specs_[i].unit_bytes : unwanted.data();
      }
      tensor::pack_unit(view_, bits_, codes.data(), slices);
    }
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return parts_.others.at(index - slices_).whole.bytes; }
  void done_with(std::uint64_t, std::uint64_t end) const override {
    if (end != view_.units) return;  // a unit's elements are spread over the file
    for (const RowPart& part : parts_.files) part.file->drop(part.bytes);
  }
  [[nodiscard]] std::vector<Bytes> file_bytes(std::uint64_t begin, std::uint64_t) const override {
    std::vector<Bytes> bytes;
    if (begin == 0)
      for (const RowPart& part : parts_.files) bytes.push_back(part.bytes);
    return bytes;
  }

 private:
  void read_parameters(std::size_t index, std::uint64_t begin, std::uint64_t end, std::byte* out) const {
    const PlaneSpec& spec = specs_[index];
    const std::uint64_t row_bytes = spec.cols * tensor::bits(spec.type) / 8;
    std::vector<std::byte> plain(view_.rows_per_unit * row_bytes);
    for (std::uint64_t unit = begin; unit < end; ++unit, out += spec.unit_bytes) {
      const std::uint64_t count = row_count_of(view_, unit);
      parts_.others[index - slices_].load(first_row_of(view_, unit), count, plain.data());
      std::fill(plain.begin() + static_cast<std::ptrdiff_t>(count * row_bytes), plain.end(), std::byte{0});
      tensor::pack_parameters(view_, spec.type, spec.cols, plain.data(), out);
    }
  }

  Geometry view_;
  std::vector<PlaneSpec> specs_;
  ElementParts parts_;
  std::size_t slices_;
  std::uint8_t bits_;
};

template <class Word>
void load_run(const std::byte* words, std::uint64_t count, std::uint8_t shift, std::uint8_t mask,
              std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, words + i * sizeof word, sizeof word);
    codes[i] = static_cast<std::uint8_t>(word >> shift) & mask;
  }
}
template <class Word>
void add_run(const std::uint8_t* codes, std::uint64_t count, std::uint8_t shift, std::byte* words) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, words + i * sizeof word, sizeof word);
    word = static_cast<Word>(word | static_cast<Word>(static_cast<Word>(codes[i]) << shift));
    std::memcpy(words + i * sizeof word, &word, sizeof word);
  }
}

}  // namespace

ElementParameters dense_parameters(const Stored& stored, std::uint64_t row_bytes) {
  ElementParameters parameters;
  const Bytes bytes = stored.bytes();
  parameters.whole = {bytes, stored.file->mapping};
  parameters.load = [bytes, row_bytes, file = stored.file->mapping](std::uint64_t first, std::uint64_t count,
                                                                    std::byte* out) {
    const Bytes rows = bytes.subspan(first * row_bytes, count * row_bytes);
    std::copy(rows.begin(), rows.end(), out);
  };
  return parameters;
}

ElementParameters owned_parameters(std::vector<std::byte> whole) { return {{}, owned_part(std::move(whole))}; }

std::shared_ptr<const tensor::PlaneSource> element_planes(const tensor::Tensor& tensor, ElementParts parts) {
  return std::make_shared<ElementPlanes>(tensor, std::move(parts));
}

ElementView::ElementView(const tensor::Tensor& tensor)
    : tensor_(tensor),
      geometry_(tensor.geometry()),
      specs_(tensor.plane_specs()),
      unit_codes_(geometry_.rows_per_unit * geometry_.cols),
      unit_(geometry_.units) {
  const tensor::Codes& codes = tensor.scheme.codes;
  if (codes.kind != tensor::CodeKind::number || tensor::bits(codes.type) > 8) {
    throw Error(ErrorKind::invalid_value,
                "tensor '" + tensor.name + "': no codes of at most 8 bits in " + tensor::describe(tensor.scheme));
  }
  for (std::size_t i = 0; i < tensor::code_slices(tensor::bits(codes.type)).count; ++i) {
    const bool one_plane = geometry_.packing == tensor::Packing::rows;
    if (i == 0 || !one_plane) slices_.push_back(tensor.planes->view(i).value());
  }
}

void ElementView::codes(std::uint64_t begin, std::span<std::uint8_t> codes) {
  while (!codes.empty()) {
    const std::uint64_t row = begin / geometry_.cols, in_matrix = row % geometry_.rows;
    const std::uint64_t unit = row / geometry_.rows * geometry_.units_per_matrix + in_matrix / geometry_.rows_per_unit;
    if (unit != unit_) {
      const std::byte* slices[3] = {};
      for (std::size_t i = 0; i < slices_.size(); ++i) slices[i] = slices_[i].data() + unit * specs_[i].unit_bytes;
      tensor::unpack_unit(geometry_, tensor::bits(tensor_.scheme.codes.type), slices, unit_codes_.data());
      unit_ = unit;
    }
    const std::uint64_t at = begin - first_row_of(geometry_, unit) * geometry_.cols;
    const std::uint64_t count =
        std::min<std::uint64_t>(codes.size(), row_count_of(geometry_, unit) * geometry_.cols - at);
    std::copy_n(unit_codes_.data() + at, count, codes.data());
    codes = codes.subspan(count);
    begin += count;
  }
}

Bytes ElementView::whole(std::string_view role) const {
  for (std::size_t i = 0; i < specs_.size(); ++i)
    if (specs_[i].role == role && !specs_[i].sliced) return tensor_.planes->whole(i);
  throw Error(ErrorKind::invalid_value, "tensor '" + tensor_.name + "': " + tensor::describe(tensor_.scheme) +
                                            " has no whole plane " + std::string(role));
}

LoadCodes load_segments(const Stored& words, const SegmentWords& packing, std::uint64_t cols, std::uint64_t elements) {
  const Bytes bytes = words.bytes();
  return [bytes, packing, cols, elements, file = words.file->mapping](std::uint64_t first, std::uint64_t count,
                                                                      std::uint8_t* codes) {
    const std::uint64_t segment_elems = bytes.size() / packing.word_bytes, wanted = count * cols;
    const auto mask = static_cast<std::uint8_t>((1u << packing.bits) - 1);
    std::uint64_t at = first * cols;
    const std::uint64_t end = std::min(at + wanted, elements);
    std::fill_n(codes + (end - at), at + wanted - end, std::uint8_t{0});
    while (at < end) {
      const std::uint64_t segment = at / segment_elems, word = at % segment_elems;
      const std::uint64_t run = std::min(end - at, segment_elems - word);
      const std::byte* from = bytes.data() + word * packing.word_bytes;
      const auto load = packing.word_bytes == 1 ? load_run<std::uint8_t> : load_run<std::uint32_t>;
      load(from, run, packing.shift(segment), mask, codes);
      codes += run;
      at += run;
    }
  };
}

void pack_segments(const tensor::Tensor& tensor, const SegmentWords& packing, std::uint64_t words, std::uint64_t begin,
                   std::span<std::byte> out) {
  ElementView view(tensor);
  const std::uint64_t width = packing.word_bytes, elements = view.geometry().elements;
  const std::uint64_t first = begin / width, last = ceil_div(begin + out.size(), width);
  std::vector<std::byte> whole_words((last - first) * width);
  std::vector<std::uint8_t> codes(last - first);
  for (std::uint64_t segment = 0; segment < packing.fields; ++segment) {
    const std::uint64_t at = segment * words + first;
    if (at >= elements) break;
    const std::uint64_t count = std::min(last - first, elements - at);
    view.codes(at, std::span(codes).first(count));
    const auto add = width == 1 ? add_run<std::uint8_t> : add_run<std::uint32_t>;
    add(codes.data(), count, packing.shift(segment), whole_words.data());
  }
  std::memcpy(out.data(), whole_words.data() + (begin - first * width), out.size());
}

std::string shape_text(const tensor::Shape& shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

RowPart part_of(const Stored& stored) { return {stored.bytes(), stored.file->mapping}; }

std::string place_of(const Stored& stored) {
  return stored.file->path + ": tensor '" + stored.name() + "' " + std::string(tensor::name(stored.type())) + " " +
         shape_text(stored.shape()) + " at byte " + std::to_string(stored.entry->begin);
}

void fail_at(const Stored& stored, const std::string& why, ErrorKind kind) {
  throw Error(kind, place_of(stored) + ": " + why);
}

std::uint64_t element_count(const Stored& stored) { return stored.bytes().size() * 8 / tensor::bits(stored.type()); }

bool is_parameter_float(DType type) noexcept { return type == DType::f16 || type == DType::bf16 || type == DType::f32; }

const Stored& required_part(const HfCheckpoint& checkpoint, const Stored& owner, const std::string& name) {
  const Stored* found = checkpoint.find(name);
  if (found == nullptr) fail_at(owner, "needs a tensor '" + name + "'");
  return *found;
}

DType unsigned_codes(std::uint64_t bits) noexcept {
  constexpr DType kUnsigned[] = {DType::u1, DType::u2, DType::u3, DType::u4,
                                 DType::u5, DType::u6, DType::u7, DType::u8};
  return kUnsigned[(bits - 1) % 8];
}

}  // namespace ingot::convert

#include "converters/hf/planes.h"

#include <algorithm>

#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using tensor::Geometry;
using tensor::Tensor;

/// Copies `count` bits between bit streams, lowest bits first; a byte of `out` that is only partly covered keeps its
/// other bits.
void copy_bits(const std::byte* from, std::uint64_t from_bit, std::byte* to, std::uint64_t to_bit,
               std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t source = from_bit + i, target = to_bit + i;
    const std::byte bit = from[source / 8] >> (source % 8) & std::byte{1};
    std::byte& byte = to[target / 8];
    byte = (byte & ~(std::byte{1} << (target % 8))) | bit << (target % 8);
  }
}

/// Rows follow each other without padding bits in the file. Two forms: rows of whole bytes are viewed, others are
/// realigned.
class PlainPlanes final : public tensor::PlaneSource {
 public:
  PlainPlanes(std::shared_ptr<const MappedFile> file, Bytes bytes, std::uint64_t row_bits)
      : file_(std::move(file)), bytes_(bytes), row_bits_(row_bits), unit_bytes_(ceil_div(row_bits, 8)) {}

  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override {
    if (row_bits_ % 8 != 0) return std::nullopt;
    return bytes_;
  }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    std::byte* to = out.at(0);
    if (to == nullptr) return;
    if (row_bits_ % 8 == 0) {
      const Bytes wanted = bytes_.subspan(unit_begin * unit_bytes_, (unit_end - unit_begin) * unit_bytes_);
      std::copy(wanted.begin(), wanted.end(), to);
      return;
    }
    std::fill_n(to, (unit_end - unit_begin) * unit_bytes_, std::byte{0});
    for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit, to += unit_bytes_) {
      copy_bits(bytes_.data(), unit * row_bits_, to, 0, row_bits_);
    }
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return bytes_; }
  void done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const override {
    const std::uint64_t begin = unit_begin * row_bits_ / 8;
    const std::uint64_t end = std::min<std::uint64_t>(ceil_div(unit_end * row_bits_, 8), bytes_.size());
    if (begin < end) file_->drop(bytes_.subspan(begin, end - begin));
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  Bytes bytes_;
  std::uint64_t row_bits_, unit_bytes_;
};

std::uint64_t element_bits(const Tensor& tensor) { return tensor::bits(tensor.scheme.codes.type); }

}  // namespace

tensor::Scheme plain_scheme(tensor::DType type) {
  tensor::Scheme scheme = tensor::Scheme::plain(type);
  if (!tensor::info(type).decodable) scheme.codes.kind = tensor::CodeKind::opaque;
  return scheme;
}

std::shared_ptr<const tensor::PlaneSource> plain_planes(std::shared_ptr<const MappedFile> file, Bytes bytes,
                                                        const Tensor& tensor) {
  const Geometry geometry = tensor.geometry();
  return std::make_shared<PlainPlanes>(std::move(file), bytes, geometry.cols * element_bits(tensor));
}

void pack_plain(const Tensor& tensor, std::uint64_t begin, std::span<std::byte> out) {
  const bool plain = tensor.scheme.is_plain() ||
                     (tensor.scheme.codes.kind == tensor::CodeKind::opaque && tensor.scheme.scales.empty());
  if (!plain || tensor.packing != tensor::Packing::rows) {
    throw Error(ErrorKind::unsupported,
                "tensor '" + tensor.name + "': not a plain tensor, safetensors cannot hold it as it is");
  }
  const std::uint64_t total = tensor::dense_bytes(tensor.scheme.codes.type, tensor.elements());
  if (begin > total || out.size() > total - begin) {
    throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': bytes " + std::to_string(begin) + "+" +
                                              std::to_string(out.size()) + " of " + std::to_string(total) +
                                              " asked for");
  }
  if (out.empty()) return;
  const std::uint64_t row_bits = tensor.geometry().cols * element_bits(tensor);
  const std::uint64_t row_bytes = ceil_div(row_bits, 8);
  const bool dense = row_bits % 8 == 0;
  if (const std::optional<Bytes> view = tensor.planes->view(0); view && dense) {
    const Bytes wanted = view->subspan(begin, out.size());
    std::copy(wanted.begin(), wanted.end(), out.begin());
    return;
  }
  const std::uint64_t first = begin * 8 / row_bits;
  const std::uint64_t last = ceil_div((begin + out.size()) * 8, row_bits);
  std::vector<std::byte> rows(checked_mul(last - first, row_bytes, "rows of a tensor"));
  std::vector<std::byte*> planes = {rows.data()};
  tensor.planes->read_units(first, last, planes);
  if (dense) {
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(begin - first * row_bytes), out.size(), out.begin());
    return;
  }
  const std::uint64_t begin_bit = begin * 8, end_bit = begin_bit + out.size() * 8;
  for (std::uint64_t row = first; row < last; ++row) {
    const std::uint64_t from = std::max(row * row_bits, begin_bit);
    const std::uint64_t to = std::min((row + 1) * row_bits, end_bit);
    copy_bits(rows.data() + (row - first) * row_bytes, from - row * row_bits, out.data(), from - begin_bit, to - from);
  }
}

}  // namespace ingot::convert

#include "converters/hf/strided_planes.h"

#include <cstring>

namespace ingot::convert {
namespace {

using tensor::Tensor;

class StridedPlanes final : public tensor::PlaneSource {
 public:
  StridedPlanes(std::shared_ptr<const MappedFile> file, Bytes bytes, std::vector<std::uint64_t> strides,
                const Tensor& tensor)
      : file_(std::move(file)),
        bytes_(bytes),
        shape_(tensor.stored_shape()),
        strides_(std::move(strides)),
        cols_(tensor.geometry().cols),
        element_bytes_(tensor::bits(tensor.scheme.codes.type) / 8) {}

  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }

  /// Unit u holds elements [u * cols, (u + 1) * cols) in row-major order.
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    std::byte* to = out.at(0);
    if (to == nullptr) return;
    const std::uint64_t inner = shape_.empty() ? 1 : shape_.back();
    const std::uint64_t inner_stride = strides_.empty() ? 1 : strides_.back();
    const std::uint64_t end = unit_end * cols_;
    for (std::uint64_t element = unit_begin * cols_; element < end;) {
      std::uint64_t rest = element / inner, from = 0;
      for (std::size_t axis = shape_.size(); axis-- > 1;) {
        from += rest % shape_[axis - 1] * strides_[axis - 1];
        rest /= shape_[axis - 1];
      }
      const std::uint64_t first = element % inner, count = std::min(inner - first, end - element);
      from += first * inner_stride;
      for (std::uint64_t i = 0; i < count; ++i, to += element_bytes_)
        std::memcpy(to, bytes_.data() + (from + i * inner_stride) * element_bytes_, element_bytes_);
      element += count;
    }
  }

  [[nodiscard]] Bytes whole(std::size_t) const override {
    throw Error(ErrorKind::unsupported, "the plane of a plain tensor is read by units");
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  Bytes bytes_;
  tensor::Shape shape_;
  std::vector<std::uint64_t> strides_;
  std::uint64_t cols_, element_bytes_;
};

}  // namespace

std::shared_ptr<const tensor::PlaneSource> strided_planes(std::shared_ptr<const MappedFile> file, Bytes bytes,
                                                          std::vector<std::uint64_t> strides, const Tensor& tensor) {
  return std::make_shared<StridedPlanes>(std::move(file), bytes, std::move(strides), tensor);
}

}  // namespace ingot::convert

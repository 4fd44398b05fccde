#include "converters/hf/unit_band.h"

#include <algorithm>

namespace ingot::convert {
namespace {

/// The planes of a tensor from a unit on.
class BandPlanes final : public tensor::PlaneSource {
 public:
  BandPlanes(const tensor::Tensor& tensor, std::uint64_t begin, std::uint64_t end)
      : planes_(tensor.planes), specs_(tensor.plane_specs()), begin_(begin), end_(end) {}

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    const std::optional<Bytes> all = planes_->view(index);
    if (!all || !specs_[index].sliced) return all;
    return all->subspan(begin_ * specs_[index].unit_bytes, (end_ - begin_) * specs_[index].unit_bytes);
  }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    planes_->read_units(begin_ + begin, begin_ + end, out);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return planes_->whole(index); }
  void done_with(std::uint64_t begin, std::uint64_t end) const override {
    planes_->done_with(begin_ + begin, begin_ + end);
  }

 private:
  std::shared_ptr<const tensor::PlaneSource> planes_;
  std::vector<tensor::PlaneSpec> specs_;
  std::uint64_t begin_, end_;  // units of the whole tensor
};

}  // namespace

bool has_bands(const tensor::Tensor& tensor) {
  const auto spans_rows = [](const tensor::Level& level) { return level.block.rows > 1; };
  return tensor.packing == tensor::Packing::tiles && tensor.shape.size() == 2 && tensor.transforms.empty() &&
         std::ranges::none_of(tensor.scheme.scales, spans_rows) &&
         std::ranges::none_of(tensor.scheme.offset.levels, spans_rows);
}

tensor::Tensor band_of(const tensor::Tensor& tensor, std::uint64_t begin, std::uint64_t end) {
  tensor::Tensor band = tensor;
  band.fingerprint.reset();
  band.shape[0] = std::min(end * tensor::kTileRows, tensor.shape[0]) - begin * tensor::kTileRows;
  band.planes = std::make_shared<BandPlanes>(tensor, begin, end);
  return band;
}

}  // namespace ingot::convert

// Tensors whose planes are read, not viewed.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "format/tensor/tensor.h"

namespace ingot::test {

/// The same planes without views: everything goes through read_units().
class StreamedPlanes final : public tensor::PlaneSource {
 public:
  explicit StreamedPlanes(std::shared_ptr<const tensor::PlaneSource> planes) : planes_(std::move(planes)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    planes_->read_units(begin, end, out);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return planes_->whole(index); }

 private:
  std::shared_ptr<const tensor::PlaneSource> planes_;
};

[[nodiscard]] inline tensor::Tensor streamed(tensor::Tensor tensor) {
  tensor.planes = std::make_shared<StreamedPlanes>(tensor.planes);
  return tensor;
}

}  // namespace ingot::test

// Derived facts of a tensor, and plane bytes held in memory. Implements spec/planes.md and spec/transforms.md
// (conditions).
#include "format/tensor/tensor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "format/base/checked_math.h"

namespace ingot::tensor {
namespace {

class MemoryPlanes final : public PlaneSource {
 public:
  MemoryPlanes(std::vector<std::vector<std::byte>> planes, std::vector<PlaneSpec> specs) noexcept
      : planes_(std::move(planes)), specs_(std::move(specs)) {}

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override { return Bytes(planes_[index]); }

  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    for (std::size_t i = 0; i < specs_.size() && i < out.size(); ++i) {
      const std::uint64_t bytes = (unit_end - unit_begin) * specs_[i].unit_bytes;
      if (out[i] == nullptr || !specs_[i].sliced || bytes == 0) continue;
      std::memcpy(out[i], planes_[i].data() + unit_begin * specs_[i].unit_bytes, bytes);
    }
  }

  [[nodiscard]] Bytes whole(std::size_t index) const override { return planes_[index]; }

 private:
  std::vector<std::vector<std::byte>> planes_;
  std::vector<PlaneSpec> specs_;
};

}  // namespace

void PlaneSource::done_with(std::uint64_t, std::uint64_t) const {}
std::vector<Bytes> PlaneSource::file_bytes(std::uint64_t, std::uint64_t) const { return {}; }

Shape Tensor::stored_shape() const {
  Shape stored = shape;
  for (const Transform& transform : transforms) {
    if (transform.kind == TransformKind::transpose && stored.size() >= 2)
      std::swap(stored[stored.size() - 1], stored[stored.size() - 2]);
  }
  return stored;
}

Geometry Tensor::geometry() const { return tensor::geometry(stored_shape(), scheme, packing); }
std::vector<PlaneSpec> Tensor::plane_specs() const { return tensor::plane_specs(stored_shape(), scheme, packing); }
std::uint64_t Tensor::elements() const { return checked_product(shape, "elements of " + name); }

std::uint64_t Tensor::stored_bytes() const {
  std::uint64_t total = 0;
  for (const PlaneSpec& spec : plane_specs()) total = checked_add(total, spec.total_bytes, "bytes of " + name);
  return total;
}

std::shared_ptr<const PlaneSource> planes_in_memory(std::vector<std::vector<std::byte>> planes,
                                                    const Shape& stored_shape, const Scheme& scheme, Packing packing) {
  std::vector<PlaneSpec> specs = plane_specs(stored_shape, scheme, packing);
  if (planes.size() != specs.size()) {
    throw Error(ErrorKind::invalid_value, describe(scheme) + ": expected " + std::to_string(specs.size()) +
                                              " planes, got " + std::to_string(planes.size()));
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (planes[i].size() != specs[i].total_bytes) {
      throw Error(ErrorKind::invalid_value, "plane " + specs[i].role + " of " + describe(scheme) + ": expected " +
                                                std::to_string(specs[i].total_bytes) + " bytes, got " +
                                                std::to_string(planes[i].size()));
    }
  }
  return std::make_shared<MemoryPlanes>(std::move(planes), std::move(specs));
}

}  // namespace ingot::tensor

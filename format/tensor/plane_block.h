// Planes in one large block of memory, for copies that are filled plane by plane or unit by unit.
#pragma once

#include "format/base/large_block.h"
#include "format/tensor/tensor.h"

namespace ingot::tensor {

/// The planes of a stored tensor one behind the other, all bytes 0 until somebody fills them through fill(). Once it is
/// shared as the planes of a tensor it stays as it is.
class PlaneBlock final : public PlaneSource {
 public:
  /// Throws what plane_specs() throws, std::bad_alloc without the memory.
  PlaneBlock(const Shape& stored_shape, const Scheme& scheme, Packing packing);

  [[nodiscard]] const std::vector<PlaneSpec>& specs() const noexcept { return specs_; }
  [[nodiscard]] std::span<std::byte> fill(std::size_t index) noexcept;

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override { return whole(index); }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override;
  [[nodiscard]] Bytes whole(std::size_t index) const override;

 private:
  std::vector<PlaneSpec> specs_;
  std::vector<std::uint64_t> offsets_;
  LargeBlock memory_;
};

/// A copy of all planes, for a source that has no views. Parallel over units; the source is told that it is done.
[[nodiscard]] std::shared_ptr<const PlaneSource> copied_planes(const Tensor& tensor);

}  // namespace ingot::tensor

// Some units of a tensor as they are stored, in memory: looked at where they are mapped, read where they are made.
#pragma once

#include <memory>
#include <vector>

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Of one thread. Borrows the tensor.
class StoredUnits {
 public:
  /// Planes [0, left_out) are not read: nothing stands in their place.
  explicit StoredUnits(const tensor::Tensor& tensor, std::size_t left_out = 0);

  /// Units [begin, end) of all sliced planes; valid until the next call.
  void read(std::uint64_t begin, std::uint64_t end);
  /// By plane, in the order of plane_specs(); nothing for planes that are not sliced.
  [[nodiscard]] const std::vector<Bytes>& planes() const noexcept { return planes_; }
  [[nodiscard]] const tensor::Tensor& tensor() const noexcept { return tensor_; }
  [[nodiscard]] const std::vector<tensor::PlaneSpec>& specs() const noexcept { return specs_; }

 private:
  const tensor::Tensor& tensor_;
  std::vector<tensor::PlaneSpec> specs_;
  std::size_t left_out_;
  std::vector<std::unique_ptr<std::byte[]>> buffers_;  // not filled with zeros first
  std::vector<std::uint64_t> sizes_;                   // of the buffers
  std::vector<Bytes> planes_;
};

}  // namespace ingot::convert

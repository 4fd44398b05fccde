// From the parameter planes of a tiled affine tensor to the binary32 scales and offsets that kernels take, where that
// is exact.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "format/tensor/tensor.h"
#include "kernels/kernel_table.h"

namespace ingot::runtime {

class AffineParameters {
 public:
  /// Null when the scheme is not one whose values are a single fused multiply-add of exact binary32 parameters, or a
  /// plane has no view.
  [[nodiscard]] static std::unique_ptr<AffineParameters> make(const tensor::Tensor& tensor,
                                                              const kernels::KernelTable& kernels);

  /// Floats that fill() needs.
  [[nodiscard]] std::uint64_t scratch_elems() const noexcept;
  /// The tile with its parameters in `scratch`.
  [[nodiscard]] kernels::AffineTile fill(std::uint64_t tile, float* scratch) const noexcept;

 private:
  // One factor: elements of a plane, or a constant.
  struct Factor {
    tensor::DType type = tensor::DType::f32;
    const std::byte* plane = nullptr;  // null: `constant`
    std::uint64_t unit_bytes = 0;
    std::uint64_t group_cols = 0;  // columns that share an element
    std::uint64_t groups = 1;
    float multiply = 1, add = 0;
    float constant = 0;
  };
  AffineParameters() = default;
  [[nodiscard]] bool add_codes(const tensor::Tensor& tensor);
  [[nodiscard]] bool add_factor(const tensor::Tensor& tensor, const tensor::Level& level, std::string_view role,
                                std::vector<Factor>& factors);
  [[nodiscard]] bool add_scales(const tensor::Tensor& tensor);
  [[nodiscard]] bool add_offset(const tensor::Tensor& tensor);
  void widen(const Factor& factor, std::uint64_t tile, float* out) const noexcept;
  void product(const std::vector<Factor>& factors, std::uint64_t tile, float* out, float* spare) const noexcept;

  const kernels::KernelTable* kernels_ = nullptr;
  std::uint64_t cols_ = 0, group_cols_ = 0, groups_ = 0;
  std::uint32_t bits_ = 0, slice_count_ = 0;
  bool is_signed_ = false, subtract_ = false, negate_ = false;
  const std::byte* slices_[3] = {};
  std::uint64_t slice_unit_bytes_[3] = {};
  std::vector<Factor> scales_, offsets_;  // each: product of one or two factors; empty: 1 and 0
};

}  // namespace ingot::runtime

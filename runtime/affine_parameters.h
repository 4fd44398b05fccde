// From the parameter planes of a tiled affine tensor to what kernels take: binary32 scales and offsets where that is
// exact, or the planes themselves. Tensors whose 4-bit codes index a table are taken for products of codes only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "format/tensor/tensor.h"
#include "kernels/kernel_table.h"
#include "runtime/code_entries.h"

namespace ingot::runtime {

class AffineParameters {
 public:
  /// Null when the scheme is not one whose values are a single fused multiply-add of exact binary32 parameters, or a
  /// plane has no view.
  [[nodiscard]] static std::unique_ptr<AffineParameters> make(const tensor::Tensor& tensor,
                                                              const kernels::KernelTable& kernels);

  /// False for tables: no fill() then.
  [[nodiscard]] bool is_exact() const noexcept { return !entries_; }
  /// Floats that fill() needs.
  [[nodiscard]] std::uint64_t scratch_elems() const noexcept;
  /// The tile with its parameters in `scratch`.
  [[nodiscard]] kernels::AffineTile fill(std::uint64_t tile, float* scratch) const noexcept;

  /// How inputs are to be rounded for products of codes; null where there are none: columns that are no multiple of 32,
  /// groups that are no multiple of 16.
  [[nodiscard]] std::optional<kernels::IntegerLayout> integer_layout() const noexcept;
  /// The tile for products of codes. Parameters of one level, and integers with binary16 steps, are read in place;
  /// others are multiplied out in `scratch`.
  void fill_integer_tile(std::uint64_t tile, float* scratch, kernels::IntegerTile& out) const noexcept;

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
  [[nodiscard]] bool add_entries(const tensor::Tensor& tensor);
  [[nodiscard]] bool find_groups();
  [[nodiscard]] bool add_codes(const tensor::Tensor& tensor);
  [[nodiscard]] bool add_factor(const tensor::Tensor& tensor, const tensor::Level& level, std::string_view role,
                                std::vector<Factor>& factors);
  [[nodiscard]] bool add_scales(const tensor::Tensor& tensor);
  [[nodiscard]] bool add_offset(const tensor::Tensor& tensor);
  void set_first_tile() noexcept;
  [[nodiscard]] std::optional<kernels::TileParameters> in_place(const std::vector<Factor>& factors) const noexcept;
  /// From the first tile to another one.
  static void move(const std::vector<Factor>& factors, std::uint64_t tile,
                   kernels::TileParameters& parameters) noexcept;
  void multiplied_out(std::uint64_t tile, float* scales, float* offsets, float* spare) const noexcept;
  void widen(const Factor& factor, std::uint64_t tile, float* out) const noexcept;
  void product(const std::vector<Factor>& factors, std::uint64_t tile, float* out, float* spare) const noexcept;

  const kernels::KernelTable* kernels_ = nullptr;
  std::uint64_t cols_ = 0, group_cols_ = 0, groups_ = 0;
  std::uint32_t bits_ = 0, slice_count_ = 0;
  bool is_signed_ = false, subtract_ = false, negate_ = false;
  const std::byte* slices_[3] = {};
  std::uint64_t slice_unit_bytes_[3] = {};
  std::optional<CodeEntries> entries_;    // of table codes; `step` times all that is constant for the tensor
  std::vector<Factor> scales_, offsets_;  // each: product of one or two factors; empty: 1 and 0
  kernels::IntegerTile first_ = {};       // for products of codes; the others differ in their addresses only
  bool reads_in_place_ = false;           // else first_ lacks the parameters, which are multiplied out for each tile
};

}  // namespace ingot::runtime

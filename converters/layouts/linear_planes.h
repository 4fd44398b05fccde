// What the layouts of packed integer codes (GPTQ, AWQ, Marlin) share: their ways of packing meet the canonical planes
// in *lines*. Line k of a tile holds word k (32 bits) of the dense code streams of 16 outputs, inputs in file order,
// lowest bits first: 64 bytes, as spec/planes.md section 4.1 has them, but for every width, and before an act-order
// permutation.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "format/base/mapped_file.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Lines of a tile: words that cover `inputs` codes of `bits` bits.
[[nodiscard]] std::uint64_t lines_of(std::uint64_t inputs, std::uint8_t bits) noexcept;

/// How a file's tensors become planes. Functions are called from several threads; what they point into is kept alive by
/// `files`.
struct LinearParts {
  /// Lines of tiles [begin, end), `stride_bytes` from tile to tile. Rows beyond the matrix are zero; bits beyond the
  /// last input may hold anything.
  std::function<void(std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes)> load_lines;
  /// Scales, and zero points or biases (empty: none), of a tile: [groups][16] elements, zero beyond the matrix.
  std::function<void(std::uint64_t tile, std::byte*parameters)> load_scales, load_offsets;
  /// Plane `permutation` or `group_index`, whichever the scheme has; empty for order identity.
  std::vector<std::uint32_t> order;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<Bytes> ranges;  // parallel to `files`: what is dropped from memory in the end
};

/// A plane source for `tensor`, whose name, shape [out, in], scheme and packing are set: codes of 2 to 8 bits, one
/// scale level and at most one offset level of block {1, g}.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> linear_planes(const tensor::Tensor& tensor, LinearParts parts);

/// The way back: lines and parameters of a tensor whose planes all have views. Borrows the tensor.
class LinearView {
 public:
  /// Throws invalid_value where the tensor is nothing that linear_planes() takes.
  explicit LinearView(const tensor::Tensor& tensor);
  LinearView(const LinearView&) = delete;
  LinearView& operator=(const LinearView&) = delete;

  [[nodiscard]] std::uint64_t inputs() const noexcept { return geometry_.cols; }
  [[nodiscard]] std::uint64_t outputs() const noexcept { return geometry_.rows; }
  [[nodiscard]] std::uint64_t tiles() const noexcept { return tiles_; }
  [[nodiscard]] std::uint64_t groups() const noexcept { return scales_->cols; }
  [[nodiscard]] std::uint8_t bits() const noexcept { return bits_; }
  [[nodiscard]] std::uint64_t line_count() const noexcept { return lines_of(geometry_.cols, bits_); }
  /// Inputs that share a scale.
  [[nodiscard]] std::uint64_t group_size() const noexcept;

  /// Lines [begin, end) of a tile, 64 bytes each: in place, or computed into `scratch`.
  [[nodiscard]] const std::byte* lines(std::uint64_t tile, std::uint64_t begin, std::uint64_t end,
                                       std::vector<std::byte>& scratch) const;
  [[nodiscard]] std::uint64_t scale_bytes() const noexcept;   // of one element
  [[nodiscard]] std::uint64_t offset_bytes() const noexcept;  // 0: the scheme has no zero points or biases
  /// Scales, and zero points or biases, of groups [begin, end) of a tile: [end - begin][16] elements.
  void scales(std::uint64_t tile, std::uint64_t begin, std::uint64_t end, std::byte* out) const noexcept;
  void offsets(std::uint64_t tile, std::uint64_t begin, std::uint64_t end, std::byte* out) const noexcept;
  /// The group of every input, in file order.
  [[nodiscard]] std::vector<std::uint32_t> group_of_inputs() const;

 private:
  void copy_parameters(std::size_t plane, std::uint64_t tile, std::uint64_t begin, std::uint64_t end,
                       std::byte* out) const noexcept;
  void stored_lines(std::uint64_t tile, std::uint64_t begin, std::uint64_t end, std::byte* out) const;
  [[nodiscard]] std::vector<std::uint32_t> order_plane() const;

  const tensor::Tensor& tensor_;
  tensor::Geometry geometry_;
  std::vector<tensor::PlaneSpec> specs_;
  std::vector<Bytes> planes_;  // by plane
  std::uint64_t tiles_ = 0;
  std::uint8_t bits_ = 0;
  std::size_t scale_plane_ = 0, offset_plane_ = 0;  // offset_plane_ 0: none
  const tensor::PlaneSpec* scales_ = nullptr;
  std::vector<std::uint32_t> position_;  // order permutation: where input i is stored
};

}  // namespace ingot::convert

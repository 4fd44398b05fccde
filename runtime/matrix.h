// A weight matrix as the kernels read it: in place where a kernel exists for its scheme and packing, decoded block by
// block otherwise. Numerics::exact uses exactly decoded weights (one rounding to binary32) and accumulates in binary32;
// Numerics::fast multiplies integer codes with inputs rounded to int8 where there is a kernel for it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "format/base/large_block.h"
#include "format/tensor/tensor.h"
#include "kernels/kernel_table.h"
#include "runtime/packed_inputs.h"
#include "runtime/rounded_inputs.h"
#include "runtime/runtime.h"

namespace ingot::runtime {

/// Rows that are computed together; the size of a canonical tile.
inline constexpr std::uint64_t kBlockRows = tensor::kTileRows;
/// Vectors that a kernel call takes at most.
inline constexpr std::uint64_t kMaxVectors = 128;

/// Memory for one worker. Sized once, when all matrices are known.
struct Scratch {
  std::vector<float> block;       // decoded weights of one block: kBlockRows * cols
  std::vector<float> parameters;  // scales, offsets and one intermediate of some tiles, binary32
  alignas(64) float sums[kMaxVectors * kBlockRows * kernels::kMaxIntegerTiles];
  RoundedInputs inputs;                                   // of the first worker: for all
  PackedInputs packed;                                    // the same
  kernels::IntegerTile tiles[kernels::kMaxIntegerTiles];  // of a call; here, because clearing them takes time
};

/// Some vectors as multiply_floats() takes them.
struct FloatInputs {
  const float* x;
  std::uint64_t stride;
  const float* packed;  // by the matrix's kernels, where reads_packed(vectors); else null
  std::uint64_t vectors;
};

/// Fills binary32 scales and offsets of one affine tile from its planes (affine_parameters.cpp).
class AffineParameters;

class Matrix {
 public:
  /// Which rows a product yields where the tensor is stored with RoPE pairs as neighbours.
  enum class RowOrder : std::uint8_t { logical, stored };

  Matrix();
  Matrix(Matrix&&) noexcept;
  Matrix& operator=(Matrix&&) noexcept;
  ~Matrix();
  /// The caller has checked the shape: two dimensions. Copies what has no usable view; throws what the plane source
  /// throws.
  Matrix(const tensor::Tensor& tensor, RowOrder order, Numerics numerics,
         const kernels::KernelTable& kernels = kernels::best());

  [[nodiscard]] std::uint64_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::uint64_t cols() const noexcept { return cols_; }
  [[nodiscard]] std::uint64_t blocks() const noexcept { return (rows_ + kBlockRows - 1) / kBlockRows; }
  [[nodiscard]] std::uint64_t stored_bytes() const noexcept { return stored_bytes_; }
  /// Memory of its own, for what could not be used where the source has it.
  [[nodiscard]] std::uint64_t copied_bytes() const noexcept { return copied_bytes_; }

  [[nodiscard]] const kernels::KernelTable& kernels() const noexcept { return *kernels_; }
  /// How inputs are rounded for multiply_codes(); null: only multiply_floats() can be used.
  [[nodiscard]] const std::optional<kernels::IntegerLayout>& integer_layout() const noexcept { return integer_; }

  /// Are so many vectors read in the kernels' own order by multiply_floats()?
  [[nodiscard]] bool reads_packed(std::uint64_t vectors) const noexcept;

  /// Grows `scratch` to what this matrix needs.
  void reserve(Scratch& scratch) const;
  /// Rows [16*block, ...) of `count` blocks times some vectors: out[t*out_stride + row].
  void multiply_floats(std::uint64_t block, std::uint64_t count, const FloatInputs& inputs, float* out,
                       std::uint64_t out_stride, Scratch& scratch) const;
  /// The same for the blocks block, block + apart, ... (`count` of them, 1..kMaxIntegerTiles) from rounded inputs in
  /// integer_layout().
  void multiply_codes(std::uint64_t block, std::uint64_t count, std::uint64_t apart,
                      const kernels::IntegerInput* inputs, std::uint64_t vectors, float* out, std::uint64_t out_stride,
                      Scratch& scratch) const;
  /// One row, decoded (embedding lookup). out: (cols)
  void row(std::uint64_t index, float* out, Scratch& scratch) const;

 private:
  enum class Form : std::uint8_t { f32_rows, f16_rows, bf16_rows, affine_tiles, decoded };

  void use_view_or_copy(const tensor::Tensor& tensor);
  void use_decoded_copy(const tensor::Tensor& tensor);
  void choose_form();
  [[nodiscard]] std::uint64_t rows_in(std::uint64_t block) const noexcept;
  /// Weights of a block as binary32 rows; points into the matrix or into the scratch memory.
  [[nodiscard]] const float* float_rows(std::uint64_t block, Scratch& scratch) const;
  /// Rows of floating-point numbers from row `first` on, none yet.
  [[nodiscard]] kernels::FloatRows stored_rows(std::uint64_t first) const noexcept;
  void multiply_block(std::uint64_t block, const FloatInputs& inputs, float* out, std::uint64_t out_stride,
                      Scratch& scratch) const;
  void multiply_affine(std::uint64_t block, const FloatInputs& inputs, float* out, std::uint64_t out_stride,
                       Scratch& scratch) const;
  [[nodiscard]] kernels::AffineTile affine_tile(std::uint64_t block, Scratch& scratch) const;

  const kernels::KernelTable* kernels_;
  Form form_ = Form::decoded;
  std::uint64_t rows_ = 0, cols_ = 0, stored_bytes_ = 0, copied_bytes_ = 0;
  tensor::Tensor tensor_;  // holds the planes alive; its own copy where the source had no view
  std::unique_ptr<AffineParameters> affine_;
  std::optional<kernels::IntegerLayout> integer_;
  const void* elements_ = nullptr;  // *_rows forms
  LargeBlock copy_;                 // decoded, binary32
};

/// One product of a batch; all share the number of vectors. out[t*out_stride + row] = weights row . x[t] (+ bias[row])
struct Product {
  const Matrix* weights;
  const float* x;
  std::uint64_t x_stride;
  float* out;
  std::uint64_t out_stride;
  const float* bias;  // null: none
};
/// Computes all products in one parallel region, after one for each input that has to be rounded or packed. Allocates
/// only where inputs are larger than any before. `scratch` has one entry per worker.
void multiply(std::span<const Product> products, std::uint64_t vectors, std::vector<Scratch>& scratch);

}  // namespace ingot::runtime

// A grid for a whole tensor: which values share parameters, whether all blocks fit, and the planes that follow.
// Internal to recover*.cpp. Implements spec/recovery.md sections 3 to 5.
#pragma once

#include <memory>
#include <vector>

#include "converters/recover/lattice.h"
#include "format/base/checked_math.h"
#include "format/tensor/decode.h"

namespace ingot::convert::recovering {

/// A lattice and a scheme. Of integers, a candidate leaves the width of the codes and the zero point open.
struct Form {
  Lattice lattice;
  tensor::Scheme scheme;
  std::vector<Fit> whole{};  // of blocks that span rows: (matrices, parameter rows, columns)
};

/// Rows of the row view of a scheme, cut in blocks, read from the logical values of a tensor.
class BlockRows {
 public:
  BlockRows(const tensor::Tensor& source, const tensor::Scheme& scheme);

  [[nodiscard]] const tensor::Geometry& view() const noexcept { return view_; }
  [[nodiscard]] std::uint64_t rows() const noexcept { return view_.matrices * view_.rows; }
  [[nodiscard]] std::uint64_t block_cols() const noexcept { return block_cols_; }
  [[nodiscard]] std::uint64_t blocks() const noexcept { return ceil_div(view_.cols, block_cols_); }  // of a row
  [[nodiscard]] std::uint64_t block_rows() const noexcept { return block_rows_; }
  [[nodiscard]] std::uint64_t parameter_rows() const noexcept { return ceil_div(view_.rows, block_rows_); }
  /// The row of whole parameters that holds those of `row`.
  [[nodiscard]] std::uint64_t parameter_row(std::uint64_t row) const noexcept {
    return row / view_.rows * parameter_rows() + row % view_.rows / block_rows_;
  }
  /// Returns how many columns of the row exist.
  std::uint64_t read(std::uint64_t row, std::vector<float>& out, int worker);

 private:
  tensor::Geometry view_;
  std::uint64_t block_cols_, block_rows_;
  tensor::ValueReader reader_;
};

/// All grids that are tried for a tensor whose values were rounded to `type`, those with the fewest parameters first.
[[nodiscard]] std::vector<Form> candidates(const tensor::Tensor& source, tensor::DType type);

/// What all blocks need together.
struct Survey {
  bool exact = true;
  int symmetric_bits = 1, asymmetric_bits = 1;  // of the codes: zero in the middle, zero point by block
  double evidence = 0;
  std::uint64_t telling_blocks = 0;  // with any evidence
  std::vector<Fit> whole;
};

/// Does every block fit? A few blocks first. `fits`: what was found, or nothing.
[[nodiscard]] bool survey(const tensor::Tensor& source, const Form& candidate, Survey& found);

/// The tensor in a settled form; its planes are computed from `source` when they are read.
[[nodiscard]] tensor::Tensor in_form(const tensor::Tensor& source, Form form);

}  // namespace ingot::convert::recovering

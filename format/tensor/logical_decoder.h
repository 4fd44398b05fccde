// The logical tensor, in row-major order, from the stored one: undoes the declared transforms. Internal to
// format/tensor. Implements spec/transforms.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/tensor/decoder.h"

namespace ingot::tensor {

struct LogicalScratch {
  DecodeScratch stored;
  std::vector<float> piece;  // part of a row, or rows to be transposed
  std::vector<float> row;    // a stored row whose columns move
};

/// Immutable and thread-safe. The constructor also throws invalid_value for transforms that do not fit the shape.
class LogicalDecoder {
 public:
  explicit LogicalDecoder(const Tensor& tensor);

  [[nodiscard]] const Decoder& stored() const noexcept { return stored_; }
  [[nodiscard]] std::uint64_t elements() const noexcept { return stored_.geometry().elements; }
  /// Is the logical tensor the stored one, but for the order of the rows?
  [[nodiscard]] bool only_moves_rows() const noexcept {
    return arrangement_ == Arrangement::rows && col_steps_.empty() && ones_ == 0;
  }
  /// Where a logical row is stored, if only rows move.
  [[nodiscard]] std::uint64_t stored_row(std::uint64_t row) const noexcept { return mapped(row, row_steps_); }
  /// True when pieces of the logical tensor cost about as much as the whole: better decode it once.
  [[nodiscard]] bool needs_whole_tensor() const noexcept {
    return arrangement_ != Arrangement::rows && !stored_.has_views();
  }
  /// The stored units whose last logical element lies in [begin, end), where the stored order is the logical one; else
  /// an empty range. Ranges that follow each other name every unit once.
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> units_ending_in(std::uint64_t begin,
                                                                        std::uint64_t end) const noexcept;

  /// Logical elements [begin, begin + out.size()).
  void decode(std::uint64_t begin, std::span<float> out, LogicalScratch& scratch) const;

 private:
  enum class Arrangement : std::uint8_t {
    rows,       ///< logical row i is stored row row_map(i)
    transposed  ///< logical (i, j) is stored (col_map(j), row_map(i))
  };
  /// Where an index goes in one transform: interleaved heads, or a table.
  struct Step {
    std::uint64_t heads, rows;
    std::vector<std::uint32_t> stored;  // by logical index; empty: heads
  };

  void check(const Tensor& tensor) const;
  void decode_stored(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const;
  void decode_row_part(std::uint64_t row, std::uint64_t col_begin, std::uint64_t col_end, float* out,
                       LogicalScratch& scratch) const;
  void decode_rows(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const;
  void decode_vector(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const;
  void decode_gathered(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const;
  void decode_matrices_transposed(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const;
  void decode_transposed(std::uint64_t matrix, std::uint64_t begin, std::uint64_t end, float* out,
                         LogicalScratch& scratch) const;
  [[nodiscard]] static std::uint64_t mapped(std::uint64_t index, const std::vector<Step>& steps) noexcept;

  Decoder stored_;
  Arrangement arrangement_ = Arrangement::rows;
  std::vector<Step> row_steps_, col_steps_;  // from a logical index to a stored one
  std::vector<std::uint64_t> stored_cols_;   // by logical column, where columns move within their rows; else empty
  std::uint64_t logical_cols_ = 1;
  std::uint32_t ones_ = 0;  // how often 1 was added
};

}  // namespace ingot::tensor

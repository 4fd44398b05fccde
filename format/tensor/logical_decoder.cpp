// Index arithmetic of the transforms. Every stored row is decoded at most a few times, whatever the range.
#include "format/tensor/logical_decoder.h"

#include <algorithm>

#include "format/base/error.h"

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kTransposedRows = 64;  // stored rows decoded at a time

}  // namespace

LogicalDecoder::LogicalDecoder(const Tensor& tensor) : stored_(tensor) {
  check(tensor);
  const Shape& shape = tensor.shape;
  logical_cols_ = shape.size() < 2 ? 1 : shape.back();
  std::uint64_t rows = shape.empty() ? 1 : shape[0];
  std::uint64_t cols = logical_cols_;
  for (const Transform& transform : tensor.transforms) {
    if (transform.kind == TransformKind::add_one) ++ones_;
    if (transform.kind == TransformKind::transpose) {
      arrangement_ = arrangement_ == Arrangement::rows ? Arrangement::transposed : Arrangement::rows;
      std::swap(rows, cols);
    }
    if (transform.kind == TransformKind::rope_interleave) {
      (arrangement_ == Arrangement::rows ? row_steps_ : col_steps_).push_back({transform.heads, rows});
    }
  }
}

void LogicalDecoder::check(const Tensor& tensor) const {
  Shape shape = tensor.shape;
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": " + what);
  };
  for (const Transform& transform : tensor.transforms) {
    if (transform.kind == TransformKind::transpose) {
      if (shape.size() != 2) refuse("transpose needs 2 dimensions, got " + std::to_string(shape.size()));
      std::swap(shape[0], shape[1]);
    }
    if (transform.kind == TransformKind::rope_interleave) {
      if (shape.empty() || shape.size() > 2)
        refuse("rope_interleave needs 1 or 2 dimensions, got " + std::to_string(shape.size()));
      if (transform.heads == 0 || shape[0] % transform.heads != 0 || shape[0] / transform.heads % 2 != 0) {
        refuse("rope_interleave of " + std::to_string(transform.heads) + " heads does not fit " +
               std::to_string(shape[0]) + " rows");
      }
    }
  }
}

std::uint64_t LogicalDecoder::mapped(std::uint64_t index, const std::vector<Interleave>& steps) noexcept {
  for (const Interleave& step : steps) {
    const std::uint64_t dim = step.rows / step.heads;
    const std::uint64_t in_head = index % dim;
    index = index - in_head + 2 * (in_head % (dim / 2)) + in_head / (dim / 2);
  }
  return index;
}

std::pair<std::uint64_t, std::uint64_t> LogicalDecoder::units_ending_in(std::uint64_t begin,
                                                                        std::uint64_t end) const noexcept {
  const Geometry& view = stored_.geometry();
  const std::uint64_t unit_elems = view.rows_per_unit * view.cols;
  const bool straight = arrangement_ == Arrangement::rows && row_steps_.empty() && col_steps_.empty();
  if (!straight || unit_elems == 0 || (view.matrices > 1 && view.rows % view.rows_per_unit != 0)) return {0, 0};
  const std::uint64_t first = begin / unit_elems;
  const std::uint64_t last = end == view.elements ? view.units : end / unit_elems;
  return first < last ? std::pair{first, last} : std::pair<std::uint64_t, std::uint64_t>{0, 0};
}

void LogicalDecoder::decode(std::uint64_t begin, std::span<float> out, LogicalScratch& scratch) const {
  const std::uint64_t end = begin + out.size();
  if (out.empty()) return;
  if (arrangement_ == Arrangement::transposed)
    decode_transposed(begin, end, out.data(), scratch);
  else if (!col_steps_.empty() || (!row_steps_.empty() && logical_cols_ == 1))
    decode_mixed(begin, end, out.data(), scratch);
  else if (!row_steps_.empty())
    decode_rows(begin, end, out.data(), scratch);
  else
    decode_stored(begin, end, out.data(), scratch);
  for (std::uint32_t i = 0; i < ones_; ++i) {
    for (float& value : out) value -= 1.0f;
  }
}

/// Stored elements [begin, end) in row-major order of the row view.
void LogicalDecoder::decode_stored(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const {
  const std::uint64_t cols = stored_.geometry().cols;
  const std::uint64_t first_row = begin / cols;
  if (begin % cols != 0) {
    const std::uint64_t row_end = std::min(end, (first_row + 1) * cols);
    decode_row_part(first_row, begin % cols, begin % cols + (row_end - begin), out, scratch);
    out += row_end - begin;
    begin = row_end;
  }
  const std::uint64_t full_rows = (end - begin) / cols;
  if (full_rows > 0) {
    stored_.decode(begin / cols, begin / cols + full_rows, 0, cols, out, cols, scratch.stored);
    out += full_rows * cols;
    begin += full_rows * cols;
  }
  if (begin < end) decode_row_part(begin / cols, 0, end - begin, out, scratch);
}

void LogicalDecoder::decode_row_part(std::uint64_t row, std::uint64_t col_begin, std::uint64_t col_end, float* out,
                                     LogicalScratch& scratch) const {
  const std::uint64_t alignment = stored_.window_alignment();
  const std::uint64_t aligned_begin = col_begin / alignment * alignment;
  const bool whole_row_only = alignment >= stored_.geometry().cols;
  if (aligned_begin == col_begin && !whole_row_only) {
    return stored_.decode(row, row + 1, col_begin, col_end, out, col_end - col_begin, scratch.stored);
  }
  const std::uint64_t aligned_end = whole_row_only ? stored_.geometry().cols : col_end;
  scratch.piece.resize(aligned_end - aligned_begin);
  stored_.decode(row, row + 1, aligned_begin, aligned_end, scratch.piece.data(), aligned_end - aligned_begin,
                 scratch.stored);
  std::copy_n(scratch.piece.begin() + static_cast<std::ptrdiff_t>(col_begin - aligned_begin), col_end - col_begin, out);
}

/// Whole rows move.
void LogicalDecoder::decode_rows(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const {
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t row = at / logical_cols_;
    const std::uint64_t col = at % logical_cols_;
    const std::uint64_t count = std::min(end - at, logical_cols_ - col);
    const std::uint64_t from = mapped(row, row_steps_) * logical_cols_ + col;
    decode_stored(from, from + count, out + (at - begin), scratch);
    at += count;
  }
}

/// Single elements move: vectors, and rotations on both sides of two transpositions. Small tensors.
void LogicalDecoder::decode_mixed(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const {
  std::vector<float> all(elements());
  decode_stored(0, all.size(), all.data(), scratch);
  for (std::uint64_t at = begin; at < end; ++at) {
    out[at - begin] =
        all[mapped(at / logical_cols_, row_steps_) * logical_cols_ + mapped(at % logical_cols_, col_steps_)];
  }
}

void LogicalDecoder::decode_transposed(std::uint64_t begin, std::uint64_t end, float* out,
                                       LogicalScratch& scratch) const {
  const std::uint64_t first_row = begin / logical_cols_;
  const std::uint64_t row_end = (end - 1) / logical_cols_ + 1;
  const bool whole_rows = !row_steps_.empty();  // the wanted stored columns are scattered
  const std::uint64_t col_begin = whole_rows ? 0 : first_row / stored_.window_alignment() * stored_.window_alignment();
  const std::uint64_t col_end = whole_rows ? stored_.geometry().cols : row_end;
  const std::uint64_t width = col_end - col_begin;
  const std::uint64_t stored_rows = stored_.stored_rows();
  std::vector<std::uint64_t> source(logical_cols_);  // stored row of every logical column ...
  std::vector<std::uint64_t> target(logical_cols_);  // ... and back
  for (std::uint64_t col = 0; col < logical_cols_; ++col) {
    source[col] = mapped(col, col_steps_);
    target[source[col]] = col;
  }
  for (std::uint64_t row = 0; row < stored_rows; row += kTransposedRows) {
    const std::uint64_t rows = std::min(kTransposedRows, stored_rows - row);
    scratch.piece.resize(rows * width);
    stored_.decode(row, row + rows, col_begin, col_end, scratch.piece.data(), width, scratch.stored);
    for (std::uint64_t logical_row = first_row; logical_row < row_end; ++logical_row) {
      const std::uint64_t from = mapped(logical_row, row_steps_) - col_begin;
      for (std::uint64_t i = 0; i < rows; ++i) {
        const std::uint64_t at = logical_row * logical_cols_ + target[row + i];
        if (at >= begin && at < end) out[at - begin] = scratch.piece[i * width + from];
      }
    }
  }
}

}  // namespace ingot::tensor

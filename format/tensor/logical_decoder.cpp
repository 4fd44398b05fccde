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
    const bool of_rows = transform.kind == TransformKind::rope_interleave || transform.kind == TransformKind::row_order;
    if (!of_rows && transform.kind != TransformKind::column_order) continue;
    Step step{transform.heads, rows, {}};
    if (transform.order != nullptr) step.stored = inverse_of(*transform.order);
    ((arrangement_ == Arrangement::rows) == of_rows ? row_steps_ : col_steps_).push_back(std::move(step));
  }
  if (arrangement_ == Arrangement::transposed || col_steps_.empty()) return;
  stored_cols_.resize(logical_cols_);
  for (std::uint64_t col = 0; col < logical_cols_; ++col) stored_cols_[col] = mapped(col, col_steps_);
}

void LogicalDecoder::check(const Tensor& tensor) const {
  Shape shape = tensor.shape;
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": " + what);
  };
  for (const Transform& transform : tensor.transforms) {
    if (transform.kind == TransformKind::transpose) {
      if (shape.size() != 2 && shape.size() != 3)
        refuse("transpose needs 2 or 3 dimensions, got " + std::to_string(shape.size()));
      std::swap(shape[shape.size() - 2], shape[shape.size() - 1]);
    }
    if (transform.kind == TransformKind::rope_interleave) {
      if (shape.empty() || shape.size() > 2)
        refuse("rope_interleave needs 1 or 2 dimensions, got " + std::to_string(shape.size()));
      if (transform.heads == 0 || shape[0] % transform.heads != 0 || shape[0] / transform.heads % 2 != 0) {
        refuse("rope_interleave of " + std::to_string(transform.heads) + " heads does not fit " +
               std::to_string(shape[0]) + " rows");
      }
    }
    if (transform.kind == TransformKind::row_order || transform.kind == TransformKind::column_order) {
      const bool of_rows = transform.kind == TransformKind::row_order;
      if (shape.empty() || shape.size() > 2 || (!of_rows && shape.size() != 2))
        refuse(std::string(name(transform.kind)) + " does not fit " + std::to_string(shape.size()) + " dimensions");
      const std::uint64_t extent = of_rows ? shape[0] : shape[1];
      if (transform.order == nullptr || transform.order->size() != extent || !is_permutation(*transform.order))
        refuse(std::string(name(transform.kind)) + " is no permutation of " + std::to_string(extent));
    }
  }
}

std::uint64_t LogicalDecoder::mapped(std::uint64_t index, const std::vector<Step>& steps) noexcept {
  for (const Step& step : steps) {
    if (!step.stored.empty()) {
      index = step.stored[index];
      continue;
    }
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
    decode_matrices_transposed(begin, end, out.data(), scratch);
  else if (!stored_cols_.empty())
    decode_gathered(begin, end, out.data(), scratch);
  else if (!row_steps_.empty() && logical_cols_ == 1)
    decode_vector(begin, end, out.data(), scratch);
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

/// Single elements of a vector move.
void LogicalDecoder::decode_vector(std::uint64_t begin, std::uint64_t end, float* out, LogicalScratch& scratch) const {
  std::vector<float> all(elements());
  decode_stored(0, all.size(), all.data(), scratch);
  for (std::uint64_t at = begin; at < end; ++at) out[at - begin] = all[mapped(at, row_steps_)];
}

/// Columns move within their rows, and rows may, too.
void LogicalDecoder::decode_gathered(std::uint64_t begin, std::uint64_t end, float* out,
                                     LogicalScratch& scratch) const {
  scratch.row.resize(logical_cols_);
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t row = at / logical_cols_, col = at % logical_cols_;
    const std::uint64_t count = std::min(end - at, logical_cols_ - col);
    const std::uint64_t from = mapped(row, row_steps_) * logical_cols_;
    decode_stored(from, from + logical_cols_, scratch.row.data(), scratch);
    for (std::uint64_t i = 0; i < count; ++i) out[at - begin + i] = scratch.row[stored_cols_[col + i]];
    at += count;
  }
}

void LogicalDecoder::decode_matrices_transposed(std::uint64_t begin, std::uint64_t end, float* out,
                                                LogicalScratch& scratch) const {
  const std::uint64_t elements = stored_.geometry().rows * stored_.geometry().cols;
  while (begin < end) {
    const std::uint64_t matrix = begin / elements, matrix_end = std::min(end, (matrix + 1) * elements);
    decode_transposed(matrix, begin - matrix * elements, matrix_end - matrix * elements, out, scratch);
    out += matrix_end - begin;
    begin = matrix_end;
  }
}

/// Elements [begin, end) of one matrix.
void LogicalDecoder::decode_transposed(std::uint64_t matrix, std::uint64_t begin, std::uint64_t end, float* out,
                                       LogicalScratch& scratch) const {
  const std::uint64_t first_row = begin / logical_cols_;
  const std::uint64_t row_end = (end - 1) / logical_cols_ + 1;
  const bool whole_rows = !row_steps_.empty();  // the wanted stored columns are scattered
  const std::uint64_t col_begin = whole_rows ? 0 : first_row / stored_.window_alignment() * stored_.window_alignment();
  const std::uint64_t col_end = whole_rows ? stored_.geometry().cols : row_end;
  const std::uint64_t width = col_end - col_begin;
  const std::uint64_t stored_rows = stored_.geometry().rows;
  std::vector<std::uint64_t> source(logical_cols_);  // stored row of every logical column ...
  std::vector<std::uint64_t> target(logical_cols_);  // ... and back
  for (std::uint64_t col = 0; col < logical_cols_; ++col) {
    source[col] = mapped(col, col_steps_);
    target[source[col]] = col;
  }
  for (std::uint64_t row = 0; row < stored_rows; row += kTransposedRows) {
    const std::uint64_t rows = std::min(kTransposedRows, stored_rows - row);
    scratch.piece.resize(rows * width);
    const std::uint64_t first = matrix * stored_rows + row;
    stored_.decode(first, first + rows, col_begin, col_end, scratch.piece.data(), width, scratch.stored);
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

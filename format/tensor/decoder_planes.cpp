// Plane bytes -> one byte per code and one number per parameter, for a window of a tensor. Implements spec/planes.md
// sections 3 and 4.
#include "format/base/error.h"
#include "format/tensor/decoder.h"
#include "format/tensor/packing.h"

namespace ingot::tensor {

std::uint64_t Decoder::unit_of(std::uint64_t row) const noexcept {
  if (geometry_.rows_per_unit == 1) return row;
  return row / geometry_.rows * geometry_.units_per_matrix + row % geometry_.rows / geometry_.rows_per_unit;
}

void Decoder::read_units_of(const Window& window, DecodeScratch& scratch) const {
  if (has_views_) return;
  const std::uint64_t begin = unit_of(window.row_begin);
  const std::uint64_t end = unit_of(window.row_end - 1) + 1;
  if (begin >= scratch.unit_begin && end <= scratch.unit_end) return;
  scratch.unit_begin = scratch.unit_end = 0;  // in case the source throws
  scratch.units.resize(views_.size());
  std::vector<std::byte*> wanted(views_.size(), nullptr);
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (views_[i]) continue;
    scratch.units[i].resize((end - begin) * plane_unit_bytes_[i]);
    wanted[i] = scratch.units[i].data();
  }
  source_->read_units(begin, end, wanted);
  scratch.unit_begin = begin;
  scratch.unit_end = end;
}

const std::byte* Decoder::unit_bytes(std::size_t plane, std::uint64_t row,
                                     const DecodeScratch& scratch) const noexcept {
  const std::uint64_t unit = unit_of(row);
  if (views_[plane]) return views_[plane]->data() + unit * plane_unit_bytes_[plane];
  return scratch.units[plane].data() + (unit - scratch.unit_begin) * plane_unit_bytes_[plane];
}

// --- Parameters ------------------------------------------------------------------------------------------------------

void Decoder::read_levels(const Window& window, DecodeScratch& scratch) const {
  scratch.levels.resize(levels_.size());
  scratch.level_counts.resize(levels_.size());
  scratch.level_columns.resize(levels_.size());
  const std::uint64_t runs = run_count(window);
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    const LevelPlane& plane = levels_[i];
    const bool indexed = scheme_.order == Order::group_index;
    const std::uint64_t step = plane.columns_per_parameter;
    const std::uint64_t first = step == 0 || indexed ? 0 : window.col_begin / step;
    const std::uint64_t count = level_cols(i, window);
    scratch.level_counts[i] = count;
    scratch.levels[i].resize(window.rows() * count);
    if (plane.sliced)
      read_sliced_level(plane, window, first, count, scratch.levels[i].data(), scratch);
    else
      read_whole_level(plane, window, first, count, scratch.levels[i].data(), scratch);

    std::vector<std::uint32_t>& columns = scratch.level_columns[i];
    columns.resize(runs);
    for (std::uint64_t run = 0; run < runs; ++run) {
      const std::uint64_t column = (window.col_begin / run_cols_ + run) * run_cols_;
      columns[run] = static_cast<std::uint32_t>(step == 0 ? 0 : indexed ? run : column / step - first);
    }
  }
}

void Decoder::read_sliced_level(const LevelPlane& plane, const Window& window, std::uint64_t first, std::uint64_t count,
                                double* out, DecodeScratch& scratch) const {
  const std::byte* bytes = unit_bytes(plane.plane, window.row_begin, scratch);
  if (geometry_.packing == Packing::tiles) {  // [column][16]; all rows of a window lie in one tile
    scratch.linear.resize(count * kTileRows);
    convert_elements(plane, bytes, first * kTileRows, count * kTileRows, scratch.linear.data(), scratch);
    const std::uint64_t first_row = window.row_begin % geometry_.rows % kTileRows;
    for (std::uint64_t row = 0; row < window.rows(); ++row) {
      for (std::uint64_t i = 0; i < count; ++i) out[row * count + i] = scratch.linear[i * kTileRows + first_row + row];
    }
    return;
  }
  const std::uint64_t unit_bytes_of_plane = plane_unit_bytes_[plane.plane];
  if (count == plane.cols &&
      unit_bytes_of_plane * 8 == count * bits(plane.level.type)) {  // rows without padding between them
    return convert_elements(plane, bytes, 0, window.rows() * count, out, scratch);
  }
  for (std::uint64_t row = 0; row < window.rows(); ++row) {
    convert_elements(plane, bytes + row * unit_bytes_of_plane, first, count, out + row * count, scratch);
  }
}

void Decoder::read_whole_level(const LevelPlane& plane, const Window& window, std::uint64_t first, std::uint64_t count,
                               double* out, DecodeScratch& scratch) const {
  const std::byte* bytes = views_[plane.plane]->data();
  std::uint64_t previous = 0;
  for (std::uint64_t row = 0; row < window.rows(); ++row) {
    const std::uint64_t matrix = (window.row_begin + row) / geometry_.rows;
    const std::uint64_t row_in_matrix = (window.row_begin + row) % geometry_.rows;
    const std::uint64_t parameter_row =
        matrix * plane.rows + (plane.level.block.rows == 0 ? 0 : row_in_matrix / plane.level.block.rows);
    if (row > 0 && parameter_row == previous)
      std::copy_n(out + (row - 1) * count, count, out + row * count);
    else
      convert_elements(plane, bytes, parameter_row * plane.cols + first, count, out + row * count, scratch);
    previous = parameter_row;
  }
}

void Decoder::convert_elements(const LevelPlane& plane, const std::byte* bytes, std::uint64_t first,
                               std::uint64_t count, double* out, DecodeScratch& scratch) const {
  const std::uint8_t element_bits = bits(plane.level.type);
  if (element_bits == 8) {
    for (std::uint64_t i = 0; i < count; ++i) out[i] = plane.numbers[std::to_integer<std::size_t>(bytes[first + i])];
  } else if (element_bits < 8) {
    scratch.bytes.resize(count);
    unpack_dense(element_bits, bytes, first, count, scratch.bytes.data());
    for (std::uint64_t i = 0; i < count; ++i) out[i] = plane.numbers[scratch.bytes[i]];
  } else {
    wide_numbers(plane.level.type, bytes + first * element_bits / 8, count, out);
    if (plane.level.multiply == 1 && plane.level.add == 0) return;
    for (std::uint64_t i = 0; i < count; ++i) out[i] = plane.level.multiply * out[i] + plane.level.add;
  }
}

// --- Codes -----------------------------------------------------------------------------------------------------------

void Decoder::read_codes(const Window& window, DecodeScratch& scratch) const {
  const std::uint64_t cols = window.cols();
  scratch.codes.resize(window.rows() * cols);
  if (code_form_ == CodeForm::grid) {
    for (std::uint64_t row = 0; row < window.rows(); ++row) {
      read_grid_row(window.row_begin + row, window, scratch.codes.data() + row * cols, scratch);
    }
    return;
  }
  const std::uint8_t code_bits = bits(scheme_.codes.type);
  const std::size_t slices = geometry_.packing == Packing::tiles ? code_slices(code_bits).count : 1;
  const std::byte* planes[3] = {};
  for (std::size_t i = 0; i < slices; ++i) planes[i] = unit_bytes(i, window.row_begin, scratch);
  if (geometry_.packing == Packing::rows && cols == geometry_.cols &&
      cols * code_bits % 8 == 0) {  // rows without padding between them
    return unpack_row(Packing::rows, code_bits, planes, 0, 0, window.rows() * cols, scratch.codes.data());
  }
  const std::uint64_t first_row =
      geometry_.packing == Packing::tiles ? window.row_begin % geometry_.rows % kTileRows : 0;
  if (geometry_.packing == Packing::tiles && window.rows() == kTileRows)  // then first_row is 0
    return unpack_tile(code_bits, planes, window.col_begin, window.col_end, scratch.codes.data(), cols);
  for (std::uint64_t row = 0; row < window.rows(); ++row) {
    if (geometry_.packing == Packing::rows) planes[0] = unit_bytes(0, window.row_begin + row, scratch);
    unpack_row(geometry_.packing, code_bits, planes, first_row + row, window.col_begin, window.col_end,
               scratch.codes.data() + row * cols);
  }
}

void Decoder::read_grid_row(std::uint64_t row, const Window& window, std::uint8_t* codes,
                            const DecodeScratch& scratch) const {
  constexpr std::uint64_t kSignRun = 8;  // columns of a row are a multiple of this, so is the window's first
  const std::byte* indexes = unit_bytes(0, row, scratch);
  const std::byte* sign_stream = sign_plane_ == 0 ? nullptr : unit_bytes(sign_plane_, row, scratch);
  const std::uint8_t index_bits = bits(scheme_.codes.type);
  for (std::uint64_t col = window.col_begin; col < window.col_end; col += kSignRun) {
    std::uint32_t signs = sign_stream == nullptr ? 0 : dense_element(sign_bits_, sign_stream, col / kSignRun);
    if (sign_bits_ == 7) signs |= (static_cast<std::uint32_t>(std::popcount(signs)) & 1u) << 7;
    std::uint8_t run[kSignRun];
    for (std::uint64_t k = 0; k < kSignRun; k += grid_width_) {
      const std::uint32_t index = dense_element(index_bits, indexes, (col + k) / grid_width_);
      for (std::uint64_t i = 0; i < grid_width_; ++i) {
        const int entry = grid_[index * grid_width_ + i];
        run[k + i] = static_cast<std::uint8_t>(((signs >> (k + i) & 1u) != 0 ? -entry : entry) + 128);
      }
    }
    std::copy_n(run, std::min(kSignRun, window.col_end - col), codes + (col - window.col_begin));
  }
}

void Decoder::read_numbers(std::uint64_t row, const Window& window, DecodeScratch& scratch) const {
  const std::uint64_t cols = window.cols();
  scratch.numbers.resize(cols);
  if (code_form_ == CodeForm::wide) {
    const std::byte* bytes =
        unit_bytes(0, window.row_begin + row, scratch) + window.col_begin * bits(scheme_.codes.type) / 8;
    return wide_numbers(scheme_.codes.type, bytes, cols, scratch.numbers.data());
  }
  const std::uint8_t* codes = scratch.codes.data() + row * cols;
  for (std::uint64_t i = 0; i < cols; ++i) scratch.numbers[i] = code_numbers_[codes[i]];
}

}  // namespace ingot::tensor

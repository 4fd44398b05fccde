// Codes and parameters -> values: the formula of spec/schemes/README.md section 1, rounded once to binary32.
#include "format/tensor/decoder.h"

#include <cmath>

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kWindowElems =
    65536;  // decoded at a time: codes, parameters and values stay in the second-level cache
constexpr std::uint8_t kSignFlip = 0x80;  // i8 code ^ 0x80 = number + 128
constexpr float kSignOffset = 128;

}  // namespace

std::uint64_t Decoder::run_count(const Window& window) const noexcept {
  if (scheme_.order == Order::group_index) return indexed_runs_;
  return (window.col_end - 1) / run_cols_ - window.col_begin / run_cols_ + 1;
}

std::uint64_t Decoder::level_cols(std::size_t level, const Window& window) const noexcept {
  const LevelPlane& plane = levels_[level];
  if (plane.columns_per_parameter == 0) return 1;
  if (scheme_.order == Order::group_index) return plane.cols;
  return (window.col_end - 1) / plane.columns_per_parameter - window.col_begin / plane.columns_per_parameter + 1;
}

void Decoder::decode(std::uint64_t row_begin, std::uint64_t row_end, std::uint64_t col_begin, std::uint64_t col_end,
                     float* out, std::uint64_t stride, DecodeScratch& scratch) const {
  if (row_begin >= row_end || col_begin >= col_end) return;
  // Whole tiles, rather than whole rows: sixteen rows of codes are unpacked at once.
  const std::uint64_t widest = geometry_.packing == Packing::tiles ? kWindowElems / kTileRows : kWindowElems;
  const std::uint64_t cols_at_once = scheme_.order == Order::identity ? widest : geometry_.cols;
  std::uint64_t next = 0;
  for (std::uint64_t row = row_begin; row < row_end; row = next) {
    const std::uint64_t cols = std::min(col_end - col_begin, cols_at_once);
    next = std::min(row_end, row + std::max<std::uint64_t>(kWindowElems / cols, 1));
    if (geometry_.packing == Packing::tiles) {  // stay inside the tile
      const std::uint64_t in_matrix = row % geometry_.rows;
      const std::uint64_t tile_end = std::min(geometry_.rows, (in_matrix / kTileRows + 1) * kTileRows);
      next = std::min(next, row - in_matrix + tile_end);
    }
    for (std::uint64_t col = col_begin; col < col_end; col += cols_at_once) {
      const Window window{row, next, col, std::min(col_end, col + cols_at_once)};
      decode_batch(window, {out + (row - row_begin) * stride + (col - col_begin), stride}, scratch);
    }
  }
}

void Decoder::decode_batch(const Window& window, Target target, DecodeScratch& scratch) const {
  read_units_of(window, scratch);
  if (code_form_ == CodeForm::wide && scheme_.is_plain()) return decode_plain(window, target, scratch);
  read_levels(window, scratch);
  if (code_form_ != CodeForm::wide) read_codes(window, scratch);
  if (arithmetic_ == Arithmetic::steps) return decode_steps(window, target, scratch);
  if (arithmetic_ == Arithmetic::binary32 && make_runs(window, scratch))
    return decode_binary32(window, target, scratch);
  const bool wide =
      arithmetic_ == Arithmetic::binary64 || (arithmetic_ == Arithmetic::binary32 && fallback_ == Arithmetic::binary64);
  scratch.row.resize(window.cols());
  for (std::uint64_t row = 0; row < window.rows(); ++row) {
    read_numbers(row, window, scratch);
    float* values = target.data + row * target.stride;
    float* stored = permutation_.empty() ? values : scratch.row.data();
    if (wide)
      decode_row64(row, window, stored, scratch);
    else
      decode_row_reference(row, window, stored, scratch);
    for (std::size_t i = 0; i < permutation_.size(); ++i) values[permutation_[i]] = stored[i];
  }
}

void Decoder::decode_plain(const Window& window, Target target, DecodeScratch& scratch) const {
  const std::uint64_t element_bytes = bits(scheme_.codes.type) / 8u;
  const bool dense = window.cols() == geometry_.cols && target.stride == geometry_.cols;
  const std::uint64_t rows_at_once = dense ? window.rows() : 1;
  for (std::uint64_t row = 0; row < window.rows(); row += rows_at_once) {
    const std::byte* bytes = unit_bytes(0, window.row_begin + row, scratch) + window.col_begin * element_bytes;
    wide_values(scheme_.codes.type, bytes, rows_at_once * window.cols(), target.data + row * target.stride);
  }
}

// --- binary32: every operation but the last is exact -----------------------------------------------------------------

/// What the loops subtract besides the zero: grid entries and signed codes come as number + 128.
float Decoder::sign_offset() const noexcept {
  const bool is_signed =
      code_form_ == CodeForm::grid || (code_form_ == CodeForm::integer_bytes && code_numbers_.back() < 0);
  return is_signed ? kSignOffset : 0;
}

/// False when a scale is so large that a product could overflow before the sum brings it back.
bool Decoder::make_runs(const Window& window, DecodeScratch& scratch) const {
  const std::uint64_t runs = run_count(window);
  scratch.runs.resize(window.rows() * runs);
  const float in_codes = sign_offset();
  bool in_range = true;
  for (std::uint64_t row = 0; row < window.rows(); ++row) {
    for (std::uint64_t run = 0; run < runs; ++run) {
      const WideRun wide = wide_run(row, run, scratch);
      scratch.runs[row * runs + run] = {static_cast<float>(wide.scale), static_cast<float>(wide.zero) + in_codes,
                                        static_cast<float>(wide.add)};
      in_range = in_range && std::fabs(wide.scale) <= largest_scale_;
    }
  }
  return in_range || largest_scale_ == 0;
}

void Decoder::decode_binary32(const Window& window, Target target, DecodeScratch& scratch) const {
  const std::uint64_t cols = window.cols();
  const std::uint64_t runs = run_count(window);
  if (scheme_.order == Order::group_index) {
    for (std::uint64_t row = 0; row < window.rows(); ++row) {
      const std::uint8_t* codes = scratch.codes.data() + row * cols;
      const Run* run_of_row = scratch.runs.data() + row * runs;
      const std::uint8_t flip = code_form_ == CodeForm::integer_bytes && code_numbers_.back() < 0 ? kSignFlip : 0;
      for (std::uint64_t i = 0; i < cols; ++i) {
        const Run& run = run_of_row[chosen_run(i)];
        const float code =
            code_form_ == CodeForm::table_bytes ? code_table_[codes[i]] : static_cast<float>(codes[i] ^ flip);
        target.data[row * target.stride + i] = run.scale * (code - run.zero) + run.add;
      }
    }
    return;
  }
  if (permutation_.empty() && target.stride == cols && cols % run_cols_ == 0 && window.col_begin % run_cols_ == 0) {
    return decode_row32(window, scratch.codes.data(), scratch.runs.data(), target.data, window.rows() * cols);
  }
  scratch.row.resize(cols);
  for (std::uint64_t row = 0; row < window.rows(); ++row) {
    float* values = target.data + row * target.stride;
    float* stored = permutation_.empty() ? values : scratch.row.data();
    decode_row32(window, scratch.codes.data() + row * cols, scratch.runs.data() + row * runs, stored, cols);
    for (std::size_t i = 0; i < permutation_.size(); ++i) values[permutation_[i]] = stored[i];
  }
}

void Decoder::decode_row32(const Window& window, const std::uint8_t* codes, const Run* runs, float* out,
                           std::uint64_t count) const {
  const std::uint8_t flip = code_form_ == CodeForm::integer_bytes && code_numbers_.back() < 0 ? kSignFlip : 0;
  const auto decode_runs = [&](std::uint64_t first, std::uint64_t n, const Run* run) {
    if (code_form_ != CodeForm::table_bytes)
      bulk().decode_integers(codes + first, flip, n, run_cols_, run, out + first);
    else if (code_table_.size() == 16)
      bulk().decode_table16(codes + first, code_table_.data(), n, run_cols_, run, out + first);
    else if (scheme_.codes.kind == CodeKind::number && scheme_.codes.type == DType::e4m3)
      bulk().decode_e4m3(codes + first, code_table_.data(), n, run_cols_, run, out + first);
    else
      bulk().decode_table256(codes + first, code_table_.data(), n, run_cols_, run, out + first);
  };
  const std::uint64_t cut = window.col_begin % run_cols_;  // columns of the first run that lie before the window
  const std::uint64_t head = cut == 0 ? 0 : std::min(count, run_cols_ - cut);
  decode_runs(0, head, runs);
  decode_runs(head, count - head, runs + (head != 0 ? 1 : 0));
}

// --- binary64 and the reference --------------------------------------------------------------------------------------

ElementParts Decoder::parts_of(std::uint64_t row, std::uint64_t run, const DecodeScratch& scratch) const {
  ElementParts parts;
  parts.shift = scheme_.shift;
  parts.scale_count = scale_count_;
  parts.scale_offset = scale_offset_;
  parts.zero = scheme_.offset.zero;
  for (std::size_t i = 0; i < scale_count_; ++i) parts.scales[i] = level_number(i, row, run, scratch);
  if (scheme_.offset.kind == OffsetKind::zero_points) parts.zero = level_number(scale_count_, row, run, scratch);
  if (scheme_.offset.kind == OffsetKind::bias) parts.bias = level_number(scale_count_, row, run, scratch);
  if (scheme_.offset.kind == OffsetKind::minimum) {
    parts.min_count = levels_.size() - scale_count_;
    for (std::size_t i = 0; i < parts.min_count; ++i) parts.mins[i] = level_number(scale_count_ + i, row, run, scratch);
  }
  return parts;
}

WideRun Decoder::wide_run(std::uint64_t row, std::uint64_t run, const DecodeScratch& scratch) const {
  WideRun result{1, static_cast<double>(scheme_.offset.zero), 0};
  if (scheme_.rounded_scale) {
    std::array<double, 3> levels;
    for (std::size_t i = 0; i < scale_count_; ++i) levels[i] = level_number(i, row, run, scratch);
    result.scale = rounded_scale(scheme_, {levels.data(), scale_count_}, scale_offset_);
  } else {
    for (std::size_t i = 0; i < scale_count_; ++i) result.scale *= level_number(i, row, run, scratch);
  }
  if (scheme_.shift != 0) result.scale = std::ldexp(result.scale, scheme_.shift);
  if (levels_.size() == scale_count_) return result;
  double offset = level_number(scale_count_, row, run, scratch);
  if (scheme_.offset.kind == OffsetKind::zero_points) {
    if (distribute_zero_ && std::isfinite(result.scale))
      result.add = -(result.scale * offset);
    else
      result.zero = offset;
  } else if (scheme_.offset.kind == OffsetKind::bias) {
    result.add = offset;
  } else {
    if (levels_.size() == scale_count_ + 2) offset *= level_number(scale_count_ + 1, row, run, scratch);
    result.add = -offset;
  }
  return result;
}

void Decoder::decode_row64(std::uint64_t row, const Window& window, float* out, const DecodeScratch& scratch) const {
  const double* numbers = scratch.numbers.data();
  const auto decode_run64 = has_sum_ ? bulk().round_sums : bulk().round_products;
  if (scheme_.order == Order::group_index) {
    for (std::uint64_t i = 0; i < window.cols(); ++i)
      decode_run64(numbers + i, 1, wide_run(row, chosen_run(i), scratch), out + i);
    return;
  }
  std::uint64_t end = 0;
  for (std::uint64_t begin = 0, run = 0; begin < window.cols(); begin = end, ++run) {
    const std::uint64_t run_end = (window.col_begin / run_cols_ + run + 1) * run_cols_;
    end = std::min(window.col_end, run_end) - window.col_begin;
    decode_run64(numbers + begin, end - begin, wide_run(row, run, scratch), out + begin);
  }
}

void Decoder::decode_row_reference(std::uint64_t row, const Window& window, float* out,
                                   const DecodeScratch& scratch) const {
  for (std::uint64_t i = 0; i < window.cols(); ++i) {
    const std::uint64_t run = scheme_.order == Order::group_index
                                  ? chosen_run(i)
                                  : (window.col_begin + i) / run_cols_ - window.col_begin / run_cols_;
    ElementParts parts = parts_of(row, run, scratch);
    parts.code = scratch.numbers[i];
    out[i] = value_(scheme_, parts);
  }
}

}  // namespace ingot::tensor

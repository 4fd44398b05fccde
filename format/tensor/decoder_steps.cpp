// rounded_steps: the value in binary32 from left to right, rounded after every operation. Implements
// spec/schemes/stepped.md. The loops of bulk.h do (T(code) - zero) * scale_0; what follows is one loop for each
// operation over values that are still in the cache.
#include "format/tensor/decoder.h"

namespace ingot::tensor {

/// The loops subtract zero + sign_offset() from codes that are too large by sign_offset(): that is T(code) - zero,
/// rounded once, only where the sum of the two is exact. Orders without runs of columns are left to the reference.
bool Decoder::steps_fit_loops() const noexcept {
  if (code_form_ == CodeForm::wide || scheme_.order == Order::group_index) return false;
  if (scheme_.offset.kind != OffsetKind::zero_points || sign_offset() == 0) return true;
  const double in_codes = sign_offset();
  return exact_in_binary32(range_of_sum(levels_[scale_count_].range, range_of({&in_codes, 1})));
}

void Decoder::decode_steps(const Window& window, Target target, DecodeScratch& scratch) const {
  const std::uint64_t cols = window.cols(), runs = run_count(window);
  scratch.row.resize(cols);
  scratch.runs.resize(runs);
  for (std::uint64_t row = 0; row < window.rows(); ++row) {
    for (std::uint64_t run = 0; run < runs; ++run) {
      const double zero = scheme_.offset.kind == OffsetKind::zero_points ? level_number(scale_count_, row, run, scratch)
                                                                         : scheme_.offset.zero;
      scratch.runs[run] = {static_cast<float>(level_number(0, row, run, scratch)),
                           static_cast<float>(zero) + sign_offset(), 0};
    }
    float* values = target.data + row * target.stride;
    float* stored = permutation_.empty() ? values : scratch.row.data();
    decode_row32(window, scratch.codes.data() + row * cols, scratch.runs.data(), stored, cols);
    std::uint64_t end = 0;
    for (std::uint64_t begin = 0, run = 0; begin < cols; begin = end, ++run) {
      const std::uint64_t run_end = (window.col_begin / run_cols_ + run + 1) * run_cols_;
      end = std::min(window.col_end, run_end) - window.col_begin;
      finish_steps(row, run, stored + begin, end - begin, scratch);
    }
    for (std::size_t i = 0; i < permutation_.size(); ++i) values[permutation_[i]] = stored[i];
  }
}

/// The operations after the first product, for the columns of one run.
void Decoder::finish_steps(std::uint64_t row, std::uint64_t run, float* values, std::uint64_t count,
                           const DecodeScratch& scratch) const {
  const auto number = [&](std::size_t level) { return static_cast<float>(level_number(level, row, run, scratch)); };
  for (std::size_t level = 1; level < scale_count_; ++level) {
    const float scale = number(level);
    for (std::uint64_t i = 0; i < count; ++i) values[i] *= scale;
  }
  if (scheme_.offset.kind != OffsetKind::bias && scheme_.offset.kind != OffsetKind::minimum) return;
  float offset = number(scale_count_);
  for (std::size_t level = scale_count_ + 1; level < levels_.size(); ++level) offset *= number(level);
  const float addend = scheme_.offset.kind == OffsetKind::bias ? offset : -offset;
  for (std::uint64_t i = 0; i < count; ++i) values[i] += addend;
}

}  // namespace ingot::tensor

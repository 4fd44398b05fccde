#include "runtime/rounded_inputs.h"

#include "format/base/parallel.h"

namespace ingot::runtime {

void RoundedInputs::add(const kernels::KernelTable& kernels, const float* x, std::uint64_t x_stride,
                        std::uint64_t vectors, std::uint64_t cols, kernels::IntegerLayout layout) {
  if (find(x, layout) != nullptr) return;
  if (used_ == entries_.size()) entries_.emplace_back();
  Entry& entry = entries_[used_++];
  const std::uint64_t segments = cols / layout.segment;
  entry.x = x;
  entry.layout = layout;
  if (entry.codes.size() < vectors * cols) entry.codes.resize(vectors * cols);
  if (entry.scales.size() < vectors * segments) entry.scales.resize(vectors * segments);
  if (entry.sums.size() < vectors * segments) entry.sums.resize(vectors * segments);
  if (entry.views.size() < vectors) entry.views.resize(vectors);
  const auto round = [&](std::uint64_t v) {
    std::int8_t* const codes = entry.codes.data() + v * cols;
    float* const scales = entry.scales.data() + v * segments;
    float* const sums = entry.sums.data() + v * segments;
    kernels.integer.round_input(x + v * x_stride, cols, layout, codes, scales, sums);
    entry.views[v] = {codes, scales, sums};
  };
  if (vectors == 1) return round(0);  // shorter than waking the others
  parallel_for(vectors, 1, [&round](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t v = begin; v < end; ++v) round(v);
  });
}

const kernels::IntegerInput* RoundedInputs::find(const float* x, kernels::IntegerLayout layout) const noexcept {
  for (std::size_t i = 0; i < used_; ++i) {
    if (entries_[i].x == x && entries_[i].layout == layout) return entries_[i].views.data();
  }
  return nullptr;
}

}  // namespace ingot::runtime

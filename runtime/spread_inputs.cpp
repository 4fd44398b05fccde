#include "runtime/spread_inputs.h"

#include <algorithm>

#include "format/base/parallel.h"

namespace ingot::runtime {
namespace {

constexpr std::uint64_t kConflict = 4096 / sizeof(float), kBetween = 16;

}  // namespace

void SpreadInputs::add(const float* x, std::uint64_t stride, std::uint64_t vectors, std::uint64_t cols) {
  if (stride % kConflict != 0 || find(x, stride, cols).x != x) return;
  if (used_ == entries_.size()) entries_.emplace_back();
  Entry& entry = entries_[used_++];
  entry.x = x;
  entry.source_stride = stride;
  entry.cols = cols;
  entry.stride = cols + kBetween;
  if (entry.copy.size() < vectors * entry.stride) entry.copy.resize(vectors * entry.stride);
  parallel_for(vectors, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t v = begin; v < end; ++v) std::copy_n(x + v * stride, cols, entry.copy.data() + v * entry.stride);
  });
}

SpreadInputs::View SpreadInputs::find(const float* x, std::uint64_t stride, std::uint64_t cols) const noexcept {
  for (std::size_t i = 0; i < used_; ++i) {
    const Entry& entry = entries_[i];
    if (entry.x == x && entry.source_stride == stride && entry.cols == cols) return {entry.copy.data(), entry.stride};
  }
  return {x, stride};
}

}  // namespace ingot::runtime

#include "runtime/packed_inputs.h"

#include "format/base/parallel.h"

namespace ingot::runtime {
namespace {

constexpr std::uint64_t kColsPerTurn = 256;

}  // namespace

void PackedInputs::add(const kernels::KernelTable& kernels, const float* x, std::uint64_t stride, std::uint64_t vectors,
                       std::uint64_t cols) {
  if (find(x, stride, cols) != nullptr) return;
  if (used_ == entries_.size()) entries_.emplace_back();
  Entry& entry = entries_[used_++];
  entry.x = x;
  entry.stride = stride;
  entry.cols = cols;
  if (entry.packed.size() < vectors * cols) entry.packed.resize(vectors * cols);
  parallel_for(cols, kColsPerTurn, [&](std::uint64_t begin, std::uint64_t end, int) {
    kernels.floats.pack(x, stride, vectors, cols, begin, end, entry.packed.data());
  });
}

const float* PackedInputs::find(const float* x, std::uint64_t stride, std::uint64_t cols) const noexcept {
  for (std::size_t i = 0; i < used_; ++i) {
    const Entry& entry = entries_[i];
    if (entry.x == x && entry.stride == stride && entry.cols == cols) return entry.packed.data();
  }
  return nullptr;
}

}  // namespace ingot::runtime

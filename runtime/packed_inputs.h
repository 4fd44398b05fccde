// Input vectors in the order in which products of floating-point weights with several of them read them
// (FloatKernels::pack): copied once for all weights that read them.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernel_table.h"

namespace ingot::runtime {

class PackedInputs {
 public:
  /// Forgets all inputs; their memory is used again.
  void clear() noexcept { used_ = 0; }
  /// Packs x (vectors, cols) unless it was already. In parallel. Allocates only when it has not seen as much before.
  void add(const kernels::KernelTable& kernels, const float* x, std::uint64_t stride, std::uint64_t vectors,
           std::uint64_t cols);
  /// What was added with the same arguments; null: nothing.
  [[nodiscard]] const float* find(const float* x, std::uint64_t stride, std::uint64_t cols) const noexcept;

 private:
  struct Entry {
    const float* x = nullptr;
    std::uint64_t stride = 0, cols = 0;
    std::vector<float> packed;
  };
  std::vector<Entry> entries_;
  std::size_t used_ = 0;
};

}  // namespace ingot::runtime

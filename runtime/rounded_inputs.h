// Input vectors of products, rounded to int8 once for all weights that read them.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernel_table.h"

namespace ingot::runtime {

class RoundedInputs {
 public:
  /// Forgets all inputs; their memory is used again.
  void clear() noexcept { used_ = 0; }
  /// Rounds x (vectors, cols) unless it was already, for this layout. In parallel. Allocates only when it has not seen
  /// as much before.
  void add(const kernels::KernelTable& kernels, const float* x, std::uint64_t x_stride, std::uint64_t vectors,
           std::uint64_t cols, kernels::IntegerLayout layout);
  /// What add() was called with: (vectors) entries. Null otherwise.
  [[nodiscard]] const kernels::IntegerInput* find(const float* x, kernels::IntegerLayout layout) const noexcept;

 private:
  struct Entry {
    const float* x = nullptr;
    kernels::IntegerLayout layout{};
    std::vector<std::int8_t> codes;
    std::vector<float> scales, sums;
    std::vector<kernels::IntegerInput> views;
  };
  std::vector<Entry> entries_;
  std::size_t used_ = 0;
};

}  // namespace ingot::runtime

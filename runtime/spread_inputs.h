// Input vectors that lie a multiple of 4 KiB apart share the same few lines of the caches. They are copied once for all
// weights that read them, with some numbers between them.
#pragma once

#include <cstdint>
#include <vector>

namespace ingot::runtime {

class SpreadInputs {
 public:
  struct View {
    const float* x;
    std::uint64_t stride;  // numbers from a vector to the next
  };

  /// Forgets all inputs; their memory is used again.
  void clear() noexcept { used_ = 0; }
  /// Copies x (vectors, cols) unless it was already or lies well. In parallel. Allocates only when it has not seen as
  /// much before.
  void add(const float* x, std::uint64_t stride, std::uint64_t vectors, std::uint64_t cols);
  /// The copy of what was added with the same arguments, or the inputs themselves where there is none.
  [[nodiscard]] View find(const float* x, std::uint64_t stride, std::uint64_t cols) const noexcept;

 private:
  struct Entry {
    const float* x = nullptr;
    std::uint64_t source_stride = 0, cols = 0, stride = 0;
    std::vector<float> copy;
  };
  std::vector<Entry> entries_;
  std::size_t used_ = 0;
};

}  // namespace ingot::runtime

// Memory for what is large and stays: copies of weights, caches. It comes from the system in pages as large as it has
// them, because reading gigabytes in small pages costs more time for looking addresses up than the memory asks for
// (1.1B tokens from a copy of the weights, 2 threads: Q4_0 34 -> 40 tok/s).
// Goals: no filling with zeros before what is written anyway; given back to the system whole.
// Non-goals: growing, many small blocks (each is a mapping of its own).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace ingot {

/// Move-only. All bytes are 0 at first and take no memory before they are touched, 2 MiB at a time where a block has as
/// much. Aligned to a page at least, to 2 MiB from that size on.
class LargeBlock {
 public:
  LargeBlock() noexcept = default;
  /// Throws std::bad_alloc when the system does not grant it.
  explicit LargeBlock(std::uint64_t bytes);
  LargeBlock(LargeBlock&& other) noexcept;
  LargeBlock& operator=(LargeBlock&& other) noexcept;
  ~LargeBlock();

  [[nodiscard]] std::span<std::byte> bytes() noexcept { return bytes_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  /// The bytes as numbers from the first one on; what does not fill a number is left out.
  template <class Number>
  [[nodiscard]] std::span<Number> as() noexcept {
    static_assert(std::is_arithmetic_v<Number>);
    return {reinterpret_cast<Number*>(bytes_.data()), bytes_.size() / sizeof(Number)};
  }
  template <class Number>
  [[nodiscard]] std::span<const Number> as() const noexcept {
    static_assert(std::is_arithmetic_v<Number>);
    return {reinterpret_cast<const Number*>(bytes_.data()), bytes_.size() / sizeof(Number)};
  }

 private:
  std::span<std::byte> bytes_;
};

}  // namespace ingot

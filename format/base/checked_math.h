// Overflow-checked size arithmetic. Every size that comes from a file goes through these.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "format/base/error.h"

namespace ingot {

/// a + b; throws limit_exceeded naming `what` when it does not fit in 64 bits.
[[nodiscard]] std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, std::string_view what);
/// a * b; throws limit_exceeded naming `what` when it does not fit in 64 bits.
[[nodiscard]] std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, std::string_view what);
/// Product of all extents; an empty shape is one element; a zero extent gives zero unless an earlier partial product
/// overflows.
[[nodiscard]] std::uint64_t checked_product(std::span<const std::uint64_t> extents, std::string_view what);

[[nodiscard]] constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) noexcept {
  return a / b + (a % b != 0);
}
/// Smallest multiple of `alignment` >= value. The caller guarantees that it fits (values are below 2^53).
[[nodiscard]] constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
  return ceil_div(value, alignment) * alignment;
}

}  // namespace ingot

// The code books of ggml's IQ1, IQ2 and IQ3 types, one row each. Implements spec/schemes/grid.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ingot::tensor {

/// A code book of `entries` entries of `width` small integers. It is a set of numbers in base values.size(), kept as a
/// bitmap: the i-th set bit p is entry i, and digit k of p (element 0 lowest) selects the value of element k.
struct Grid {
  std::string_view name;
  std::uint32_t width;     // elements that one index stands for
  std::uint8_t sign_bits;  // of an element of plane `signs`; 7: the eighth is their parity; 0: there is no such plane
  std::uint32_t entries;
  std::span<const std::int8_t> values;
  std::string_view bitmap_hex;  // byte p/8, bit p%8
};

/// Null when there is no such grid.
[[nodiscard]] const Grid* find_grid(std::string_view name) noexcept;
[[nodiscard]] std::span<const Grid> grids() noexcept;

/// entries * width numbers, entry by entry.
[[nodiscard]] std::vector<std::int8_t> expand(const Grid& grid);

}  // namespace ingot::tensor

// Windows of rows of codes between one byte per code and the canonical packing. Used by geometry.h's pack_unit and by
// the decoder. Implements spec/planes.md sections 3 and 4.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/tensor/geometry.h"

namespace ingot::tensor {

/// A window may start at any multiple of this: every slice then starts at a whole word, every bit stream at a whole
/// byte.
inline constexpr std::uint64_t kWindowCols = 32;

/// Codes of columns [col_begin, col_end) of one row of unit `planes`; `row` is the row inside the unit. col_begin is a
/// multiple of kWindowCols.
void unpack_row(Packing packing, std::uint8_t bits, const std::byte* const planes[3], std::uint64_t row,
                std::uint64_t col_begin, std::uint64_t col_end, std::uint8_t* codes) noexcept;

/// The same for all 16 rows of a tile, which begin `stride` apart in `codes`.
void unpack_tile(std::uint8_t bits, const std::byte* const planes[3], std::uint64_t col_begin, std::uint64_t col_end,
                 std::uint8_t* codes, std::uint64_t stride) noexcept;

/// `count` dense elements of `bits` <= 8 bits starting at element `first`, one byte each.
void unpack_dense(std::uint8_t bits, const std::byte* stream, std::uint64_t first, std::uint64_t count,
                  std::uint8_t* elements) noexcept;

/// Element `index` of a dense stream of at most 16 bits each. Reads only bytes that hold bits of it.
[[nodiscard]] inline std::uint32_t dense_element(std::uint8_t bits, const std::byte* stream,
                                                 std::uint64_t index) noexcept {
  const std::byte* at = stream + index * bits / 8;
  const auto shift = static_cast<unsigned>(index * bits % 8);
  std::uint32_t value = std::to_integer<std::uint32_t>(at[0]);
  if (shift + bits > 8) value |= std::to_integer<std::uint32_t>(at[1]) << 8;
  if (shift + bits > 16) value |= std::to_integer<std::uint32_t>(at[2]) << 16;
  return value >> shift & ((1u << bits) - 1);
}

}  // namespace ingot::tensor

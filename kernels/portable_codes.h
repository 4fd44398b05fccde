// What the portable kernels share. For files compiled without flags of an instruction set only: inline functions of
// others could be linked in their place.
#pragma once

#include <bit>
#include <cstdint>

namespace ingot::kernels {

inline constexpr std::uint64_t kTileOutputs = 16;

/// The codes of one tile (spec/planes.md section 4).
struct CodePlanes {
  const std::uint32_t* const* slices;
  std::uint32_t bits;
  bool is_signed;
};

inline float widen_bf16(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline float widen_f16(std::uint16_t bits) noexcept {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31;
  const std::uint32_t fraction = bits & 0x3FFu;
  if (exponent == 31) {  // infinity, or NaN made quiet with its payload kept
    const std::uint32_t quiet = fraction == 0 ? 0 : 0x400000u;
    return std::bit_cast<float>(sign | 0x7F800000u | quiet | fraction << 13);
  }
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24, exact
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

/// A power of two; 255 is NaN.
inline float widen_e8m0(std::uint8_t bits) noexcept {
  if (bits == 255) return std::bit_cast<float>(0x7FC00000u);
  return std::bit_cast<float>(bits == 0 ? 0x00400000u : static_cast<std::uint32_t>(bits) << 23);
}

/// Four bits of exponent, three of fraction, no infinity; 127 and 255 are NaN.
inline float widen_e4m3(std::uint8_t bits) noexcept {
  const std::uint32_t magnitude = bits & 0x7Fu, sign = (bits & 0x80u) << 24;
  if (magnitude == 0x7F) return std::bit_cast<float>(0x7FC00000u | sign);
  const float value =
      magnitude < 8 ? static_cast<float>(magnitude) * 0x1p-9f : std::bit_cast<float>((magnitude << 20) + (120u << 23));
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
}

// The slices of a code, low end first.
struct Widths {
  std::uint32_t count;
  std::uint32_t bits[3];
};
inline constexpr Widths kWidths[9] = {{0, {}},        {1, {1, 0, 0}}, {1, {2, 0, 0}}, {2, {2, 1, 0}}, {1, {4, 0, 0}},
                                      {2, {4, 1, 0}}, {2, {4, 2, 0}}, {3, {4, 2, 1}}, {1, {8, 0, 0}}};

// Field of input `col` in a higher slice of p bits: the run of 32/p inputs is cut in runs of 4F (F = inputs per byte of
// the low slice), byte b of the word holds inputs F*b .. F*b+F-1 of each.
inline std::uint32_t high_shift(std::uint32_t low_bits, std::uint32_t p, std::uint32_t input) noexcept {
  const std::uint32_t per_byte = 8 / low_bits;
  const std::uint32_t run = input / (4 * per_byte), within = input % (4 * per_byte);
  return 8 * (within / per_byte) + p * (run * per_byte + within % per_byte);
}

/// The code of an output and an input.
inline std::int32_t code_at(const CodePlanes& tile, std::uint64_t row, std::uint64_t col) noexcept {
  const Widths& widths = kWidths[tile.bits];
  std::uint32_t code = 0, position = 0;
  for (std::uint32_t s = 0; s < widths.count; ++s) {
    const std::uint32_t p = widths.bits[s], per_word = 32 / p;
    const std::uint32_t input = static_cast<std::uint32_t>(col % per_word);
    const std::uint32_t shift = s == 0 ? p * input : high_shift(widths.bits[0], p, input);
    const std::uint32_t word = tile.slices[s][col / per_word * kTileOutputs + row];
    code |= (word >> shift & ((1u << p) - 1)) << position;
    position += p;
  }
  const std::uint32_t sign = tile.is_signed ? 1u << (tile.bits - 1) : 0;
  return static_cast<std::int32_t>(code ^ sign) - static_cast<std::int32_t>(sign);
}

}  // namespace ingot::kernels

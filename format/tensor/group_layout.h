// The canonical packing as plain constants and a POD view: the only format header that kernels may see. Implements
// spec/planes.md section 4.
//
//   tile   = 16 consecutive outputs (rows); the last one is padded with zero rows
//   line k = 64 bytes: word k of each of the 16 outputs; a word is 32 bits of one output's dense code stream, lowest
//   bits first
//
//   slices of 5-, 6-, 7- and 3-bit codes: the low slice (4, 4, 4, 2 bits) is packed as above; the remaining bits live
//   in a 2-bit and/or
//   1-bit plane whose words follow the byte order in which `(word >> s) & mask` yields the low slice (spec/planes.md
//   section 4.3)
#pragma once

#include <cstdint>

namespace ingot::tensor {

inline constexpr std::uint32_t kLineBytes = 64;
inline constexpr std::uint32_t kTileOutputs = 16;

/// Input position inside a run of 32/slice_bits... of field `field` in byte `byte` of a high-slice word, where the low
/// slice has `low_bits` bits: register = field, f = 8/low_bits fields per low byte; input = 4*f*(register/f) + f*byte +
/// register%f.
[[nodiscard]] constexpr std::uint32_t high_slice_input(std::uint32_t low_bits, std::uint32_t field,
                                                       std::uint32_t byte) noexcept {
  const std::uint32_t fields = 8 / low_bits;
  return 4 * fields * (field / fields) + fields * byte + field % fields;
}

}  // namespace ingot::tensor

// Scalar float conversions on bit patterns, in an unnamed namespace so that every instruction-set build has its own
// copy. Included only by float_codes.cpp and bulk_loops.h. Implements spec/schemes/README.md section 3 (f16, bf16).
#pragma once

#include <cstdint>

namespace ingot::tensor {
namespace {

inline std::uint32_t bits_of(float value) noexcept {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float from_bits(std::uint32_t bits) noexcept {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// Branch-free, so that compilers vectorize it. The exponent is moved by a multiplication for subnormals only, whose
// product is exact.
inline std::uint32_t f16_bits_to_f32_bits(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7FFFu;
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);
  const std::uint32_t special =
      0x7F800000u | magnitude << 13 | (magnitude > 0x7C00u ? 0x00400000u : 0u);  // NaN quieted
  const std::uint32_t subnormal = bits_of(static_cast<float>(magnitude) * 0x1p-24f);
  const std::uint32_t finite = magnitude < 0x0400u ? subnormal : normal;
  return sign | (magnitude >= 0x7C00u ? special : finite);
}

inline std::uint16_t f32_bits_to_f16_bits(std::uint32_t bits) noexcept {
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  // Normal results: add half an ulp (minus one when the kept part is even) and cut; a carry runs into the exponent and
  // up to infinity.
  const std::uint32_t normal = (magnitude - (112u << 23) + 0x0FFFu + (magnitude >> 13 & 1u)) >> 13;
  // Subnormal results: adding 0.5 puts the lowest kept bit at the end of the binary32 mantissa, and the addition
  // rounds.
  const std::uint32_t subnormal = bits_of(from_bits(magnitude) + 0.5f) - 0x3F000000u;
  std::uint32_t result = magnitude < 0x38800000u ? subnormal : normal;
  result = magnitude >= 0x477FF000u ? 0x7C00u : result;  // 65520 and above
  result = magnitude > 0x7F800000u ? 0x7E00u : result;
  return static_cast<std::uint16_t>(sign | result);
}

inline std::uint16_t f32_bits_to_bf16_bits(std::uint32_t bits) noexcept {
  const std::uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  const std::uint32_t quiet_nan = bits >> 16 | 0x40u;
  return static_cast<std::uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet_nan : rounded);
}

inline std::uint32_t canonical_bits(std::uint32_t bits) noexcept {
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  const std::uint32_t without_negative_zero = magnitude == 0 ? 0u : bits;
  return magnitude > 0x7F800000u ? 0x7FC00000u : without_negative_zero;
}

}  // namespace
}  // namespace ingot::tensor

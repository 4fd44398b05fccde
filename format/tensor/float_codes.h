// Exact conversions between small float formats and binary32 (and correctly rounded ones the other way). Implements
// spec/schemes/float.md. Every function is pure. *_to_f32 is exact for every input; f32_to_* rounds to nearest even
// (overflow as the format's owner does it).
#pragma once

#include <cstdint>

namespace ingot::tensor {

[[nodiscard]] float f16_to_f32(std::uint16_t bits) noexcept;
[[nodiscard]] std::uint16_t f32_to_f16(float value) noexcept;  // overflow -> infinity, NaN -> quiet NaN with sign kept
[[nodiscard]] float bf16_to_f32(std::uint16_t bits) noexcept;
[[nodiscard]] std::uint16_t f32_to_bf16(float value) noexcept;  // NaN stays NaN (quieted)
[[nodiscard]] float e4m3_to_f32(std::uint8_t bits) noexcept;
[[nodiscard]] float e5m2_to_f32(std::uint8_t bits) noexcept;
[[nodiscard]] float e4m3fnuz_to_f32(std::uint8_t bits) noexcept;
[[nodiscard]] float e5m2fnuz_to_f32(std::uint8_t bits) noexcept;
[[nodiscard]] float e3m2_to_f32(std::uint8_t bits) noexcept;
[[nodiscard]] float e2m3_to_f32(std::uint8_t bits) noexcept;
[[nodiscard]] float e2m1_to_f32(std::uint8_t bits) noexcept;
[[nodiscard]] float e8m0_to_f32(
    std::uint8_t bits) noexcept;  // 2^(bits-127), 255 -> NaN, 0 -> 2^-127 (a binary32 subnormal)

/// Bulk forms for the hot conversions; dst and src do not overlap.
void f16_to_f32(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept;
void bf16_to_f32(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept;
void f32_to_f16(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept;
void f32_to_bf16(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept;

}  // namespace ingot::tensor

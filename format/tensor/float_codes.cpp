// Small floats <-> binary32. Implements spec/schemes/README.md section 3.
#include "format/tensor/float_codes.h"

#include <cmath>
#include <limits>

#include "format/tensor/bulk.h"
#include "format/tensor/float_bits.h"

namespace ingot::tensor {
namespace {

/// sign | exponent | mantissa without any special code: mantissa_bits low bits, the sign above exponent_bits.
float small_float(std::uint32_t code, int exponent_bits, int mantissa_bits, int bias) noexcept {
  const std::uint32_t mantissa = code & ((1u << mantissa_bits) - 1);
  const int exponent = static_cast<int>(code >> mantissa_bits & ((1u << exponent_bits) - 1));
  const bool negative = (code >> (exponent_bits + mantissa_bits) & 1u) != 0;
  const std::uint32_t significand = exponent == 0 ? mantissa : mantissa | 1u << mantissa_bits;
  const float magnitude =
      std::ldexp(static_cast<float>(significand), (exponent == 0 ? 1 : exponent) - bias - mantissa_bits);
  return negative ? -magnitude : magnitude;
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

float f16_to_f32(std::uint16_t bits) noexcept { return from_bits(f16_bits_to_f32_bits(bits)); }
std::uint16_t f32_to_f16(float value) noexcept { return f32_bits_to_f16_bits(bits_of(value)); }
float bf16_to_f32(std::uint16_t bits) noexcept { return from_bits(static_cast<std::uint32_t>(bits) << 16); }
std::uint16_t f32_to_bf16(float value) noexcept { return f32_bits_to_bf16_bits(bits_of(value)); }

float e4m3_to_f32(std::uint8_t bits) noexcept {
  if ((bits & 0x7F) == 0x7F) return (bits & 0x80) != 0 ? -kNaN : kNaN;
  return small_float(bits, 4, 3, 7);
}

float e5m2_to_f32(std::uint8_t bits) noexcept {
  if ((bits & 0x7F) > 0x7C) return (bits & 0x80) != 0 ? -kNaN : kNaN;
  if ((bits & 0x7F) == 0x7C) return (bits & 0x80) != 0 ? -kInfinity : kInfinity;
  return small_float(bits, 5, 2, 15);
}

float e4m3fnuz_to_f32(std::uint8_t bits) noexcept { return bits == 0x80 ? kNaN : small_float(bits, 4, 3, 8); }
float e5m2fnuz_to_f32(std::uint8_t bits) noexcept { return bits == 0x80 ? kNaN : small_float(bits, 5, 2, 16); }
float e3m2_to_f32(std::uint8_t bits) noexcept { return small_float(bits, 3, 2, 3); }
float e2m3_to_f32(std::uint8_t bits) noexcept { return small_float(bits, 2, 3, 1); }
float e2m1_to_f32(std::uint8_t bits) noexcept { return small_float(bits, 2, 1, 1); }
float e8m0_to_f32(std::uint8_t bits) noexcept { return bits == 255 ? kNaN : std::ldexp(1.0f, bits - 127); }

void f16_to_f32(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept {
  bulk().f16_to_f32(src, dst, count);
}
void bf16_to_f32(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept {
  bulk().bf16_to_f32(src, dst, count);
}
void f32_to_f16(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept {
  bulk().f32_to_f16(src, dst, count);
}
void f32_to_bf16(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept {
  bulk().f32_to_bf16(src, dst, count);
}

}  // namespace ingot::tensor

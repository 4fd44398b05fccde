// Integers, FP8 and MXFP4 by tensor, row, group or block as compressed-tensors makes them; casts to 8-bit floats as
// torch makes them. Implements spec/quantizers.md sections 5 to 7.
#include <algorithm>
#include <array>
#include <bit>

#include "converters/requantize/blocks.h"
#include "format/tensor/element_numbers.h"

namespace ingot::convert::quantizers {
namespace {

using tensor::DType;
using tensor::OffsetKind;
using tensor::Scheme;

/// What takes the place of a scale of zero: the epsilon of the type.
float least_scale(DType type) noexcept {
  return type == DType::f16 ? 0x1p-10f : type == DType::bf16 ? 0x1p-7f : 0x1p-23f;
}

float half_range(const Scheme& scheme) noexcept {
  return static_cast<float>(1 << (tensor::bits(scheme.codes.type) - 1));
}
/// The code that stands for the signed code 0.
float middle(const Scheme& scheme) noexcept {
  return tensor::info(scheme.codes.type).is_signed ? 0 : half_range(scheme);
}

bool is_symmetric(const Scheme& scheme) noexcept {
  if (!is_integer(scheme) || !has_one_float_scale(scheme) || tensor::bits(scheme.codes.type) > 8 ||
      tensor::bits(scheme.codes.type) < 2)
    return false;
  const bool none = scheme.offset.kind == OffsetKind::none, zero = scheme.offset.kind == OffsetKind::zero;
  return (none || zero) && static_cast<float>(scheme.offset.zero) == middle(scheme);
}
BlockNumbers symmetric(const Scheme& scheme, const Extremes& extremes, bool) noexcept {
  const DType type = scheme.scales[0].type;
  float scale = rounded(type, std::fabs(extremes.farthest) / (half_range(scheme) - 0.5f));
  if (scale == 0) scale = least_scale(type);
  return {scale, 0, scale, 0};
}

bool is_asymmetric(const Scheme& scheme) noexcept {
  return is_integer(scheme) && has_one_float_scale(scheme) && tensor::bits(scheme.codes.type) <= 8 &&
         tensor::bits(scheme.codes.type) >= 2 && scheme.offset.kind == OffsetKind::zero_points &&
         !tensor::info(scheme.offset.levels[0].type).is_float &&
         scheme.offset.levels[0].block == scheme.scales[0].block && !scheme.rounded_steps &&
         tensor::bits(scheme.offset.levels[0].type) >= tensor::bits(scheme.codes.type) &&
         (tensor::info(scheme.codes.type).is_signed || !tensor::info(scheme.offset.levels[0].type).is_signed ||
          tensor::bits(scheme.offset.levels[0].type) > tensor::bits(scheme.codes.type)) &&
         (!tensor::info(scheme.codes.type).is_signed || tensor::info(scheme.offset.levels[0].type).is_signed) &&
         scheme.offset.levels[0].multiply == 1 && scheme.offset.levels[0].add == 0;
}
BlockNumbers asymmetric(const Scheme& scheme, const Extremes& extremes, bool) noexcept {
  const DType type = scheme.scales[0].type;
  const float half = half_range(scheme);
  const float least = std::min(extremes.least, 0.0f), greatest = std::max(extremes.greatest, 0.0f);
  float scale = rounded(type, rounded(type, greatest - least) / (2 * half - 1));
  const float steps = rounded(type, least / scale);
  const float exact = std::isnan(steps) ? 0 : clamped(rounded(type, -half - steps), -half, half - 1);
  const float zero = std::nearbyint(exact);
  if (scale == 0) scale = least_scale(type);
  return {scale, zero + middle(scheme), scale, zero};
}

/// Calls work(first, values over the scale of the block, rounded to `type`) for pieces of the values.
template <class Work>
void each_piece_of_steps(DType type, const BlockNumbers& block, const float* values, std::uint64_t count,
                         Work work) noexcept {
  std::array<float, kPieceElems> steps;
  for (std::uint64_t at = 0; at < count; at += kPieceElems) {
    const std::span<float> piece = std::span(steps).first(std::min(kPieceElems, count - at));
    for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = values[at + i] / block.work_scale;
    round_all(type, piece);
    work(at, piece);
  }
}

void codes_integer(const Scheme& scheme, const BlockNumbers& block, const float* values, std::uint64_t count,
                   std::uint8_t* codes) noexcept {
  const DType type = scheme.scales[0].type;
  const float half = half_range(scheme);
  const int to_code = static_cast<int>(middle(scheme));
  each_piece_of_steps(type, block, values, count, [&](std::uint64_t at, std::span<float> steps) {
    for (float& step : steps) step += block.work_offset;
    round_all(type, steps);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const float code = nearest_integer(clamped(steps[i], -half, half - 1));
      codes[at + i] = static_cast<std::uint8_t>(static_cast<int>(code) + to_code);
    }
  });
}

// --- Small floats ----------------------------------------------------------------------------------------------------

/// To the nearest, ties to even; from kBeyond on it is kBeyond, as a cast of torch.
template <int kExponentBits, int kMantissaBits, std::uint32_t kBeyond>
std::uint8_t to_small_float(float value) noexcept {
  constexpr std::uint32_t kRebase = 128 - (1u << (kExponentBits - 1));  // of exponents
  constexpr int kDropped = 23 - kMantissaBits;
  constexpr std::uint32_t kLeastNormal = (kRebase + 1) << 23;
  constexpr std::uint32_t kRounder = kLeastNormal + (kDropped << 23);  // its last place is that of subnormal codes
  constexpr std::uint32_t kInfinity = 0x7F800000, kNaN = 0x7F;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  const std::uint32_t to_even = (1u << (kDropped - 1)) - 1 + (magnitude >> kDropped & 1);
  const std::uint32_t normal = ((magnitude + to_even) >> kDropped) - (kRebase << kMantissaBits);
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + std::bit_cast<float>(kRounder)) - kRounder;
  const std::uint32_t finite = std::min(magnitude < kLeastNormal ? subnormal : normal, kBeyond);
  return static_cast<std::uint8_t>((bits >> 24 & 0x80) | (magnitude > kInfinity ? kNaN : finite));
}

constexpr float kGreatestE4m3 = 448;
std::uint8_t to_e5m2(float value) noexcept { return to_small_float<5, 2, 0x7C>(value); }

bool is_e4m3(const Scheme& scheme) noexcept {
  return scheme.codes.kind == tensor::CodeKind::number && scheme.codes.type == DType::e4m3;
}
bool is_fp8(const Scheme& scheme) noexcept {
  return is_e4m3(scheme) && has_one_float_scale(scheme) && scheme.offset.kind == OffsetKind::none;
}
BlockNumbers fp8(const Scheme& scheme, const Extremes& extremes, bool) noexcept {
  const DType type = scheme.scales[0].type;
  float scale = rounded(type, std::fabs(extremes.farthest) / kGreatestE4m3);
  if (scale == 0) scale = least_scale(type);
  return {scale, 0, scale, 0};
}
void codes_fp8(const Scheme& scheme, const BlockNumbers& block, const float* values, std::uint64_t count,
               std::uint8_t* codes) noexcept {
  each_piece_of_steps(scheme.scales[0].type, block, values, count, [&](std::uint64_t at, std::span<float> steps) {
    // The library adds a zero point of 0, which makes -0 positive.
    for (std::size_t i = 0; i < steps.size(); ++i)
      codes[at + i] = to_e4m3(clamped(steps[i] + 0.0f, -kGreatestE4m3, kGreatestE4m3));
  });
}

bool is_cast(const Scheme& scheme) noexcept {
  return scheme.is_plain() && (scheme.codes.type == DType::e4m3 || scheme.codes.type == DType::e5m2);
}
BlockNumbers no_numbers(const Scheme&, const Extremes&, bool) noexcept { return {}; }
void codes_cast(const Scheme& scheme, const BlockNumbers&, const float* values, std::uint64_t count,
                std::uint8_t* codes) noexcept {
  const auto convert = scheme.codes.type == DType::e4m3 ? to_e4m3 : to_e5m2;
  for (std::uint64_t i = 0; i < count; ++i) codes[i] = convert(values[i]);
}

bool is_mxfp4(const Scheme& scheme) noexcept {
  return scheme.codes.kind == tensor::CodeKind::number && scheme.codes.type == DType::e2m1 &&
         scheme.scales.size() == 1 && scheme.scales[0].type == DType::e8m0 && scheme.offset.kind == OffsetKind::none &&
         scheme.order == tensor::Order::identity && scheme.shift == 0 && !scheme.rounded_scale;
}
/// The power of two at or below the largest magnitude, of which a quarter of the step above was added, over 4.
BlockNumbers mxfp4(const Scheme&, const Extremes& extremes, bool) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(std::fabs(extremes.farthest)) + (1u << 21);
  const float power = std::bit_cast<float>(bits & 0xFF800000u);
  const int exponent = power == 0 ? -127 : std::clamp(std::ilogb(power) - 2, -127, 127);
  const float scale = std::ldexp(1.0f, exponent);
  return {scale, 0, scale, 0};
}
void codes_mxfp4(const Scheme&, const BlockNumbers& block, const float* values, std::uint64_t count,
                 std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) codes[i] = to_e2m1(values[i] / block.work_scale);
}

constexpr Quantizer kRows[] = {{is_symmetric, symmetric, codes_integer, true},
                               {is_asymmetric, asymmetric, codes_integer, true},
                               {is_fp8, fp8, codes_fp8, true},
                               {is_cast, no_numbers, codes_cast, false},
                               {is_mxfp4, mxfp4, codes_mxfp4, false}};

}  // namespace

std::uint8_t to_e4m3(float value) noexcept { return to_small_float<4, 3, 0x7E>(value); }

std::uint8_t to_e2m1(float value) noexcept {
  const float magnitude = std::fabs(clamped(value, -6, 6));
  const int code = (magnitude > 0.25f) + (magnitude >= 0.75f) + (magnitude > 1.25f) + (magnitude >= 1.75f) +
                   (magnitude > 2.5f) + (magnitude >= 3.5f) + (magnitude > 5.0f);
  return static_cast<std::uint8_t>(value < 0 ? code | 8 : code);
}

const std::span<const Quantizer> kCompressedTensorsQuantizers = kRows;

}  // namespace ingot::convert::quantizers

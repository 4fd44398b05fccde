// mxfp4, mxfp8 and nvfp4 groups as MLX makes them on the CPU. Implements spec/quantizers.md section 8.
#include <algorithm>
#include <array>

#include "converters/requantize/blocks.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert::quantizers {
namespace {

using tensor::DType;
using tensor::OffsetKind;
using tensor::Scheme;

constexpr std::uint64_t kGroup = 32;  // of mxfp4 and mxfp8
constexpr float kGreatestE2m1 = 6, kGreatestE4m3 = 448;
constexpr std::array<float, 8> kE2m1 = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

bool has_floats(const Scheme& scheme, DType codes, DType scales, std::uint32_t group) noexcept {
  return scheme.codes.kind == tensor::CodeKind::number && scheme.codes.type == codes && scheme.scales.size() == 1 &&
         scheme.scales[0].type == scales && scheme.scales[0].block == tensor::Block{1, group} &&
         scheme.offset.kind == OffsetKind::none && scheme.order == tensor::Order::identity && scheme.shift == 0 &&
         !scheme.rounded_scale && scheme.flat == 0;
}
bool is_mxfp4(const Scheme& scheme) noexcept { return has_floats(scheme, DType::e2m1, DType::e8m0, kGroup); }
bool is_mxfp8(const Scheme& scheme) noexcept { return has_floats(scheme, DType::e4m3, DType::e8m0, kGroup); }
bool is_nvfp4(const Scheme& scheme) noexcept { return has_floats(scheme, DType::e2m1, DType::e4m3, 16); }

float greatest_code(const Scheme& scheme) noexcept {
  return scheme.codes.type == DType::e2m1 ? kGreatestE2m1 : kGreatestE4m3;
}

/// The least power of two that leaves no magnitude above the largest code; 1 for zeros.
template <DType T>
BlockNumbers power_of_two(const Scheme& scheme, const Extremes& extremes, bool) noexcept {
  constexpr float kLeast = -127, kGreatest = 127;
  const float ratio = rounded(T, std::fabs(extremes.farthest) / greatest_code(scheme));
  const float exponent = ratio == 0 ? 0 : std::ceil(clamped(std::log2(ratio), kLeast, kGreatest));
  const float scale = std::ldexp(1.0f, static_cast<int>(exponent));
  return {scale, 0, scale, 0};
}

template <DType T>
BlockNumbers e4m3_scale(const Scheme& scheme, const Extremes& extremes, bool) noexcept {
  const std::uint8_t code = to_e4m3(rounded(T, std::fabs(extremes.farthest) / greatest_code(scheme)));
  const float scale = tensor::e4m3_to_f32(code);
  return {scale, 0, scale, 0};
}

/// The first of the nearest in the order 0, 0.5, .. 6, -0, -0.5, .. -6, the differences rounded to D.
template <DType D>
std::uint8_t nearest_e2m1(float value) noexcept {
  std::uint8_t best = 0;
  float least = rounded(D, std::fabs(value));
  for (std::size_t i = 1; i < kE2m1.size(); ++i) {
    const float difference = rounded(D, std::fabs(std::fabs(value) - kE2m1[i]));
    if (!(difference < least)) continue;
    least = difference;
    best = static_cast<std::uint8_t>(i);
  }
  return value < 0 && best != 0 ? static_cast<std::uint8_t>(best | 8) : best;
}

/// nearest_e2m1 of every number of a 16-bit type, found once.
template <DType T>
const std::array<std::uint8_t, 65536>& nearest_of_halves() noexcept {
  static const auto codes = [] {
    std::array<std::uint8_t, 65536> result;
    for (std::uint32_t bits = 0; bits < result.size(); ++bits) {
      const auto half = static_cast<std::uint16_t>(bits);
      result[bits] = nearest_e2m1<T>(T == DType::f16 ? tensor::f16_to_f32(half) : tensor::bf16_to_f32(half));
    }
    return result;
  }();
  return codes;
}

template <DType T>
void codes_mxfp4(const Scheme&, const BlockNumbers& block, const float* values, std::uint64_t count,
                 std::uint8_t* codes) noexcept {
  if constexpr (T == DType::f32) {
    for (std::uint64_t i = 0; i < count; ++i) codes[i] = nearest_e2m1<T>(values[i] / block.work_scale);
  } else {
    const std::array<std::uint8_t, 65536>& code_of = nearest_of_halves<T>();
    std::array<float, kGroup> steps;
    std::array<std::uint16_t, kGroup> halves;
    for (std::uint64_t at = 0; at < count; at += kGroup) {
      const std::uint64_t length = std::min(kGroup, count - at);
      for (std::uint64_t i = 0; i < length; ++i) steps[i] = values[at + i] / block.work_scale;
      (T == DType::f16 ? tensor::bulk().f32_to_f16 : tensor::bulk().f32_to_bf16)(steps.data(), halves.data(), length);
      for (std::uint64_t i = 0; i < length; ++i) codes[at + i] = code_of[halves[i]];
    }
  }
}
template <DType T>
void codes_mxfp8(const Scheme&, const BlockNumbers& block, const float* values, std::uint64_t count,
                 std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) codes[i] = to_e4m3(rounded(T, values[i] / block.work_scale));
}
/// A scale of 0 makes all codes 0.
template <DType T>
void codes_nvfp4(const Scheme&, const BlockNumbers& block, const float* values, std::uint64_t count,
                 std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    const float value = block.work_scale == 0 ? 0 : rounded(T, values[i] / block.work_scale);
    codes[i] = nearest_e2m1<DType::f32>(value);
  }
}

template <DType T>
constexpr Quantizer kRows[] = {{is_mxfp4, power_of_two<T>, codes_mxfp4<T>, false},
                               {is_mxfp8, power_of_two<T>, codes_mxfp8<T>, false},
                               {is_nvfp4, e4m3_scale<T>, codes_nvfp4<T>, false}};

}  // namespace

std::span<const Quantizer> mlx_float_quantizers(DType type) noexcept {
  if (type == DType::f16) return kRows<DType::f16>;
  if (type == DType::bf16) return kRows<DType::bf16>;
  return kRows<DType::f32>;
}

}  // namespace ingot::convert::quantizers

// mxfp8 and nvfp4 as compressed-tensors makes them. Implements spec/quantizers.md section 9.
#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "converters/requantize/blocks.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert::quantizers {
namespace {

using tensor::DType;
using tensor::Level;
using tensor::OffsetKind;
using tensor::Scheme;

constexpr float kGreatestE2m1 = 6, kGreatestE4m3 = 448;

bool is_usual(const Scheme& scheme, DType codes) noexcept {
  return scheme.codes.kind == tensor::CodeKind::number && scheme.codes.type == codes &&
         scheme.offset.kind == OffsetKind::none && scheme.order == tensor::Order::identity && scheme.shift == 0 &&
         scheme.flat == 0;
}

bool is_mxfp8(const Scheme& scheme) noexcept {
  return is_usual(scheme, DType::e4m3) && scheme.scales.size() == 1 && scheme.scales[0].type == DType::e8m0 &&
         scheme.scales[0].block == tensor::Block{1, 32} && !scheme.rounded_scale;
}
/// The power of two at or below the largest magnitude, of which a quarter of the step above was added, over 256.
BlockNumbers mxfp8(const Scheme&, const Extremes& extremes, bool) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(std::fabs(extremes.farthest)) + (1u << 21);
  const float power = std::bit_cast<float>(bits & 0xFF800000u);
  const int exponent = power == 0 ? -127 : std::clamp(std::ilogb(power) - 8, -127, 127);
  const float scale = std::ldexp(1.0f, exponent);
  return {scale, 0, scale, 0};
}
/// A zero point of 0 is added, which makes -0 positive.
void codes_mxfp8(const Scheme&, const BlockNumbers& block, const float* values, std::uint64_t count,
                 std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < count; ++i)
    codes[i] = to_e4m3(clamped(values[i] / block.work_scale + 0.0f, -kGreatestE4m3, kGreatestE4m3));
}

bool is_nvfp4(const Scheme& scheme) noexcept {
  if (!is_usual(scheme, DType::e2m1) || scheme.scales.size() != 2 || !scheme.rounded_scale) return false;
  const Level &fine = scheme.scales[0], &whole = scheme.scales[1];
  return fine.type == DType::e4m3 && fine.block == tensor::Block{1, 16} && whole.type == DType::f32 &&
         whole.block == tensor::Block{0, 0} && whole.divide;
}
/// Makes the largest scale of a block 448; 1 where that is beyond binary32.
template <DType T>
float find_whole_scale(const Extremes& all) noexcept {
  const float magnitude = std::max(std::fabs(all.farthest), std::numeric_limits<float>::min());
  const float scale = rounded(T, kGreatestE4m3 * kGreatestE2m1 * rounded(T, 1 / magnitude));
  return std::isfinite(scale) ? scale : 1;
}
template <DType T>
BlockNumbers nvfp4(const Scheme&, const Extremes& extremes, bool) noexcept {
  constexpr float kForZero = 0.125f;
  const float exact = extremes.whole_scale * rounded(T, std::fabs(extremes.farthest) / kGreatestE2m1);
  float scale = tensor::e4m3_to_f32(to_e4m3(std::min(exact, kGreatestE4m3)));
  if (scale == 0) scale = kForZero;
  return {scale, 0, scale / extremes.whole_scale, 0};
}
void codes_nvfp4(const Scheme&, const BlockNumbers& block, const float* values, std::uint64_t count,
                 std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) codes[i] = to_e2m1(values[i] / block.work_scale);
}

template <DType T>
constexpr std::array<Quantizer, 2> kRows = {
    {{is_mxfp8, mxfp8, codes_mxfp8, false}, {is_nvfp4, nvfp4<T>, codes_nvfp4, false, 0, find_whole_scale<T>}}};

}  // namespace

std::span<const Quantizer> compressed_float_quantizers(DType type) noexcept {
  return type == DType::bf16 ? kRows<DType::bf16> : kRows<DType::f32>;
}

}  // namespace ingot::convert::quantizers

// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 as the reference converter makes them. Implements spec/quantizers.md section 2.
#include "converters/requantize/blocks.h"

namespace ingot::convert::quantizers {
namespace {

using tensor::DType;
using tensor::OffsetKind;
using tensor::Scheme;

bool has_blocks_of_32(const Scheme& scheme) noexcept {
  return is_integer(scheme) && has_one_float_scale(scheme) && scheme.scales[0].type == DType::f16 &&
         scheme.scales[0].block == tensor::Block{1, 32} && !scheme.rounded_steps && scheme.flat == 0;
}
bool has_bits_4_or_5(const Scheme& scheme) noexcept {
  return scheme.codes.type == DType::u4 || scheme.codes.type == DType::u5;
}
float half_range(const Scheme& scheme) noexcept { return scheme.codes.type == DType::u4 ? 8 : 16; }

BlockNumbers numbers_of(float scale, float offset, float work_offset) noexcept {
  return {rounded(DType::f16, scale), offset, scale == 0 ? 0 : 1 / scale, work_offset};
}

bool is_signed_8(const Scheme& scheme) noexcept {
  return has_blocks_of_32(scheme) && scheme.codes.type == DType::i8 && scheme.offset.kind == OffsetKind::none;
}
BlockNumbers signed_8(const Scheme&, const Extremes& extremes, bool) noexcept {
  return numbers_of(std::fabs(extremes.farthest) / 127, 0, 0);
}
/// Ties away from zero.
void codes_signed_8(const Scheme&, const BlockNumbers& block, const float* values, std::uint64_t count,
                    std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    const float scaled = clamped(values[i] * block.work_scale, -128, 127);
    const float magnitude = std::fabs(scaled);
    const int whole = static_cast<int>(magnitude);
    const int steps = whole + static_cast<int>(2 * (magnitude - static_cast<float>(whole)));
    codes[i] = static_cast<std::uint8_t>(scaled < 0 ? -steps : steps);
  }
}

bool is_symmetric(const Scheme& scheme) noexcept {
  return has_blocks_of_32(scheme) && has_bits_4_or_5(scheme) && scheme.offset.kind == OffsetKind::zero &&
         static_cast<float>(scheme.offset.zero) == half_range(scheme);
}
/// The value farthest from zero becomes code 0.
BlockNumbers symmetric(const Scheme& scheme, const Extremes& extremes, bool) noexcept {
  return numbers_of(extremes.farthest / -half_range(scheme), 0, half_range(scheme) + 0.5f);
}
void codes_symmetric(const Scheme& scheme, const BlockNumbers& block, const float* values, std::uint64_t count,
                     std::uint8_t* codes) noexcept {
  const float greatest = 2 * half_range(scheme) - 1;
  for (std::uint64_t i = 0; i < count; ++i)
    codes[i] = static_cast<std::uint8_t>(clamped(values[i] * block.work_scale + block.work_offset, 0, greatest));
}

bool is_asymmetric(const Scheme& scheme) noexcept {
  return has_blocks_of_32(scheme) && has_bits_4_or_5(scheme) && scheme.offset.kind == OffsetKind::bias &&
         scheme.offset.levels[0].type == DType::f16 && scheme.offset.levels[0].block == scheme.scales[0].block;
}
BlockNumbers asymmetric(const Scheme& scheme, const Extremes& extremes, bool) noexcept {
  const float scale = (extremes.greatest - extremes.least) / (2 * half_range(scheme) - 1);
  return numbers_of(scale, rounded(DType::f16, extremes.least), extremes.least);
}
void codes_asymmetric(const Scheme& scheme, const BlockNumbers& block, const float* values, std::uint64_t count,
                      std::uint8_t* codes) noexcept {
  const float greatest = 2 * half_range(scheme) - 1;
  for (std::uint64_t i = 0; i < count; ++i) {
    const float scaled = (values[i] - block.work_offset) * block.work_scale + 0.5f;
    codes[i] = static_cast<std::uint8_t>(clamped(scaled, 0, greatest));
  }
}

constexpr Quantizer kRows[] = {{is_signed_8, signed_8, codes_signed_8, false},
                               {is_symmetric, symmetric, codes_symmetric, false},
                               {is_asymmetric, asymmetric, codes_asymmetric, false}};

}  // namespace

const std::span<const Quantizer> kGgufQuantizers = kRows;

}  // namespace ingot::convert::quantizers

// MLX affine groups as its CPU kernel makes them. Implements spec/quantizers.md section 3.
#include <algorithm>

#include "converters/requantize/blocks.h"

namespace ingot::convert::quantizers {
namespace {

using tensor::OffsetKind;
using tensor::Scheme;

constexpr float kLeastScale = 1e-7f;

bool is_affine_group(const Scheme& scheme) noexcept {
  return is_integer(scheme) && !tensor::info(scheme.codes.type).is_signed && has_one_float_scale(scheme) &&
         tensor::bits(scheme.codes.type) <= 8 && scheme.offset.kind == OffsetKind::bias &&
         scheme.offset.levels[0].type == scheme.scales[0].type &&
         scheme.offset.levels[0].block == scheme.scales[0].block && !scheme.rounded_steps;
}

float steps_of(const Scheme& scheme) noexcept { return static_cast<float>((1 << tensor::bits(scheme.codes.type)) - 1); }

/// The extreme that lies farther from zero becomes code 0, and zero becomes a code.
BlockNumbers affine_group(const Scheme& scheme, const Extremes& extremes, bool) noexcept {
  const bool negative_side = std::fabs(extremes.least) > std::fabs(extremes.greatest);
  float scale = std::max((extremes.greatest - extremes.least) / steps_of(scheme), kLeastScale);
  if (!negative_side) scale = -scale;
  const float edge = negative_side ? extremes.least : extremes.greatest;
  const float zero = std::nearbyint(edge / scale);
  float bias = 0;
  if (zero != 0) {
    scale = edge / zero;
    bias = edge;
  }
  const tensor::DType type = scheme.scales[0].type;
  return {rounded(type, scale), rounded(type, bias), scale, bias};
}

void codes_affine_group(const Scheme& scheme, const BlockNumbers& block, const float* values, std::uint64_t count,
                        std::uint8_t* codes) noexcept {
  const float greatest = steps_of(scheme);
  for (std::uint64_t i = 0; i < count; ++i) {
    const float code = clamped((values[i] - block.work_offset) / block.work_scale, 0, greatest);
    codes[i] = static_cast<std::uint8_t>(nearest_integer(code));
  }
}

constexpr Quantizer kRows[] = {{is_affine_group, affine_group, codes_affine_group, true}};

}  // namespace

const std::span<const Quantizer> kMlxQuantizers = kRows;

}  // namespace ingot::convert::quantizers

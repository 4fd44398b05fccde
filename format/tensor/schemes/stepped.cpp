// Every operation rounded to binary32, from left to right: value = ((code - zero) * scale_0) * scale_1 + bias.
// Implements spec/schemes/stepped.md.
#include "format/tensor/schemes.h"

namespace ingot::tensor {

bool is_stepped(const Scheme& scheme) noexcept { return scheme.rounded_steps; }

float stepped_value(const Scheme& scheme, const ElementParts& parts) noexcept {
  float value = static_cast<float>(parts.code) - static_cast<float>(parts.zero);
  for (std::size_t i = 0; i < parts.scale_count; ++i) value = value * static_cast<float>(parts.scales[i]);
  if (scheme.offset.kind == OffsetKind::bias) value = value + static_cast<float>(parts.bias);
  if (scheme.offset.kind == OffsetKind::minimum) {
    auto minimum = static_cast<float>(parts.mins[0]);
    for (std::size_t i = 1; i < parts.min_count; ++i) minimum = minimum * static_cast<float>(parts.mins[i]);
    value = value - minimum;
  }
  return value;
}

}  // namespace ingot::tensor

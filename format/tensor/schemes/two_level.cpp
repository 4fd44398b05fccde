// A coded scale, and perhaps a coded minimum: value = scale_0 * scale_1 * (T(code) - zero) - min_0 * min_1.
// Implements spec/schemes/two_level.md.
#include "format/tensor/schemes.h"

namespace ingot::tensor {

bool is_two_level(const Scheme& scheme) noexcept {
  return (scheme.scales.size() > 1 && !scheme.rounded_scale) || scheme.offset.kind == OffsetKind::minimum;
}

float two_level_value(const Scheme& scheme, const ElementParts& parts) noexcept {
  ExactSum sum;
  add_scaled_code(sum, scheme, parts);
  add_bias(sum, scheme, parts);
  subtract_minimum(sum, scheme, parts);
  return sum.rounded();
}

}  // namespace ingot::tensor

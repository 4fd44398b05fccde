// Small floats under shared scales: value = scale_0 * scale_1 * T(code).
// Implements spec/schemes/microscaling.md.
#include "format/tensor/schemes.h"

namespace ingot::tensor {

bool is_microscaling(const Scheme& scheme) noexcept {
  return scheme.codes.kind == CodeKind::number && info(scheme.codes.type).is_float;
}

float microscaling_value(const Scheme& scheme, const ElementParts& parts) noexcept {
  ExactSum sum;
  add_scaled_code(sum, scheme, parts);
  add_bias(sum, scheme, parts);
  subtract_minimum(sum, scheme, parts);
  return sum.rounded();
}

}  // namespace ingot::tensor

// Integer codes: value = scale * (code - zero), or scale * code + bias.
// Implements spec/schemes/affine.md.
#include "format/tensor/schemes.h"

namespace ingot::tensor {

bool is_affine(const Scheme& scheme) noexcept {
  return scheme.codes.kind == CodeKind::number && !info(scheme.codes.type).is_float;
}

float affine_value(const Scheme& scheme, const ElementParts& parts) noexcept {
  ExactSum sum;
  add_scaled_code(sum, scheme, parts);
  add_bias(sum, scheme, parts);
  return sum.rounded();
}

}  // namespace ingot::tensor

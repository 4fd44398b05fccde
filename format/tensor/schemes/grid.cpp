// One index stands for several signed elements: value = 2^shift * scale_0 * scale_1 * (T - zero).
// Implements spec/schemes/grid.md.
#include "format/tensor/schemes.h"

namespace ingot::tensor {

bool is_grid(const Scheme& scheme) noexcept { return scheme.codes.kind == CodeKind::grid; }

float grid_value(const Scheme& scheme, const ElementParts& parts) noexcept {
  ExactSum sum;
  add_scaled_code(sum, scheme, parts);
  add_bias(sum, scheme, parts);
  subtract_minimum(sum, scheme, parts);
  return sum.rounded();
}

}  // namespace ingot::tensor

// Codes that index a table: value = scale * table[code], where bitsandbytes rounds a nested scale first.
// Implements spec/schemes/table.md.
#include "format/tensor/schemes.h"

namespace ingot::tensor {

bool is_table(const Scheme& scheme) noexcept { return scheme.codes.kind == CodeKind::table; }

float table_value(const Scheme& scheme, const ElementParts& parts) noexcept {
  ExactSum sum;
  add_scaled_code(sum, scheme, parts);
  add_bias(sum, scheme, parts);
  return sum.rounded();
}

}  // namespace ingot::tensor

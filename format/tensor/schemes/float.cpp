// The element is the value. Implements spec/schemes/float.md. Opaque codes belong here too: they are never decoded.
#include "format/tensor/schemes.h"

namespace ingot::tensor {

bool is_float(const Scheme& scheme) noexcept { return scheme.is_plain() || scheme.codes.kind == CodeKind::opaque; }

float float_value(const Scheme&, const ElementParts& parts) noexcept { return static_cast<float>(parts.code); }

}  // namespace ingot::tensor

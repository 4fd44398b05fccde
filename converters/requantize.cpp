// Rounding values to the nearest numbers of a quantized scheme, by the plain algorithm of the library that owns it.
// Implements spec/quantizers.md.
#include "converters/recode.h"
#include "format/base/error.h"

namespace ingot::convert {

bool can_requantize(const tensor::Scheme&) noexcept { return false; }

tensor::Tensor requantize(const tensor::Tensor& source, const StoredForm& wanted) {
  throw Error(ErrorKind::unsupported,
              "tensor " + source.name + ": nothing rounds values to " + tensor::describe(wanted.scheme));
}

}  // namespace ingot::convert

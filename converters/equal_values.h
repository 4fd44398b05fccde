// Whether two tensors are the same numbers.
#pragma once

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Equal values element by element, whatever the schemes (-0 is 0, every NaN the same). Stops at the first difference,
/// which among tensors that differ at all is found at once. Of equal shapes, no opaque elements.
[[nodiscard]] bool have_equal_values(const tensor::Tensor& a, const tensor::Tensor& b);

}  // namespace ingot::convert

// Rounding as one library does it, to schemes that several libraries own with different algorithms. Implements
// spec/quantizers.md.
#pragma once

#include "converters/recode/recode.h"

namespace ingot::convert {

/// As requantize(), but mxfp4, mxfp8 and nvfp4 as mlx.core.quantize makes them of values of the source's type.
[[nodiscard]] tensor::Tensor requantize_for_mlx(const tensor::Tensor& source, const StoredForm& wanted);

/// As requantize(), but nvfp4 as compressed-tensors makes it of weights of the source's type.
[[nodiscard]] tensor::Tensor requantize_for_compressed_tensors(const tensor::Tensor& source, const StoredForm& wanted);

}  // namespace ingot::convert

// Double quantization of bitsandbytes: the scales of NF4 and FP4 blocks become codes themselves. Implements
// spec/quantizers.md section 4. Internal to requantize*.cpp.
#pragma once

#include <memory>

#include "format/tensor/tensor.h"

namespace ingot::convert::quantizers {

[[nodiscard]] bool is_nested(const tensor::Scheme& scheme) noexcept;
/// The scheme whose scales are numbers of their own.
[[nodiscard]] tensor::Scheme without_nesting(const tensor::Scheme& scheme);
/// The planes of `target`, a nested scheme, from a tensor of its scheme without_nesting(). Reads the scales of `single`
/// once when the first byte is asked for.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> nested_planes(tensor::Tensor single,
                                                                       const tensor::Tensor& target);

}  // namespace ingot::convert::quantizers

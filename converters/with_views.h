// Planes of any source brought into memory, for packers that pick bytes in another order than units.
#pragma once

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// The tensor with all planes mapped or in memory, so that every byte can be picked; `tensor` itself when that is so
/// already. Reads in parallel; allocates the size of the tensor's planes. Throws what the source throws.
[[nodiscard]] tensor::Tensor with_views(const tensor::Tensor& tensor);

}  // namespace ingot::convert

// Planes of any source brought into memory, for packers that pick bytes in another order than units.
#pragma once

#include <vector>

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Memory that tensors after each other use, so that the system need not clear pages for every one of them.
struct PlaneBuffers {
  std::vector<std::vector<std::byte>> planes;
};

/// The tensor with all planes mapped or in memory, so that every byte can be picked; `tensor` itself when that is so
/// already. Reads in parallel; allocates the size of the tensor's planes. Throws what the source throws.
[[nodiscard]] tensor::Tensor with_views(const tensor::Tensor& tensor);
/// The same with planes in `buffers`, until the next call with them.
[[nodiscard]] tensor::Tensor with_views(const tensor::Tensor& tensor, PlaneBuffers& buffers);

}  // namespace ingot::convert

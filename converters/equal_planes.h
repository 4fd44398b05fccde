// Equality without values, whatever the scheme: two tensors that are stored in one form have the same values when they
// have the same bytes. What the proof of a tensor needs that was only moved.
#pragma once

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// True when shape, scheme, packing and transforms of both are the same and so is every byte of their planes. False says
/// nothing about the values. Parallel; gives back pages of neither.
[[nodiscard]] bool have_equal_planes(const tensor::Tensor& a, const tensor::Tensor& b);

}  // namespace ingot::convert

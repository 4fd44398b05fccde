// Equality without values, whatever the scheme: two tensors that are stored in one form have the same values when they
// have the same bytes. What the proof of a tensor needs that was only moved.
#pragma once

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Do the same bytes mean the same values in both: shape, scheme, packing and transforms are equal?
[[nodiscard]] bool have_one_form(const tensor::Tensor& a, const tensor::Tensor& b);

/// True when both have one form and every byte of their planes is the same. False says nothing about the values.
/// Parallel; gives back pages of neither.
[[nodiscard]] bool have_equal_planes(const tensor::Tensor& a, const tensor::Tensor& b);

}  // namespace ingot::convert

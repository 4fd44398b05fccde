// The size of one quantization step at every element of a tensor, as a tensor: what errors are measured in.
#pragma once

#include <optional>

#include "format/tensor/bulk.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// For integer codes with scales: a tensor of the same shape whose values are the scales (every code 1, no offset). For
/// tables and e2m1: the scales times the smallest distance of two entries.
/// Borrows nothing; shares the planes. Empty for other floats and grids.
[[nodiscard]] std::optional<tensor::Tensor> step_tensor(const tensor::Tensor& tensor);

/// Empty unless the scheme is a plain float type.
[[nodiscard]] std::optional<tensor::FloatGrid> float_grid(const tensor::Scheme& scheme) noexcept;

}  // namespace ingot::convert

// The size of one quantization step at every element of a tensor, as a tensor: what errors are measured in.
#pragma once

#include <optional>

#include "format/tensor/bulk.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Element i of a tensor, in logical order, has the step values[i / run_elems] of this one.
struct StepSizes {
  tensor::Tensor values;
  std::uint64_t run_elems = 1;
};

/// For integer codes with scales: the scales (every code 1, no offset). For tables and e2m1: the scales times the
/// smallest distance of two entries. One value for as many columns as share all scales, where rows are whole runs.
/// Borrows nothing; shares the planes. Empty for other floats and grids.
[[nodiscard]] std::optional<StepSizes> step_sizes(const tensor::Tensor& tensor);

/// Empty unless the scheme is a plain float type.
[[nodiscard]] std::optional<tensor::FloatGrid> float_grid(const tensor::Scheme& scheme) noexcept;

}  // namespace ingot::convert

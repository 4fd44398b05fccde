// Does config.json speak of the tensors that are there?
#pragma once

#include <string>
#include <vector>

#include "format/tensor/model.h"

namespace ingot::convert {

/// A sentence for each dimension that the config of a known architecture states and a tensor contradicts. Looks at the
/// embedding, at one layer and, where the model is whole, at the number of layers.
[[nodiscard]] std::vector<std::string> contradicted_dimensions(const tensor::Model& model);

}  // namespace ingot::convert

// Which model something was computed with: prompt caches and states of evaluations belong to one.
#pragma once

#include "format/base/hash.h"
#include "format/tensor/model.h"

namespace ingot::runtime {

/// A hash of the config, of the tensors' names, shapes and recorded fingerprints, and where there are none of their
/// sizes and a sample of their values: fast, and another one for another quantization or training, but not for every
/// changed weight.
[[nodiscard]] Hash128 identity_of(const tensor::Model& model);

}  // namespace ingot::runtime

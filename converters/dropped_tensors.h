// Tensors that the user leaves out of a conversion.
#pragma once

#include <string>
#include <vector>

#include "converters/registry.h"

namespace ingot::convert {

/// Removes from the model the tensors that options.drop names, and records their names in options.dropped. Throws
/// OptionError for what is no regular expression, unsupported where the target keeps the source whole.
void drop_tensors(tensor::Model& model, ConvertOptions& options);

}  // namespace ingot::convert

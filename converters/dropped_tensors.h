// Tensors that the user leaves out of a conversion.
#pragma once

#include <string>
#include <vector>

#include "converters/registry.h"

namespace ingot::convert {

/// Does the name say that the tensor scales activations or what the KV cache holds: "X.input_scale" and the like?
[[nodiscard]] bool is_activation_scale(std::string_view name) noexcept;

/// Removes from the model the tensors that options.drop names, and records their names in options.dropped. Throws
/// OptionError for what is no regular expression or matches all tensors, unsupported where the target keeps the source
/// whole.
void drop_tensors(tensor::Model& model, ConvertOptions& options);

}  // namespace ingot::convert

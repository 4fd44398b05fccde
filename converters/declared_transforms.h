// Transforms of tensors in foreign checkpoints, which have no place for them beside the tensor: one JSON text for the
// whole model. Implements spec/transforms.md section 2.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor/model.h"

namespace ingot::convert {

/// Where the text is kept: a file of a Hugging Face directory, which the model has as an attachment; a key of a GGUF
/// file.
inline constexpr std::string_view kDeclarationFile = "ingot_transforms.json";
inline constexpr std::string_view kDeclarationAttachment = "hf/ingot_transforms.json";
inline constexpr std::string_view kDeclarationKey = "ingot.transforms";

/// By tensor name: what comes before the transforms that the layout itself implies.
using Declaration = std::map<std::string, std::vector<tensor::Transform>>;

/// Only row_order and column_order. Equal permutations are written once.
[[nodiscard]] std::string declaration_text(const Declaration& declaration);
/// Puts the transforms of the text before those of the model's tensors. Throws invalid_value, naming `where`, for text
/// that is no declaration, for tensors that are not there and for permutations that do not fit their shapes.
void apply_declaration(std::string_view text, std::string_view where, tensor::Model& model);

}  // namespace ingot::convert

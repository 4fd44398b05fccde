// Facts about a model in the head of README.md, where Hugging Face keeps them ("model card"): name, authors, licence.
// Those words that gguf-py takes over into `general.*`, and only texts: no lists, no YAML beyond a line "key: text"
// with a plain text or one in double quotes (tests/golden/foreign/hf/model_cards has what PyYAML makes of them).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "format/tensor/model.h"

namespace ingot::convert {

inline constexpr std::string_view kModelCardFile = "README.md";

/// README.md with what the metadata say; empty when they say nothing that belongs there.
[[nodiscard]] std::string write_model_card(const tensor::Model& model);
/// The card of a source, where the metadata say otherwise than its head: with the lines that they change. Nothing where
/// they do not, or where the card seems to have a head that is not understood. Nothing is taken away, and a value in a
/// form that is not understood stays.
[[nodiscard]] std::optional<std::string> update_model_card(std::string_view card, const tensor::Model& model);
/// Adds to the metadata what the card says and they do not. Whatever is not understood is passed over.
void read_model_card(std::string_view card, tensor::Model& model);

}  // namespace ingot::convert

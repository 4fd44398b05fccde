// config.json of Hugging Face transformers <-> neutral hyperparameters, in the spellings of transformers 4 and 5.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "format/base/json.h"
#include "format/tensor/model.h"

namespace ingot::convert {

/// `where` names the file. Throws invalid_value naming the key for a wrong type, limit_exceeded for absurd counts; a
/// missing key is "not stated". Keys of an unknown architecture that have another type than usual are passed over.
[[nodiscard]] tensor::ModelConfig read_hf_config(const Json& json, std::string_view where);

/// quantization_config.quant_method (or what stands in its place), empty for a plain checkpoint.
[[nodiscard]] std::string hf_quantization_method(const Json& config);

/// A config.json that transformers loads. Facts that the neutral config does not hold (biases) are taken from the
/// tensors, token ids from the tokenizer. `torch_dtype`: what to announce ("bfloat16"). Throws unsupported for an
/// architecture without a row.
[[nodiscard]] Json write_hf_config(const tensor::Model& model, std::string_view torch_dtype);
/// generation_config.json for the same model.
[[nodiscard]] Json write_hf_generation_config(const tensor::Model& model);

}  // namespace ingot::convert

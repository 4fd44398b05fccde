// Adapters of PEFT (LoRA and its kin): a checkpoint directory with adapter_config.json. Implements spec/adapters.md.
#pragma once

#include <string>
#include <string_view>

#include "format/tensor/model.h"

namespace ingot::convert {

/// Reads the facts of the attachment hf/adapter_config.json into the model's metadata; false: the model has none, it
/// is none of PEFT's, or the file of weights (`weights`, its name) is not the adapter's. Throws invalid_value for a
/// fact of the wrong type. `where` names the directory.
[[nodiscard]] bool read_adapter_facts(tensor::Model& model, std::string_view weights, std::string_view where);

/// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" -> "model.layers.0.self_attn.q_proj.lora_a".
[[nodiscard]] std::string neutral_adapter_name(std::string_view file_name);

}  // namespace ingot::convert

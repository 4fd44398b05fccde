// RoPE scalings for which GGUF has no keys: llama3, a tensor of divisors there, and dynamic.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor/model_config.h"

namespace ingot::convert::gguf {

/// Holds a scaling that nothing else of the file gives back, as the JSON of spec/model_config.md. Readers that do not
/// know it lose nothing: dynamic scaling begins beyond the context length, the divisors of llama3 are in the file.
inline constexpr std::string_view kRopeScalingKey = "ingot.rope_scaling";

/// RoPE frequency divisors of llama3 scaling, head_dim/2 of them, computed in binary32 as the reference converter does.
[[nodiscard]] std::vector<float> llama3_rope_divisors(const tensor::ModelConfig& config);
/// The reverse: the llama3 scaling (with the usual low, high and original length) whose divisors these are; empty
/// when they are not.
[[nodiscard]] std::optional<tensor::RopeScaling> recognise_llama3_divisors(const tensor::ModelConfig& config,
                                                                           std::span<const float> divisors);

/// What stands under kRopeScalingKey; empty when the scaling comes back without it.
[[nodiscard]] std::string unsaid_rope_scaling(const tensor::ModelConfig& config);
/// The reverse. `divisors`: those of the file, empty without. Empty when they are not those of a llama3 scaling that
/// the text names. Throws invalid_value naming `where`.
[[nodiscard]] std::optional<tensor::RopeScaling> said_rope_scaling(std::string_view text,
                                                                   const tensor::ModelConfig& config,
                                                                   std::span<const float> divisors,
                                                                   const std::string& where);

}  // namespace ingot::convert::gguf

// Hyperparameters: `<architecture>.*` keys <-> ModelConfig, with the exact types that llama.cpp demands.
#pragma once

#include "converters/gguf/file.h"
#include "converters/gguf/names.h"
#include "format/tensor/model_config.h"

namespace ingot::convert::gguf {

/// `architecture` is null for one without a table row: then the keys that all architectures share are read under the
/// file's own name. Values that a key leaves out get GGUF's defaults. Throws invalid_value for absurd values (layer
/// counts above 65536, ...).
[[nodiscard]] tensor::ModelConfig read_config(const GgufFile& file, const Architecture* architecture);

/// Adds the `<architecture>.*` keys. Throws unsupported for what GGUF cannot say (a sliding pattern or rotary layers
/// that readers of the architecture do not have built in, an unknown RoPE scaling).
void write_config(HeaderBuilder& header, const tensor::ModelConfig& config, const Architecture& architecture);

/// What write_config() cannot tell other readers of GGUF and does not refuse, since short texts come out the same.
[[nodiscard]] std::vector<std::string> unsaid_to_readers(const tensor::ModelConfig& config,
                                                         const Architecture& architecture);

/// RoPE frequency divisors of llama3 scaling, head_dim/2 of them, computed in binary32 as the reference converter does.
[[nodiscard]] std::vector<float> llama3_rope_divisors(const tensor::ModelConfig& config);
/// Are these the divisors of config.rope_scaling, but for the last bits?
[[nodiscard]] bool are_llama3_divisors(const tensor::ModelConfig& config, std::span<const float> divisors);
/// The reverse: a llama3 scaling whose divisors these are, of several the most usual one; empty when none is found.
/// (Twice the original length, low and high say the same, so that the numbers may be others than those of the source.)
[[nodiscard]] std::optional<tensor::RopeScaling> recognise_llama3_divisors(const tensor::ModelConfig& config,
                                                                           std::span<const float> divisors);

}  // namespace ingot::convert::gguf

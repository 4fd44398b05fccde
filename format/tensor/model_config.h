// Neutral hyperparameters. Converters fill them from config.json or GGUF keys; the runtime and the writers read only
// this. Implements spec/model_config.md: the JSON members have the names of the fields below.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "format/base/json.h"

namespace ingot::tensor {

struct RopeScaling {
  std::string type;  // "none", "linear", "llama3", "yarn", "longrope", "dynamic"
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double attention_factor = 0;                       // yarn, longrope; 0: derive
  double beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                              // yarn: ends of the ramp at whole pairs
  std::uint64_t original_context_length = 0;
  std::vector<double> short_factor, long_factor;  // longrope
  bool operator==(const RopeScaling&) const = default;
};

/// Zero / empty means "not stated". `architecture` uses Hugging Face model_type words: llama, mistral, qwen2, qwen3,
/// gemma2, gemma3, phi3, gpt2, smollm3, olmo2, mixtral. `gemma3_text` is gemma3 here.
struct ModelConfig {
  std::string architecture;
  std::uint64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, layer_count = 0;
  std::uint64_t head_count = 0, kv_head_count = 0, head_dim = 0, context_length = 0;
  std::uint64_t expert_count = 0, experts_per_token = 0;  // of every MLP; 0: one MLP for all tokens
  double norm_epsilon = 0;
  double rope_theta = 0, rope_theta_local = 0;  // rope_theta_local: gemma3 sliding layers
  std::uint64_t rotary_dim = 0;                 // 0: head_dim
  RopeScaling rope_scaling;
  std::uint64_t sliding_window = 0;  // 0: none
  std::vector<bool> sliding_layers;  // per layer; empty: all when sliding_window > 0
  std::vector<bool> rope_layers;     // smollm3: layers that rotate; empty: all
  double attention_scale = 0;        // 0: 1/sqrt(head_dim)
  double attention_softcap = 0, final_softcap = 0;
  bool attention_scale_by_layer = false;  // gpt2: scores are also divided by the layer's number, from 1
  bool bidirectional_attention = false;   // tokens also see later ones: gemma3 models that embed text
  std::string activation;                 // "silu", "gelu_tanh", "gelu"
  bool tied_embeddings = false;
  std::string torch_dtype;  // "bfloat16", "float16", "float32": what an HF writer should announce
  bool operator==(const ModelConfig&) const = default;
};

/// Floats are written as shortest round-trip decimal strings (the index carries no floating-point numbers); absent
/// members mean default.
[[nodiscard]] Json to_json(const ModelConfig& config);
[[nodiscard]] ModelConfig model_config_from_json(const Json& json, std::string_view where);

}  // namespace ingot::tensor

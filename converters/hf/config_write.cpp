// ModelConfig -> config.json and generation_config.json. The spelling of transformers 4, which version 5 also reads.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "converters/hf/config.h"
#include "converters/hf_architectures.h"

namespace ingot::convert {
namespace {

using tensor::Model;
using tensor::ModelConfig;

bool any_tensor_ends_with(const Model& model, std::string_view ending) {
  for (const tensor::Tensor& tensor : model.tensors)
    if (tensor.name.ends_with(ending)) return true;
  return false;
}

/// A number that came through binary32 (GGUF) in the decimal that was meant: 1e-6, not 9.999999974752427e-07.
Json decimal(double value) {
  const float narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return Json(value);
  char text[32];
  const std::to_chars_result written = std::to_chars(text, text + sizeof text, narrow);
  double wide = value;
  std::from_chars(text, written.ptr, wide);
  return Json(wide);
}

std::string hf_activation(const ModelConfig& config) {
  if (config.activation == "gelu_tanh") return config.architecture == "gpt2" ? "gelu_new" : "gelu_pytorch_tanh";
  if (config.activation.empty()) return config.architecture == "gpt2" ? "gelu_new" : "silu";
  return config.activation;
}

/// "rope_scaling" of the older spelling; null when there is none.
Json scaling_json(const ModelConfig& config) {
  const tensor::RopeScaling& scaling = config.rope_scaling;
  if (scaling.type.empty() || scaling.type == "none") return Json();
  Json json{JsonObject{}};
  json.set("rope_type", Json(scaling.type));
  const bool longrope = scaling.type == "longrope";
  if (!longrope) json.set("factor", Json(scaling.factor));
  if (scaling.type == "llama3") {
    json.set("low_freq_factor", Json(scaling.low_freq_factor));
    json.set("high_freq_factor", Json(scaling.high_freq_factor));
  }
  if (scaling.type == "yarn") {
    json.set("beta_fast", Json(scaling.beta_fast));
    json.set("beta_slow", Json(scaling.beta_slow));
    if (!scaling.truncate) json.set("truncate", Json(false));
  }
  if (scaling.attention_factor != 0) json.set("attention_factor", Json(scaling.attention_factor));
  if (longrope) {
    const auto array = [](const std::vector<double>& values) {
      JsonArray items;
      for (const double value : values) items.push_back(decimal(value));
      return Json(std::move(items));
    };
    json.set("short_factor", array(scaling.short_factor));
    json.set("long_factor", array(scaling.long_factor));
  } else if (scaling.original_context_length != 0) {
    json.set("original_max_position_embeddings", Json(scaling.original_context_length));
  }
  return json;
}

void set_gpt2(Json& json, const ModelConfig& config) {
  json.set("n_embd", Json(config.hidden_size));
  json.set("n_layer", Json(config.layer_count));
  json.set("n_head", Json(config.head_count));
  json.set("n_inner", config.intermediate_size == 4 * config.hidden_size ? Json() : Json(config.intermediate_size));
  json.set("n_positions", Json(config.context_length));
  json.set("n_ctx", Json(config.context_length));
  json.set("layer_norm_epsilon", decimal(config.norm_epsilon));
  json.set("activation_function", Json(hf_activation(config)));
  json.set("scale_attn_weights", Json(config.attention_scale != 1));
  json.set("scale_attn_by_inverse_layer_idx", Json(config.attention_scale_by_layer));
}

void set_rope(Json& json, const ModelConfig& config) {
  if (config.rope_theta > 0) json.set("rope_theta", Json(config.rope_theta));  // else not stated: the usual one
  json.set("rope_scaling", scaling_json(config));
  if (config.rope_scaling.type == "longrope" && config.rope_scaling.original_context_length != 0) {
    json.set("original_max_position_embeddings", Json(config.rope_scaling.original_context_length));
  }
  if (config.rotary_dim != 0 && config.head_dim != 0 && config.rotary_dim != config.head_dim) {
    json.set("partial_rotary_factor",
             Json(static_cast<double>(config.rotary_dim) / static_cast<double>(config.head_dim)));
  }
  if (config.architecture == "gemma3" && config.rope_theta_local != 0) {
    json.set("rope_local_base_freq", Json(config.rope_theta_local));
  }
}

void set_window(Json& json, const ModelConfig& config) {
  const std::string& arch = config.architecture;
  const bool windowed = arch == "mistral" || arch == "mixtral" || arch == "phi3" || arch == "gemma2" ||
                        arch == "gemma3" || arch == "qwen2" || arch == "qwen3" || arch == "smollm3";
  if (!windowed) return;
  if (config.sliding_window == 0 && (arch == "gemma2" || arch == "gemma3")) return;
  json.set("sliding_window", config.sliding_window == 0 ? Json() : Json(config.sliding_window));
  if (arch == "mistral" || arch == "mixtral" || arch == "phi3") return;
  if (arch != "gemma2" && arch != "gemma3") json.set("use_sliding_window", Json(config.sliding_window != 0));
  JsonArray types;
  for (std::uint64_t i = 0; i < config.layer_count; ++i) {
    const bool sliding = config.sliding_window != 0 && (config.sliding_layers.empty() || config.sliding_layers[i]);
    types.emplace_back(sliding ? "sliding_attention" : "full_attention");
  }
  json.set("layer_types", Json(std::move(types)));
}

void set_gemma(Json& json, const ModelConfig& config) {
  const double scale =
      config.attention_scale != 0 ? config.attention_scale : 1 / std::sqrt(static_cast<double>(config.head_dim));
  const double scalar = 1 / (scale * scale);
  const double nearest = std::round(scalar);
  const bool whole = std::abs(scalar - nearest) < 1e-6 * scalar;
  json.set("query_pre_attn_scalar", whole ? Json(static_cast<std::int64_t>(nearest)) : Json(scalar));
  json.set("attn_logit_softcapping", config.attention_softcap != 0 ? Json(config.attention_softcap) : Json());
  json.set("final_logit_softcapping", config.final_softcap != 0 ? Json(config.final_softcap) : Json());
  json.set("hidden_activation", Json(hf_activation(config)));
  if (config.bidirectional_attention) json.set("use_bidirectional_attention", Json(true));
}

/// Is head_dim what readers take where config.json has none? Gemma and Qwen 3 take a number of their own.
bool follows_from_width(const ModelConfig& config) {
  const bool own_default = config.architecture.starts_with("gemma") || config.architecture == "qwen3";
  return !own_default && config.head_dim * config.head_count == config.hidden_size;
}

void set_decoder(Json& json, const Model& model) {
  const ModelConfig& config = model.config;
  json.set("hidden_size", Json(config.hidden_size));
  json.set("intermediate_size", Json(config.intermediate_size));
  json.set("num_hidden_layers", Json(config.layer_count));
  json.set("num_attention_heads", Json(config.head_count));
  json.set("num_key_value_heads", Json(config.kv_head_count != 0 ? config.kv_head_count : config.head_count));
  if (config.head_dim != 0 && !follows_from_width(config)) json.set("head_dim", Json(config.head_dim));
  if (config.expert_count != 0) {
    json.set("num_local_experts", Json(config.expert_count));
    json.set("num_experts_per_tok", Json(config.experts_per_token));
  }
  json.set("max_position_embeddings", Json(config.context_length));
  json.set("rms_norm_eps", decimal(config.norm_epsilon));
  if (config.architecture == "gemma2" || config.architecture == "gemma3") {
    set_gemma(json, config);
  } else {
    json.set("hidden_act", Json(hf_activation(config)));
  }
  constexpr std::array<std::string_view, 4> kWithoutBiasFlag = {"qwen2", "phi3", "mistral", "mixtral"};
  if (std::find(kWithoutBiasFlag.begin(), kWithoutBiasFlag.end(), config.architecture) == kWithoutBiasFlag.end()) {
    json.set("attention_bias", Json(any_tensor_ends_with(model, ".self_attn.q_proj.bias")));
  }
  if (config.architecture == "llama" || config.architecture == "smollm3") {
    json.set("mlp_bias", Json(any_tensor_ends_with(model, ".mlp.gate_proj.bias")));
  }
  set_rope(json, config);
  set_window(json, config);
  if (config.architecture == "smollm3") {
    JsonArray rotates;
    for (std::uint64_t i = 0; i < config.layer_count; ++i) {
      rotates.emplace_back(config.rope_layers.empty() || config.rope_layers[i] ? 1 : 0);
    }
    json.set("no_rope_layers", Json(std::move(rotates)));
  }
}

void set_token_ids(Json& json, const Model& model, bool every_end) {
  const auto id = [](const std::optional<std::uint32_t>& value) { return value ? Json(*value) : Json(); };
  json.set("bos_token_id", model.tokenizer ? id(model.tokenizer->bos) : Json());
  if (every_end && model.tokenizer && model.tokenizer->end_of_generation.size() > 1) {
    JsonArray ids;
    for (const std::uint32_t end : model.tokenizer->end_of_generation) ids.emplace_back(end);
    json.set("eos_token_id", Json(std::move(ids)));
  } else {
    json.set("eos_token_id", model.tokenizer ? id(model.tokenizer->eos) : Json());
  }
  json.set("pad_token_id", model.tokenizer ? id(model.tokenizer->padding) : Json());
}

}  // namespace

Json write_hf_config(const Model& model, std::string_view torch_dtype) {
  const ModelConfig& config = model.config;
  const HfArchitecture* row =
      find_hf_architecture(config.architecture == "gemma3" ? "gemma3_text" : config.architecture);
  if (row == nullptr) {
    throw Error(ErrorKind::unsupported,
                "architecture '" + config.architecture + "': no Hugging Face config.json can be written for it");
  }
  if ((!config.sliding_layers.empty() && config.sliding_layers.size() != config.layer_count) ||
      (!config.rope_layers.empty() && config.rope_layers.size() != config.layer_count)) {
    throw Error(ErrorKind::invalid_value,
                "model config: sliding_layers or rope_layers do not have layer_count entries");
  }
  // GGUF keeps llama3 scaling as a table of divisors; without the parameters behind it the written model would be
  // another one.
  if (config.rope_scaling.type.empty() && model.find("rope_freqs.weight") != nullptr) {
    throw Error(ErrorKind::unsupported,
                "tensor 'rope_freqs.weight': no rope_scaling of config.json gives these divisors");
  }
  Json json{JsonObject{}};
  json.set("architectures", Json(JsonArray{Json(row->class_name)}));
  json.set("model_type", Json(row->model_type));
  json.set("vocab_size", Json(config.vocab_size));
  if (config.architecture == "gpt2") {
    set_gpt2(json, config);
  } else {
    set_decoder(json, model);
  }
  set_token_ids(json, model, false);
  json.set("tie_word_embeddings", Json(config.tied_embeddings));
  json.set("torch_dtype", Json(torch_dtype));
  json.set("use_cache", Json(true));
  return json;
}

Json write_hf_generation_config(const Model& model) {
  Json json{JsonObject{}};
  set_token_ids(json, model, true);
  return json;
}

}  // namespace ingot::convert

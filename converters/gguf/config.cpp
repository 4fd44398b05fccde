// Reading and writing of the hyperparameter keys.
#include "converters/gguf/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace ingot::convert::gguf {
namespace {

using tensor::ModelConfig;
using tensor::RopeScaling;

constexpr std::uint64_t kMaxLayers = 65536;
constexpr std::uint64_t kMaxExtent = std::uint64_t{1} << 40;
constexpr double kDefaultRopeTheta = 10000;

/// Lookups under one architecture prefix.
class Keys {
 public:
  Keys(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  [[nodiscard]] const KeyValue* find(std::string_view key) const {
    return file_.find(prefix_ + "." + std::string(key));
  }
  /// A count; an array of equal values counts as one value, of different values as "not stated".
  [[nodiscard]] std::uint64_t count(std::string_view key, std::uint64_t fallback,
                                    std::uint64_t limit = kMaxExtent) const {
    const KeyValue* entry = find(key);
    if (entry == nullptr) return fallback;
    std::uint64_t value = fallback;
    if (const auto scalar = entry->unsigned_integer()) {
      value = *scalar;
    } else if (entry->type == ValueType::array && entry->element != ValueType::string && entry->count > 0) {
      const double first = entry->element_number(0);
      for (std::uint64_t i = 1; i < entry->count; ++i)
        if (entry->element_number(i) != first) return 0;
      if (!(first >= 0 && first <= static_cast<double>(kMaxExtent))) reject(*entry);
      value = static_cast<std::uint64_t>(first);
    } else {
      reject(*entry);
    }
    if (value > limit) reject(*entry);
    return value;
  }
  [[nodiscard]] double number(std::string_view key, double fallback) const {
    const KeyValue* entry = find(key);
    if (entry == nullptr) return fallback;
    const auto value = entry->number();
    if (!value || !std::isfinite(*value)) reject(*entry);
    return entry->type == ValueType::f32 ? decimal_meaning(static_cast<float>(*value)) : *value;
  }
  [[nodiscard]] double positive(std::string_view key, double fallback) const {
    const double value = number(key, fallback);
    if (find(key) != nullptr && !(value > 0)) reject_number(*find(key), "above 0", value);
    return value;
  }
  [[nodiscard]] double not_negative(std::string_view key, double fallback) const {
    const double value = number(key, fallback);
    if (find(key) != nullptr && value < 0) reject_number(*find(key), "from 0 on", value);
    return value;
  }

 private:
  /// The decimal that was meant: 1e-05 as in config.json, not 9.999999747378752e-06. Rounds to the same binary32.
  [[nodiscard]] static double decimal_meaning(float value) {
    char text[32];
    const std::to_chars_result written = std::to_chars(text, text + sizeof text, value);
    double wide = value;
    std::from_chars(text, written.ptr, wide);
    return wide;
  }
  [[noreturn]] void reject(const KeyValue& entry) const {
    throw Error(ErrorKind::invalid_value,
                file_.where + ": metadata key '" + std::string(entry.key) + "' of type " +
                    std::string(name(entry.type)) + " has no usable value (at byte " + std::to_string(entry.offset) +
                    ")",
                entry.offset);
  }
  [[noreturn]] void reject_number(const KeyValue& entry, std::string_view range, double value) const {
    throw Error(ErrorKind::invalid_value,
                file_.where + ": metadata key '" + std::string(entry.key) + "': expected a number " +
                    std::string(range) + ", got " + std::to_string(value) + " (at byte " +
                    std::to_string(entry.offset) + ")",
                entry.offset);
  }
  const GgufFile& file_;
  std::string prefix_;
};

/// A small F32 vector that belongs to the configuration (rope_freqs, rope_factors_*); empty when absent.
std::vector<float> small_vector(const GgufFile& file, std::string_view name) {
  constexpr std::uint64_t kMaxBytes = 64 << 10;
  for (const TensorInfo& info : file.tensors) {
    if (info.name != name || info.type->name != "F32" || info.size > kMaxBytes) continue;
    std::vector<float> values;
    for (std::uint64_t at = 0; at < info.size; at += 4)
      values.push_back(load_le<float>(file.bytes.data() + info.offset + at));
    return values;
  }
  return {};
}

/// By what YaRN multiplies sines and cosines unless it is told. GGUF's attn_factor multiplies that once more.
double usual_yarn_magnitude(double factor) { return factor <= 1 ? 1 : 0.1 * std::log(factor) + 1; }

RopeScaling read_rope_scaling(const GgufFile& file, const Keys& keys, const std::string& prefix) {
  RopeScaling scaling;
  const auto type = file.text(prefix + ".rope.scaling.type");
  scaling.factor = keys.not_negative("rope.scaling.factor", keys.not_negative("rope.scale_linear", 1));
  if (scaling.factor == 0) scaling.factor = 1;  // as llama.cpp takes it
  if (type && *type != "none") scaling.type = std::string(*type);
  if (!type && scaling.factor != 1) scaling.type = "linear";
  for (const float value : small_vector(file, "rope_factors_long.weight")) scaling.long_factor.push_back(value);
  for (const float value : small_vector(file, "rope_factors_short.weight")) scaling.short_factor.push_back(value);
  if (!scaling.long_factor.empty()) scaling.type = "longrope";
  if (scaling.type.empty()) return RopeScaling{};
  scaling.original_context_length = keys.count("rope.scaling.original_context_length", 0);
  scaling.attention_factor = keys.number("rope.scaling.attn_factor", 0);
  if (scaling.type == "yarn") {
    scaling.attention_factor =
        scaling.attention_factor == 1 ? 0 : scaling.attention_factor * usual_yarn_magnitude(scaling.factor);
  }
  scaling.beta_fast = keys.number("rope.scaling.yarn_beta_fast", scaling.beta_fast);
  scaling.beta_slow = keys.number("rope.scaling.yarn_beta_slow", scaling.beta_slow);
  return scaling;
}

/// The fields that GGUF's own keys do not say; of a file of another writer, none.
ModelConfig read_unsaid(const GgufFile& file) {
  const auto text = file.text(kConfigKey);
  if (!text) return {};
  const std::string where = file.where + ": " + std::string(kConfigKey);
  return tensor::model_config_from_json(parse_json(*text, where), where);
}

/// Of llama3 scaling the file has the divisors only; the parameters that kConfigKey tells are believed where they give
/// these.
RopeScaling read_unsaid_scaling(const GgufFile& file, const ModelConfig& config) {
  const std::vector<float> divisors = small_vector(file, "rope_freqs.weight");
  ModelConfig stated = config;
  stated.rope_scaling = read_unsaid(file).rope_scaling;
  const std::string& type = stated.rope_scaling.type;
  const bool fits = type == "llama3" ? are_llama3_divisors(stated, divisors) : type == "dynamic" && divisors.empty();
  return fits ? stated.rope_scaling : recognise_llama3_divisors(config, divisors).value_or(RopeScaling{});
}

/// What of the model GGUF's own keys and divisors would not give back, and readers do not have built in.
ModelConfig unsaid_fields(const ModelConfig& config, const Architecture& architecture) {
  ModelConfig unsaid, plain = config;
  const RopeScaling& scaling = config.rope_scaling;
  plain.rope_scaling = {};
  const bool lost = scaling.type == "llama3" ? recognise_llama3_divisors(plain, llama3_rope_divisors(config)) != scaling
                                             : scaling.type == "dynamic";
  if (lost) unsaid.rope_scaling = scaling;
  if (architecture.sliding == SlidingRule::none) unsaid.sliding_layers = config.sliding_layers;
  return unsaid;
}

std::vector<bool> read_sliding_layers(const Keys& keys, const Architecture* architecture, std::uint64_t layer_count) {
  const KeyValue* pattern = keys.find("attention.sliding_window_pattern");
  if (pattern != nullptr && pattern->is_array_of(ValueType::boolean) && pattern->count == layer_count) {
    std::vector<bool> result;
    for (std::uint64_t i = 0; i < layer_count; ++i) result.push_back(pattern->element_number(i) != 0);
    return result;
  }
  if (const auto every = pattern != nullptr ? pattern->unsigned_integer() : std::nullopt; every && *every > 0) {
    std::vector<bool> result;
    for (std::uint64_t i = 0; i < layer_count; ++i) result.push_back(i % *every < *every - 1);
    return result;
  }
  return architecture != nullptr ? sliding_layers(architecture->sliding, layer_count) : std::vector<bool>{};
}

/// The attention scale that llama.cpp derives where the file does not carry one: the head width, but the 27B models of
/// the Gemma families, known by their layer count, take hidden_size / head_count.
double derived_attention_scale(const ModelConfig& config, const Architecture& architecture) {
  if (config.head_count == 0 || config.head_dim == 0) return 0;
  const bool gemma_27b =
      architecture.norm_plus_one && config.layer_count == (architecture.neutral == "gemma2" ? 46u : 62u);
  return 1 / std::sqrt(static_cast<double>(gemma_27b ? config.hidden_size / config.head_count : config.head_dim));
}

/// What only some architectures have, and what their readers have built in.
void read_specials(const Keys& keys, const Architecture& architecture, ModelConfig& config) {
  config.activation = architecture.activation;
  if (config.sliding_window > 0) config.sliding_layers = read_sliding_layers(keys, &architecture, config.layer_count);
  if (architecture.neutral == "gemma2") {
    config.attention_softcap = keys.number("attn_logit_softcapping", 50);
    config.final_softcap = keys.number("final_logit_softcapping", 30);
  }
  if (architecture.neutral == "gemma3")
    config.rope_theta_local = keys.positive("rope.freq_base_swa", kDefaultRopeTheta);
  if (architecture.norm_plus_one) config.attention_scale = derived_attention_scale(config, architecture);
  if (architecture.neutral == "smollm3") {
    for (std::uint64_t i = 0; i < config.layer_count; ++i) config.rope_layers.push_back((i + 1) % 4 != 0);
  }
}

/// What longrope multiplies sines and cosines by where the configuration does not say; 0 where it is no longrope.
double derived_attention_factor(const RopeScaling& scaling, std::uint64_t context_length) {
  if (scaling.type != "longrope" || scaling.original_context_length < 2) return 0;
  const auto original = static_cast<double>(scaling.original_context_length);
  const double stretch = static_cast<double>(context_length) / original;
  return stretch <= 1 ? 1 : std::sqrt(1 + std::log(stretch) / std::log(original));
}

/// Numbers that config.json leaves out because they follow from the lengths.
void forget_derived(RopeScaling& scaling, std::uint64_t context_length) {
  const double attention = derived_attention_factor(scaling, context_length);
  if (attention == 0) return;
  constexpr double kLastBits = 1e-6;
  if (std::fabs(scaling.attention_factor - attention) <= kLastBits * attention) scaling.attention_factor = 0;
  if (scaling.factor == 1 && context_length > 0)
    scaling.factor = static_cast<double>(context_length) / static_cast<double>(scaling.original_context_length);
}

void write_rope(HeaderBuilder& header, const std::string& prefix, const ModelConfig& config,
                const Architecture& architecture) {
  if (config.rope_theta > 0) header.add_f32(prefix + "rope.freq_base", static_cast<float>(config.rope_theta));
  if (config.rope_theta_local > 0)
    header.add_f32(prefix + "rope.freq_base_swa", static_cast<float>(config.rope_theta_local));
  const std::uint64_t rotary = config.rotary_dim > 0 ? config.rotary_dim : config.head_dim;
  if (rotary > 0) header.add_u32(prefix + "rope.dimension_count", static_cast<std::uint32_t>(rotary));
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.type.empty() || scaling.type == "none" || scaling.type == "default" || scaling.type == "dynamic" ||
      scaling.type == "llama3") {
    return;  // llama3 is written as the tensor rope_freqs, and kConfigKey tells the rest
  }
  if (scaling.type != "linear" && scaling.type != "yarn" && scaling.type != "longrope") {
    throw Error(ErrorKind::unsupported,
                "GGUF has no RoPE scaling of type '" + scaling.type + "' (" + std::string(architecture.gguf) + ")");
  }
  if (scaling.type != "longrope") {
    header.add_string(prefix + "rope.scaling.type", scaling.type);
    header.add_f32(prefix + "rope.scaling.factor", static_cast<float>(scaling.factor));
  }
  if (scaling.original_context_length > 0) {
    header.add_u32(prefix + "rope.scaling.original_context_length",
                   static_cast<std::uint32_t>(scaling.original_context_length));
  }
  if (scaling.type == "yarn") {
    header.add_f32(prefix + "rope.scaling.yarn_beta_fast", static_cast<float>(scaling.beta_fast));
    header.add_f32(prefix + "rope.scaling.yarn_beta_slow", static_cast<float>(scaling.beta_slow));
    if (scaling.attention_factor != 0) {
      header.add_f32(prefix + "rope.scaling.attn_factor",
                     static_cast<float>(scaling.attention_factor / usual_yarn_magnitude(scaling.factor)));
    }
  }
  if (scaling.type == "longrope") {
    double attention = scaling.attention_factor;
    if (attention == 0) attention = derived_attention_factor(scaling, config.context_length);
    header.add_f32(prefix + "rope.scaling.attn_factor", static_cast<float>(attention));
  }
}

/// GGUF leaves these to the reader; a model that differs would be loaded and run wrongly.
void check_built_in(const ModelConfig& config, const Architecture& architecture) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::unsupported, "GGUF readers have " + what + " of " + std::string(architecture.neutral) +
                                            " built in, and this model differs");
  };
  if (!config.activation.empty() && config.activation != architecture.activation) {
    refuse("the activation (" + std::string(architecture.activation) + ", here " + config.activation + ")");
  }
  constexpr double kLastBits = 1e-5;
  const double scale = derived_attention_scale(config, architecture);
  if (config.attention_scale > 0 && std::fabs(config.attention_scale - scale) > kLastBits * scale) {
    refuse("the attention scale (" + std::to_string(scale) + ", here " + std::to_string(config.attention_scale) + ")");
  }
  if (!config.rope_scaling.truncate) refuse("the ends of YaRN's ramp at whole pairs");
  if (config.attention_scale_by_layer) refuse("one attention scale for all layers");
  if (config.bidirectional_attention) refuse("attention to earlier tokens alone");
  if (config.rope_scaling.type == "llama3" && !architecture.rope_interleaved) refuse("no llama3 RoPE scaling");
  const std::vector<bool> sliding = sliding_layers(architecture.sliding, config.layer_count);
  if (architecture.sliding != SlidingRule::none && !config.sliding_layers.empty() && config.sliding_layers != sliding) {
    refuse("the layers with a sliding window");
  }
  for (std::uint64_t i = 0; i < config.rope_layers.size(); ++i) {
    const bool rotates = architecture.neutral != "smollm3" || (i + 1) % 4 != 0;
    if (config.rope_layers[i] != rotates) refuse("the layers without RoPE");
  }
}

}  // namespace

ModelConfig read_config(const GgufFile& file, const Architecture* architecture) {
  const std::string prefix(file.text("general.architecture").value_or(""));
  const Keys keys(file, prefix);
  ModelConfig config;
  config.architecture = architecture != nullptr ? std::string(architecture->neutral) : prefix;
  config.hidden_size = keys.count("embedding_length", 0);
  config.intermediate_size = keys.count("feed_forward_length", 0);
  config.layer_count = keys.count("block_count", 0, kMaxLayers);
  config.context_length = keys.count("context_length", 0);
  config.head_count = keys.count("attention.head_count", 0);
  config.kv_head_count = keys.count("attention.head_count_kv", config.head_count);
  const std::uint64_t usual_head_dim = config.head_count > 0 ? config.hidden_size / config.head_count : 0;
  config.head_dim = keys.count("attention.key_length", usual_head_dim);
  config.expert_count = keys.count("expert_count", 0);
  config.experts_per_token = keys.count("expert_used_count", 0);
  config.norm_epsilon =
      keys.not_negative("attention.layer_norm_rms_epsilon", keys.not_negative("attention.layer_norm_epsilon", 0));
  config.vocab_size = keys.count("vocab_size", 0);
  if (const KeyValue* tokens = file.find("tokenizer.ggml.tokens");
      config.vocab_size == 0 && tokens != nullptr && tokens->type == ValueType::array) {
    config.vocab_size = tokens->count;
  }
  if (config.architecture != "gpt2") {
    config.rope_theta = keys.positive("rope.freq_base", kDefaultRopeTheta);
    const std::uint64_t rotary = keys.count("rope.dimension_count", config.head_dim);
    config.rotary_dim = rotary == config.head_dim ? 0 : rotary;
    config.rope_scaling = read_rope_scaling(file, keys, prefix);
    forget_derived(config.rope_scaling, config.context_length);
    if (config.rope_scaling.type.empty()) config.rope_scaling = read_unsaid_scaling(file, config);
  }
  config.sliding_window = keys.count("attention.sliding_window", 0);
  config.attention_scale = keys.number("attention.scale", 0);
  if (architecture != nullptr) read_specials(keys, *architecture, config);
  if (std::vector<bool> sliding = read_unsaid(file).sliding_layers;
      config.sliding_window > 0 && sliding.size() == config.layer_count)
    config.sliding_layers = std::move(sliding);
  return config;
}

std::vector<std::string> unsaid_to_readers(const ModelConfig& config, const Architecture& architecture) {
  const ModelConfig unsaid = unsaid_fields(config, architecture);
  const std::string kept = "; the key " + std::string(kConfigKey) + " keeps it for Ingot and the way back";
  std::vector<std::string> findings;
  if (unsaid.rope_scaling.type == "dynamic") {
    findings.push_back(
        "GGUF has no RoPE scaling of type 'dynamic': other readers run the model without it, which is "
        "the same up to " +
        std::to_string(config.context_length) + " tokens and not beyond" + kept);
  }
  if (!unsaid.sliding_layers.empty()) {
    findings.push_back("GGUF has no sliding window in some layers of " + std::string(architecture.neutral) +
                       ": other readers run the model without it, which is the same up to " +
                       std::to_string(config.sliding_window) + " tokens and not beyond" + kept);
  }
  return findings;
}

void write_config(HeaderBuilder& header, const ModelConfig& config, const Architecture& architecture) {
  check_built_in(config, architecture);
  const std::string prefix = std::string(architecture.gguf) + ".";
  const auto count = [&](std::string_view key, std::uint64_t value) {
    if (value > 0xFFFFFFFFu)
      throw Error(ErrorKind::limit_exceeded,
                  "GGUF key '" + prefix + std::string(key) + "' cannot hold " + std::to_string(value));
    header.add_u32(prefix + std::string(key), static_cast<std::uint32_t>(value));
  };
  const auto number = [&](std::string_view key, double value) {
    header.add_f32(prefix + std::string(key), static_cast<float>(value));
  };
  const bool gpt2 = architecture.neutral == "gpt2";
  count("block_count", config.layer_count);
  count("context_length", config.context_length);
  count("embedding_length", config.hidden_size);
  count("feed_forward_length", config.intermediate_size);
  count("attention.head_count", config.head_count);
  if (!gpt2) count("attention.head_count_kv", config.kv_head_count > 0 ? config.kv_head_count : config.head_count);
  if (!gpt2 && config.head_dim > 0) {
    count("attention.key_length", config.head_dim);
    count("attention.value_length", config.head_dim);
  }
  if (config.expert_count > 0) {
    count("expert_count", config.expert_count);
    count("expert_used_count", config.experts_per_token);
  }
  number(gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", config.norm_epsilon);
  if (config.vocab_size > 0) count("vocab_size", config.vocab_size);
  if (!gpt2) write_rope(header, prefix, config, architecture);
  if (const ModelConfig unsaid = unsaid_fields(config, architecture); unsaid != ModelConfig{})
    header.add_string(kConfigKey, canonical_json(tensor::to_json(unsaid)));
  if (config.sliding_window > 0 || architecture.neutral == "phi3")
    count("attention.sliding_window", config.sliding_window);
  if (architecture.neutral == "gemma2") {
    number("attn_logit_softcapping", config.attention_softcap);
    number("final_logit_softcapping", config.final_softcap);
  }
}

}  // namespace ingot::convert::gguf

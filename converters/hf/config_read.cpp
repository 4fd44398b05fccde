// config.json -> ModelConfig.
#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "converters/hf/config.h"
#include "converters/hf_architectures.h"

namespace ingot::convert {
namespace {

using tensor::ModelConfig;
using tensor::RopeScaling;

constexpr std::uint64_t kMaxLayers = 65'536;
constexpr std::uint64_t kMaxExtent = std::uint64_t{1} << 40;

using Keys = std::initializer_list<std::string_view>;

/// Typed look-up under any of several spellings; null and absent are the same.
class Reader {
 public:
  Reader(const Json& json, std::string_view where, bool lenient) : json_(json), where_(where), lenient_(lenient) {}

  [[nodiscard]] const Json* find(Keys keys) const {
    for (const std::string_view key : keys) {
      const Json* value = json_.find(key);
      if (value != nullptr && !value->is_null()) return value;
    }
    return nullptr;
  }
  /// Null counts.
  [[nodiscard]] bool has(std::string_view key) const { return json_.find(key) != nullptr; }
  [[nodiscard]] std::optional<std::uint64_t> count(Keys keys) const {
    return get<std::uint64_t>(keys, [&](const Json& value, const std::string& place) {
      const std::uint64_t number = value.as_u64(place);
      if (number > kMaxExtent)
        throw Error(ErrorKind::limit_exceeded, place + ": " + std::to_string(number) + " is no plausible size");
      return number;
    });
  }
  [[nodiscard]] std::optional<double> number(Keys keys) const {
    return get<double>(keys, [](const Json& value, const std::string& place) { return value.as_double(place); });
  }
  /// A number that means nothing where it is zero or below.
  [[nodiscard]] std::optional<double> positive(Keys keys) const {
    return get<double>(keys, [](const Json& value, const std::string& place) {
      const double number = value.as_double(place);
      if (!(number > 0))
        throw Error(ErrorKind::invalid_value, place + ": expected a number above 0, got " + std::to_string(number));
      return number;
    });
  }
  [[nodiscard]] std::optional<bool> flag(Keys keys) const {
    return get<bool>(keys, [](const Json& value, const std::string& place) { return value.as_bool(place); });
  }
  [[nodiscard]] std::string text(Keys keys) const {
    return get<std::string>(keys, [](const Json& value, const std::string& place) { return value.as_string(place); })
        .value_or("");
  }
  [[nodiscard]] std::vector<double> numbers(Keys keys) const {
    std::vector<double> result;
    const Json* value = find(keys);
    if (value == nullptr || (lenient_ && !value->is_array())) return result;
    const std::string place = where_ + ": " + std::string(*keys.begin());
    for (const Json& item : value->as_array(place)) result.push_back(item.as_double(place));
    return result;
  }
  [[nodiscard]] Reader nested(const Json& json, std::string_view name) const {
    return Reader(json, where_ + ": " + std::string(name), lenient_);
  }
  [[nodiscard]] const std::string& where() const noexcept { return where_; }
  /// Of an architecture that is not known: what cannot be read is not there.
  [[nodiscard]] bool is_lenient() const noexcept { return lenient_; }

 private:
  template <class T, class Convert>
  [[nodiscard]] std::optional<T> get(Keys keys, const Convert& convert) const {
    const Json* value = find(keys);
    if (value == nullptr) return std::nullopt;
    try {
      return convert(*value, where_ + ": " + std::string(*keys.begin()));
    } catch (const Error&) {
      if (lenient_) return std::nullopt;
      throw;
    }
  }

  const Json& json_;
  std::string where_;
  bool lenient_;
};

bool is_gemma(const ModelConfig& config) { return config.architecture.starts_with("gemma"); }

std::string neutral_activation(const std::string& name, bool gemma) {
  if (name == "swish") return "silu";
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return "gelu_tanh";
  if (name == "gelu" && gemma) return "gelu_tanh";  // early Gemma configs mean the tanh form
  return name;
}

/// "torch.bfloat16" (old files) and "bfloat16" are the same.
std::string neutral_dtype(std::string name) {
  constexpr std::string_view kPrefix = "torch.";
  if (name.starts_with(kPrefix)) name.erase(0, kPrefix.size());
  return name;
}

void read_sizes(const Reader& reader, ModelConfig& config) {
  config.vocab_size = reader.count({"vocab_size"}).value_or(0);
  config.hidden_size = reader.count({"hidden_size", "n_embd"}).value_or(0);
  config.intermediate_size = reader.count({"intermediate_size", "n_inner"}).value_or(0);
  config.layer_count = reader.count({"num_hidden_layers", "n_layer"}).value_or(0);
  if (config.layer_count > kMaxLayers) {
    throw Error(ErrorKind::limit_exceeded, reader.where() +
                                               ": num_hidden_layers: " + std::to_string(config.layer_count) +
                                               " is above the limit of " + std::to_string(kMaxLayers));
  }
  config.head_count = reader.count({"num_attention_heads", "n_head"}).value_or(0);
  config.context_length = reader.count({"max_position_embeddings", "n_positions", "n_ctx"}).value_or(0);
  std::uint64_t default_kv_heads = config.head_count;
  if (config.architecture == "gemma3") {  // multimodal configs leave out what equals the class defaults
    if (config.head_count == 0) config.head_count = 8;
    if (config.vocab_size == 0) config.vocab_size = 262'208;
    if (config.context_length == 0) config.context_length = 131'072;
    default_kv_heads = 4;
  }
  config.expert_count = reader.count({"num_local_experts", "num_experts"}).value_or(0);
  config.experts_per_token = reader.count({"num_experts_per_tok", "experts_per_token"}).value_or(0);
  config.kv_head_count = reader.count({"num_key_value_heads"}).value_or(default_kv_heads);
  config.head_dim = reader.count({"head_dim"}).value_or(0);
  if (config.head_dim == 0 && is_gemma(config)) config.head_dim = 256;
  if (config.head_dim == 0 && config.architecture == "qwen3") config.head_dim = 128;
  if (config.head_dim == 0 && config.head_count > 0) config.head_dim = config.hidden_size / config.head_count;
  if (config.architecture == "gpt2" && config.intermediate_size == 0) config.intermediate_size = 4 * config.hidden_size;
}

/// yarn with mscale (DeepSeek): the attention factor is the quotient of two such terms.
double mscale_term(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1; }

/// Some types mean nothing without it.
std::optional<double> read_factor(const Reader& rope, std::string_view type) {
  const std::optional<double> factor = rope.positive({"factor"});
  if (!factor && !rope.is_lenient() && (type == "linear" || type == "dynamic" || type == "llama3")) {
    throw Error(ErrorKind::invalid_value,
                rope.where() + ": factor: expected a number with rope_type \"" + std::string(type) + "\", got none");
  }
  return factor;
}

RopeScaling read_scaling(const Reader& rope, const Reader& top, const ModelConfig& config) {
  RopeScaling scaling;
  scaling.type = rope.text({"rope_type", "type"});
  if (scaling.type == "su") scaling.type = "longrope";
  if (scaling.type == "default" || scaling.type == "none" || scaling.type.empty()) return {};
  scaling.original_context_length = rope.count({"original_max_position_embeddings"})
                                        .value_or(top.count({"original_max_position_embeddings"}).value_or(0));
  scaling.attention_factor = rope.number({"attention_factor"}).value_or(0);
  scaling.low_freq_factor = rope.number({"low_freq_factor"}).value_or(scaling.low_freq_factor);
  scaling.high_freq_factor = rope.number({"high_freq_factor"}).value_or(scaling.high_freq_factor);
  scaling.beta_fast = rope.number({"beta_fast"}).value_or(scaling.beta_fast);
  scaling.beta_slow = rope.number({"beta_slow"}).value_or(scaling.beta_slow);
  scaling.truncate = rope.flag({"truncate"}).value_or(true);
  scaling.short_factor = rope.numbers({"short_factor"});
  scaling.long_factor = rope.numbers({"long_factor"});
  const double stretch =
      scaling.original_context_length > 0 && config.context_length > 0
          ? static_cast<double>(config.context_length) / static_cast<double>(scaling.original_context_length)
          : 1;
  const bool derives = scaling.type == "yarn" || scaling.type == "longrope";
  scaling.factor = read_factor(rope, scaling.type).value_or(derives ? stretch : 1);
  const std::optional<double> mscale = rope.number({"mscale"});
  const std::optional<double> mscale_all = rope.number({"mscale_all_dim"});
  if (scaling.type == "yarn" && scaling.attention_factor == 0 && mscale && mscale_all && *mscale != 0 &&
      *mscale_all != 0) {
    scaling.attention_factor = mscale_term(scaling.factor, *mscale) / mscale_term(scaling.factor, *mscale_all);
  }
  return scaling;
}

void read_partial_rotary(const Reader& rope, const Reader& top, ModelConfig& config) {
  const double part =
      rope.number({"partial_rotary_factor"}).value_or(top.number({"partial_rotary_factor"}).value_or(1));
  if (!(part > 0 && part <= 1)) {
    throw Error(ErrorKind::invalid_value,
                top.where() + ": partial_rotary_factor: " + std::to_string(part) + ", expected more than 0, at most 1");
  }
  if (part < 1) config.rotary_dim = static_cast<std::uint64_t>(static_cast<double>(config.head_dim) * part);
}

void read_rope(const Reader& reader, const HfArchitecture* row, ModelConfig& config) {
  if (row != nullptr && row->default_rope_theta == 0) return;
  const double default_theta = row != nullptr ? row->default_rope_theta : 0;
  config.rope_theta = reader.positive({"rope_theta"}).value_or(default_theta);
  const bool two_bases = config.architecture == "gemma3";
  if (two_bases) config.rope_theta_local = reader.positive({"rope_local_base_freq"}).value_or(10000);
  const Json* parameters = reader.find({"rope_parameters", "rope_scaling"});
  if (parameters == nullptr || !parameters->is_object()) {
    read_partial_rotary(reader, reader, config);
    return;
  }
  const Json* full = parameters->find("full_attention");
  const Reader rope = reader.nested(full != nullptr ? *full : *parameters, "rope_parameters");
  config.rope_theta = rope.positive({"rope_theta"}).value_or(config.rope_theta);
  config.rope_scaling = read_scaling(rope, reader, config);
  read_partial_rotary(rope, reader, config);
  const Json* local = parameters->find("sliding_attention");
  if (two_bases && local != nullptr && local->is_object()) {
    config.rope_theta_local =
        reader.nested(*local, "rope_parameters").positive({"rope_theta"}).value_or(config.rope_theta_local);
  }
}

std::vector<bool> layers_where(std::uint64_t count, const auto& condition) {
  std::vector<bool> layers(count);
  for (std::uint64_t i = 0; i < count; ++i) layers[i] = condition(i);
  return layers;
}

/// Which layers look only at a window, by the architecture's old rules; layer_types overrides them.
std::vector<bool> sliding_rule(const Reader& reader, const ModelConfig& config) {
  const std::uint64_t layers = config.layer_count;
  if (config.architecture == "gemma2") return layers_where(layers, [](std::uint64_t i) { return i % 2 == 0; });
  if (config.architecture == "gemma3") {
    const std::uint64_t pattern = reader.count({"sliding_window_pattern", "_sliding_window_pattern"}).value_or(6);
    return layers_where(layers, [&](std::uint64_t i) { return pattern == 0 || (i + 1) % pattern != 0; });
  }
  if (config.architecture == "qwen2" || config.architecture == "qwen3") {
    const std::uint64_t first = reader.count({"max_window_layers"}).value_or(28);
    return layers_where(layers, [&](std::uint64_t i) { return i >= first; });
  }
  if (config.architecture == "smollm3") {
    return layers_where(layers, [&](std::uint64_t i) { return !config.rope_layers.empty() && !config.rope_layers[i]; });
  }
  return std::vector<bool>(layers, true);
}

void read_window(const Reader& reader, ModelConfig& config) {
  const bool gemma_window = config.architecture == "gemma2" || config.architecture == "gemma3";
  config.sliding_window = reader.count({"sliding_window"}).value_or(gemma_window ? 4096 : 0);
  const bool switchable =
      config.architecture == "qwen2" || config.architecture == "qwen3" || config.architecture == "smollm3";
  if (switchable && !reader.flag({"use_sliding_window"}).value_or(false)) config.sliding_window = 0;
  if (config.architecture == "llama" || config.architecture == "olmo2" || config.architecture == "gemma")
    config.sliding_window = 0;
  if (config.sliding_window == 0) return;
  std::vector<bool> sliding;
  const Json* types = reader.find({"layer_types"});
  if (types != nullptr && types->is_array()) {
    for (const Json& type : types->as_array(reader.where())) {
      sliding.push_back(type.as_string(reader.where() + ": layer_types") == "sliding_attention");
    }
    if (sliding.size() != config.layer_count) {
      throw Error(ErrorKind::invalid_value, reader.where() + ": layer_types has " + std::to_string(sliding.size()) +
                                                " entries for " + std::to_string(config.layer_count) + " layers");
    }
  } else {
    sliding = sliding_rule(reader, config);
  }
  const auto count = static_cast<std::uint64_t>(std::count(sliding.begin(), sliding.end(), true));
  if (count == 0) config.sliding_window = 0;
  if (count != 0 && count != config.layer_count) config.sliding_layers = std::move(sliding);
}

/// SmolLM3: 1 in `no_rope_layers` means that the layer does rotate.
void read_rope_layers(const Reader& reader, ModelConfig& config) {
  if (config.architecture != "smollm3") return;
  std::vector<bool> rotates;
  const std::vector<double> listed = reader.numbers({"no_rope_layers"});
  if (!listed.empty()) {
    if (listed.size() != config.layer_count) {
      throw Error(ErrorKind::invalid_value, reader.where() + ": no_rope_layers has " + std::to_string(listed.size()) +
                                                " entries for " + std::to_string(config.layer_count) + " layers");
    }
    for (const double value : listed) rotates.push_back(value != 0);
  } else {
    const std::uint64_t interval = reader.count({"no_rope_layer_interval"}).value_or(4);
    rotates =
        layers_where(config.layer_count, [&](std::uint64_t i) { return interval == 0 || (i + 1) % interval != 0; });
  }
  if (std::find(rotates.begin(), rotates.end(), false) != rotates.end()) config.rope_layers = std::move(rotates);
}

void read_attention(const Reader& reader, ModelConfig& config) {
  if (config.architecture == "gemma2" || config.architecture == "gemma3") {
    const double scalar = reader.number({"query_pre_attn_scalar"}).value_or(256);
    if (!(scalar > 0))
      throw Error(ErrorKind::invalid_value, reader.where() + ": query_pre_attn_scalar must be positive");
    config.attention_scale = 1 / std::sqrt(scalar);
    // Null switches a cap off; where the key is absent Gemma 2 has them.
    const auto cap = [&](std::string_view key, double usual) {
      return reader.number({key}).value_or(reader.has(key) || config.architecture != "gemma2" ? 0 : usual);
    };
    config.attention_softcap = cap("attn_logit_softcapping", 50);
    config.final_softcap = cap("final_logit_softcapping", 30);
    config.bidirectional_attention = reader.flag({"use_bidirectional_attention"}).value_or(false);
  }
  if (config.architecture != "gpt2") return;
  if (!reader.flag({"scale_attn_weights"}).value_or(true)) config.attention_scale = 1;
  config.attention_scale_by_layer = reader.flag({"scale_attn_by_inverse_layer_idx"}).value_or(false);
}

}  // namespace

tensor::ModelConfig read_hf_config(const Json& json, std::string_view where) {
  (void)json.as_object(where);
  // A multimodal checkpoint keeps its language model's numbers one level down.
  const Json* text_config = json.find("text_config");
  const bool nested = text_config != nullptr && text_config->is_object();
  const Json& source = nested ? *text_config : json;
  const Json* type = source.find("model_type");
  if (type == nullptr) type = json.find("model_type");
  const std::string model_type = type != nullptr && type->is_string() ? type->as_string(where) : "";
  const HfArchitecture* row = find_hf_architecture(model_type);

  const Reader reader(source, where, row == nullptr);
  ModelConfig config;
  config.architecture = row != nullptr ? std::string(row->architecture) : model_type;
  read_sizes(reader, config);
  config.norm_epsilon = reader.number({"rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps"})
                            .value_or(row != nullptr ? row->default_norm_epsilon : 0);
  if (config.norm_epsilon < 0) {
    throw Error(ErrorKind::invalid_value, reader.where() + ": epsilon of the norms: expected a number from 0 on, got " +
                                              std::to_string(config.norm_epsilon));
  }
  read_rope(reader, row, config);
  read_rope_layers(reader, config);
  read_window(reader, config);
  read_attention(reader, config);
  const std::string activation = is_gemma(config)
                                     ? reader.text({"hidden_activation", "hidden_act"})
                                     : reader.text({"hidden_act", "activation_function", "hidden_activation"});
  config.activation = neutral_activation(activation, is_gemma(config));
  if (config.activation.empty() && row != nullptr) config.activation = row->default_activation;
  const Reader outer(json, where, row == nullptr);
  config.tied_embeddings =
      reader.flag({"tie_word_embeddings"})
          .value_or(outer.flag({"tie_word_embeddings"}).value_or(row != nullptr && row->tied_by_default));
  config.torch_dtype = neutral_dtype(reader.text({"dtype", "torch_dtype"}));
  if (config.torch_dtype.empty()) config.torch_dtype = neutral_dtype(outer.text({"dtype", "torch_dtype"}));
  return config;
}

std::string hf_quantization_method(const Json& config) {
  const Json* of_mlx = config.find("quantization");  // which names no method, and repeats it for transformers
  const Json* quantization = config.find("quantization_config");
  if (quantization == nullptr) quantization = of_mlx;
  if (quantization == nullptr || quantization->is_null()) return "";
  const Json* method = quantization->find("quant_method");
  if (method != nullptr && method->is_string()) return method->as_string("quant_method");
  return of_mlx != nullptr ? "mlx" : "unnamed";
}

}  // namespace ingot::convert

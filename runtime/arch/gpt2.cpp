// GPT-2: LayerNorm, learned positions, one fused projection for queries, keys and values, GELU, tied head.
#include <algorithm>
#include <cmath>

#include "format/base/error.h"
#include "format/base/parallel.h"
#include "runtime/activation.h"
#include "runtime/arch/architecture.h"
#include "runtime/attention.h"
#include "runtime/network_math.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_gpt2(const Loader& loader, std::uint64_t context);

namespace {

struct Config {
  std::uint64_t vocab, hidden, intermediate, layers, heads, head_dim, positions;
  double epsilon;
  float attention_scale;
  bool scale_by_layer;  // scores are also divided by the layer's number, from 1
  const Activation* activation;
};

struct Layer {
  Matrix attention, attention_output, up, down;
  std::vector<float> attention_bias, attention_output_bias, up_bias, down_bias;
  std::vector<float> norm_1, norm_1_bias, norm_2, norm_2_bias;
};

Config read_config(const Loader& loader) {
  const tensor::ModelConfig& source = loader.config();
  Config config = {};
  config.vocab = loader.positive("vocab_size", source.vocab_size, kMaxExtent);
  config.hidden = loader.positive("hidden_size", source.hidden_size, kMaxExtent);
  config.layers = loader.positive("layer_count", source.layer_count, kMaxLayers);
  config.heads = loader.positive("head_count", source.head_count, config.hidden);
  config.positions = loader.positive("context_length", source.context_length, kMaxExtent);
  config.intermediate = loader.positive(
      "intermediate_size", source.intermediate_size == 0 ? 4 * config.hidden : source.intermediate_size, kMaxExtent);
  if (config.hidden % config.heads != 0) {
    throw Error(ErrorKind::invalid_value, "model configuration: head_count: expected a divisor of hidden_size " +
                                              std::to_string(config.hidden) + ", got " + std::to_string(config.heads));
  }
  config.head_dim = config.hidden / config.heads;
  config.epsilon = source.norm_epsilon;
  config.attention_scale = static_cast<float>(
      source.attention_scale != 0 ? source.attention_scale : 1 / std::sqrt(static_cast<double>(config.head_dim)));
  config.scale_by_layer = source.attention_scale_by_layer;
  config.activation = &find_activation(source.architecture, source.activation, "gelu_tanh");
  return config;
}

Layer load_layer(const Loader& loader, const Config& config, std::uint64_t index) {
  const auto named = [&](std::string_view part) {
    return "transformer.h." + std::to_string(index) + "." + std::string(part);
  };
  const std::uint64_t hidden = config.hidden;
  Layer layer;
  layer.norm_1 = loader.vector(named("ln_1.weight"), hidden);
  layer.norm_1_bias = loader.vector(named("ln_1.bias"), hidden);
  layer.attention = loader.matrix(named("attn.c_attn.weight"), 3 * hidden, hidden);
  layer.attention_bias = loader.vector(named("attn.c_attn.bias"), 3 * hidden);
  layer.attention_output = loader.matrix(named("attn.c_proj.weight"), hidden, hidden);
  layer.attention_output_bias = loader.vector(named("attn.c_proj.bias"), hidden);
  layer.norm_2 = loader.vector(named("ln_2.weight"), hidden);
  layer.norm_2_bias = loader.vector(named("ln_2.bias"), hidden);
  layer.up = loader.matrix(named("mlp.c_fc.weight"), config.intermediate, hidden);
  layer.up_bias = loader.vector(named("mlp.c_fc.bias"), config.intermediate);
  layer.down = loader.matrix(named("mlp.c_proj.weight"), hidden, config.intermediate);
  layer.down_bias = loader.vector(named("mlp.c_proj.bias"), hidden);
  return layer;
}

class Gpt2 final : public Network {
 public:
  Gpt2(const Loader& loader, std::uint64_t context) : config_(read_config(loader)) {
    if (context > config_.positions) {
      throw Error(ErrorKind::limit_exceeded, "context " + std::to_string(context) +
                                                 ": the model has learned positions for " +
                                                 std::to_string(config_.positions));
    }
    (void)loader.require("transformer.wte.weight", {config_.vocab, config_.hidden});
    for (std::uint64_t i = 0; i < config_.layers; ++i) layers_.push_back(load_layer(loader, config_, i));
    final_norm_ = loader.vector("transformer.ln_f.weight", config_.hidden);
    final_norm_bias_ = loader.vector("transformer.ln_f.bias", config_.hidden);
    positions_ = loader.matrix("transformer.wpe.weight", config_.positions, config_.hidden);
    embedding_ = loader.matrix("transformer.wte.weight", config_.vocab, config_.hidden);
    const tensor::Tensor* head = loader.model().find("lm_head.weight");
    if (head != nullptr && head != loader.model().find("transformer.wte.weight")) {
      head_ = std::make_unique<Matrix>(loader.matrix("lm_head.weight", config_.vocab, config_.hidden));
    }
    cache_ = std::make_unique<KvCache>(loader.kv(), config_.layers, config_.heads, context, config_.head_dim);
    x_.resize(kMaxVectors * config_.hidden);
    normed_.resize(x_.size());
    projected_.resize(x_.size());
    fused_.resize(3 * x_.size());
    inner_.resize(kMaxVectors * config_.intermediate);
    scratch_.resize(static_cast<std::size_t>(thread_count()));
    scores_.assign(scratch_.size(), std::vector<float>(cache_->scratch_elems()));
    for (Scratch& scratch : scratch_) reserve(scratch);
  }

  bool prepare(std::uint64_t) override { return false; }

  void forward(std::span<const std::uint32_t> tokens, std::uint64_t position, std::span<float> logits) override {
    const std::uint64_t count = tokens.size(), hidden = config_.hidden;
    for (std::uint64_t t = 0; t < count; ++t) {
      embedding_.row(tokens[t], x_.data() + t * hidden, scratch_[0]);
      positions_.row(position + t, normed_.data(), scratch_[0]);
      for (std::uint64_t i = 0; i < hidden; ++i) x_[t * hidden + i] += normed_[i];
    }
    for (std::uint64_t i = 0; i < config_.layers; ++i) {
      attention_step(layers_[i], i, position, count);
      mlp_step(layers_[i], count);
    }
    if (logits.empty()) return;
    const std::uint64_t rows = logits.size() / config_.vocab;
    for (std::uint64_t t = 0; t < rows; ++t) {
      layer_norm(x_.data() + (count - rows + t) * hidden, final_norm_.data(), final_norm_bias_.data(), hidden,
                 config_.epsilon, normed_.data() + t * hidden);
    }
    const Product head = {
        head_ ? head_.get() : &embedding_, normed_.data(), hidden, logits.data(), config_.vocab, nullptr};
    multiply({&head, 1}, rows, scratch_);
  }

  [[nodiscard]] std::uint64_t vocab_size() const noexcept override { return config_.vocab; }
  [[nodiscard]] std::uint64_t copied_bytes() const noexcept override {
    std::uint64_t bytes = embedding_.copied_bytes() + positions_.copied_bytes();
    if (head_) bytes += head_->copied_bytes();
    for (const Layer& layer : layers_) {
      for (const Matrix* m : {&layer.attention, &layer.attention_output, &layer.up, &layer.down})
        bytes += m->copied_bytes();
    }
    return bytes;
  }
  [[nodiscard]] KvCache& cache() noexcept override { return *cache_; }

  [[nodiscard]] std::uint64_t weight_bytes_per_token() const noexcept override {
    std::uint64_t bytes = (head_ ? *head_ : embedding_).stored_bytes();
    for (const Layer& layer : layers_) {
      for (const Matrix* m : {&layer.attention, &layer.attention_output, &layer.up, &layer.down})
        bytes += m->stored_bytes();
    }
    return bytes;
  }

 private:
  void reserve(Scratch& scratch) const {
    embedding_.reserve(scratch);
    positions_.reserve(scratch);
    if (head_) head_->reserve(scratch);
    for (const Layer& layer : layers_) {
      for (const Matrix* m : {&layer.attention, &layer.attention_output, &layer.up, &layer.down}) m->reserve(scratch);
    }
  }

  void norm(const std::vector<float>& weight, const std::vector<float>& bias, std::uint64_t count) noexcept {
    for (std::uint64_t t = 0; t < count; ++t) {
      layer_norm(x_.data() + t * config_.hidden, weight.data(), bias.data(), config_.hidden, config_.epsilon,
                 normed_.data() + t * config_.hidden);
    }
  }

  void add_projected(std::uint64_t count) noexcept {
    for (std::uint64_t i = 0; i < count * config_.hidden; ++i) x_[i] += projected_[i];
  }

  void attention_step(const Layer& layer, std::uint64_t index, std::uint64_t position, std::uint64_t count) {
    const std::uint64_t hidden = config_.hidden;
    norm(layer.norm_1, layer.norm_1_bias, count);
    const Product fused = {&layer.attention, normed_.data(), hidden,
                           fused_.data(),    3 * hidden,     layer.attention_bias.data()};
    multiply({&fused, 1}, count, scratch_);
    for (std::uint64_t t = 0; t < count; ++t) {  // a row is queries | keys | values
      const float* row = fused_.data() + t * 3 * hidden;
      cache_->store(index, position + t, row + hidden, row + 2 * hidden);
    }
    const float divisor = config_.scale_by_layer ? static_cast<float>(index + 1) : 1;
    const AttentionShape shape = {config_.heads, config_.attention_scale / divisor, 0, 0};
    attend(*cache_, index, shape, position, count, fused_.data(), 3 * hidden, scores_);
    const Product output = {&layer.attention_output, fused_.data(), 3 * hidden,
                            projected_.data(),       hidden,        layer.attention_output_bias.data()};
    multiply({&output, 1}, count, scratch_);
    add_projected(count);
  }

  void mlp_step(const Layer& layer, std::uint64_t count) {
    norm(layer.norm_2, layer.norm_2_bias, count);
    const Product up = {&layer.up,     normed_.data(),       config_.hidden,
                        inner_.data(), config_.intermediate, layer.up_bias.data()};
    multiply({&up, 1}, count, scratch_);
    config_.activation->apply(inner_.data(), count * config_.intermediate);
    const Product down = {&layer.down,       inner_.data(),  config_.intermediate,
                          projected_.data(), config_.hidden, layer.down_bias.data()};
    multiply({&down, 1}, count, scratch_);
    add_projected(count);
  }

  Config config_;
  Matrix embedding_, positions_;
  std::unique_ptr<Matrix> head_;  // null: tied
  std::vector<float> final_norm_, final_norm_bias_;
  std::vector<Layer> layers_;
  std::unique_ptr<KvCache> cache_;
  std::vector<float> x_, normed_, projected_, fused_, inner_;  // (kMaxVectors, width)
  std::vector<Scratch> scratch_;                               // by worker
  std::vector<std::vector<float>> scores_;                     // by worker
};

}  // namespace

std::unique_ptr<Network> load_gpt2(const Loader& loader, std::uint64_t context) {
  return std::make_unique<Gpt2>(loader, context);
}

}  // namespace ingot::runtime

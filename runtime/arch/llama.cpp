// The Llama family (Llama 1-3, Mistral, SmolLM2): RMSNorm, rotary positions, grouped queries, gated SiLU. Biases are
// used where present.
#include <algorithm>
#include <cmath>

#include "format/base/error.h"
#include "format/base/parallel.h"
#include "runtime/arch/architecture.h"
#include "runtime/attention.h"
#include "runtime/network_math.h"
#include "runtime/rope.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_llama(const Loader& loader, std::uint64_t context);

namespace {

struct Config {
  std::uint64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim;
  double epsilon;
  float attention_scale;
  bool interleaved;  // q and k keep the neighbour order of their file
};

struct Layer {
  Matrix q, k, v, o, gate, up, down;
  std::vector<float> q_bias, k_bias, v_bias, o_bias, gate_bias, up_bias, down_bias;
  std::vector<float> input_norm, post_attention_norm;
  std::uint64_t window;
};

std::string layer_name(std::uint64_t layer, std::string_view part) {
  return "model.layers." + std::to_string(layer) + "." + std::string(part);
}

bool is_interleaved(const tensor::Tensor& tensor, std::uint64_t heads) {
  return tensor.transforms.size() == 1 && tensor.transforms[0].kind == tensor::TransformKind::rope_interleave &&
         tensor.transforms[0].heads == heads;
}

// Neighbour pairs need no copy, but only if every layer's q and k carry them and whole heads rotate.
bool all_interleaved(const Loader& loader, const Config& config) {
  const std::uint64_t rotary = loader.config().rotary_dim;
  if (rotary != 0 && rotary != config.head_dim) return false;
  for (std::uint64_t i = 0; i < config.layers; ++i) {
    const auto& q =
        loader.require(layer_name(i, "self_attn.q_proj.weight"), {config.heads * config.head_dim, config.hidden});
    const auto& k =
        loader.require(layer_name(i, "self_attn.k_proj.weight"), {config.kv_heads * config.head_dim, config.hidden});
    if (!is_interleaved(q, config.heads) || !is_interleaved(k, config.kv_heads)) return false;
  }
  return true;
}

Config read_config(const Loader& loader) {
  const tensor::ModelConfig& source = loader.config();
  Config config = {};
  config.vocab = loader.positive("vocab_size", source.vocab_size, kMaxExtent);
  config.hidden = loader.positive("hidden_size", source.hidden_size, kMaxExtent);
  config.intermediate = loader.positive("intermediate_size", source.intermediate_size, kMaxExtent);
  config.layers = loader.positive("layer_count", source.layer_count, kMaxLayers);
  config.heads = loader.positive("head_count", source.head_count, kMaxExtent);
  config.kv_heads =
      loader.positive("kv_head_count", source.kv_head_count == 0 ? config.heads : source.kv_head_count, config.heads);
  config.head_dim =
      loader.positive("head_dim", source.head_dim == 0 ? config.hidden / config.heads : source.head_dim, kMaxExtent);
  if (config.heads % config.kv_heads != 0) {
    throw Error(ErrorKind::invalid_value, "model configuration: kv_head_count: expected a divisor of head_count " +
                                              std::to_string(config.heads) + ", got " +
                                              std::to_string(config.kv_heads));
  }
  const std::uint64_t rotary = source.rotary_dim == 0 ? config.head_dim : source.rotary_dim;
  if (rotary % 2 != 0 || rotary > config.head_dim) {
    throw Error(ErrorKind::invalid_value,
                "model configuration: rotary dimensions: expected an even number up to head_dim " +
                    std::to_string(config.head_dim) + ", got " + std::to_string(rotary));
  }
  if (!source.activation.empty() && source.activation != "silu") {
    throw Error(ErrorKind::unsupported,
                "architecture " + source.architecture + " with activation \"" + source.activation + "\"");
  }
  config.epsilon = source.norm_epsilon;
  config.attention_scale = static_cast<float>(
      source.attention_scale != 0 ? source.attention_scale : 1 / std::sqrt(static_cast<double>(config.head_dim)));
  config.interleaved = all_interleaved(loader, config);
  return config;
}

// Stored row order of a vector whose matrix keeps its neighbour pairs: row 2i+j of a head is logical row j*(d/2)+i.
std::vector<float> interleaved(const std::vector<float>& logical, std::uint64_t head_dim) {
  std::vector<float> stored(logical.size());
  for (std::size_t at = 0; at < logical.size(); ++at) {
    const std::size_t head = at / head_dim, within = at % head_dim;
    stored[at] = logical[head * head_dim + within % 2 * (head_dim / 2) + within / 2];
  }
  return stored;
}

Layer load_layer(const Loader& loader, const Config& config, std::uint64_t index) {
  const auto named = [&](std::string_view part) { return layer_name(index, part); };
  const std::uint64_t q_rows = config.heads * config.head_dim, kv_rows = config.kv_heads * config.head_dim;
  const auto order = config.interleaved ? Matrix::RowOrder::stored : Matrix::RowOrder::logical;
  Layer layer;
  layer.q = loader.matrix(named("self_attn.q_proj.weight"), q_rows, config.hidden, order);
  layer.k = loader.matrix(named("self_attn.k_proj.weight"), kv_rows, config.hidden, order);
  layer.v = loader.matrix(named("self_attn.v_proj.weight"), kv_rows, config.hidden);
  layer.o = loader.matrix(named("self_attn.o_proj.weight"), config.hidden, q_rows);
  layer.gate = loader.matrix(named("mlp.gate_proj.weight"), config.intermediate, config.hidden);
  layer.up = loader.matrix(named("mlp.up_proj.weight"), config.intermediate, config.hidden);
  layer.down = loader.matrix(named("mlp.down_proj.weight"), config.hidden, config.intermediate);
  layer.q_bias = loader.optional_vector(named("self_attn.q_proj.bias"), q_rows);
  layer.k_bias = loader.optional_vector(named("self_attn.k_proj.bias"), kv_rows);
  if (config.interleaved) {
    layer.q_bias = interleaved(layer.q_bias, config.head_dim);
    layer.k_bias = interleaved(layer.k_bias, config.head_dim);
  }
  layer.v_bias = loader.optional_vector(named("self_attn.v_proj.bias"), kv_rows);
  layer.o_bias = loader.optional_vector(named("self_attn.o_proj.bias"), config.hidden);
  layer.gate_bias = loader.optional_vector(named("mlp.gate_proj.bias"), config.intermediate);
  layer.up_bias = loader.optional_vector(named("mlp.up_proj.bias"), config.intermediate);
  layer.down_bias = loader.optional_vector(named("mlp.down_proj.bias"), config.hidden);
  layer.input_norm = loader.vector(named("input_layernorm.weight"), config.hidden);
  layer.post_attention_norm = loader.vector(named("post_attention_layernorm.weight"), config.hidden);
  const std::vector<bool>& sliding = loader.config().sliding_layers;
  const bool slides = sliding.empty() || (index < sliding.size() && sliding[index]);
  layer.window = slides ? loader.config().sliding_window : 0;
  return layer;
}

const float* data_or_null(const std::vector<float>& values) noexcept {
  return values.empty() ? nullptr : values.data();
}

class Llama final : public Network {
 public:
  Llama(const Loader& loader, std::uint64_t context)
      : config_(read_config(loader)),
        rope_(loader.config(), config_.head_dim, config_.interleaved ? Rope::Pairs::neighbours : Rope::Pairs::halves,
              kMaxVectors) {
    load_weights(loader);
    cache_ = std::make_unique<KvCache>(config_.layers, config_.kv_heads, context, config_.head_dim);
    const std::uint64_t widest = std::max(config_.hidden, config_.heads * config_.head_dim);
    x_.resize(kMaxVectors * config_.hidden);
    normed_.resize(x_.size());
    projected_.resize(x_.size());
    q_.resize(kMaxVectors * widest);
    k_.resize(kMaxVectors * config_.kv_heads * config_.head_dim);
    v_.resize(k_.size());
    gate_.resize(kMaxVectors * config_.intermediate);
    up_.resize(gate_.size());
    scratch_.resize(static_cast<std::size_t>(thread_count()));
    scores_.assign(scratch_.size(), std::vector<float>(context));
    for (Scratch& scratch : scratch_) reserve(scratch);
  }

  void forward(std::span<const std::uint32_t> tokens, std::uint64_t position, std::span<float> logits) override {
    const std::uint64_t count = tokens.size();
    for (std::uint64_t t = 0; t < count; ++t) embedding_.row(tokens[t], x_.data() + t * config_.hidden, scratch_[0]);
    rope_.prepare(position, count);
    for (std::uint64_t i = 0; i < config_.layers; ++i) {
      attention_step(layers_[i], i, position, count);
      mlp_step(layers_[i], count);
    }
    if (logits.empty()) return;
    rms_norm(x_.data() + (count - 1) * config_.hidden, final_norm_.data(), config_.hidden, config_.epsilon,
             normed_.data());
    const Product head = {
        head_ ? head_.get() : &embedding_, normed_.data(), config_.hidden, logits.data(), config_.vocab, nullptr};
    multiply({&head, 1}, 1, scratch_);
  }

  [[nodiscard]] std::uint64_t vocab_size() const noexcept override { return config_.vocab; }

  [[nodiscard]] std::uint64_t weight_bytes_per_token() const noexcept override {
    std::uint64_t bytes = (head_ ? *head_ : embedding_).stored_bytes();
    for (const Layer& layer : layers_) {
      for (const Matrix* m : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
        bytes += m->stored_bytes();
    }
    return bytes;
  }

 private:
  void load_weights(const Loader& loader) {
    const bool has_head = loader.model().find("lm_head.weight") != nullptr;
    const bool has_embedding = loader.model().find("model.embed_tokens.weight") != nullptr;
    // A tied matrix may be stored under either name.
    const bool tied = loader.config().tied_embeddings && !(has_head && has_embedding && untied_head(loader));
    const char* embedding = tied && !has_embedding && has_head ? "lm_head.weight" : "model.embed_tokens.weight";
    (void)loader.require(embedding, {config_.vocab, config_.hidden});
    if (!tied) (void)loader.require("lm_head.weight", {config_.vocab, config_.hidden});
    for (std::uint64_t i = 0; i < config_.layers; ++i) layers_.push_back(load_layer(loader, config_, i));
    final_norm_ = loader.vector("model.norm.weight", config_.hidden);
    embedding_ = loader.matrix(embedding, config_.vocab, config_.hidden);
    if (!tied) head_ = std::make_unique<Matrix>(loader.matrix("lm_head.weight", config_.vocab, config_.hidden));
  }

  // A head stored beside the embedding, as its own tensor.
  static bool untied_head(const Loader& loader) {
    return loader.model().find("lm_head.weight") != loader.model().find("model.embed_tokens.weight");
  }

  void reserve(Scratch& scratch) const {
    embedding_.reserve(scratch);
    if (head_) head_->reserve(scratch);
    for (const Layer& layer : layers_) {
      for (const Matrix* m : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
        m->reserve(scratch);
    }
  }

  void norm(const std::vector<float>& weight, std::uint64_t count) noexcept {
    for (std::uint64_t t = 0; t < count; ++t) {
      rms_norm(x_.data() + t * config_.hidden, weight.data(), config_.hidden, config_.epsilon,
               normed_.data() + t * config_.hidden);
    }
  }

  void add_projected(std::uint64_t count) noexcept {
    for (std::uint64_t i = 0; i < count * config_.hidden; ++i) x_[i] += projected_[i];
  }

  void attention_step(const Layer& layer, std::uint64_t index, std::uint64_t position, std::uint64_t count) {
    const std::uint64_t q_width = config_.heads * config_.head_dim, kv_width = config_.kv_heads * config_.head_dim;
    norm(layer.input_norm, count);
    const Product projections[] = {
        {&layer.q, normed_.data(), config_.hidden, q_.data(), q_width, data_or_null(layer.q_bias)},
        {&layer.k, normed_.data(), config_.hidden, k_.data(), kv_width, data_or_null(layer.k_bias)},
        {&layer.v, normed_.data(), config_.hidden, v_.data(), kv_width, data_or_null(layer.v_bias)},
    };
    multiply(projections, count, scratch_);
    for (std::uint64_t t = 0; t < count; ++t) {
      for (std::uint64_t h = 0; h < config_.heads; ++h) rope_.rotate(q_.data() + t * q_width + h * config_.head_dim, t);
      for (std::uint64_t h = 0; h < config_.kv_heads; ++h)
        rope_.rotate(k_.data() + t * kv_width + h * config_.head_dim, t);
      cache_->store(index, position + t, k_.data() + t * kv_width, v_.data() + t * kv_width);
    }
    const AttentionShape shape = {config_.heads, config_.attention_scale, layer.window};
    attend(*cache_, index, shape, position, count, q_.data(), attended(), scores_);
    const Product output = {&layer.o,          attended(),     q_width,
                            projected_.data(), config_.hidden, data_or_null(layer.o_bias)};
    multiply({&output, 1}, count, scratch_);
    add_projected(count);
  }

  void mlp_step(const Layer& layer, std::uint64_t count) {
    norm(layer.post_attention_norm, count);
    const Product projections[] = {
        {&layer.gate, normed_.data(), config_.hidden, gate_.data(), config_.intermediate,
         data_or_null(layer.gate_bias)},
        {&layer.up, normed_.data(), config_.hidden, up_.data(), config_.intermediate, data_or_null(layer.up_bias)},
    };
    multiply(projections, count, scratch_);
    for (std::uint64_t i = 0; i < count * config_.intermediate; ++i) gate_[i] = silu(gate_[i]) * up_[i];
    const Product output = {&layer.down,       gate_.data(),   config_.intermediate,
                            projected_.data(), config_.hidden, data_or_null(layer.down_bias)};
    multiply({&output, 1}, count, scratch_);
    add_projected(count);
  }

  // The attention's result replaces the queries: each (position, head) reads its own query before it writes there.
  float* attended() noexcept { return q_.data(); }

  Config config_;
  Rope rope_;
  Matrix embedding_;
  std::unique_ptr<Matrix> head_;  // null: tied
  std::vector<float> final_norm_;
  std::vector<Layer> layers_;
  std::unique_ptr<KvCache> cache_;
  std::vector<float> x_, normed_, projected_, q_, k_, v_, gate_, up_;  // (kMaxVectors, width)
  std::vector<Scratch> scratch_;                                       // by worker
  std::vector<std::vector<float>> scores_;                             // by worker
};

}  // namespace

std::unique_ptr<Network> load_llama(const Loader& loader, std::uint64_t context) {
  return std::make_unique<Llama>(loader, context);
}

}  // namespace ingot::runtime

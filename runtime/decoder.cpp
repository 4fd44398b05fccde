#include "runtime/decoder.h"

#include <cmath>

#include "format/base/error.h"
#include "format/base/parallel.h"
#include "runtime/decoder_blocks.h"

namespace ingot::runtime {
namespace {

bool is_interleaved(const tensor::Tensor* tensor, std::uint64_t heads) {
  return tensor != nullptr && tensor->transforms.size() == 1 &&
         tensor->transforms[0].kind == tensor::TransformKind::rope_interleave && tensor->transforms[0].heads == heads;
}

// Neighbour pairs need no copy, but only if every layer's q and k carry them and whole heads rotate.
bool all_interleaved(const Loader& loader, const DecoderConfig& config) {
  const std::uint64_t rotary = loader.config().rotary_dim;
  if (rotary != 0 && rotary != config.head_dim) return false;
  for (std::uint64_t i = 0; i < config.layers; ++i) {
    const tensor::Model& model = loader.model();
    if (!is_interleaved(model.find(layer_name(i, "self_attn.q_proj.weight")), config.heads) ||
        !is_interleaved(model.find(layer_name(i, "self_attn.k_proj.weight")), config.kv_heads)) {
      return false;
    }
  }
  return true;
}

void check_heads(const tensor::ModelConfig& source, const DecoderConfig& config) {
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
}

DecoderConfig read_config(const Loader& loader, const DecoderTraits& traits) {
  const tensor::ModelConfig& source = loader.config();
  DecoderConfig config = {};
  config.traits = traits;
  config.vocab = loader.positive("vocab_size", source.vocab_size, kMaxExtent);
  config.hidden = loader.positive("hidden_size", source.hidden_size, kMaxExtent);
  config.intermediate = loader.positive("intermediate_size", source.intermediate_size, kMaxExtent);
  config.layers = loader.positive("layer_count", source.layer_count, kMaxLayers);
  config.heads = loader.positive("head_count", source.head_count, kMaxExtent);
  config.kv_heads =
      loader.positive("kv_head_count", source.kv_head_count == 0 ? config.heads : source.kv_head_count, config.heads);
  config.head_dim =
      loader.positive("head_dim", source.head_dim == 0 ? config.hidden / config.heads : source.head_dim, kMaxExtent);
  check_heads(source, config);
  config.epsilon = source.norm_epsilon;
  config.attention_scale = static_cast<float>(
      source.attention_scale != 0 ? source.attention_scale : 1 / std::sqrt(static_cast<double>(config.head_dim)));
  config.attention_softcap = static_cast<float>(source.attention_softcap);
  config.final_softcap = static_cast<float>(source.final_softcap);
  config.activation = &find_activation(source.architecture, source.activation, traits.activation);
  config.neighbour_pairs = all_interleaved(loader, config);
  return config;
}

Rope::Pairs pairs_of(const DecoderConfig& config) noexcept {
  return config.neighbour_pairs ? Rope::Pairs::neighbours : Rope::Pairs::halves;
}

std::optional<Rope> make_local_rope(const tensor::ModelConfig& source, const DecoderConfig& config) {
  if (source.rope_theta_local == 0) return std::nullopt;
  tensor::ModelConfig local = source;
  local.rope_theta = source.rope_theta_local;
  local.rope_scaling = {};
  return Rope(local, config.head_dim, pairs_of(config), kMaxVectors);
}

class Decoder final : public Network {
 public:
  Decoder(const Loader& loader, std::uint64_t context, const DecoderConfig& config, MakeLayer make_layer)
      : config_(config),
        embedding_scale_(config.traits.scaled_embedding ? std::sqrt(static_cast<float>(config.hidden)) : 1) {
    load_weights(loader, make_layer);
    state_ = std::make_unique<DecoderState>(loader, config_, context);
    for (Scratch& scratch : state_->scratch) visit([&](const Matrix& matrix) { matrix.reserve(scratch); });
  }

  bool prepare(std::uint64_t length) override { return state_->rope.choose_for(length); }

  void forward(std::span<const std::uint32_t> tokens, std::uint64_t position, std::span<float> logits) override {
    DecoderState& state = *state_;
    state.position = position;
    state.count = tokens.size();
    embed(tokens);
    state.rope.prepare(position, state.count);
    if (state.local_rope) state.local_rope->prepare(position, state.count);
    for (const auto& layer : layers_) layer->forward(state);
    if (!logits.empty()) score(logits);
  }

  [[nodiscard]] std::uint64_t vocab_size() const noexcept override { return config_.vocab; }
  [[nodiscard]] std::uint64_t copied_bytes() const noexcept override {
    std::uint64_t bytes = 0;
    visit([&](const Matrix& matrix) { bytes += matrix.copied_bytes(); });
    return bytes;
  }

  [[nodiscard]] KvCache& cache() noexcept override { return state_->cache; }

  [[nodiscard]] std::uint64_t weight_bytes_per_token() const noexcept override {
    std::uint64_t bytes = 0;
    visit([&](const Matrix& matrix) { bytes += matrix.stored_bytes(); });
    return head_ ? bytes - embedding_.stored_bytes() : bytes;  // of an embedding that is no head, one row is read
  }

 private:
  void load_weights(const Loader& loader, MakeLayer make_layer) {
    const tensor::Tensor* head = loader.model().find("lm_head.weight");
    const tensor::Tensor* embedding = loader.model().find("model.embed_tokens.weight");
    // A tied matrix may be stored under either name; a head stored beside the embedding counts whatever the flag says.
    const bool tied = loader.config().tied_embeddings && (head == nullptr || embedding == nullptr || head == embedding);
    const char* name = tied && embedding == nullptr && head != nullptr ? "lm_head.weight" : "model.embed_tokens.weight";
    (void)loader.require(name, {config_.vocab, config_.hidden});
    if (!tied) (void)loader.require("lm_head.weight", {config_.vocab, config_.hidden});
    for (std::uint64_t i = 0; i < config_.layers; ++i) layers_.push_back(make_layer(loader, config_, i));
    final_norm_ = RmsNorm(loader, config_, "model.norm.weight", config_.hidden);
    embedding_ = loader.matrix(name, config_.vocab, config_.hidden);
    if (!tied) head_ = std::make_unique<Matrix>(loader.matrix("lm_head.weight", config_.vocab, config_.hidden));
  }

  void visit(const std::function<void(const Matrix&)>& visitor) const {
    visitor(embedding_);
    if (head_) visitor(*head_);
    for (const auto& layer : layers_) layer->visit(visitor);
  }

  void embed(std::span<const std::uint32_t> tokens) {
    float* row = state_->x.data();
    for (const std::uint32_t token : tokens) {
      embedding_.row(token, row, state_->scratch[0]);
      if (config_.traits.scaled_embedding) {
        for (std::uint64_t i = 0; i < config_.hidden; ++i) row[i] *= embedding_scale_;
      }
      row += config_.hidden;
    }
  }

  // Of the last rows, as many as `logits` has room for.
  void score(std::span<float> logits) {
    DecoderState& state = *state_;
    const std::uint64_t rows = logits.size() / config_.vocab;
    final_norm_.apply(state.x.data() + (state.count - rows) * config_.hidden, rows, state.normed.data());
    const Product product = {
        head_ ? head_.get() : &embedding_, state.normed.data(), config_.hidden, logits.data(), config_.vocab, nullptr};
    multiply({&product, 1}, rows, state.scratch);
    if (config_.final_softcap == 0) return;
    for (float& logit : logits) logit = config_.final_softcap * std::tanh(logit / config_.final_softcap);
  }

  DecoderConfig config_;
  float embedding_scale_;
  Matrix embedding_;
  std::unique_ptr<Matrix> head_;  // null: tied
  RmsNorm final_norm_;
  std::vector<std::unique_ptr<DecoderLayer>> layers_;
  std::unique_ptr<DecoderState> state_;
};

}  // namespace

DecoderState::DecoderState(const Loader& loader, const DecoderConfig& config, std::uint64_t context)
    : cache(loader.kv(), config.layers, config.kv_heads, context, config.head_dim),
      rope(loader.config(), config.head_dim, pairs_of(config), kMaxVectors),
      local_rope(make_local_rope(loader.config(), config)),
      x(kMaxVectors * config.hidden),
      normed(x.size()),
      out(x.size()),
      qkv(kMaxVectors * config.qkv_width()),
      gate_up(kMaxVectors * 2 * config.intermediate),
      scratch(static_cast<std::size_t>(thread_count())),
      scores(scratch.size(), std::vector<float>(cache.scratch_elems())) {}

std::string layer_name(std::uint64_t layer, std::string_view part) {
  return "model.layers." + std::to_string(layer) + "." + std::string(part);
}

std::unique_ptr<Network> make_decoder(const Loader& loader, std::uint64_t context, const DecoderTraits& traits,
                                      MakeLayer make_layer) {
  return std::make_unique<Decoder>(loader, context, read_config(loader, traits), make_layer);
}

}  // namespace ingot::runtime

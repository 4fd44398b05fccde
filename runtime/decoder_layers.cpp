#include "runtime/decoder_layers.h"

#include "runtime/decoder_blocks.h"

namespace ingot::runtime {
namespace {

void add_to_x(DecoderState& state, std::uint64_t hidden) {
  each_position(state.count, [&](std::uint64_t t) {
    for (std::uint64_t i = t * hidden; i < (t + 1) * hidden; ++i) state.x[i] += state.out[i];
  });
}

/// Attention and MLP; what differs is the order.
class LayerBase : public DecoderLayer {
 public:
  LayerBase(const Loader& loader, const DecoderConfig& config, std::uint64_t index)
      : hidden_(config.hidden), attention_(loader, config, index), mlp_(loader, config, index) {}

  void visit(const std::function<void(const Matrix&)>& visitor) const final {
    attention_.visit(visitor);
    mlp_.visit(visitor);
  }

 protected:
  static RmsNorm norm(const Loader& loader, const DecoderConfig& config, std::uint64_t index, std::string_view name) {
    return RmsNorm(loader, config, layer_name(index, name), config.hidden);
  }

  std::uint64_t hidden_;
  SelfAttention attention_;
  GatedMlp mlp_;
};

class PreNormLayer final : public LayerBase {
 public:
  PreNormLayer(const Loader& loader, const DecoderConfig& config, std::uint64_t index)
      : LayerBase(loader, config, index),
        before_attention_(norm(loader, config, index, "input_layernorm.weight")),
        before_mlp_(norm(loader, config, index, "post_attention_layernorm.weight")) {}

  void forward(DecoderState& state) const override {
    before_attention_.apply(state.x.data(), state.count, state.normed.data());
    attention_.forward(state, state.normed.data(), state.out.data());
    add_to_x(state, hidden_);
    before_mlp_.apply(state.x.data(), state.count, state.normed.data());
    mlp_.forward(state, state.normed.data(), state.out.data());
    add_to_x(state, hidden_);
  }

 private:
  RmsNorm before_attention_, before_mlp_;
};

class SandwichNormLayer final : public LayerBase {
 public:
  SandwichNormLayer(const Loader& loader, const DecoderConfig& config, std::uint64_t index)
      : LayerBase(loader, config, index),
        before_attention_(norm(loader, config, index, "input_layernorm.weight")),
        after_attention_(norm(loader, config, index, "post_attention_layernorm.weight")),
        before_mlp_(norm(loader, config, index, "pre_feedforward_layernorm.weight")),
        after_mlp_(norm(loader, config, index, "post_feedforward_layernorm.weight")) {}

  void forward(DecoderState& state) const override {
    before_attention_.apply(state.x.data(), state.count, state.normed.data());
    attention_.forward(state, state.normed.data(), state.out.data());
    after_attention_.apply(state.out.data(), state.count, state.out.data());
    add_to_x(state, hidden_);
    before_mlp_.apply(state.x.data(), state.count, state.normed.data());
    mlp_.forward(state, state.normed.data(), state.out.data());
    after_mlp_.apply(state.out.data(), state.count, state.out.data());
    add_to_x(state, hidden_);
  }

 private:
  RmsNorm before_attention_, after_attention_, before_mlp_, after_mlp_;
};

class PostNormLayer final : public LayerBase {
 public:
  PostNormLayer(const Loader& loader, const DecoderConfig& config, std::uint64_t index)
      : LayerBase(loader, config, index),
        after_attention_(norm(loader, config, index, "post_attention_layernorm.weight")),
        after_mlp_(norm(loader, config, index, "post_feedforward_layernorm.weight")) {}

  void forward(DecoderState& state) const override {
    attention_.forward(state, state.x.data(), state.out.data());
    after_attention_.apply(state.out.data(), state.count, state.out.data());
    add_to_x(state, hidden_);
    mlp_.forward(state, state.x.data(), state.out.data());
    after_mlp_.apply(state.out.data(), state.count, state.out.data());
    add_to_x(state, hidden_);
  }

 private:
  RmsNorm after_attention_, after_mlp_;
};

template <class Layer>
std::unique_ptr<DecoderLayer> make(const Loader& loader, const DecoderConfig& config, std::uint64_t index) {
  return std::make_unique<Layer>(loader, config, index);
}

}  // namespace

std::unique_ptr<DecoderLayer> make_pre_norm_layer(const Loader& loader, const DecoderConfig& config,
                                                  std::uint64_t index) {
  return make<PreNormLayer>(loader, config, index);
}

std::unique_ptr<DecoderLayer> make_sandwich_norm_layer(const Loader& loader, const DecoderConfig& config,
                                                       std::uint64_t index) {
  return make<SandwichNormLayer>(loader, config, index);
}

std::unique_ptr<DecoderLayer> make_post_norm_layer(const Loader& loader, const DecoderConfig& config,
                                                   std::uint64_t index) {
  return make<PostNormLayer>(loader, config, index);
}

}  // namespace ingot::runtime

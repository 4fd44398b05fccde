#include "runtime/decoder_blocks.h"

#include "runtime/network_math.h"

namespace ingot::runtime {
namespace {

const float* data_or_null(const std::vector<float>& values) noexcept {
  return values.empty() ? nullptr : values.data();
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

/// One matrix in place of several: where it is stored, or where nothing is and the architecture usually has it.
bool is_fused(const Loader& loader, const DecoderConfig& config, const std::string& fused, const std::string& first) {
  return loader.model().find(fused) != nullptr || (config.traits.fused && loader.model().find(first) == nullptr);
}

// The projections one after the other in each row of `out`, `width` apart.
void multiply_side_by_side(const std::vector<Matrix>& matrices, const std::vector<std::vector<float>>& biases,
                           const float* in, float* out, std::uint64_t width, DecoderState& state) {
  Product products[3];
  std::size_t used = 0;
  for (const Matrix& matrix : matrices) {
    products[used] = {&matrix, in, matrix.cols(), out, width, data_or_null(biases[used])};
    out += matrix.rows();
    ++used;
  }
  multiply({products, used}, state.count, state.scratch);
}

}  // namespace

RmsNorm::RmsNorm(const Loader& loader, const DecoderConfig& config, const std::string& name, std::uint64_t size)
    : weight_(loader.vector(name, size)), epsilon_(config.epsilon) {
  if (!config.traits.norm_plus_one) return;
  for (float& weight : weight_) weight += 1;
}

void RmsNorm::apply(const float* in, std::uint64_t rows, float* out) const {
  const std::size_t size = weight_.size();
  each_position(
      rows, [&](std::uint64_t row) { rms_norm(in + row * size, weight_.data(), size, epsilon_, out + row * size); });
}

void RmsNorm::apply_in_place(float* values, std::uint64_t size) const noexcept {
  const std::size_t width = weight_.size();
  for (std::uint64_t at = 0; at + width <= size; at += width)
    rms_norm(values + at, weight_.data(), width, epsilon_, values + at);
}

void RmsNorm::interleave(std::uint64_t head_dim) { weight_ = interleaved(weight_, head_dim); }

SelfAttention::SelfAttention(const Loader& loader, const DecoderConfig& config, std::uint64_t index)
    : config_(config), index_(index) {
  const tensor::ModelConfig& source = loader.config();
  const auto listed = [&](const std::vector<bool>& layers) {
    return layers.empty() || (index < layers.size() && layers[index]);
  };
  slides_ = source.sliding_window != 0 && listed(source.sliding_layers);
  window_ = slides_ ? source.sliding_window : 0;
  rotates_ = listed(source.rope_layers);
  load_projections(loader);
  load_norms(loader);
}

void SelfAttention::load_projections(const Loader& loader) {
  const auto add = [&](const char* name, std::uint64_t rows, bool permuted) {
    const std::string full = layer_name(index_, "self_attn." + std::string(name));
    const auto order = permuted ? Matrix::RowOrder::stored : Matrix::RowOrder::logical;
    projections_.push_back(loader.matrix(full + ".weight", rows, config_.hidden, order));
    biases_.push_back(config_.traits.query_key_value_bias ? loader.vector(full + ".bias", rows)
                                                          : loader.optional_vector(full + ".bias", rows));
    if (permuted) biases_.back() = interleaved(biases_.back(), config_.head_dim);
  };
  if (is_fused(loader, config_, layer_name(index_, "self_attn.qkv_proj.weight"),
               layer_name(index_, "self_attn.q_proj.weight"))) {
    add("qkv_proj", config_.qkv_width(), false);
  } else {
    add("q_proj", config_.q_width(), config_.neighbour_pairs);
    add("k_proj", config_.kv_width(), config_.neighbour_pairs);
    add("v_proj", config_.kv_width(), false);
  }
  output_ = loader.matrix(layer_name(index_, "self_attn.o_proj.weight"), config_.hidden, config_.q_width());
  output_bias_ = loader.optional_vector(layer_name(index_, "self_attn.o_proj.bias"), config_.hidden);
}

void SelfAttention::load_norms(const Loader& loader) {
  if (config_.traits.query_key_norm == QueryKeyNorm::none) return;
  const bool per_head = config_.traits.query_key_norm == QueryKeyNorm::per_head;
  const auto load = [&](const char* name, std::uint64_t width) {
    RmsNorm norm(loader, config_, layer_name(index_, name), per_head ? config_.head_dim : width);
    if (config_.neighbour_pairs) norm.interleave(config_.head_dim);
    return norm;
  };
  q_norm_ = load("self_attn.q_norm.weight", config_.q_width());
  k_norm_ = load("self_attn.k_norm.weight", config_.kv_width());
}

void SelfAttention::forward(DecoderState& state, const float* in, float* out) const {
  project(state, in);
  rotate_and_store(state);
  const AttentionShape shape = {config_.heads, config_.attention_scale, config_.attention_softcap, window_};
  // The result replaces the queries: each (position, head) reads its own query before it writes there.
  attend(state.cache, index_, shape, state.position, state.count, state.qkv.data(), config_.qkv_width(), state.scores);
  const Product product = {&output_, state.qkv.data(), config_.qkv_width(),
                           out,      config_.hidden,   data_or_null(output_bias_)};
  multiply({&product, 1}, state.count, state.scratch);
}

void SelfAttention::project(DecoderState& state, const float* in) const {
  multiply_side_by_side(projections_, biases_, in, state.qkv.data(), config_.qkv_width(), state);
  if (!q_norm_) return;
  each_position(state.count, [&](std::uint64_t t) {
    float* row = state.qkv.data() + t * config_.qkv_width();
    q_norm_->apply_in_place(row, config_.q_width());
    k_norm_->apply_in_place(row + config_.q_width(), config_.kv_width());
  });
}

void SelfAttention::rotate_and_store(DecoderState& state) const {
  const Rope& rope = slides_ && state.local_rope ? *state.local_rope : state.rope;
  each_position(state.count, [&](std::uint64_t t) {
    float* row = state.qkv.data() + t * config_.qkv_width();
    float* const keys = row + config_.q_width();
    for (std::uint64_t h = 0; rotates_ && h < config_.heads + config_.kv_heads; ++h)
      rope.rotate(row + h * config_.head_dim, t);
    state.cache.store(index_, state.position + t, keys, keys + config_.kv_width());
  });
}

void SelfAttention::visit(const std::function<void(const Matrix&)>& visitor) const {
  for (const Matrix& matrix : projections_) visitor(matrix);
  visitor(output_);
}

GatedMlp::GatedMlp(const Loader& loader, const DecoderConfig& config, std::uint64_t index) : config_(config) {
  const auto named = [&](const std::string& name) { return layer_name(index, "mlp." + name); };
  const auto add = [&](const char* name, std::uint64_t rows) {
    projections_.push_back(loader.matrix(named(name) + ".weight", rows, config.hidden));
    biases_.push_back(loader.optional_vector(named(name) + ".bias", rows));
  };
  if (is_fused(loader, config, named("gate_up_proj.weight"), named("gate_proj.weight"))) {
    add("gate_up_proj", 2 * config.intermediate);
  } else {
    add("gate_proj", config.intermediate);
    add("up_proj", config.intermediate);
  }
  down_ = loader.matrix(named("down_proj.weight"), config.hidden, config.intermediate);
  down_bias_ = loader.optional_vector(named("down_proj.bias"), config.hidden);
}

void GatedMlp::forward(DecoderState& state, const float* in, float* out) const {
  const std::uint64_t size = config_.intermediate;
  multiply_side_by_side(projections_, biases_, in, state.gate_up.data(), 2 * size, state);
  each_position(state.count, [&](std::uint64_t t) {
    float* const gate = state.gate_up.data() + t * 2 * size;
    config_.activation->gate(gate, gate + size, size);
  });
  const Product product = {&down_, state.gate_up.data(), 2 * size, out, config_.hidden, data_or_null(down_bias_)};
  multiply({&product, 1}, state.count, state.scratch);
}

void GatedMlp::visit(const std::function<void(const Matrix&)>& visitor) const {
  for (const Matrix& matrix : projections_) visitor(matrix);
  visitor(down_);
}

}  // namespace ingot::runtime

// What the decoder-only networks with rotary positions have in common: checked sizes, buffers, embedding, head, and the
// loop over layers. An architecture (arch/*.cpp) states its traits and the order of its layers (decoder_layers.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/activation.h"
#include "runtime/arch/architecture.h"
#include "runtime/attention.h"
#include "runtime/loader.h"
#include "runtime/rope.h"

namespace ingot::runtime {

enum class QueryKeyNorm : std::uint8_t { none, per_head, whole_row };

/// What an architecture decides and no configuration says.
struct DecoderTraits {
  std::string_view activation = "silu";  // where the configuration is silent
  QueryKeyNorm query_key_norm = QueryKeyNorm::none;
  bool query_key_value_bias = false;  // these biases must be there; elsewhere every bias is used where present
  bool fused = false;                 // qkv_proj and gate_up_proj are the usual form
  bool norm_plus_one = false;         // norms multiply by 1 + weight
  bool scaled_embedding = false;      // embeddings are multiplied by sqrt(hidden_size)
};

/// A configuration whose numbers have been checked.
struct DecoderConfig {
  std::uint64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim;
  double epsilon;
  float attention_scale, attention_softcap, final_softcap;  // caps: 0: none
  const Activation* activation;
  bool neighbour_pairs;  // q and k keep the row order of their file, with RoPE pairs as neighbours
  DecoderTraits traits;

  [[nodiscard]] std::uint64_t q_width() const noexcept { return heads * head_dim; }
  [[nodiscard]] std::uint64_t kv_width() const noexcept { return kv_heads * head_dim; }
  [[nodiscard]] std::uint64_t qkv_width() const noexcept { return q_width() + 2 * kv_width(); }
};

/// Buffers of one sequence, allocated at load, and the piece that is being read.
struct DecoderState {
  DecoderState(const Loader& loader, const DecoderConfig& config, std::uint64_t context);

  KvCache cache;
  Rope rope;
  std::optional<Rope> local_rope;          // of sliding layers, where these have a base of their own
  std::vector<float> x, normed, out;       // (kMaxVectors, hidden)
  std::vector<float> qkv;                  // (kMaxVectors, qkv_width)
  std::vector<float> gate_up;              // (kMaxVectors, 2 * intermediate)
  std::vector<Scratch> scratch;            // by worker
  std::vector<std::vector<float>> scores;  // by worker
  std::uint64_t position = 0, count = 0;   // of the piece
};

/// "model.layers.<layer>.<part>"
[[nodiscard]] std::string layer_name(std::uint64_t layer, std::string_view part);

class DecoderLayer {
 public:
  virtual ~DecoderLayer() = default;
  /// Replaces state.x, rows [0, state.count).
  virtual void forward(DecoderState& state) const = 0;
  virtual void visit(const std::function<void(const Matrix&)>& visitor) const = 0;
};

using MakeLayer = std::unique_ptr<DecoderLayer> (*)(const Loader& loader, const DecoderConfig& config,
                                                    std::uint64_t index);

/// Checks the configuration and every tensor, then loads. Throws Error.
[[nodiscard]] std::unique_ptr<Network> make_decoder(const Loader& loader, std::uint64_t context,
                                                    const DecoderTraits& traits, MakeLayer make_layer);

}  // namespace ingot::runtime

// The parts that layers of decoder-only networks are made of. Immutable after loading; all that changes is in the
// DecoderState.
#pragma once

#include "format/base/parallel.h"
#include "runtime/decoder.h"

namespace ingot::runtime {

/// Calls step(t) for the positions of a piece, in parallel. One alone is shorter than waking the others.
template <class Step>
void each_position(std::uint64_t count, const Step& step) {
  if (count == 1) return step(0);
  parallel_for(count, 1, [&step](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t t = begin; t < end; ++t) step(t);
  });
}

/// Root mean square norm over rows of one width.
class RmsNorm {
 public:
  RmsNorm() = default;
  RmsNorm(const Loader& loader, const DecoderConfig& config, const std::string& name, std::uint64_t size);

  /// in, out: (rows, size); they may be the same. In parallel.
  void apply(const float* in, std::uint64_t rows, float* out) const;
  /// As many whole widths as fit `size` numbers, in place.
  void apply_in_place(float* values, std::uint64_t size) const noexcept;
  /// For weights over rows of q or k that keep their RoPE pairs as neighbours.
  void interleave(std::uint64_t head_dim);

 private:
  std::vector<float> weight_;  // with the 1 added where the architecture has it so
  double epsilon_ = 0;
};

/// Grouped-query attention with rotary positions, projections included.
class SelfAttention {
 public:
  SelfAttention(const Loader& loader, const DecoderConfig& config, std::uint64_t index);

  /// in, out: (state.count, hidden)
  void forward(DecoderState& state, const float* in, float* out) const;
  void visit(const std::function<void(const Matrix&)>& visitor) const;

 private:
  void load_projections(const Loader& loader);
  void load_norms(const Loader& loader);
  void project(DecoderState& state, const float* in) const;
  void rotate_and_store(DecoderState& state) const;

  const DecoderConfig config_;
  std::uint64_t index_, window_;
  bool rotates_, slides_;
  std::vector<Matrix> projections_;         // q, k, v; or one that holds all their rows
  std::vector<std::vector<float>> biases_;  // of the projections; empty: none
  Matrix output_;
  std::vector<float> output_bias_;
  std::optional<RmsNorm> q_norm_, k_norm_;
};

/// down(activation(gate(x)) * up(x))
class GatedMlp {
 public:
  GatedMlp(const Loader& loader, const DecoderConfig& config, std::uint64_t index);

  /// in, out: (state.count, hidden)
  void forward(DecoderState& state, const float* in, float* out) const;
  void visit(const std::function<void(const Matrix&)>& visitor) const;

 private:
  const DecoderConfig config_;
  std::vector<Matrix> projections_;         // gate, up; or one that holds the rows of both
  std::vector<std::vector<float>> biases_;  // of the projections; empty: none
  Matrix down_;
  std::vector<float> down_bias_;
};

}  // namespace ingot::runtime

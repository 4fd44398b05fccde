// Rotary position embedding: frequencies as transformers computes them in float32, both arrangements of the rotated
// pairs.
#pragma once

#include <cstdint>
#include <vector>

#include "format/tensor/model_config.h"

namespace ingot::runtime {

class Rope {
 public:
  /// Where the two numbers of a pair stand inside a head.
  enum class Pairs : std::uint8_t { halves, neighbours };

  /// `max_positions`: positions per prepare(). Throws unsupported for scaling types that are not implemented,
  /// invalid_value for factors that contradict the number of dimensions.
  Rope(const tensor::ModelConfig& config, std::uint64_t head_dim, Pairs pairs, std::uint64_t max_positions);

  /// Takes the frequencies that a sequence of this length wants. True when they are others than before: LongRoPE has
  /// one set up to the original context length and one beyond.
  [[nodiscard]] bool choose_for(std::uint64_t length) noexcept;
  /// Computes the angles of positions [first, first + count).
  void prepare(std::uint64_t first, std::uint64_t count) noexcept;
  /// Rotates one head (head_dim numbers) at the `index`-th prepared position.
  void rotate(float* head, std::uint64_t index) const noexcept;

 private:
  Pairs pairs_;
  std::uint64_t original_length_ = 0;   // of LongRoPE; 0: frequencies do not depend on the length
  std::vector<float> frequencies_;      // (rotary_dim / 2), those in use
  std::vector<float> others_;           // the other set of LongRoPE
  bool is_beyond_ = false;              // frequencies_ are for more than original_length_ positions
  float magnitude_ = 1;                 // factor of sines and cosines
  std::vector<float> cosines_, sines_;  // (max_positions, rotary_dim / 2)
};

/// Angle per position of each pair, with the configured scaling applied. `is_beyond`: for a sequence longer than the
/// original context length (LongRoPE).
[[nodiscard]] std::vector<float> rope_frequencies(const tensor::ModelConfig& config, std::uint64_t rotary_dim,
                                                  bool is_beyond = false);
/// By what sines and cosines are multiplied (YaRN, LongRoPE).
[[nodiscard]] double rope_magnitude(const tensor::ModelConfig& config);

}  // namespace ingot::runtime

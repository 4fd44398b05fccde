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

  /// `max_positions`: positions per prepare(). Throws unsupported for scaling types that are not implemented.
  Rope(const tensor::ModelConfig& config, std::uint64_t head_dim, Pairs pairs, std::uint64_t max_positions);

  /// Computes the angles of positions [first, first + count).
  void prepare(std::uint64_t first, std::uint64_t count) noexcept;
  /// Rotates one head (head_dim numbers) at the `index`-th prepared position.
  void rotate(float* head, std::uint64_t index) const noexcept;

 private:
  Pairs pairs_;
  std::vector<float> frequencies_;      // (rotary_dim / 2)
  std::vector<float> cosines_, sines_;  // (max_positions, rotary_dim / 2)
};

/// Angle per position of each pair, with the configured scaling applied.
[[nodiscard]] std::vector<float> rope_frequencies(const tensor::ModelConfig& config, std::uint64_t rotary_dim);

}  // namespace ingot::runtime

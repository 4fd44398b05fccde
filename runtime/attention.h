// Causal attention of several query positions over a key/value cache.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/kernel_table.h"

namespace ingot::runtime {

/// Keys and values of one sequence for all layers, by (layer, head, position, dimension).
class KvCache {
 public:
  /// Throws limit_exceeded when the size overflows or the memory cannot be had. Pages are touched as positions fill.
  KvCache(std::uint64_t layers, std::uint64_t heads, std::uint64_t positions, std::uint64_t head_dim);
  [[nodiscard]] float* key(std::uint64_t layer, std::uint64_t head, std::uint64_t position) noexcept {
    return keys_.get() + ((layer * heads_ + head) * positions_ + position) * head_dim_;
  }
  [[nodiscard]] float* value(std::uint64_t layer, std::uint64_t head, std::uint64_t position) noexcept {
    return values_.get() + ((layer * heads_ + head) * positions_ + position) * head_dim_;
  }
  [[nodiscard]] std::uint64_t heads() const noexcept { return heads_; }
  [[nodiscard]] std::uint64_t positions() const noexcept { return positions_; }
  [[nodiscard]] std::uint64_t head_dim() const noexcept { return head_dim_; }
  /// Copies one projected row (heads * head_dim) of keys and of values to `position`.
  void store(std::uint64_t layer, std::uint64_t position, const float* keys, const float* values) noexcept;

 private:
  std::uint64_t heads_, positions_, head_dim_;
  std::unique_ptr<float[]> keys_, values_;
};

struct AttentionShape {
  std::uint64_t query_heads;
  float scale;
  float softcap;         // scores become softcap * tanh(score / softcap); 0: none
  std::uint64_t window;  // 0: all earlier positions; else that many, the own one included
};

/// `scores`: per worker, cache.positions() numbers.
/// q: (count, query_heads * head_dim), rows `stride` numbers apart, row t at position first + t; the cache holds
/// everything up to there. The result takes the place of q.
void attend(KvCache& cache, std::uint64_t layer, const AttentionShape& shape, std::uint64_t first, std::uint64_t count,
            float* q, std::uint64_t stride, std::vector<std::vector<float>>& scores);

}  // namespace ingot::runtime

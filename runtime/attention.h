// Causal attention of several query positions over a key/value cache.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/kernel_table.h"
#include "runtime/runtime.h"

namespace ingot::runtime {

/// Keys and values of one sequence for all layers, by (layer, head, position, dimension), as KvType says: binary32,
/// binary16, or int8 with one binary32 scale for each row (greatest magnitude / 127).
class KvCache {
 public:
  /// One of the two halves of the cache.
  enum class Part : std::uint8_t { keys, values };
  /// Rows that attention decodes at a time.
  static constexpr std::uint64_t kRowsAtOnce = 16;

  /// Throws limit_exceeded when the size overflows or the memory cannot be had. Pages are touched as positions fill.
  KvCache(KvType type, std::uint64_t layers, std::uint64_t heads, std::uint64_t positions, std::uint64_t head_dim);

  [[nodiscard]] KvType type() const noexcept { return type_; }
  [[nodiscard]] std::uint64_t layers() const noexcept { return layers_; }
  [[nodiscard]] std::uint64_t heads() const noexcept { return heads_; }
  [[nodiscard]] std::uint64_t positions() const noexcept { return positions_; }
  [[nodiscard]] std::uint64_t head_dim() const noexcept { return head_dim_; }
  /// Memory reserved for all positions.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  /// Numbers that a worker of attend() needs.
  [[nodiscard]] std::uint64_t scratch_elems() const noexcept;

  /// Keeps one projected row (heads * head_dim) of keys and of values at `position`.
  void store(std::uint64_t layer, std::uint64_t position, const float* keys, const float* values) noexcept;
  /// `count` rows from `position` on as binary32: in place, or in `scratch` (count, head_dim).
  [[nodiscard]] const float* rows(Part part, std::uint64_t layer, std::uint64_t head, std::uint64_t position,
                                  std::uint64_t count, float* scratch) const noexcept;
  /// The first `count` rows of a head as they are kept: (count, head_dim) numbers of the type; and for q8 their scales,
  /// otherwise empty.
  [[nodiscard]] std::span<std::byte> kept_rows(Part part, std::uint64_t layer, std::uint64_t head,
                                               std::uint64_t count) noexcept;
  [[nodiscard]] std::span<std::byte> kept_scales(Part part, std::uint64_t layer, std::uint64_t head,
                                                 std::uint64_t count) noexcept;

 private:
  [[nodiscard]] std::uint64_t row_index(std::uint64_t layer, std::uint64_t head,
                                        std::uint64_t position) const noexcept {
    return (layer * heads_ + head) * positions_ + position;
  }
  void store_halves(const float* values, std::uint16_t* out) const noexcept;
  void store_row(Part part, std::uint64_t row, const float* values) noexcept;

  KvType type_;
  const kernels::KernelTable* kernels_;
  std::uint64_t layers_, heads_, positions_, head_dim_, bytes_ = 0;
  std::unique_ptr<float[]> floats_[2];          // f32, by Part
  std::unique_ptr<std::uint16_t[]> halves_[2];  // f16
  std::unique_ptr<std::int8_t[]> codes_[2];     // q8
  std::unique_ptr<float[]> scales_[2];          // q8: one for each row
};

struct AttentionShape {
  std::uint64_t query_heads;
  float scale;
  float softcap;         // scores become softcap * tanh(score / softcap); 0: none
  std::uint64_t window;  // 0: all earlier positions; else that many, the own one included
};

/// `scratch`: per worker, cache.scratch_elems() numbers.
/// q: (count, query_heads * head_dim), rows `stride` numbers apart, row t at position first + t; the cache holds
/// everything up to there. The result takes the place of q; that of a query does not depend on the others, nor on the
/// number of threads.
void attend(const KvCache& cache, std::uint64_t layer, const AttentionShape& shape, std::uint64_t first,
            std::uint64_t count, float* q, std::uint64_t stride, std::vector<std::vector<float>>& scratch);

}  // namespace ingot::runtime

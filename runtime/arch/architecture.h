// What an architecture provides: one file each, one row in registry.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "runtime/attention.h"
#include "runtime/loader.h"

namespace ingot::runtime {

/// A loaded network with its state for one sequence. All memory is allocated at load; forward() allocates nothing.
class Network {
 public:
  virtual ~Network() = default;
  /// Announces how long the sequence will be after the next forward() calls. True: what was computed for another length
  /// does not fit this one, and the sequence must be read anew from its beginning.
  [[nodiscard]] virtual bool prepare(std::uint64_t length) = 0;
  /// Reads `tokens` (1..kMaxVectors ids below vocab_size) at positions [position, position + size). Logits of the
  /// last of them go to `logits`: (n, vocab_size) for the last n, empty for none.
  virtual void forward(std::span<const std::uint32_t> tokens, std::uint64_t position, std::span<float> logits) = 0;
  [[nodiscard]] virtual std::uint64_t vocab_size() const noexcept = 0;
  /// Weights read for one token, as stored.
  [[nodiscard]] virtual std::uint64_t weight_bytes_per_token() const noexcept = 0;
  /// Memory that copies of weights take: what kernels cannot read where it lies.
  [[nodiscard]] virtual std::uint64_t copied_bytes() const noexcept = 0;
  [[nodiscard]] virtual KvCache& cache() noexcept = 0;
};

struct Architecture {
  std::string_view name;  // ModelConfig::architecture
  /// Checks every tensor, then loads. Throws Error.
  std::unique_ptr<Network> (*load)(const Loader& loader, std::uint64_t context);
};

/// Null when unknown.
[[nodiscard]] const Architecture* find_architecture(std::string_view name) noexcept;
[[nodiscard]] std::span<const Architecture> all_architectures() noexcept;

// Limits of hyperparameters; far above any model, low enough that products of two fit 64 bits.
inline constexpr std::uint64_t kMaxLayers = 1u << 16;
inline constexpr std::uint64_t kMaxExtent = 1u << 28;

}  // namespace ingot::runtime

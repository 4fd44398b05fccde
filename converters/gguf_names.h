// Names of tensors, and what happens to their values, per architecture: tables from which both directions follow.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor/model_config.h"
#include "format/tensor/transform.h"

namespace ingot::convert::gguf {

/// One tensor stem, without `.weight` or `.bias`; `#` stands for the layer number.
struct NameRow {
  std::string_view gguf;
  std::string_view neutral;
};

/// How the layers of a sliding-window architecture alternate; GGUF readers have these rules built in.
enum class SlidingRule : std::uint8_t { none, even_layers, five_of_six };

struct Architecture {
  std::string_view neutral;         // ModelConfig::architecture
  std::string_view gguf;            // general.architecture
  std::span<const NameRow> own;     // rows of this architecture
  std::span<const NameRow> shared;  // rows that most architectures have in common
  bool rope_interleaved;            // rows of attn_q and attn_k are stored with RoPE pairs as neighbours
  bool norm_plus_one;               // norms are stored as weight + 1
  bool head_always_tied;            // readers never look for output.weight
  bool head_required;               // readers insist on output.weight
  SlidingRule sliding;
  std::string_view activation;
};

/// By ModelConfig::architecture / by general.architecture; null when there is no row. The first row of a GGUF name
/// wins (llama before mistral: the file does not tell them apart).
[[nodiscard]] const Architecture* find_architecture(std::string_view neutral) noexcept;
[[nodiscard]] const Architecture* find_gguf_architecture(std::string_view gguf) noexcept;

/// Neutral name of a GGUF tensor; empty when no row fits.
[[nodiscard]] std::optional<std::string> neutral_name(const Architecture& architecture, std::string_view gguf);
/// GGUF name of a neutral tensor; empty when no row fits. A missing `transformer.` or an extra `language_model.`
/// prefix is accepted.
[[nodiscard]] std::optional<std::string> gguf_name(const Architecture& architecture, std::string_view neutral);

/// The relation "stored in GGUF = T(logical)" of a tensor, by its GGUF name.
[[nodiscard]] std::vector<tensor::Transform> stored_transforms(const Architecture& architecture, std::string_view gguf,
                                                               const tensor::ModelConfig& config);

/// rope_freqs and rope_factors_*: follow from the configuration.
[[nodiscard]] bool is_derived(std::string_view gguf) noexcept;

/// Which layers slide under the rule; empty when none do.
[[nodiscard]] std::vector<bool> sliding_layers(SlidingRule rule, std::uint64_t layer_count);

}  // namespace ingot::convert::gguf

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
  std::span<const NameRow> experts = {};  // `@` stands for the number of a matrix that GGUF stacks with the others
};

/// The key that tells architectures apart which share a GGUF name: the neutral word, in files of this writer.
inline constexpr std::string_view kArchitectureKey = "ingot.architecture";

/// The key that holds fields of spec/model_config.md which GGUF cannot say, in files of this writer.
inline constexpr std::string_view kConfigKey = "ingot.config";

/// By ModelConfig::architecture; null when there is no row.
[[nodiscard]] const Architecture* find_architecture(std::string_view neutral) noexcept;
/// By general.architecture and the neutral word, which may be empty; null when there is no row. Of several rows the
/// first that has experts if there are some, and none if there are none (llama, not mistral: they are the same to
/// readers of GGUF).
[[nodiscard]] const Architecture* find_gguf_architecture(std::string_view gguf, std::string_view neutral = {},
                                                         bool has_experts = false) noexcept;

/// Neutral name of a GGUF tensor; empty when no row fits.
[[nodiscard]] std::optional<std::string> neutral_name(const Architecture& architecture, std::string_view gguf);
/// GGUF name of a neutral tensor; empty when no row fits. A missing `transformer.` or an extra `language_model.`
/// prefix is accepted.
[[nodiscard]] std::optional<std::string> gguf_name(const Architecture& architecture, std::string_view neutral);

/// Where an expert's matrix stands in GGUF.
struct ExpertPlace {
  std::string stack;  // GGUF name
  std::uint64_t number;
};
[[nodiscard]] std::optional<ExpertPlace> expert_place(const Architecture& architecture, std::string_view neutral);
/// Neutral name of an expert's matrix; empty when the GGUF tensor is no stack of them.
[[nodiscard]] std::optional<std::string> expert_name(const Architecture& architecture, std::string_view gguf,
                                                     std::uint64_t number);

/// The relation "stored in GGUF = T(logical)" of a tensor, by its GGUF name.
[[nodiscard]] std::vector<tensor::Transform> stored_transforms(const Architecture& architecture, std::string_view gguf,
                                                               const tensor::ModelConfig& config);

/// rope_freqs and rope_factors_*: follow from the configuration.
[[nodiscard]] bool is_derived(std::string_view gguf) noexcept;

/// Which layers slide under the rule; empty when none do.
[[nodiscard]] std::vector<bool> sliding_layers(SlidingRule rule, std::uint64_t layer_count);

}  // namespace ingot::convert::gguf

// Tensor names of Hugging Face checkpoints: one neutral spelling per architecture, and what a name implies.
#pragma once

#include <string>
#include <string_view>

namespace ingot::convert {

/// The neutral spelling of a name found in a file: base-model prefixes are added ("h.0.ln_1.weight" ->
/// "transformer.h.0.ln_1.weight", "layers.0..." -> "model.layers.0..."), the wrapper of a multimodal checkpoint is
/// taken off ("language_model.model.norm.weight" -> "model.norm.weight"). Unknown names and architectures are returned
/// as they are.
[[nodiscard]] std::string neutral_hf_name(std::string_view file_name, std::string_view architecture);
/// The other way for a multimodal wrapper: "model.norm.weight" -> "language_model.model.norm.weight".
[[nodiscard]] std::string wrapped_hf_name(std::string_view neutral_name);

/// Name of the token embedding.
[[nodiscard]] std::string_view hf_embedding_name(std::string_view architecture) noexcept;
inline constexpr std::string_view kHfHeadName = "lm_head.weight";

/// GPT-2's Conv1D weights: files hold [in, out], the logical tensor is [out, in].
[[nodiscard]] bool is_hf_conv1d(std::string_view neutral_name, std::string_view architecture) noexcept;
/// The experts of gpt-oss, which are one tensor: float files hold [experts, in, out] under a name without ".weight",
/// the logical tensor is [experts, out, in].
[[nodiscard]] bool is_hf_expert_stack(std::string_view neutral_name, std::string_view architecture) noexcept;
/// The name of a plain tensor in a file, before wrapped_hf_name().
[[nodiscard]] std::string plain_hf_name(std::string_view neutral_name, std::string_view architecture);
/// Buffers that follow from the config (causal masks, inverse frequencies): no weights.
[[nodiscard]] bool is_hf_buffer(std::string_view neutral_name, std::string_view architecture) noexcept;

}  // namespace ingot::convert

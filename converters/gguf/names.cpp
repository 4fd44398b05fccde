// The tables of architectures, and the matching of names against them.
#include "converters/gguf/names.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace ingot::convert::gguf {
namespace {

constexpr auto kCommon = std::to_array<NameRow>({
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.#.attn_q", "model.layers.#.self_attn.q_proj"},
    {"blk.#.attn_k", "model.layers.#.self_attn.k_proj"},
    {"blk.#.attn_v", "model.layers.#.self_attn.v_proj"},
    {"blk.#.attn_qkv", "model.layers.#.self_attn.qkv_proj"},
    {"blk.#.attn_output", "model.layers.#.self_attn.o_proj"},
    {"blk.#.attn_q_norm", "model.layers.#.self_attn.q_norm"},
    {"blk.#.attn_k_norm", "model.layers.#.self_attn.k_norm"},
    {"blk.#.ffn_gate", "model.layers.#.mlp.gate_proj"},
    {"blk.#.ffn_down", "model.layers.#.mlp.down_proj"},
});

// post_attention_layernorm stands before the MLP in most models, but behind the attention in the Gemma and OLMo-2
// families.
constexpr auto kPreNorm = std::to_array<NameRow>({
    {"blk.#.ffn_up", "model.layers.#.mlp.up_proj"},
    {"blk.#.attn_norm", "model.layers.#.input_layernorm"},
    {"blk.#.ffn_norm", "model.layers.#.post_attention_layernorm"},
});
constexpr auto kGemma = std::to_array<NameRow>({
    {"blk.#.ffn_up", "model.layers.#.mlp.up_proj"},
    {"blk.#.attn_norm", "model.layers.#.input_layernorm"},
    {"blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm"},
    {"blk.#.ffn_norm", "model.layers.#.pre_feedforward_layernorm"},
    {"blk.#.post_ffw_norm", "model.layers.#.post_feedforward_layernorm"},
});
constexpr auto kOlmo2 = std::to_array<NameRow>({
    {"blk.#.ffn_up", "model.layers.#.mlp.up_proj"},
    {"blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm"},
    {"blk.#.post_ffw_norm", "model.layers.#.post_feedforward_layernorm"},
});
constexpr auto kPhi3 = std::to_array<NameRow>({
    {"blk.#.ffn_up", "model.layers.#.mlp.gate_up_proj"},
    {"blk.#.attn_norm", "model.layers.#.input_layernorm"},
    {"blk.#.ffn_norm", "model.layers.#.post_attention_layernorm"},
});
constexpr auto kMixtral = std::to_array<NameRow>({
    {"blk.#.attn_norm", "model.layers.#.input_layernorm"},
    {"blk.#.ffn_norm", "model.layers.#.post_attention_layernorm"},
    {"blk.#.ffn_gate_inp", "model.layers.#.block_sparse_moe.gate"},
});
constexpr auto kMixtralExperts = std::to_array<NameRow>({
    {"blk.#.ffn_gate_exps", "model.layers.#.block_sparse_moe.experts.@.w1"},
    {"blk.#.ffn_down_exps", "model.layers.#.block_sparse_moe.experts.@.w2"},
    {"blk.#.ffn_up_exps", "model.layers.#.block_sparse_moe.experts.@.w3"},
});
constexpr auto kGpt2 = std::to_array<NameRow>({
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.#.attn_norm", "transformer.h.#.ln_1"},
    {"blk.#.attn_qkv", "transformer.h.#.attn.c_attn"},
    {"blk.#.attn_output", "transformer.h.#.attn.c_proj"},
    {"blk.#.ffn_norm", "transformer.h.#.ln_2"},
    {"blk.#.ffn_up", "transformer.h.#.mlp.c_fc"},
    {"blk.#.ffn_down", "transformer.h.#.mlp.c_proj"},
});

constexpr bool kInterleaved = true, kPlusOne = true, kTied = true, kHeadRequired = true;
constexpr auto kArchitectures = std::to_array<Architecture>({
    {"llama", "llama", kPreNorm, kCommon, kInterleaved, false, false, false, SlidingRule::none, "silu"},
    {"mistral", "llama", kPreNorm, kCommon, kInterleaved, false, false, false, SlidingRule::none, "silu"},
    {"mixtral", "llama", kMixtral, kCommon, kInterleaved, false, false, false, SlidingRule::none, "silu",
     kMixtralExperts},
    {"smollm3", "smollm3", kPreNorm, kCommon, kInterleaved, false, false, false, SlidingRule::none, "silu"},
    {"qwen2", "qwen2", kPreNorm, kCommon, false, false, false, false, SlidingRule::none, "silu"},
    {"qwen3", "qwen3", kPreNorm, kCommon, false, false, false, false, SlidingRule::none, "silu"},
    {"gemma2", "gemma2", kGemma, kCommon, false, kPlusOne, kTied, false, SlidingRule::even_layers, "gelu_tanh"},
    {"gemma3", "gemma3", kGemma, kCommon, false, kPlusOne, false, false, SlidingRule::five_of_six, "gelu_tanh"},
    {"phi3", "phi3", kPhi3, kCommon, false, false, false, false, SlidingRule::none, "silu"},
    {"olmo2", "olmo2", kOlmo2, kCommon, false, false, false, kHeadRequired, SlidingRule::none, "silu"},
    {"gpt2", "gpt2", kGpt2, {}, false, false, false, false, SlidingRule::none, "gelu_tanh"},
});

constexpr bool neutral_names_are_unique() {
  for (std::size_t i = 0; i < kArchitectures.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (kArchitectures[i].neutral == kArchitectures[j].neutral) return false;
  return true;
}
static_assert(neutral_names_are_unique());

/// Matches `stem` against `pattern`; the digits at `#` go to `layer`.
bool matches(std::string_view pattern, std::string_view stem, std::string_view& layer) {
  const std::size_t mark = pattern.find('#');
  if (mark == std::string_view::npos) return pattern == stem;
  const std::string_view before = pattern.substr(0, mark), after = pattern.substr(mark + 1);
  if (stem.size() <= before.size() + after.size() || !stem.starts_with(before) || !stem.ends_with(after)) return false;
  layer = stem.substr(before.size(), stem.size() - before.size() - after.size());
  const bool canonical = layer == "0" || layer.front() != '0';
  return canonical && layer.find_first_not_of("0123456789") == std::string_view::npos;
}

std::string fill(std::string_view pattern, std::string_view layer) {
  std::string result(pattern);
  const std::size_t mark = result.find('#');
  if (mark != std::string::npos) result.replace(mark, 1, layer);
  return result;
}

std::optional<std::string> translate(std::span<const NameRow> rows, std::string_view name,
                                     std::string_view NameRow::*from, std::string_view NameRow::*to) {
  for (const std::string_view suffix : {std::string_view(".weight"), std::string_view(".bias")}) {
    if (!name.ends_with(suffix)) continue;
    const std::string_view stem = name.substr(0, name.size() - suffix.size());
    for (const NameRow& row : rows) {
      std::string_view layer;
      if (matches(row.*from, stem, layer)) return fill(row.*to, layer) + std::string(suffix);
    }
  }
  return std::nullopt;
}

std::optional<std::string> translate(const Architecture& architecture, std::string_view name,
                                     std::string_view NameRow::*from, std::string_view NameRow::*to) {
  if (const auto found = translate(architecture.own, name, from, to)) return found;
  return translate(architecture.shared, name, from, to);
}

}  // namespace

const Architecture* find_architecture(std::string_view neutral) noexcept {
  for (const Architecture& row : kArchitectures)
    if (row.neutral == neutral) return &row;
  return nullptr;
}

const Architecture* find_gguf_architecture(std::string_view gguf, std::string_view neutral, bool has_experts) noexcept {
  if (const Architecture* row = find_architecture(neutral); row != nullptr && row->gguf == gguf) return row;
  for (const Architecture& row : kArchitectures)
    if (row.gguf == gguf && row.experts.empty() != has_experts) return &row;
  for (const Architecture& row : kArchitectures)
    if (row.gguf == gguf) return &row;
  return nullptr;
}

std::optional<std::string> neutral_name(const Architecture& architecture, std::string_view gguf) {
  return translate(architecture, gguf, &NameRow::gguf, &NameRow::neutral);
}

std::optional<std::string> gguf_name(const Architecture& architecture, std::string_view neutral) {
  if (const auto found = translate(architecture, neutral, &NameRow::neutral, &NameRow::gguf)) return found;
  constexpr std::string_view kWrapper = "language_model.", kGpt2Prefix = "transformer.";
  if (const std::size_t at = neutral.find(kWrapper); at != std::string_view::npos) {
    std::string inner(neutral);
    inner.erase(at, kWrapper.size());
    return translate(architecture, inner, &NameRow::neutral, &NameRow::gguf);
  }
  if (architecture.neutral == "gpt2")
    return translate(architecture, std::string(kGpt2Prefix) + std::string(neutral), &NameRow::neutral, &NameRow::gguf);
  return std::nullopt;
}

std::optional<ExpertPlace> expert_place(const Architecture& architecture, std::string_view neutral) {
  constexpr std::string_view kBefore = ".experts.", kWeight = ".weight";
  const std::size_t at = neutral.find(kBefore);
  if (at == std::string_view::npos || !neutral.ends_with(kWeight)) return std::nullopt;
  const std::size_t begin = at + kBefore.size(), end = std::min(neutral.find('.', begin), neutral.size());
  const std::string_view digits = neutral.substr(begin, end - begin);
  std::uint64_t number = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool canonical =
      error == std::errc() && rest == digits.data() + digits.size() && (digits == "0" || digits.front() != '0');
  if (!canonical) return std::nullopt;
  const std::string_view stem = neutral.substr(0, neutral.size() - kWeight.size());
  if (end > stem.size()) return std::nullopt;
  const std::string pattern = std::string(stem.substr(0, begin)) + "@" + std::string(stem.substr(end));
  for (const NameRow& row : architecture.experts) {
    std::string_view layer;
    if (matches(row.neutral, pattern, layer)) return ExpertPlace{fill(row.gguf, layer) + std::string(kWeight), number};
  }
  return std::nullopt;
}

std::optional<std::string> expert_name(const Architecture& architecture, std::string_view gguf, std::uint64_t number) {
  const std::optional<std::string> name = translate(architecture.experts, gguf, &NameRow::gguf, &NameRow::neutral);
  if (!name) return std::nullopt;
  const std::size_t mark = name->find('@');
  return name->substr(0, mark) + std::to_string(number) + name->substr(mark + 1);
}

std::vector<tensor::Transform> stored_transforms(const Architecture& architecture, std::string_view gguf,
                                                 const tensor::ModelConfig& config) {
  std::string_view layer;
  for (const std::string_view suffix : {std::string_view(".weight"), std::string_view(".bias")}) {
    if (!architecture.rope_interleaved || !gguf.ends_with(suffix)) continue;
    const std::string_view stem = gguf.substr(0, gguf.size() - suffix.size());
    if (matches("blk.#.attn_q", stem, layer)) return {{tensor::TransformKind::rope_interleave, config.head_count}};
    if (matches("blk.#.attn_k", stem, layer)) return {{tensor::TransformKind::rope_interleave, config.kv_head_count}};
  }
  if (architecture.norm_plus_one && gguf.ends_with("norm.weight")) return {{tensor::TransformKind::add_one, 0}};
  return {};
}

bool is_derived(std::string_view gguf) noexcept {
  return gguf == "rope_freqs.weight" || gguf == "rope_factors_long.weight" || gguf == "rope_factors_short.weight";
}

std::vector<bool> sliding_layers(SlidingRule rule, std::uint64_t layer_count) {
  if (rule == SlidingRule::none) return {};
  std::vector<bool> result(layer_count);
  for (std::uint64_t i = 0; i < layer_count; ++i) result[i] = rule == SlidingRule::even_layers ? i % 2 == 0 : i % 6 < 5;
  return result;
}

}  // namespace ingot::convert::gguf

#include "converters/hf_names.h"

#include <array>

#include "converters/hf_architectures.h"

namespace ingot::convert {
namespace {

struct Rename {
  std::string_view prefix, replacement;
};

constexpr std::array<Rename, 4> kGpt2Renames = {{{"h.", "transformer.h."},
                                                 {"wte.", "transformer.wte."},
                                                 {"wpe.", "transformer.wpe."},
                                                 {"ln_f.", "transformer.ln_f."}}};

// The longest prefix first.
constexpr std::array<Rename, 6> kDecoderRenames = {{{"language_model.model.", "model."},
                                                    {"model.language_model.", "model."},
                                                    {"language_model.lm_head.", "lm_head."},
                                                    {"layers.", "model.layers."},
                                                    {"embed_tokens.", "model.embed_tokens."},
                                                    {"norm.", "model.norm."}}};

constexpr std::array<std::string_view, 4> kConv1dEndings = {".attn.c_attn.weight", ".attn.c_proj.weight",
                                                            ".mlp.c_fc.weight", ".mlp.c_proj.weight"};

constexpr std::string_view kWeight = ".weight";
constexpr std::array<std::string_view, 2> kExpertStacks = {".mlp.experts.gate_up_proj.weight",
                                                           ".mlp.experts.down_proj.weight"};

template <std::size_t kCount>
std::string rename(std::string_view name, const std::array<Rename, kCount>& rules) {
  for (const Rename& rule : rules) {
    if (name.starts_with(rule.prefix)) return std::string(rule.replacement).append(name.substr(rule.prefix.size()));
  }
  return std::string(name);
}

bool is_known(std::string_view architecture) noexcept {
  return architecture == "gemma3" || find_hf_architecture(architecture) != nullptr;
}

}  // namespace

std::string neutral_hf_name(std::string_view file_name, std::string_view architecture) {
  if (std::string weight = std::string(file_name).append(kWeight); is_hf_expert_stack(weight, architecture))
    return weight;
  if (!is_known(architecture)) return std::string(file_name);
  return architecture == "gpt2" ? rename(file_name, kGpt2Renames) : rename(file_name, kDecoderRenames);
}

std::string wrapped_hf_name(std::string_view neutral_name) {
  constexpr std::array<std::string_view, 4> kLanguagePrefixes = {"model.layers.", "model.embed_tokens.", "model.norm.",
                                                                 "lm_head."};
  for (const std::string_view prefix : kLanguagePrefixes) {
    if (neutral_name.starts_with(prefix)) return "language_model." + std::string(neutral_name);
  }
  return std::string(neutral_name);
}

std::string_view hf_embedding_name(std::string_view architecture) noexcept {
  return architecture == "gpt2" ? "transformer.wte.weight" : "model.embed_tokens.weight";
}

bool is_hf_conv1d(std::string_view neutral_name, std::string_view architecture) noexcept {
  if (architecture != "gpt2" || !neutral_name.starts_with("transformer.h.")) return false;
  for (const std::string_view ending : kConv1dEndings)
    if (neutral_name.ends_with(ending)) return true;
  return false;
}

bool is_hf_expert_stack(std::string_view neutral_name, std::string_view architecture) noexcept {
  if (architecture != "gpt_oss") return false;
  for (const std::string_view ending : kExpertStacks)
    if (neutral_name.ends_with(ending)) return true;
  return false;
}

std::string plain_hf_name(std::string_view neutral_name, std::string_view architecture) {
  if (is_hf_expert_stack(neutral_name, architecture)) neutral_name.remove_suffix(kWeight.size());
  return std::string(neutral_name);
}

bool is_hf_buffer(std::string_view neutral_name, std::string_view architecture) noexcept {
  if (neutral_name.ends_with(".rotary_emb.inv_freq")) return true;
  return architecture == "gpt2" &&
         (neutral_name.ends_with(".attn.bias") || neutral_name.ends_with(".attn.masked_bias"));
}

}  // namespace ingot::convert

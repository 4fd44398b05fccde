#include "converters/hf_architectures.h"

#include <array>

namespace ingot::convert {
namespace {

// Defaults are those of the configuration classes of transformers: they apply where a key is absent.
constexpr std::array<HfArchitecture, 13> kArchitectures = {{
    {"llama", "llama", "LlamaForCausalLM", false, 10000, 1e-6, "silu"},
    {"mistral", "mistral", "MistralForCausalLM", false, 10000, 1e-6, "silu"},
    {"mixtral", "mixtral", "MixtralForCausalLM", false, 1e6, 1e-5, "silu"},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false, 10000, 1e-6, "silu"},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", false, 10000, 1e-6, "silu"},
    {"gemma2", "gemma2", "Gemma2ForCausalLM", true, 10000, 1e-6, "gelu_tanh"},
    {"gemma3_text", "gemma3", "Gemma3ForCausalLM", true, 1e6, 1e-6, "gelu_tanh"},
    {"gemma3", "gemma3", "Gemma3ForCausalLM", true, 1e6, 1e-6, "gelu_tanh"},
    {"phi3", "phi3", "Phi3ForCausalLM", false, 10000, 1e-5, "silu"},
    {"gpt2", "gpt2", "GPT2LMHeadModel", true, 0, 1e-5, "gelu_tanh"},
    {"smollm3", "smollm3", "SmolLM3ForCausalLM", true, 2e6, 1e-6, "silu"},
    {"olmo2", "olmo2", "Olmo2ForCausalLM", false, 10000, 1e-5, "silu"},
    {"gemma", "gemma", "GemmaForCausalLM", true, 10000, 1e-6, "gelu_tanh"},
}};

}  // namespace

const HfArchitecture* find_hf_architecture(std::string_view model_type) noexcept {
  for (const HfArchitecture& row : kArchitectures)
    if (row.model_type == model_type) return &row;
  return nullptr;
}

}  // namespace ingot::convert

// One row per architecture.
#include <algorithm>
#include <iterator>

#include "runtime/arch/architecture.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_gemma2(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_gemma3(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_gpt2(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_llama(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_olmo2(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_phi3(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_qwen2(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_qwen3(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_smollm3(const Loader& loader, std::uint64_t context);

namespace {

constexpr Architecture kArchitectures[] = {
    {"gemma2", load_gemma2}, {"gemma3", load_gemma3},   {"gpt2", load_gpt2}, {"llama", load_llama},
    {"mistral", load_llama}, {"olmo2", load_olmo2},     {"phi3", load_phi3}, {"qwen2", load_qwen2},
    {"qwen3", load_qwen3},   {"smollm3", load_smollm3},
};

}  // namespace

const Architecture* find_architecture(std::string_view name) noexcept {
  const auto row = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                [&](const Architecture& a) { return a.name == name; });
  return row == std::end(kArchitectures) ? nullptr : row;
}

std::span<const Architecture> all_architectures() noexcept { return kArchitectures; }

}  // namespace ingot::runtime

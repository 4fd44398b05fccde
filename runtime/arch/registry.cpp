// One row per architecture.
#include <algorithm>
#include <iterator>

#include "runtime/arch/architecture.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_gpt2(const Loader& loader, std::uint64_t context);
std::unique_ptr<Network> load_llama(const Loader& loader, std::uint64_t context);

namespace {

constexpr Architecture kArchitectures[] = {
    {"gpt2", load_gpt2},
    {"llama", load_llama},
    {"mistral", load_llama},
};

}  // namespace

const Architecture* find_architecture(std::string_view name) noexcept {
  const auto row = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                [&](const Architecture& a) { return a.name == name; });
  return row == std::end(kArchitectures) ? nullptr : row;
}

std::span<const Architecture> all_architectures() noexcept { return kArchitectures; }

}  // namespace ingot::runtime

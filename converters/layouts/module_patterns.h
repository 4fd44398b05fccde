// Regular expressions for sets of modules, few and short, for configs that name modules by pattern: a rule for each of
// the ten thousand experts of a model would be read by nobody in time.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace ingot::convert {

inline constexpr std::size_t kLongestModulePattern = 1000;  // bytes, but for a single module of a longer name

/// Patterns of Python's re ("^model\.layers\.(?:0|1)\.mlp\.up_proj$"), every one of which matches only modules of the
/// set, and together all of them, each once. In the order in which their first modules come.
[[nodiscard]] std::vector<std::string> module_patterns(const std::vector<std::string>& modules);

}  // namespace ingot::convert

// Activation functions of the feed-forward parts, by their neutral names.
#pragma once

#include <cstdint>
#include <string_view>

namespace ingot::runtime {

struct Activation {
  std::string_view name;                                                           // ModelConfig::activation
  void (*apply)(float* values, std::uint64_t size) noexcept;                       // v = f(v)
  void (*gate)(float* values, const float* factors, std::uint64_t size) noexcept;  // v = f(v) * factor
};

/// `name` of the configuration of `architecture`, or where that is empty `usual`. Throws unsupported for others than
/// silu, gelu_tanh and gelu.
[[nodiscard]] const Activation& find_activation(std::string_view architecture, std::string_view name,
                                                std::string_view usual);

}  // namespace ingot::runtime

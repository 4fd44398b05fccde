// Architectures as Hugging Face transformers names them: the table behind configs and names.
#pragma once

#include <string_view>

namespace ingot::convert {

/// One row per architecture that is understood in full; others are read as far as their keys have the usual names.
struct HfArchitecture {
  std::string_view model_type;    // in config.json
  std::string_view architecture;  // neutral word
  std::string_view class_name;    // transformers class for "architectures"
  bool tied_by_default;
  double default_rope_theta;  // 0: no rotary embedding
  double default_norm_epsilon;
  std::string_view default_activation;  // neutral word
};
/// Null when unknown.
[[nodiscard]] const HfArchitecture* find_hf_architecture(std::string_view model_type) noexcept;

}  // namespace ingot::convert

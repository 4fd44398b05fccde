// The GGUF types into which values can be converted, one row each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ingot::convert::gguf {

struct Encoder {
  std::string_view scheme;  // word of --scheme
  std::string_view type;    // BlockType::name
  /// `count` elements, a multiple of the type's block. Rounds as the reference converter does.
  void (*encode)(const float* values, std::uint64_t count, std::byte* out) noexcept;
  void (*decode)(const std::byte* in, std::uint64_t count, float* values) noexcept;
  /// Do encode and decode give every value back (-0 as 0)? Null: to be found out with the two.
  bool (*all_fit)(const float* values, std::uint64_t count) noexcept;
  bool holds_non_finite;  // infinities and NaN survive
};

[[nodiscard]] std::span<const Encoder> encoders() noexcept;
[[nodiscard]] const Encoder* find_encoder(
    std::string_view type_name) noexcept;  // null: nothing is converted into this type

}  // namespace ingot::convert::gguf

// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. The one place that judges it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ingot {

/// How the bytes at a place continue: a valid character, a maximal invalid part (as the Unicode standard and Rust count
/// it), or a beginning that more bytes could complete.
struct Utf8Part {
  enum class Kind : std::uint8_t { valid, invalid, incomplete } kind;
  std::uint32_t length;  // bytes, at least 1
};
[[nodiscard]] Utf8Part utf8_part_at(std::string_view text, std::size_t at) noexcept;  // at < text.size()

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;
/// Every maximal invalid part replaced by U+FFFD.
[[nodiscard]] std::string to_valid_utf8(std::string_view bytes);

}  // namespace ingot

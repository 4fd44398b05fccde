// Unicode as far as tokenizers need it: code points of UTF-8 text (judged by format/base/utf8.h), general
// categories, canonical composition; upper and lower case for chat templates. Tables: Unicode 14
// (make_unicode_tables.py).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ingot::runtime::unicode {

enum class Category : std::uint8_t { other, upper, lower, title, modifier, letter, mark, number, punctuation, symbol };

[[nodiscard]] Category category(char32_t code) noexcept;
[[nodiscard]] bool is_letter(char32_t code) noexcept;       // \p{L}
[[nodiscard]] bool is_number(char32_t code) noexcept;       // \p{N}
[[nodiscard]] bool is_mark(char32_t code) noexcept;         // \p{M}
[[nodiscard]] bool is_white_space(char32_t code) noexcept;  // property White_Space, \s of regular expressions

struct CodePoint {
  char32_t value;
  std::uint32_t length;  // bytes
};
/// The character at `at`, which must begin a character of valid UTF-8 text.
[[nodiscard]] CodePoint code_point_at(std::string_view text, std::size_t at) noexcept;
void append_utf8(std::string& text, char32_t code);

/// Normalization form C of valid UTF-8.
[[nodiscard]] std::string nfc(std::string_view text);

/// Full case mappings, a character at a time: ß becomes SS, a capital sigma σ wherever it stands. What is not UTF-8
/// stays.
[[nodiscard]] std::string upper_case(std::string_view text);
[[nodiscard]] std::string lower_case(std::string_view text);

}  // namespace ingot::runtime::unicode

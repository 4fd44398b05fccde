#include "format/base/utf8.h"

namespace ingot {

Utf8Part utf8_part_at(std::string_view text, std::size_t at) noexcept {
  using Kind = Utf8Part::Kind;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {Kind::valid, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::invalid, 1};
  const std::uint32_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and code points above U+10FFFF.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::uint32_t i = 1; i < length; ++i) {
    if (at + i >= text.size()) return {Kind::incomplete, i};
    const unsigned next = byte(i);
    if (next < (i == 1 ? low : 0x80u) || next > (i == 1 ? high : 0xBFu)) return {Kind::invalid, i};
  }
  return {Kind::valid, length};
}

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Part part = utf8_part_at(text, at);
    if (part.kind != Utf8Part::Kind::valid) return false;
    at += part.length;
  }
  return true;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Part part = utf8_part_at(bytes, at);
    out += part.kind == Utf8Part::Kind::valid ? bytes.substr(at, part.length) : std::string_view("\xEF\xBF\xBD");
    at += part.length;
  }
  return out;
}

}  // namespace ingot

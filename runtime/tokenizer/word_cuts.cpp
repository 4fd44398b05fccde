#include "runtime/tokenizer/word_cuts.h"

#include <algorithm>

#include "format/base/utf8.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581

// The character that ends at `end` (> 0) of valid UTF-8.
char32_t character_before(std::string_view text, std::size_t end) noexcept {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return unicode::code_point_at(text, begin).value;
}

}  // namespace

WordCuts::WordCuts(const tensor::TokenizerSpec& spec) {
  const bool merges_characters =
      spec.kind == tensor::TokenizerKind::spm_bpe || spec.kind == tensor::TokenizerKind::char_bpe;
  // The mark must be a token: unknown characters may be fused with their neighbours.
  if (!merges_characters || spec.ignore_merges ||
      std::find(spec.tokens.begin(), spec.tokens.end(), kMark) == spec.tokens.end()) {
    return;
  }
  for (const std::string& token : spec.tokens) {
    if (token.find(kMark, 1) == std::string::npos || !is_utf8(token)) continue;
    for (std::size_t at = token.find(kMark, 1); at != std::string::npos; at = token.find(kMark, at + 1))
      before_mark_.insert(character_before(token, at));
  }
  may_cut_ =
      !before_mark_.contains(U'>');  // a piece of one byte ("<0x0A>") in front of a mark would stand for any character
}

std::size_t WordCuts::first_piece(std::string_view text) const noexcept {
  if (!may_cut_) return text.size();
  for (std::size_t at = text.find(kMark, 1); at != std::string_view::npos; at = text.find(kMark, at + kMark.size())) {
    const char32_t before = character_before(text, at);
    if (before != 0x2581 && !before_mark_.contains(before)) return at;
  }
  return text.size();
}

}  // namespace ingot::runtime

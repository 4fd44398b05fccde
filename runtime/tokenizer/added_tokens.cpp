// The flags single_word, lstrip and rstrip work as in the `tokenizers` library: a match that a word character touches
// is no single word; lstrip and rstrip give the white space beside the match to the token.
#include "runtime/tokenizer/added_tokens.h"

#include <algorithm>

#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime {
namespace {

bool is_word(char32_t c) noexcept {
  return c == '_' || unicode::is_letter(c) || unicode::is_number(c) || unicode::is_mark(c);
}

// Start of the character that ends at `end` (> 0).
std::size_t previous(std::string_view text, std::size_t end) noexcept {
  --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) noexcept {
  const bool before = begin == 0 || !is_word(unicode::code_point_at(text, previous(text, begin)).value);
  const bool after = end == text.size() || !is_word(unicode::code_point_at(text, end).value);
  return before && after;
}

std::size_t blanks_before(std::string_view text, std::size_t begin, std::size_t limit) noexcept {
  while (begin > limit && unicode::is_white_space(unicode::code_point_at(text, previous(text, begin)).value))
    begin = previous(text, begin);
  return begin;
}

std::size_t blanks_after(std::string_view text, std::size_t end) noexcept {
  while (end < text.size()) {
    const unicode::CodePoint point = unicode::code_point_at(text, end);
    if (!unicode::is_white_space(point.value)) break;
    end += point.length;
  }
  return end;
}

}  // namespace

void AddedTokenMatcher::add(const tensor::AddedToken& token, std::string text) {
  if (text.empty()) return;
  std::vector<std::uint32_t>& lengths = lengths_[static_cast<unsigned char>(text[0])];
  const auto length = static_cast<std::uint32_t>(text.size());
  const auto at = std::lower_bound(lengths.begin(), lengths.end(), length, std::greater<>());
  if (at == lengths.end() || *at != length) lengths.insert(at, length);
  std::string key = text;
  entries_.insert_or_assign(std::move(key), Entry{std::move(text), token});
}

const AddedTokenMatcher::Entry* AddedTokenMatcher::longest_at(std::string_view text, std::size_t at,
                                                              bool parse_special) const noexcept {
  for (const std::uint32_t length : lengths_[static_cast<unsigned char>(text[at])]) {
    if (length > text.size() - at) continue;
    const auto found = entries_.find(text.substr(at, length));
    if (found != entries_.end() && (parse_special || !found->second.token.special)) return &found->second;
  }
  return nullptr;
}

std::vector<Fragment> AddedTokenMatcher::split(std::string_view text, bool parse_special) const {
  std::vector<Fragment> fragments;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Entry* entry = longest_at(text, at, parse_special);
    if (entry == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + entry->text.size();
    at = end;
    if (entry->token.single_word && !stands_alone(text, begin, end)) continue;
    if (entry->token.lstrip) begin = blanks_before(text, begin, done);
    if (entry->token.rstrip) end = blanks_after(text, end);
    if (begin > done) fragments.push_back({text.substr(done, begin - done)});
    fragments.push_back({text.substr(begin, end - begin), entry->token.id});
    done = at = end;
  }
  if (done < text.size()) fragments.push_back({text.substr(done)});
  return fragments;
}

}  // namespace ingot::runtime

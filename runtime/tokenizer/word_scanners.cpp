// One function per family of splitting patterns. Each returns the end of the match at a position; the alternatives are
// tried in the order of the pattern, which stands above the function.
#include <algorithm>
#include <cstddef>
#include <iterator>

#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime {
namespace {

using Text = std::vector<ScannedChar>;
using unicode::Category;

bool is_newline(char32_t c) noexcept { return c == '\r' || c == '\n'; }
bool is_other(char32_t c) noexcept {
  return !unicode::is_white_space(c) && !unicode::is_letter(c) && !unicode::is_number(c);
}
// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and [\p{Ll}\p{Lm}\p{Lo}\p{M}]
bool is_upper_like(char32_t c) noexcept {
  const Category k = unicode::category(c);
  return k == Category::upper || k == Category::title || k == Category::modifier || k == Category::letter ||
         k == Category::mark;
}
bool is_lower_like(char32_t c) noexcept {
  const Category k = unicode::category(c);
  return k == Category::lower || k == Category::modifier || k == Category::letter || k == Category::mark;
}

template <class Predicate>
std::size_t run(const Text& text, std::size_t at, Predicate predicate, std::size_t limit = SIZE_MAX) noexcept {
  std::size_t end = at;
  while (end < text.size() && end - at < limit && predicate(text[end].code)) ++end;
  return end;
}

// 's 't 're 've 'm 'll 'd at `at`; the end, or `at`. Case folding includes the long s (U+017F), as the regular
// expressions do.
std::size_t contraction(const Text& text, std::size_t at, bool ignore_case) noexcept {
  const auto letter = [&](std::size_t i) -> char32_t {
    if (at + i >= text.size()) return 0;
    const char32_t c = text[at + i].code;
    if (!ignore_case) return c;
    return c >= 'A' && c <= 'Z' ? c + 32 : c == 0x17F ? U's' : c;
  };
  if (letter(0) != '\'') return at;
  const char32_t first = letter(1), second = letter(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  const bool pair =
      (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return pair ? at + 3 : at;
}

// \s*[\r\n]+|\s+(?!\S)|\s+   at white space: up to the last newline of the run, else all but the last blank before a
// word.
std::size_t blanks(const Text& text, std::size_t at, bool newlines_first) noexcept {
  const std::size_t end = run(text, at, unicode::is_white_space);
  if (newlines_first) {
    for (std::size_t i = end; i > at; --i) {
      if (is_newline(text[i - 1].code)) return i;
    }
  }
  return end < text.size() && end - at > 1 ? end - 1 : std::max(end, at + 1);
}

// ` ?[^\s\p{L}\p{N}]+` followed by any of `tail`; the end, or `at`.
template <class Symbol, class Tail>
std::size_t symbols(const Text& text, std::size_t at, Symbol symbol, Tail tail) noexcept {
  const std::size_t begin = text[at].code == ' ' ? at + 1 : at;
  const std::size_t end = run(text, begin, symbol);
  return end == begin ? at : run(text, end, tail);
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t scan_gpt2(const Text& text, std::size_t at) {
  if (const std::size_t end = contraction(text, at, false); end != at) return end;
  const std::size_t begin = text[at].code == ' ' ? at + 1 : at;
  for (const auto predicate : {unicode::is_letter, unicode::is_number, is_other}) {
    if (const std::size_t end = run(text, begin, predicate); end != begin) return end;
  }
  return blanks(text, at, false);
}

bool is_letter_or_mark(char32_t c) noexcept { return unicode::is_letter(c) || unicode::is_mark(c); }

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,kDigits}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ kMarks (qwen35): [\p{L}\p{M}]+ for words, and marks are no symbols.
template <std::size_t kDigits, bool kMarks>
std::size_t scan_gpt4(const Text& text, std::size_t at) {
  if (const std::size_t end = contraction(text, at, true); end != at) return end;
  const char32_t c = text[at].code;
  const std::size_t begin = is_newline(c) || unicode::is_letter(c) || unicode::is_number(c) ? at : at + 1;
  const auto is_word = kMarks ? is_letter_or_mark : unicode::is_letter;
  if (const std::size_t end = run(text, begin, is_word); end != begin) return end;
  if (kMarks && begin != at && is_word(c)) return run(text, at, is_word);  // a lone mark took the optional first place
  if (const std::size_t end = run(text, at, unicode::is_number, kDigits); end != at) return end;
  const auto is_symbol = [](char32_t s) { return is_other(s) && !(kMarks && unicode::is_mark(s)); };
  if (const std::size_t end = symbols(text, at, is_symbol, is_newline); end != at) return end;
  return blanks(text, at, true);
}

// [Upper]*[Lower]+ at `at` with the greedy first part giving characters back as a regular expression does; the end, or
// `at`.
std::size_t lower_word(const Text& text, std::size_t at) noexcept {
  const std::size_t upper_end = run(text, at, is_upper_like);
  if (const std::size_t end = run(text, upper_end, is_lower_like); end != upper_end) return end;
  for (std::size_t i = upper_end; i > at; --i) {
    if (is_lower_like(text[i - 1].code)) return i;
  }
  return at;
}
// [Upper]+[Lower]*
std::size_t upper_word(const Text& text, std::size_t at) noexcept {
  const std::size_t upper_end = run(text, at, is_upper_like);
  return upper_end == at ? at : run(text, upper_end, is_lower_like);
}

// [^\r\n\p{L}\p{N}]? before each of the two word forms, greedy, hence tried with the prefix first; the end, or `at`.
std::size_t cased_word(const Text& text, std::size_t at) noexcept {
  const char32_t c = text[at].code;
  const bool prefix = !is_newline(c) && !unicode::is_letter(c) && !unicode::is_number(c);
  for (const auto form : {lower_word, upper_word}) {
    if (prefix) {
      if (const std::size_t end = form(text, at + 1); end != at + 1) return end;
    }
    if (const std::size_t end = form(text, at); end != at) return end;
  }
  return at;
}

// tekken: cased words, \p{N}, ` ?[^\s\p{L}\p{N}]+[\r\n/]*`, blanks. gpt4o: the same with contractions after words and
// \p{N}{1,3}.
template <std::size_t kDigits, bool kContractions>
std::size_t scan_cased(const Text& text, std::size_t at) {
  if (const std::size_t end = cased_word(text, at); end != at)
    return kContractions ? contraction(text, end, true) : end;
  if (const std::size_t end = run(text, at, unicode::is_number, kDigits); end != at) return end;
  const auto tail = [](char32_t c) { return is_newline(c) || c == '/'; };
  if (const std::size_t end = symbols(text, at, is_other, tail); end != at) return end;
  return blanks(text, at, true);
}

struct Family {
  std::string_view name;
  WordScanner scanner;
};
constexpr Family kFamilies[] = {
    {"gpt2", scan_gpt2},
    {"llama3", scan_gpt4<3, false>},
    {"qwen2", scan_gpt4<1, false>},
    {"qwen35", scan_gpt4<1, true>},
    {"tekken", scan_cased<1, false>},
    {"gpt4o", scan_cased<3, true>},
};

}  // namespace

WordScanner word_scanner(std::string_view family) noexcept {
  const auto row =
      std::find_if(std::begin(kFamilies), std::end(kFamilies), [&](const Family& f) { return f.name == family; });
  return row == std::end(kFamilies) ? nullptr : row->scanner;
}

}  // namespace ingot::runtime

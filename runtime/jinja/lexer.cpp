// Cutting the source at its delimiters, whitespace control, and the tokens inside tags.
#include <algorithm>
#include <cctype>

#include "runtime/jinja/syntax.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime::jinja {
namespace {

constexpr std::string_view kBlank = " \t\n\r\f\v";

bool is_name_char(char c) noexcept { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

class TagLexer {
 public:
  TagLexer(std::string_view source, std::uint32_t line) noexcept : source_(source), line_(line) {}

  std::vector<Token> tokens() {
    std::vector<Token> out;
    for (at_ = source_.find_first_not_of(kBlank); at_ < source_.size(); at_ = source_.find_first_not_of(kBlank, at_))
      out.push_back(next());
    out.push_back({TokenKind::end, ""});
    return out;
  }

 private:
  Token next() {
    const char c = source_[at_];
    if (c == '\'' || c == '"') return string(c);
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) return number();
    if (is_name_char(c)) {
      const std::size_t begin = at_;
      while (at_ < source_.size() && is_name_char(source_[at_])) ++at_;
      return {TokenKind::name, std::string(source_.substr(begin, at_ - begin))};
    }
    for (const std::string_view symbol : {"//", "**", "==", "!=", "<=", ">="}) {
      if (source_.substr(at_, 2) == symbol) {
        at_ += 2;
        return {TokenKind::symbol, std::string(symbol)};
      }
    }
    if (std::string_view("+-*/%~<>=.,:|()[]{}").find(c) == std::string_view::npos) {
      fail("line " + std::to_string(line_) + ": unexpected character '" + std::string(1, c) + "'");
    }
    ++at_;
    return {TokenKind::symbol, std::string(1, c)};
  }

  Token number() {
    const std::size_t begin = at_;
    const auto digits = [&] {
      while (at_ < source_.size() &&
             (std::isdigit(static_cast<unsigned char>(source_[at_])) != 0 || source_[at_] == '_'))
        ++at_;
    };
    digits();
    bool real = false;
    if (at_ + 1 < source_.size() && source_[at_] == '.' &&
        std::isdigit(static_cast<unsigned char>(source_[at_ + 1])) != 0) {
      real = true;
      ++at_;
      digits();
    }
    std::string text(source_.substr(begin, at_ - begin));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    return {real ? TokenKind::real : TokenKind::integer, text};
  }

  Token string(char quote) {
    std::string text;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      if (source_[at_] == '\\' && at_ + 1 < source_.size()) {
        ++at_;
        escape(text);
      } else {
        text += source_[at_];
      }
    }
    if (at_ >= source_.size()) fail("line " + std::to_string(line_) + ": a string without an end");
    ++at_;
    return {TokenKind::string, text};
  }

  // The escape whose letter stands at at_; leaves at_ on its last character.
  void escape(std::string& text) {
    const char c = source_[at_];
    constexpr std::string_view kLetters = "ntrbfv\\'\"0", kMeanings = "\n\t\r\b\f\v\\'\"";
    const std::size_t width = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (width != 0) {
      char32_t code = 0;
      for (std::size_t i = 1; i <= width; ++i) {
        const char digit = at_ + i < source_.size() ? source_[at_ + i] : '?';
        if (std::isxdigit(static_cast<unsigned char>(digit)) == 0)
          fail("line " + std::to_string(line_) + ": a broken escape in a string");
        code = code * 16 + static_cast<char32_t>(digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        fail("line " + std::to_string(line_) + ": an escape that is no character");
      unicode::append_utf8(text, code);
      at_ += width;
    } else if (const std::size_t found = kLetters.find(c); found != std::string_view::npos) {
      text += found < kMeanings.size() ? kMeanings[found] : '\0';
    } else {
      (text += '\\') += c;
    }
  }

  std::string_view source_;
  std::uint32_t line_;
  std::size_t at_ = 0;
};

// End of a tag: the closing delimiter outside of strings; npos when there is none.
std::size_t find_close(std::string_view source, std::size_t at, std::string_view close) {
  char quote = 0;
  for (; at < source.size(); ++at) {
    const char c = source[at];
    if (quote != 0) {
      if (c == '\\')
        ++at;
      else if (c == quote)
        quote = 0;
    } else if (source.substr(at, 2) == close) {
      return at;
    } else if ((c == '\'' || c == '"') && close != "#}") {
      quote = c;
    }
  }
  return std::string_view::npos;
}

std::string normalized(std::string_view source) {
  std::string text;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

// Blanks from the start of the line up to a block tag vanish (lstrip_blocks).
void strip_line_start(std::string& literal, bool at_source_start) {
  const std::size_t last = literal.find_last_not_of(" \t");
  if (last == std::string::npos ? at_source_start : literal[last] == '\n')
    literal.resize(last == std::string::npos ? 0 : last + 1);
}

}  // namespace

std::vector<Segment> split_template(std::string_view original) {
  const std::string source = normalized(original);
  std::vector<Segment> segments;
  std::size_t at = 0;
  std::uint32_t line = 1;
  while (at < source.size()) {
    std::size_t open = at;
    while (open + 1 < source.size() &&
           !(source[open] == '{' && std::string_view("{%#").find(source[open + 1]) != std::string_view::npos))
      ++open;
    if (open + 1 >= source.size()) open = source.size();
    std::string literal = source.substr(at, open - at);
    const bool first_of_line = at == 0 || source[at - 1] == '\n';
    const std::uint32_t tag_line = line + static_cast<std::uint32_t>(std::count(literal.begin(), literal.end(), '\n'));
    if (open == source.size()) {
      segments.push_back({Segment::Kind::text, std::move(literal), {}, line});
      break;
    }
    const char kind = source[open + 1];
    const std::string_view close_mark = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
    const std::size_t close = find_close(source, open + 2, close_mark);
    if (close == std::string::npos) fail("line " + std::to_string(tag_line) + ": a tag without an end");
    std::size_t begin = open + 2, end = close;
    const char before = begin < end ? source[begin] : ' ';
    const char after = begin < end ? source[end - 1] : ' ';
    if (before == '-' || before == '+') ++begin;
    if ((after == '-' || after == '+') && end > begin) --end;
    if (before == '-')
      literal.erase(literal.find_last_not_of(kBlank) == std::string::npos ? 0 : literal.find_last_not_of(kBlank) + 1);
    if (before != '-' && before != '+' && kind != '{') strip_line_start(literal, first_of_line);
    if (!literal.empty()) segments.push_back({Segment::Kind::text, std::move(literal), {}, line});
    if (kind != '#') {
      const std::string inside = source.substr(begin, end - begin);
      const auto segment_kind = kind == '{' ? Segment::Kind::expression : Segment::Kind::statement;
      segments.push_back({segment_kind, inside, TagLexer(inside, tag_line).tokens(), tag_line});
    }
    at = close + 2;
    if (after == '-' && close > open + 2) {
      at = std::min(source.find_first_not_of(kBlank, at), source.size());
    } else if (after != '+' && kind != '{' && at < source.size() && source[at] == '\n') {
      ++at;
    }
    line = 1 + static_cast<std::uint32_t>(
                   std::count(source.begin(), source.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
  }
  return segments;
}

}  // namespace ingot::runtime::jinja

#include "format/base/json_fault.h"

#include <vector>

#include "format/base/utf8.h"

namespace ingot {
namespace {

/// A recursive-descent recognizer with an explicit stack. Each step returns false with position_ at the fault.
class Recognizer {
 public:
  explicit Recognizer(std::string_view text) : text_(text) {}

  [[nodiscard]] bool accepts() {
    skip_space();
    if (!value()) return false;
    while (!closers_.empty()) {
      skip_space();
      if (accept(closers_.back())) {
        closers_.pop_back();
      } else if (!accept(',') || !next_member()) {
        return false;
      }
    }
    skip_space();
    return position_ == text_.size();
  }

  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

 private:
  [[nodiscard]] unsigned char peek(std::size_t ahead = 0) const noexcept {
    return position_ + ahead < text_.size() ? static_cast<unsigned char>(text_[position_ + ahead]) : 0;
  }
  bool accept(char wanted) noexcept {
    if (position_ >= text_.size() || text_[position_] != wanted) return false;
    ++position_;
    return true;
  }
  void skip_space() noexcept {
    while (position_ < text_.size() && std::string_view(" \t\n\r").find(text_[position_]) != std::string_view::npos)
      ++position_;
  }

  /// A scalar, an empty container, or a container up to and including its first member's value (which may open further
  /// ones).
  [[nodiscard]] bool value() {
    for (;;) {
      const bool is_object = peek() == '{';
      if (!is_object && peek() != '[') return scalar();
      ++position_;
      closers_.push_back(is_object ? '}' : ']');
      skip_space();
      if (accept(closers_.back())) {
        closers_.pop_back();
        return true;
      }
      if (is_object && !member_name()) return false;
    }
  }

  /// What follows a comma.
  [[nodiscard]] bool next_member() {
    skip_space();
    return (closers_.back() != '}' || member_name()) && value();
  }

  [[nodiscard]] bool member_name() {
    if (peek() != '"' || !string()) return false;
    skip_space();
    if (!accept(':')) return false;
    skip_space();
    return true;
  }

  [[nodiscard]] bool scalar() {
    switch (peek()) {
      case '"': return string();
      case 't': return word("true");
      case 'f': return word("false");
      case 'n': return word("null");
      default: return number();
    }
  }

  [[nodiscard]] bool word(std::string_view expected) {
    for (const char c : expected) {
      if (!accept(c)) return false;
    }
    return true;
  }

  [[nodiscard]] bool digits() {
    const std::size_t begin = position_;
    while (peek() >= '0' && peek() <= '9') ++position_;
    return position_ > begin;
  }

  [[nodiscard]] bool number() {
    accept('-');
    if (!accept('0') && !digits()) return false;
    if (accept('.') && !digits()) return false;
    if (accept('e') || accept('E')) {
      if (!accept('+')) accept('-');
      return digits();
    }
    return true;
  }

  [[nodiscard]] bool string() {
    ++position_;  // the opening quote
    while (!accept('"')) {
      if (position_ >= text_.size() || peek() < 0x20) return false;
      if (!(peek() == '\\' ? escape() : code_point())) return false;
    }
    return true;
  }

  [[nodiscard]] bool escape() {
    ++position_;
    if (peek() != 'u') {
      if (peek() == 0 || std::string_view("\"\\/bfnrt").find(static_cast<char>(peek())) == std::string_view::npos)
        return false;
      ++position_;
      return true;
    }
    std::uint32_t unit = 0;
    if (!code_unit(unit)) return false;
    if (unit < 0xd800 || unit > 0xdfff) return true;
    const std::size_t low_begin = position_;
    std::uint32_t low = 0;
    if (unit > 0xdbff || !accept('\\') || peek() != 'u' || !code_unit(low) || low < 0xdc00 || low > 0xdfff) {
      position_ = low_begin;
      return false;
    }
    return true;
  }

  [[nodiscard]] bool code_unit(std::uint32_t& unit) {
    ++position_;  // the u
    for (int digit = 0; digit < 4; ++digit, ++position_) {
      const std::size_t nibble = std::string_view("0123456789abcdef").find(static_cast<char>(peek() | 0x20));
      const bool is_digit = peek() >= '0' && peek() <= '9';
      if (nibble == std::string_view::npos || (!is_digit && nibble < 10)) return false;
      unit = unit << 4 | static_cast<std::uint32_t>(nibble);
    }
    return true;
  }

  [[nodiscard]] bool code_point() {
    const Utf8Part part = utf8_part_at(text_, position_);
    if (part.kind != Utf8Part::Kind::valid) return false;
    position_ += part.length;
    return true;
  }

  std::string_view text_;
  std::size_t position_ = 0;
  std::vector<char> closers_;  // of the open containers, outermost first
};

}  // namespace

std::optional<std::uint64_t> find_json_fault(std::string_view text) {
  Recognizer recognizer(text);
  if (recognizer.accepts()) return std::nullopt;
  return recognizer.position();
}

}  // namespace ingot

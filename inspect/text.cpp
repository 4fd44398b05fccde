#include "inspect/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "format/base/utf8.h"

namespace ingot::inspect {
namespace {

constexpr std::array<std::string_view, 6> kInkCodes = {"", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[31m"};
constexpr std::string_view kInkEnd = "\033[0m";
constexpr std::string_view kEllipsis = "…";

/// Three significant digits: 1.23, 12.3, 123.
std::string three_digits(double value) {
  if (value < 9.995) return fixed(value, 2);
  if (value < 99.95) return fixed(value, 1);
  return fixed(value, 0);
}

/// Byte position after `columns` characters.
std::size_t position_after(std::string_view text, std::size_t columns) noexcept {
  std::size_t at = 0;
  while (at < text.size() && columns > 0) {
    at += utf8_part_at(text, at).length;
    --columns;
  }
  return at;
}

std::string padded(const std::string& text, std::size_t width, TextTable::Align align, Ink ink,
                   const TextStyle& style) {
  const std::size_t used = display_width(text);
  const std::string padding(width > used ? width - used : 0, ' ');
  const std::string painted = paint(text, ink, style);
  return align == TextTable::Align::left ? painted + padding : padding + painted;
}

}  // namespace

std::string paint(std::string_view text, Ink ink, const TextStyle& style) {
  if (!style.colour || ink == Ink::plain || text.empty()) return std::string(text);
  return std::string(kInkCodes[static_cast<std::size_t>(ink)]) + std::string(text) + std::string(kInkEnd);
}

std::string with_separators(std::uint64_t value) {
  std::string digits = std::to_string(value);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits = {"kB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1000) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return three_digits(value) + " " + std::string(kUnits[unit]);
}

std::string human_count(std::uint64_t count) {
  constexpr std::array<std::string_view, 4> kUnits = {"K", "M", "B", "T"};
  if (count < 1000) return std::to_string(count);
  double value = static_cast<double>(count) / 1000;
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return three_digits(value) + " " + std::string(kUnits[unit]);
}

std::string human_seconds(double seconds) {
  if (!(seconds >= 0)) return "?";
  if (seconds < 0.005) return "<0.01 s";
  if (seconds < 9.995) return fixed(seconds, 2) + " s";
  if (seconds < 99.95) return fixed(seconds, 1) + " s";
  const auto whole = static_cast<std::uint64_t>(std::min(seconds + 0.5, 1e15));
  if (whole < 3600) return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
}

std::string human_rate(double bytes, double seconds) {
  if (!(seconds > 0)) return "";
  return human_bytes(static_cast<std::uint64_t>(std::min(bytes / seconds, 1e18))) + "/s";
}

std::string fixed(double value, int decimals) {
  std::array<char, 400> buffer;
  const auto [end, error] =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed, decimals);
  return error == std::errc{} ? std::string(buffer.data(), end) : std::string("?");
}

std::string short_float(double value) {
  std::array<char, 64> buffer;
  const auto [end, error] =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::general, 6);
  return error == std::errc{} ? std::string(buffer.data(), end) : std::string("?");
}

std::string three_significant(double value) {
  std::array<char, 64> buffer;
  const auto [end, error] =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::general, 3);
  return error == std::errc{} ? std::string(buffer.data(), end) : std::string("?");
}

std::string plural(std::uint64_t count, std::string_view singular) {
  std::string text = with_separators(count) + " " + std::string(singular);
  if (count == 1) return text;
  if (!text.ends_with('y')) return text + "s";
  text.pop_back();
  return text + "ies";
}

std::string printable(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const auto [kind, size] = utf8_part_at(text, at);
    const auto byte = static_cast<unsigned char>(text[at]);
    const bool c1_control = size == 2 && byte == 0xC2 && static_cast<unsigned char>(text[at + 1]) < 0xA0;
    const bool control = (size == 1 && (byte < 0x20 || byte == 0x7F)) || c1_control;
    if (kind == Utf8Part::Kind::valid && !control) {
      result += text.substr(at, size);
      at += size;
      continue;
    }
    for (std::uint32_t i = 0; i < size; ++i, ++at) {
      const auto raw = static_cast<unsigned char>(text[at]);
      result += "\\x";
      result += kDigits[raw >> 4];
      result += kDigits[raw & 15];
    }
  }
  return result;
}

std::size_t display_width(std::string_view text) noexcept {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string elide(std::string_view text, std::size_t width, Elide where) {
  const std::size_t used = display_width(text);
  if (used <= width || where == Elide::no) return std::string(text);
  if (width == 0) return "";
  const std::size_t kept = width - 1;
  std::size_t front = kept;
  if (where == Elide::front) front = 0;
  if (where == Elide::middle) front = kept / 2;
  return std::string(text.substr(0, position_after(text, front))) + std::string(kEllipsis) +
         std::string(text.substr(position_after(text, used - (kept - front))));
}

std::string wrap(std::string_view text, std::size_t width, std::size_t indent) {
  std::string result;
  std::size_t column = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    const std::size_t word_width = display_width(word);
    if (column > 0 && width > 0 && column + 1 + word_width > width) {
      result += '\n';
      result.append(indent, ' ');
      column = 0;
    } else if (column > 0) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word_width;
    at = end + 1;
  }
  return result;
}

std::string TextTable::render(const TextStyle& style) const {
  constexpr std::size_t kGap = 2, kLeastElided = 30;
  std::vector<std::size_t> widths(columns_.size());
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths[c] = display_width(columns_[c].header);
    for (const std::vector<Cell>& row : rows_) widths[c] = std::max(widths[c], display_width(row[c].text));
  }
  std::vector<bool> shown(columns_.size(), true);
  const auto total = [&](bool elided) {
    std::size_t sum = 0;
    for (std::size_t c = 0; c < widths.size(); ++c) {
      if (!shown[c]) continue;
      const bool shrinks = elided && columns_[c].elide != Elide::no;
      sum += (sum > 0 ? kGap : 0) + (shrinks ? std::min(widths[c], kLeastElided) : widths[c]);
    }
    return sum;
  };
  if (style.width > 0) {
    for (const Drop drop : {Drop::early, Drop::late}) {
      for (std::size_t c = columns_.size(); c-- > 0;)
        if (columns_[c].drop == drop && total(drop == Drop::late) > style.width) shown[c] = false;
    }
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::size_t now = total(false);
      if (columns_[c].elide == Elide::no || now <= style.width) continue;
      const std::size_t excess = now - style.width;
      constexpr std::size_t kReadable = 8;
      widths[c] = widths[c] > excess + kReadable ? widths[c] - excess : std::min(widths[c], kReadable);
    }
  }
  const auto last_shown =
      static_cast<std::size_t>(std::find(shown.rbegin(), shown.rend(), true).base() - shown.begin()) - 1;
  std::string result;
  const auto add_line = [&](const std::vector<Cell>& cells, bool header) {
    for (std::size_t c = 0; c <= last_shown; ++c) {
      if (!shown[c]) continue;
      const Ink ink = header ? Ink::strong : cells[c].ink;
      const std::string text = elide(cells[c].text, widths[c], columns_[c].elide);
      const bool pad = c != last_shown || columns_[c].align == Align::right;  // no trailing spaces
      result += pad ? padded(text, widths[c], columns_[c].align, ink, style) : paint(text, ink, style);
      if (c != last_shown) result.append(kGap, ' ');
    }
    while (result.ends_with(' ')) result.pop_back();
    result += '\n';
  };
  std::vector<Cell> header;
  for (const Column& column : columns_) header.emplace_back(column.header);
  add_line(header, true);
  for (const std::vector<Cell>& row : rows_) add_line(row, false);
  return result;
}

std::string FactList::render(const TextStyle& style) const {
  constexpr std::size_t kIndent = 2, kGap = 2;
  std::size_t label_width = 0;
  for (const auto& [label, value] : facts_) label_width = std::max(label_width, display_width(label));
  const std::size_t indent = kIndent + label_width + kGap;
  const std::size_t width = style.width > indent + 20 ? style.width - indent : 0;
  std::string result;
  for (const auto& [label, value] : facts_) {
    result.append(kIndent, ' ');
    result += paint(label, Ink::faint, style);
    result.append(label_width - display_width(label) + kGap, ' ');
    result += wrap(value, width, indent) + "\n";
  }
  return result;
}

}  // namespace ingot::inspect

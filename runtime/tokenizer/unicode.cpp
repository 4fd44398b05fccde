// Lookups in the generated tables, code points, and canonical composition (Unicode Standard, section 3.11; Hangul by
// arithmetic).
#include "runtime/tokenizer/unicode.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "format/base/utf8.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace ingot::runtime::unicode {
namespace {

// Value of the range that holds `code`; ranges hold first << 8 | value and start at 0.
std::uint32_t in_ranges(const std::uint32_t* ranges, std::size_t count, char32_t code) noexcept {
  const std::uint32_t key = static_cast<std::uint32_t>(code) << 8 | 0xFF;
  return *(std::upper_bound(ranges, ranges + count, key) - 1) & 0xFF;
}

std::uint32_t combining_class(char32_t code) noexcept {
  return code < 0x300 ? 0 : in_ranges(kCombiningRanges, kCombiningRangeCount, code);
}

constexpr char32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr char32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

void decompose(char32_t code, std::u32string& out) {
  if (code >= kSBase && code < kSBase + kSCount) {
    const char32_t index = code - kSBase;
    out += kLBase + index / (kVCount * kTCount);
    out += kVBase + index % (kVCount * kTCount) / kTCount;
    if (index % kTCount != 0) out += kTBase + index % kTCount;
    return;
  }
  const Decomposition* const end = kDecompositions + kDecompositionCount;
  const Decomposition* row =
      std::lower_bound(kDecompositions, end, code, [](const Decomposition& d, char32_t c) { return d.code < c; });
  if (row == end || row->code != code) {
    out += code;
    return;
  }
  decompose(row->first, out);
  if (row->second != 0) decompose(row->second, out);
}

void append_other_case(const CaseTable& table, char32_t code, std::string& out) {
  const CaseExpansion* const end = table.expansions + table.expansion_count;
  const CaseExpansion* many =
      std::lower_bound(table.expansions, end, code, [](const CaseExpansion& row, char32_t c) { return row.code < c; });
  if (many != end && many->code == code) {
    for (const std::uint32_t part : many->parts) {
      if (part != 0) append_utf8(out, part);
    }
    return;
  }
  const CaseRange* const last = table.ranges + table.range_count;
  const CaseRange* range =
      std::lower_bound(table.ranges, last, code, [](const CaseRange& row, char32_t c) { return row.last < c; });
  const bool changes = range != last && code >= range->first && (code - range->first) % range->stride == 0;
  append_utf8(out, changes ? static_cast<char32_t>(static_cast<std::int32_t>(code) + range->delta) : code);
}

std::string in_case(const CaseTable& table, std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Part part = utf8_part_at(text, at);
    if (part.kind == Utf8Part::Kind::valid)
      append_other_case(table, code_point_at(text, at).value, out);
    else
      out += text.substr(at, part.length);
    at += part.length;
  }
  return out;
}

// (first, second, composed), ascending.
struct Composition {
  std::uint32_t first, second, composed;
  bool operator<(const Composition& other) const noexcept {
    return std::pair(first, second) < std::pair(other.first, other.second);
  }
};

const std::vector<Composition>& compositions() {
  static const std::vector<Composition> table = [] {
    std::vector<Composition> rows;
    for (std::size_t i = 0; i < kDecompositionCount; ++i) {
      const Decomposition& d = kDecompositions[i];
      if (d.composes != 0) rows.push_back({d.first, d.second, d.code});
    }
    std::sort(rows.begin(), rows.end());
    return rows;
  }();
  return table;
}

// The primary composite of a pair, or 0.
char32_t compose(char32_t first, char32_t second) {
  if (first >= kLBase && first < kLBase + kLCount && second >= kVBase && second < kVBase + kVCount) {
    return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  }
  const bool is_lv = first >= kSBase && first < kSBase + kSCount && (first - kSBase) % kTCount == 0;
  if (is_lv && second > kTBase && second < kTBase + kTCount) return first + (second - kTBase);
  const Composition key = {first, second, 0};
  const auto row = std::lower_bound(compositions().begin(), compositions().end(), key);
  return row != compositions().end() && row->first == first && row->second == second ? row->composed : 0;
}

void order_marks(std::u32string& text) {
  for (std::size_t begin = 0; begin < text.size();) {
    if (combining_class(text[begin]) == 0) {
      ++begin;
      continue;
    }
    std::size_t end = begin;
    while (end < text.size() && combining_class(text[end]) != 0) ++end;
    std::stable_sort(text.begin() + static_cast<std::ptrdiff_t>(begin), text.begin() + static_cast<std::ptrdiff_t>(end),
                     [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

std::u32string composed(const std::u32string& text) {
  std::u32string out;
  std::size_t starter = std::u32string::npos;
  std::uint32_t last_class = 0;
  for (const char32_t code : text) {
    const std::uint32_t mark_class = combining_class(code);
    if (starter != std::u32string::npos) {
      const bool adjacent = starter + 1 == out.size();
      if (adjacent || last_class < mark_class) {  // not blocked
        if (const char32_t whole = compose(out[starter], code)) {
          out[starter] = whole;
          continue;
        }
      }
    }
    if (mark_class == 0) starter = out.size();
    last_class = mark_class;
    out += code;
  }
  return out;
}

}  // namespace

Category category(char32_t code) noexcept {
  return static_cast<Category>(in_ranges(kCategoryRanges, kCategoryRangeCount, code));
}
bool is_letter(char32_t code) noexcept {
  const Category c = category(code);
  return c >= Category::upper && c <= Category::letter;
}
bool is_number(char32_t code) noexcept { return category(code) == Category::number; }
bool is_mark(char32_t code) noexcept { return category(code) == Category::mark; }
bool is_white_space(char32_t c) noexcept {
  return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

CodePoint code_point_at(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

std::string nfc(std::string_view text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xC0 + 0xC; });
  if (plain) return std::string(text);  // nothing at or above U+0300: already composed
  std::u32string codes;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    decompose(point.value, codes);
    at += point.length;
  }
  order_marks(codes);
  std::string out;
  for (const char32_t code : composed(codes)) append_utf8(out, code);
  return out;
}

std::string upper_case(std::string_view text) { return in_case(kUpperCase, text); }
std::string lower_case(std::string_view text) { return in_case(kLowerCase, text); }

}  // namespace ingot::runtime::unicode

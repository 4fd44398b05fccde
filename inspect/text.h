// Text for people: numbers with units, escaped names, aligned tables that fit a width. Knows nothing about models;
// prints nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::inspect {

/// What the place where text will appear can show.
struct TextStyle {
  std::uint32_t width = 0;  // columns; 0: no limit (a file or a pipe)
  bool colour = false;      // a terminal, and NO_COLOR is not set
};

enum class Ink : std::uint8_t { plain, strong, faint, good, warning, bad };
/// `text` in that ink, or as it is where the style has no colour.
[[nodiscard]] std::string paint(std::string_view text, Ink ink, const TextStyle& style);

[[nodiscard]] std::string with_separators(std::uint64_t value);      // 1,234,567
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);          // "512 B", "1.93 MB", decimal units, three digits
[[nodiscard]] std::string human_count(std::uint64_t count);          // "656 K", "1.24 B": parameters
[[nodiscard]] std::string human_seconds(double seconds);             // "0.04 s", "12.3 s", "3 min 20 s"
[[nodiscard]] std::string human_rate(double bytes, double seconds);  // "1.93 GB/s"
[[nodiscard]] std::string fixed(double value, int decimals);
[[nodiscard]] std::string short_float(double value);        // up to 6 significant digits: "0.0123", "1.5e-05", "nan"
[[nodiscard]] std::string three_significant(double value);  // "0.00168": errors in tables
[[nodiscard]] std::string plural(std::uint64_t count,
                                 std::string_view singular);  // "1 tensor", "2 tensors", "3 copies"

/// Untrusted text made harmless for a terminal: control characters and invalid UTF-8 become \xNN.
[[nodiscard]] std::string printable(std::string_view text);
/// Columns that `text` (printable UTF-8) takes.
[[nodiscard]] std::size_t display_width(std::string_view text) noexcept;
/// At most `width` columns, the front, the middle or the end replaced by "…".
enum class Elide : std::uint8_t { no, front, middle, end };
[[nodiscard]] std::string elide(std::string_view text, std::size_t width, Elide where);
/// Lines of at most `width` columns, broken at spaces; the second and later ones indented.
[[nodiscard]] std::string wrap(std::string_view text, std::size_t width, std::size_t indent);

/// Rows of cells under a header line. Columns are as wide as their widest cell. Where the table is wider than the style
/// allows, columns marked Drop::early go, then those marked Drop::late if eliding alone does not help (the rightmost
/// first), then the columns that may be elided shrink.
class TextTable {
 public:
  enum class Align : std::uint8_t { left, right };
  enum class Drop : std::uint8_t { never, early, late };
  using Elide = inspect::Elide;
  struct Column {
    std::string header;
    Align align = Align::left;
    Elide elide = Elide::no;
    Drop drop = Drop::never;
  };
  struct Cell {
    Cell(std::string cell_text, Ink cell_ink = Ink::plain) : text(std::move(cell_text)), ink(cell_ink) {}
    Cell(const char* cell_text) : text(cell_text) {}
    std::string text;
    Ink ink = Ink::plain;
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add_row(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }  // as many cells as columns
  [[nodiscard]] bool empty() const noexcept { return rows_.empty(); }
  [[nodiscard]] std::string render(const TextStyle& style) const;  // ends with a newline

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

/// "label   value" lines with the labels aligned, indented by two; values wrap to the width.
class FactList {
 public:
  void add(std::string label, std::string value) { facts_.emplace_back(std::move(label), std::move(value)); }
  [[nodiscard]] std::string render(const TextStyle& style) const;

 private:
  std::vector<std::pair<std::string, std::string>> facts_;
};

}  // namespace ingot::inspect

// Text helpers and folding of names.
#include <doctest/doctest.h>

#include "format/base/utf8.h"
#include "inspect/fold.h"
#include "inspect/text.h"

namespace ingot::inspect {

TEST_CASE("numbers_are_short_and_carry_their_unit") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(999) == "999 B");
  CHECK(human_bytes(1000) == "1.00 kB");
  CHECK(human_bytes(9995) == "10.0 kB");
  CHECK(human_bytes(999499) == "999 kB");
  CHECK(human_bytes(999500) == "1.00 MB");
  CHECK(human_bytes(~std::uint64_t{0}) == "18.4 EB");
  CHECK(human_count(655872) == "656 K");
  CHECK(human_count(1240000000) == "1.24 B");
  CHECK(with_separators(0) == "0");
  CHECK(with_separators(999) == "999");
  CHECK(with_separators(1000) == "1,000");
  CHECK(with_separators(12345678) == "12,345,678");
  CHECK(human_seconds(0.001) == "<0.01 s");
  CHECK(human_seconds(9.99) == "9.99 s");
  CHECK(human_seconds(200) == "3 min 20 s");
  CHECK(human_seconds(3600 * 25 + 120) == "25 h 2 min");
  CHECK(plural(1, "tensor") == "1 tensor");
  CHECK(plural(2000, "tensor") == "2,000 tensors");
  CHECK(plural(0, "entry") == "0 entries");
  CHECK(short_float(0.1) == "0.1");
  CHECK(three_significant(0.00167847) == "0.00168");
}

TEST_CASE("untrusted_text_cannot_reach_the_terminal_raw") {
  CHECK(printable("plain") == "plain");
  CHECK(printable("Ünï 模型") == "Ünï 模型");
  CHECK(printable("a\033[2Jb\n\t\x7f") == "a\\x1b[2Jb\\x0a\\x09\\x7f");
  CHECK(printable("\xC2\x9B"
                  "31m") == "\\xc2\\x9b31m");  // the one-character form of ESC [
  CHECK(printable("\xFF\xC3") == "\\xff\\xc3");
  CHECK(printable("\xC0\xAF \xED\xA0\x80") == "\\xc0\\xaf \\xed\\xa0\\x80");  // overlong, surrogate
  CHECK(to_valid_utf8("a\nb\xFF") == "a\nb\xEF\xBF\xBD");
}

TEST_CASE("elide_keeps_the_wanted_end_and_the_width") {
  CHECK(elide("abcdef", 6, Elide::front) == "abcdef");
  CHECK(elide("abcdefg", 6, Elide::front) == "…cdefg");
  CHECK(elide("abcdefg", 6, Elide::end) == "abcde…");
  CHECK(elide("abcdefg", 5, Elide::middle) == "ab…fg");
  CHECK(elide("abcdefg", 3, Elide::no) == "abcdefg");
  CHECK(elide("äöüß", 3, Elide::end) == "äö…");
  CHECK(display_width("äöü…") == 4);
}

TEST_CASE("wrap_breaks_at_spaces_and_indents") {
  CHECK(wrap("one two three", 7, 2) == "one two\n  three");
  CHECK(wrap("unbreakable", 4, 2) == "unbreakable");
  CHECK(wrap("one two", 0, 2) == "one two");
}

TEST_CASE("a_table_fits_its_width") {
  using Align = TextTable::Align;
  TextTable table({{"NAME", Align::left, Elide::front},
                   {"N", Align::right},
                   {"EXTRA", Align::left, Elide::no, TextTable::Drop::early}});
  table.add_row({"model.layers.0.weight", "1", "rows"});
  table.add_row({"b", "1,000", "tiles"});
  CHECK(table.render({}) ==
        "NAME                       N  EXTRA\n"
        "model.layers.0.weight      1  rows\n"
        "b                      1,000  tiles\n");
  CHECK(table.render({30, false}) ==
        "NAME                       N\n"
        "model.layers.0.weight      1\n"
        "b                      1,000\n");
  CHECK(table.render({22, false}) ==
        "NAME                 N\n"
        "…ayers.0.weight      1\n"
        "b                1,000\n");
}

TEST_CASE("a_table_drops_a_late_column_only_when_eliding_does_not_help") {
  using Align = TextTable::Align;
  TextTable table({{"NAME", Align::left, Elide::front}, {"KIND", Align::left, Elide::no, TextTable::Drop::late}});
  table.add_row({std::string(40, 'n'), "rows"});
  CHECK(table.render({36, false}).find("KIND") != std::string::npos);
  CHECK(table.render({35, false}).find("KIND") == std::string::npos);
  CHECK(table.render({36, false}).find("…" + std::string(29, 'n') + "  rows") != std::string::npos);
}

TEST_CASE("colour_appears_only_when_the_style_has_it") {
  CHECK(paint("x", Ink::bad, {80, false}) == "x");
  CHECK(paint("x", Ink::bad, {80, true}) == "\033[31mx\033[0m");
  CHECK(paint("x", Ink::plain, {80, true}) == "x");
}

TEST_CASE("names_fold_over_their_numbers") {
  const auto patterns = [](const std::vector<NamedItem>& items, bool fold = true) {
    std::vector<std::string> result;
    for (const NameGroup& group : fold_names(items, fold))
      result.push_back(group.pattern + " x" + std::to_string(group.members.size()));
    return result;
  };
  using Names = std::vector<std::string>;
  CHECK(patterns({{"h.0.w", ""}, {"h.1.w", ""}, {"h.2.w", ""}}) == Names{"h.{0..2}.w x3"});
  CHECK(patterns({{"h.0.w", ""}, {"h.1.w", ""}}) == Names{"h.{0,1}.w x2"});
  CHECK(patterns({{"h.0.w", ""}, {"h.2.w", ""}, {"h.3.w", ""}, {"h.4.w", ""}}) == Names{"h.{0,2..4}.w x4"});
  CHECK(patterns({{"h.0.w", "a"}, {"h.1.w", "b"}, {"h.2.w", "a"}}) == Names{"h.{0,2}.w x2", "h.1.w x1"});
  CHECK(patterns({{"l.0.e.0.w", ""}, {"l.0.e.1.w", ""}, {"l.1.e.0.w", ""}, {"l.1.e.1.w", ""}}) ==
        Names{"l.{0,1}.e.{0,1}.w x4"});
  CHECK(patterns({{"l.0.e.3.w", ""}, {"l.1.e.3.w", ""}}) == Names{"l.{0,1}.e.3.w x2"});
  CHECK(patterns({{"h.0.w", ""}, {"h.1.w", ""}}, false) == Names{"h.0.w x1", "h.1.w x1"});
  CHECK(patterns({{"h.01.w", ""}, {"h.1.w", ""}, {"h.99999999999999999999.w", ""}}) ==
        Names{"h.01.w x1", "h.1.w x1", "h.99999999999999999999.w x1"});
  CHECK(patterns({{"", ""}, {"7", ""}, {".", ""}}) == Names{" x1", "7 x1", ". x1"});
}

}  // namespace ingot::inspect

// Filters, tests, methods and functions that chat templates use. One row each.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <iterator>

#include "format/base/error.h"
#include "format/base/utf8.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;

const Value& input(const Arguments& a) {
  if (a.positional.empty()) fail("a call without its object");
  return a.positional[0];
}
std::string input_text(const Arguments& a) { return input(a).text(); }

// --- strings ---------------------------------------------------------------------------------------------------------
enum class Side : std::uint8_t { both, left, right };

// Characters of `set`, or white space when it is none.
std::string stripped(const std::string& text, const Value& set, Side side) {
  List characters = items_of(Value(text));
  const auto strips = [&](const Value& character) {
    if (set.is_string()) return set.string().find(character.string()) != std::string::npos;
    if (utf8_part_at(character.string(), 0).kind != Utf8Part::Kind::valid) return false;
    const unicode::CodePoint point = unicode::code_point_at(character.string(), 0);
    return unicode::is_white_space(point.value) || (point.value >= 0x1C && point.value <= 0x1F);
  };
  std::size_t begin = 0, end = characters.size();
  while (side != Side::right && begin < end && strips(characters[begin])) ++begin;
  while (side != Side::left && end > begin && strips(characters[end - 1])) --end;
  std::string out;
  for (std::size_t i = begin; i < end; ++i) out += characters[i].string();
  return out;
}

Value strip(const Arguments& a) { return stripped(input_text(a), a.get(1, "chars", nullptr), Side::both); }
Value lstrip(const Arguments& a) { return stripped(input_text(a), a.get(1, "chars", nullptr), Side::left); }
Value rstrip(const Arguments& a) { return stripped(input_text(a), a.get(1, "chars", nullptr), Side::right); }

Value upper(const Arguments& a) { return unicode::upper_case(input_text(a)); }
std::string lowered(const std::string& text) {
  if (text.find("\u03A3") != std::string::npos)
    unsupported("the lower case of a capital sigma");  // of two, by what follows
  return unicode::lower_case(text);
}
Value lower(const Arguments& a) { return lowered(input_text(a)); }

// Titles touch ASCII letters only; others would need tables that no template has asked for.
std::string cased(std::string text, bool upper) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) unsupported("a title of characters outside ASCII");
    if (upper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    if (!upper && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}
Value capitalize(const Arguments& a) {
  std::string text = cased(input_text(a), false);
  if (!text.empty()) text[0] = cased(text.substr(0, 1), true)[0];
  return text;
}
Value title(const Arguments& a) {
  std::string text = cased(input_text(a), false);
  bool start = true;
  for (char& c : text) {
    const bool letter = c >= 'a' && c <= 'z';
    if (letter && start) c = static_cast<char>(c - 32);
    start = !letter;
  }
  return text;
}

Value replace(const Arguments& a) {
  std::string text = input_text(a);
  const std::string from = a.get(1, "old").text(), to = a.get(2, "new").text();
  const Value limit = a.get(3, "count", nullptr);
  std::int64_t left = limit.is_integer() ? limit.integer() : -1;
  if (from.empty()) unsupported("replacing an empty string");
  for (std::size_t at = text.find(from); at != std::string::npos && left != 0;
       at = text.find(from, at + to.size()), --left) {
    check_size(text.size() + to.size());
    text.replace(at, from.size(), to);
  }
  return text;
}

Value split(const Arguments& a) {
  const std::string text = input_text(a);
  const Value separator = a.get(1, "sep", nullptr), limit = a.get(2, "maxsplit", std::int64_t{-1});
  std::int64_t left = limit.is_integer() ? limit.integer() : -1;
  List parts;
  std::size_t at = 0;
  if (separator.is_string()) {
    const std::string& mark = separator.string();
    if (mark.empty()) fail("split at an empty string");
    for (std::size_t found = text.find(mark); found != std::string::npos && left != 0;
         found = text.find(mark, at), --left) {
      parts.emplace_back(text.substr(at, found - at));
      at = found + mark.size();
    }
    parts.emplace_back(text.substr(at));
    return parts;
  }
  constexpr std::string_view kBlank = " \t\n\r\f\v";
  for (at = text.find_first_not_of(kBlank); at != std::string::npos; at = text.find_first_not_of(kBlank, at)) {
    const std::size_t end = left == 0 ? std::string::npos : text.find_first_of(kBlank, at);
    parts.emplace_back(left == 0 ? stripped(text.substr(at), nullptr, Side::right) : text.substr(at, end - at));
    if (end == std::string::npos) break;
    at = end;
    --left;
  }
  return parts;
}

// startswith and endswith also take a list of candidates.
template <class Check>
Value any_affix(const Arguments& a, Check check) {
  const std::string text = input_text(a);
  const Value candidates = a.get(1, "prefix");
  if (candidates.is_string()) return check(text, candidates.string());
  for (const Value& one : items_of(candidates)) {
    if (check(text, one.text())) return true;
  }
  return false;
}
Value startswith(const Arguments& a) {
  return any_affix(a, [](const std::string& text, const std::string& affix) { return text.starts_with(affix); });
}
Value endswith(const Arguments& a) {
  return any_affix(a, [](const std::string& text, const std::string& affix) { return text.ends_with(affix); });
}
Value find(const Arguments& a) {
  const std::string text = input_text(a), wanted = a.get(1, "sub").text();
  const std::size_t at = text.find(wanted);
  return at == std::string::npos ? std::int64_t{-1}
                                 : static_cast<std::int64_t>(items_of(Value(text.substr(0, at))).size());
}
Value count_of(const Arguments& a) {
  const std::string text = input_text(a), wanted = a.get(1, "sub").text();
  if (wanted.empty()) unsupported("counting an empty string");
  std::int64_t count = 0;
  for (std::size_t at = text.find(wanted); at != std::string::npos; at = text.find(wanted, at + wanted.size())) ++count;
  return count;
}
// "separator".join(items) and items | join("separator").
std::string joined(const Value& items, const std::string& separator) {
  std::string out;
  bool first = true;
  for (const Value& item : items_of(items)) {
    if (!first) out += separator;
    first = false;
    out += item.text();
    check_size(out.size());
  }
  return out;
}
Value join_method(const Arguments& a) { return joined(a.get(1, "items"), input_text(a)); }
Value join(const Arguments& a) {
  const Value attribute = a.get(2, "attribute", nullptr);
  if (!attribute.is_string()) return joined(input(a), a.get(1, "d", Value("")).text());
  List values;
  for (const Value& item : items_of(input(a))) {
    const Value* member = item.member(attribute.string());
    values.push_back(member == nullptr ? Value() : *member);
  }
  return joined(Value(values), a.get(1, "d", Value("")).text());
}

// The argument that a replacement field of str.format() names: the next one, one by number, one by name.
Value format_argument(const Arguments& a, const std::string& field, std::size_t& next) {
  constexpr std::size_t kShown = 40;  // of a field, in messages
  const bool digits = field.find_first_not_of("0123456789") == std::string::npos;
  if (field.find_first_of("!:.[{") != std::string::npos || (digits && field.size() > 4))
    unsupported("the field '{" + field.substr(0, kShown) + "}' of format()");
  if (!digits) {
    const auto named = std::find_if(a.named.begin(), a.named.end(), [&](const auto& n) { return n.first == field; });
    return named == a.named.end() ? (fail("format() without its argument '" + field.substr(0, kShown) + "'"), Value())
                                  : named->second;
  }
  const std::size_t index = field.empty() ? next++ : std::stoul(field);
  if (index + 1 >= a.positional.size()) fail("format() without its argument " + std::to_string(index));
  return a.positional[index + 1];
}

// str.format() of Python with plain fields.
Value format(const Arguments& a) {
  const std::string text = input_text(a);
  std::string out;
  std::size_t next = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const bool brace = c == '{' || c == '}';
    if (!brace || (at + 1 < text.size() && text[at + 1] == c)) {
      out += c;
      at += brace;
      continue;
    }
    const std::size_t end = text.find('}', at);
    if (c == '}' || end == std::string::npos) fail("format() of a text with a single brace");
    out += format_argument(a, text.substr(at + 1, end - at - 1), next).text();
    check_size(out.size());
    at = end;
  }
  return out;
}

Value indent(const Arguments& a) {
  const std::string text = input_text(a);
  const Value width = a.get(1, "width", std::int64_t{4});
  const std::string pad =
      width.is_string()
          ? width.string()
          : std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(width.integer(), 0, 1000)), ' ');
  const bool first = a.get(2, "first", false).truthy(), blank = a.get(3, "blank", false).truthy();
  std::string out = first ? pad : "";
  for (std::size_t i = 0; i < text.size(); ++i) {
    check_size(out.size());
    out += text[i];
    const bool next_is_blank = i + 1 >= text.size() || text[i + 1] == '\n';
    if (text[i] == '\n' && (blank || !next_is_blank)) out += pad;
  }
  return out;
}

// --- lists, dicts, numbers -------------------------------------------------------------------------------------------
Value length(const Arguments& a) {
  if (input(a).is_number() || input(a).is_none()) fail("length of " + std::string(input(a).type_name()));
  return static_cast<std::int64_t>(items_of(input(a)).size());
}
Value first(const Arguments& a) {
  const List items = items_of(input(a));
  return items.empty() ? Value() : items.front();
}
Value last(const Arguments& a) {
  const List items = items_of(input(a));
  return items.empty() ? Value() : items.back();
}
Value list(const Arguments& a) { return items_of(input(a)); }
Value reverse(const Arguments& a) {
  List items = items_of(input(a));
  std::reverse(items.begin(), items.end());
  return input(a).is_string() ? Value(joined(Value(items), "")) : Value(items);
}
Value unique(const Arguments& a) {
  List kept;
  for (const Value& item : items_of(input(a))) {
    if (std::none_of(kept.begin(), kept.end(), [&](const Value& old) { return equal(old, item); }))
      kept.push_back(item);
  }
  return kept;
}
Value sort(const Arguments& a) {
  List items = items_of(input(a));
  for (const Value& item : items) (void)compare(item, items[0]);
  std::stable_sort(items.begin(), items.end(), [](const Value& x, const Value& y) { return compare(x, y) < 0; });
  if (a.get(1, "reverse", false).truthy()) std::reverse(items.begin(), items.end());
  return items;
}
const Dict& input_dict(const Arguments& a) {
  if (!input(a).is_dict()) fail("expected a dict, got " + std::string(input(a).type_name()));
  return input(a).dict();
}
Value items(const Arguments& a) {
  List pairs;
  if (input(a).is_undefined()) return pairs;
  for (const auto& [key, value] : input_dict(a)) pairs.emplace_back(List{Value(key), value});
  return pairs;
}
Value dictsort(const Arguments& a) {
  List pairs = items(a).list();
  const auto key_of = [](const Value& pair) {
    const Value& key = pair.list()[0];
    return key.is_string() ? Value(lowered(key.string())) : key;
  };
  std::stable_sort(pairs.begin(), pairs.end(),
                   [&](const Value& x, const Value& y) { return compare(key_of(x), key_of(y)) < 0; });
  return pairs;
}
Value keys(const Arguments& a) { return items_of(Value(input_dict(a))); }
Value values(const Arguments& a) {
  List out;
  for (const auto& entry : input_dict(a)) out.push_back(entry.second);
  return out;
}
Value get(const Arguments& a) {
  const Value* member = input(a).member_at(a.get(1, "key"));
  return member == nullptr ? a.get(2, "default", nullptr) : *member;
}
Value append(const Arguments& a) {
  input(a).list().push_back(a.get(1, "object"));
  return nullptr;
}
Value to_integer(const Arguments& a) {
  const Value& v = input(a);
  if (v.is_integer()) return v.integer();
  if (v.is<double>() && std::abs(v.number()) < 0x1p62) return static_cast<std::int64_t>(v.number());
  std::int64_t parsed = 0;
  const std::string text = stripped(v.text(), nullptr, Side::both);
  const auto read = std::from_chars(text.data(), text.data() + text.size(), parsed);
  return read.ec == std::errc() && read.ptr == text.data() + text.size() ? Value(parsed)
                                                                         : a.get(1, "default", std::int64_t{0});
}
Value to_real(const Arguments& a) {
  if (input(a).is_number()) return input(a).number();
  double parsed = 0;
  const std::string text = stripped(input_text(a), nullptr, Side::both);
  const auto read = std::from_chars(text.data(), text.data() + text.size(), parsed);
  return read.ec == std::errc() && read.ptr == text.data() + text.size() ? Value(parsed) : a.get(1, "default", 0.0);
}
Value absolute(const Arguments& a) {
  if (!input(a).is_number()) fail("abs of " + std::string(input(a).type_name()));
  return input(a).is_integer() && input(a).integer() != INT64_MIN ? Value(std::abs(input(a).integer()))
                                                                  : Value(std::abs(input(a).number()));
}
Value as_is(const Arguments& a) { return input(a); }
Value string(const Arguments& a) { return input_text(a); }
Value tojson(const Arguments& a) {
  const Value width = a.get(1, "indent", nullptr);
  return to_json_text(input(a), width.is_integer() ? std::clamp<std::int64_t>(width.integer(), 0, 64) : -1);
}

// --- tests -----------------------------------------------------------------------------------------------------------
Value is_iterable(const Arguments& a) { return input(a).is_list() || input(a).is_dict() || input(a).is_string(); }
std::int64_t test_integer(const Arguments& a, std::size_t index) {
  const Value value = a.get(index, "num");
  if (!value.is_integer()) fail("a test of numbers got " + std::string(value.type_name()));
  return value.integer();
}

struct Row {
  std::string_view name;
  Builtin function;
};
constexpr Row kFilters[] = {
    {"abs", absolute},    {"capitalize", capitalize},
    {"count", length},    {"dictsort", dictsort},
    {"first", first},     {"float", to_real},
    {"indent", indent},   {"int", to_integer},
    {"items", items},     {"join", join},
    {"last", last},       {"length", length},
    {"list", list},       {"lower", lower},
    {"replace", replace}, {"reverse", reverse},
    {"safe", as_is},      {"sort", sort},
    {"string", string},   {"title", title},
    {"tojson", tojson},   {"trim", strip},
    {"unique", unique},   {"upper", upper},
};
constexpr Row kTests[] = {
    {"boolean", [](const Arguments& a) -> Value { return input(a).is<bool>(); }},
    {"defined", [](const Arguments& a) -> Value { return !input(a).is_undefined(); }},
    {"divisibleby",
     [](const Arguments& a) -> Value {
       return test_integer(a, 1) != 0 && test_integer(a, 0) % test_integer(a, 1) == 0;
     }},
    {"eq", [](const Arguments& a) -> Value { return equal(input(a), a.get(1, "")); }},
    {"equalto", [](const Arguments& a) -> Value { return equal(input(a), a.get(1, "")); }},
    {"even", [](const Arguments& a) -> Value { return test_integer(a, 0) % 2 == 0; }},
    {"false", [](const Arguments& a) -> Value { return input(a).is<bool>() && !input(a).truthy(); }},
    {"float", [](const Arguments& a) -> Value { return input(a).is<double>(); }},
    {"in", [](const Arguments& a) -> Value { return contains(a.get(1, ""), input(a)); }},
    {"integer", [](const Arguments& a) -> Value { return input(a).is<std::int64_t>(); }},
    {"iterable", is_iterable},
    {"mapping", [](const Arguments& a) -> Value { return input(a).is_dict(); }},
    {"ne", [](const Arguments& a) -> Value { return !equal(input(a), a.get(1, "")); }},
    {"none", [](const Arguments& a) -> Value { return input(a).is_none(); }},
    {"number", [](const Arguments& a) -> Value { return input(a).is_number(); }},
    {"odd", [](const Arguments& a) -> Value { return test_integer(a, 0) % 2 != 0; }},
    {"sequence", is_iterable},
    {"string", [](const Arguments& a) -> Value { return input(a).is_string(); }},
    {"true", [](const Arguments& a) -> Value { return input(a).is<bool>() && input(a).truthy(); }},
    {"undefined", [](const Arguments& a) -> Value { return input(a).is_undefined(); }},
};
constexpr Row kStringMethods[] = {
    {"capitalize", capitalize}, {"count", count_of},   {"endswith", endswith}, {"find", find},
    {"format", format},         {"join", join_method}, {"lower", lower},       {"lstrip", lstrip},
    {"replace", replace},       {"rstrip", rstrip},    {"split", split},       {"startswith", startswith},
    {"strip", strip},           {"title", title},      {"upper", upper},
};
constexpr Row kListMethods[] = {{"append", append}};
constexpr Row kDictMethods[] = {{"get", get}, {"items", items}, {"keys", keys}, {"values", values}};

template <std::size_t kCount>
Builtin find_row(const Row (&rows)[kCount], std::string_view name) noexcept {
  const auto row = std::find_if(std::begin(rows), std::end(rows), [&](const Row& r) { return r.name == name; });
  return row == std::end(rows) ? nullptr : row->function;
}

Value range(const Arguments& a) {
  const bool one = a.positional.size() == 1;
  const std::int64_t start = one ? 0 : test_integer(a, 0), stop = test_integer(a, one ? 0 : 1);
  const std::int64_t step = a.positional.size() > 2 ? test_integer(a, 2) : 1;
  if (step == 0) fail("range with step 0");
  List numbers;
  for (std::int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (static_cast<std::int64_t>(numbers.size()) >= kMaxRange)
      throw Error(ErrorKind::limit_exceeded, "chat template: range is too long");
    numbers.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return numbers;
}

Value make_namespace(const Arguments& a) {
  Dict members;
  if (!a.positional.empty() && a.positional[0].is_dict()) members = a.positional[0].dict();
  members.insert(members.end(), a.named.begin(), a.named.end());
  return members;
}

/// The local date and time, as Python's strftime writes it in the C locale.
Value strftime_now(const Arguments& a) {
  constexpr std::string_view kDirectives = "aAbBdeHIjmMpSyYFTD%";
  const std::string format = a.get(0, "format").text();
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  if (::localtime_r(&now, &parts) == nullptr) fail("the clock shows no date");
  std::string out;
  for (std::size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out += format[at];
      continue;
    }
    const std::size_t begin = at++;
    if (at < format.size() && format[at] == '-') ++at;  // no leading zero
    const std::string directive = format.substr(begin, at - begin + 1);
    if (at >= format.size() || kDirectives.find(format[at]) == std::string_view::npos)
      unsupported("'" + directive + "' in strftime_now");
    char text[64];
    out.append(text, std::strftime(text, sizeof text, directive.c_str(), &parts));
  }
  return out;
}

}  // namespace

Builtin find_filter(std::string_view name) noexcept { return find_row(kFilters, name); }
Builtin find_test(std::string_view name) noexcept { return find_row(kTests, name); }
Builtin find_method(const Value& object, std::string_view name) noexcept {
  if (object.is_string()) return find_row(kStringMethods, name);
  if (object.is_list()) return find_row(kListMethods, name);
  return object.is_dict() ? find_row(kDictMethods, name) : nullptr;
}

Names builtin_functions() {
  Names functions;
  functions.emplace_back("range", Function(range));
  functions.emplace_back("namespace", Function(make_namespace));
  functions.emplace_back("dict",
                         Function([](const Arguments& a) -> Value { return Dict(a.named.begin(), a.named.end()); }));
  functions.emplace_back("raise_exception", Function([](const Arguments& a) -> Value {
                           fail("the template refuses: " + a.get(0, "message").text());
                         }));
  functions.emplace_back("strftime_now", Function(strftime_now));
  return functions;
}

}  // namespace ingot::runtime::jinja

// Parsing by simdjson's DOM into Json values, and the two writers.
#include "format/base/json.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "format/base/json_fault.h"
#include "format/base/utf8.h"

namespace ingot {

// ---- values
// ------------------------------------------------------------------------------------------------------------------

namespace {

constexpr const char* kTypeNames[] = {"null",     "a boolean", "an integer", "an integer",
                                      "a number", "a string",  "an array",   "an object"};

[[noreturn]] void wrong_type(std::string_view where, std::string_view expected, std::string_view got) {
  throw Error(ErrorKind::invalid_value,
              std::string(where) + ": expected " + std::string(expected) + ", got " + std::string(got));
}

template <class T, class Value>
const T& get_or_throw(const Value& value, std::string_view where, std::string_view expected) {
  if (const T* held = std::get_if<T>(&value)) return *held;
  wrong_type(where, expected, kTypeNames[value.index()]);
}

}  // namespace

Json::Json(std::uint64_t value) {
  if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    value_ = static_cast<std::int64_t>(value);
  } else {
    value_ = value;
  }
}

bool Json::is_integer() const noexcept {
  return std::holds_alternative<std::int64_t>(value_) || std::holds_alternative<std::uint64_t>(value_);
}

bool Json::as_bool(std::string_view where) const { return get_or_throw<bool>(value_, where, "a boolean"); }

std::int64_t Json::as_i64(std::string_view where) const {
  if (const auto* big = std::get_if<std::uint64_t>(&value_))
    wrong_type(where, "an integer below 2^63", std::to_string(*big));
  return get_or_throw<std::int64_t>(value_, where, "an integer");
}

std::uint64_t Json::as_u64(std::string_view where) const {
  if (const auto* big = std::get_if<std::uint64_t>(&value_)) return *big;
  const std::int64_t value = get_or_throw<std::int64_t>(value_, where, "an integer");
  if (value < 0) wrong_type(where, "an integer of at least 0", std::to_string(value));
  return static_cast<std::uint64_t>(value);
}

double Json::as_double(std::string_view where) const {
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<std::uint64_t>(&value_)) return static_cast<double>(*value);
  return get_or_throw<double>(value_, where, "a number");
}

const std::string& Json::as_string(std::string_view where) const {
  return get_or_throw<std::string>(value_, where, "a string");
}
const JsonArray& Json::as_array(std::string_view where) const {
  return get_or_throw<JsonArray>(value_, where, "an array");
}
const JsonObject& Json::as_object(std::string_view where) const {
  return get_or_throw<JsonObject>(value_, where, "an object");
}

const Json* Json::find(std::string_view name) const noexcept {
  const auto* members = std::get_if<JsonObject>(&value_);
  if (members == nullptr) return nullptr;
  const auto found =
      std::find_if(members->begin(), members->end(), [&](const JsonMember& member) { return member.first == name; });
  return found == members->end() ? nullptr : &found->second;
}

const Json& Json::at(std::string_view name, std::string_view where) const {
  if (const Json* value = find(name)) return *value;
  (void)as_object(where);
  throw Error(ErrorKind::invalid_value,
              std::string(where) + ": expected a member \"" + std::string(name) + "\", got none");
}

void Json::set(std::string_view name, Json value) {
  if (is_null()) value_ = JsonObject{};
  JsonObject& members = object();
  const auto found =
      std::find_if(members.begin(), members.end(), [&](const JsonMember& member) { return member.first == name; });
  if (found != members.end()) {
    found->second = std::move(value);
  } else {
    members.emplace_back(std::string(name), std::move(value));
  }
}

void Json::push_back(Json value) {
  if (is_null()) value_ = JsonArray{};
  array().push_back(std::move(value));
}

// ---- parsing
// ------------------------------------------------------------------------------------------------------------------

namespace {

/// Walks a simdjson tree, whose syntax, numbers and UTF-8 are already checked, into Json values.
class TreeWalker {
 public:
  TreeWalker(std::string_view where, std::uint32_t max_depth) : where_(where), max_depth_(max_depth) {}

  [[nodiscard]] Json walk(simdjson::dom::element element, std::uint32_t depth) const {
    switch (element.type()) {
      case simdjson::dom::element_type::ARRAY: return walk_array(simdjson::dom::array(element), deeper(depth));
      case simdjson::dom::element_type::OBJECT: return walk_object(simdjson::dom::object(element), deeper(depth));
      case simdjson::dom::element_type::INT64: return Json(static_cast<std::int64_t>(int64_t(element)));
      case simdjson::dom::element_type::UINT64: return Json(static_cast<std::uint64_t>(uint64_t(element)));
      case simdjson::dom::element_type::DOUBLE: return Json(double(element));
      case simdjson::dom::element_type::STRING: return Json(std::string_view(element));
      case simdjson::dom::element_type::BOOL: return Json(bool(element));
      case simdjson::dom::element_type::NULL_VALUE: break;
    }
    return Json();
  }

 private:
  [[nodiscard]] std::uint32_t deeper(std::uint32_t depth) const {
    if (depth >= max_depth_) {
      throw Error(ErrorKind::limit_exceeded,
                  std::string(where_) + ": expected at most " + std::to_string(max_depth_) + " nested levels");
    }
    return depth + 1;
  }

  [[nodiscard]] Json walk_array(simdjson::dom::array source, std::uint32_t depth) const {
    JsonArray values;
    values.reserve(source.size());
    for (const simdjson::dom::element element : source) values.push_back(walk(element, depth));
    return Json(std::move(values));
  }

  [[nodiscard]] Json walk_object(simdjson::dom::object source, std::uint32_t depth) const {
    JsonObject members;
    members.reserve(source.size());
    for (const simdjson::dom::key_value_pair member : source)
      members.emplace_back(std::string(member.key), walk(member.value, depth));
    reject_repeated_names(members);
    return Json(std::move(members));
  }

  void reject_repeated_names(const JsonObject& members) const {
    std::vector<std::string_view> names;
    names.reserve(members.size());
    for (const JsonMember& member : members) names.push_back(member.first);
    std::sort(names.begin(), names.end());
    const auto repeated = std::adjacent_find(names.begin(), names.end());
    if (repeated != names.end()) {
      throw Error(ErrorKind::invalid_value,
                  std::string(where_) + ": member \"" + std::string(*repeated) + "\" appears twice");
    }
  }

  std::string_view where_;
  std::uint32_t max_depth_;
};

constexpr bool is_number_char(char c) noexcept {
  return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

bool fits_64_bits(std::string_view integer) noexcept {
  std::int64_t as_signed = 0;
  std::uint64_t as_unsigned = 0;
  const char* const end = integer.data() + integer.size();
  return std::from_chars(integer.data(), end, as_signed).ec == std::errc() ||
         std::from_chars(integer.data(), end, as_unsigned).ec == std::errc();
}

/// simdjson refuses integers outside 64 bits. Appends "e0" to each of them, which makes it a double; strings stay as
/// they are.
std::string with_huge_integers_as_doubles(std::string_view text) {
  std::string result;
  result.reserve(text.size() + 16);
  bool in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (in_string || !is_number_char(c)) {
      const std::size_t length = in_string && c == '\\' && i + 1 < text.size() ? 2 : 1;
      if (c == '"') in_string = !in_string;
      result.append(text, i, length);
      i += length;
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && is_number_char(text[end])) ++end;
    const std::string_view token = text.substr(i, end - i);
    result += token;
    const bool is_integer =
        token.find_first_not_of("0123456789", token.front() == '-' ? 1 : 0) == std::string_view::npos;
    if (is_integer && token.size() >= 19 && !fits_64_bits(token)) result += "e0";
    i = end;
  }
  return result;
}

simdjson::error_code parse_tree(simdjson::dom::parser& parser, std::string_view text, std::uint32_t max_depth,
                                simdjson::dom::element& root) {
  // One level more than allowed, so that the walker meets the offending one and simdjson's own bound never decides.
  if (const auto error = parser.allocate(std::max<std::size_t>(text.size(), 64), std::size_t{max_depth} + 2))
    return error;
  const simdjson::padded_string padded(text);
  return parser.parse(padded).get(root);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    throw Error(ErrorKind::limit_exceeded, std::string(where) + ": expected at most " +
                                               std::to_string(limits.max_bytes) + " bytes of JSON, got " +
                                               std::to_string(text.size()));
  }
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::error_code error = parse_tree(parser, text, limits.max_depth, root);
  if (error == simdjson::NUMBER_ERROR)
    error = parse_tree(parser, with_huge_integers_as_doubles(text), limits.max_depth, root);
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();
  if (error != simdjson::SUCCESS) {
    const ErrorKind kind = error == simdjson::DEPTH_ERROR ? ErrorKind::limit_exceeded : ErrorKind::invalid_value;
    const std::optional<std::uint64_t> fault = find_json_fault(text);
    throw Error(kind,
                std::string(where) + ": not valid JSON" + (fault ? " at byte " + std::to_string(*fault) : "") + ": " +
                    simdjson::error_message(error),
                fault.value_or(Error::kNoOffset));
  }
  return TreeWalker(where, limits.max_depth).walk(root, 0);
}

// ---- writing
// ------------------------------------------------------------------------------------------------------------------

namespace {

void append_string(std::string& out, std::string_view text) {
  if (!is_utf8(text)) {
    constexpr std::size_t kShown = 200;
    throw Error(ErrorKind::invalid_value, "JSON output: \"" + std::string(text.substr(0, kShown)) + "\" is not UTF-8");
  }
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += c < 0x10 ? '0' : '1';
          out += "0123456789abcdef"[c & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void append_double(std::string& out, double value) {
  if (!std::isfinite(value)) throw Error(ErrorKind::invalid_value, "JSON output: a number is not finite");
  char buffer[32];
  const std::to_chars_result result = std::to_chars(buffer, buffer + sizeof buffer, value);
  const std::string_view text(buffer, static_cast<std::size_t>(result.ptr - buffer));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";  // stays a double when read again
}

/// Appends a null, boolean, number or string.
void append_scalar(std::string& out, const Json& value) {
  if (value.is_null()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.as_bool("") ? "true" : "false";
  } else if (value.is_string()) {
    append_string(out, value.as_string(""));
  } else if (!value.is_integer()) {
    append_double(out, value.as_double(""));
  } else if (value.as_double("") < 0) {
    out += std::to_string(value.as_i64(""));
  } else {
    out += std::to_string(value.as_u64(""));
  }
}

/// The members in the order of their names' bytes; throws for a repeated name.
std::vector<const JsonMember*> sorted_members(const JsonObject& members) {
  std::vector<const JsonMember*> sorted;
  sorted.reserve(members.size());
  for (const JsonMember& member : members) sorted.push_back(&member);
  std::sort(sorted.begin(), sorted.end(), [](const JsonMember* a, const JsonMember* b) { return a->first < b->first; });
  const auto repeated = std::adjacent_find(
      sorted.begin(), sorted.end(), [](const JsonMember* a, const JsonMember* b) { return a->first == b->first; });
  if (repeated != sorted.end()) {
    throw Error(ErrorKind::invalid_value, "JSON output: member \"" + (*repeated)->first + "\" appears twice");
  }
  return sorted;
}

void append_canonical(std::string& out, const Json& value) {
  const char* separator = "";
  if (value.is_array()) {
    out += '[';
    for (const Json& element : value.as_array("")) {
      out += separator;
      separator = ",";
      append_canonical(out, element);
    }
    out += ']';
  } else if (value.is_object()) {
    out += '{';
    for (const JsonMember* member : sorted_members(value.as_object(""))) {
      out += separator;
      separator = ",";
      append_string(out, member->first);
      out += ':';
      append_canonical(out, member->second);
    }
    out += '}';
  } else {
    append_scalar(out, value);
  }
}

void append_line_start(std::string& out, std::size_t depth, bool first) {
  out += first ? "\n" : ",\n";
  out.append(2 * depth, ' ');
}

void append_pretty(std::string& out, const Json& value, std::size_t depth) {
  bool first = true;
  if (value.is_array() && !value.as_array("").empty()) {
    out += '[';
    for (const Json& element : value.as_array("")) {
      append_line_start(out, depth + 1, std::exchange(first, false));
      append_pretty(out, element, depth + 1);
    }
    out += '\n' + std::string(2 * depth, ' ') + ']';
  } else if (value.is_object() && !value.as_object("").empty()) {
    (void)sorted_members(value.as_object(""));
    out += '{';
    for (const JsonMember& member : value.as_object("")) {
      append_line_start(out, depth + 1, std::exchange(first, false));
      append_string(out, member.first);
      out += ": ";
      append_pretty(out, member.second, depth + 1);
    }
    out += '\n' + std::string(2 * depth, ' ') + '}';
  } else {
    append_canonical(out, value);  // scalars and empty containers
  }
}

}  // namespace

std::string canonical_json(const Json& value) {
  std::string out;
  append_canonical(out, value);
  return out;
}

std::string pretty_json(const Json& value) {
  std::string out;
  append_pretty(out, value, 0);
  out += '\n';
  return out;
}

}  // namespace ingot

#include "runtime/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "format/base/error.h"
#include "format/base/utf8.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime::jinja {
namespace {

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string quoted(const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\\' || c == quote)
      (out += '\\') += c;
    else
      out += c;
  }
  return out + quote;
}

std::string json_quoted(const std::string& text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\b')
      out += "\\b";
    else if (c == '\f')
      out += "\\f";
    else if (byte < 0x20)
      ((out += "\\u00") += kDigits[byte >> 4]) += kDigits[byte & 15];
    else
      out += c;
  }
  return out + '"';
}

// A key of JSON is a string: json.dumps writes others as their JSON in quotes.
std::string json_key(const Value& key) { return json_quoted(key.is_string() ? key.string() : to_json_text(key, -1)); }

void write_json(const Value& value, std::int64_t indent, std::int64_t depth, std::string& out) {
  check_size(out.size());
  const auto separate = [&](bool first, std::int64_t level) {
    if (!first) out += indent < 0 ? ", " : ",";
    if (indent >= 0) (out += '\n').append(static_cast<std::size_t>(indent * level), ' ');
  };
  if (value.is_dict()) {
    out += '{';
    bool first = true;
    for (const auto& [name, member] : value.dict()) {
      separate(first, depth + 1);
      first = false;
      (out += json_key(name)) += ": ";
      write_json(member, indent, depth + 1, out);
    }
    if (!first && indent >= 0) separate(true, depth);
    out += '}';
  } else if (value.is_list()) {
    out += '[';
    bool first = true;
    for (const Value& item : value.list()) {
      separate(first, depth + 1);
      first = false;
      write_json(item, indent, depth + 1, out);
    }
    if (!first && indent >= 0) separate(true, depth);
    out += ']';
  } else if (value.is_string()) {
    out += json_quoted(value.string());
  } else if (value.is_none()) {
    out += "null";
  } else if (value.is<bool>()) {
    out += value.truthy() ? "true" : "false";
  } else if (value.is_number()) {
    out += value.text();
  } else {
    fail("tojson of " + std::string(value.type_name()));
  }
}

}  // namespace

void check_size(std::uint64_t bytes) {
  constexpr std::uint64_t kMaxBytes = 16u << 20;
  if (bytes > kMaxBytes)
    throw Error(ErrorKind::limit_exceeded,
                "chat template: a value of more than " + std::to_string(kMaxBytes) + " bytes");
}

void fail(const std::string& message) { throw Error(ErrorKind::invalid_value, "chat template: " + message); }
void unsupported(const std::string& construct) {
  throw Error(ErrorKind::unsupported, "chat template: " + construct + " is not supported");
}

bool Value::truthy() const noexcept {
  if (is_undefined() || is_none()) return false;
  if (is_integer()) return integer() != 0;
  if (is<double>()) return number() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return !list().empty();
  if (is_dict()) return !dict().empty();
  return true;
}

std::string Value::text() const { return is_string() ? string() : is_undefined() ? std::string() : repr(); }

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is<bool>()) return truthy() ? "True" : "False";
  if (is_integer()) return std::to_string(integer());
  if (is<double>()) return float_text(number());
  if (is_string()) return quoted(string());
  if (is_function()) return "<function>";
  std::string out = is_list() ? "[" : "{";
  bool first = true;
  const auto separate = [&] {
    check_size(out.size());
    if (!first) out += ", ";
    first = false;
  };
  if (is_list()) {
    for (const Value& item : list()) {
      separate();
      out += item.repr();
    }
    return out + "]";
  }
  for (const auto& [name, value] : dict()) {
    separate();
    out += name.repr() + ": " + value.repr();
  }
  return out + "}";
}

std::string_view Value::type_name() const noexcept {
  constexpr std::string_view kNames[] = {"undefined", "None", "bool", "int",     "float",
                                         "str",       "list", "dict", "function"};
  return kNames[data_.index()];
}

const Value* Value::member(std::string_view name) const noexcept {
  if (!is_dict()) return nullptr;
  for (const auto& [key, value] : dict()) {
    if (key.is_string() && key.string() == name) return &value;
  }
  return nullptr;
}

const Value* Value::member_at(const Value& key) const {
  if (!is_dict()) return nullptr;
  const auto entry = std::find_if(dict().begin(), dict().end(), [&](const auto& e) { return equal(e.first, key); });
  return entry == dict().end() ? nullptr : &entry->second;
}

void Value::set_member(const Value& key, Value value) const {
  const auto entry = std::find_if(dict().begin(), dict().end(), [&](const auto& e) { return equal(e.first, key); });
  if (entry == dict().end())
    dict().emplace_back(key, std::move(value));
  else
    entry->second = std::move(value);
}

Value Arguments::get(std::size_t index, std::string_view name, Value otherwise) const {
  if (index < positional.size()) return positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return value;
  }
  return otherwise;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number())
    return a.is_integer() && b.is_integer() ? a.integer() == b.integer() : a.number() == b.number();
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_list() && b.is_list())
    return std::equal(a.list().begin(), a.list().end(), b.list().begin(), b.list().end(), equal);
  if (a.is_dict() && b.is_dict()) {
    if (a.dict().size() != b.dict().size()) return false;
    return std::all_of(a.dict().begin(), a.dict().end(), [&](const auto& entry) {
      const Value* other = b.member_at(entry.first);
      return other != nullptr && equal(entry.second, *other);
    });
  }
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return a.number() < b.number() ? -1 : a.number() > b.number() ? 1 : 0;
  if (a.is_string() && b.is_string()) return a.string().compare(b.string()) < 0 ? -1 : a.string() == b.string() ? 0 : 1;
  fail("cannot order " + std::string(a.type_name()) + " and " + std::string(b.type_name()));
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) fail("'in' of a string wants a string, got " + std::string(item.type_name()));
    return container.string().find(item.string()) != std::string::npos;
  }
  if (container.is_list()) {
    return std::any_of(container.list().begin(), container.list().end(),
                       [&](const Value& v) { return equal(v, item); });
  }
  if (container.is_dict()) return container.member_at(item) != nullptr;
  if (container.is_undefined()) return false;
  fail("'in' of " + std::string(container.type_name()));
}

List items_of(const Value& value) {
  List items;
  if (value.is_list()) return value.list();
  if (value.is_undefined()) return items;
  if (value.is_dict()) {
    for (const auto& entry : value.dict()) items.emplace_back(entry.first);
    return items;
  }
  if (!value.is_string()) fail("cannot iterate over " + std::string(value.type_name()));
  check_size(value.string().size() * sizeof(Value));
  for (std::size_t at = 0; at < value.string().size();) {
    const std::uint32_t length = utf8_part_at(value.string(), at).length;
    items.emplace_back(value.string().substr(at, length));
    at += length;
  }
  return items;
}

std::string to_json_text(const Value& value, std::int64_t indent) {
  std::string out;
  write_json(value, indent, 0, out);
  return out;
}

}  // namespace ingot::runtime::jinja

// A small JSON value: strict parsing (simdjson behind json.cpp) and canonical writing. Implements spec/index.md
// sections 1 and 2. Goals: every foreign config and our own index through one type; duplicates, excess depth and bad
// UTF-8 rejected with a file offset where known. Non-goals: comments, NaN, streaming.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "format/base/byte_reader.h"

namespace ingot {

class Json;
using JsonArray = std::vector<Json>;
using JsonMember = std::pair<std::string, Json>;
using JsonObject = std::vector<JsonMember>;  // in source order; names unique

/// Value semantics. Integers keep 64-bit exactness; a number with fraction or exponent is a double, and so is an
/// integer outside [-2^63, 2^64) (foreign configs hold 10^30 as "no limit"). Objects compare in member order.
class Json {
 public:
  Json() noexcept = default;  // null
  Json(bool value) : value_(value) {}
  Json(std::int64_t value) : value_(value) {}
  Json(std::uint64_t value);  // stored as std::int64_t when it fits, so that equal numbers compare equal
  Json(int value) : value_(static_cast<std::int64_t>(value)) {}
  Json(unsigned value) : value_(static_cast<std::int64_t>(value)) {}
  Json(double value) : value_(value) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(JsonArray value) : value_(std::move(value)) {}
  Json(JsonObject value) : value_(std::move(value)) {}

  [[nodiscard]] bool is_null() const noexcept { return std::holds_alternative<std::monostate>(value_); }
  [[nodiscard]] bool is_bool() const noexcept { return std::holds_alternative<bool>(value_); }
  [[nodiscard]] bool is_integer() const noexcept;
  [[nodiscard]] bool is_number() const noexcept { return is_integer() || std::holds_alternative<double>(value_); }
  [[nodiscard]] bool is_string() const noexcept { return std::holds_alternative<std::string>(value_); }
  [[nodiscard]] bool is_array() const noexcept { return std::holds_alternative<JsonArray>(value_); }
  [[nodiscard]] bool is_object() const noexcept { return std::holds_alternative<JsonObject>(value_); }

  // Typed access. `where` names the place for the message ("model.ingot: index: tensors[3].shape"); a wrong type, a
  // negative number for as_u64 or a value out of range throws ErrorKind::invalid_value.
  [[nodiscard]] bool as_bool(std::string_view where) const;
  [[nodiscard]] std::int64_t as_i64(std::string_view where) const;
  [[nodiscard]] std::uint64_t as_u64(std::string_view where) const;
  [[nodiscard]] double as_double(std::string_view where) const;  // accepts integers
  [[nodiscard]] const std::string& as_string(std::string_view where) const;
  [[nodiscard]] const JsonArray& as_array(std::string_view where) const;
  [[nodiscard]] const JsonObject& as_object(std::string_view where) const;
  [[nodiscard]] JsonArray& array() { return std::get<JsonArray>(value_); }     // precondition: is_array()
  [[nodiscard]] JsonObject& object() { return std::get<JsonObject>(value_); }  // precondition: is_object()

  /// Member of an object; null pointer when absent or when this is no object.
  [[nodiscard]] const Json* find(std::string_view name) const noexcept;
  /// Member that must exist; throws invalid_value naming it.
  [[nodiscard]] const Json& at(std::string_view name, std::string_view where) const;
  /// Adds or replaces a member; turns null into an object.
  void set(std::string_view name, Json value);
  void push_back(Json value);  // turns null into an array

  [[nodiscard]] bool operator==(const Json&) const = default;

 private:
  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, JsonArray, JsonObject> value_;
};

struct JsonLimits {
  std::uint64_t max_bytes = 256u << 20;
  std::uint32_t max_depth = 64;
};

/// Strict RFC 8259: throws invalid_value (syntax, duplicate member name, invalid UTF-8, trailing text) or
/// limit_exceeded. Error::offset is the byte offset inside `text` where known. Memory is bounded by 32 times
/// text.size() (numbers of one digit are the worst).
[[nodiscard]] Json parse_json(std::string_view text, std::string_view where, const JsonLimits& limits = {});

/// Canonical form (spec/index.md section 2): members sorted by UTF-8 bytes, no white space, shortest escapes. Doubles
/// are written in shortest round-trip form (never present in an .ingot index). Both writers throw invalid_value for a
/// non-finite double, a string that is not UTF-8 and a repeated member name.
[[nodiscard]] std::string canonical_json(const Json& value);
/// For people and for configs that we write: source member order, two-space indent, trailing newline.
[[nodiscard]] std::string pretty_json(const Json& value);

}  // namespace ingot

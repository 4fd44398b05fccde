// Writing and reading of flat records whose JSON members have the names of the fields and whose defaults are omitted.
// Each record lists its fields once, in a function visit_fields(record, visitor). Floats travel as shortest decimal
// strings. Used by model_config and tokenizer_spec.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/error.h"
#include "format/base/json.h"

namespace ingot::tensor {

template <class Float>
[[nodiscard]] std::string shortest_decimal(Float value) {
  char text[40];
  const std::to_chars_result result = std::to_chars(text, text + sizeof text, value);
  return {text, result.ptr};
}

/// The whole text must be one finite number.
template <class Float>
[[nodiscard]] Float float_from_json(const Json& json, const std::string& where) {
  const std::string& text = json.as_string(where);
  Float value = 0;
  const std::from_chars_result result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || text.empty() || !std::isfinite(value)) {
    throw Error(ErrorKind::invalid_value, where + ": \"" + text + "\" is not a decimal number");
  }
  return value;
}

/// Collects the fields that differ from a default-constructed record.
class FieldWriter {
 public:
  template <class T>
  void operator()(std::string_view name, const T& value, const T& default_value) {
    if (!(value == default_value)) json_.set(name, to_member(value));
  }
  [[nodiscard]] Json take() { return json_.is_null() ? Json(JsonObject{}) : std::move(json_); }

 private:
  static Json to_member(const std::string& value) { return value; }
  static Json to_member(std::uint64_t value) { return value; }
  static Json to_member(std::uint32_t value) { return value; }
  static Json to_member(bool value) { return value; }
  static Json to_member(double value) { return shortest_decimal(value); }
  static Json to_member(std::optional<std::uint32_t> value) {
    return *value;
  }  // called only for values that differ from "none"
  template <class T>
  static Json to_member(const std::vector<T>& values) {
    JsonArray array;
    array.reserve(values.size());
    for (const T& value : values) array.push_back(to_member(value));
    return array;
  }
  template <class T>
  requires requires(const T& record) { to_json(record); }
  static Json to_member(const T& record) { return to_json(record); }

  Json json_;
};

/// Fills the fields that are present; finish() rejects members that no field claimed.
class FieldReader {
 public:
  FieldReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    (void)json_.as_object(where_);
  }

  template <class T>
  void operator()(std::string_view name, T& value, const T&) {
    const Json* member = json_.find(name);
    if (member == nullptr) return;
    ++claimed_;
    read(*member, where_ + "." + std::string(name), value);
  }

  void finish(std::size_t claimed_elsewhere = 0) const {
    const std::size_t members = json_.as_object(where_).size();
    if (members != claimed_ + claimed_elsewhere) {
      throw Error(ErrorKind::invalid_value,
                  where_ + ": " + std::to_string(members - claimed_ - claimed_elsewhere) + " unknown member(s)");
    }
  }

 private:
  static void read(const Json& json, const std::string& where, std::string& value) { value = json.as_string(where); }
  static void read(const Json& json, const std::string& where, std::uint64_t& value) { value = json.as_u64(where); }
  static void read(const Json& json, const std::string& where, std::uint32_t& value) {
    const std::uint64_t wide = json.as_u64(where);
    if (wide > std::numeric_limits<std::uint32_t>::max())
      throw Error(ErrorKind::invalid_value, where + ": does not fit in 32 bits");
    value = static_cast<std::uint32_t>(wide);
  }
  static void read(const Json& json, const std::string& where, bool& value) { value = json.as_bool(where); }
  static void read(const Json& json, const std::string& where, double& value) {
    value = float_from_json<double>(json, where);
  }
  static void read(const Json& json, const std::string& where, std::optional<std::uint32_t>& value) {
    std::uint32_t id = 0;
    read(json, where, id);
    value = id;
  }
  template <class T>
  static void read(const Json& json, const std::string& where, std::vector<T>& values) {
    const JsonArray& array = json.as_array(where);
    values.clear();
    values.reserve(array.size());
    for (std::size_t i = 0; i < array.size(); ++i) {
      T value{};
      read(array[i], where + "[" + std::to_string(i) + "]", value);
      values.push_back(std::move(value));
    }
  }
  template <class T>
  requires requires(T& record, const Json& json, const std::string& where) { from_json(json, where, record); }
  static void read(const Json& json, const std::string& where, T& record) { from_json(json, where, record); }

  const Json& json_;
  std::string where_;
  std::size_t claimed_ = 0;
};

}  // namespace ingot::tensor

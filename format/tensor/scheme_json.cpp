// The JSON form of a scheme. Implements spec/schemes/README.md section 2.
#include <algorithm>
#include <array>
#include <limits>

#include "format/base/error.h"
#include "format/tensor/scheme.h"

namespace ingot::tensor {
namespace {

template <class Enum>
struct Word {
  Enum value;
  std::string_view text;
};
constexpr std::array kCodeKinds = {Word<CodeKind>{CodeKind::number, "number"}, Word<CodeKind>{CodeKind::table, "table"},
                                   Word<CodeKind>{CodeKind::grid, "grid"}, Word<CodeKind>{CodeKind::opaque, "opaque"}};
constexpr std::array kOffsetKinds = {
    Word<OffsetKind>{OffsetKind::zero, "zero"}, Word<OffsetKind>{OffsetKind::zero_points, "zero_points"},
    Word<OffsetKind>{OffsetKind::bias, "bias"}, Word<OffsetKind>{OffsetKind::minimum, "minimum"}};
constexpr std::array kOrders = {Word<Order>{Order::permutation, "permutation"},
                                Word<Order>{Order::group_index, "group_index"}};

template <class Enum, std::size_t N>
std::string_view word_of(const std::array<Word<Enum>, N>& words, Enum value) noexcept {
  return std::find_if(words.begin(), words.end(), [&](const Word<Enum>& word) { return word.value == value; })->text;
}

template <class Enum, std::size_t N>
Enum value_of(const std::array<Word<Enum>, N>& words, const Json& json, const std::string& where) {
  const std::string& text = json.as_string(where);
  for (const Word<Enum>& word : words) {
    if (word.text == text) return word.value;
  }
  throw Error(ErrorKind::invalid_value, where + ": unknown word \"" + text + "\"");
}

void check_members(const Json& json, std::initializer_list<std::string_view> known, const std::string& where) {
  for (const JsonMember& member : json.as_object(where)) {
    if (std::find(known.begin(), known.end(), member.first) == known.end()) {
      throw Error(ErrorKind::invalid_value, where + ": unknown member \"" + member.first + "\"");
    }
  }
}

DType dtype_at(const Json& json, const std::string& where) {
  const std::string& text = json.at("type", where).as_string(where + ".type");
  const std::optional<DType> type = dtype_from_name(text);
  if (!type) throw Error(ErrorKind::invalid_value, where + ".type: unknown element type \"" + text + "\"");
  return *type;
}

std::uint32_t u32_from(const Json& json, const std::string& where) {
  const std::uint64_t value = json.as_u64(where);
  if (value > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorKind::invalid_value, where + ": " + std::to_string(value) + " does not fit in 32 bits");
  }
  return static_cast<std::uint32_t>(value);
}

std::int32_t i32_from(const Json& json, const std::string& where) {
  const std::int64_t value = json.as_i64(where);
  if (value < std::numeric_limits<std::int32_t>::min() || value > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorKind::invalid_value, where + ": " + std::to_string(value) + " does not fit in 32 bits");
  }
  return static_cast<std::int32_t>(value);
}

bool flag(const Json& json, std::string_view member, const std::string& where) {
  const Json* found = json.find(member);
  return found != nullptr && found->as_bool(where + "." + std::string(member));
}

Json level_to_json(const Level& level) {
  Json json;
  json.set("type", name(level.type));
  json.set("block", JsonArray{Json(level.block.rows), Json(level.block.cols)});
  if (level.multiply != 1) json.set("multiply", level.multiply);
  if (level.add != 0) json.set("add", level.add);
  if (level.custom_table) json.set("custom_table", true);
  if (level.divide) json.set("divide", true);
  return json;
}

Level level_from_json(const Json& json, const std::string& where) {
  check_members(json, {"type", "block", "multiply", "add", "custom_table", "divide"}, where);
  Level level;
  level.type = dtype_at(json, where);
  const JsonArray& block = json.at("block", where).as_array(where + ".block");
  if (block.size() != 2) throw Error(ErrorKind::invalid_value, where + ".block: expected [rows, cols]");
  level.block = {u32_from(block[0], where + ".block[0]"), u32_from(block[1], where + ".block[1]")};
  if (const Json* multiply = json.find("multiply")) level.multiply = i32_from(*multiply, where + ".multiply");
  if (const Json* add = json.find("add")) level.add = i32_from(*add, where + ".add");
  level.custom_table = flag(json, "custom_table", where);
  level.divide = flag(json, "divide", where);
  return level;
}

Json levels_to_json(const std::vector<Level>& levels) {
  JsonArray array;
  for (const Level& level : levels) array.push_back(level_to_json(level));
  return array;
}

std::vector<Level> levels_from_json(const Json& json, const std::string& where) {
  const JsonArray& array = json.as_array(where);
  constexpr std::size_t kMaxLevels = 3;
  if (array.size() > kMaxLevels)
    throw Error(ErrorKind::limit_exceeded, where + ": " + std::to_string(array.size()) + " levels, limit 3");
  std::vector<Level> levels;
  for (std::size_t i = 0; i < array.size(); ++i)
    levels.push_back(level_from_json(array[i], where + "[" + std::to_string(i) + "]"));
  return levels;
}

Codes codes_from_json(const Json& json, const std::string& where) {
  check_members(json, {"kind", "type", "table"}, where);
  Codes codes;
  codes.kind = value_of(kCodeKinds, json.at("kind", where), where + ".kind");
  codes.type = dtype_at(json, where);
  if (const Json* table = json.find("table")) codes.table = table->as_string(where + ".table");
  return codes;
}

Offset offset_from_json(const Json& json, const std::string& where) {
  check_members(json, {"kind", "zero", "levels"}, where);
  Offset offset;
  offset.kind = value_of(kOffsetKinds, json.at("kind", where), where + ".kind");
  if (offset.kind == OffsetKind::zero)
    offset.zero = i32_from(json.at("zero", where), where + ".zero");
  else if (json.find("zero") != nullptr)
    throw Error(ErrorKind::invalid_value, where + ": zero is only for kind zero");
  if (const Json* levels = json.find("levels")) offset.levels = levels_from_json(*levels, where + ".levels");
  return offset;
}

}  // namespace

Json to_json(const Scheme& scheme) {
  Json codes;
  codes.set("kind", word_of(kCodeKinds, scheme.codes.kind));
  codes.set("type", name(scheme.codes.type));
  if (!scheme.codes.table.empty()) codes.set("table", scheme.codes.table);
  Json json;
  json.set("codes", std::move(codes));
  if (!scheme.scales.empty()) json.set("scales", levels_to_json(scheme.scales));
  if (scheme.rounded_scale) json.set("rounded_scale", true);
  if (scheme.rounded_steps) json.set("rounded_steps", true);
  if (scheme.scale_offset) json.set("scale_offset", true);
  if (scheme.shift != 0) json.set("shift", scheme.shift);
  if (scheme.offset.kind != OffsetKind::none) {
    Json offset;
    offset.set("kind", word_of(kOffsetKinds, scheme.offset.kind));
    if (scheme.offset.kind == OffsetKind::zero) offset.set("zero", scheme.offset.zero);
    if (!scheme.offset.levels.empty()) offset.set("levels", levels_to_json(scheme.offset.levels));
    json.set("offset", std::move(offset));
  }
  if (scheme.order != Order::identity) json.set("order", word_of(kOrders, scheme.order));
  if (scheme.flat != 0) json.set("flat", scheme.flat);
  return json;
}

Scheme scheme_from_json(const Json& json, std::string_view where) {
  const std::string at(where);
  check_members(
      json, {"codes", "scales", "rounded_scale", "rounded_steps", "scale_offset", "shift", "offset", "order", "flat"},
      at);
  Scheme scheme;
  scheme.codes = codes_from_json(json.at("codes", at), at + ".codes");
  if (const Json* scales = json.find("scales")) scheme.scales = levels_from_json(*scales, at + ".scales");
  scheme.rounded_scale = flag(json, "rounded_scale", at);
  scheme.rounded_steps = flag(json, "rounded_steps", at);
  scheme.scale_offset = flag(json, "scale_offset", at);
  if (const Json* shift = json.find("shift")) scheme.shift = i32_from(*shift, at + ".shift");
  if (const Json* offset = json.find("offset")) scheme.offset = offset_from_json(*offset, at + ".offset");
  if (const Json* order = json.find("order")) scheme.order = value_of(kOrders, *order, at + ".order");
  if (const Json* flat = json.find("flat")) scheme.flat = u32_from(*flat, at + ".flat");
  validate(scheme, where);
  return scheme;
}

}  // namespace ingot::tensor

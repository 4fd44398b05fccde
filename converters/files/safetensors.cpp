#include "converters/files/safetensors.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "format/base/checked_math.h"
#include "format/base/json.h"

namespace ingot::convert {
namespace {

using tensor::DType;

constexpr std::string_view kMetadataName = "__metadata__";
constexpr std::uint64_t kLengthFieldBytes = 8;
constexpr std::uint64_t kHeaderAlignment = 8;

// In the reference's order, low to high.
constexpr std::array<SafetensorsType, 22> kTypes = {{
    {"BOOL", DType::boolean},
    {"F4", DType::e2m1},
    {"F6_E2M3", DType::e2m3},
    {"F6_E3M2", DType::e3m2},
    {"U8", DType::u8},
    {"I8", DType::i8},
    {"F8_E5M2", DType::e5m2},
    {"F8_E4M3", DType::e4m3},
    {"F8_E8M0", DType::e8m0},
    {"F8_E4M3FNUZ", DType::e4m3fnuz},
    {"F8_E5M2FNUZ", DType::e5m2fnuz},
    {"I16", DType::i16},
    {"U16", DType::u16},
    {"F16", DType::f16},
    {"BF16", DType::bf16},
    {"I32", DType::i32},
    {"U32", DType::u32},
    {"F32", DType::f32},
    {"C64", DType::c64},
    {"F64", DType::f64},
    {"I64", DType::i64},
    {"U64", DType::u64},
}};

[[noreturn]] void fail(ErrorKind kind, std::string_view where, const std::string& what,
                       std::uint64_t offset = Error::kNoOffset) {
  throw Error(kind, std::string(where) + ": " + what, offset);
}

std::string range_text(std::uint64_t begin, std::uint64_t end) {
  return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

bool is_json_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// Reads one member of the header. Offsets stay relative to the data buffer until the order is checked.
SafetensorsEntry parse_entry(const std::string& name, const Json& json, std::string_view where) {
  const std::string place = std::string(where) + ": tensor '" + name + "'";
  SafetensorsEntry entry;
  entry.name = name;
  const std::string& type = json.at("dtype", place).as_string(place + ": dtype");
  entry.type = find_safetensors_type(type);
  if (entry.type == nullptr)
    fail(ErrorKind::unsupported, place, "element type '" + type + "' is not one of the format's");
  for (const Json& extent : json.at("shape", place).as_array(place + ": shape")) {
    entry.shape.push_back(extent.as_u64(place + ": shape"));
  }
  const JsonArray& offsets = json.at("data_offsets", place).as_array(place + ": data_offsets");
  if (offsets.size() != 2) {
    fail(ErrorKind::invalid_value, place,
         "data_offsets has " + std::to_string(offsets.size()) + " entries, expected 2");
  }
  entry.begin = offsets[0].as_u64(place + ": data_offsets");
  entry.end = offsets[1].as_u64(place + ": data_offsets");
  return entry;
}

void check_size(const SafetensorsEntry& entry, std::string_view where) {
  const std::string place = std::string(where) + ": tensor '" + entry.name + "'";
  const std::uint64_t elements = checked_product(entry.shape, place + ": number of elements");
  const std::uint64_t total_bits = checked_mul(elements, tensor::bits(entry.type->type), place + ": size in bits");
  if (total_bits % 8 != 0) {
    fail(ErrorKind::invalid_value, place,
         std::to_string(total_bits) + " bits of " + std::string(entry.type->name) + " are no whole number of bytes");
  }
  if (total_bits / 8 != entry.size()) {
    fail(ErrorKind::invalid_value, place,
         "shape and type need " + std::to_string(total_bits / 8) + " bytes, data_offsets " +
             range_text(entry.begin, entry.end) + " cover " + std::to_string(entry.size()));
  }
}

/// The tensors must cover the data buffer without hole or overlap, in order of (begin, end).
void check_coverage(SafetensorsHeader& header, std::uint64_t file_size, std::string_view where) {
  std::stable_sort(header.entries.begin(), header.entries.end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
                   });
  std::uint64_t position = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != position || entry.end < entry.begin) {
      fail(ErrorKind::invalid_value, where,
           "tensor '" + entry.name + "' has data_offsets " + range_text(entry.begin, entry.end) +
               ", expected to begin at " + std::to_string(position) + " (hole, overlap or negative size)");
    }
    position = entry.end;
    check_size(entry, where);
  }
  const std::uint64_t available = file_size - header.data_begin;
  if (position > available) {
    fail(ErrorKind::truncated, where,
         "the tensors need " + std::to_string(position) + " bytes after the header, the file has " +
             std::to_string(available),
         file_size);
  }
  if (position < available) {
    fail(ErrorKind::invalid_value, where,
         std::to_string(available - position) + " bytes after the last tensor belong to nothing",
         header.data_begin + position);
  }
  for (SafetensorsEntry& entry : header.entries) {
    entry.begin += header.data_begin;
    entry.end += header.data_begin;
  }
}

Json describe_item(const SafetensorsItem& item, std::uint64_t begin, std::uint64_t end) {
  Json shape{JsonArray{}};
  for (const std::uint64_t extent : item.shape) shape.push_back(Json(extent));
  Json json{JsonObject{}};
  json.set("dtype", Json(safetensors_type_of(item.type)->name));
  json.set("shape", std::move(shape));
  json.set("data_offsets", Json(JsonArray{Json(begin), Json(end)}));
  return json;
}

/// Members of `json` in source order, compact: the reference's spelling (canonical_json would sort them).
std::string compact_members(const Json& json, std::string_view where) {
  std::string text = "{";
  for (const auto& [name, value] : json.as_object(where)) {
    if (text.size() > 1) text += ',';
    text += canonical_json(Json(name)) + ":" + canonical_json(value);
  }
  return text + "}";
}

std::uint64_t item_bytes(const SafetensorsItem& item) {
  const std::string place = "tensor '" + item.name + "'";
  const SafetensorsType* type = safetensors_type_of(item.type);
  if (type == nullptr) {
    fail(ErrorKind::unsupported, place, "safetensors has no element type for " + std::string(tensor::name(item.type)));
  }
  if (item.name == kMetadataName) fail(ErrorKind::invalid_value, place, "the name is reserved by safetensors");
  const std::uint64_t total_bits = checked_mul(checked_product(item.shape, place), tensor::bits(item.type), place);
  if (total_bits % 8 != 0) fail(ErrorKind::invalid_value, place, "its bits are no whole number of bytes");
  return total_bits / 8;
}

}  // namespace

const SafetensorsType* find_safetensors_type(std::string_view name) noexcept {
  for (const SafetensorsType& row : kTypes)
    if (row.name == name) return &row;
  return nullptr;
}

const SafetensorsType* safetensors_type_of(DType type) noexcept {
  for (const SafetensorsType& row : kTypes)
    if (row.type == type) return &row;
  return nullptr;
}

bool looks_like_safetensors(Bytes first_bytes, std::uint64_t file_size) noexcept {
  if (first_bytes.size() < kLengthFieldBytes + 2 || file_size < kLengthFieldBytes) return false;
  const std::uint64_t length = load_le<std::uint64_t>(first_bytes.data());
  if (length < 2 || length > kMaxSafetensorsHeaderBytes || length > file_size - kLengthFieldBytes) return false;
  const std::string_view text = as_text(first_bytes.subspan(kLengthFieldBytes));
  const auto first = std::find_if_not(text.begin(), text.end(), is_json_space);
  return first != text.end() && *first == '{';
}

void refuse_lfs_pointer(Bytes file, std::string_view where) {
  if (as_text(file).starts_with("version https://git-lfs.github.com/spec/"))
    fail(ErrorKind::unsupported, where, "is a pointer of Git LFS, not the file itself (`git lfs pull` fetches it)", 0);
}

SafetensorsHeader parse_safetensors(Bytes file, std::string_view where) {
  ByteReader reader(file, where);
  const std::uint64_t length = reader.read_u64("safetensors header length");
  if (length > kMaxSafetensorsHeaderBytes) {
    fail(ErrorKind::limit_exceeded, where,
         "header length " + std::to_string(length) + " is above the limit of " +
             std::to_string(kMaxSafetensorsHeaderBytes),
         0);
  }
  const std::string_view text = as_text(reader.take(length, "safetensors header"));
  const std::string place = std::string(where) + ": safetensors header";
  const Json json = [&] {
    try {
      return parse_json(text, place);
    } catch (const Error& error) {
      throw Error(error.kind, error.what(),
                  error.offset == Error::kNoOffset ? error.offset : error.offset + kLengthFieldBytes);
    }
  }();
  SafetensorsHeader header;
  header.data_begin = reader.offset();
  for (const auto& [name, value] : json.as_object(place)) {
    if (name != kMetadataName) {
      header.entries.push_back(parse_entry(name, value, where));
      continue;
    }
    if (value.is_null()) continue;  // the reference's reader takes it as absent
    for (const auto& [key, text_value] : value.as_object(place + ": __metadata__")) {
      header.metadata.emplace(key, text_value.as_string(place + ": __metadata__." + key));
    }
  }
  check_coverage(header, file.size(), where);
  return header;
}

SafetensorsPlan plan_safetensors(const std::vector<SafetensorsItem>& items,
                                 const std::map<std::string, std::string>& metadata) {
  SafetensorsPlan plan;
  std::vector<std::uint64_t> sizes(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) sizes[i] = item_bytes(items[i]);
  plan.order.resize(items.size());
  std::iota(plan.order.begin(), plan.order.end(), std::size_t{0});
  std::sort(plan.order.begin(), plan.order.end(), [&](std::size_t a, std::size_t b) {
    const SafetensorsType* type_a = safetensors_type_of(items[a].type);
    const SafetensorsType* type_b = safetensors_type_of(items[b].type);
    return type_a != type_b ? type_a > type_b : items[a].name < items[b].name;
  });
  std::string json = "{";
  if (!metadata.empty()) {
    JsonObject members;
    for (const auto& [key, value] : metadata) members.emplace_back(key, value);
    json += "\"" + std::string(kMetadataName) + "\":" + canonical_json(std::move(members));
  }
  std::vector<std::string_view> names;
  std::uint64_t position = 0;
  plan.begin.resize(items.size());
  for (const std::size_t i : plan.order) {
    const std::uint64_t end = checked_add(position, sizes[i], "safetensors data");
    if (json.size() > 1) json += ',';
    json += canonical_json(Json(items[i].name)) + ":" +
            compact_members(describe_item(items[i], position, end), items[i].name);
    plan.begin[i] = position;
    position = end;
    names.push_back(items[i].name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    fail(ErrorKind::invalid_value, "tensor '" + std::string(*twice) + "'", "the name is used twice");
  json += '}';
  json.resize(align_up(json.size(), kHeaderAlignment), ' ');
  if (json.size() > kMaxSafetensorsHeaderBytes) {
    fail(ErrorKind::limit_exceeded, "safetensors header",
         std::to_string(json.size()) + " bytes, limit " + std::to_string(kMaxSafetensorsHeaderBytes) +
             "; write several shards");
  }
  std::array<std::byte, kLengthFieldBytes> length_field;
  store_le<std::uint64_t>(length_field.data(), json.size());
  plan.header = std::string(as_text(length_field)) + json;
  for (std::uint64_t& begin : plan.begin) begin += plan.header.size();
  plan.file_bytes = checked_add(plan.header.size(), position, "safetensors file");
  return plan;
}

}  // namespace ingot::convert

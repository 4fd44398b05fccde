// Parsing of GGUF headers, and the lookups on parsed entries. Every count is compared with the bytes that are left
// before it is used.
#include "converters/gguf/file.h"

#include <algorithm>
#include <bit>
#include <fstream>

#include "format/base/checked_math.h"

namespace ingot::convert::gguf {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint32_t kOldestVersion = 2, kNewestVersion = 3;

struct ValueRow {
  std::string_view name;
  std::uint8_t bytes;  // 0: variable
};
// In order of the ids in the file.
constexpr std::array<ValueRow, 13> kValueRows = {{{"u8", 1},
                                                  {"i8", 1},
                                                  {"u16", 2},
                                                  {"i16", 2},
                                                  {"u32", 4},
                                                  {"i32", 4},
                                                  {"f32", 4},
                                                  {"bool", 1},
                                                  {"string", 0},
                                                  {"array", 0},
                                                  {"u64", 8},
                                                  {"i64", 8},
                                                  {"f64", 8}}};
constexpr std::uint8_t value_bytes(ValueType type) { return kValueRows[static_cast<std::size_t>(type)].bytes; }

[[noreturn]] void fail(ErrorKind kind, const std::string& where, const std::string& what, std::uint64_t offset) {
  throw Error(kind, where + ": " + what + " (at byte " + std::to_string(offset) + ")", offset);
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kShown = 80;
  std::string result = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) {
      result += c;
    } else {
      constexpr std::string_view kHex = "0123456789abcdef";
      result += "\\x";
      result += kHex[byte >> 4];
      result += kHex[byte & 15];
    }
  }
  return result + (text.size() > kShown ? "...'" : "'");
}

std::string_view read_string(ByteReader& reader, const std::string& where, const std::string& what) {
  const std::uint64_t at = reader.offset();
  const std::uint64_t size = reader.read_u64(what + " length");
  if (size > kMaxStringBytes) {
    fail(ErrorKind::limit_exceeded, where,
         what + ": length " + std::to_string(size) + ", at most " + std::to_string(kMaxStringBytes), at);
  }
  return as_text(reader.take(size, what));
}

ValueType read_value_type(ByteReader& reader, const std::string& where, const std::string& what) {
  const std::uint64_t at = reader.offset();
  const std::int32_t id = reader.read_i32(what);
  if (id < 0 || static_cast<std::size_t>(id) >= kValueRows.size()) {
    fail(ErrorKind::invalid_value, where, what + " is " + std::to_string(id) + ", expected 0 to 12", at);
  }
  return static_cast<ValueType>(id);
}

Bytes read_array(ByteReader& reader, const std::string& where, const std::string& what, KeyValue& entry) {
  entry.element = read_value_type(reader, where, what + " element type");
  if (entry.element == ValueType::array)
    fail(ErrorKind::invalid_value, where, what + " is an array of arrays", reader.offset());
  const std::uint64_t at = reader.offset();
  entry.count = reader.read_u64(what + " element count");
  if (entry.count > kMaxArrayElems) {
    fail(ErrorKind::limit_exceeded, where,
         what + " has " + std::to_string(entry.count) + " elements, at most " + std::to_string(kMaxArrayElems), at);
  }
  const std::uint64_t smallest = entry.element == ValueType::string ? 8 : value_bytes(entry.element);
  if (entry.count * smallest > reader.remaining()) {
    fail(ErrorKind::truncated, where,
         what + " claims " + std::to_string(entry.count) + " elements of at least " + std::to_string(smallest) +
             " bytes, but " + std::to_string(reader.remaining()) + " bytes are left",
         at);
  }
  if (entry.element != ValueType::string) return reader.take(entry.count * smallest, what);
  // The span is taken from a second reader once the strings are walked.
  ByteReader start = reader;
  for (std::uint64_t i = 0; i < entry.count; ++i) (void)read_string(reader, where, what);
  return start.take(reader.offset() - start.offset(), what);
}

KeyValue read_entry(ByteReader& reader, const std::string& where) {
  KeyValue entry;
  entry.offset = reader.offset();
  ByteReader start = reader;
  entry.key = read_string(reader, where, "metadata key");
  if (entry.key.empty()) fail(ErrorKind::invalid_value, where, "metadata key is empty", entry.offset);
  const std::string what = "metadata key " + quoted(entry.key);
  entry.type = read_value_type(reader, where, what + " type");
  if (entry.type == ValueType::array) {
    entry.payload = read_array(reader, where, what, entry);
  } else if (entry.type == ValueType::string) {
    entry.payload = as_bytes_view(read_string(reader, where, what));
  } else {
    entry.payload = reader.take(value_bytes(entry.type), what);
  }
  entry.entry = start.take(reader.offset() - start.offset(), what);
  return entry;
}

template <class T, class Key>
void reject_duplicates(const std::vector<T>& items, const std::string& where, std::string_view what, Key key) {
  std::vector<std::string_view> names;
  names.reserve(items.size());
  for (const T& item : items) names.push_back(key(item));
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    throw Error(ErrorKind::invalid_value, where + ": " + std::string(what) + " " + quoted(*twice) + " appears twice");
  }
}

void read_dims(ByteReader& reader, const std::string& where, const std::string& what, TensorInfo& info) {
  const std::uint64_t at = reader.offset();
  info.dim_count = reader.read_u32(what + " dimension count");
  if (info.dim_count > kMaxDims) {
    fail(ErrorKind::invalid_value, where,
         what + " has " + std::to_string(info.dim_count) + " dimensions, at most " + std::to_string(kMaxDims), at);
  }
  std::uint64_t elements = 1;
  for (std::uint32_t i = 0; i < info.dim_count; ++i) {
    const std::uint64_t here = reader.offset();
    const std::int64_t extent = reader.read_i64(what + " extent");
    if (extent < 0)
      fail(ErrorKind::invalid_value, where, what + " extent " + std::to_string(i) + " is " + std::to_string(extent),
           here);
    info.dims[i] = static_cast<std::uint64_t>(extent);
    elements = checked_mul(elements, info.dims[i] == 0 ? 1 : info.dims[i], where + ": " + what + " element count");
  }
  if (elements >= std::uint64_t{1} << 62)
    fail(ErrorKind::limit_exceeded, where, what + " has 2^62 or more elements", at);
}

TensorInfo read_info(ByteReader& reader, const std::string& where, std::uint64_t& relative_offset) {
  TensorInfo info;
  const std::uint64_t at = reader.offset();
  info.name = read_string(reader, where, "tensor name");
  if (info.name.size() > kMaxNameBytes) {
    fail(ErrorKind::limit_exceeded, where,
         "tensor name " + quoted(info.name) + " has " + std::to_string(info.name.size()) + " bytes, at most " +
             std::to_string(kMaxNameBytes),
         at);
  }
  const std::string what = "tensor " + quoted(info.name);
  read_dims(reader, where, what, info);
  const std::uint64_t type_at = reader.offset();
  const std::uint32_t id = reader.read_u32(what + " type");
  info.type = find_block_type(id);
  if (info.type == nullptr)
    fail(ErrorKind::unsupported, where, what + " has type " + std::to_string(id) + ", which is unknown or withdrawn",
         type_at);
  if (info.dims[0] % info.type->block_elems != 0) {
    fail(ErrorKind::invalid_value, where,
         what + " of type " + std::string(info.type->name) + " has rows of " + std::to_string(info.dims[0]) +
             " elements, expected a multiple of " + std::to_string(info.type->block_elems),
         type_at);
  }
  std::uint64_t size =
      checked_mul(info.dims[0] / info.type->block_elems, info.type->block_bytes, where + ": " + what + " size");
  for (std::uint32_t i = 1; i < info.dim_count; ++i)
    size = checked_mul(size, info.dims[i], where + ": " + what + " size");
  info.size = size;
  relative_offset = reader.read_u64(what + " offset");
  return info;
}

void read_infos(ByteReader& reader, GgufFile& file, std::uint64_t count) {
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < count; ++i) {
    offsets.push_back(0);
    file.tensors.push_back(read_info(reader, file.where, offsets.back()));
  }
  file.data_start = align_up(reader.offset(), file.alignment);
  std::uint64_t expected = 0;
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    TensorInfo& info = file.tensors[i];
    if (offsets[i] != expected) {
      fail(ErrorKind::invalid_value, file.where,
           "tensor " + quoted(info.name) + " has offset " + std::to_string(offsets[i]) + ", expected " +
               std::to_string(expected) + " (the padded end of the tensor before)",
           reader.offset());
    }
    info.offset = checked_add(file.data_start, expected, "tensor offset");
    if (info.size > std::uint64_t{1} << 62)
      fail(ErrorKind::limit_exceeded, file.where, "tensor " + quoted(info.name) + " is too large", info.offset);
    expected = checked_add(expected, align_up(info.size, file.alignment), file.where + ": sum of tensor sizes");
  }
}

void check_extents(const GgufFile& file) {
  for (const TensorInfo& info : file.tensors) {
    const std::uint64_t end = checked_add(info.offset, info.size, file.where + ": tensor end");
    if (end > file.bytes.size() || (info.size == 0 && file.data_start > file.bytes.size())) {
      fail(ErrorKind::truncated, file.where,
           "tensor " + quoted(info.name) + " needs bytes up to " + std::to_string(end) + ", the file has " +
               std::to_string(file.bytes.size()),
           info.offset);
    }
  }
}

void read_alignment(GgufFile& file) {
  const KeyValue* entry = file.find("general.alignment");
  if (entry == nullptr) return;
  if (entry->type != ValueType::u32) {
    fail(ErrorKind::invalid_value, file.where,
         "general.alignment has type " + std::string(name(entry->type)) + ", expected u32", entry->offset);
  }
  file.alignment = load_le<std::uint32_t>(entry->payload.data());
  if (!std::has_single_bit(file.alignment)) {
    fail(ErrorKind::invalid_value, file.where,
         "general.alignment is " + std::to_string(file.alignment) + ", expected a power of two", entry->offset);
  }
}

void check_version(std::uint32_t version, const std::string& where) {
  if ((version & 0xFFFF) == 0 && version != 0) {
    fail(ErrorKind::unsupported_version, where, "big-endian GGUF file; only little-endian files are read", 4);
  }
  if (version < kOldestVersion || version > kNewestVersion) {
    fail(ErrorKind::unsupported_version, where, "GGUF version " + std::to_string(version) + ", expected 2 or 3", 4);
  }
}

std::uint64_t read_count(ByteReader& reader, const std::string& where, const std::string& what, std::uint64_t limit,
                         std::uint64_t smallest) {
  const std::uint64_t at = reader.offset();
  const std::int64_t count = reader.read_i64(what);
  if (count < 0) fail(ErrorKind::invalid_value, where, what + " is " + std::to_string(count), at);
  const auto value = static_cast<std::uint64_t>(count);
  if (value > limit)
    fail(ErrorKind::limit_exceeded, where, what + " is " + std::to_string(value) + ", at most " + std::to_string(limit),
         at);
  if (value * smallest > reader.remaining()) {
    fail(ErrorKind::truncated, where,
         what + " is " + std::to_string(value) + ", but only " + std::to_string(reader.remaining()) + " bytes are left",
         at);
  }
  return value;
}

}  // namespace

std::string_view name(ValueType type) noexcept { return kValueRows[static_cast<std::size_t>(type)].name; }

std::optional<std::string_view> KeyValue::text() const noexcept {
  if (type != ValueType::string) return std::nullopt;
  return as_text(payload);
}

namespace {

/// The scalar at `at` as double; integers above 2^53 lose bits, which no number that we look at in this way has.
double scalar(ValueType type, const std::byte* at) noexcept {
  switch (type) {
    case ValueType::u8:
    case ValueType::boolean: return load_le<std::uint8_t>(at);
    case ValueType::i8: return load_le<std::int8_t>(at);
    case ValueType::u16: return load_le<std::uint16_t>(at);
    case ValueType::i16: return load_le<std::int16_t>(at);
    case ValueType::u32: return load_le<std::uint32_t>(at);
    case ValueType::i32: return load_le<std::int32_t>(at);
    case ValueType::f32: return load_le<float>(at);
    case ValueType::u64: return static_cast<double>(load_le<std::uint64_t>(at));
    case ValueType::i64: return static_cast<double>(load_le<std::int64_t>(at));
    case ValueType::f64: return load_le<double>(at);
    case ValueType::string:
    case ValueType::array: break;
  }
  return 0;
}

bool is_integer(ValueType type) noexcept {
  return value_bytes(type) != 0 && type != ValueType::f32 && type != ValueType::f64 && type != ValueType::boolean;
}

}  // namespace

std::optional<double> KeyValue::number() const noexcept {
  if (value_bytes(type) == 0 || type == ValueType::boolean) return std::nullopt;
  return scalar(type, payload.data());
}

std::optional<std::uint64_t> KeyValue::unsigned_integer() const noexcept {
  if (!is_integer(type)) return std::nullopt;
  if (type == ValueType::u64) return load_le<std::uint64_t>(payload.data());
  if (type == ValueType::i64) {
    const auto value = load_le<std::int64_t>(payload.data());
    return value < 0 ? std::nullopt : std::optional(static_cast<std::uint64_t>(value));
  }
  const double value = scalar(type, payload.data());
  return value < 0 ? std::nullopt : std::optional(static_cast<std::uint64_t>(value));
}

std::optional<bool> KeyValue::boolean() const noexcept {
  if (type != ValueType::boolean) return std::nullopt;
  return load_le<std::uint8_t>(payload.data()) != 0;
}

double KeyValue::element_number(std::uint64_t index) const noexcept {
  return scalar(element, payload.data() + index * value_bytes(element));
}

void KeyValue::for_each_string(const std::function<void(std::string_view)>& visit) const {
  ByteReader reader(payload, "GGUF string array", offset);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t size = reader.read_u64("string length");
    visit(as_text(reader.take(size, "string")));
  }
}

std::vector<std::uint64_t> TensorInfo::shape() const {
  std::vector<std::uint64_t> result(dims.begin(), dims.begin() + dim_count);
  std::reverse(result.begin(), result.end());
  return result;
}

const KeyValue* GgufFile::find(std::string_view key) const noexcept {
  for (const KeyValue& entry : entries)
    if (entry.key == key) return &entry;
  return nullptr;
}

std::optional<std::string_view> GgufFile::text(std::string_view key) const noexcept {
  const KeyValue* entry = find(key);
  return entry == nullptr ? std::nullopt : entry->text();
}
std::optional<std::uint64_t> GgufFile::unsigned_integer(std::string_view key) const noexcept {
  const KeyValue* entry = find(key);
  return entry == nullptr ? std::nullopt : entry->unsigned_integer();
}
std::optional<double> GgufFile::number(std::string_view key) const noexcept {
  const KeyValue* entry = find(key);
  return entry == nullptr ? std::nullopt : entry->number();
}
std::optional<bool> GgufFile::boolean(std::string_view key) const noexcept {
  const KeyValue* entry = find(key);
  return entry == nullptr ? std::nullopt : entry->boolean();
}

bool has_magic(const std::filesystem::path& path) noexcept {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status)) return false;
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  return file.read(magic, sizeof magic) && std::string_view(magic, sizeof magic) == "GGUF";
}

GgufFile parse_bytes(Bytes bytes, std::string where, bool data_may_be_absent) {
  GgufFile file;
  file.bytes = bytes;
  file.where = std::move(where);
  ByteReader reader(bytes, file.where);
  if (reader.read_u32("magic") != kMagic)
    fail(ErrorKind::bad_magic, file.where, "not a GGUF file (the first four bytes are not GGUF)", 0);
  file.version = reader.read_u32("version");
  check_version(file.version, file.where);
  constexpr std::uint64_t kSmallestInfo = 8 + 4 + 4 + 8, kSmallestEntry = 8 + 1 + 4 + 1;
  const std::uint64_t tensor_count = read_count(reader, file.where, "tensor count", kMaxTensors, kSmallestInfo);
  const std::uint64_t entry_count = read_count(reader, file.where, "metadata entry count", kMaxEntries, kSmallestEntry);
  for (std::uint64_t i = 0; i < entry_count; ++i) file.entries.push_back(read_entry(reader, file.where));
  reject_duplicates(file.entries, file.where, "metadata key", [](const KeyValue& entry) { return entry.key; });
  read_alignment(file);
  read_infos(reader, file, tensor_count);
  reject_duplicates(file.tensors, file.where, "tensor name", [](const TensorInfo& info) { return info.name; });
  if (!data_may_be_absent) check_extents(file);
  file.data_start = std::min<std::uint64_t>(file.data_start, bytes.size());
  return file;
}

GgufFile parse_file(const std::filesystem::path& path) {
  auto mapping = std::make_shared<const MappedFile>(path);
  GgufFile file = parse_bytes(mapping->bytes(), path.string());
  file.mapping = std::move(mapping);
  return file;
}

}  // namespace ingot::convert::gguf

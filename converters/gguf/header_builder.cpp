// Emission of GGUF headers: entries and infos as bytes, offsets by the running sum of padded sizes.
#include <algorithm>

#include "converters/gguf/file.h"
#include "format/base/checked_math.h"

namespace ingot::convert::gguf {
namespace {

template <class T>
void append(std::vector<std::byte>& out, T value) {
  const std::size_t at = out.size();
  out.resize(at + sizeof value);
  store_le(out.data() + at, value);
}

void append_text(std::vector<std::byte>& out, std::string_view text) {
  append(out, static_cast<std::uint64_t>(text.size()));
  const Bytes bytes = as_bytes_view(text);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace

void HeaderBuilder::begin_entry(std::string_view key, ValueType type) {
  if (has(key)) throw Error(ErrorKind::invalid_value, "GGUF metadata key '" + std::string(key) + "' is set twice");
  keys_.emplace_back(key);
  append_text(entries_, key);
  append(entries_, static_cast<std::int32_t>(type));
}

void HeaderBuilder::begin_array(std::string_view key, ValueType element, std::uint64_t count) {
  begin_entry(key, ValueType::array);
  append(entries_, static_cast<std::int32_t>(element));
  append(entries_, count);
}

void HeaderBuilder::add_u16(std::string_view key, std::uint16_t value) {
  begin_entry(key, ValueType::u16);
  append(entries_, value);
}
void HeaderBuilder::add_u32(std::string_view key, std::uint32_t value) {
  begin_entry(key, ValueType::u32);
  append(entries_, value);
}
void HeaderBuilder::add_i32(std::string_view key, std::int32_t value) {
  begin_entry(key, ValueType::i32);
  append(entries_, value);
}
void HeaderBuilder::add_f32(std::string_view key, float value) {
  begin_entry(key, ValueType::f32);
  append(entries_, value);
}
void HeaderBuilder::add_bool(std::string_view key, bool value) {
  begin_entry(key, ValueType::boolean);
  append(entries_, static_cast<std::uint8_t>(value));
}
void HeaderBuilder::add_string(std::string_view key, std::string_view value) {
  begin_entry(key, ValueType::string);
  append_text(entries_, value);
}
void HeaderBuilder::add_strings(std::string_view key, const std::vector<std::string>& values) {
  begin_array(key, ValueType::string, values.size());
  for (const std::string& value : values) append_text(entries_, value);
}
void HeaderBuilder::add_f32s(std::string_view key, const std::vector<float>& values) {
  begin_array(key, ValueType::f32, values.size());
  for (const float value : values) append(entries_, value);
}
void HeaderBuilder::add_i32s(std::string_view key, const std::vector<std::int32_t>& values) {
  begin_array(key, ValueType::i32, values.size());
  for (const std::int32_t value : values) append(entries_, value);
}
void HeaderBuilder::add_bools(std::string_view key, const std::vector<bool>& values) {
  begin_array(key, ValueType::boolean, values.size());
  for (const bool value : values) append(entries_, static_cast<std::uint8_t>(value));
}

void HeaderBuilder::add_verbatim(const KeyValue& entry) {
  if (has(entry.key))
    throw Error(ErrorKind::invalid_value, "GGUF metadata key '" + std::string(entry.key) + "' is set twice");
  keys_.emplace_back(entry.key);
  entries_.insert(entries_.end(), entry.entry.begin(), entry.entry.end());
}

bool HeaderBuilder::has(std::string_view key) const noexcept {
  return std::find(keys_.begin(), keys_.end(), key) != keys_.end();
}

void HeaderBuilder::add_tensor(std::string_view name, const std::vector<std::uint64_t>& dims, const BlockType& type) {
  if (name.size() > kMaxNameBytes) {
    throw Error(ErrorKind::limit_exceeded, "tensor name '" + std::string(name) + "' has " +
                                               std::to_string(name.size()) + " bytes; GGUF holds at most " +
                                               std::to_string(kMaxNameBytes));
  }
  if (dims.size() > kMaxDims) {
    throw Error(ErrorKind::limit_exceeded, "tensor '" + std::string(name) + "' has " + std::to_string(dims.size()) +
                                               " dimensions; GGUF holds at most 4");
  }
  append_text(infos_, name);
  append(infos_, static_cast<std::uint32_t>(dims.size()));
  for (const std::uint64_t extent : dims) append(infos_, extent);
  append(infos_, type.id);
  append(infos_, data_bytes_);
  tensor_offsets_.push_back(data_bytes_);
  std::uint64_t size = dims.empty() ? type.block_bytes : dims[0] / type.block_elems * type.block_bytes;
  for (std::size_t i = 1; i < dims.size(); ++i) size = checked_mul(size, dims[i], "tensor size");
  data_bytes_ = checked_add(data_bytes_, align_up(size, kDefaultAlignment), "sum of tensor sizes");
}

std::vector<std::byte> HeaderBuilder::finish() const {
  std::vector<std::byte> header;
  append(header, std::uint32_t{0x46554747});  // "GGUF"
  append(header, std::uint32_t{3});
  append(header, static_cast<std::uint64_t>(tensor_offsets_.size()));
  append(header, static_cast<std::uint64_t>(keys_.size()));
  header.insert(header.end(), entries_.begin(), entries_.end());
  header.insert(header.end(), infos_.begin(), infos_.end());
  header.resize(align_up(header.size(), kDefaultAlignment));
  return header;
}

}  // namespace ingot::convert::gguf

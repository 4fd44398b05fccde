// The GGUF container: header fields, key/value entries, tensor infos. Knows bytes and offsets, not what keys or
// tensors mean. Goals: one bounds-checked pass over untrusted bytes, views into the mapping instead of copies, memory
// that does not follow a count the file claims. Non-goals: version 1, big-endian files (both recognised and refused),
// array elements (walked on demand).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "converters/gguf/blocks.h"
#include "format/base/byte_reader.h"
#include "format/base/mapped_file.h"

namespace ingot::convert::gguf {

enum class ValueType : std::int32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
[[nodiscard]] std::string_view name(ValueType type) noexcept;

inline constexpr std::uint64_t kDefaultAlignment = 32;
inline constexpr std::uint64_t kMaxNameBytes = 63;  // of a tensor
inline constexpr std::uint64_t kMaxStringBytes = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kMaxArrayElems = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kMaxEntries = 65536;  // key/value entries; ours, keeps memory bounded
inline constexpr std::uint64_t kMaxTensors = 65536;  // ours
inline constexpr std::uint32_t kMaxDims = 4;

/// One metadata entry. Views into the mapped bytes.
struct KeyValue {
  std::string_view key;
  ValueType type = ValueType::u8;
  ValueType element = ValueType::u8;  // of an array
  std::uint64_t count = 1;            // elements of an array
  Bytes payload;                      // scalar: its bytes; string: its text; array: the elements as stored
  std::uint64_t offset = 0;           // of the entry in the file
  Bytes entry;                        // the whole entry, verbatim

  [[nodiscard]] std::optional<std::string_view> text() const noexcept;
  [[nodiscard]] std::optional<std::uint64_t> unsigned_integer() const noexcept;  // any integer type, not negative
  [[nodiscard]] std::optional<double> number() const noexcept;                   // f32, f64 or an integer
  [[nodiscard]] std::optional<bool> boolean() const noexcept;
  /// Element `index` of an array of numbers or booleans, as double; precondition: index < count and element is no
  /// string.
  [[nodiscard]] double element_number(std::uint64_t index) const noexcept;
  [[nodiscard]] bool is_array_of(ValueType wanted) const noexcept {
    return type == ValueType::array && element == wanted;
  }
  /// Walks an array of strings (lengths were checked when the file was parsed).
  void for_each_string(const std::function<void(std::string_view)>& visit) const;
};

/// One tensor info, checked: type known, size computed, extent inside the file.
struct TensorInfo {
  std::string_view name;
  std::array<std::uint64_t, kMaxDims> dims{1, 1, 1, 1};  // dims[0] varies fastest
  std::uint32_t dim_count = 0;
  const BlockType* type = nullptr;
  std::uint64_t offset = 0;  // from file start
  std::uint64_t size = 0;    // bytes, without padding

  [[nodiscard]] std::vector<std::uint64_t> shape() const;  // outermost first
};

struct GgufFile {
  std::shared_ptr<const MappedFile> mapping;  // null when parsed from memory
  Bytes bytes;
  std::string where;  // for messages
  std::uint32_t version = 0;
  std::uint64_t alignment = kDefaultAlignment;
  std::uint64_t data_start = 0;  // size of everything before the tensor data; file size when there are no tensors
  std::vector<KeyValue> entries;
  std::vector<TensorInfo> tensors;

  [[nodiscard]] const KeyValue* find(std::string_view key) const noexcept;
  [[nodiscard]] std::optional<std::string_view> text(std::string_view key) const noexcept;
  [[nodiscard]] std::optional<std::uint64_t> unsigned_integer(std::string_view key) const noexcept;
  [[nodiscard]] std::optional<double> number(std::string_view key) const noexcept;
  [[nodiscard]] std::optional<bool> boolean(std::string_view key) const noexcept;
};

/// Does the file begin with the magic? Never throws.
[[nodiscard]] bool has_magic(const std::filesystem::path& path) noexcept;

/// Maps and checks. Throws Error naming the file, the entry or tensor, the offset, what was expected and what was
/// found.
[[nodiscard]] GgufFile parse_file(const std::filesystem::path& path);
/// The same over bytes that the caller keeps alive (tests, fuzzing, header bytes kept as an attachment).
/// `data_may_be_absent`: only the header is there, so tensor extents are not compared with the number of bytes.
[[nodiscard]] GgufFile parse_bytes(Bytes bytes, std::string where, bool data_may_be_absent = false);

/// Builds the bytes before the tensor data, and the tensor offsets.
class HeaderBuilder {
 public:
  void add_u16(std::string_view key, std::uint16_t value);
  void add_u32(std::string_view key, std::uint32_t value);
  void add_i32(std::string_view key, std::int32_t value);
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, const std::vector<std::string>& values);
  void add_f32s(std::string_view key, const std::vector<float>& values);
  void add_i32s(std::string_view key, const std::vector<std::int32_t>& values);
  void add_bools(std::string_view key, const std::vector<bool>& values);
  void add_verbatim(const KeyValue& entry);
  [[nodiscard]] bool has(std::string_view key) const noexcept;

  /// Dims as GGUF orders them (fastest first). Offsets follow from the order of the calls.
  void add_tensor(std::string_view name, const std::vector<std::uint64_t>& dims, const BlockType& type);

  /// The header with padding; its size is DATA_START.
  [[nodiscard]] std::vector<std::byte> finish() const;
  /// Offset of each added tensor relative to DATA_START, and the padded size of all tensor data.
  [[nodiscard]] const std::vector<std::uint64_t>& tensor_offsets() const noexcept { return tensor_offsets_; }
  [[nodiscard]] std::uint64_t data_bytes() const noexcept { return data_bytes_; }

 private:
  void begin_entry(std::string_view key, ValueType type);
  void begin_array(std::string_view key, ValueType element, std::uint64_t count);

  std::vector<std::byte> entries_;
  std::vector<std::byte> infos_;
  std::vector<std::string> keys_;
  std::vector<std::uint64_t> tensor_offsets_;
  std::uint64_t data_bytes_ = 0;
};

}  // namespace ingot::convert::gguf

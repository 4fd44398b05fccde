// The safetensors container: strict reading of the header, canonical writing. What the tensors mean is the business of
// the layouts that use it. Goals: accept exactly what the reference reader accepts (and reject duplicate names, which
// it does not notice); never touch tensor data.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/byte_reader.h"
#include "format/tensor/scheme.h"

namespace ingot::convert {

/// The reference's limit on the JSON text.
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

/// One element type of the format. Rows are in the reference's order, low to high, which is also the (descending) order
/// of writing.
struct SafetensorsType {
  std::string_view name;  // "BF16"
  tensor::DType type;
};
/// Null when unknown.
[[nodiscard]] const SafetensorsType* find_safetensors_type(std::string_view name) noexcept;
/// The row whose element type is `type`; null for types that the format lacks (u1..u7).
[[nodiscard]] const SafetensorsType* safetensors_type_of(tensor::DType type) noexcept;

struct SafetensorsEntry {
  std::string name;
  const SafetensorsType* type = nullptr;
  std::vector<std::uint64_t> shape;  // as in the file, outermost first
  std::uint64_t begin = 0, end = 0;  // bytes from the file's start
  [[nodiscard]] std::uint64_t size() const noexcept { return end - begin; }
};

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsEntry> entries;  // by position in the file
  std::uint64_t data_begin = 0;           // 8 + header length
};

/// Throws unsupported when these are the bytes that a clone holds in place of a large file until `git lfs pull`.
void refuse_lfs_pointer(Bytes file, std::string_view where);

/// Do these first bytes of a file of `file_size` bytes look like one (length in range, first character an opening
/// brace)?
[[nodiscard]] bool looks_like_safetensors(Bytes first_bytes, std::uint64_t file_size) noexcept;

/// Checks the whole file against the format: every byte belongs to the header or to exactly one tensor. `where` names
/// the file in messages. Throws truncated, limit_exceeded, invalid_value or unsupported (element type).
[[nodiscard]] SafetensorsHeader parse_safetensors(Bytes file, std::string_view where);

/// A tensor to be written.
struct SafetensorsItem {
  std::string name;
  tensor::DType type = tensor::DType::f32;
  std::vector<std::uint64_t> shape;
};

/// Layout of a file about to be written.
struct SafetensorsPlan {
  std::string header;                // length field, JSON and padding: the first bytes of the file
  std::vector<std::size_t> order;    // items by position in the file
  std::vector<std::uint64_t> begin;  // by item: offset from the file's start
  std::uint64_t file_bytes = 0;
};

/// The reference's order (type descending, then name ascending), its JSON spelling and padding. Throws invalid_value
/// for a repeated, reserved or non-UTF-8 name, unsupported for an element type the format lacks, limit_exceeded for a
/// header above the limit.
[[nodiscard]] SafetensorsPlan plan_safetensors(const std::vector<SafetensorsItem>& items,
                                               const std::map<std::string, std::string>& metadata);

}  // namespace ingot::convert

// Small GGUF files made byte by byte, for tests of the reader. Knows nothing of the reader's own emission code.
#pragma once

#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/byte_reader.h"

namespace ingot::test {

[[nodiscard]] inline std::vector<std::byte> random_bytes(std::size_t count, std::mt19937_64& random) {
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// Appends fields as GGUF stores them.
struct GgufBytes {
  std::vector<std::byte> bytes;

  template <class T>
  GgufBytes& put(T value) {
    const std::size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return *this;
  }
  GgufBytes& text(std::string_view value) {
    put<std::uint64_t>(value.size());
    for (const char c : value) bytes.push_back(static_cast<std::byte>(c));
    return *this;
  }
  GgufBytes& head(std::int64_t tensors, std::int64_t entries, std::uint32_t version = 3) {
    return put<std::uint32_t>(0x46554747).put(version).put(tensors).put(entries);
  }
  GgufBytes& string_entry(std::string_view key, std::string_view value) {
    return text(key).put<std::int32_t>(8).text(value);
  }
  GgufBytes& u32_entry(std::string_view key, std::uint32_t value) { return text(key).put<std::int32_t>(4).put(value); }
  GgufBytes& info(std::string_view name, const std::vector<std::int64_t>& dims, std::uint32_t type,
                  std::uint64_t offset) {
    text(name).put(static_cast<std::uint32_t>(dims.size()));
    for (const std::int64_t extent : dims) put(extent);
    return put(type).put(offset);
  }
  GgufBytes& align(std::size_t alignment = 32) {
    while (bytes.size() % alignment != 0) bytes.push_back(std::byte{0});
    return *this;
  }
  GgufBytes& zeros(std::size_t count) {
    bytes.resize(bytes.size() + count);
    return *this;
  }
};

}  // namespace ingot::test

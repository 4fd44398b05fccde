// Bounds-checked little-endian reading of untrusted bytes. The only place where bytes become numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "format/base/error.h"

namespace ingot {

using Bytes = std::span<const std::byte>;

/// Unchecked little-endian load; `at` must have sizeof(T) readable bytes.
template <class T>
[[nodiscard]] inline T load_le(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;  // Ingot is little-endian only; asserted once in byte_reader.cpp
}

template <class T>
inline void store_le(std::byte* at, T value) noexcept {
  std::memcpy(at, &value, sizeof value);
}

[[nodiscard]] inline std::string_view as_text(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
[[nodiscard]] inline Bytes as_bytes_view(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Walks a span from front to back. Every read beyond the end throws ErrorKind::truncated that names `what` and the
/// file offset. Borrows the bytes and the `where` text (both must outlive the reader).
class ByteReader {
 public:
  /// `base_offset`: file offset of bytes[0], used in messages only.
  explicit ByteReader(Bytes bytes, std::string_view where, std::uint64_t base_offset = 0) noexcept
      : bytes_(bytes), where_(where), base_offset_(base_offset) {}

  [[nodiscard]] std::uint8_t read_u8(std::string_view what) { return read<std::uint8_t>(what); }
  [[nodiscard]] std::uint16_t read_u16(std::string_view what) { return read<std::uint16_t>(what); }
  [[nodiscard]] std::uint32_t read_u32(std::string_view what) { return read<std::uint32_t>(what); }
  [[nodiscard]] std::uint64_t read_u64(std::string_view what) { return read<std::uint64_t>(what); }
  [[nodiscard]] std::int32_t read_i32(std::string_view what) { return read<std::int32_t>(what); }
  [[nodiscard]] std::int64_t read_i64(std::string_view what) { return read<std::int64_t>(what); }
  [[nodiscard]] float read_f32(std::string_view what) { return read<float>(what); }
  [[nodiscard]] double read_f64(std::string_view what) { return read<double>(what); }

  /// The next `count` bytes as a view into the same memory.
  [[nodiscard]] Bytes take(std::uint64_t count, std::string_view what);
  void skip(std::uint64_t count, std::string_view what) { (void)take(count, what); }

  [[nodiscard]] std::uint64_t offset() const noexcept { return base_offset_ + position_; }  // from file start
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }               // from bytes[0]
  [[nodiscard]] std::uint64_t remaining() const noexcept { return bytes_.size() - position_; }
  [[nodiscard]] std::string_view where() const noexcept { return where_; }

 private:
  template <class T>
  [[nodiscard]] T read(std::string_view what) {
    return load_le<T>(take(sizeof(T), what).data());
  }

  Bytes bytes_;
  std::string_view where_;
  std::uint64_t base_offset_;
  std::uint64_t position_ = 0;
};

}  // namespace ingot

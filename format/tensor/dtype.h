// Element types of planes and of plain tensors. Implements spec/schemes/float.md and spec/planes.md section 2. One row
// per type in dtype.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ingot::tensor {

/// Storage types. Types that are no whole number of bytes are dense, lowest bits first. The numeric ids never leave the
/// process; files carry the names.
enum class DType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  e4m3,  // OCP E4M3 "fn": no infinity, NaN = S.1111.111
  e5m2,  // IEEE-like, with infinities
  e4m3fnuz,
  e5m2fnuz,
  e3m2,
  e2m3,  // 6 bits
  e2m1,  // 4 bits: 0 .5 1 1.5 2 3 4 6 and negatives
  e8m0,  // power of two 2^(byte-127), 255 = NaN
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,  // one byte, 0 or 1
  u1,
  u2,
  u3,
  u4,
  u5,
  u6,
  u7,  // integer codes below a byte
  u9,
  u10,
  u11,  // indexes of a grid, and nothing else
  c64,  // complex float: sized and hashed by bytes, never decoded
};

struct DTypeInfo {
  DType type;
  std::string_view name;  // in files, JSON and printed descriptors
  std::uint8_t bits;
  bool is_float;  // float code (f64 ... e8m0)
  bool is_signed;
  bool decodable;  // has a real value (false: c64)
};

/// Never fails: every enumerator has a row.
[[nodiscard]] const DTypeInfo& info(DType type) noexcept;
[[nodiscard]] inline std::uint8_t bits(DType type) noexcept { return info(type).bits; }
[[nodiscard]] inline std::string_view name(DType type) noexcept { return info(type).name; }
[[nodiscard]] std::optional<DType> dtype_from_name(std::string_view name) noexcept;

/// Bytes of `count` elements stored densely.
[[nodiscard]] std::uint64_t dense_bytes(DType type, std::uint64_t count);

}  // namespace ingot::tensor

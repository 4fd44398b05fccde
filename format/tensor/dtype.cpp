// The element types, one row each. Implements spec/schemes/README.md section 3.
#include "format/tensor/dtype.h"

#include <array>

#include "format/base/checked_math.h"

namespace ingot::tensor {
namespace {

// Rows in enumerator order (asserted below).
constexpr std::array kTypes = {
    DTypeInfo{DType::f64, "f64", 64, true, true, true},
    DTypeInfo{DType::f32, "f32", 32, true, true, true},
    DTypeInfo{DType::f16, "f16", 16, true, true, true},
    DTypeInfo{DType::bf16, "bf16", 16, true, true, true},
    DTypeInfo{DType::e4m3, "e4m3", 8, true, true, true},
    DTypeInfo{DType::e5m2, "e5m2", 8, true, true, true},
    DTypeInfo{DType::e4m3fnuz, "e4m3fnuz", 8, true, true, true},
    DTypeInfo{DType::e5m2fnuz, "e5m2fnuz", 8, true, true, true},
    DTypeInfo{DType::e3m2, "e3m2", 6, true, true, true},
    DTypeInfo{DType::e2m3, "e2m3", 6, true, true, true},
    DTypeInfo{DType::e2m1, "e2m1", 4, true, true, true},
    DTypeInfo{DType::e8m0, "e8m0", 8, true, false, true},
    DTypeInfo{DType::i64, "i64", 64, false, true, true},
    DTypeInfo{DType::i32, "i32", 32, false, true, true},
    DTypeInfo{DType::i16, "i16", 16, false, true, true},
    DTypeInfo{DType::i8, "i8", 8, false, true, true},
    DTypeInfo{DType::u64, "u64", 64, false, false, true},
    DTypeInfo{DType::u32, "u32", 32, false, false, true},
    DTypeInfo{DType::u16, "u16", 16, false, false, true},
    DTypeInfo{DType::u8, "u8", 8, false, false, true},
    DTypeInfo{DType::boolean, "bool", 8, false, false, true},
    DTypeInfo{DType::u1, "u1", 1, false, false, true},
    DTypeInfo{DType::u2, "u2", 2, false, false, true},
    DTypeInfo{DType::u3, "u3", 3, false, false, true},
    DTypeInfo{DType::u4, "u4", 4, false, false, true},
    DTypeInfo{DType::u5, "u5", 5, false, false, true},
    DTypeInfo{DType::u6, "u6", 6, false, false, true},
    DTypeInfo{DType::u7, "u7", 7, false, false, true},
    DTypeInfo{DType::u9, "u9", 9, false, false, true},
    DTypeInfo{DType::u10, "u10", 10, false, false, true},
    DTypeInfo{DType::u11, "u11", 11, false, false, true},
    DTypeInfo{DType::c64, "c64", 64, true, true, false},
};

constexpr bool rows_follow_the_enumeration() {
  for (std::size_t i = 0; i < kTypes.size(); ++i) {
    if (static_cast<std::size_t>(kTypes[i].type) != i) return false;
    for (std::size_t j = 0; j < i; ++j) {
      if (kTypes[j].name == kTypes[i].name) return false;
    }
  }
  return kTypes.size() == static_cast<std::size_t>(DType::c64) + 1;
}
static_assert(rows_follow_the_enumeration());

}  // namespace

const DTypeInfo& info(DType type) noexcept { return kTypes[static_cast<std::size_t>(type)]; }

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const DTypeInfo& row : kTypes) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}

std::uint64_t dense_bytes(DType type, std::uint64_t count) {
  const std::uint64_t element_bits = bits(type);
  if (element_bits % 8 == 0) return checked_mul(count, element_bits / 8, "bytes of a plane");
  // Eight elements fill element_bits bytes; this order cannot overflow before the result does.
  return checked_add(checked_mul(count / 8, element_bits, "bytes of a plane"), ceil_div(count % 8 * element_bits, 8),
                     "bytes of a plane");
}

}  // namespace ingot::tensor

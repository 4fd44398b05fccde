// One row per type; no type is named elsewhere in the decoder.
#include "format/tensor/element_numbers.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>

#include "format/base/byte_reader.h"
#include "format/tensor/bulk.h"
#include "format/tensor/float_codes.h"

namespace ingot::tensor {
namespace {

using SmallFloat = float (*)(std::uint8_t) noexcept;
struct SmallFloatRow {
  DType type;
  SmallFloat value;
};
constexpr SmallFloatRow kSmallFloats[] = {
    {DType::e4m3, e4m3_to_f32},         {DType::e5m2, e5m2_to_f32}, {DType::e4m3fnuz, e4m3fnuz_to_f32},
    {DType::e5m2fnuz, e5m2fnuz_to_f32}, {DType::e3m2, e3m2_to_f32}, {DType::e2m3, e2m3_to_f32},
    {DType::e2m1, e2m1_to_f32},         {DType::e8m0, e8m0_to_f32},
};

template <class T, class Out>
void convert(const std::byte* bytes, std::uint64_t count, Out* out) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) out[i] = static_cast<Out>(load_le<T>(bytes + i * sizeof(T)));
}

// The bulk loops take any alignment although their parameter is a pointer to 16-bit numbers.
void bulk_f16(const std::byte* bytes, std::uint64_t count, float* out) noexcept {
  bulk().f16_to_f32(reinterpret_cast<const std::uint16_t*>(bytes), out, count);
}
void bulk_bf16(const std::byte* bytes, std::uint64_t count, float* out) noexcept {
  bulk().bf16_to_f32(reinterpret_cast<const std::uint16_t*>(bytes), out, count);
}
/// By way of binary32.
template <void (*to_values)(const std::byte*, std::uint64_t, float*) noexcept>
void widen_halves(const std::byte* bytes, std::uint64_t count, double* out) noexcept {
  constexpr std::uint64_t kAtOnce = 256;
  float values[kAtOnce];
  for (std::uint64_t first = 0; first < count; first += kAtOnce) {
    const std::uint64_t some = std::min(kAtOnce, count - first);
    to_values(bytes + 2 * first, some, values);
    std::copy_n(values, some, out + first);
  }
}
void copy_f32(const std::byte* bytes, std::uint64_t count, float* out) noexcept {
  if (count != 0) std::memcpy(out, bytes, count * sizeof(float));
}

struct WideRow {
  DType type;
  void (*numbers)(const std::byte*, std::uint64_t, double*) noexcept;
  void (*values)(const std::byte*, std::uint64_t, float*) noexcept;
  NumberRange range;
};
constexpr WideRow kWideTypes[] = {
    {DType::f64, convert<double, double>, convert<double, float>, {DBL_MAX, -1074, 53}},
    {DType::f32, convert<float, double>, copy_f32, {FLT_MAX, -149, 24}},
    {DType::f16, widen_halves<bulk_f16>, bulk_f16, {65504, -24, 11}},
    {DType::bf16, widen_halves<bulk_bf16>, bulk_bf16, {FLT_MAX, -133, 8}},
    {DType::i64, convert<std::int64_t, double>, convert<std::int64_t, float>, {0x1p63, 0, 63}},
    {DType::i32, convert<std::int32_t, double>, convert<std::int32_t, float>, {0x1p31, 0, 31}},
    {DType::i16, convert<std::int16_t, double>, convert<std::int16_t, float>, {32768, 0, 15}},
    {DType::u64, convert<std::uint64_t, double>, convert<std::uint64_t, float>, {0x1p64, 0, 64}},
    {DType::u32, convert<std::uint32_t, double>, convert<std::uint32_t, float>, {0x1p32 - 1, 0, 32}},
    {DType::u16, convert<std::uint16_t, double>, convert<std::uint16_t, float>, {65535, 0, 16}},
};

const WideRow& wide_row(DType type) noexcept {
  return *std::find_if(std::begin(kWideTypes), std::end(kWideTypes) - 1,
                       [&](const WideRow& row) { return row.type == type; });
}

}  // namespace

std::vector<double> numbers_of_codes(DType type) {
  const DTypeInfo& row = info(type);
  std::vector<double> numbers(std::size_t{1} << row.bits);
  const auto* small = std::find_if(std::begin(kSmallFloats), std::end(kSmallFloats),
                                   [&](const SmallFloatRow& entry) { return entry.type == type; });
  for (std::size_t code = 0; code < numbers.size(); ++code) {
    const bool negative = !row.is_float && row.is_signed && code >= numbers.size() / 2;
    const double integer = static_cast<double>(code) - (negative ? static_cast<double>(numbers.size()) : 0.0);
    numbers[code] = small == std::end(kSmallFloats) ? integer : small->value(static_cast<std::uint8_t>(code));
  }
  return numbers;
}

void wide_numbers(DType type, const std::byte* bytes, std::uint64_t count, double* out) noexcept {
  wide_row(type).numbers(bytes, count, out);
}
void wide_values(DType type, const std::byte* bytes, std::uint64_t count, float* out) noexcept {
  wide_row(type).values(bytes, count, out);
}

NumberRange range_of(DType type) noexcept { return wide_row(type).range; }

NumberRange range_of(std::span<const double> numbers) noexcept {
  NumberRange range{0, 0, 0};
  bool first = true;
  for (const double number : numbers) {
    if (!std::isfinite(number) || number == 0) continue;
    int exponent = 0;
    const double fraction = std::frexp(std::fabs(number), &exponent);  // in [0.5, 1): a leading 1 and 52 bits
    const int significant =
        DBL_MANT_DIG - std::min(std::countr_zero(std::bit_cast<std::uint64_t>(fraction)), DBL_MANT_DIG - 1);
    const int lowest = exponent - significant;
    range.lowest = first ? lowest : std::min(range.lowest, lowest);
    range.max = std::max(range.max, std::fabs(number));
    range.significant_bits = std::max(range.significant_bits, significant);
    first = false;
  }
  return range;
}

NumberRange range_of_product(NumberRange a, NumberRange b) noexcept {
  const bool power_of_two =
      a.significant_bits <= 1 || b.significant_bits <= 1;  // one leading bit only shifts the other number
  const int significant =
      power_of_two ? std::max(a.significant_bits, b.significant_bits) : a.significant_bits + b.significant_bits;
  return {a.max * b.max, a.lowest + b.lowest, significant};
}

NumberRange range_of_sum(NumberRange a, NumberRange b) noexcept {
  NumberRange sum{a.max + b.max, std::min(a.lowest, b.lowest), 0};
  sum.significant_bits = std::isfinite(sum.max) && sum.max > 0 ? std::ilogb(sum.max) + 1 - sum.lowest : 64;
  return sum;
}

bool exact_in_binary32(NumberRange range) noexcept {
  return range.significant_bits <= 24 && range.lowest >= -149 && range.max <= FLT_MAX;
}
bool exact_in_binary64(NumberRange range) noexcept {
  return range.significant_bits <= 53 && range.lowest >= -1074 && range.max <= DBL_MAX;
}

}  // namespace ingot::tensor

// The real number that a stored element stands for, and the range of such numbers, by element type. Internal to
// format/tensor. Implements spec/schemes/README.md section 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/tensor/dtype.h"

namespace ingot::tensor {

/// Of every code of a type of at most 8 bits, 2^bits entries. Every entry is exact in binary32 too.
[[nodiscard]] std::vector<double> numbers_of_codes(DType type);

/// `count` little-endian elements of a type of 16 or more bits. `wide_numbers` is exact except for i64 and u64;
/// `wide_values` rounds once.
void wide_numbers(DType type, const std::byte* bytes, std::uint64_t count, double* out) noexcept;
void wide_values(DType type, const std::byte* bytes, std::uint64_t count, float* out) noexcept;

/// What is known of a set of finite numbers: none is larger than `max`, all are multiples of 2^lowest, none needs more
/// than `significant_bits` bits.
struct NumberRange {
  double max;
  int lowest;
  int significant_bits;
};
[[nodiscard]] NumberRange range_of(DType type) noexcept;                       // types of 16 or 32 bits
[[nodiscard]] NumberRange range_of(std::span<const double> numbers) noexcept;  // non-finite ones are ignored
[[nodiscard]] NumberRange range_of_product(NumberRange a, NumberRange b) noexcept;
[[nodiscard]] NumberRange range_of_sum(NumberRange a, NumberRange b) noexcept;
[[nodiscard]] bool exact_in_binary32(NumberRange range) noexcept;
[[nodiscard]] bool exact_in_binary64(NumberRange range) noexcept;

}  // namespace ingot::tensor

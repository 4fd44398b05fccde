// The numbers that stored parameters mean, and the elements that mean given numbers. Internal to recode*.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/base/byte_reader.h"
#include "format/tensor/scheme.h"

namespace ingot::convert::recoding {

/// Elements of type f16, bf16 or f32 as binary32: as many as fit into the bytes.
void widen(tensor::DType type, Bytes bytes, std::vector<float>& numbers);

/// Elements of one level, one per whole number of bytes (types below a byte take one).
class ElementCodec {
 public:
  /// `table`: entries of the level's custom table; empty: none.
  ElementCodec(const tensor::Level& level, std::span<const float> table);

  [[nodiscard]] std::size_t element_bytes() const noexcept { return element_bytes_; }
  /// Exact.
  void decode(const std::byte* elements, std::uint64_t count, double* numbers) const noexcept;
  /// The nearest numbers that an element stands for, to even among equals; 16- and 32-bit floats and integers round,
  /// smaller types and tables do not: NaN where nothing fits. Returns whether every number is exact (NaN counts as
  /// NaN, where the type has one).
  bool round(const double* wanted, std::uint64_t count, double* numbers) const noexcept;
  /// What the element of zero bits means.
  [[nodiscard]] double number_of_zero_bits() const noexcept { return numbers_.empty() ? add_ : numbers_[0]; }
  /// Numbers as round() gives them, but NaN only where the type has it.
  void encode(const double* numbers, std::uint64_t count, std::byte* elements) const noexcept;

 private:
  enum class Form : std::uint8_t { f32, f16, bf16, integer, small };

  [[nodiscard]] bool all_fit(const double* wanted, std::uint64_t count) const noexcept;
  [[nodiscard]] double round_one(double wanted) const noexcept;
  [[nodiscard]] const std::uint8_t* small_code(double number) const noexcept;

  tensor::DType type_;
  Form form_;
  std::size_t element_bytes_ = 1;
  double multiply_ = 1, add_ = 0, least_ = 0, greatest_ = 0;  // integers: of the stored element
  std::vector<double> numbers_;                               // of every element of at most 8 bits
  std::vector<double> sorted_;                                // the same in order, NaN left out, with their elements
  std::vector<std::uint8_t> sorted_codes_;
  int nan_code_ = -1;
};

/// NaN equals NaN, -0 equals 0.
[[nodiscard]] inline bool same_number(double a, double b) noexcept { return a == b || (a != a && b != b); }

}  // namespace ingot::convert::recoding

// A sum of products of floating-point numbers without any rounding, rounded once at the end: the meaning of "value" in
// spec/schemes/README.md section 1. Slow and general; the fast loops must agree with it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace ingot::tensor {

/// Fixed-point accumulator from 2^-768 to 2^767: every product of up to four numbers of binary32 range and at most 32
/// significant bits fits, with room for the shift and the sum of a few of them.
class ExactSum {
 public:
  static constexpr std::size_t kMaxFactors = 4;

  /// Adds (or subtracts) the product of at most kMaxFactors numbers of at most 32 significant bits. NaN and infinity
  /// follow IEEE 754.
  void add(std::span<const double> factors) noexcept { accumulate(factors, false); }
  void subtract(std::span<const double> factors) noexcept { accumulate(factors, true); }

  /// The sum, rounded to nearest even.
  [[nodiscard]] float rounded() const noexcept;

 private:
  static constexpr int kLowestExponent = -768;
  static constexpr std::size_t kLimbs = 24;

  void accumulate(std::span<const double> factors, bool negate) noexcept;

  std::array<std::uint64_t, kLimbs> limbs_{};  // two's complement, lowest first
  double special_ = 0;                         // sum of the products that are infinite or NaN
};

}  // namespace ingot::tensor

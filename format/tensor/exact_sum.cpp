// Wide fixed-point addition and the single rounding.
#include "format/tensor/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

namespace ingot::tensor {
namespace {

__extension__ using Uint128 = unsigned __int128;

/// number = +-mantissa * 2^exponent with an odd mantissa (or zero).
struct Dyadic {
  std::uint64_t mantissa;
  int exponent;
  bool negative;
};

Dyadic dyadic(double number) noexcept {
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(number), &exponent);
  const auto mantissa = static_cast<std::uint64_t>(std::ldexp(fraction, 53));
  const int zeros = mantissa == 0 ? 0 : std::countr_zero(mantissa);
  return {mantissa >> zeros, exponent - 53 + zeros, std::signbit(number)};
}

}  // namespace

void ExactSum::accumulate(std::span<const double> factors, bool negate) noexcept {
  assert(factors.size() <= kMaxFactors);
  double ieee = negate ? -1 : 1;
  bool finite = true;
  Uint128 mantissa = 1;
  int exponent = 0;
  bool negative = negate;
  for (const double factor : factors) {
    finite = finite && std::isfinite(factor);
    ieee *= std::isfinite(factor) && factor != 0 ? std::copysign(1.0, factor)
                                                 : factor;  // only signs, zeros and specials matter
    if (!finite) continue;
    const Dyadic parts = dyadic(factor);
    assert(parts.mantissa >> 32 == 0);
    mantissa *= parts.mantissa;
    exponent += parts.exponent;
    negative = negative != parts.negative;
  }
  if (!finite) {
    special_ += ieee;
    return;
  }
  if (mantissa == 0) return;
  // Spread the 128 bits over three limbs, then add or subtract with carry.
  const auto position = static_cast<unsigned>(exponent - kLowestExponent);
  const unsigned offset = position % 64;
  const auto low = static_cast<std::uint64_t>(mantissa);
  const auto high = static_cast<std::uint64_t>(mantissa >> 64);
  const std::uint64_t parts[3] = {low << offset, offset == 0 ? high : high << offset | low >> (64 - offset),
                                  offset == 0 ? 0 : high >> (64 - offset)};
  std::uint64_t carry = 0;
  for (std::size_t i = position / 64, part = 0; i < kLimbs; ++i, ++part) {
    const std::uint64_t operand = part < 3 ? parts[part] : 0;
    if (part >= 3 && carry == 0) break;
    const Uint128 wide = negative ? Uint128{limbs_[i]} - operand - carry : Uint128{limbs_[i]} + operand + carry;
    limbs_[i] = static_cast<std::uint64_t>(wide);
    carry = static_cast<std::uint64_t>(wide >> 64) != 0 ? 1 : 0;
  }
}

float ExactSum::rounded() const noexcept {
  if (special_ != 0) return static_cast<float>(special_);  // also true for NaN
  std::array<std::uint64_t, kLimbs> magnitude = limbs_;
  const bool negative = magnitude.back() >> 63 != 0;
  if (negative) {
    std::uint64_t carry = 1;
    for (std::uint64_t& limb : magnitude) {
      limb = ~limb + carry;
      carry = carry != 0 && limb == 0 ? 1 : 0;
    }
  }
  int top = kLimbs - 1;
  while (top >= 0 && magnitude[static_cast<std::size_t>(top)] == 0) --top;
  if (top < 0) return 0.0f;
  const int highest =
      64 * top + 63 - std::countl_zero(magnitude[static_cast<std::size_t>(top)]);  // bit number of the leading one
  // The lowest bit of the result: 24 bits below the leading one, but not below the smallest binary32 subnormal.
  const int lowest = std::max(highest - 23, -149 - kLowestExponent);
  const auto bit = [&](int i) {
    return i < 0 ? 0u : static_cast<unsigned>(magnitude[static_cast<std::size_t>(i / 64)] >> i % 64 & 1u);
  };
  std::uint64_t kept = 0;
  for (int i = highest; i >= lowest; --i) kept = kept << 1 | bit(i);
  const bool half = lowest - 1 <= highest && bit(lowest - 1) != 0;
  bool beyond = false;
  for (int i = 0; i < lowest - 1 && !beyond; ++i) beyond = i <= highest && bit(i) != 0;
  if (half && (beyond || (kept & 1u) != 0)) ++kept;
  const float result = static_cast<float>(std::ldexp(static_cast<double>(kept), lowest + kLowestExponent));
  return negative ? -result : result;
}

}  // namespace ingot::tensor

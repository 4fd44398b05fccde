// Eight lanes of binary32, or of counts: a part of bulk_loops.h. AVX2 where the build has it, else one lane after the
// other, with the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/tensor/float_bits.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace ingot::tensor {
namespace {

constexpr std::size_t kEight = 8;

#ifdef __AVX2__
using Eight = __m256;
using Counts = __m256i;

inline Eight load_eight(const float* values) noexcept { return _mm256_loadu_ps(values); }
inline Eight every(float value) noexcept { return _mm256_set1_ps(value); }
inline Eight plus(Eight a, Eight b) noexcept { return _mm256_add_ps(a, b); }
inline Eight product(Eight a, Eight b) noexcept { return _mm256_mul_ps(a, b); }
inline Eight larger(Eight a, Eight b) noexcept { return _mm256_max_ps(a, b); }
inline Eight distance(Eight a, Eight b) noexcept { return _mm256_andnot_ps(every(-0.0f), _mm256_sub_ps(b, a)); }
inline Eight larger_magnitude(Eight a, Eight b) noexcept {
  const __m256 sign = every(-0.0f);
  return larger(_mm256_andnot_ps(sign, a), _mm256_andnot_ps(sign, b));
}

/// 1 / the power of two of a value, that of the least exponent for smaller ones.
inline Eight inverse_powers(Eight values, std::int32_t least_power) noexcept {
  const __m256i exponents = _mm256_and_si256(_mm256_castps_si256(values), _mm256_set1_epi32(0x7F800000));
  const __m256i powers = _mm256_max_epi32(exponents, _mm256_set1_epi32(least_power));
  return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(2 * 127 << 23), powers));
}
inline void count_unequal(Counts& count, Eight a, Eight b) noexcept {
  count = _mm256_sub_epi32(count, _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_NEQ_OQ)));
}
inline std::uint64_t total(Counts counts) noexcept {
  std::uint32_t lanes[kEight];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), counts);
  std::uint64_t sum = 0;
  for (const std::uint32_t lane : lanes) sum += lane;
  return sum;
}
/// Is there a lane that is not below its limit (NaN is not)?
inline bool any_not_below(Eight a, Eight limit) noexcept {
  return _mm256_movemask_ps(_mm256_cmp_ps(a, limit, _CMP_NLT_UQ)) != 0;
}
inline bool any_above(Eight a, Eight limit) noexcept {
  return _mm256_movemask_ps(_mm256_cmp_ps(a, limit, _CMP_GT_OQ)) != 0;
}
inline bool any_below(Eight a, Eight limit) noexcept {
  return _mm256_movemask_ps(_mm256_cmp_ps(a, limit, _CMP_LT_OQ)) != 0;
}
/// Is there a lane in which a sum is below the limit, but what went into it is not zero?
inline bool any_lost(Eight sum, Eight largest, float limit) noexcept {
  const __m256 small = _mm256_cmp_ps(sum, every(limit), _CMP_LT_OQ);
  return _mm256_movemask_ps(_mm256_and_ps(small, _mm256_cmp_ps(largest, _mm256_setzero_ps(), _CMP_NEQ_UQ))) != 0;
}
/// What a distance lost when it was rounded, but for the sign (TwoSum, Knuth); anything but 0 for NaN.
inline Eight lost_of_distance(Eight a, Eight b) noexcept {
  const __m256 difference = _mm256_sub_ps(b, a), part = _mm256_sub_ps(difference, b);
  return _mm256_sub_ps(_mm256_sub_ps(b, _mm256_sub_ps(difference, part)), _mm256_add_ps(a, part));
}
inline Eight any_bit(Eight a, Eight b) noexcept { return _mm256_or_ps(a, b); }
inline void store_eight(float* lanes, Eight value) noexcept { _mm256_storeu_ps(lanes, value); }
inline void add_widened(double* lanes, Eight value, double factor) noexcept {
  const __m256d by = _mm256_set1_pd(factor);
  const __m256d low = _mm256_mul_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(value)), by);
  const __m256d high = _mm256_mul_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(value, 1)), by);
  _mm256_storeu_pd(lanes, _mm256_add_pd(_mm256_loadu_pd(lanes), low));
  _mm256_storeu_pd(lanes + 4, _mm256_add_pd(_mm256_loadu_pd(lanes + 4), high));
}
#else
struct Eight {
  float lanes[kEight];
};
struct Counts {
  std::uint32_t lanes[kEight];
};

template <class Make>
inline Eight make_eight(Make make) noexcept {
  Eight result;
  for (std::size_t i = 0; i < kEight; ++i) result.lanes[i] = make(i);
  return result;
}
template <class Is>
inline bool any_lane(Is is) noexcept {
  bool found = false;
  for (std::size_t i = 0; i < kEight; ++i) found |= is(i);
  return found;
}

inline Eight load_eight(const float* values) noexcept {
  return make_eight([&](std::size_t i) { return values[i]; });
}
inline Eight every(float value) noexcept {
  return make_eight([&](std::size_t) { return value; });
}
inline Eight plus(const Eight& a, const Eight& b) noexcept {
  return make_eight([&](std::size_t i) { return a.lanes[i] + b.lanes[i]; });
}
inline Eight product(const Eight& a, const Eight& b) noexcept {
  return make_eight([&](std::size_t i) { return a.lanes[i] * b.lanes[i]; });
}
inline Eight larger(const Eight& a, const Eight& b) noexcept {
  return make_eight([&](std::size_t i) { return a.lanes[i] > b.lanes[i] ? a.lanes[i] : b.lanes[i]; });
}
inline Eight distance(const Eight& a, const Eight& b) noexcept {
  return make_eight([&](std::size_t i) { return __builtin_fabsf(b.lanes[i] - a.lanes[i]); });
}
inline Eight larger_magnitude(const Eight& a, const Eight& b) noexcept {
  return make_eight([&](std::size_t i) {
    const float of_a = __builtin_fabsf(a.lanes[i]), of_b = __builtin_fabsf(b.lanes[i]);
    return of_a > of_b ? of_a : of_b;
  });
}
inline Eight inverse_powers(const Eight& values, std::int32_t least_power) noexcept {
  return make_eight([&](std::size_t i) {
    const auto exponent = static_cast<std::int32_t>(bits_of(values.lanes[i]) & 0x7F800000u);
    return from_bits(static_cast<std::uint32_t>((2 * 127 << 23) - (exponent > least_power ? exponent : least_power)));
  });
}
inline void count_unequal(Counts& count, const Eight& a, const Eight& b) noexcept {
  for (std::size_t i = 0; i < kEight; ++i) count.lanes[i] += a.lanes[i] < b.lanes[i] || a.lanes[i] > b.lanes[i];
}
inline std::uint64_t total(const Counts& counts) noexcept {
  std::uint64_t sum = 0;
  for (const std::uint32_t lane : counts.lanes) sum += lane;
  return sum;
}
inline bool any_not_below(const Eight& a, const Eight& limit) noexcept {
  return any_lane([&](std::size_t i) { return !(a.lanes[i] < limit.lanes[i]); });
}
inline bool any_above(const Eight& a, const Eight& limit) noexcept {
  return any_lane([&](std::size_t i) { return a.lanes[i] > limit.lanes[i]; });
}
inline bool any_below(const Eight& a, const Eight& limit) noexcept {
  return any_lane([&](std::size_t i) { return a.lanes[i] < limit.lanes[i]; });
}
inline bool any_lost(const Eight& sum, const Eight& largest, float limit) noexcept {
  return any_lane([&](std::size_t i) { return sum.lanes[i] < limit && !(largest.lanes[i] == 0); });
}
inline Eight lost_of_distance(const Eight& a, const Eight& b) noexcept {
  return make_eight([&](std::size_t i) {
    const float difference = b.lanes[i] - a.lanes[i], part = difference - b.lanes[i];
    return (b.lanes[i] - (difference - part)) - (a.lanes[i] + part);
  });
}
inline Eight any_bit(const Eight& a, const Eight& b) noexcept {
  return make_eight([&](std::size_t i) { return from_bits(bits_of(a.lanes[i]) | bits_of(b.lanes[i])); });
}
inline void store_eight(float* lanes, const Eight& value) noexcept {
  for (std::size_t i = 0; i < kEight; ++i) lanes[i] = value.lanes[i];
}
inline void add_widened(double* lanes, const Eight& value, double factor) noexcept {
  for (std::size_t i = 0; i < kEight; ++i) lanes[i] += static_cast<double>(value.lanes[i]) * factor;
}
#endif

}  // namespace
}  // namespace ingot::tensor

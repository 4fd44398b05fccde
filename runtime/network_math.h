// The small element-wise steps of the networks. Sums that decide a norm are accumulated in double.
#pragma once

#include <cmath>
#include <cstdint>

namespace ingot::runtime {

/// Added up in lanes: one sum would wait for itself at every step.
[[nodiscard]] inline double sum_of_squares(const float* x, std::uint64_t size) noexcept {
  constexpr std::uint64_t kLanes = 8;
  double sums[kLanes] = {};
  std::uint64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (std::uint64_t k = 0; k < kLanes; ++k) sums[k] += static_cast<double>(x[i + k]) * x[i + k];
  }
  for (std::uint64_t k = 0; i < size; ++i, ++k) sums[k] += static_cast<double>(x[i]) * x[i];
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

/// out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]
inline void rms_norm(const float* x, const float* weight, std::uint64_t size, double epsilon, float* out) noexcept {
  const double sum = sum_of_squares(x, size);
  const auto factor = static_cast<float>(1 / std::sqrt(sum / static_cast<double>(size) + epsilon));
  for (std::uint64_t i = 0; i < size; ++i) out[i] = x[i] * factor * weight[i];
}

/// out[i] = (x[i] - mean) / sqrt(variance + epsilon) * weight[i] + bias[i], biased variance
inline void layer_norm(const float* x, const float* weight, const float* bias, std::uint64_t size, double epsilon,
                       float* out) noexcept {
  double sum = 0;
  for (std::uint64_t i = 0; i < size; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(size);
  double squares = 0;
  for (std::uint64_t i = 0; i < size; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double factor = 1 / std::sqrt(squares / static_cast<double>(size) + epsilon);
  for (std::uint64_t i = 0; i < size; ++i) out[i] = static_cast<float>((x[i] - mean) * factor) * weight[i] + bias[i];
}

inline float silu(float x) noexcept { return x / (1 + std::exp(-x)); }
/// The tanh form ("gelu_new", "gelu_pytorch_tanh").
inline float gelu_tanh(float x) noexcept {
  return 0.5f * x * (1 + std::tanh(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}
/// The exact form.
inline float gelu(float x) noexcept { return 0.5f * x * (1 + std::erf(x * 0.70710678118654752f)); }

}  // namespace ingot::runtime

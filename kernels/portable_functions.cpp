// The oracle of the functions of many numbers.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace ingot::kernels {

const FunctionKernels& portable_function_kernels() noexcept;

namespace {

void softmax(float* values, std::uint64_t size, float scale) noexcept {
  float greatest = -INFINITY;
  for (std::uint64_t i = 0; i < size; ++i) {
    values[i] *= scale;
    greatest = std::max(greatest, values[i]);
  }
  double sum = 0;
  for (std::uint64_t i = 0; i < size; ++i) {
    values[i] = std::exp(values[i] - greatest);
    sum += values[i];
  }
  const auto norm = static_cast<float>(sum);
  for (std::uint64_t i = 0; i < size; ++i) values[i] /= norm;
}

float silu(float x) noexcept { return x / (1 + std::exp(-x)); }
float gelu_tanh(float x) noexcept {
  return 0.5f * x * (1 + std::tanh(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

template <float (*kFunction)(float) noexcept>
void gate(float* values, const float* factors, std::uint64_t size) noexcept {
  for (std::uint64_t i = 0; i < size; ++i) values[i] = kFunction(values[i]) * factors[i];
}

}  // namespace

const FunctionKernels& portable_function_kernels() noexcept {
  static constexpr FunctionKernels kernels = {softmax, gate<silu>, gate<gelu_tanh>};
  return kernels;
}

}  // namespace ingot::kernels

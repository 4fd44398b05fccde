// Functions of many numbers in every variant against double precision, for all sizes around the width of registers.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/registry.h"

using namespace ingot;

namespace {

constexpr std::uint64_t kSizes[] = {1, 2, 7, 8, 9, 16, 31, 100};

std::vector<float> random_values(std::mt19937_64& random, std::uint64_t size, float spread) {
  std::uniform_real_distribution<float> uniform(-spread, spread);
  std::vector<float> values(size + 1, 123);
  for (std::uint64_t i = 0; i < size; ++i) values[i] = uniform(random);
  return values;
}

void check_softmax(const kernels::KernelTable& table, std::mt19937_64& random) {
  for (const std::uint64_t size : kSizes) {
    for (const float spread : {1.0f, 20.0f, 1000.0f}) {
      const float scale = 0.125f;
      const std::vector<float> before = random_values(random, size, spread);
      std::vector<float> got = before;
      table.functions.softmax(got.data(), size, scale);
      double greatest = -INFINITY, sum = 0;
      for (std::uint64_t i = 0; i < size; ++i) greatest = std::fmax(greatest, static_cast<double>(before[i] * scale));
      for (std::uint64_t i = 0; i < size; ++i) sum += std::exp(before[i] * scale - greatest);
      for (std::uint64_t i = 0; i < size; ++i) {
        const double power = before[i] * scale - greatest, expected = std::exp(power) / sum;
        // The difference is rounded before its exponential is taken; what is below normal numbers may become one.
        CHECK(std::fabs(got[i] - expected) <= expected * (5 + std::fabs(power)) * 0x1p-23 + 1.2e-38);
      }
      CHECK(got[size] == 123);
    }
  }
}

template <class Gate, class Function>
void check_gate(Gate gate, std::mt19937_64& random, Function function) {
  for (const std::uint64_t size : kSizes) {
    for (const float spread : {0.01f, 4.0f, 40.0f, 1e4f}) {
      const std::vector<float> before = random_values(random, size, spread), factors = random_values(random, size, 2);
      std::vector<float> got = before;
      gate(got.data(), factors.data(), size);
      for (std::uint64_t i = 0; i < size; ++i) {
        const double x = before[i], expected = function(x) * factors[i];
        // Where the function is small beside its argument, so is what the argument's rounding may do.
        CHECK(std::fabs(got[i] - expected) <= (std::fabs(expected) * (8 + 2 * std::fabs(x)) + std::fabs(x)) * 0x1p-23);
      }
      CHECK(got[size] == 123);
    }
  }
}

void check_no_numbers(const kernels::KernelTable& table) {
  const float none = std::numeric_limits<float>::quiet_NaN();
  for (const std::uint64_t at : {0, 9}) {  // of a whole register and of a part
    std::vector<float> values(10, 1.0f), factors(10, 1.0f);
    values[at] = none;
    table.functions.gate_silu(values.data(), factors.data(), 10);
    CHECK(std::isnan(values[at]));
    CHECK(std::isfinite(values[at == 0 ? 9 : 0]));
    std::fill(values.begin(), values.end(), 1.0f);
    values[at] = none;
    table.functions.gate_gelu_tanh(values.data(), factors.data(), 10);
    CHECK(std::isnan(values[at]));
    std::fill(values.begin(), values.end(), 1.0f);
    values[at] = none;
    table.functions.softmax(values.data(), 10, 1);
    for (const float value : values) CHECK(std::isnan(value));
  }
}

void check_far_out(const kernels::KernelTable& table) {
  const float infinite = std::numeric_limits<float>::infinity();
  for (const float far : {-200.0f, -1e30f, -3e38f}) {
    std::vector<float> values = {far, -far}, factors = {1, 1};
    table.functions.gate_silu(values.data(), factors.data(), 2);
    CHECK(values == std::vector<float>{0, -far});
    values = {0, far};
    table.functions.softmax(values.data(), 2, 1);
    CHECK(values == std::vector<float>{1, 0});
  }
  std::vector<float> values = {-infinite, infinite}, factors = {1, 1};
  table.functions.gate_silu(values.data(), factors.data(), 2);
  CHECK(std::isnan(values[0]));
  CHECK(values[1] == infinite);
  values = {0, -infinite};
  table.functions.softmax(values.data(), 2, 1);
  CHECK(values == std::vector<float>{1, 0});
}

}  // namespace

TEST_CASE("functions of many numbers are those of double precision in every variant") {
  for (const kernels::Variant& variant : kernels::variants()) {
    const kernels::KernelTable* const table = kernels::find(variant.name);
    if (table == nullptr) continue;
    INFO(std::string(variant.name));
    std::mt19937_64 random(3);
    check_softmax(*table, random);
    check_gate(table->functions.gate_silu, random, [](double x) { return x / (1 + std::exp(-x)); });
    check_gate(table->functions.gate_gelu_tanh, random,
               [](double x) { return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); });
    check_no_numbers(*table);
    check_far_out(*table);
  }
}

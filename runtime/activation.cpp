#include "runtime/activation.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "format/base/error.h"
#include "kernels/kernel_table.h"
#include "runtime/network_math.h"

namespace ingot::runtime {
namespace {

template <float (*kFunction)(float) noexcept>
void apply(float* values, std::uint64_t size) noexcept {
  for (std::uint64_t i = 0; i < size; ++i) values[i] = kFunction(values[i]);
}

template <float (*kFunction)(float) noexcept>
void gate(float* values, const float* factors, std::uint64_t size) noexcept {
  for (std::uint64_t i = 0; i < size; ++i) values[i] = kFunction(values[i]) * factors[i];
}

void gate_silu(float* values, const float* factors, std::uint64_t size) noexcept {
  kernels::best().functions.gate_silu(values, factors, size);
}
void gate_gelu_tanh(float* values, const float* factors, std::uint64_t size) noexcept {
  kernels::best().functions.gate_gelu_tanh(values, factors, size);
}

constexpr Activation kActivations[] = {
    {"silu", apply<silu>, gate_silu},
    {"gelu_tanh", apply<gelu_tanh>, gate_gelu_tanh},
    {"gelu", apply<gelu>, gate<gelu>},
};

}  // namespace

const Activation& find_activation(std::string_view architecture, std::string_view name, std::string_view usual) {
  const std::string_view wanted = name.empty() ? usual : name;
  const auto row = std::find_if(std::begin(kActivations), std::end(kActivations),
                                [&](const Activation& activation) { return activation.name == wanted; });
  if (row == std::end(kActivations)) {
    std::string known;
    for (const Activation& activation : kActivations)
      known += (known.empty() ? "" : ", ") + std::string(activation.name);
    throw Error(ErrorKind::unsupported, "architecture " + std::string(architecture) + " with activation \"" +
                                            std::string(wanted) + "\" cannot be run (supported: " + known + ")");
  }
  return *row;
}

}  // namespace ingot::runtime

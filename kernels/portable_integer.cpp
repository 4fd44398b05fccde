// The oracle of the integer products: one output, one segment, one code at a time.
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/integer_kernels.h"
#include "kernels/portable_codes.h"

namespace ingot::kernels {

const IntegerKernels& portable_integer_kernels() noexcept;

namespace {

// The input that byte `at` of the ordered codes belongs to.
std::uint64_t input_at(std::uint64_t at, std::uint32_t low_bits) noexcept {
  const std::uint64_t run = at / kIntegerRun, field = at % kIntegerRun / 4, byte = at % 4;
  const std::uint64_t per_byte = 8 / low_bits;
  return run * kIntegerRun + 4 * per_byte * (field / per_byte) + per_byte * byte + field % per_byte;
}

void round_input(const float* x, std::uint64_t cols, IntegerLayout layout, std::int8_t* codes, float* scales,
                 float* sums) noexcept {
  for (std::uint64_t first = 0; first < cols; first += layout.segment) {
    float greatest = 0;
    bool finite = true;
    for (std::uint64_t i = first; i < first + layout.segment; ++i) {
      finite = finite && std::isfinite(x[i]);
      greatest = std::fmax(greatest, std::fabs(x[i]));
    }
    const float inverse = finite && greatest > 0 ? static_cast<float>(kInputLimit) / greatest : 0;
    const bool usable = std::isfinite(inverse);  // not so where `greatest` is subnormal: then all codes are zero
    float sum = 0;
    for (std::uint64_t i = first; i < first + layout.segment; ++i) {
      const std::uint64_t input = input_at(i, layout.low_bits);
      const float code = finite && usable ? std::nearbyint(x[input] * inverse) : 0;
      codes[i] = static_cast<std::int8_t>(code);
      sum += code;
    }
    const std::uint64_t segment = first / layout.segment;
    scales[segment] = finite ? greatest / static_cast<float>(kInputLimit) : std::numeric_limits<float>::quiet_NaN();
    sums[segment] = scales[segment] * sum;
  }
}

// Element `index` of a dense stream of integers.
float integer_at(const TileParameters& parameters, std::uint64_t index) noexcept {
  const auto* stream = static_cast<const std::uint8_t*>(parameters.elements);
  const std::uint64_t bit = index * parameters.bits;
  std::uint32_t window = stream[bit / 8];
  if (bit % 8 + parameters.bits > 8) window |= static_cast<std::uint32_t>(stream[bit / 8 + 1]) << 8;
  const auto code = static_cast<std::int32_t>(window >> bit % 8 & ((1u << parameters.bits) - 1));
  const std::int32_t sign = parameters.is_signed ? 1 << (parameters.bits - 1) : 0;
  return static_cast<float>((code ^ sign) - sign);
}

float element(const TileParameters& parameters, std::uint64_t index) noexcept {
  switch (parameters.type) {
    case ParameterType::constant: return parameters.constant;
    case ParameterType::f32: return static_cast<const float*>(parameters.elements)[index];
    case ParameterType::f16: return widen_f16(static_cast<const std::uint16_t*>(parameters.elements)[index]);
    case ParameterType::bf16: return widen_bf16(static_cast<const std::uint16_t*>(parameters.elements)[index]);
    case ParameterType::integer: return integer_at(parameters, index);
    case ParameterType::e8m0: return widen_e8m0(static_cast<const std::uint8_t*>(parameters.elements)[index]);
    case ParameterType::e4m3: return widen_e4m3(static_cast<const std::uint8_t*>(parameters.elements)[index]);
  }
  return 0;
}

// The parameter of a group and an output.
float parameter(const TileParameters& parameters, std::uint64_t group, std::uint64_t row) noexcept {
  const float value = element(parameters, group * kTileOutputs + row) * parameters.factor;
  if (parameters.steps == nullptr) return parameters.negated ? -value : value;
  const float product = value * widen_f16(parameters.steps[group / parameters.groups_per_step * kTileOutputs + row]);
  return parameters.negated ? -product : product;
}

// The integer that a code stands for.
std::int32_t number_of(const IntegerTile& tile, std::int32_t code) noexcept {
  return tile.table == nullptr ? code : tile.table->entries[code];
}

float one_output(const IntegerTile& tile, IntegerLayout layout, const IntegerInput& input, std::uint64_t row) noexcept {
  float total = 0;
  for (std::uint64_t first = 0; first < tile.cols; first += layout.segment) {
    std::int32_t sum = 0;
    for (std::uint64_t i = first; i < first + layout.segment; ++i) {
      const CodePlanes planes = {tile.slices, tile.bits, tile.is_signed};
      sum += number_of(tile, code_at(planes, row, input_at(i, layout.low_bits))) * input.codes[i];
    }
    const std::uint64_t segment = first / layout.segment;
    const std::uint64_t group = tile.group_cols >= tile.cols ? 0 : first / tile.group_cols;
    const float scale = parameter(tile.scales, group, row);
    const float offset = tile.offset == OffsetKind::none ? 0 : parameter(tile.offsets, group, row);
    const float bias = tile.offset == OffsetKind::bias ? offset : -scale * offset;
    total = std::fma(scale * input.scales[segment], static_cast<float>(sum), total);
    total = std::fma(bias, input.sums[segment], total);
  }
  return total;
}

void multiply(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput* inputs,
              std::uint64_t vectors, float* out, std::uint64_t out_stride) noexcept {
  for (std::uint64_t v = 0; v < vectors; ++v) {
    for (int t = 0; t < tile_count; ++t) {
      for (std::uint64_t row = 0; row < kTileOutputs; ++row) {
        out[v * out_stride + static_cast<std::uint64_t>(t) * kTileOutputs + row] =
            one_output(tiles[t], layout, inputs[v], row);
      }
    }
  }
}

}  // namespace

const IntegerKernels& portable_integer_kernels() noexcept {
  static constexpr IntegerKernels kernels = {round_input, multiply, multiply};
  return kernels;
}

}  // namespace ingot::kernels

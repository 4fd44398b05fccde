// Tiles of integer codes with their parameters, as random data, and the check of their products with rounded inputs
// against a sum of integers that is made here, within the bound of binary32 for the parameters.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "kernels/registry.h"
#include "tests/packed_codes.h"

namespace ingot::test {

using namespace ingot::kernels;

inline constexpr float kEpsilon = 0x1p-24f;  // half an ulp, relative

struct RoundedInput {
  std::vector<std::int8_t> codes;
  std::vector<float> scales, sums;
  RoundedInput(const KernelTable& table, const std::vector<float>& x, IntegerLayout layout)
      : codes(x.size() + 1, 99), scales(x.size() / layout.segment + 1, -7), sums(scales) {
    table.integer.round_input(x.data(), x.size(), layout, codes.data(), scales.data(), sums.data());
    CHECK(codes.back() == 99);
    CHECK(scales.back() == -7);
    CHECK(sums.back() == -7);
  }
  [[nodiscard]] IntegerInput view() const { return {codes.data(), scales.data(), sums.data()}; }
};

// Where the rounded input `input` lies: byte b of field n is input 4*F*(n div F) + F*b + n mod F of its run.
inline std::uint64_t place_of(std::uint64_t input, std::uint32_t low_bits) {
  const std::uint64_t per_byte = 8 / low_bits;
  for (std::uint64_t n = 0; n < 8; ++n) {
    for (std::uint64_t b = 0; b < 4; ++b) {
      if (4 * per_byte * (n / per_byte) + per_byte * b + n % per_byte == input % 32) return input / 32 * 32 + 4 * n + b;
    }
  }
  return 0;
}

inline std::vector<float> random_inputs(std::mt19937_64& random, std::uint64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// How parameters are stored.
struct Stored {
  ParameterType type;
  std::uint8_t bits = 0;
  bool is_signed = false;
  std::uint64_t groups_per_step = 0;  // 0: no steps
  bool negated = false;
  float factor = 1;
  float constant = -1;  // negative: a random one
};

// Elements of a type as bytes, and the numbers that they are.
struct Parameters {
  std::vector<std::uint32_t> words;
  std::vector<std::uint16_t> steps;
  std::vector<float> values;
  TileParameters view;
};

inline std::pair<std::uint16_t, float> random_half(std::mt19937_64& random) {
  const std::uint64_t draw = random(), exponent = 12 + draw / 2 % 5, fraction = draw / 16 % 1024;
  const float magnitude = std::ldexp(static_cast<float>(1024 + fraction), static_cast<int>(exponent) - 25);
  return {static_cast<std::uint16_t>(draw % 2 << 15 | exponent << 10 | fraction),
          draw % 2 == 0 ? magnitude : -magnitude};
}

// OCP's 8-bit floats, from their definitions: 2^(bits - 127), and sign, 4 bits of exponent (bias 7), 3 of fraction. The
// greatest magnitude of either is NaN.
inline float e8m0_number(std::uint8_t bits) { return bits == 255 ? NAN : std::ldexp(1.0f, bits - 127); }
inline float e4m3_number(std::uint8_t bits) {
  if (bits % 128 == 127) return NAN;
  const int exponent = bits >> 3 & 15, fraction = bits & 7;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                        : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  return bits >= 128 ? -magnitude : magnitude;
}

// The number of element `i`, which is put there.
inline float random_element(std::mt19937_64& random, const Stored& stored, std::uint64_t i, std::uint8_t* bytes) {
  const std::uint64_t draw = random();
  switch (stored.type) {
    case ParameterType::constant: break;
    case ParameterType::f32: return reinterpret_cast<float*>(bytes)[i] = static_cast<float>(draw % 4001) / 2000 - 1;
    case ParameterType::f16: {
      const auto [half, value] = random_half(random);
      reinterpret_cast<std::uint16_t*>(bytes)[i] = half;
      return value;
    }
    case ParameterType::bf16: {
      const float value = static_cast<float>(static_cast<int>(draw % 255) - 127) / 64;
      reinterpret_cast<std::uint16_t*>(bytes)[i] =
          static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
      return value;
    }
    case ParameterType::integer: {
      const std::uint64_t code = draw & ((1u << stored.bits) - 1);
      for (std::uint64_t k = 0, bit = i * stored.bits; k < stored.bits; ++k, ++bit)
        bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] | (code >> k & 1) << bit % 8);
      const bool negative = stored.is_signed && (code >> (stored.bits - 1)) != 0;
      return static_cast<float>(static_cast<int>(code) - (negative ? 1 << stored.bits : 0));
    }
    case ParameterType::e8m0: {
      const bool is_end = (draw >> 16) % 256 == 0;
      bytes[i] = static_cast<std::uint8_t>(is_end ? (draw % 2 == 0 ? 0 : 255) : draw % 16 + 120);
      return e8m0_number(bytes[i]);
    }
    case ParameterType::e4m3: {
      const bool is_end = (draw >> 16) % 256 == 0;
      bytes[i] = static_cast<std::uint8_t>((is_end ? draw % 2 * 127 : draw % 127) + (draw >> 8 & 128));
      return e4m3_number(bytes[i]);
    }
  }
  return 0;
}

inline Parameters random_parameters(std::mt19937_64& random, const Stored& stored, std::uint64_t groups) {
  Parameters result;
  const std::uint64_t count = groups * 16;
  // Not a byte more than the elements take: reading beyond them is a fault that sanitizers see.
  const bool is_byte = stored.type == ParameterType::e8m0 || stored.type == ParameterType::e4m3;
  const std::uint64_t bits = stored.type == ParameterType::f32       ? 32
                             : stored.type == ParameterType::integer ? stored.bits
                             : is_byte                               ? 8
                                                                     : 16;
  result.words.resize((count * bits + 31) / 32);
  auto* bytes = reinterpret_cast<std::uint8_t*>(result.words.data());
  const float constant = stored.constant >= 0 ? stored.constant : static_cast<float>(random() % 16);
  for (std::uint64_t i = 0; i < count; ++i)
    result.values.push_back(stored.type == ParameterType::constant ? constant
                                                                   : random_element(random, stored, i, bytes));
  result.view.type = stored.type;
  result.view.bits = stored.bits, result.view.is_signed = stored.is_signed, result.view.negated = stored.negated;
  result.view.factor = stored.factor;
  result.view.elements = stored.type == ParameterType::constant ? nullptr : bytes;
  result.view.constant = constant;
  if (stored.groups_per_step > 0) {
    result.view.groups_per_step = stored.groups_per_step;
    std::vector<float> steps;
    for (std::uint64_t i = 0; i < (groups + stored.groups_per_step - 1) / stored.groups_per_step * 16; ++i) {
      const auto [half, value] = random_half(random);
      result.steps.push_back(half);
      steps.push_back(value);
    }
    result.view.steps = result.steps.data();
    for (std::uint64_t i = 0; i < count; ++i) result.values[i] *= steps[i / 16 / stored.groups_per_step * 16 + i % 16];
  }
  for (float& value : result.values) value *= stored.negated ? -stored.factor : stored.factor;
  return result;
}

struct Form {
  std::uint32_t bits;
  bool is_signed;
  std::uint64_t cols, group;
  std::uint8_t segment;
  Stored scales;
  OffsetKind offset;
  Stored offsets;
  const EntryTable* table = nullptr;

  [[nodiscard]] double number(std::int32_t code) const { return table == nullptr ? code : table->entries[code]; }
};

struct CodedTile {
  std::vector<std::int32_t> codes;
  std::vector<std::vector<std::uint32_t>> slices;
  Parameters scales, offsets;
  IntegerTile view{};

  CodedTile(std::mt19937_64& random, const Form& form) {
    const std::int32_t least = form.is_signed ? -(1 << (form.bits - 1)) : 0;
    codes.resize(16 * form.cols);
    for (std::int32_t& c : codes) c = least + static_cast<std::int32_t>(random() % (1u << form.bits));
    const std::int32_t most = least + (1 << form.bits) - 1;
    if (random() % 4 == 0)
      std::fill(codes.begin(), codes.end(), random() % 2 == 0 ? least : most);  // the greatest sums
    slices = packed_codes(codes, form.bits, form.cols);
    const std::uint64_t groups = (form.cols + form.group - 1) / form.group;
    scales = random_parameters(random, form.scales, groups);
    offsets = random_parameters(random, form.offsets, groups);
    for (std::size_t s = 0; s < slices.size(); ++s) view.slices[s] = slices[s].data();
    view.scales = scales.view, view.offsets = offsets.view, view.offset = form.offset;
    view.cols = form.cols, view.group_cols = form.group;
    view.bits = static_cast<std::uint8_t>(form.bits), view.is_signed = form.is_signed;
    view.table = form.table;
  }
};

// What a rounded input stands for, in the order of the columns.
inline std::vector<double> values_of(const RoundedInput& input, std::uint64_t cols, IntegerLayout layout) {
  std::vector<double> values;
  for (std::uint64_t col = 0; col < cols; ++col) {
    values.push_back(static_cast<double>(input.codes[place_of(col, layout.low_bits)]) *
                     input.scales[col / layout.segment]);
  }
  return values;
}

// The sum of the definition, and the sum of the magnitudes of its terms.
inline std::pair<double, double> expected(const CodedTile& tile, const Form& form, const std::vector<double>& inputs,
                                          std::uint64_t row) {
  double total = 0, magnitude = 0;
  for (std::uint64_t col = 0; col < form.cols; ++col) {
    const std::uint64_t parameter = col / form.group * 16 + row;
    const bool bias = form.offset == OffsetKind::bias;
    const double scale = tile.scales.values[parameter];
    const double offset = form.offset == OffsetKind::none ? 0 : tile.offsets.values[parameter];
    const double code = form.number(tile.codes[row * form.cols + col]);
    const double x = inputs[col];
    const double value = bias ? scale * code + offset : scale * (code - offset);
    total += value * x;
    // A kernel may move the codes by half their range, and the offset with them.
    const double moved = std::fabs(code) + std::ldexp(1.0, static_cast<int>(form.bits) - 1);
    magnitude += (std::fabs(scale) * moved + std::fabs(bias ? offset : scale * offset)) * std::fabs(x);
  }
  return {total, magnitude};
}

inline void check_products(const KernelTable& table, std::mt19937_64& random, const Form& form) {
  const auto low_bits = static_cast<std::uint8_t>(form.bits == 8 ? 8 : form.bits >= 4 ? 4 : form.bits >= 2 ? 2 : 1);
  const IntegerLayout layout = {low_bits, form.segment};
  const int tile_count = 1 + static_cast<int>(random() % kMaxIntegerTiles);
  constexpr std::uint64_t kMost[] = {1, 9, 40};  // many kernels are for one input only
  const std::uint64_t vectors = 1 + random() % kMost[random() % 3];
  std::vector<CodedTile> tiles;
  for (int t = 0; t < tile_count; ++t) tiles.emplace_back(random, form);
  std::vector<IntegerTile> views;
  for (const CodedTile& tile : tiles) views.push_back(tile.view);
  const float constant = views[0].offsets.constant;
  for (IntegerTile& view : views) view.offsets.constant = constant;
  std::vector<RoundedInput> inputs;
  std::vector<IntegerInput> input_views;
  for (std::uint64_t v = 0; v < vectors; ++v) {
    std::vector<float> x = random_inputs(random, form.cols);
    if (random() % 4 == 0) std::fill(x.begin(), x.end(), random() % 2 == 0 ? 1.0f : -1.0f);
    inputs.emplace_back(table, x, layout);
  }
  for (const RoundedInput& input : inputs) input_views.push_back(input.view());
  const std::uint64_t stride = static_cast<std::uint64_t>(tile_count) * 16 + 3;
  std::vector<float> out(vectors * stride, -7);
  const auto multiply = form.table == nullptr ? table.integer.multiply : table.integer.multiply_table;
  multiply(views.data(), tile_count, layout, input_views.data(), vectors, out.data(), stride);
  for (std::uint64_t v = 0; v < vectors; ++v) {
    const std::vector<double> values = values_of(inputs[v], form.cols, layout);
    for (std::uint64_t at = 0; at + 3 < stride; ++at) {
      CodedTile& tile = tiles[at / 16];
      if (form.offsets.type == ParameterType::constant)
        std::fill(tile.offsets.values.begin(), tile.offsets.values.end(), constant);
      const auto [total, magnitude] = expected(tile, form, values, at % 16);
      // Per segment: the sum and the zero point times the input scale, the bias, the additions; all segments added up.
      const double segments = static_cast<double>(form.cols) / form.segment;
      const double bound = (2 * segments + 6) * kEpsilon * magnitude + 1e-38;
      INFO("bits " << form.bits << ", signed " << form.is_signed << ", cols " << form.cols << ", group " << form.group
                   << ", segment " << int(form.segment) << ", scales " << int(form.scales.type) << ", offsets "
                   << int(form.offset) << ' ' << int(form.offsets.type) << ' ' << int(form.offsets.bits) << ", vector "
                   << v << ", output " << at);
      if (std::isnan(total)) {
        REQUIRE(std::isnan(out[v * stride + at]));
      } else {
        REQUIRE(std::fabs(out[v * stride + at] - total) <= bound);
      }
    }
    for (std::uint64_t at = stride - 3; at < stride; ++at) REQUIRE(out[v * stride + at] == -7);
  }
}

}  // namespace ingot::test

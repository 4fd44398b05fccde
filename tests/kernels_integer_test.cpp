// The integer products of every kernel variant: rounded inputs bit for bit against the definition, products against a
// sum of integers that this file makes itself, within the bound of binary32 for the parameters.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "kernels/registry.h"
#include "tests/packed_codes.h"

using namespace ingot::kernels;

namespace {

constexpr std::uint8_t kLowBits[] = {1, 2, 4, 8}, kSegments[] = {16, 32, 64, 128};
constexpr float kEpsilon = 0x1p-24f;  // half an ulp, relative

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
std::uint64_t place_of(std::uint64_t input, std::uint32_t low_bits) {
  const std::uint64_t per_byte = 8 / low_bits;
  for (std::uint64_t n = 0; n < 8; ++n) {
    for (std::uint64_t b = 0; b < 4; ++b) {
      if (4 * per_byte * (n / per_byte) + per_byte * b + n % per_byte == input % 32) return input / 32 * 32 + 4 * n + b;
    }
  }
  return 0;
}

std::vector<float> random_inputs(std::mt19937_64& random, std::uint64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

void check_rounding(const KernelTable& table, IntegerLayout layout) {
  std::mt19937_64 random(5);
  std::vector<float> x = random_inputs(random, 256);
  std::fill_n(x.begin() + 128, layout.segment, 0.0f);
  x[3] = 127, x[4] = -127, x[5] = 0.5f, x[6] = 1.5f, x[7] = -2.5f;  // the scale of the first segment is 1: ties
  const RoundedInput got(table, x, layout);
  for (std::uint64_t segment = 0; segment < x.size() / layout.segment; ++segment) {
    const std::uint64_t first = segment * layout.segment;
    float greatest = 0, sum = 0;
    for (std::uint64_t i = first; i < first + layout.segment; ++i) greatest = std::max(greatest, std::fabs(x[i]));
    for (std::uint64_t i = first; i < first + layout.segment; ++i) {
      const float code = greatest == 0 ? 0 : std::nearbyint(x[i] * (127.0f / greatest));
      CHECK(static_cast<float>(got.codes[place_of(i, layout.low_bits)]) == code);
      sum += code;
    }
    CHECK(got.scales[segment] == greatest / 127);
    CHECK(got.sums[segment] == greatest / 127 * sum);
  }
  CHECK(got.codes[place_of(5, layout.low_bits)] == 0);
  CHECK(got.codes[place_of(6, layout.low_bits)] == 2);
  CHECK(got.codes[place_of(7, layout.low_bits)] == -2);
}

void check_unusual_inputs(const KernelTable& table, IntegerLayout layout) {
  std::vector<float> x(4 * 128, 1.0f);
  x[1] = std::numeric_limits<float>::infinity();
  x[128] = std::numeric_limits<float>::quiet_NaN();
  std::fill_n(x.begin() + 256, 128, std::numeric_limits<float>::denorm_min());
  x[384] = std::numeric_limits<float>::max();
  const RoundedInput got(table, x, layout);
  CHECK(std::isnan(got.scales[0]));
  CHECK(std::isnan(got.scales[128 / layout.segment]));
  CHECK(got.scales[256 / layout.segment] == 0);
  CHECK(got.sums[256 / layout.segment] == 0);
  CHECK(got.codes[384] == 127);
  CHECK(std::isfinite(got.scales[384 / layout.segment]));
}

// Elements of a type as bytes, and the numbers that they are.
struct Parameters {
  std::vector<std::uint32_t> words;
  std::vector<float> values;
  TileParameters view;
};

Parameters random_parameters(std::mt19937_64& random, ParameterType type, std::uint64_t count) {
  Parameters result;
  result.words.resize(count);
  result.values.resize(count);
  auto* bytes = reinterpret_cast<std::uint8_t*>(result.words.data());
  const auto constant = static_cast<float>(random() % 16);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t draw = random();
    const auto half = static_cast<std::uint16_t>(draw % 2 << 15 | (12 + draw / 2 % 5) << 10 | draw / 16 % 1024);
    float& value = result.values[i];
    switch (type) {
      case ParameterType::constant: value = constant; break;
      case ParameterType::f32:
        value = static_cast<float>(draw % 4001) / 2000 - 1;
        reinterpret_cast<float*>(bytes)[i] = value;
        break;
      case ParameterType::f16:
        value = std::ldexp(static_cast<float>(1024 + draw / 16 % 1024), static_cast<int>(12 + draw / 2 % 5) - 25) *
                (draw % 2 == 0 ? 1.0f : -1.0f);
        reinterpret_cast<std::uint16_t*>(bytes)[i] = half;
        break;
      case ParameterType::bf16:
        value = static_cast<float>(static_cast<int>(draw % 255) - 127) / 64;
        reinterpret_cast<std::uint16_t*>(bytes)[i] =
            static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
        break;
      case ParameterType::u4:
        bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] | (draw & 15) << 4 * (i % 2));
        value = static_cast<float>(draw & 15);
        break;
      case ParameterType::u8:
      case ParameterType::i8:
        bytes[i] = static_cast<std::uint8_t>(draw);
        value = static_cast<float>(static_cast<int>(draw & 255) -
                                   (type == ParameterType::i8 && (draw & 128) != 0 ? 256 : 0));
        break;
    }
  }
  result.view = {type, type == ParameterType::constant ? nullptr : bytes, constant};
  return result;
}

bool is_bias(ParameterType type) {
  return type == ParameterType::f32 || type == ParameterType::f16 || type == ParameterType::bf16;
}

struct Form {
  std::uint32_t bits;
  bool is_signed;
  std::uint64_t cols, group;
  std::uint8_t segment;
  ParameterType scales, offsets;
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
    if (random() % 4 == 0) std::fill(codes.begin(), codes.end(), least);  // the greatest sums
    slices = packed_codes(codes, form.bits, form.cols);
    const std::uint64_t groups = (form.cols + form.group - 1) / form.group;
    scales = random_parameters(random, form.scales, groups * 16);
    offsets = random_parameters(random, form.offsets, groups * 16);
    for (std::size_t s = 0; s < slices.size(); ++s) view.slices[s] = slices[s].data();
    view.scales = scales.view, view.offsets = offsets.view;
    view.cols = form.cols, view.group_cols = form.group;
    view.bits = static_cast<std::uint8_t>(form.bits), view.is_signed = form.is_signed;
  }
};

// The sum of the definition, and the sum of the magnitudes of its terms.
std::pair<double, double> expected(const CodedTile& tile, const Form& form, const RoundedInput& input,
                                   IntegerLayout layout, std::uint64_t row) {
  double total = 0, magnitude = 0;
  for (std::uint64_t col = 0; col < form.cols; ++col) {
    const std::uint64_t parameter = col / form.group * 16 + row;
    const double scale = tile.scales.values[parameter], offset = tile.offsets.values[parameter];
    const double code = tile.codes[row * form.cols + col];
    const double x =
        static_cast<double>(input.codes[place_of(col, layout.low_bits)]) * input.scales[col / layout.segment];
    const double value = is_bias(form.offsets) ? scale * code + offset : scale * (code - offset);
    total += value * x;
    // A kernel may move the codes by half their range, and the offset with them.
    const double moved = std::fabs(code) + std::ldexp(1.0, static_cast<int>(form.bits) - 1);
    magnitude += (std::fabs(scale) * moved + std::fabs(is_bias(form.offsets) ? offset : scale * offset)) * std::fabs(x);
  }
  return {total, magnitude};
}

void check_products(const KernelTable& table, std::mt19937_64& random, const Form& form) {
  const auto low_bits = static_cast<std::uint8_t>(form.bits == 8 ? 8 : form.bits >= 4 ? 4 : form.bits >= 2 ? 2 : 1);
  const IntegerLayout layout = {low_bits, form.segment};
  const int tile_count = 1 + static_cast<int>(random() % kMaxIntegerTiles);
  const std::uint64_t vectors = 1 + random() % 9;
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
  table.integer.multiply(views.data(), tile_count, layout, input_views.data(), vectors, out.data(), stride);
  for (std::uint64_t v = 0; v < vectors; ++v) {
    for (std::uint64_t at = 0; at + 3 < stride; ++at) {
      CodedTile& tile = tiles[at / 16];
      if (form.offsets == ParameterType::constant)
        std::fill(tile.offsets.values.begin(), tile.offsets.values.end(), constant);
      const auto [total, magnitude] = expected(tile, form, inputs[v], layout, at % 16);
      // Per segment: scale * input scale, the bias, the sum of inputs, two additions; all segments added up.
      const double segments = static_cast<double>(form.cols) / form.segment;
      const double bound = (2 * segments + 6) * kEpsilon * magnitude + 1e-38;
      INFO("bits " << form.bits << ", signed " << form.is_signed << ", cols " << form.cols << ", group " << form.group
                   << ", segment " << int(form.segment) << ", scales " << int(form.scales) << ", offsets "
                   << int(form.offsets) << ", vector " << v << ", output " << at);
      REQUIRE(std::fabs(out[v * stride + at] - total) <= bound);
    }
    for (std::uint64_t at = stride - 3; at < stride; ++at) REQUIRE(out[v * stride + at] == -7);
  }
}

void check_variant(const char* name) {
  const KernelTable* table = find(name);
  if (table == nullptr) {
    std::printf("SKIPPED: this build or machine lacks %s\n", name);
    return;
  }
  for (const std::uint8_t low_bits : kLowBits) {
    for (const std::uint8_t segment : kSegments) {
      if (low_bits == 1 && segment == 16) continue;
      check_rounding(*table, {low_bits, segment});
      check_unusual_inputs(*table, {low_bits, segment});
    }
  }
  std::mt19937_64 random(6);
  constexpr ParameterType kScales[] = {ParameterType::f16, ParameterType::bf16, ParameterType::f32,
                                       ParameterType::constant};
  constexpr ParameterType kOffsets[] = {ParameterType::constant, ParameterType::u4,  ParameterType::f16,
                                        ParameterType::u8,       ParameterType::f32, ParameterType::i8,
                                        ParameterType::bf16};
  int turn = 0;
  for (std::uint32_t bits = 1; bits <= 8; ++bits) {
    for (const bool is_signed : {false, true}) {
      for (const std::uint8_t segment : kSegments) {
        if (bits == 1 && segment == 16) continue;
        for (const std::uint64_t group : {std::uint64_t{segment}, 2 * std::uint64_t{segment}, std::uint64_t{10000}}) {
          for (const std::uint64_t cols : {128, 384}) {
            check_products(*table, random,
                           {bits, is_signed, cols, group, segment, kScales[turn % 4], kOffsets[turn % 7]});
            ++turn;
          }
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("portable integer products equal the definition") { check_variant("portable"); }
TEST_CASE("avx2 integer products equal the definition") { check_variant("avx2"); }
TEST_CASE("avx512vnni integer products equal the definition") { check_variant("avx512vnni"); }

TEST_CASE("integer products of all variants agree in their rounded inputs") {
  std::mt19937_64 random(7);
  const std::vector<float> x = random_inputs(random, 4096);
  const IntegerLayout layout = {4, 32};
  const RoundedInput expected(*find("portable"), x, layout);
  for (const Variant& variant : variants()) {
    const KernelTable* table = find(variant.name);
    if (table == nullptr) continue;
    const RoundedInput got(*table, x, layout);
    CHECK(got.codes == expected.codes);
    CHECK(got.scales == expected.scales);
    CHECK(got.sums == expected.sums);
  }
}

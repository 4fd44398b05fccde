// The integer products of every kernel variant: rounded inputs bit for bit against the definition, products against a
// sum of integers that this file makes itself, within the bound of binary32 for the parameters.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <random>
#include <string>
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

// How parameters are stored.
struct Stored {
  ParameterType type;
  std::uint8_t bits = 0;
  bool is_signed = false;
  std::uint64_t groups_per_step = 0;  // 0: no steps
  bool negated = false;
  float factor = 1;
};

// Elements of a type as bytes, and the numbers that they are.
struct Parameters {
  std::vector<std::uint32_t> words;
  std::vector<std::uint16_t> steps;
  std::vector<float> values;
  TileParameters view;
};

std::pair<std::uint16_t, float> random_half(std::mt19937_64& random) {
  const std::uint64_t draw = random(), exponent = 12 + draw / 2 % 5, fraction = draw / 16 % 1024;
  const float magnitude = std::ldexp(static_cast<float>(1024 + fraction), static_cast<int>(exponent) - 25);
  return {static_cast<std::uint16_t>(draw % 2 << 15 | exponent << 10 | fraction),
          draw % 2 == 0 ? magnitude : -magnitude};
}

// OCP's 8-bit floats, from their definitions: 2^(bits - 127), and sign, 4 bits of exponent (bias 7), 3 of fraction.
float e8m0_number(std::uint8_t bits) { return std::ldexp(1.0f, bits - 127); }
float e4m3_number(std::uint8_t bits) {
  const int exponent = bits >> 3 & 15, fraction = bits & 7;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                        : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  return bits >= 128 ? -magnitude : magnitude;
}

// The number of element `i`, which is put there.
float random_element(std::mt19937_64& random, const Stored& stored, std::uint64_t i, std::uint8_t* bytes) {
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
    case ParameterType::e8m0: return e8m0_number(bytes[i] = static_cast<std::uint8_t>(draw % 16 + 120));
    case ParameterType::e4m3: return e4m3_number(bytes[i] = static_cast<std::uint8_t>(draw % 127 + (draw >> 8 & 128)));
  }
  return 0;
}

Parameters random_parameters(std::mt19937_64& random, const Stored& stored, std::uint64_t groups) {
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
  const auto constant = static_cast<float>(random() % 16);
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

  [[nodiscard]] double number(std::int32_t code) const {
    return table == nullptr ? code : 128 * table->high[code] + table->low[code];
  }
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
std::vector<double> values_of(const RoundedInput& input, std::uint64_t cols, IntegerLayout layout) {
  std::vector<double> values;
  for (std::uint64_t col = 0; col < cols; ++col) {
    values.push_back(static_cast<double>(input.codes[place_of(col, layout.low_bits)]) *
                     input.scales[col / layout.segment]);
  }
  return values;
}

// The sum of the definition, and the sum of the magnitudes of its terms.
std::pair<double, double> expected(const CodedTile& tile, const Form& form, const std::vector<double>& inputs,
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

void check_products(const KernelTable& table, std::mt19937_64& random, const Form& form) {
  const auto low_bits = static_cast<std::uint8_t>(form.bits == 8 ? 8 : form.bits >= 4 ? 4 : form.bits >= 2 ? 2 : 1);
  const IntegerLayout layout = {low_bits, form.segment};
  const int tile_count = 1 + static_cast<int>(random() % kMaxIntegerTiles);
  const std::uint64_t vectors = 1 + random() % (random() % 3 == 0 ? 40 : 9);
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
      REQUIRE(std::fabs(out[v * stride + at] - total) <= bound);
    }
    for (std::uint64_t at = stride - 3; at < stride; ++at) REQUIRE(out[v * stride + at] == -7);
  }
}

// With whole numbers for inputs and one for the scale, every product is the sum of integers itself.
void check_exact_sums(const KernelTable& table, std::mt19937_64& random, std::uint32_t bits, bool is_signed,
                      std::uint8_t segment, std::uint64_t vectors) {
  constexpr std::uint64_t kCols = 256, kOutputs = 16 * kMaxIntegerTiles;
  const auto low_bits = static_cast<std::uint8_t>(bits == 8 ? 8 : bits >= 4 ? 4 : bits >= 2 ? 2 : 1);
  const IntegerLayout layout = {low_bits, segment};
  const Form form = {bits, is_signed, kCols, kCols, segment, {ParameterType::constant}, OffsetKind::none, {}};
  std::vector<CodedTile> tiles;
  std::vector<IntegerTile> tile_views;
  for (int t = 0; t < kMaxIntegerTiles; ++t) tiles.emplace_back(random, form);
  for (const CodedTile& tile : tiles) {
    tile_views.push_back(tile.view);
    tile_views.back().scales.constant = 1;
  }
  std::vector<std::vector<float>> x(vectors, std::vector<float>(kCols));
  std::vector<RoundedInput> inputs;
  std::vector<IntegerInput> input_views;
  for (std::vector<float>& vector : x) {
    for (float& value : vector) value = static_cast<float>(random() % 255) - 127;
    for (std::uint64_t first = 0; first < kCols; first += segment) vector[first + random() % segment] = 127;
    inputs.emplace_back(table, vector, layout);
  }
  for (const RoundedInput& input : inputs) input_views.push_back(input.view());
  std::vector<float> out(vectors * kOutputs);
  table.integer.multiply(tile_views.data(), kMaxIntegerTiles, layout, input_views.data(), vectors, out.data(),
                         kOutputs);
  std::uint64_t wrong = 0;
  for (std::uint64_t v = 0; v < vectors; ++v) {
    for (std::uint64_t at = 0; at < kOutputs; ++at) {
      const std::int32_t* const codes = tiles[at / 16].codes.data() + at % 16 * kCols;
      float sum = 0;  // exact: less than 2^24
      for (std::uint64_t col = 0; col < kCols; ++col) sum += static_cast<float>(codes[col]) * x[v][col];
      wrong += out[v * kOutputs + at] != sum;
    }
  }
  INFO(std::string(table.name) << ", bits " << bits << ", signed " << is_signed << ", segment " << int(segment)
                               << ", vectors " << vectors);
  CHECK(wrong == 0);
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
  using Type = ParameterType;
  constexpr Stored kScales[] = {{Type::f16},
                                {Type::bf16},
                                {Type::integer, 6, false, 2},
                                {Type::f32},
                                {Type::constant},
                                {Type::integer, 8, true, 16},
                                {Type::integer, 4, false, 1}};
  constexpr std::pair<OffsetKind, Stored> kOffsets[] = {
      {OffsetKind::zero_point, {Type::constant}},
      {OffsetKind::zero_point, {Type::integer, 4}},
      {OffsetKind::bias, {Type::f16}},
      {OffsetKind::zero_point, {Type::integer, 8}},
      {OffsetKind::bias, {Type::integer, 6, false, 2, true}},
      {OffsetKind::none, {Type::constant}},
      {OffsetKind::bias, {Type::f32}},
      {OffsetKind::zero_point, {Type::integer, 3}},
      {OffsetKind::zero_point, {Type::integer, 8, true}},
      {OffsetKind::bias, {Type::bf16, 0, false, 0, true}},
      {OffsetKind::zero_point, {Type::integer, 5}},
  };
  int turn = 0;
  for (std::uint32_t bits = 1; bits <= 8; ++bits) {
    for (const bool is_signed : {false, true}) {
      for (const std::uint8_t segment : kSegments) {
        if (bits == 1 && segment == 16) continue;
        for (const std::uint64_t group : {std::uint64_t{segment}, 2 * std::uint64_t{segment}, std::uint64_t{10000}}) {
          for (const std::uint64_t cols : {128, 1152}) {
            check_products(*table, random,
                           {bits, is_signed, cols, group, segment, kScales[turn % std::size(kScales)],
                            kOffsets[turn % std::size(kOffsets)].first, kOffsets[turn % std::size(kOffsets)].second});
            ++turn;
          }
        }
      }
    }
  }
}

// Products of tables with small and with wide entries, greatest sums included, for every type of scale that occurs with
// them.
void check_tables(const char* name) {
  const KernelTable* table = find(name);
  if (table == nullptr) {
    std::printf("SKIPPED: this build or machine lacks %s\n", name);
    return;
  }
  using Type = ParameterType;
  constexpr Stored kScales[] = {{Type::f32},
                                {Type::e8m0},
                                {Type::f16},
                                {Type::f16, 0, false, 0, false, 0.375f},
                                {Type::e4m3, 0, false, 0, false, 0.375f},
                                {Type::f32, 0, false, 0, false, 0x1p-13f},
                                {Type::integer, 6, true, 8},
                                {Type::bf16},
                                {Type::constant}};
  std::mt19937_64 random(9);
  std::size_t turn = 0;
  for (const bool is_wide : {false, true}) {
    for (const bool greatest : {false, true}) {
      EntryTable entries = {{}, {}, is_wide};
      for (int c = 0; c < 16; ++c) {
        entries.low[c] = static_cast<std::uint8_t>(greatest ? (is_wide ? 127 : 31) : random() % (is_wide ? 128 : 32));
        entries.high[c] = static_cast<std::uint8_t>(!is_wide ? 0 : greatest ? 127 : random() % 128);
      }
      for (const std::uint8_t segment : kSegments) {
        for (const std::uint64_t group : {std::uint64_t{segment}, 2 * std::uint64_t{segment}, std::uint64_t{10000}}) {
          for (const std::uint64_t cols : {128, 1152}) {
            check_products(*table, random,
                           {4,
                            false,
                            cols,
                            group,
                            segment,
                            kScales[turn++ % std::size(kScales)],
                            OffsetKind::zero_point,
                            {Type::constant},
                            &entries});
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
TEST_CASE("amx integer products equal the definition") { check_variant("amx"); }

TEST_CASE("sums of integers are exact in every variant") {
  std::mt19937_64 random(8);
  for (const Variant& variant : variants()) {
    const KernelTable* table = find(variant.name);
    if (table == nullptr) continue;
    for (std::uint32_t bits = 1; bits <= 8; ++bits) {
      for (const std::uint8_t segment : kSegments) {
        if (bits == 1 && segment == 16) continue;
        for (const bool is_signed : {false, true}) {
          for (const std::uint64_t vectors : {1, 6, 19})
            check_exact_sums(*table, random, bits, is_signed, segment, vectors);
        }
      }
    }
  }
}

TEST_CASE("portable products of tables equal the definition") { check_tables("portable"); }
TEST_CASE("avx2 products of tables equal the definition") { check_tables("avx2"); }
TEST_CASE("avx512vnni products of tables equal the definition") { check_tables("avx512vnni"); }
TEST_CASE("amx products of tables equal the definition") { check_tables("amx"); }

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

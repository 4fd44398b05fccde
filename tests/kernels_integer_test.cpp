// The integer products of every kernel variant: rounded inputs bit for bit against the definition, products against a
// sum of integers that this file makes itself, within the bound of binary32 for the parameters.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/registry.h"
#include "tests/integer_products.h"

using namespace ingot::kernels;
using namespace ingot::test;

namespace {

constexpr std::uint8_t kLowBits[] = {1, 2, 4, 8}, kSegments[] = {16, 32, 64, 128};

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

// Scales that are bytes times steps, as in K-quants: with minimums alike, a zero point that 16 bits bear or do not, the
// greatest bytes; and steps whose groups are no whole block.
void check_nested(const char* name) {
  const KernelTable* table = find(name);
  if (table == nullptr) {
    std::printf("SKIPPED: this build or machine lacks %s\n", name);
    return;
  }
  using Type = ParameterType;
  constexpr std::pair<OffsetKind, Type> kOffsets[] = {
      {OffsetKind::zero_point, Type::constant}, {OffsetKind::bias, Type::integer}, {OffsetKind::none, Type::constant}};
  std::mt19937_64 random(12);
  std::size_t turn = 0;
  for (std::uint32_t bits = 2; bits <= 6; ++bits) {
    for (const std::uint8_t segment : {std::uint8_t{16}, std::uint8_t{32}}) {
      for (const std::uint64_t per_step : {std::uint64_t{256} / segment, std::uint64_t{3}, std::uint64_t{40}}) {
        for (const auto& [offset, type] : kOffsets) {
          for (const std::uint64_t cols : {256, 1152}) {
            const bool is_signed = (offset == OffsetKind::bias) == (turn++ % 4 == 3);  // mostly as K-quants have it
            Stored offsets = {type};
            if (offset == OffsetKind::bias) offsets = {type, 8, false, per_step, turn % 3 != 0};
            if (offset == OffsetKind::zero_point) offsets.constant = turn % 5 == 0 ? 12.5f : 1u << (bits - 1);
            const Stored scales = {Type::integer, 8, is_signed, per_step};
            check_products(*table, random, {bits, turn % 7 == 0, cols, segment, segment, scales, offset, offsets});
          }
        }
      }
    }
  }
  // Rows so long that they are taken in parts, with steps that do not end where 1024 groups do.
  for (const std::uint64_t per_step : {8, 24}) {
    const Stored minimums = {Type::integer, 8, false, per_step, true},
                 zero = {Type::constant, 0, false, 0, false, 1, 32};
    for (int repeated = 0; repeated < 3; ++repeated) {
      const Stored scales = {Type::integer, 8, false, per_step}, signed_scales = {Type::integer, 8, true, per_step};
      check_products(*table, random, {4, false, 35072, 32, 32, scales, OffsetKind::bias, minimums});
      check_products(*table, random, {6, false, 18176, 16, 16, signed_scales, OffsetKind::zero_point, zero});
    }
  }
}

// Parameters that are read where they lie: 16-bit scales and what may be beside them, for every length of groups.
void check_plain(const char* name) {
  const KernelTable* table = find(name);
  if (table == nullptr) {
    std::printf("SKIPPED: this build or machine lacks %s\n", name);
    return;
  }
  using Type = ParameterType;
  constexpr std::pair<OffsetKind, Stored> kOffsets[] = {{OffsetKind::zero_point, {Type::constant}},
                                                        {OffsetKind::none, {Type::constant}},
                                                        {OffsetKind::bias, {Type::f16}},
                                                        {OffsetKind::bias, {Type::f16, 0, false, 0, true}},
                                                        {OffsetKind::bias, {Type::bf16}},
                                                        {OffsetKind::zero_point, {Type::integer, 4}},
                                                        {OffsetKind::zero_point, {Type::integer, 8}},
                                                        {OffsetKind::zero_point, {Type::integer, 8, true}}};
  std::mt19937_64 random(13);
  for (const auto& [bits, is_signed] : {std::pair{4u, false}, std::pair{8u, true}, std::pair{8u, false}}) {
    for (const std::uint8_t segment : kSegments) {
      for (const std::uint64_t group : {std::uint64_t{segment}, 3 * std::uint64_t{segment}, std::uint64_t{10000}}) {
        for (const std::uint64_t cols : {128, 1152}) {
          for (const auto& [offset, offsets] : kOffsets) {
            for (const Type scales : {Type::f16, Type::bf16})
              check_products(*table, random, {bits, is_signed, cols, group, segment, {scales}, offset, offsets});
          }
        }
      }
    }
  }
}

// Products of tables with small and with other entries, least and greatest sums included, for every type of scale that
// occurs with them.
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
  enum class Fill : std::uint8_t { least, any, greatest };
  for (const bool are_small : {true, false}) {
    for (const Fill fill : {Fill::least, Fill::any, Fill::greatest}) {
      const unsigned least = are_small ? 0 : 1, greatest = are_small ? kSmallEntries - 1 : 255;
      EntryTable entries = {{}, are_small};
      for (std::uint8_t& entry : entries.entries) {
        const unsigned any = least + static_cast<unsigned>(random() % (greatest - least + 1));
        entry = static_cast<std::uint8_t>(fill == Fill::any ? any : fill == Fill::least ? least : greatest);
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
          for (const std::uint64_t vectors : {1, 6, 19, 70})
            check_exact_sums(*table, random, bits, is_signed, segment, vectors);
        }
      }
    }
  }
}

TEST_CASE("portable products with plain parameters equal the definition") { check_plain("portable"); }
TEST_CASE("avx2 products with plain parameters equal the definition") { check_plain("avx2"); }
TEST_CASE("avx512vnni products with plain parameters equal the definition") { check_plain("avx512vnni"); }
TEST_CASE("amx products with plain parameters equal the definition") { check_plain("amx"); }

TEST_CASE("portable products with nested scales equal the definition") { check_nested("portable"); }
TEST_CASE("avx2 products with nested scales equal the definition") { check_nested("avx2"); }
TEST_CASE("avx512vnni products with nested scales equal the definition") { check_nested("avx512vnni"); }
TEST_CASE("amx products with nested scales equal the definition") { check_nested("amx"); }

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

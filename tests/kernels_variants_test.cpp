// Every kernel variant against a double-precision reference and against portable, at random offsets and at lengths
// around the vector widths. The packing of tiles is written here from spec/planes.md section 4, in the packing
// direction, independently of the kernels' unpacking.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/registry.h"
#include "tests/packed_codes.h"

namespace kernels = ingot::kernels;

namespace {

constexpr float kEpsilon = 0x1p-24f;  // half an ulp, relative
const std::uint64_t kLengths[] = {0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 576, 577};

const kernels::KernelTable* variant_or_skip(const char* name) {
  const kernels::KernelTable* table = kernels::find(name);
  if (table == nullptr) std::printf("SKIPPED: this build or machine lacks %s\n", name);
  return table;
}

std::vector<float> random_floats(std::mt19937_64& random, std::uint64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// A sum of n products whose absolute values add up to `magnitude`, each step rounded: |error| <= (n + 8) * eps *
// magnitude.
void check_sum(float got, double expected, double magnitude, std::uint64_t n, const char* what) {
  const double bound = static_cast<double>(n + 8) * kEpsilon * magnitude + 1e-38;
  INFO(what << ": got " << got << ", expected " << expected << ", bound " << bound << ", n " << n);
  CHECK(std::abs(got - expected) <= bound);
}

template <class Dot, class Element, class Widen>
void check_dot(Dot dot, const std::vector<Element>& w, const std::vector<float>& x, std::uint64_t n, Widen widen,
               const char* what) {
  double expected = 0, magnitude = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double product = static_cast<double>(widen(w[i])) * x[i];
    expected += product;
    magnitude += std::abs(product);
  }
  check_sum(dot(w.data(), x.data(), n), expected, magnitude, n, what);
}

float bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

// IEEE binary16 by its definition.
double f16_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

void check_dots(const kernels::KernelTable& table) {
  std::mt19937_64 random(1);
  for (const std::uint64_t n : kLengths) {
    for (int round = 0; round < 4; ++round) {
      const std::uint64_t pad = random() % 9;  // random alignment: the vectors start inside a larger block
      const std::vector<float> w_block = random_floats(random, n + pad), x_block = random_floats(random, n + pad);
      const std::vector<float> x(x_block.begin() + static_cast<std::ptrdiff_t>(pad), x_block.end());
      const std::vector<float> w(w_block.begin() + static_cast<std::ptrdiff_t>(pad), w_block.end());
      check_dot(
          table.dot_f32, w, x, n, [](float v) { return v; }, "dot_f32");
    }
  }
}

// x: (vectors, x_stride), of which the first `cols` count.
template <class Rows, class Widen>
void check_rows(Rows rows, const std::vector<std::uint16_t>& w, std::uint64_t stride, std::uint64_t count,
                const std::vector<float>& x, std::uint64_t vectors, std::uint64_t cols, Widen widen, const char* what) {
  const std::uint64_t x_stride = x.size() / vectors, out_stride = count + 1;
  std::vector<float> out(vectors * out_stride, -7);
  rows(w.data(), stride, count, x.data(), x_stride, vectors, cols, out.data(), out_stride);
  for (std::uint64_t t = 0; t < vectors; ++t) {
    CHECK(out[t * out_stride + count] == -7);
    const std::vector<float> input(x.begin() + static_cast<std::ptrdiff_t>(t * x_stride), x.end());
    for (std::uint64_t r = 0; r < count; ++r) {
      const std::vector<std::uint16_t> row(w.begin() + static_cast<std::ptrdiff_t>(r * stride), w.end());
      check_dot([&](auto, auto, auto) { return out[t * out_stride + r]; }, row, input, cols, widen, what);
    }
  }
  if (vectors < 4) return;
  std::vector<float> two(2 * out_stride, -7);  // sums do not depend on the number of vectors
  rows(w.data(), stride, count, x.data() + (vectors - 2) * x_stride, x_stride, 2, cols, two.data(), out_stride);
  CHECK(std::equal(two.begin(), two.end(), out.end() - static_cast<std::ptrdiff_t>(2 * out_stride)));
}

void check_rows_of_halves(const kernels::KernelTable& table) {
  std::mt19937_64 random(9);
  for (const std::uint64_t n : kLengths) {
    for (const std::uint64_t count : {1, 3, 4, 5, 8, 16}) {
      const std::uint64_t stride = n + random() % 9, vectors = 1 + random() % 8;
      const std::vector<float> x = random_floats(random, vectors * (n + random() % 3));
      std::vector<std::uint16_t> half(count * stride), brain(count * stride);
      for (std::uint16_t& h : half) h = static_cast<std::uint16_t>((random() & 0x83FF) | (10 + random() % 6) << 10);
      for (std::uint16_t& b : brain) b = static_cast<std::uint16_t>((random() & 0x807F) | (120 + random() % 8) << 7);
      check_rows(table.rows_f16, half, stride, count, x, vectors, n, f16_value, "rows_f16");
      check_rows(table.rows_bf16, brain, stride, count, x, vectors, n, bf16, "rows_bf16");
    }
  }
}

void check_add_rows(const kernels::KernelTable& table) {
  std::mt19937_64 random(7);
  for (const std::uint64_t count : {1, 3, 16}) {
    for (const std::uint64_t cols : {1, 7, 8, 15, 16, 17, 24, 64, 67}) {
      constexpr std::uint64_t kVectors = 8;  // 6 and 2 of one
      const std::uint64_t weights_stride = count + 2, out_stride = cols + 3;
      const std::vector<float> rows = random_floats(random, count * cols);
      const std::vector<float> weights = random_floats(random, kVectors * weights_stride);
      const std::vector<float> before = random_floats(random, kVectors * out_stride);
      std::vector<float> out = before, alone = before;
      table.add_rows(rows.data(), count, cols, weights.data(), weights_stride, kVectors, out.data(), out_stride);
      for (std::uint64_t t = 0; t < kVectors; ++t) {
        float* const own = alone.data() + t * out_stride;
        table.add_rows(rows.data(), count, cols, weights.data() + t * weights_stride, weights_stride, 1, own, 0);
        for (std::uint64_t i = 0; i < cols; ++i) {
          double expected = before[t * out_stride + i], magnitude = std::abs(expected);
          for (std::uint64_t r = 0; r < count; ++r) {
            const double product = static_cast<double>(weights[t * weights_stride + r]) * rows[r * cols + i];
            expected += product;
            magnitude += std::abs(product);
          }
          check_sum(out[t * out_stride + i], expected, magnitude, count, "add_rows");
        }
      }
      CHECK(out == alone);  // also: nothing is written between the rows
    }
  }
}

void check_rows_dot(const kernels::KernelTable& table) {
  std::mt19937_64 random(2);
  for (const std::uint64_t rows : {1, 3, 4, 5, 16}) {
    for (const std::uint64_t vectors : {1, 2, 3, 5}) {
      for (const std::uint64_t cols : {1, 8, 31, 64, 129}) {
        const std::uint64_t w_stride = cols + 3, x_stride = cols + 5, out_stride = rows + 2;
        const std::vector<float> w = random_floats(random, rows * w_stride),
                                 x = random_floats(random, vectors * x_stride);
        std::vector<float> out(vectors * out_stride, -7);
        table.rows_dot(w.data(), w_stride, rows, x.data(), x_stride, vectors, cols, out.data(), out_stride);
        for (std::uint64_t t = 0; t < vectors; ++t) {
          for (std::uint64_t r = 0; r < rows; ++r) {
            double expected = 0, magnitude = 0;
            for (std::uint64_t c = 0; c < cols; ++c) {
              const double product = static_cast<double>(w[r * w_stride + c]) * x[t * x_stride + c];
              expected += product;
              magnitude += std::abs(product);
            }
            check_sum(out[t * out_stride + r], expected, magnitude, cols, "rows_dot");
          }
          CHECK(out[t * out_stride + rows] == -7);  // nothing beyond the rows is written
        }
      }
    }
  }
}

std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

// Packed in pieces of some columns, the last one first; nothing beyond is written.
std::vector<float> packed_vectors(const kernels::KernelTable& table, std::mt19937_64& random, const float* x,
                                  std::uint64_t x_stride, std::uint64_t vectors, std::uint64_t cols) {
  std::vector<float> packed(vectors * cols + 1, -7);
  const std::uint64_t middle = random() % (cols + 1);
  table.floats.pack(x, x_stride, vectors, cols, middle, cols, packed.data());
  table.floats.pack(x, x_stride, vectors, cols, 0, middle, packed.data());
  CHECK(packed.back() == -7);
  return packed;
}

// Rows of one type times vectors, whose sums depend neither on the number of rows nor on that of vectors. `widen`: the
// number that an element is.
template <class Element, class Widen>
void check_multiply_rows(const kernels::KernelTable& table, std::mt19937_64& random, kernels::FloatType type,
                         const std::vector<Element>& w, std::uint64_t count, std::uint64_t cols, Widen widen) {
  const std::uint64_t vectors = 1 + random() % 150, stride = w.size() / count, x_stride = cols + random() % 5;
  const std::vector<float> x = random_floats(random, vectors * x_stride);
  const std::uint64_t out_stride = count + 2;
  std::vector<float> out(vectors * out_stride, -7), alone(count);
  const auto multiply = [&](const kernels::FloatRows& rows, std::uint64_t from, std::uint64_t some, float* to) {
    const std::vector<float> packed = packed_vectors(table, random, x.data() + from * x_stride, x_stride, some, cols);
    table.floats.multiply_rows(rows, packed.data(), some, cols, to, out_stride);
  };
  multiply({w.data(), type, stride, count}, 0, vectors, out.data());
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t r = 0; r < count; ++r) {
      double expected = 0, magnitude = 0;
      for (std::uint64_t c = 0; c < cols; ++c) {
        const double product = static_cast<double>(widen(w[r * stride + c])) * x[t * x_stride + c];
        expected += product;
        magnitude += std::abs(product);
      }
      check_sum(out[t * out_stride + r], expected, magnitude, cols, "multiply_rows");
    }
    CHECK(out[t * out_stride + count] == -7);  // nothing beyond the rows is written
  }
  const std::uint64_t row = random() % count, vector = random() % vectors;
  multiply({w.data() + row * stride, type, stride, 1}, vector, 1, alone.data());
  CHECK(alone[0] == out[vector * out_stride + row]);
}

// What is not finite in one vector stays so there, and leaves the others alone. Weights: 1, in rows and columns that
// are no whole tiles.
void check_not_finite(const kernels::KernelTable& table) {
  constexpr std::uint64_t kCount = 17, kCols = 35, kVectors = 3;
  const std::vector<std::uint16_t> w(kCount * kCols, 0x3F80);
  for (const std::uint64_t col : {std::uint64_t{0}, std::uint64_t{33}, kCols - 1}) {
    std::vector<float> x(kVectors * kCols, 1), packed(kVectors * kCols), out(kVectors * kCount);
    x[col] = -INFINITY;
    x[kCols + col] = std::bit_cast<float>(0x7F800001u);  // NaN by its last bit
    table.floats.pack(x.data(), kCols, kVectors, kCols, 0, kCols, packed.data());
    table.floats.multiply_rows({w.data(), kernels::FloatType::bf16, kCols, kCount}, packed.data(), kVectors, kCols,
                               out.data(), kCount);
    for (std::uint64_t r = 0; r < kCount; ++r) {
      CHECK(out[r] == -INFINITY);
      CHECK(std::isnan(out[kCount + r]));
      CHECK(out[2 * kCount + r] == kCols);
    }
  }
}

void check_many_vectors(const kernels::KernelTable& table) {
  std::mt19937_64 random(14);
  for (const std::uint64_t count : {1, 15, 16, 17, 40, 64}) {
    for (const std::uint64_t cols : {1, 7, 8, 31, 128, 133, 300}) {
      const std::uint64_t stride = cols + random() % 9;
      std::vector<std::uint16_t> half(count * stride), brain(count * stride);
      for (std::uint16_t& h : half) h = static_cast<std::uint16_t>((random() & 0x83FF) | (10 + random() % 6) << 10);
      for (std::uint16_t& b : brain) b = static_cast<std::uint16_t>((random() & 0x807F) | (120 + random() % 8) << 7);
      const std::vector<float> full = random_floats(random, count * stride);
      using Type = kernels::FloatType;
      check_multiply_rows(table, random, Type::f32, full, count, cols, [](float value) { return value; });
      check_multiply_rows(table, random, Type::f16, half, count, cols, f16_value);
      check_multiply_rows(table, random, Type::bf16, brain, count, cols, bf16);
    }
  }
}

void check_conversions(const kernels::KernelTable& table) {
  std::vector<std::uint16_t> all(65536);
  for (std::uint32_t i = 0; i < 65536; ++i) all[i] = static_cast<std::uint16_t>(i);
  std::vector<float> wide(65536), wide_brain(65536);
  table.f16_to_f32(all.data(), wide.data(), all.size());
  table.bf16_to_f32(all.data(), wide_brain.data(), all.size());
  std::vector<std::uint16_t> back(65536), back_brain(65536);
  table.f32_to_f16(wide.data(), back.data(), wide.size());
  table.f32_to_bf16(wide_brain.data(), back_brain.data(), wide.size());
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const double expected = f16_value(all[i]);
    const bool same = std::isnan(expected) ? std::isnan(wide[i])
                                           : wide[i] == expected && std::signbit(wide[i]) == ((i & 0x8000) != 0);
    if (!same) FAIL_CHECK("f16_to_f32 of " << i << " gives " << wide[i]);
    if (bits_of(wide_brain[i]) != i << 16) FAIL_CHECK("bf16_to_f32 of " << i);
    if (!std::isnan(expected) && back[i] != i) FAIL_CHECK("f32_to_f16 of " << wide[i] << " gives " << back[i]);
    const bool brain_nan = (i & 0x7FFF) > 0x7F80;
    if (back_brain[i] != (brain_nan ? i | 0x40 : i)) FAIL_CHECK("f32_to_bf16 of pattern " << i);
  }
  // Rounding: halfway cases, one pattern above and below, over all exponents; portable is checked against the
  // definition of nearest even.
  std::mt19937_64 random(3);
  std::vector<float> values;
  for (int i = 0; i < 200000; ++i) {
    std::uint32_t pattern = static_cast<std::uint32_t>(random());
    if (i % 3 == 0) pattern = (pattern & 0xFFFFE000u) | (0x1000u + static_cast<std::uint32_t>(random() % 3) - 1);
    if (i % 3 == 1) pattern = (pattern & 0xFFFF0000u) | (0x8000u + static_cast<std::uint32_t>(random() % 3) - 1);
    values.push_back(std::bit_cast<float>(pattern));
  }
  std::vector<std::uint16_t> half(values.size()), half_expected(values.size()), brain(values.size()),
      brain_expected(values.size());
  table.f32_to_f16(values.data(), half.data(), values.size());
  table.f32_to_bf16(values.data(), brain.data(), values.size());
  const kernels::KernelTable& portable = *kernels::find("portable");
  portable.f32_to_f16(values.data(), half_expected.data(), values.size());
  portable.f32_to_bf16(values.data(), brain_expected.data(), values.size());
  CHECK(half == half_expected);
  CHECK(brain == brain_expected);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]) || std::abs(values[i]) > 65504) continue;
    const std::uint16_t magnitude = half[i] & 0x7FFF;
    const double error = std::abs(f16_value(half[i]) - values[i]);
    const double below =
        magnitude == 0 ? INFINITY : std::abs(f16_value(static_cast<std::uint16_t>(half[i] - 1)) - values[i]);
    const double above =
        magnitude >= 0x7BFF ? INFINITY : std::abs(f16_value(static_cast<std::uint16_t>(half[i] + 1)) - values[i]);
    const bool tie_to_odd = (half[i] & 1) != 0 && (error == below || error == above);
    if (error > below || error > above || tie_to_odd)
      FAIL_CHECK("f32_to_f16 of " << values[i] << " gives " << f16_value(half[i]));
  }
}

void check_integers(const kernels::KernelTable& table) {
  std::mt19937_64 random(8);
  for (std::uint32_t bits = 1; bits <= 8; ++bits) {
    for (const std::uint64_t n : {1, 7, 8, 9, 16, 31, 64, 100}) {
      std::vector<bool> stream;
      std::vector<float> natural, twos;
      for (std::uint64_t i = 0; i < n; ++i) {
        const auto code = static_cast<std::int32_t>(random() % (1u << bits));
        for (std::uint32_t b = 0; b < bits; ++b) stream.push_back((code >> b & 1) != 0);
        natural.push_back(static_cast<float>(code));
        twos.push_back(static_cast<float>(code >= 1 << (bits - 1) ? code - (1 << bits) : code));
      }
      std::vector<std::byte> bytes((stream.size() + 7) / 8);
      for (std::size_t i = 0; i < stream.size(); ++i) bytes[i / 8] |= static_cast<std::byte>(stream[i] << i % 8);
      std::vector<float> got(n + 1, -7);
      INFO("bits " << bits << ", n " << n);
      table.integers_to_f32(bytes.data(), bits, false, got.data(), n);
      CHECK(std::equal(natural.begin(), natural.end(), got.begin()));
      table.integers_to_f32(bytes.data(), bits, true, got.data(), n);
      CHECK(std::equal(twos.begin(), twos.end(), got.begin()));
      CHECK(got.back() == -7);
    }
  }
}

// --- tiles -----------------------------------------------------------------------------------------------------------
struct PackedTile {
  std::vector<std::uint32_t> slices[3];
  std::vector<float> scales, offsets;
  std::vector<std::int32_t> codes;  // (16, cols)
  kernels::AffineTile view{};
};

PackedTile random_tile(std::mt19937_64& random, std::uint32_t bits, bool is_signed, bool subtract, std::uint64_t cols,
                       std::uint64_t group) {
  PackedTile tile;
  const std::int32_t low = is_signed ? -(1 << (bits - 1)) : 0;
  tile.codes.resize(16 * cols);
  for (std::int32_t& c : tile.codes) c = low + static_cast<std::int32_t>(random() % (1u << bits));
  const std::vector<std::vector<std::uint32_t>> slices = packed_codes(tile.codes, bits, cols);
  std::copy(slices.begin(), slices.end(), tile.slices);
  const std::uint64_t groups = (cols + group - 1) / group;
  tile.scales = random_floats(random, groups * 16);
  tile.offsets = random_floats(random, groups * 16);
  if (subtract) {
    for (float& zero : tile.offsets) zero = static_cast<float>(random() % (1u << bits));
  }
  tile.view = {{tile.slices[0].data(), tile.slices[1].empty() ? nullptr : tile.slices[1].data(),
                tile.slices[2].empty() ? nullptr : tile.slices[2].data()},
               bits,
               is_signed,
               subtract,
               tile.scales.data(),
               tile.offsets.data(),
               cols,
               group};
  return tile;
}

float expected_value(const PackedTile& tile, std::uint64_t row, std::uint64_t col) {
  const std::uint64_t parameter = col / tile.view.group_cols * 16 + row;
  const float code = static_cast<float>(tile.codes[row * tile.view.cols + col]);
  const float scale = tile.scales[parameter], offset = tile.offsets[parameter];
  return tile.view.subtract_offset ? scale * (code - offset) : std::fma(scale, code, offset);
}

void check_tile(const kernels::KernelTable& table, std::mt19937_64& random, const PackedTile& tile) {
  const std::uint64_t cols = tile.view.cols;
  INFO("bits " << tile.view.bits << ", signed " << tile.view.is_signed << ", subtract " << tile.view.subtract_offset
               << ", cols " << cols << ", group " << tile.view.group_cols);
  std::vector<float> panel(cols * 16 + 1, -7);
  table.tiles.decode(tile.view, panel.data());
  std::uint64_t wrong = 0;
  for (std::uint64_t col = 0; col < cols; ++col) {
    for (std::uint64_t row = 0; row < 16; ++row)
      wrong += bits_of(panel[col * 16 + row]) != bits_of(expected_value(tile, row, col));
  }
  CHECK(wrong == 0);
  CHECK(panel.back() == -7);

  const std::uint64_t vectors = 1 + random() % 14, x_stride = cols + 1;
  const std::vector<float> x = random_floats(random, vectors * x_stride);
  std::vector<float> out(16), many(vectors * 17);
  table.tiles.dot(tile.view, x.data(), out.data());
  const std::vector<float> packed = packed_vectors(table, random, x.data(), x_stride, vectors, cols);
  table.floats.panel_dot(panel.data(), cols, packed.data(), vectors, many.data(), 17);
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t row = 0; row < 16; ++row) {
      double expected = 0, magnitude = 0;
      for (std::uint64_t col = 0; col < cols; ++col) {
        const double product = static_cast<double>(expected_value(tile, row, col)) * x[t * x_stride + col];
        expected += product;
        magnitude += std::abs(product);
      }
      if (t == 0) check_sum(out[row], expected, magnitude, cols, "tile_dot");
      check_sum(many[t * 17 + row], expected, magnitude, cols, "panel_dot");
    }
  }
}

void check_tiles(const kernels::KernelTable& table) {
  std::mt19937_64 random(4);
  for (std::uint32_t bits = 1; bits <= 8; ++bits) {
    for (const std::uint64_t cols : {1, 15, 16, 17, 31, 32, 33, 47, 48, 64, 95, 130}) {
      for (const std::uint64_t group : {16, 32, 24, 1000}) {
        for (int mode = 0; mode < 4; ++mode) {
          check_tile(table, random, random_tile(random, bits, (mode & 1) != 0, (mode & 2) != 0, cols, group));
        }
      }
    }
  }
}

void check_variant(const char* name) {
  const kernels::KernelTable* table = variant_or_skip(name);
  if (table == nullptr) return;
  CHECK(table->name == std::string(name));
  check_dots(*table);
  check_rows_of_halves(*table);
  check_rows_dot(*table);
  check_many_vectors(*table);
  check_not_finite(*table);
  check_add_rows(*table);
  check_conversions(*table);
  check_integers(*table);
  check_tiles(*table);
}

}  // namespace

TEST_CASE("portable equals the double precision reference") { check_variant("portable"); }
TEST_CASE("avx2 equals portable and the double precision reference") { check_variant("avx2"); }
TEST_CASE("avx512vnni equals portable and the double precision reference") { check_variant("avx512vnni"); }
TEST_CASE("amx equals portable and the double precision reference") { check_variant("amx"); }

TEST_CASE("every variant of the registry has a test case above and its own name") {
  for (const kernels::Variant& variant : kernels::variants()) {
    constexpr std::string_view kTested[] = {"portable", "avx2", "avx512vnni", "amx"};
    CHECK_MESSAGE(std::ranges::find(kTested, variant.name) != std::end(kTested), variant.name);
    if (variant.supported()) CHECK(kernels::find(variant.name) != nullptr);
    if (!variant.supported()) CHECK(kernels::find(variant.name) == nullptr);
  }
  CHECK(kernels::variants().back().name == "portable");
  CHECK(kernels::find("no such variant") == nullptr);
}

TEST_CASE("the selection follows INGOT_KERNELS or takes the best supported variant") {
  const kernels::Selection& selection = kernels::selection();
  using Outcome = kernels::Selection::Outcome;
  REQUIRE(selection.table != nullptr);
  CHECK(&kernels::best() == selection.table);
  if (selection.outcome == Outcome::automatic) {
    for (const kernels::Variant& variant : kernels::variants()) {
      if (!variant.supported()) continue;
      CHECK(variant.name == selection.table->name);
      break;
    }
  } else if (selection.outcome == Outcome::forced) {
    CHECK(selection.requested == selection.table->name);
  } else {
    CHECK(selection.table->name == std::string("portable"));
  }
}

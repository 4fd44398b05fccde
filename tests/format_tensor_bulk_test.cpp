// The loops behind conversions and comparisons: every build against the plain definition, and readers of pieces against
// the whole.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "format/base/parallel.h"
#include "format/tensor/bulk.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "format/tensor/float_codes.h"
#include "tensor_oracle.h"

namespace ingot::tensor {
namespace {

const BulkLoops* const kBuilds[] = {&bulk(), &bulk_baseline()};

float from_pattern(std::uint32_t pattern) {
  float value;
  std::memcpy(&value, &pattern, 4);
  return value;
}

std::vector<float> any_floats(std::size_t count, std::mt19937_64& random) {
  std::vector<float> values(count);
  for (float& value : values) value = from_pattern(static_cast<std::uint32_t>(random()));
  return values;
}

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// The distance of neighbours around a value.
double place_of(float value, const FloatGrid& grid) {
  int exponent = grid.min_exponent;
  if (std::isfinite(value) && value != 0) exponent = std::max(exponent, std::ilogb(value));
  return std::ldexp(1.0, exponent - grid.mantissa_bits);
}

/// The definition of bulk.h, one value after the other, with the functions of the C library.
Differences differences_by_definition(const std::vector<float>& a, const std::vector<float>& b, const Steps& steps) {
  Differences sum;
  std::uint64_t end = 0;
  const float* size = steps.sizes;
  for (std::uint64_t begin = 0; begin < a.size(); begin = end) {
    end = size == nullptr ? a.size() : begin + steps.run_elems - (begin == 0 ? steps.skipped : 0);
    end = std::min<std::uint64_t>(end, a.size());
    double run_errors[Differences::kLanes] = {};
    for (std::uint64_t i = begin; i < end; ++i) {
      const std::uint64_t lane = (i - begin) % Differences::kLanes;
      if (std::isfinite(a[i])) sum.squared_value[lane] += static_cast<double>(a[i]) * a[i];
      if (same(a[i], b[i])) continue;
      ++sum.differing;
      double error = std::fabs(static_cast<double>(b[i]) - a[i]);
      if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
      run_errors[lane] += error * error;
      sum.worst_error[lane] = std::max(sum.worst_error[lane], error);
      const float farther = std::fabs(a[i]) > std::fabs(b[i]) ? a[i] : b[i];
      const double places = error / place_of(farther, {23, -126});
      sum.squared_places[lane] += places * places;
      sum.worst_places[lane] = std::max(sum.worst_places[lane], places);
      const double in_steps = error / (size == nullptr ? place_of(farther, steps.grid) : std::fabs(*size));
      double& worst_steps = sum.worst_steps[size == nullptr ? lane : 0];
      worst_steps = std::max(worst_steps, in_steps);
      if (size == nullptr) sum.squared_steps[lane] += in_steps * in_steps;
    }
    for (std::size_t lane = 0; lane < Differences::kLanes; ++lane) {
      sum.squared_error[lane] += run_errors[lane];
      if (size != nullptr && std::fabs(*size) > 0)
        sum.squared_steps[lane] += run_errors[lane] * (1 / (static_cast<double>(*size) * *size));
    }
    if (size != nullptr) ++size;
  }
  return sum;
}

bool same_lanes(const double (&a)[Differences::kLanes], const double (&b)[Differences::kLanes]) {
  return std::equal(std::begin(a), std::end(a), b,
                    [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

void check_equal(const Differences& got, const Differences& wanted) {
  CHECK(got.differing == wanted.differing);
  CHECK(same_lanes(got.squared_value, wanted.squared_value));
  CHECK(same_lanes(got.squared_error, wanted.squared_error));
  CHECK(same_lanes(got.squared_steps, wanted.squared_steps));
  CHECK(same_lanes(got.squared_places, wanted.squared_places));
  CHECK(same_lanes(got.worst_error, wanted.worst_error));
  CHECK(same_lanes(got.worst_steps, wanted.worst_steps));
  CHECK(same_lanes(got.worst_places, wanted.worst_places));
}

TEST_CASE("a_value_fits_16_bits_if_it_comes_back") {
  std::mt19937_64 random(3);
  for (const BulkLoops* loops : kBuilds) {
    std::vector<float> every(65536);
    for (std::uint32_t code = 0; code < 65536; ++code) every[code] = f16_to_f32(static_cast<std::uint16_t>(code));
    CHECK(loops->all_fit_f16(every.data(), every.size()));
    for (std::uint32_t code = 0; code < 65536; ++code) every[code] = bf16_to_f32(static_cast<std::uint16_t>(code));
    CHECK(loops->all_fit_bf16(every.data(), every.size()));
    std::vector<float> zeros(37, -0.0f);
    for (int trial = 0; trial < 20000; ++trial) {
      const std::uint32_t mask = trial % 3 == 0 ? 0xFFFFFFFFu : trial % 3 == 1 ? 0xFFFFE000u : 0xFFFF0000u;
      const float value = from_pattern(static_cast<std::uint32_t>(random()) & mask);
      const std::size_t at = random() % zeros.size();
      zeros[at] = value;
      CHECK(loops->all_fit_f16(zeros.data(), zeros.size()) == same(value, f16_to_f32(f32_to_f16(value))));
      CHECK(loops->all_fit_bf16(zeros.data(), zeros.size()) == same(value, bf16_to_f32(f32_to_bf16(value))));
      zeros[at] = -0.0f;
    }
  }
}

TEST_CASE("differences_are_those_of_the_definition_in_every_build") {
  std::mt19937_64 random(4);
  const FloatGrid grids[] = {{23, -126}, {10, -14}, {7, -126}, {52, -149}, {3, -6}};
  for (const std::size_t count : {0, 1, 3, 4, 5, 8, 250, 1003}) {
    for (int kind = 0; kind < 4; ++kind) {
      std::vector<float> a = any_floats(count, random), b = any_floats(count, random);
      std::vector<float> steps = any_floats(count + 1, random);  // one more: the first run may be cut
      for (std::size_t i = 0; i < count; ++i) {
        if (kind == 0 || random() % 3 == 0) b[i] = a[i];                                         // mostly equal
        if (kind == 2) a[i] = std::remainder(a[i], 2.0f), b[i] = a[i] * 1.0001f;                 // like weights
        if (kind == 3) a[i] = from_pattern(static_cast<std::uint32_t>(random()) & 0x807FFFFFu);  // subnormal
        if (random() % 50 == 0) a[i] = std::numeric_limits<float>::infinity(), b[i] = random() % 2 == 0 ? a[i] : -a[i];
        if (random() % 50 == 0) a[i] = NAN, b[i] = random() % 2 == 0 ? NAN : 1.0f;
        if (random() % 50 == 0) a[i] = 0, b[i] = random() % 2 == 0 ? -0.0f : 0x1p-149f;
        if (random() % 20 == 0) steps[i] = 0;
      }
      std::vector<Steps> all;
      for (const FloatGrid& grid : grids) all.push_back({nullptr, 1, 0, grid});
      for (const std::uint64_t run : {1, 7, 8, 32, 45}) all.push_back({steps.data(), run, random() % run, {0, 0}});
      for (const Steps& with : all) {
        const Differences wanted = differences_by_definition(a, b, with);
        for (const BulkLoops* loops : kBuilds) {
          CAPTURE(count);
          CAPTURE(kind);
          CAPTURE(with.run_elems);
          Differences got;
          loops->add_differences(a.data(), b.data(), with, count, got);
          check_equal(got, wanted);
        }
      }
    }
  }
}

double total(const double (&lanes)[Differences::kLanes]) { return std::accumulate(lanes, std::end(lanes), 0.0); }
double largest(const double (&lanes)[Differences::kLanes]) { return *std::max_element(lanes, std::end(lanes)); }

bool is_near(double got, double wanted) {
  const bool as_special = got == wanted || (std::isnan(got) && std::isnan(wanted));
  return as_special || std::fabs(got - wanted) <= 0x1p-19 * wanted;
}

void check_near(const Differences& got, const Differences& wanted) {
  CHECK(got.differing == wanted.differing);
  CHECK(is_near(total(got.squared_value), total(wanted.squared_value)));
  CHECK(is_near(total(got.squared_error), total(wanted.squared_error)));
  CHECK(is_near(total(got.squared_steps), total(wanted.squared_steps)));
  CHECK(is_near(total(got.squared_places), total(wanted.squared_places)));
  CHECK(largest(got.worst_error) == largest(wanted.worst_error));
  CHECK(largest(got.worst_steps) == largest(wanted.worst_steps));
  CHECK(largest(got.worst_places) == largest(wanted.worst_places));
}

/// Pairs of values of one kind, and step sizes.
struct Pairs {
  std::vector<float> a, b, sizes;
};
constexpr int kPairKinds = 12;

Pairs pairs_of_kind(int kind, std::size_t count, std::mt19937_64& random) {
  Pairs pairs{any_floats(count, random), std::vector<float>(count), std::vector<float>(count + 1)};
  std::uniform_real_distribution<float> spread(-1, 1);
  for (float& size : pairs.sizes)
    size = std::ldexp(1 + std::fabs(spread(random)), kind == 5 ? -80 : kind == 10 ? 70 : -9);
  for (std::size_t i = 0; i < count; ++i) {
    float& a = pairs.a[i];
    float& b = pairs.b[i];
    if (kind != 0) a = spread(random);
    if (kind == 2) a = bf16_to_f32(f32_to_bf16(a));
    if (kind == 3) a *= 0x1p-60f;                    // squares that binary32 does not hold
    if (kind == 4) a *= 0x1p70f;                     // nor these
    if (kind == 6) a = std::round(a * 8) * 0x1p-9f;  // many zeros, and errors that are often the largest
    b = a + spread(random) * (kind == 1 || kind == 2 ? 0.01f : a);
    if (kind == 6) b = a + static_cast<float>(random() % 3) * 0x1p-10f;
    if (kind == 9) b = a = i % 5 == 0 ? std::ldexp(a, -70) : a;
    if (kind == 9 && i % 5 == 0) b = a * 1.01f;                                   // its square vanishes
    if (kind == 11) b = std::ldexp(spread(random), -40), a = std::ldexp(a, -72);  // squares of values vanish
    if (kind == 7 && random() % 300 == 0) b = std::numeric_limits<float>::quiet_NaN();
    if (kind == 7 && random() % 300 == 0) a = std::numeric_limits<float>::infinity();
    if (kind == 7 && random() % 50 == 0) pairs.sizes[i] = 0;
    if (kind == 8) b = a;
    if (kind == 8 && random() % 70 == 0) b = std::nextafter(a, 2.0f);
  }
  return pairs;
}

TEST_CASE("near_differences_have_the_exact_worst_errors_in_every_build") {
  std::mt19937_64 random(14);
  std::vector<Steps> all;
  for (const FloatGrid& grid : {FloatGrid{10, -14}, FloatGrid{7, -126}, FloatGrid{52, -149}, FloatGrid{3, -6}})
    all.push_back({nullptr, 1, 0, grid});
  for (const std::uint64_t run : {1, 8, 16, 32, 45, 96, 128, 600})
    all.push_back({nullptr, run, random() % run, {0, 0}});
  for (const std::size_t count : {0, 5, 8, 128, 1003, 4096}) {
    for (int kind = 0; kind < kPairKinds; ++kind) {
      const Pairs pairs = pairs_of_kind(kind, count, random);
      for (std::size_t i = 0; i < all.size(); ++i) {
        Steps with = all[i];
        if (i >= 4) with.sizes = pairs.sizes.data();
        for (const bool begins_eight : {false, true}) {
          if (begins_eight) with.skipped = with.skipped / 8 * 8;
          CAPTURE(count);
          CAPTURE(kind);
          CAPTURE(with.run_elems);
          CAPTURE(with.skipped);
          Differences wanted, got, plain;
          bulk().add_differences(pairs.a.data(), pairs.b.data(), with, count, wanted);
          bulk().add_near_differences(pairs.a.data(), pairs.b.data(), with, count, got);
          bulk_baseline().add_near_differences(pairs.a.data(), pairs.b.data(), with, count, plain);
          check_near(got, wanted);
          check_equal(plain, got);
        }
      }
    }
  }
}

TEST_CASE("near_differences_go_on_from_the_worst_that_is_known") {
  std::vector<float> a(512, 1.0f), b(512, 1.0f);
  const std::vector<float> sizes(16, 0.25f);
  b[300] = 1.125f;
  for (const BulkLoops* loops : kBuilds) {
    for (const double known : {0.0, 0.124999, 0.125, 0.3}) {
      Differences sum;
      sum.worst_error[3] = known;
      sum.worst_steps[3] = 4 * known;
      sum.worst_places[3] = 0x1p23 * known;
      loops->add_near_differences(a.data(), b.data(), {sizes.data(), 32, 0, {0, 0}}, a.size(), sum);
      CHECK(largest(sum.worst_error) == std::max(known, 0.125));
      CHECK(largest(sum.worst_steps) == std::max(4 * known, 0.5));
      CHECK(largest(sum.worst_places) == std::max(0x1p23 * known, 0x1p20));
      CHECK(sum.differing == 1);
    }
  }
}

TEST_CASE("near_differences_tell_a_worst_error_from_one_that_binary32_does_not") {
  const std::vector<float> sizes(16, 1.0f);
  for (const BulkLoops* loops : kBuilds) {
    for (const float beyond : {-0x1p-30f, 0.0f, 0x1p-30f}) {
      std::vector<float> a(512, 0.25f), b(512, 0.25f);
      a[7] = a[300] = 1;
      b[7] = 0;
      b[300] = -beyond;
      const double worst = std::max(1.0, 1.0 + beyond);
      Differences by_size, by_grid;
      loops->add_near_differences(a.data(), b.data(), {sizes.data(), 32, 0, {0, 0}}, a.size(), by_size);
      loops->add_near_differences(a.data(), b.data(), {nullptr, 1, 0, {10, -14}}, a.size(), by_grid);
      CHECK(largest(by_size.worst_error) == worst);
      CHECK(largest(by_size.worst_steps) == worst);
      CHECK(largest(by_size.worst_places) == 0x1p23 * worst);
      CHECK(largest(by_grid.worst_error) == worst);
      CHECK(largest(by_grid.worst_steps) == 0x1p10 * worst);
    }
  }
}

TEST_CASE("rounding_to_16_bits_of_any_pattern_is_the_same_in_every_build") {
  std::mt19937_64 random(5);
  std::vector<float> values = any_floats(1 << 16, random);
  for (std::size_t i = 0; i < values.size(); i += 3)  // NaN with every kind of payload
    values[i] = from_pattern(static_cast<std::uint32_t>(random()) | 0x7F800000u);
  std::vector<std::uint16_t> fast(values.size()), plain(values.size());
  bulk().f32_to_f16(values.data(), fast.data(), values.size());
  bulk_baseline().f32_to_f16(values.data(), plain.data(), values.size());
  CHECK(fast == plain);
  bulk().f32_to_bf16(values.data(), fast.data(), values.size() - 1);
  bulk_baseline().f32_to_bf16(values.data(), plain.data(), values.size() - 1);
  fast.pop_back();
  plain.pop_back();
  CHECK(fast == plain);
}

TEST_CASE("a_value_reader_gives_pieces_of_the_whole_tensor") {
  std::mt19937_64 random(6);
  for (const Packing packing : {Packing::rows, Packing::tiles}) {
    Scheme scheme;
    scheme.codes = {CodeKind::number, DType::u4, ""};
    Level level;
    level.block = {1, 32};
    scheme.scales.push_back(level);
    Tensor tensor = test::as_tensor(test::random_tensor({50, 96}, scheme, packing, true, random));
    tensor.name = "pieces";
    if (packing == Packing::rows) tensor.transforms.push_back({TransformKind::rope_interleave, 5});
    std::vector<float> all(tensor.elements());
    decode_logical(tensor, all);
    ValueReader reader(tensor);
    CHECK(reader.elements() == all.size());
    for (int trial = 0; trial < 200; ++trial) {
      const std::size_t begin = random() % (all.size() + 1), count = random() % (all.size() - begin + 1);
      std::vector<float> piece(count);
      reader.read(begin, piece, static_cast<int>(random() % static_cast<unsigned>(thread_count())));
      CHECK(std::memcmp(piece.data(), all.data() + begin, count * sizeof(float)) == 0);
      reader.done_with(begin, begin + count);
    }
    std::vector<float> piece(2);
    CHECK_THROWS_AS(reader.read(all.size() - 1, piece, 0), Error);
    CHECK_THROWS_AS(reader.read(all.size() + 1, std::span(piece).first(0), 0), Error);
  }
}

TEST_CASE("fingerprint_blocks_are_the_same_from_bytes_and_from_values") {
  std::mt19937_64 random(7);
  const std::uint64_t count = kFingerprintBlockElems + 77;
  std::vector<std::byte> bytes(4 * count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    Tensor tensor;
    tensor.shape = {count};
    tensor.scheme = Scheme::plain(type);
    const std::uint64_t element_bytes = bits(type) / 8u;
    tensor.planes =
        planes_in_memory({{bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count * element_bytes)}},
                         tensor.shape, tensor.scheme, tensor.packing);
    std::vector<float> values(count);
    decode_logical(tensor, values);
    FingerprintBuilder from_values(tensor.shape), from_bytes(tensor.shape);
    for (std::uint64_t block = 0; block < 2; ++block) {
      const std::uint64_t begin = block * kFingerprintBlockElems;
      const std::uint64_t elems = std::min(kFingerprintBlockElems, count - begin);
      from_values.add_block(block, std::span(values).subspan(begin, elems));
      REQUIRE(FingerprintBuilder::takes_bytes_of(type));
      from_bytes.add_block(block, type, Bytes(bytes).subspan(begin * element_bytes, elems * element_bytes));
    }
    CHECK(from_values.finish() == from_bytes.finish());
    CHECK(from_values.finish() == fingerprint(tensor));
  }
  FingerprintBuilder builder(Shape{10});
  CHECK_FALSE(FingerprintBuilder::takes_bytes_of(DType::e4m3));
  CHECK_THROWS_AS(builder.add_block(0, DType::e4m3, Bytes(bytes).first(10)), Error);
  CHECK_THROWS_AS(builder.add_block(1, DType::f32, Bytes(bytes).first(40)), Error);
}

}  // namespace
}  // namespace ingot::tensor

// The key/value cache: what each type of it keeps, within the bound of its rounding; attention over what is kept.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "converters/registry.h"
#include "format/base/parallel.h"
#include "runtime/attention.h"
#include "tests/expect_error.h"
#include "tests/runtime_fixtures.h"

using namespace ingot::test;
using namespace ingot::runtime;
using Part = KvCache::Part;

namespace {

constexpr std::uint64_t kLayers = 2, kHeads = 3, kPositions = 37, kDim = 40;
constexpr KvType kTypes[] = {KvType::f32, KvType::f16, KvType::q8};

std::vector<float> random_numbers(std::mt19937& random, std::size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

struct Filled {
  KvCache cache;
  std::vector<std::vector<float>> keys, values;  // by layer * kPositions + position: (kHeads, kDim)

  explicit Filled(KvType type) : cache(type, kLayers, kHeads, kPositions, kDim) {
    std::mt19937 random(3);
    for (std::uint64_t layer = 0; layer < kLayers; ++layer) {
      for (std::uint64_t p = 0; p < kPositions; ++p) {
        keys.push_back(random_numbers(random, kHeads * kDim));
        values.push_back(random_numbers(random, kHeads * kDim));
        cache.store(layer, p, keys.back().data(), values.back().data());
      }
    }
  }
};

double bound_of(KvType type, const float* row, float number) {
  double greatest = 0;
  for (std::uint64_t i = 0; i < kDim; ++i) greatest = std::max(greatest, std::abs(static_cast<double>(row[i])));
  if (type == KvType::q8) return greatest / 254 * 1.0001;
  return type == KvType::f16 ? std::abs(number) * 0x1p-11 + 0x1p-25 : 0;
}

void check_rows(const Filled& filled, KvType type, Part part) {
  const auto& stored = part == Part::keys ? filled.keys : filled.values;
  std::vector<float> scratch(KvCache::kRowsAtOnce * kDim);
  for (std::uint64_t layer = 0; layer < kLayers; ++layer) {
    for (std::uint64_t head = 0; head < kHeads; ++head) {
      for (std::uint64_t p = 0; p < kPositions; p += KvCache::kRowsAtOnce) {
        const std::uint64_t count = std::min(KvCache::kRowsAtOnce, kPositions - p);
        const float* const rows = filled.cache.rows(part, layer, head, p, count, scratch.data());
        for (std::uint64_t i = 0; i < count * kDim; ++i) {
          const float* const row = stored[layer * kPositions + p + i / kDim].data() + head * kDim;
          REQUIRE(std::abs(rows[i] - static_cast<double>(row[i % kDim])) <= bound_of(type, row, row[i % kDim]));
        }
      }
    }
  }
}

// Softmax of scores over the rows of positions [begin, end) that the cache holds, in binary64.
std::vector<double> expected_attention(const KvCache& cache, std::uint64_t head, std::uint64_t begin, std::uint64_t end,
                                       const AttentionShape& shape, const float* q) {
  std::vector<float> scratch(KvCache::kRowsAtOnce * kDim);
  std::vector<double> weights;
  for (std::uint64_t p = begin; p < end; ++p) {
    const float* const key = cache.rows(Part::keys, 1, head, p, 1, scratch.data());
    double score = 0;
    for (std::uint64_t i = 0; i < kDim; ++i) score += static_cast<double>(key[i]) * q[i] * shape.scale;
    weights.push_back(std::exp(shape.softcap == 0 ? score : shape.softcap * std::tanh(score / shape.softcap)));
  }
  double sum = 0;
  for (const double weight : weights) sum += weight;
  std::vector<double> out(kDim);
  for (std::uint64_t p = begin; p < end; ++p) {
    const float* const value = cache.rows(Part::values, 1, head, p, 1, scratch.data());
    for (std::uint64_t i = 0; i < kDim; ++i) out[i] += weights[p - begin] / sum * value[i];
  }
  return out;
}

constexpr std::uint64_t kQueryHeads = 2 * kHeads, kWidth = kQueryHeads * kDim;

// The attention of `count` positions from `first` on.
std::vector<float> attention(const Filled& filled, const AttentionShape& shape, std::uint64_t first,
                             std::uint64_t count, std::vector<float> q) {
  std::vector<std::vector<float>> scratch(static_cast<std::size_t>(ingot::thread_count()),
                                          std::vector<float>(filled.cache.scratch_elems()));
  attend(filled.cache, 1, shape, first, count, q.data(), kWidth, scratch);
  return q;
}

// A limit that a cap of 2 does not hide, a window that begins within a group of rows, one that is longer than all.
constexpr AttentionShape kShapes[] = {{kQueryHeads, 0.25f, 0, 0},
                                      {kQueryHeads, 0.25f, 0, 13},
                                      {kQueryHeads, 0.25f, 2, 0},
                                      {kQueryHeads, 0.25f, 2, 1},
                                      {kQueryHeads, 0.25f, 2, 100}};

}  // namespace

TEST_CASE("a key/value cache keeps rows within the rounding of its type") {
  for (const KvType type : kTypes) {
    INFO(std::string(name(type)));
    const Filled filled(type);
    check_rows(filled, type, Part::keys);
    check_rows(filled, type, Part::values);
  }
}

TEST_CASE("the memory of a key/value cache is what its type takes") {
  constexpr std::uint64_t kRows = kLayers * kHeads * kPositions;
  CHECK(KvCache(KvType::f32, kLayers, kHeads, kPositions, kDim).bytes() == 2 * kRows * kDim * 4);
  CHECK(KvCache(KvType::f16, kLayers, kHeads, kPositions, kDim).bytes() == 2 * kRows * kDim * 2);
  CHECK(KvCache(KvType::q8, kLayers, kHeads, kPositions, kDim).bytes() == 2 * kRows * (kDim + 4));
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 62;
  CHECK(throws_kind(ingot::ErrorKind::limit_exceeded, [] { KvCache(KvType::q8, 1, 1, kHuge, kDim); }));
}

TEST_CASE("numbers that are not finite stay so, rows of zeros stay zero") {
  std::vector<float> scratch(kDim), row(kDim);
  for (const KvType type : kTypes) {
    KvCache cache(type, 1, 1, 2, kDim);
    row.assign(kDim, 0);
    cache.store(0, 0, row.data(), row.data());
    CHECK(cache.rows(Part::keys, 0, 0, 0, 1, scratch.data())[3] == 0);
    row[3] = INFINITY;
    cache.store(0, 1, row.data(), row.data());
    CHECK_FALSE(std::isfinite(cache.rows(Part::values, 0, 0, 1, 1, scratch.data())[3]));
  }
}

TEST_CASE("attention is the softmax over the rows that are kept, within the window and under the cap") {
  constexpr std::uint64_t kFirst = 19, kCount = 17;
  for (const KvType type : kTypes) {
    INFO(std::string(name(type)));
    const Filled filled(type);
    std::mt19937 random(4);
    const std::vector<float> q = random_numbers(random, kCount * kWidth);
    for (const AttentionShape& shape : kShapes) {
      const std::vector<float> out = attention(filled, shape, kFirst, kCount, q);
      for (std::uint64_t t = 0; t < kCount; ++t) {
        const std::uint64_t end = kFirst + t + 1;
        const std::uint64_t begin = shape.window != 0 && shape.window < end ? end - shape.window : 0;
        for (std::uint64_t head = 0; head < kQueryHeads; ++head) {
          const std::uint64_t at = t * kWidth + head * kDim;
          const std::vector<double> expected = expected_attention(filled.cache, head / 2, begin, end, shape, &q[at]);
          // Scores of magnitude 10 at most, each off by the rounding of 40 sums, move weights by twice that; values of
          // magnitude 5 at most, 36 of them added up.
          constexpr double kBound = (2 * 10 * (kDim + 2) + kPositions) * 0x1p-24 * 5;
          for (std::uint64_t i = 0; i < kDim; ++i) REQUIRE(std::abs(out[at + i] - expected[i]) <= kBound);
        }
      }
    }
  }
}

TEST_CASE("the attention of a position is the same bits whatever is computed beside it, with any number of threads") {
  constexpr std::uint64_t kFirst = 3, kCount = 34;
  const int threads = ingot::thread_count();
  for (const KvType type : kTypes) {
    const Filled filled(type);
    std::mt19937 random(5);
    const std::vector<float> q = random_numbers(random, kCount * kWidth);
    for (const AttentionShape& shape : kShapes) {
      const std::vector<float> together = attention(filled, shape, kFirst, kCount, q);
      ingot::set_thread_count(threads + 3);
      CHECK(attention(filled, shape, kFirst, kCount, q) == together);
      ingot::set_thread_count(threads);
      for (std::uint64_t t = 0; t < kCount; ++t) {
        const auto row = q.begin() + static_cast<std::ptrdiff_t>(t * kWidth);
        const std::vector<float> alone = attention(filled, shape, kFirst + t, 1, {row, row + kWidth});
        REQUIRE(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(t * kWidth)));
      }
    }
  }
}

TEST_CASE("an infinite value reaches the positions that look at it, and no other") {
  constexpr std::uint64_t kFirst = 3, kCount = 34, kBad = 21;
  const Filled clean(KvType::f32);
  Filled spoiled(KvType::f32);
  const std::vector<float> infinite(kHeads * kDim, INFINITY);
  spoiled.cache.store(1, kBad, spoiled.keys[kPositions + kBad].data(), infinite.data());
  std::mt19937 random(5);
  const std::vector<float> q = random_numbers(random, kCount * kWidth);
  for (const AttentionShape& shape : kShapes) {
    const std::vector<float> expected = attention(clean, shape, kFirst, kCount, q);
    const std::vector<float> got = attention(spoiled, shape, kFirst, kCount, q);
    for (std::uint64_t t = 0; t < kCount; ++t) {
      const std::uint64_t end = kFirst + t + 1;
      const bool looks = end > kBad && (shape.window == 0 || end - kBad <= shape.window);
      const auto at = static_cast<std::ptrdiff_t>(t * kWidth);
      CHECK(std::equal(got.begin() + at, got.begin() + at + kWidth, expected.begin() + at) == !looks);
    }
  }
}

TEST_CASE("a binary16 cache clamps what it cannot hold, instead of making it infinite") {
  KvCache cache(KvType::f16, 1, 1, 1, kDim);
  std::vector<float> row(kDim, 1), scratch(kDim);
  row[0] = 65519;  // rounds to 65504
  row[1] = 65520;  // would round to infinity
  row[2] = -3e38f;
  cache.store(0, 0, row.data(), row.data());
  for (const Part part : {Part::keys, Part::values}) {
    const float* const kept = cache.rows(part, 0, 0, 0, 1, scratch.data());
    CHECK(kept[0] == 65504);
    CHECK(kept[1] == 65504);
    CHECK(kept[2] == -65504);
    CHECK(kept[3] == 1);
  }
}

TEST_CASE("types of the key/value cache have names") {
  for (const KvType type : kTypes) CHECK(kv_type(name(type)) == type);
  CHECK_FALSE(kv_type("q4").has_value());
  CHECK(kv_names().size() == std::size(kTypes));
}

TEST_CASE("logits over a rounded cache stay near those over an exact one") {
  const ingot::tensor::Model model = ingot::convert::read_model(data_directory() / "tiny-llama");
  const std::uint32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6};
  CHECK(Session(model, 0, Numerics::exact).kv() == KvType::f32);
  CHECK(Session(model, 0, Numerics::fast).kv() == KvType::f16);
  Session exact(model, 0);
  const std::span<const float> view = exact.forward(tokens);
  const std::vector<float> expected(view.begin(), view.end());
  for (const KvType type : {KvType::f16, KvType::q8}) {
    Session session(model, 0, Numerics::exact, type);
    CHECK(session.kv() == type);
    CHECK(session.kv_bytes() < exact.kv_bytes());
    const std::span<const float> got = session.forward(tokens);
    double difference = 0, greatest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      difference = std::max(difference, std::abs(static_cast<double>(got[i]) - expected[i]));
      greatest = std::max(greatest, std::abs(static_cast<double>(expected[i])));
    }
    CHECK(difference > 0);
    CHECK(difference <= greatest * (type == KvType::f16 ? 0x1p-10 : 0x1p-6));
  }
}

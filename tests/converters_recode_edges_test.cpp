// recode() at its edges, judged by brute force: what is refused has no exact form with the same scale, what is rounded
// is rounded once; rows, views, preferences and facts.
#include <bit>
#include <cmath>
#include <limits>
#include <tuple>

#include "format/tensor/float_codes.h"
#include "tests/counted_memory.h"
#include "tests/recode_checks.h"

namespace ingot::convert {

using namespace recoding;

namespace {

/// A tensor of one row and one group of four elements.
PlainTensor one_group(const Scheme& scheme, std::mt19937_64& random) {
  return test::random_tensor({1, 4}, scheme, Packing::rows, true, random);
}

/// Are there codes between least and greatest that mean the same numbers with the same scale and another zero?
bool has_constant_zero_form(const PlainTensor& source, double scale, double zero, int least, int greatest, int wanted) {
  if (scale == 0) return true;
  for (const std::uint64_t code : source.codes) {
    bool found = false;
    for (int other = least; other <= greatest; ++other)
      found = found || scale * (static_cast<double>(code) - zero) == scale * (other - wanted);
    if (!found) return false;
  }
  return true;
}

double half(std::uint64_t bits) { return tensor::f16_to_f32(static_cast<std::uint16_t>(bits)); }

}  // namespace

TEST_CASE("recoded_planes_keep_nothing_after_their_last_unit") {
  const Scheme from = numbers(DType::u4, {level(DType::f16, group(32))}, zero_points(DType::u4, group(32)));
  const Scheme to = numbers(DType::u5, {level(DType::f16, group(32))}, zero(16));
  std::mt19937_64 random(9);
  const Tensor source = test::as_tensor(checkpoint_like({160, 2048}, from, true, random));
  const Recoded recoded = recode(source, {to, {}});
  REQUIRE(recoded.proof == ProofClass::exact);
  const std::int64_t before = test::memory_in_use();
  (void)plane_bytes(recoded.tensor);
  const std::int64_t kept = test::memory_in_use() - before;
  CHECK(kept > 0);  // between reads, for the next one
  recoded.tensor.planes->done_with(0, recoded.tensor.geometry().units);
  CHECK(test::memory_in_use() - before < kept / 100);  // an empty list
  (void)plane_bytes(recoded.tensor);                   // a second pass works as the first
  CHECK(test::memory_in_use() - before > kept / 2);
}

TEST_CASE("affine_facts_leave_nothing_in_recoded_planes") {
  const Scheme from = numbers(DType::u4, {level(DType::f16, group(32))}, zero_points(DType::u4, group(32)));
  const Scheme to = numbers(DType::u5, {level(DType::f16, group(32))}, zero_points(DType::u8, group(32)));
  std::mt19937_64 random(10);
  const Tensor source = test::as_tensor(checkpoint_like({160, 2048}, from, true, random));
  const Recoded recoded = recode(source, {to, {}});
  REQUIRE(recoded.proof == ProofClass::exact);
  const std::int64_t before = test::memory_in_use();
  REQUIRE(affine_facts(recoded.tensor));
  constexpr std::int64_t kBuffersOfOneReader = 64 * 16 * 8;  // a tile's zero points as binary64
  CHECK(test::memory_in_use() - before < kBuffersOfOneReader);
}

TEST_CASE("recode_refuses_a_constant_zero_only_where_no_codes_have_the_same_values") {
  const Scheme from = numbers(DType::u4, {level(DType::f16, group(4))}, zero_points(DType::u5, group(4)));
  std::mt19937_64 random(7);
  int exact = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    const PlainTensor plain = one_group(from, random);
    const Tensor source = test::as_tensor(plain);
    const double zero = static_cast<double>(plain.levels[1][0]);
    for (const auto& [type, least, greatest, wanted] :
         {std::tuple(DType::u4, 0, 15, 8), std::tuple(DType::u5, 0, 31, 16), std::tuple(DType::i8, -128, 127, 0),
          std::tuple(DType::u3, 0, 7, 4)}) {
      const Scheme to = numbers(type, {level(DType::f16, group(4))}, wanted == 0 ? Offset{} : convert::zero(wanted));
      const Recoded result = recode(source, {to, {}});
      const bool possible = has_constant_zero_form(plain, half(plain.levels[0][0]), zero, least, greatest, wanted);
      CAPTURE(result.reason);
      CHECK((result.proof == ProofClass::exact) == possible);
      ++(possible ? exact : refused);
    }
  }
  CHECK(exact > 1000);
  CHECK(refused > 1000);
}

TEST_CASE("recode_refuses_zero_points_only_where_no_zero_point_fits") {
  const Scheme from = numbers(DType::u5, {level(DType::f16, group(4))}, zero_points(DType::u5, group(4)));
  const Scheme to = numbers(DType::u4, {level(DType::f16, group(4))}, zero_points(DType::u4, group(4)));
  std::mt19937_64 random(8);
  int exact = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    PlainTensor plain = one_group(from, random);
    if (i % 2 == 0)
      for (std::uint64_t& code : plain.codes) code = 8 + code % 16;
    const Recoded result = recode(test::as_tensor(plain), {to, {}});
    bool possible = false;
    for (int wanted = 0; wanted < 16; ++wanted)
      possible = possible || has_constant_zero_form(plain, half(plain.levels[0][0]),
                                                    static_cast<double>(plain.levels[1][0]), 0, 15, wanted);
    CAPTURE(result.reason);
    CHECK((result.proof == ProofClass::exact) == possible);
    ++(possible ? exact : refused);
  }
  CHECK(exact > 300);
  CHECK(refused > 300);
}

TEST_CASE("recode_to_a_bias_is_exact_where_the_product_fits_and_says_how_far_off_it_is_elsewhere") {
  const Scheme from = numbers(DType::u4, {level(DType::f16, group(4))}, zero_points(DType::u4, group(4)));
  const Scheme to = numbers(DType::u4, {level(DType::f16, group(4))}, bias(DType::f16, group(4)));
  std::mt19937_64 random(9);
  int exact = 0, codes = 0;
  for (int i = 0; i < 4000; ++i) {
    const PlainTensor plain = one_group(from, random);
    const Recoded result = recode(test::as_tensor(plain), {to, {}});
    const double scale = half(plain.levels[0][0]), product = -scale * static_cast<double>(plain.levels[1][0]);
    double nearest = std::numeric_limits<double>::infinity();  // among all numbers of the type
    for (std::uint64_t bits = 0; bits < 0x10000; ++bits)
      if (std::isfinite(half(bits)) && std::fabs(half(bits) - product) < std::fabs(nearest - product))
        nearest = half(bits);
    CAPTURE(result.reason);
    if (nearest == product) {
      CHECK(result.proof == ProofClass::exact);
      ++exact;
      continue;
    }
    REQUIRE(result.proof == ProofClass::codes);
    CHECK(result.worst_steps == doctest::Approx(std::fabs(nearest - product) / std::fabs(scale)).epsilon(1e-12));
    std::vector<std::byte> bytes(2);
    std::vector<std::byte*> out(3, nullptr);
    out[2] = bytes.data();
    result.tensor.planes->read_units(0, 1, out);
    const std::uint64_t bits = std::to_integer<std::uint64_t>(bytes[0]) | std::to_integer<std::uint64_t>(bytes[1]) << 8;
    CHECK(std::fabs(half(bits) - product) == std::fabs(nearest - product));
    if (half(bits) != nearest) CHECK(bits % 2 == 0);  // a tie
    ++codes;
  }
  CHECK(exact > 300);
  CHECK(codes > 300);
}

TEST_CASE("recode_rounds_a_bias_once") {
  // Products just beside the middle between two numbers of f16, nearer than binary32 can tell.
  const Scheme from = numbers(DType::u4, {level(DType::f32, group(4))}, zero_points(DType::u4, group(4)));
  const Scheme to = numbers(DType::u4, {level(DType::f32, group(4))}, bias(DType::f16, group(4)));
  std::mt19937_64 random(14);
  PlainTensor plain = one_group(from, random);
  int beside = 0;
  for (std::uint64_t zero_point = 1; zero_point < 16; ++zero_point) {
    plain.levels[1][0] = zero_point;
    for (int away = -4; away <= 4; ++away) {
      const auto middle = static_cast<float>((1 + 0x1p-11) / static_cast<double>(zero_point));
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(middle) + static_cast<std::uint32_t>(away);
      plain.levels[0][0] = bits;
      const double product = -static_cast<double>(std::bit_cast<float>(bits)) * static_cast<double>(zero_point);
      const Recoded result = recode(test::as_tensor(plain), {to, {}});
      REQUIRE(result.proof == ProofClass::codes);
      std::vector<std::byte> stored(2);
      std::vector<std::byte*> out(3, nullptr);
      out[2] = stored.data();
      result.tensor.planes->read_units(0, 1, out);
      const double made =
          half(std::to_integer<std::uint64_t>(stored[0]) | std::to_integer<std::uint64_t>(stored[1]) << 8);
      CHECK(made == (product < -(1 + 0x1p-11) ? -(1 + 0x1p-10) : -1.0));
      if (static_cast<float>(product) == -(1 + 0x1p-11f) && product != -(1 + 0x1p-11)) ++beside;
    }
  }
  CHECK(beside > 0);
}

TEST_CASE("recode_notices_a_bias_that_vanishes_beside_the_product") {
  PlainTensor plain;
  plain.shape = {1, 4};
  plain.scheme = numbers(DType::i8, {level(DType::f32, group(4))}, bias(DType::f32, group(4)));
  plain.cols = 4;
  plain.codes = {0x80, 0, 1, 0x7F};
  plain.levels = {{std::bit_cast<std::uint32_t>(1.0f)}, {std::bit_cast<std::uint32_t>(0x1p-120f)}};
  const Scheme to = numbers(DType::u8, {level(DType::f32, group(4))}, bias(DType::f32, group(4)));
  CHECK(recode(test::as_tensor(plain), {to, {}}).proof == ProofClass::codes);
  plain.levels[1][0] = std::bit_cast<std::uint32_t>(0.5f);
  CHECK(recode(test::as_tensor(plain), {to, {}}).proof == ProofClass::exact);
}

TEST_CASE("recode_moves_codes_between_constant_zeros") {
  std::mt19937_64 random(15);
  int exact = 0, refused = 0;
  for (int i = 0; i < 1000; ++i) {
    const PlainTensor plain = one_group(numbers(DType::u3, {level(DType::f16, group(4))}, convert::zero(4)), random);
    for (const int wanted : {2, 3, 5, 6}) {
      const Scheme to = numbers(DType::u3, {level(DType::f16, group(4))}, convert::zero(wanted));
      const Recoded result = recode(test::as_tensor(plain), {to, {}});
      const bool possible = has_constant_zero_form(plain, half(plain.levels[0][0]), 4, 0, 7, wanted);
      CHECK((result.proof == ProofClass::exact) == possible);
      check_recoded(test::as_tensor(plain), {to, {}}, result);
      ++(possible ? exact : refused);
    }
  }
  CHECK(exact > 100);
  CHECK(refused > 100);
}

TEST_CASE("recode_moves_rows_between_arrangements") {
  const Transform two{TransformKind::rope_interleave, 2}, three{TransformKind::rope_interleave, 3};
  std::mt19937_64 random(10);
  const std::vector<Scheme> schemes = {
      numbers(DType::u4, {level(DType::f16, group(32))}, zero(8)),
      numbers(DType::u5, {level(DType::f32, group(16))}, zero_points(DType::u4, group(16))),
      table("nf4", DType::u4, {level(DType::f32, kRow)}),
      Scheme::plain(DType::bf16),
      Scheme::plain(DType::f32),
      Scheme::plain(DType::e4m3)};
  for (const Scheme& scheme : schemes) {
    for (const std::uint64_t rows : {12, 36, 132}) {
      for (const auto& [from, to] :
           {std::pair(std::vector<Transform>{}, std::vector{two}),
            std::pair(std::vector{two}, std::vector<Transform>{}), std::pair(std::vector{two}, std::vector{three})}) {
        Tensor source = test::as_tensor(checkpoint_like({rows, 64}, scheme, true, random));
        source.transforms = from;
        for (const Tensor& each : {source, streamed(source)}) {
          const Recoded result = recode(each, {scheme, to});
          CAPTURE(result.reason);
          CAPTURE(rows);
          REQUIRE(result.proof == ProofClass::exact);
          CHECK(result.tensor.transforms == to);
          check_recoded(source, {scheme, to}, result);
        }
      }
    }
  }
  Tensor source = test::as_tensor(checkpoint_like({10, 64}, schemes[0], true, random));
  CHECK(recode(source, {schemes[0], {two}}).proof == ProofClass::refused);
  CHECK(recode(source, {schemes[0], {{TransformKind::transpose}}}).proof == ProofClass::refused);
}

TEST_CASE("recode_moves_bytes_and_splits_groups_at_odd_sizes_as_the_oracle_packs_them") {
  std::mt19937_64 random(16);
  for (const Shape& shape : std::vector<Shape>{{16, 64}, {17, 66}, {3, 35}, {2, 19, 33}, {40, 1}}) {
    for (const auto& [from, to] : {std::pair(numbers(DType::u8, {level(DType::f16, group(64))}, convert::zero(128)),
                                             numbers(DType::i8, {level(DType::f16, group(16))})),
                                   std::pair(numbers(DType::i8, {level(DType::f32, kRow)}),
                                             numbers(DType::u8, {level(DType::f32, group(5))}, convert::zero(128)))}) {
      PlainTensor plain = checkpoint_like(shape, from, true, random);
      const Recoded result = recode(test::as_tensor(plain), {to, {}});
      REQUIRE(result.proof == ProofClass::exact);
      // The same tensor packed by the specification's words.
      const std::uint64_t old_cols = plain.levels[0].size() / (plain.matrices * plain.rows);
      const std::uint64_t old_group = from.scales[0].block.cols == 0 ? plain.cols : from.scales[0].block.cols;
      const std::uint64_t new_group = to.scales[0].block.cols;
      std::vector<std::uint64_t> scales;
      for (std::uint64_t row = 0; row < plain.matrices * plain.rows; ++row)
        for (std::uint64_t col = 0; col < plain.cols; col += new_group)
          scales.push_back(plain.levels[0][row * old_cols + col / old_group]);
      if (old_group % new_group != 0 && from.scales[0].block.cols != 0) continue;
      for (std::uint64_t& code : plain.codes) code ^= 128;
      plain.levels[0] = scales;
      plain.scheme = to;
      CHECK(plane_bytes(result.tensor) == test::naive_planes(plain));
    }
  }
}

/// Counts how often it is read.
class CountedReads final : public tensor::PlaneSource {
 public:
  CountedReads(const Tensor& tensor, int& reads) : inner_(streamed(tensor).planes), reads_(reads) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override { return inner_->view(index); }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    ++reads_;
    inner_->read_units(begin, end, out);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return inner_->whole(index); }

 private:
  std::shared_ptr<const tensor::PlaneSource> inner_;
  int& reads_;
};

TEST_CASE("recode_makes_zero_points_of_a_constant_zero_without_a_look_at_the_source") {
  std::mt19937_64 random(17);
  struct Case {
    Scheme from, to;
    std::uint64_t flip, zero;
  };
  const auto scales = [](Block block) { return std::vector{level(DType::f16, block)}; };
  const Case cases[] = {
      {numbers(DType::u4, scales(group(16)), convert::zero(8)),
       numbers(DType::u4, scales(group(16)), zero_points(DType::u4, group(16))), 0, 8},
      {numbers(DType::u8, scales(kRow), convert::zero(131)),
       numbers(DType::u8, scales(kRow), zero_points(DType::u8, kRow)), 0, 131},
      {numbers(DType::i8, scales(group(16))), numbers(DType::u8, scales(group(16)), zero_points(DType::u8, group(16))),
       128, 128},
  };
  for (const Shape& shape : std::vector<Shape>{{16, 64}, {37, 80}, {2, 19, 33}}) {
    for (const auto& [from, to, flip, zero] : cases) {
      PlainTensor plain = checkpoint_like(shape, from, true, random);
      Tensor source = test::as_tensor(plain);
      int reads = 0;
      source.planes = std::make_shared<CountedReads>(source, reads);
      const Recoded result = recode(source, {to, {}});
      REQUIRE(result.proof == ProofClass::exact);
      const auto facts = affine_facts(result.tensor);
      REQUIRE(facts);
      CHECK(facts->zero == static_cast<std::int32_t>(zero));
      CHECK(reads == 0);
      for (std::uint64_t& code : plain.codes) code ^= flip;
      plain.levels.emplace_back(plain.levels[0].size(), zero);
      plain.scheme = to;
      CHECK(plane_bytes(result.tensor) == test::naive_planes(plain));  // of which padding is a part
    }
  }
}

TEST_CASE("recode_passes_planes_that_do_not_change_through_as_views") {
  std::mt19937_64 random(11);
  const Scheme from = numbers(DType::u4, {level(DType::f16, group(64))}, zero_points(DType::u4, group(64)));
  const Tensor source = test::as_tensor(checkpoint_like({32, 128}, from, true, random));
  const Scheme split = numbers(DType::u4, {level(DType::f16, group(32))}, zero_points(DType::u8, group(64)));
  const Recoded result = recode(source, {split, {}});
  REQUIRE(result.proof == ProofClass::exact);
  REQUIRE(result.tensor.planes->view(0));
  CHECK(result.tensor.planes->view(0)->data() == source.planes->view(0)->data());
  CHECK_FALSE(result.tensor.planes->view(1));
  const Scheme biased = numbers(DType::u4, {level(DType::f16, group(64))}, bias(DType::f32, group(64)));
  const Recoded with_bias = recode(source, {biased, {}});
  REQUIRE(with_bias.proof == ProofClass::exact);
  CHECK(with_bias.tensor.planes->view(0)->data() == source.planes->view(0)->data());
  CHECK(with_bias.tensor.planes->view(1)->data() == source.planes->view(1)->data());
  CHECK_FALSE(with_bias.tensor.planes->view(2));
}

TEST_CASE("recode_to_first_prefers_exact_forms_in_their_order") {
  std::mt19937_64 random(12);
  const Scheme from = numbers(DType::u4, {level(DType::f16, group(32))}, zero_points(DType::u4, group(32)));
  const Tensor source = test::as_tensor(checkpoint_like({16, 64}, from, true, random));
  const StoredForm four{numbers(DType::u4, {level(DType::f16, group(32))}, zero(8)), {}};
  const StoredForm biased{numbers(DType::u4, {level(DType::f16, group(32))}, bias(DType::f16, group(32))), {}};
  const StoredForm five{numbers(DType::u5, {level(DType::f16, group(32))}, zero(16)), {}};
  CHECK(recode_to_first(source, {four, biased, five}).tensor.scheme == five.scheme);
  CHECK(recode_to_first(source, {four, biased}).proof == ProofClass::codes);
  const Recoded none = recode_to_first(source, {four});
  CHECK(none.proof == ProofClass::refused);
  CHECK(none.reason == recode(source, four).reason);
}

TEST_CASE("affine_facts_tell_zero_points_as_unsigned_codes") {
  std::mt19937_64 random(13);
  const auto facts = [&](const Scheme& scheme, std::uint64_t zero_element) {
    PlainTensor plain = checkpoint_like({17, 64}, scheme, true, random);
    if (plain.levels.size() > 1) std::fill(plain.levels[1].begin(), plain.levels[1].end(), zero_element);
    return affine_facts(test::as_tensor(plain));
  };
  const Block g32 = group(32);
  const auto equal = facts(numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u4, g32)), 9);
  REQUIRE(equal);
  CHECK(equal->bits == 4);
  CHECK(equal->zero == 9);
  CHECK(equal->block == g32);
  CHECK(facts(numbers(DType::i8, {level(DType::bf16, g32)}), 0)->zero == 128);
  CHECK(facts(numbers(DType::i8, {level(DType::bf16, g32)}, zero_points(DType::i8, g32)), 255)->zero == 127);
  CHECK(facts(numbers(DType::u4, {level(DType::bf16, g32)}, bias(DType::bf16, g32)), 0)->has_bias);
  CHECK_FALSE(facts(numbers(DType::u4, {level(DType::bf16, g32)}, bias(DType::bf16, g32)), 0)->zero);
  CHECK_FALSE(facts(table("nf4", DType::u4, {level(DType::f32, g32)}), 0));
  CHECK_FALSE(facts(Scheme::plain(DType::f32), 0));
  const auto mixed = affine_facts(test::as_tensor(checkpoint_like(
      {40, 64}, numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u4, g32)), true, random)));
  CHECK_FALSE(mixed->zero);
  CHECK(mixed->least_zero == 0);
  CHECK(mixed->greatest_zero == 15);
}

}  // namespace ingot::convert

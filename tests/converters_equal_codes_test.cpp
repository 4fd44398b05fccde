// The proof without values: equal codes and parameters have the fingerprint of their values, and whatever differs is
// left to the values. Biases made of zero points many at a time: the numbers of the formula, or none.
#include "converters/conversion/equal_codes.h"

#include <bit>
#include <numeric>

#include "converters/conversion/stored_units.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/unit_fingerprint.h"
#include "recode_checks.h"

namespace ingot::convert::recoding {
namespace {

Scheme with_zero_points(DType scale, std::uint32_t cols) {
  return numbers(DType::u4, {level(scale, group(cols))}, zero_points(DType::u8, group(cols)));
}
Scheme with_biases(DType type, std::uint32_t cols) {
  return numbers(DType::u4, {level(type, group(cols))}, bias(type, group(cols)));
}

constexpr Shape::value_type kRows = 90, kCols = 2304;  // several blocks of the fingerprint, which tiles do not divide

PlainTensor any_zero_points(DType scale, std::uint32_t cols, std::mt19937_64& random) {
  PlainTensor plain = test::random_tensor({kRows, kCols}, with_zero_points(scale, cols), Packing::tiles, true, random);
  for (std::uint64_t& zero : plain.levels[1]) zero = random() % 17;
  return plain;
}

/// The same tensor with groups of half the size.
PlainTensor split(const PlainTensor& plain) {
  PlainTensor result = plain;
  const std::uint32_t cols = plain.scheme.scales[0].block.cols / 2;
  result.scheme = with_zero_points(plain.scheme.scales[0].type, cols);
  for (auto& numbers_of_level : result.levels) {
    std::vector<std::uint64_t> twice;
    for (const std::uint64_t number : numbers_of_level) twice.insert(twice.end(), 2, number);
    numbers_of_level = std::move(twice);
  }
  return result;
}

/// The same tensor with codes of 5 bits around one zero, in groups of `cols`.
PlainTensor in_five_bits(const PlainTensor& plain, std::uint32_t cols) {
  constexpr std::uint64_t kZero = 16;
  const std::uint64_t width = plain.scheme.scales[0].block.cols;
  const std::uint64_t groups = (kCols + width - 1) / width, parts = width / cols;
  PlainTensor result = plain;
  result.scheme = numbers(DType::u5, {level(plain.scheme.scales[0].type, group(cols))}, zero(kZero));
  result.levels = {{}};
  for (const std::uint64_t scale : plain.levels[0]) result.levels[0].insert(result.levels[0].end(), parts, scale);
  for (std::uint64_t row = 0; row < kRows; ++row)
    for (std::uint64_t col = 0; col < kCols; ++col)
      result.codes[row * kCols + col] += kZero - plain.levels[1][row * groups + col / width];
  return result;
}

Hash128 codes_of(const Tensor& tensor) {
  CodeHashes hashes(tensor);
  StoredUnits units(tensor);
  units.read(0, tensor.geometry().units);
  hashes.add(0, tensor.geometry().units, units.planes());
  return hashes.finish();
}

Tensor biased(const Tensor& tensor, DType type, std::uint32_t cols) {
  Recoded recoded = recode(tensor, {with_biases(type, cols), {}});
  REQUIRE(recoded.proof == ProofClass::exact);
  return recoded.tensor;
}

std::vector<std::uint32_t> shuffled(std::uint64_t count, std::mt19937_64& random) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

/// Of the float matrix whose element (rows[i], cols[j]) is element (i, j) of `stored`.
std::string fingerprint_of_moved(const Tensor& stored, const std::vector<std::uint32_t>& rows,
                                 const std::vector<std::uint32_t>& cols) {
  const std::vector<float> before = values(stored);
  std::mt19937_64 random(0);
  PlainTensor moved = test::random_tensor({kRows, kCols}, numbers(DType::f32, {}), Packing::rows, true, random);
  for (std::uint64_t row = 0; row < kRows; ++row)
    for (std::uint64_t col = 0; col < kCols; ++col)
      moved.codes[rows[row] * kCols + cols[col]] = std::bit_cast<std::uint32_t>(before[row * kCols + col]);
  return tensor::fingerprint(test::as_tensor(moved)).hex();
}

}  // namespace

TEST_CASE("equal_codes_and_parameters_have_the_fingerprint_of_their_values") {
  std::mt19937_64 random(11);
  for (const DType scale : {DType::f16, DType::bf16, DType::f32}) {
    const PlainTensor plain = any_zero_points(scale, 128, random);
    const Tensor tensor = test::as_tensor(plain);
    const std::string expected = tensor::fingerprint(tensor).hex();
    CHECK(fingerprint_if_equal_codes(tensor, test::as_tensor(plain)).value().hex() == expected);
    CHECK(fingerprint_if_equal_codes(tensor, test::as_tensor(split(plain))).value().hex() == expected);
    CHECK(fingerprint_if_equal_codes(test::as_tensor(split(plain)), tensor).value().hex() == expected);
    if (scale == DType::f32) continue;
    CHECK(fingerprint_if_equal_codes(tensor, biased(tensor, DType::f32, 128)).value().hex() == expected);
    CHECK(fingerprint_if_equal_codes(tensor, biased(tensor, DType::f32, 32)).value().hex() == expected);
  }
}

TEST_CASE("codes_that_moved_with_their_zeros_have_the_fingerprint_of_their_values") {
  std::mt19937_64 random(18);
  for (const DType scale : {DType::f16, DType::bf16, DType::f32}) {
    for (const auto& [width, cols] : {std::pair(128u, 128u), std::pair(128u, 32u), std::pair(1024u, 1024u)}) {
      const PlainTensor plain = any_zero_points(scale, width, random);
      const Tensor before = test::as_tensor(plain), after = test::as_tensor(in_five_bits(plain, cols));
      const std::string expected = tensor::fingerprint(before).hex();
      CAPTURE(cols);
      CHECK(tensor::fingerprint(after).hex() == expected);
      CHECK(fingerprint_if_equal_codes(before, after).value().hex() == expected);
      CHECK(has_equal_codes(before, codes_of(before), after));
    }
  }
}

TEST_CASE("moved_codes_that_differ_in_one_number_are_seen") {
  std::mt19937_64 random(19);
  const PlainTensor plain = any_zero_points(DType::f16, 128, random);
  const Hash128 codes = codes_of(test::as_tensor(plain));
  for (int i = 0; i < 40; ++i) {
    PlainTensor before = plain, after = in_five_bits(plain, 32);
    const std::uint64_t at = random();
    if (i % 4 == 0) after.codes[at % after.codes.size()] ^= 1u << i / 4 % 5;
    if (i % 4 == 1) after.levels[0][at % after.levels[0].size()] ^= 1;
    if (i % 4 == 2) before.levels[0][at % before.levels[0].size()] ^= 1;
    if (i % 4 == 3) before.levels[1][at % before.levels[1].size()] ^= 1;
    CAPTURE(i);
    const Tensor a = test::as_tensor(before), b = test::as_tensor(after);
    CHECK_FALSE(fingerprint_if_equal_codes(a, b).has_value());
    CHECK_FALSE(has_equal_codes(a, codes, b));
  }
  PlainTensor after = in_five_bits(plain, 32);
  after.codes.back() = 31 - after.codes.back();
  CHECK_FALSE(has_equal_codes(test::as_tensor(plain), codes, test::as_tensor(after)));
}

TEST_CASE("one_code_scale_or_zero_point_that_differs_is_seen") {
  std::mt19937_64 random(12);
  const PlainTensor plain = any_zero_points(DType::f16, 128, random);
  const Tensor tensor = test::as_tensor(plain);
  for (const bool halved : {false, true}) {
    for (int i = 0; i < 20; ++i) {
      PlainTensor other = halved ? split(plain) : plain;
      const std::uint64_t at = random();
      if (i % 3 == 0) other.codes[at % other.codes.size()] ^= 1u << at % 4;
      if (i % 3 == 1) other.levels[0][at % other.levels[0].size()] ^= 1;
      if (i % 3 == 2) other.levels[1][at % other.levels[1].size()] ^= 1;
      CAPTURE(i);
      CHECK_FALSE(fingerprint_if_equal_codes(tensor, test::as_tensor(other)).has_value());
      CHECK_FALSE(fingerprint_if_equal_codes(test::as_tensor(other), tensor).has_value());
    }
  }
}

TEST_CASE("what_only_values_can_tell_is_left_to_them") {
  std::mt19937_64 random(13);
  PlainTensor plain = any_zero_points(DType::f16, 128, random);
  const Tensor tensor = test::as_tensor(plain);
  const Tensor other_groups = test::as_tensor(any_zero_points(DType::f16, 96, random));
  CHECK_FALSE(fingerprint_if_equal_codes(tensor, other_groups).has_value());
  PlainTensor wide = plain;
  wide.scheme.codes.type = DType::u8;
  CHECK_FALSE(fingerprint_if_equal_codes(tensor, test::as_tensor(wide)).has_value());
  plain.levels[0][5] = 0x7E00;  // NaN: the bytes are equal, and so are the values
  const Tensor with_nan = test::as_tensor(plain);
  CHECK(fingerprint_if_equal_codes(with_nan, with_nan).value().hex() == tensor::fingerprint(with_nan).hex());
}

/// scale * (code - zero) is infinite where scale * code - scale * zero is no number, though scales and constants agree.
TEST_CASE("infinite_scales_are_equal_to_nothing_in_another_form") {
  std::mt19937_64 random(16);
  PlainTensor zeros = any_zero_points(DType::f16, 128, random);
  for (const bool infinite : {false, true}) {
    zeros.levels[0][5] = infinite ? 0x7C00 : 0x3C00;
    zeros.levels[1][5] = 3;
    PlainTensor biases = zeros;
    biases.scheme = with_biases(DType::f32, 128);
    for (std::size_t i = 0; i < zeros.levels[0].size(); ++i) {
      const float scale = tensor::f16_to_f32(static_cast<std::uint16_t>(zeros.levels[0][i]));
      biases.levels[0][i] = std::bit_cast<std::uint32_t>(scale);
      biases.levels[1][i] = std::bit_cast<std::uint32_t>(-(scale * static_cast<float>(zeros.levels[1][i])));
    }
    const Tensor a = test::as_tensor(zeros), b = test::as_tensor(biases);
    CAPTURE(infinite);
    CHECK(fingerprint_if_equal_codes(a, b).has_value() != infinite);
    CHECK(fingerprint_if_equal_codes(b, a).has_value() != infinite);
    CHECK((tensor::fingerprint(a) == tensor::fingerprint(b)) != infinite);
    CHECK(fingerprint_if_equal_codes(a, test::as_tensor(split(zeros))).has_value() != infinite);
  }
}

TEST_CASE("rows_and_columns_that_moved_are_never_compared_as_codes") {
  std::mt19937_64 random(17);
  const PlainTensor plain = any_zero_points(DType::f16, 128, random);
  const Tensor stored = test::as_tensor(plain);
  const std::vector<std::uint32_t> rows = shuffled(kRows, random), cols = shuffled(kCols, random);
  std::vector<std::uint32_t> all_rows(kRows), all_cols(kCols);
  std::iota(all_rows.begin(), all_rows.end(), 0u);
  std::iota(all_cols.begin(), all_cols.end(), 0u);
  const auto in_order = [&](TransformKind kind, const std::vector<std::uint32_t>& order) {
    Tensor tensor = stored;
    tensor.transforms = {{kind, 0, std::make_shared<const std::vector<std::uint32_t>>(order)}};
    return tensor;
  };
  PlainTensor act_order = plain;
  act_order.scheme.order = tensor::Order::permutation;
  act_order.order = cols;
  Tensor both = in_order(TransformKind::row_order, rows);
  both.transforms.push_back(in_order(TransformKind::column_order, cols).transforms[0]);
  const std::pair<Tensor, std::string> cases[] = {
      {in_order(TransformKind::row_order, rows), fingerprint_of_moved(stored, rows, all_cols)},
      {in_order(TransformKind::column_order, cols), fingerprint_of_moved(stored, all_rows, cols)},
      {both, fingerprint_of_moved(stored, rows, cols)},
      {test::as_tensor(act_order), fingerprint_of_moved(stored, all_rows, cols)},
  };
  const std::string unmoved = tensor::fingerprint(stored).hex();
  for (const auto& [moved, expected] : cases) {
    CHECK(expected != unmoved);
    CHECK(tensor::fingerprint(moved).hex() == expected);
    CHECK_FALSE(tensor::UnitFingerprint::takes(moved));
    CHECK_FALSE(fingerprint_if_equal_codes(moved, stored).has_value());
    CHECK_FALSE(fingerprint_if_equal_codes(stored, moved).has_value());
  }
}

TEST_CASE("biases_made_of_zero_points_are_minus_scale_times_zero") {
  std::mt19937_64 random(14);
  const PlainTensor plain = any_zero_points(DType::f16, 128, random);
  const Tensor made = biased(test::as_tensor(plain), DType::f32, 64);
  CHECK(tensor::fingerprint(made).hex() == tensor::fingerprint(test::as_tensor(plain)).hex());
  const std::vector<tensor::PlaneSpec> specs = made.plane_specs();
  std::vector<std::vector<std::byte>> planes(specs.size());
  std::vector<std::byte*> out;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    planes[i].resize(specs[i].total_bytes);
    out.push_back(planes[i].data());
  }
  made.planes->read_units(0, made.geometry().units, out);
  for (std::uint64_t row = 0; row < kRows; ++row) {
    for (std::uint64_t half = 0; half < kCols / 64; ++half) {
      const std::uint64_t from = row * (kCols / 128) + half / 2;
      const double scale = tensor::f16_to_f32(static_cast<std::uint16_t>(plain.levels[0][from]));
      const std::uint64_t at = row / 16 * specs[2].unit_bytes + (half * 16 + row % 16) * 4;
      float stored_scale = 0, stored_bias = 0;
      std::memcpy(&stored_scale, planes[1].data() + at, 4);
      std::memcpy(&stored_bias, planes[2].data() + at, 4);
      CHECK(static_cast<double>(stored_scale) == scale);
      CHECK(static_cast<double>(stored_bias) == -scale * static_cast<double>(plain.levels[1][from]));
    }
  }
}

TEST_CASE("biases_that_do_not_fit_their_type_are_not_made") {
  std::mt19937_64 random(15);
  PlainTensor plain = any_zero_points(DType::f16, 128, random);
  for (std::uint64_t& scale : plain.levels[0]) scale = 0x2C00;  // a power of two
  CHECK(recode(test::as_tensor(plain), {with_biases(DType::f16, 128), {}}).proof == ProofClass::exact);
  plain.levels[0][200] = 0x2C01;
  plain.levels[1][200] = 13;  // 11 bits times 4
  CHECK(recode(test::as_tensor(plain), {with_biases(DType::f16, 128), {}}).proof != ProofClass::exact);
  plain.levels[0][200] = 0x7C00;  // infinity times 0
  plain.levels[1][200] = 0;
  const Recoded recoded = recode(test::as_tensor(plain), {with_biases(DType::f32, 128), {}});
  if (recoded.proof == ProofClass::exact)
    CHECK(tensor::fingerprint(recoded.tensor).hex() == tensor::fingerprint(test::as_tensor(plain)).hex());
  PlainTensor wide = any_zero_points(DType::f32, 128, random);
  for (std::uint64_t& scale : wide.levels[0]) scale = 0x3F800000;
  CHECK(recode(test::as_tensor(wide), {with_biases(DType::f32, 128), {}}).proof == ProofClass::exact);
  wide.levels[0][200] = 0x3F800001;  // 24 bits times 4
  wide.levels[1][200] = 13;
  CHECK(recode(test::as_tensor(wide), {with_biases(DType::f32, 128), {}}).proof != ProofClass::exact);
}

}  // namespace ingot::convert::recoding

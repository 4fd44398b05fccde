// Where the order of roundings decides: operations in binary32 and zero points of float types, against the libraries
// that own the layouts (tests/data/tensor/make_owners.py) and against exact arithmetic on parameters chosen to hurt.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>

#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "tensor_oracle.h"

namespace ingot::tensor {
namespace {

using test::canonical;
using test::PlainTensor;

std::vector<std::byte> bytes_of_hex(const std::string& text) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 2 <= text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::vector<std::uint32_t> decoded_bits(const Tensor& tensor) {
  std::vector<float> values(tensor.elements());
  decode_logical(tensor, values);
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(canonical(value));
  return bits;
}

/// Decodes in both packings and compares with exact arithmetic; counts what is neither zero, infinite nor NaN.
std::size_t check_exact(PlainTensor plain) {
  std::vector<std::uint32_t> expected;
  for (std::uint64_t row = 0; row < plain.rows; ++row) {
    for (std::uint64_t col = 0; col < plain.cols; ++col)
      expected.push_back(canonical(test::exact_value(plain, row, col)));
  }
  std::optional<Hash128> fingerprints[2];
  for (const Packing packing : {Packing::rows, Packing::tiles}) {
    plain.packing = packing;
    const Tensor tensor = test::as_tensor(plain);
    const std::vector<std::uint32_t> got = decoded_bits(tensor);
    std::size_t at = 0;
    while (at < got.size() && got[at] == expected[at]) ++at;
    CAPTURE(describe(plain.scheme));
    CAPTURE(name(packing));
    CAPTURE(at);
    if (at < got.size()) CHECK(got[at] == expected[at]);
    CHECK(at == got.size());
    fingerprints[packing == Packing::tiles ? 1 : 0] = fingerprint(tensor);
  }
  CHECK(fingerprints[0] == fingerprints[1]);
  return static_cast<std::size_t>(std::count_if(expected.begin(), expected.end(), [](std::uint32_t bits) {
    return bits != 0 && (bits & 0x7FFFFFFFu) < 0x7F800000u;
  }));
}

/// Zeros of both signs, infinities, NaN, the ends of the range, and odd mantissas whose products need rounding.
const std::vector<std::uint64_t> kCorners = {0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x00000001,
                                             0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000,
                                             0x3F800001, 0xBF800003, 0x3F7FFFFF, 0x40400000, 0x3C010204, 0x44A066ED};

/// One row per corner; `cols` columns with the codes 0, 1, 2, ...
PlainTensor row_per_corner(Scheme scheme, std::uint64_t cols) {
  PlainTensor plain{{kCorners.size(), cols}, std::move(scheme), Packing::rows, 1, kCorners.size(), cols};
  const std::uint64_t codes = std::uint64_t{1} << bits(plain.scheme.codes.type);
  for (std::uint64_t i = 0; i < kCorners.size() * cols; ++i) plain.codes.push_back(i % cols % codes);
  return plain;
}

/// `values` in every row, once per column of parameters.
std::vector<std::uint64_t> in_every_row(const std::vector<std::uint64_t>& values) {
  std::vector<std::uint64_t> all;
  for (std::size_t row = 0; row < kCorners.size(); ++row) all.insert(all.end(), values.begin(), values.end());
  return all;
}

}  // namespace

TEST_CASE("values_are_those_of_the_library_that_owns_the_layout") {
  std::ifstream file(INGOT_TEST_DATA "/data/tensor/owners.json");
  std::stringstream text;
  text << file.rdbuf();
  const Json cases = parse_json(text.str(), "owners.json");
  for (const JsonMember& row : cases.as_object("owners.json")) {
    CAPTURE(row.first);
    Tensor tensor;
    tensor.name = row.first;
    tensor.scheme = scheme_from_json(row.second.at("scheme", ""), row.first);
    for (const Json& extent : row.second.at("shape", "").as_array("")) tensor.shape.push_back(extent.as_u64(""));
    std::vector<std::vector<std::byte>> planes;
    for (const Json& plane : row.second.at("planes", "").as_array(""))
      planes.push_back(bytes_of_hex(plane.as_string("")));
    tensor.planes = planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, Packing::rows);
    const std::vector<std::uint32_t> bits = decoded_bits(tensor);
    const std::string& expected = row.second.at("bits", "").as_string("");
    REQUIRE(expected.size() == 8 * bits.size());
    for (std::size_t i = 0; i < bits.size(); ++i) {
      CAPTURE(i);
      REQUIRE(bits[i] == std::stoul(expected.substr(8 * i, 8), nullptr, 16));
    }
  }
  CHECK(cases.as_object("owners.json").size() == 5);
}

TEST_CASE("a_divided_scale_is_binary32_for_every_e4m3_and_every_corner") {
  Scheme scheme;
  scheme.codes.type = DType::e2m1;
  scheme.scales = {{DType::e4m3, {1, 8}}, {DType::f32, {1, 0}, 1, 0, false, true}};
  scheme.rounded_scale = true;
  PlainTensor plain = row_per_corner(scheme, 8 * 256);
  std::vector<std::uint64_t> every(256);
  std::iota(every.begin(), every.end(), std::uint64_t{0});
  plain.levels = {in_every_row(every), kCorners};
  CHECK(check_exact(plain) > 10000);
}

TEST_CASE("a_stored_zero_keeps_its_sign_as_a_divisor") {
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::e4m3, DType::e5m2, DType::e2m1, DType::e2m3}) {
    CAPTURE(name(type));
    PlainTensor plain{{2, 1}, {}, Packing::rows, 1, 2, 1};
    plain.scheme.codes.type = DType::i8;
    plain.scheme.scales = {{type, {1, 0}, 1, 0, false, true}};
    plain.scheme.rounded_scale = true;
    plain.codes = {1, 1};
    plain.levels = {{0, std::uint64_t{1} << (bits(type) - 1)}};
    CHECK(decoded_bits(test::as_tensor(plain)) == std::vector<std::uint32_t>{0x7F800000, 0xFF800000});
  }
}

TEST_CASE("steps_round_after_every_operation_in_every_corner") {
  for (const DType type : {DType::i8, DType::u8}) {
    Scheme scheme;
    scheme.codes.type = type;
    scheme.rounded_steps = true;
    scheme.scales = {{DType::f32, {1, 0}}, {DType::f32, {1, 256}}};
    PlainTensor plain = row_per_corner(scheme, 256 * kCorners.size());
    plain.levels = {kCorners, in_every_row(kCorners)};
    CHECK(check_exact(plain) > 10000);
    for (const OffsetKind kind : {OffsetKind::bias, OffsetKind::minimum, OffsetKind::zero_points}) {
      plain.scheme.offset = {kind, 0, {{DType::f32, {1, 16}}}};
      plain.levels.resize(2);
      plain.levels.emplace_back();
      for (std::size_t i = 0; i < kCorners.size() * plain.cols / 16; ++i)
        plain.levels[2].push_back(kCorners[i % kCorners.size()]);
      CHECK(check_exact(plain) > 10000);
    }
  }
}

TEST_CASE("float_zero_points_are_rounded_once_between_two_numbers_too") {
  // Odd multiples of these scales lie in the middle of two binary32 numbers; a far smaller zero point decides.
  const std::vector<std::uint64_t> scales = {0x3F800001, 0x3F800003, 0xBF800005, 0x3F7FFFFF, 0x7F000001, 0x00800001,
                                             0x00000003, 0x7F800000, 0xFF800000, 0x00000000, 0x7FC00000, 0x4B7FFFFF};
  const std::vector<std::uint64_t> tiny = {0x0D800000, 0x8D800000, 0x00000001, 0x80000001, 0x2F800001, 0xAF7FFFFF,
                                           0x40400000, 0x40E00001, 0x41700000, 0x7F800000, 0x7FC00000, 0x7F7FFFFF};
  for (const DType type : {DType::u4, DType::i8}) {
    Scheme scheme;
    scheme.codes.type = type;
    scheme.scales = {{DType::f32, {1, 1}}};
    scheme.offset = {OffsetKind::zero_points, 0, {{DType::f32, {1, 1}}}};
    PlainTensor plain{{64, 144}, scheme, Packing::rows, 1, 64, 144};
    plain.levels.resize(2);
    for (std::uint64_t i = 0; i < 64 * 144; ++i) {
      plain.codes.push_back((i / 144 * 5 + i % 144 / 72) % (std::uint64_t{1} << bits(type)));
      plain.levels[0].push_back(scales[i % 12]);
      plain.levels[1].push_back(tiny[i / 12 % 12]);
    }
    CHECK(check_exact(plain) > 4000);
    plain.scheme.scales[0].block = plain.scheme.offset.levels[0].block = {1, 0};
    for (std::vector<std::uint64_t>& level : plain.levels) level.resize(64);
    for (std::size_t row = 0; row < 64; ++row) plain.levels[1][row] = tiny[row / 12 % 12];
    CHECK(check_exact(plain) > 1000);
  }
}

}  // namespace ingot::tensor

// compare_values: counts, errors and steps against figures worked out by hand.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "container_models.h"
#include "converters/registry.h"
#include "expect_error.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "tensor_oracle.h"

using namespace ingot;

namespace {

tensor::Tensor plain_f32(const tensor::Shape& shape, const std::vector<float>& values) {
  tensor::Tensor tensor;
  tensor.name = "t";
  tensor.shape = shape;
  tensor.scheme = tensor::Scheme::plain(tensor::DType::f32);
  std::vector<std::vector<std::byte>> planes(1);
  planes[0].resize(values.size() * sizeof(float));
  std::memcpy(planes[0].data(), values.data(), planes[0].size());
  tensor.planes = tensor::planes_in_memory(std::move(planes), shape, tensor.scheme, tensor.packing);
  return tensor;
}

/// One row of eight i8 codes with one float32 scale: packing rows.
tensor::Tensor row_of_codes(const std::vector<std::int8_t>& codes, float scale) {
  tensor::Tensor tensor;
  tensor.name = "t";
  tensor.shape = {1, codes.size()};
  tensor.scheme.codes = {tensor::CodeKind::number, tensor::DType::i8, {}};
  tensor.scheme.scales.push_back({tensor::DType::f32, {1, 0}});
  std::vector<std::vector<std::byte>> planes(2);
  planes[0].resize(codes.size());
  std::memcpy(planes[0].data(), codes.data(), codes.size());
  planes[1].resize(sizeof scale);
  std::memcpy(planes[1].data(), &scale, sizeof scale);
  tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
  return tensor;
}

}  // namespace

TEST_CASE("compare_of_a_tensor_with_itself_finds_nothing") {
  for (const tensor::Tensor& tensor : test::make_model_of_all_schemes().tensors) {
    CAPTURE(tensor.name);
    const convert::ValueComparison comparison = convert::compare_values(tensor, tensor);
    CHECK(comparison.elements == tensor.elements());
    CHECK(comparison.differing == 0);
    CHECK(comparison.worst_error == 0);
    CHECK(comparison.fingerprint_a == tensor::fingerprint(tensor));
    CHECK(comparison.fingerprint_b == comparison.fingerprint_a);
  }
}

TEST_CASE("compare_measures_errors_in_steps_of_the_scale") {
  const tensor::Tensor exact = plain_f32({1, 8}, {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 2.5f, 3.0f, 3.25f});
  const tensor::Tensor coded = row_of_codes({0, 1, 2, 3, 4, 5, 7, 6}, 0.5f);  // the last two: 3.5 for 3, 3.0 for 3.25
  const convert::ValueComparison comparison = convert::compare_values(exact, coded);
  CHECK(comparison.differing == 2);
  CHECK(comparison.worst_error == 0.5);
  CHECK(comparison.worst_error_steps == 1.0);
  CHECK(comparison.worst_element == 6);
  CHECK(comparison.rms_error == doctest::Approx(std::sqrt((0.25 + 0.0625) / 8)));
  CHECK(comparison.fingerprint_a != comparison.fingerprint_b);
}

TEST_CASE("steps_are_the_scales_of_every_element") {
  std::mt19937_64 random(9);
  for (const tensor::Packing packing : {tensor::Packing::rows, tensor::Packing::tiles}) {
    for (const tensor::DType type : {tensor::DType::f16, tensor::DType::bf16, tensor::DType::f32, tensor::DType::u8}) {
      for (const bool rotated : {false, true}) {
        tensor::Scheme scheme;
        scheme.codes = {tensor::CodeKind::number, tensor::DType::i8, {}};
        scheme.scales.push_back({type, {1, 32}});
        tensor::Tensor coded = test::as_tensor(test::random_tensor({72, 1120}, scheme, packing, true, random));
        coded.name = "t";
        if (rotated) coded.transforms.push_back({tensor::TransformKind::rope_interleave, 3});
        tensor::Tensor ones = coded;  // whose values are the scales
        std::vector<std::vector<std::byte>> planes(2);
        const std::vector<tensor::PlaneSpec> specs = coded.plane_specs();
        planes[0].resize(specs[0].total_bytes, std::byte{1});
        const Bytes scales = coded.planes->view(1).value();
        planes[1].assign(scales.begin(), scales.end());
        ones.planes = tensor::planes_in_memory(std::move(planes), coded.stored_shape(), scheme, packing);
        std::vector<float> sizes(coded.elements()), values(coded.elements());
        tensor::decode_logical(ones, sizes);
        tensor::decode_logical(coded, values);
        for (const std::size_t at : {std::size_t{0}, std::size_t{65535}, std::size_t{65536}, values.size() - 1}) {
          if (!std::isnormal(sizes[at])) continue;
          std::vector<float> moved = values;
          moved[at] += 3 * sizes[at];
          const double error = std::fabs(static_cast<double>(moved[at]) - values[at]);
          const convert::ValueComparison comparison = convert::compare_values(plain_f32(coded.shape, moved), coded);
          CAPTURE(at);
          CHECK(comparison.worst_element == at);
          CHECK(comparison.fingerprint_b == tensor::fingerprint(coded));
          CHECK(comparison.worst_error == error);
          CHECK(comparison.worst_error_steps == error / std::fabs(static_cast<double>(sizes[at])));
        }
      }
    }
  }
}

/// Numbers are read piece by piece, codes tile by tile, whichever side they are on.
TEST_CASE("both_sides_are_hashed_and_compared_whole") {
  std::mt19937_64 random(10);
  tensor::Scheme scheme;
  scheme.codes = {tensor::CodeKind::number, tensor::DType::i8, {}};
  scheme.scales.push_back({tensor::DType::f16, {1, 32}});
  for (const tensor::Shape& shape : {tensor::Shape{72, 1120}, tensor::Shape{3, 32}, tensor::Shape{64, 1024}}) {
    tensor::Tensor coded = test::as_tensor(test::random_tensor(shape, scheme, tensor::Packing::tiles, true, random));
    coded.name = "t";
    std::vector<float> values(coded.elements());
    tensor::decode_logical(coded, values);
    const std::size_t moved[] = {1, values.size() / 2 + 5, values.size() - 1};
    for (const std::size_t at : moved) values[at] = 1e30f;
    const tensor::Tensor numbers = plain_f32(shape, values);
    for (const bool turned : {false, true}) {
      const tensor::Tensor &a = turned ? coded : numbers, &b = turned ? numbers : coded;
      const convert::ValueComparison comparison = convert::compare_values(a, b);
      CHECK(comparison.differing == 3);
      CHECK(comparison.elements == values.size());
      CHECK(comparison.fingerprint_a == tensor::fingerprint(a));
      CHECK(comparison.fingerprint_b == tensor::fingerprint(b));
    }
  }
}

TEST_CASE("compare_measures_errors_of_tables_in_their_smallest_distance") {
  const auto row_of = [](const tensor::Codes& codes, float scale) {
    tensor::Tensor tensor;
    tensor.name = "t";
    tensor.shape = {1, 16};
    tensor.scheme.codes = codes;
    tensor.scheme.scales.push_back({tensor::DType::f32, {1, 0}});
    std::vector<std::vector<std::byte>> planes(2);
    for (int i = 0; i < 8; ++i) planes[0].push_back(static_cast<std::byte>(2 * i | (2 * i + 1) << 4));
    planes[1].resize(sizeof scale);
    std::memcpy(planes[1].data(), &scale, sizeof scale);
    tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor::Packing::rows);
    return tensor;
  };
  const tensor::Codes table{tensor::CodeKind::table, tensor::DType::u4, "iq4nl"};  // -127 .. 113, -10 and 1 are closest
  const convert::ValueComparison tables = convert::compare_values(row_of(table, 1.0f), row_of(table, 1.03125f));
  CHECK(tables.worst_error == 127.0 / 32);
  CHECK(tables.worst_error_steps == doctest::Approx(127.0 / 32 / (11 * 1.03125)));
  const tensor::Codes e2m1{tensor::CodeKind::number, tensor::DType::e2m1, {}};  // 0, 0.5, .. 6
  const convert::ValueComparison floats = convert::compare_values(row_of(e2m1, 1.0f), row_of(e2m1, 1.03125f));
  CHECK(floats.worst_error == 6.0 / 32);
  CHECK(floats.worst_error_steps == doctest::Approx(6.0 / 32 / (0.5 * 1.03125)));
}

TEST_CASE("compare_measures_floats_in_units_of_the_last_place") {
  const float one_up = std::nextafterf(1.0f, 2.0f);
  const convert::ValueComparison comparison =
      convert::compare_values(plain_f32({3}, {1.0f, 4.0f, 0.0f}), plain_f32({3}, {one_up, 4.0f, -0.0f}));
  CHECK(comparison.differing == 1);  // -0 counts as +0
  CHECK(comparison.worst_error_steps == 1.0);
}

TEST_CASE("compare_treats_nan_as_one_value") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const tensor::Tensor a = plain_f32({2}, {nan, 1.0f});
  CHECK(convert::compare_values(a, plain_f32({2}, {-nan, 1.0f})).differing == 0);
  const convert::ValueComparison comparison = convert::compare_values(a, plain_f32({2}, {0.0f, 1.0f}));
  CHECK(comparison.differing == 1);
  CHECK(std::isinf(comparison.worst_error));
}

TEST_CASE("compare_refuses_other_shapes") {
  CHECK(test::throws_kind(ErrorKind::mismatch, [] {
    (void)convert::compare_values(plain_f32({2}, {0, 1}), plain_f32({1, 2}, {0, 1}));
  }));
}

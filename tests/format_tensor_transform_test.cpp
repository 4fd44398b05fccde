// Declared transforms against their definitions in spec/transforms.md, element by element.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "expect_error.h"
#include "format/tensor/decode.h"
#include "streamed_planes.h"
#include "tensor_oracle.h"

namespace ingot::tensor {
namespace {

using test::canonical;
using test::PlainTensor;

Scheme four_bits_in_groups() {
  Scheme scheme;
  scheme.codes.type = DType::u4;
  scheme.scales = {{DType::f16, {1, 32}}};
  scheme.offset = {OffsetKind::zero, 8, {}};
  return scheme;
}

Permutation permutation(std::vector<std::uint32_t> order) {
  return std::make_shared<const std::vector<std::uint32_t>>(std::move(order));
}

/// Where element (r, c) of a stored matrix of `rows` x `cols` stands before `transform`: its row-major index.
std::uint64_t place_before(const Transform& transform, std::uint64_t r, std::uint64_t c, std::uint64_t rows,
                           std::uint64_t cols) {
  if (transform.kind == TransformKind::transpose) return c * rows + r;
  if (transform.kind == TransformKind::row_order) return (*transform.order)[r] * cols + c;
  if (transform.kind == TransformKind::column_order) return r * cols + (*transform.order)[c];
  if (transform.kind != TransformKind::rope_interleave) return r * cols + c;
  const std::uint64_t d = rows / transform.heads, k = r / d, i = r % d / 2, j = r % 2;
  return (k * d + j * (d / 2) + i) * cols + c;
}

/// `values` and `shape` of what is stored become those before `transform`.
void undo(const Transform& transform, std::vector<float>& values, Shape& shape) {
  const std::uint64_t cols = shape.size() < 2 ? 1 : shape.back();
  const std::uint64_t rows = shape.size() < 2 ? shape[0] : shape[shape.size() - 2];
  std::vector<float> before(values.size());
  for (std::uint64_t at = 0; at < values.size(); ++at) {
    const std::uint64_t in_matrix = at % (rows * cols), r = in_matrix / cols, c = in_matrix % cols;
    const bool add_one = transform.kind == TransformKind::add_one;
    before[at - in_matrix + place_before(transform, r, c, rows, cols)] = add_one ? values[at] - 1.0f : values[at];
  }
  values = before;
  if (transform.kind == TransformKind::transpose) std::swap(shape[shape.size() - 2], shape.back());
}

std::vector<std::uint32_t> canonical_bits(std::span<const float> values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(canonical(value));
  return bits;
}

struct Case {
  Scheme scheme;
  Packing packing;
  Shape logical;
  std::vector<Transform> transforms;
};

std::vector<Case> cases(std::mt19937_64& random) {
  const Scheme quantized = four_bits_in_groups(), plain32 = Scheme::plain(DType::f32);
  const Transform rope3{TransformKind::rope_interleave, 3}, rope1{TransformKind::rope_interleave, 1};
  const Transform transpose{TransformKind::transpose, 0}, add_one{TransformKind::add_one, 0};
  const auto moved = [&](TransformKind kind, std::size_t count) {
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random);
    return Transform{kind, 0, permutation(std::move(order))};
  };
  const auto rows = [&](std::size_t count) { return moved(TransformKind::row_order, count); };
  const auto columns = [&](std::size_t count) { return moved(TransformKind::column_order, count); };
  return {
      {quantized, Packing::tiles, {48, 70}, {rows(48)}},
      {quantized, Packing::tiles, {48, 70}, {columns(70)}},
      {quantized, Packing::rows, {36, 70}, {columns(70), rows(36), rope3}},
      {plain32, Packing::rows, {36}, {rows(36)}},
      {plain32, Packing::rows, {36, 70}, {rows(36), add_one, columns(70)}},
      {plain32, Packing::rows, {44, 30}, {columns(30), transpose, rows(30), columns(44)}},
      {quantized, Packing::tiles, {48, 70}, {rope3}},
      {quantized, Packing::rows, {36, 70}, {rope3}},
      {plain32, Packing::rows, {36, 70}, {rope3}},
      {plain32, Packing::rows, {36}, {rope3}},
      {plain32, Packing::rows, {30, 44}, {transpose}},
      {plain32, Packing::rows, {3, 30, 44}, {transpose}},
      {quantized, Packing::tiles, {70, 48}, {transpose}},
      {plain32, Packing::rows, {100}, {add_one}},
      {plain32, Packing::rows, {44, 30}, {rope1, transpose}},
      {plain32, Packing::rows, {44, 30}, {transpose, rope3}},
      {plain32, Packing::rows, {44, 30}, {transpose, rope3, transpose, rope1}},
      {Scheme::plain(DType::bf16), Packing::rows, {36, 70}, {rope3, add_one}},
  };
}

/// The logical tensor of a case and its values: those as stored, by the oracle, with the transforms undone.
Tensor made(const Case& each, std::mt19937_64& random, std::vector<float>& values) {
  Tensor logical;
  logical.shape = each.logical;
  logical.transforms = each.transforms;
  Shape shape = logical.stored_shape();
  const PlainTensor plain = test::random_tensor(shape, each.scheme, each.packing, true, random);
  values.clear();
  for (std::uint64_t row = 0; row < plain.matrices * plain.rows; ++row)
    for (std::uint64_t col = 0; col < plain.cols; ++col) values.push_back(test::exact_value(plain, row, col));
  for (std::size_t i = each.transforms.size(); i-- > 0;) undo(each.transforms[i], values, shape);
  Tensor tensor = test::as_tensor(plain);
  tensor.shape = each.logical;
  tensor.transforms = each.transforms;
  return tensor;
}

}  // namespace

TEST_CASE("transforms_are_undone") {
  std::mt19937_64 random(5);
  for (const Case& each : cases(random)) {
    CAPTURE(describe(each.scheme));
    CAPTURE(each.transforms.size());
    std::vector<float> values;
    const Tensor tensor = made(each, random, values);
    std::vector<float> got(tensor.elements());
    decode_logical(tensor, got);
    CHECK(canonical_bits(got) == canonical_bits(values));
    decode_logical(test::streamed(tensor), got);
    CHECK(canonical_bits(got) == canonical_bits(values));
    for (int trial = 0; trial < 10; ++trial) {
      const std::uint64_t begin = random() % values.size();
      std::vector<float> part(random() % (values.size() - begin + 1));
      decode_logical_range(tensor, begin, part);
      CHECK(canonical_bits(part) == canonical_bits(std::span(values).subspan(begin, part.size())));
    }
  }
}

TEST_CASE("transforms_that_do_not_fit_are_refused") {
  std::mt19937_64 random(5);
  Tensor tensor = test::as_tensor(test::random_tensor({6, 4}, Scheme::plain(DType::f32), Packing::rows, true, random));
  std::vector<float> out(24);
  for (const std::uint64_t heads : {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{2}}) {
    tensor.transforms = {{TransformKind::rope_interleave, heads}};
    CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { decode_logical(tensor, out); }));
  }
  for (const Transform& wrong : {Transform{TransformKind::row_order, 0, permutation({0, 1, 2, 3})},
                                 Transform{TransformKind::column_order, 0, permutation({0, 1, 2, 2})},
                                 Transform{TransformKind::column_order, 0, permutation({0, 1, 2, 4})}}) {
    tensor.transforms = {wrong};
    CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { decode_logical(tensor, out); }));
  }
  tensor.shape = {1, 2, 3, 4};
  tensor.transforms = {{TransformKind::transpose, 0}};
  CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { decode_logical(tensor, out); }));
}

}  // namespace ingot::tensor

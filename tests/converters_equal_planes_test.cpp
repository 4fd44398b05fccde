// The proof of moved tensors: the same bytes in the same form, whatever the scheme; one bit of any plane that differs
// is seen, and another form is never taken for the same.
#include "converters/conversion/equal_planes.h"

#include <bit>

#include "recode_checks.h"

namespace ingot::convert::recoding {
namespace {

/// Schemes with every kind of plane: slices of codes, tables, parameters sliced and whole, orders.
std::vector<Scheme> schemes() {
  return {
      numbers(DType::f16, {}),
      numbers(DType::u8, {level(DType::f16, kRow)}),
      numbers(DType::u4, {level(DType::bf16, group(64))}, zero_points(DType::u8, group(64))),
      ordered(numbers(DType::u4, {level(DType::f16, group(32))}, zero(8)), Order::permutation),
      ordered(numbers(DType::u4, {level(DType::f16, group(32))}, zero(8)), Order::group_index),
      numbers(DType::u7, {level(DType::f16, group(32))}, bias(DType::f16, group(32))),
      numbers(DType::u6, {level(DType::i8, group(16)), level(DType::f16, group(256))}, zero(32)),
      numbers(DType::e4m3, {level(DType::f32, Block{128, 128})}),
      numbers(DType::e4m3, {level(DType::f32, kAll)}),
      flat(table("nf4", DType::u4, {level(DType::u8, group(64), true), level(DType::f32, group(256))}), 64 * 256),
  };
}

}  // namespace

TEST_CASE("the_same_bytes_in_the_same_form_are_equal") {
  std::mt19937_64 random(21);
  for (const Scheme& scheme : schemes()) {
    const Tensor tensor = test::as_tensor(checkpoint_like({80, 1024}, scheme, false, random));
    const Tensor copy = in_memory(tensor);
    CAPTURE(scheme.codes.type);
    CHECK(have_equal_planes(tensor, copy));
    CHECK(have_equal_planes(streamed(tensor), copy));
    CHECK(have_equal_planes(tensor, streamed(copy)));
  }
}

TEST_CASE("one_bit_of_any_plane_that_differs_is_seen") {
  std::mt19937_64 random(22);
  for (const Scheme& scheme : schemes()) {
    const Tensor tensor = test::as_tensor(checkpoint_like({80, 1024}, scheme, false, random));
    for (std::size_t plane = 0; plane < tensor.plane_specs().size(); ++plane) {
      std::vector<std::vector<std::byte>> bytes = plane_bytes(tensor);
      for (const std::size_t at : {std::size_t{0}, random() % bytes[plane].size(), bytes[plane].size() - 1}) {
        const std::byte kept = bytes[plane][at];
        bytes[plane][at] ^= std::byte{1} << random() % 8;
        Tensor other = tensor;
        other.planes = tensor::planes_in_memory(bytes, tensor.stored_shape(), tensor.scheme, tensor.packing);
        CAPTURE(plane);
        CAPTURE(at);
        CHECK_FALSE(have_equal_planes(tensor, other));
        CHECK_FALSE(have_equal_planes(streamed(other), streamed(tensor)));
        bytes[plane][at] = kept;
      }
    }
  }
}

TEST_CASE("equal_bytes_in_another_form_are_not_equal") {
  std::mt19937_64 random(23);
  const Scheme scheme = numbers(DType::u8, {level(DType::f16, kRow)});
  const Tensor tensor = test::as_tensor(checkpoint_like({64, 64}, scheme, true, random));
  Tensor other = tensor;
  other.scheme.scales[0].type = DType::bf16;
  CHECK_FALSE(have_equal_planes(tensor, other));
  other = tensor;
  other.scheme.offset = zero(1);
  CHECK_FALSE(have_equal_planes(tensor, other));
  other = tensor;
  other.transforms = {Transform{TransformKind::rope_interleave, 2}};
  CHECK_FALSE(have_equal_planes(tensor, other));
  other = tensor;
  other.transforms = {Transform{TransformKind::transpose}};
  CHECK_FALSE(have_equal_planes(tensor, other));
}

}  // namespace ingot::convert::recoding

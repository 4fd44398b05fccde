// recode() on pairs of schemes: what is called exact is equal bit for bit, what is called codes stays within its bound.
#include "tests/recode_checks.h"

namespace ingot::convert {
namespace {

using namespace recoding;

std::vector<Scheme> all_schemes() {
  const Block g32 = group(32), g64 = group(64);
  Scheme nested = rounded(table("nf4", DType::u4, {level(DType::u8, g64, true), level(DType::f32, {4, 0})}));
  nested.scale_offset = true;
  return {
      numbers(DType::u4, {level(DType::f16, g32)}, zero(8)),
      numbers(DType::u5, {level(DType::f16, g32)}, zero(16)),
      numbers(DType::i8, {level(DType::f16, g32)}),
      numbers(DType::u4, {level(DType::f16, g32)}, bias(DType::f16, g32)),
      numbers(DType::u4, {level(DType::f16, g64)}, zero_points(DType::u8, g64)),
      numbers(DType::u4, {level(DType::f32, g32)}, zero_points(DType::u4, g32)),
      numbers(DType::u4, {level(DType::bf16, g64)}, bias(DType::bf16, g64)),
      numbers(DType::u4, {level(DType::f32, g64)}, bias(DType::f32, g64)),
      numbers(DType::u8, {level(DType::f16, kRow)}, zero(128)),
      numbers(DType::u8, {level(DType::f32, kRow)}, zero_points(DType::u8, kRow)),
      numbers(DType::i8, {level(DType::f32, kAll)}),
      numbers(DType::i8, {level(DType::f32, kRow)}, zero_points(DType::i8, kRow)),
      numbers(DType::u3, {level(DType::f16, g32)}, zero_points(DType::u3, g32)),
      numbers(DType::u2, {level(DType::f16, group(16))}, zero(2)),
      numbers(DType::u6, {level(DType::i8, group(16)), level(DType::f16, g64)}, zero(32)),
      numbers(DType::u4, {level(DType::u8, g32), level(DType::f16, g64)},
              minimum({level(DType::u8, g32), level(DType::f16, g64)})),
      numbers(DType::u4, {level(DType::f16, g64)}, zero_points(DType::f16, g64)),
      numbers(DType::u4, {level(DType::f16, {16, 32})}, zero(8)),
      ordered(numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u8, g32)), Order::group_index),
      ordered(numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u8, g32)), Order::permutation),
      numbers(DType::e2m1, {level(DType::e8m0, g32)}),
      numbers(DType::e2m1, {level(DType::e4m3, group(16)), level(DType::f32, kAll)}),
      table("custom", DType::u4, {level(DType::f32, g32)}),
      numbers(DType::e4m3, {level(DType::f32, kRow)}),
      numbers(DType::e4m3, {level(DType::e8m0, g32)}),
      table("nf4", DType::u4, {level(DType::f32, g64)}),
      flat(table("nf4", DType::u4, {level(DType::f32, kRow)}), 64),
      nested,
      stepped(numbers(DType::i8, {level(DType::f32, kRow), level(DType::f32, kAll)})),
      stepped(numbers(DType::u4, {level(DType::f32, g32)}, zero(8))),
      Scheme::plain(DType::e4m3),
      Scheme::plain(DType::bf16),
  };
}

}  // namespace

TEST_CASE("recode_of_every_pair_of_schemes_keeps_what_it_promises") {
  const std::vector<Scheme> schemes = all_schemes();
  for (const Scheme& from : schemes) {
    for (const Scheme& to : schemes) {
      const Outcome tame = try_pair(from, to, true, {{17, 128}}, 1);
      try_pair(from, to, false, {{6, 64}}, 2);
      if (from == to) CHECK(tame.exact == 1);
    }
  }
}

TEST_CASE("recode_is_exact_where_the_mathematics_permits") {
  const Block g16 = group(16), g32 = group(32), g64 = group(64), g128 = group(128);
  struct Pair {
    Scheme from, to;
  };
  const std::vector<Pair> pairs = {
      // zero points -> a wider type with a constant zero (Q5_0 form)
      {numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u4, g32)),
       numbers(DType::u5, {level(DType::f16, g32)}, zero(16))},
      {numbers(DType::u3, {level(DType::f16, g32)}, zero_points(DType::u8, g32)),
       numbers(DType::u4, {level(DType::f16, g32)}, zero(8))},
      {numbers(DType::u2, {level(DType::bf16, g16)}, zero_points(DType::u2, g16)),
       numbers(DType::u3, {level(DType::f32, g16)}, zero(4))},
      // a constant zero <-> signed codes <-> zero points
      {numbers(DType::u8, {level(DType::f16, g32)}, zero(128)), numbers(DType::i8, {level(DType::f16, g32)})},
      {numbers(DType::i8, {level(DType::f16, g32)}), numbers(DType::u8, {level(DType::f16, g32)}, zero(128))},
      {numbers(DType::u4, {level(DType::f16, g32)}, zero(8)), numbers(DType::i8, {level(DType::f32, g32)})},
      {numbers(DType::u4, {level(DType::f16, g32)}, zero(8)),
       numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u4, g32))},
      {numbers(DType::i8, {level(DType::f16, kRow)}),
       numbers(DType::u8, {level(DType::f16, g32)}, zero_points(DType::u8, g32))},
      {numbers(DType::i8, {level(DType::f32, kRow)}, zero_points(DType::u7, kRow)),
       numbers(DType::u8, {level(DType::f32, kRow)}, zero_points(DType::u8, kRow))},
      // zero points -> bias
      {numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u4, g32)),
       numbers(DType::u4, {level(DType::f16, g32)}, bias(DType::f32, g32))},
      {numbers(DType::i8, {level(DType::f16, g32)}),
       numbers(DType::u8, {level(DType::f16, g32)}, bias(DType::f16, g32))},
      {numbers(DType::u4, {level(DType::bf16, g64)}, zero(8)),
       numbers(DType::u4, {level(DType::bf16, g64)}, bias(DType::bf16, g64))},
      {numbers(DType::u4, {level(DType::f16, g64)}, zero_points(DType::u8, g64)),
       numbers(DType::u4, {level(DType::f16, g64)}, zero_points(DType::f16, g64))},
      // groups split
      {numbers(DType::u4, {level(DType::f16, g128)}, zero(8)), numbers(DType::u4, {level(DType::f16, g32)}, zero(8))},
      {numbers(DType::u4, {level(DType::f16, g128)}, zero_points(DType::u8, g64)),
       numbers(DType::u5, {level(DType::f16, g32)}, zero(16))},
      {numbers(DType::i8, {level(DType::f32, kAll)}), numbers(DType::i8, {level(DType::f32, g32)})},
      {numbers(DType::e4m3, {level(DType::f32, {16, 32})}), numbers(DType::e4m3, {level(DType::f32, g16)})},
      {numbers(DType::e4m3, {level(DType::bf16, {16, 64})}), numbers(DType::e4m3, {level(DType::f32, {8, 32})})},
      // two levels multiplied out
      {numbers(DType::u4, {level(DType::u8, g32), level(DType::f16, g64)},
               minimum({level(DType::u8, g32), level(DType::f16, g64)})),
       numbers(DType::u4, {level(DType::f32, g32)}, bias(DType::f32, g32))},
      {numbers(DType::u6, {level(DType::i8, g16), level(DType::f16, g64)}, zero(32)),
       numbers(DType::i8, {level(DType::f32, g16)})},
      {rounded(table("nf4", DType::u4, {level(DType::u8, g64, true), level(DType::f32, {4, 0})})),
       table("nf4", DType::u4, {level(DType::f32, g64)})},
      {numbers(DType::e2m1, {level(DType::e4m3, g16), level(DType::bf16, kAll)}),
       numbers(DType::e2m1, {level(DType::f32, g16)})},
      // floats and tables
      {numbers(DType::e2m1, {level(DType::e8m0, g32)}), table("custom", DType::u4, {level(DType::f32, g32)})},
      {numbers(DType::e2m1, {level(DType::e8m0, g32)}), numbers(DType::e4m3, {level(DType::bf16, g32)})},
      {numbers(DType::e2m1, {level(DType::e4m3, g16)}),
       numbers(DType::e2m1, {level(DType::e4m3, g16), level(DType::f32, kAll)})},
      {Scheme::plain(DType::e4m3), numbers(DType::e4m3, {level(DType::f32, kRow)})},
      {numbers(DType::e4m3, {level(DType::f32, kAll)}), numbers(DType::e4m3, {level(DType::f32, kRow)})},
      // orders
      {ordered(numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u4, g32)), Order::permutation),
       ordered(numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u4, g32)), Order::group_index)},
      {ordered(numbers(DType::u4, {level(DType::f16, g32)}, zero_points(DType::u4, g32)), Order::group_index),
       ordered(numbers(DType::u5, {level(DType::f16, g32)}, zero(16)), Order::permutation)},
      {ordered(numbers(DType::u4, {level(DType::f16, g32)}, zero(8)), Order::group_index),
       ordered(numbers(DType::u4, {level(DType::f16, g16)}, zero(8)), Order::group_index)},
      {ordered(numbers(DType::u4, {level(DType::f16, kRow)}, zero(8)), Order::permutation),
       numbers(DType::u4, {level(DType::f16, kRow)}, zero(8))},
      {numbers(DType::u4, {level(DType::f16, g32)}, zero(8)),
       ordered(numbers(DType::u4, {level(DType::f16, g32)}, zero(8)), Order::group_index)},
      // flat
      {flat(table("nf4", DType::u4, {level(DType::f32, kRow)}), 64), table("nf4", DType::u4, {level(DType::f32, g32)})},
      {table("nf4", DType::u4, {level(DType::f32, g64)}), flat(table("nf4", DType::u4, {level(DType::f32, kRow)}), 32)},
      {flat(table("nf4", DType::u4, {level(DType::f32, kRow)}), 128),
       flat(table("nf4", DType::u4, {level(DType::f32, kRow)}), 64)},
      // operations that are rounded to no effect
      {stepped(numbers(DType::u4, {level(DType::f32, g32)}, zero(8))),
       numbers(DType::u4, {level(DType::f32, g32)}, zero(8))},
  };
  const std::vector<Shape> shapes = {{16, 128}, {21, 128}, {3, 16, 256}, {1, 128}};
  for (const Pair& pair : pairs) {
    const Outcome outcome = try_pair(pair.from, pair.to, true, shapes, 2);
    CAPTURE(tensor::describe(pair.from));
    CAPTURE(tensor::describe(pair.to));
    CHECK(outcome.exact == 8);
  }
}

}  // namespace ingot::convert

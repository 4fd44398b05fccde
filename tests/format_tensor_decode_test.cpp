// decode.h against exact arithmetic (tensor_oracle.h): every family, every arithmetic, both packings, views and
// streams.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "expect_error.h"
#include "format/tensor/decode.h"
#include "format/tensor/unit_fingerprint.h"
#include "streamed_planes.h"
#include "tensor_oracle.h"

namespace ingot::tensor {
namespace {

using test::canonical;
using test::PlainTensor;
using test::streamed;

Level level(DType type, Block block, std::int32_t multiply = 1, std::int32_t add = 0) {
  return {type, block, multiply, add, false};
}

Scheme integers(DType type, std::vector<Level> scales, Offset offset = {}) {
  Scheme scheme;
  scheme.codes.type = type;
  scheme.scales = std::move(scales);
  scheme.offset = std::move(offset);
  return scheme;
}
Scheme table(std::string name, DType type, std::vector<Level> scales) {
  Scheme scheme = integers(type, std::move(scales));
  scheme.codes.kind = CodeKind::table;
  scheme.codes.table = std::move(name);
  return scheme;
}
Offset zero(std::int32_t value) { return {OffsetKind::zero, value, {}}; }
Offset zero_points(Level row) { return {OffsetKind::zero_points, 0, {row}}; }
Offset bias(DType type, Block block) { return {OffsetKind::bias, 0, {level(type, block)}}; }
Offset minimum(Level fine, Level coarse) { return {OffsetKind::minimum, 0, {fine, coarse}}; }

Level divide(DType type, Block block) { return {type, block, 1, 0, false, true}; }
Scheme rounded_scale(Scheme scheme) {
  scheme.rounded_scale = true;
  return scheme;
}
Scheme stepped(Scheme scheme) {
  scheme.rounded_steps = true;
  return scheme;
}

/// Operations in binary32, and zero points of float types.
void append_rounded(std::vector<Scheme>& list) {
  const Block g16{1, 16}, g32{1, 32}, g64{1, 64}, row{1, 0}, all{0, 0};
  const std::vector<Level> nvfp4 = {level(DType::e4m3, g16), divide(DType::f32, all)};
  const std::vector<Level> llm_int8 = {level(DType::f32, row), level(DType::f32, all)};
  const std::vector<Scheme> more = {
      rounded_scale(integers(DType::e2m1, nvfp4)),
      rounded_scale(
          integers(DType::e2m1, {divide(DType::e4m3, g16), divide(DType::e5m2, row), level(DType::f16, g32)})),
      rounded_scale(integers(DType::i8, {divide(DType::f32, row)}, bias(DType::f32, g32))),
      rounded_scale(integers(DType::u4, {level(DType::u32, g32), divide(DType::bf16, g16)}, zero(8))),
      rounded_scale(integers(DType::u4, {level(DType::i16, g32, 32767, 1)}, zero_points(level(DType::f32, g16)))),
      rounded_scale(integers(DType::f32, {level(DType::f32, g32), divide(DType::f32, {2, 40})})),
      stepped(integers(DType::i8, llm_int8)),
      stepped(integers(DType::i8, llm_int8, zero(-3))),
      stepped(integers(DType::i8, llm_int8, zero_points(level(DType::i8, g32)))),
      stepped(integers(DType::i8, llm_int8, zero_points(level(DType::i32, g32)))),
      stepped(integers(DType::i8, {level(DType::f16, g16)}, zero_points(level(DType::bf16, g32)))),
      stepped(integers(DType::u4, {level(DType::f32, g32), level(DType::f16, g16), level(DType::f32, all)},
                       bias(DType::f32, {1, 24}))),
      stepped(integers(DType::u4, {level(DType::f16, g64)}, zero_points(level(DType::f16, g64)))),
      stepped(integers(DType::u3, {level(DType::f32, g32)}, zero_points(level(DType::i32, row)))),
      stepped(integers(DType::u5, {level(DType::u8, g32), level(DType::f16, g64)},
                       minimum(level(DType::f32, g32), level(DType::f16, g64)))),
      stepped(integers(DType::e4m3, {level(DType::f32, {8, 24})}, bias(DType::f32, row))),
      stepped(integers(DType::i32, {level(DType::f32, g32)}, zero(5))),
      stepped(table("nf4", DType::u4, {level(DType::f32, g64), level(DType::u32, row)})),
      stepped(table("custom", DType::u8, {level(DType::f32, g32), level(DType::f32, g32)})),
      integers(DType::u4, {level(DType::f16, g64)}, zero_points(level(DType::f16, g64))),
      integers(DType::u4, {level(DType::bf16, g64)}, zero_points(level(DType::bf16, g64))),
      integers(DType::u3, {level(DType::f32, g32)}, zero_points(level(DType::f32, g16))),
      integers(DType::u8, {level(DType::f32, g32)}, zero_points(level(DType::f16, row))),
      integers(DType::i8, {level(DType::f32, all)}, zero_points(level(DType::bf16, all))),
      integers(DType::u2, {level(DType::u8, g16), level(DType::f16, g64)}, zero_points(level(DType::f32, g32))),
      integers(DType::u4, {level(DType::f32, g16), level(DType::f32, row)}, zero_points(level(DType::f32, g32))),
      integers(DType::u4, {}, zero_points(level(DType::f32, g32))),
      integers(DType::e5m2, {level(DType::f16, g32)}, zero_points(level(DType::f32, g32))),
      integers(DType::f32, {level(DType::f32, g32)}, zero_points(level(DType::f32, g32))),
  };
  list.insert(list.end(), more.begin(), more.end());
  Scheme shifted = more[20];
  for (const std::int32_t shift : {-64, 64}) {
    shifted.shift = shift;
    list.push_back(shifted);
  }
  for (const std::size_t i : {std::size_t{0}, std::size_t{6}, std::size_t{11}, std::size_t{12}, std::size_t{21}}) {
    for (const Order order : {Order::permutation, Order::group_index}) {
      list.push_back(more[i]);
      list.back().order = order;
    }
  }
}

std::vector<Scheme> schemes() {
  const Block g16{1, 16}, g32{1, 32}, g64{1, 64}, row{1, 0}, all{0, 0};
  std::vector<Scheme> list = {
      // GGUF
      integers(DType::u4, {level(DType::f16, g32)}, zero(8)),
      integers(DType::u4, {level(DType::f16, g32)}, bias(DType::f16, g32)),
      integers(DType::u5, {level(DType::f16, g32)}, zero(16)),
      integers(DType::u5, {level(DType::f16, g32)}, bias(DType::f16, g32)),
      integers(DType::i8, {level(DType::f16, g32)}),
      integers(DType::u2, {level(DType::u4, g16), level(DType::f16, g64)},
               minimum(level(DType::u4, g16), level(DType::f16, g64))),
      integers(DType::u3, {level(DType::i8, g16), level(DType::f16, g64)}, zero(4)),
      integers(DType::u4, {level(DType::u8, g32), level(DType::f16, g64)},
               minimum(level(DType::u8, g32), level(DType::f16, g64))),
      integers(DType::u5, {level(DType::u8, g32), level(DType::f16, g64)},
               minimum(level(DType::u8, g32), level(DType::f16, g64))),
      integers(DType::u6, {level(DType::i8, g16), level(DType::f16, g64)}, zero(32)),
      integers(DType::i8, {level(DType::f32, g64)}),
      integers(DType::u2, {level(DType::f16, g64)}, zero(1)),
      table("iq4nl", DType::u4, {level(DType::f16, g32)}),
      table("iq4nl", DType::u4, {level(DType::i8, g32), level(DType::f16, g64)}),
      table("binary", DType::u1, {level(DType::f16, g64)}),
      integers(DType::e2m1, {level(DType::e8m0, g32)}),
      integers(DType::e2m1, {level(DType::e4m3, g16)}),
      // GPTQ, AWQ, compressed-tensors, MLX, FP8, bitsandbytes
      integers(DType::u4, {level(DType::f16, g32)}, zero_points(level(DType::u4, g32))),
      integers(DType::u4, {level(DType::bf16, g32)}, zero_points(level(DType::u4, g64, 1, 1))),
      integers(DType::u8, {level(DType::f16, row)}, zero_points(level(DType::i8, row))),
      integers(DType::u7, {level(DType::f32, row)}, zero(64)),
      integers(DType::u4, {level(DType::bf16, g32)}, bias(DType::bf16, g32)),
      integers(DType::u4, {level(DType::f32, g32)}, bias(DType::f32, g32)),
      integers(DType::u8, {level(DType::bf16, g64)}, bias(DType::bf16, g64)),
      integers(DType::u6, {level(DType::f32, row)}, bias(DType::f16, g32)),
      integers(DType::e4m3, {level(DType::f32, {24, 40})}),
      integers(DType::e4m3, {level(DType::bf16, all)}),
      integers(DType::e5m2, {level(DType::f16, row)}),
      integers(DType::e4m3fnuz, {level(DType::f32, all)}),
      integers(DType::e5m2fnuz, {level(DType::f32, row)}),
      integers(DType::e3m2, {level(DType::e8m0, g32)}),
      integers(DType::e2m3, {level(DType::e8m0, g32)}),
      integers(DType::e2m1, {level(DType::e4m3, g16), level(DType::f32, all)}),
      table("nf4", DType::u4, {level(DType::f32, g64)}),
      table("fp4", DType::u4, {level(DType::f32, g64)}),
      table("custom", DType::u3, {level(DType::f32, g32)}),
      table("custom", DType::u8, {level(DType::f16, g32)}),
      integers(DType::i8, {level(DType::f32, row)}, zero_points(level(DType::i32, row))),
      // Odd combinations
      integers(DType::u1, {level(DType::f32, {0, 1})}),
      integers(DType::u4, {level(DType::f32, {1, 48}), level(DType::f32, {1, 72}), level(DType::f32, {3, 0})}),
      integers(DType::u4, {level(DType::f32, {1, 7}), level(DType::f32, all)},
               minimum(level(DType::f32, {1, 5}), level(DType::bf16, all))),
      integers(DType::u4, {level(DType::u6, {1, 16}, 2, 1), level(DType::f16, {1, 64})},
               zero_points(level(DType::u1, {1, 8}, 2, -1))),
      integers(DType::u4, {}, bias(DType::f32, g32)),
      integers(DType::u4, {}, zero(-128)),
      integers(DType::bf16, {level(DType::f32, g32)}),
      integers(DType::f32, {level(DType::f32, g32)}, bias(DType::f32, g16)),
      integers(DType::i16, {level(DType::f16, g32)}, zero(5)),
      integers(DType::u32, {level(DType::f32, g32), level(DType::f32, g32)}),
      table("custom", DType::u4, {level(DType::f32, g32), level(DType::f32, all)}),
  };
  Scheme shifted = list[0];
  shifted.shift = -3;
  list.push_back(shifted);
  shifted.shift = 64;
  list.push_back(shifted);
  shifted = list[21];
  shifted.shift = -64;
  list.push_back(shifted);
  Scheme nested = table("nf4", DType::u4, {level(DType::u8, g64), level(DType::f32, {0, 0})});
  nested.scales[0].custom_table = true;
  nested.rounded_scale = true;
  nested.scale_offset = true;
  list.push_back(nested);
  append_rounded(list);
  for (const Order order : {Order::permutation, Order::group_index}) {
    for (const std::size_t i : {std::size_t{0}, std::size_t{17}, std::size_t{22}, std::size_t{39}}) {
      list.push_back(list[i]);
      list.back().order = order;
    }
  }
  return list;
}

bool allows_tiles(const Scheme& scheme) { return bits(scheme.codes.type) <= 8 && scheme.flat == 0; }

std::vector<float> oracle(const PlainTensor& plain) {
  std::vector<float> values;
  for (std::uint64_t row = 0; row < plain.matrices * plain.rows; ++row) {
    for (std::uint64_t col = 0; col < plain.cols; ++col) values.push_back(test::exact_value(plain, row, col));
  }
  return values;
}

/// Index of the first difference, or the size.
std::size_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  std::size_t i = 0;
  while (i < a.size() && i < b.size() && canonical(a[i]) == canonical(b[i])) ++i;
  return a.size() == b.size() ? i : a.size() + b.size();
}

std::vector<float> all_units(const Tensor& tensor) {
  const Geometry view = tensor.geometry();
  std::vector<float> values(rows_in_units(view, 0, view.units) * view.cols);
  decode_units(tensor, 0, view.units, values);
  return values;
}

}  // namespace

TEST_CASE("decoding_is_the_exact_value_rounded_once") {
  std::mt19937_64 random(20240229);
  const Shape shapes[] = {{16, 64}, {17, 65}, {15, 100}, {33, 31}, {1, 257}, {2, 5, 40}, {70}, {}};
  for (const Scheme& scheme : schemes()) {
    for (const Shape& shape : shapes) {
      for (const Packing packing : {Packing::rows, Packing::tiles}) {
        if (packing == Packing::tiles && !allows_tiles(scheme)) continue;
        for (const bool tame : {false, true}) {
          const PlainTensor plain = test::random_tensor(shape, scheme, packing, tame, random);
          const Tensor tensor = test::as_tensor(plain);
          const std::vector<float> expected = oracle(plain);
          const std::vector<float> got = all_units(tensor);
          const std::size_t at = first_difference(expected, got);
          CAPTURE(describe(scheme));
          CAPTURE(name(packing));
          CAPTURE(plain.rows);
          CAPTURE(plain.cols);
          CAPTURE(at);
          if (at < got.size()) {
            CAPTURE(expected[at]);
            CAPTURE(got[at]);
            REQUIRE(canonical(expected[at]) == canonical(got[at]));
          }
          REQUIRE(at == expected.size());
          CHECK(first_difference(expected, all_units(streamed(tensor))) == expected.size());
        }
      }
    }
  }
}

namespace {

Hash128 fingerprint_of_values(const Shape& shape, const std::vector<float>& values) {
  FingerprintBuilder builder(shape);  // one block
  builder.add_block(0, values);
  return builder.finish();
}

/// Through windows of one unit after the other.
Hash128 fingerprint_by_units(const Tensor& tensor) {
  UnitFingerprint fingerprint(tensor);
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  for (std::uint64_t unit = 0; unit < tensor.geometry().units; ++unit) {
    std::vector<Bytes> planes;
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const Bytes view = specs[i].sliced ? *tensor.planes->view(i) : Bytes();
      planes.push_back(view.subspan(specs[i].sliced ? unit * specs[i].unit_bytes : 0, specs[i].unit_bytes));
    }
    UnitFingerprint::Window& window = fingerprint.open(unit, unit + 1, std::move(planes));
    window.add(0, window.block_count());
  }
  return fingerprint.finish();
}

}  // namespace

TEST_CASE("fingerprints_of_tiles_are_those_of_exact_values_with_and_without_decoding") {
  std::mt19937_64 random(31);
  std::size_t taken = 0;
  for (const Scheme& scheme : schemes()) {
    if (!allows_tiles(scheme) || scheme.is_plain()) continue;
    for (const Shape& shape : {Shape{16, 64}, Shape{50, 96}, Shape{2, 17, 72}}) {
      for (const bool tame : {false, true}) {
        const PlainTensor plain = test::random_tensor(shape, scheme, Packing::tiles, tame, random);
        const Tensor tensor = test::as_tensor(plain);
        const std::string expected = fingerprint_of_values(shape, oracle(plain)).hex();
        CAPTURE(describe(scheme));
        CAPTURE(plain.rows);
        CAPTURE(plain.cols);
        CHECK(fingerprint(tensor).hex() == expected);
        CHECK(fingerprint(streamed(tensor)).hex() == expected);
        taken += CanonicalTiles::takes(tensor) ? 1 : 0;
        if (UnitFingerprint::takes(tensor)) CHECK(fingerprint_by_units(tensor).hex() == expected);
        if (shape[0] != 50) continue;
        Tensor moved = tensor;  // five heads of ten rows
        moved.transforms = {{.kind = TransformKind::rope_interleave, .heads = 5}};
        std::vector<float> values(moved.elements());
        decode_logical(moved, values);
        CHECK(fingerprint(moved).hex() == fingerprint_of_values(shape, values).hex());
        CHECK(fingerprint(streamed(moved)).hex() == fingerprint_of_values(shape, values).hex());
        CHECK_FALSE(UnitFingerprint::takes(moved));
      }
    }
  }
  CHECK(taken > 180);
}

TEST_CASE("flat_runs_ignore_the_shape") {
  std::mt19937_64 random(7);
  Scheme scheme = table("nf4", DType::u4, {level(DType::f32, {1, 0})});
  scheme.flat = 64;
  Scheme nested = table("nf4", DType::u4, {level(DType::u8, {1, 0}), level(DType::f32, {256, 0})});
  nested.flat = 32;
  nested.scales[0].custom_table = nested.rounded_scale = nested.scale_offset = true;
  for (const Scheme& each : {scheme, nested}) {
    for (const Shape& shape : {Shape{300, 100}, Shape{3, 5}, Shape{64}, Shape{2, 3, 77}}) {
      const PlainTensor plain = test::random_tensor(shape, each, Packing::rows, true, random);
      const Tensor tensor = test::as_tensor(plain);
      std::vector<float> expected = oracle(plain);
      CHECK(first_difference(expected, all_units(tensor)) == expected.size());
      expected.resize(tensor.elements());
      std::vector<float> got(tensor.elements());
      decode_logical(tensor, got);
      CHECK(first_difference(expected, got) == expected.size());
    }
  }
}

TEST_CASE("every_range_of_the_logical_tensor_is_the_same_part_of_the_whole") {
  std::mt19937_64 random(99);
  const std::vector<Scheme> list = schemes();
  for (const std::size_t i : {std::size_t{0}, std::size_t{7}, std::size_t{9}, std::size_t{13}, std::size_t{25},
                              list.size() - 1, list.size() - 5}) {
    for (const Shape& shape : {Shape{50, 90}, Shape{2, 20, 64}, Shape{3, 700}}) {
      for (const Packing packing : {Packing::rows, Packing::tiles}) {
        const PlainTensor plain = test::random_tensor(shape, list[i], packing, true, random);
        const Tensor tensor = test::as_tensor(plain);
        const std::vector<float> expected = oracle(plain);
        for (int trial = 0; trial < 20; ++trial) {
          const std::uint64_t begin = random() % expected.size();
          std::vector<float> got(random() % (expected.size() - begin + 1));
          decode_logical_range(trial % 2 == 0 ? tensor : streamed(tensor), begin, got);
          const std::vector<float> part(expected.begin() + static_cast<std::ptrdiff_t>(begin),
                                        expected.begin() + static_cast<std::ptrdiff_t>(begin + got.size()));
          REQUIRE(first_difference(part, got) == part.size());
        }
        std::vector<float> pieces;
        for_each_logical(tensor, 77, [&](std::uint64_t first, std::span<const float> values) {
          CHECK(first == pieces.size());
          CHECK(values.size() <= 77);
          pieces.insert(pieces.end(), values.begin(), values.end());
        });
        CHECK(first_difference(expected, pieces) == expected.size());
      }
    }
  }
}

TEST_CASE("tiles_wider_than_a_window_decode") {
  std::mt19937_64 random(41);
  for (const std::uint32_t group : {32u, 48u, 0u}) {  // 48: a group lies across the border of windows
    for (const DType codes : {DType::u4, DType::u6, DType::e4m3}) {
      const Scheme scheme = integers(codes, {level(DType::f16, {1, group})});
      const PlainTensor plain = test::random_tensor({17, 4200}, scheme, Packing::tiles, true, random);
      const std::vector<float> expected = oracle(plain);
      CHECK(first_difference(expected, all_units(test::as_tensor(plain))) == expected.size());
    }
  }
}

TEST_CASE("plain_types_of_every_width_decode") {
  std::mt19937_64 random(3);
  for (const DType type :
       {DType::f32,  DType::f16,  DType::bf16, DType::e4m3, DType::e5m2, DType::e4m3fnuz, DType::e5m2fnuz, DType::e3m2,
        DType::e2m3, DType::e2m1, DType::e8m0, DType::i32,  DType::i16,  DType::i8,       DType::u32,      DType::u16,
        DType::u8,   DType::u1,   DType::u2,   DType::u3,   DType::u4,   DType::u5,       DType::u6,       DType::u7}) {
    CAPTURE(name(type));
    const PlainTensor plain = test::random_tensor({9, 41}, Scheme::plain(type), Packing::rows, false, random);
    CHECK(first_difference(oracle(plain), all_units(test::as_tensor(plain))) == 9 * 41);
  }
  const std::int64_t integers[] = {0,         -1,       (std::int64_t{1} << 53) + 1, std::int64_t{-9007199791611905},
                                   INT64_MAX, INT64_MIN};
  std::vector<std::byte> bytes(sizeof integers);
  std::memcpy(bytes.data(), integers, sizeof integers);
  Tensor wide;
  wide.shape = {6};
  wide.scheme = Scheme::plain(DType::i64);
  wide.planes = planes_in_memory({bytes}, wide.shape, wide.scheme, Packing::rows);
  CHECK(all_units(wide) == std::vector<float>{0, -1, 0x1p53f, -9007200328482816.0f, 0x1p63f,
                                              -0x1p63f});  // rounded once, not through binary64
}

TEST_CASE("broken_orders_and_opaque_codes_are_refused") {
  std::mt19937_64 random(1);
  Scheme scheme = schemes()[0];
  for (const Order order : {Order::permutation, Order::group_index}) {
    scheme.order = order;
    PlainTensor plain = test::random_tensor({4, 64}, scheme, Packing::rows, true, random);
    plain.order[5] = order == Order::permutation ? plain.order[4] : 2;
    const Tensor tensor = test::as_tensor(plain);
    CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { (void)all_units(tensor); }));
  }
  const Tensor opaque =
      test::as_tensor(test::random_tensor({4}, Scheme::plain(DType::c64), Packing::rows, true, random));
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)all_units(opaque); }));
  const Tensor unknown =
      test::as_tensor(test::random_tensor({4}, table("iq9", DType::u4, {}), Packing::rows, true, random));
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)all_units(unknown); }));
}

TEST_CASE("specification_examples_decode_as_printed") {
  // spec/schemes/affine.md
  PlainTensor affine{{16, 8}, integers(DType::u4, {level(DType::f16, {1, 8})}, zero(8)), Packing::tiles, 1, 16, 8};
  for (std::uint64_t i = 0; i < 128; ++i) affine.codes.push_back((i / 8 + i % 8) % 16);
  affine.levels = {std::vector<std::uint64_t>(16, 0x3400)};
  const Tensor tiles = test::as_tensor(affine);
  const Bytes codes = *tiles.planes->view(0);
  const std::uint8_t printed[] = {0x10, 0x32, 0x54, 0x76, 0x21, 0x43, 0x65, 0x87, 0x32, 0x54, 0x76, 0x98};
  CHECK(std::memcmp(codes.data(), printed, sizeof printed) == 0);
  CHECK(std::to_integer<int>(codes[60]) == 0x0f);
  const std::vector<float> values = all_units(tiles);
  CHECK(std::vector<float>(values.begin(), values.begin() + 8) ==
        std::vector<float>{-2, -1.75, -1.5, -1.25, -1, -0.75, -0.5, -0.25});

  // spec/schemes/two_level.md
  PlainTensor two{{1, 64},
                  integers(DType::u4, {level(DType::u8, {1, 32}), level(DType::f16, {1, 256})},
                           minimum(level(DType::u8, {1, 32}), level(DType::f16, {1, 256}))),
                  Packing::rows,
                  1,
                  1,
                  64};
  two.codes.assign(64, 9);
  two.levels = {{3, 5}, {0x2E66}, {2, 0}, {0x2A3D}};
  const std::vector<float> super = all_units(test::as_tensor(two));
  CHECK(canonical(super[0]) == 0x40268500);
  CHECK(super[32] == 4.4989013671875f);

  // spec/schemes/table.md
  PlainTensor nf4{{1, 4}, table("nf4", DType::u4, {level(DType::f32, {1, 0})}), Packing::rows, 1, 1, 4};
  nf4.codes = {0, 7, 8, 15};
  nf4.levels = {{0x3F000000}};
  const std::vector<float> normal = all_units(test::as_tensor(nf4));
  CHECK(normal[0] == -0.5f);
  CHECK(canonical(normal[2]) == 0x3d22faff);
  CHECK(normal[3] == 0.5f);

  // spec/schemes/microscaling.md
  PlainTensor mx{{1, 32}, integers(DType::e2m1, {level(DType::e8m0, {1, 32})}), Packing::rows, 1, 1, 32};
  mx.codes.assign(32, 10);
  mx.codes[0] = 2;
  mx.codes[1] = 7;
  mx.levels = {{0x7e}};
  const std::vector<float> micro = all_units(test::as_tensor(mx));
  CHECK(micro[0] == 0.5f);
  CHECK(micro[1] == 3);
  CHECK(micro[2] == -0.5f);
}

}  // namespace ingot::tensor

// geometry.h against a bit-by-bit reading of spec/planes.md.
#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "expect_error.h"
#include "format/base/byte_reader.h"
#include "format/tensor/decode.h"
#include "format/tensor/geometry.h"
#include "format/tensor/grids.h"
#include "format/tensor/plane_block.h"
#include "format/tensor/tables.h"
#include "streamed_planes.h"
#include "tensor_oracle.h"

namespace ingot::tensor {
namespace {

constexpr DType kCodeTypes[] = {DType::u1, DType::u2, DType::u3, DType::u4, DType::u5, DType::u6, DType::u7, DType::u8};

Scheme with_scale(DType type, Block block = {1, 32}) {
  Scheme scheme;
  scheme.codes.type = type;
  scheme.scales = {{DType::f16, block, 1, 0, false}};
  return scheme;
}

bool equal_bytes(const std::vector<std::byte>& a, Bytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace

TEST_CASE("pack_unit_writes_the_specified_bits_and_unpack_unit_reads_them_back") {
  std::mt19937_64 random(42);
  for (const DType type : kCodeTypes) {
    for (const Packing packing : {Packing::rows, Packing::tiles}) {
      for (const std::uint64_t cols : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100}) {
        for (const std::uint64_t rows : {1, 15, 16, 17, 32, 33}) {
          CAPTURE(name(type));
          CAPTURE(rows);
          CAPTURE(cols);
          const test::PlainTensor plain = test::random_tensor({rows, cols}, with_scale(type), packing, true, random);
          const std::vector<std::vector<std::byte>> expected = test::naive_planes(plain);
          const Geometry view = geometry(plain.shape, plain.scheme, packing);
          const std::vector<PlaneSpec> specs = plane_specs(plain.shape, plain.scheme, packing);
          const std::size_t slices = specs.size() - 1;
          for (std::uint64_t unit = 0; unit < view.units; ++unit) {
            std::vector<std::uint8_t> codes(view.rows_per_unit * cols), back(codes.size());
            for (std::uint64_t i = 0; i < codes.size(); ++i) {
              const std::uint64_t row = unit * view.rows_per_unit + i / cols;
              codes[i] = row < rows ? static_cast<std::uint8_t>(plain.codes[row * cols + i % cols]) : 0;
            }
            std::vector<std::vector<std::byte>> packed;
            std::byte* planes[3] = {};
            for (std::size_t i = 0; i < slices; ++i) packed.emplace_back(specs[i].unit_bytes, std::byte{0xAA});
            for (std::size_t i = 0; i < slices; ++i) planes[i] = packed[i].data();
            pack_unit(view, bits(type), codes.data(), planes);
            for (std::size_t i = 0; i < slices; ++i) {
              REQUIRE(expected[i].size() == specs[i].total_bytes);
              REQUIRE(
                  equal_bytes(packed[i], Bytes(expected[i]).subspan(unit * specs[i].unit_bytes, specs[i].unit_bytes)));
            }
            unpack_unit(view, bits(type), planes, back.data());
            REQUIRE(back == codes);
          }
        }
      }
    }
  }
}

TEST_CASE("parameters_pack_column_by_column_in_tiles") {
  std::mt19937_64 random(43);
  for (const DType type : {DType::f16, DType::f32, DType::u8, DType::i8, DType::u4, DType::u6, DType::u1, DType::u3}) {
    for (const Packing packing : {Packing::rows, Packing::tiles}) {
      for (const std::uint64_t groups : {1, 2, 3, 8, 9}) {
        Scheme scheme = with_scale(DType::u4, {1, 8});
        scheme.scales[0].type = type;
        const test::PlainTensor plain = test::random_tensor({33, groups * 8 - 3}, scheme, packing, true, random);
        const std::vector<std::byte> expected = test::naive_planes(plain)[1];
        const Geometry view = geometry(plain.shape, scheme, packing);
        const PlaneSpec spec = plane_specs(plain.shape, scheme, packing)[1];
        REQUIRE(spec.cols == groups);
        REQUIRE(spec.total_bytes == expected.size());
        const std::size_t element_bytes = (bits(type) + 7u) / 8;
        for (std::uint64_t unit = 0; unit < view.units; ++unit) {
          std::vector<std::byte> elements(view.rows_per_unit * groups * element_bytes), packed(spec.unit_bytes),
              back(elements.size());
          for (std::uint64_t i = 0; i < view.rows_per_unit * groups; ++i) {
            const std::uint64_t row = unit * view.rows_per_unit + i / groups;
            const std::uint64_t element = row < 33 ? plain.levels[0][row * groups + i % groups] : 0;
            std::memcpy(elements.data() + i * element_bytes, &element, element_bytes);
          }
          pack_parameters(view, type, groups, elements.data(), packed.data());
          REQUIRE(equal_bytes(packed, Bytes(expected).subspan(unit * spec.unit_bytes, spec.unit_bytes)));
          unpack_parameters(view, type, groups, packed.data(), back.data());
          REQUIRE(back == elements);
        }
      }
    }
  }
}

TEST_CASE("planes_are_listed_in_the_order_of_the_specification") {
  Scheme scheme;
  scheme.codes = {CodeKind::table, DType::u7, "custom"};
  scheme.scales = {{DType::u8, {1, 64}, 1, 0, true}, {DType::f32, {4, 0}, 1, 0, false}};
  scheme.rounded_scale = scheme.scale_offset = true;
  scheme.offset = {OffsetKind::minimum, 0, {{DType::u4, {1, 16}, 1, 0, false}, {DType::f16, {1, 64}, 1, 0, false}}};
  scheme.order = Order::permutation;
  std::string roles;
  std::vector<std::uint64_t> sizes;
  for (const PlaneSpec& spec : plane_specs({2, 17, 70}, scheme, Packing::tiles)) {
    roles += spec.role + " ";
    sizes.push_back(spec.total_bytes);
  }
  CHECK(roles ==
        "codes codes_high codes_top scales_0 scales_1 mins_0 mins_1 table scale_table scale_offset permutation ");
  // Four tiles of 70 columns: 9, 5 and 3 words; 2 groups of 64; 5 blocks of rows per matrix; 5 groups of 16.
  CHECK(sizes == std::vector<std::uint64_t>{4 * 9 * 64, 4 * 5 * 64, 4 * 3 * 64, 4 * 2 * 16, 2 * 5 * 4, 4 * 5 * 8,
                                            4 * 2 * 32, 128 * 4, 256 * 4, 4, 70 * 4});
}

TEST_CASE("tiles_are_canonical_for_quantized_matrices_of_16_rows") {
  CHECK(canonical_packing({16, 5}, with_scale(DType::u4)) == Packing::tiles);
  CHECK(canonical_packing({2, 16, 5}, with_scale(DType::e4m3)) == Packing::tiles);
  CHECK(canonical_packing({15, 5}, with_scale(DType::u4)) == Packing::rows);
  CHECK(canonical_packing({64}, with_scale(DType::u4)) == Packing::rows);
  CHECK(canonical_packing({16, 5}, with_scale(DType::bf16)) == Packing::rows);
  CHECK(canonical_packing({16, 5}, Scheme::plain(DType::e4m3)) == Packing::rows);
  Scheme flat = with_scale(DType::u4, {1, 0});
  flat.flat = 64;
  CHECK(canonical_packing({16, 64}, flat) == Packing::rows);
  CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { (void)geometry({16, 64}, flat, Packing::tiles); }));
  CHECK(test::throws_kind(ErrorKind::invalid_value, [] {
    (void)geometry({16, 64}, Scheme::plain(DType::f32), Packing::tiles);
  }));
  CHECK(test::throws_kind(ErrorKind::invalid_value, [] {
    (void)geometry({16, 64}, Scheme::plain(DType::u8), Packing::tiles);  // nothing quantized
  }));
}

TEST_CASE("sizes_beyond_the_limits_are_refused") {
  const std::uint64_t big = std::uint64_t{1} << 52;
  for (const Shape& shape :
       {Shape{big, 4}, Shape{big * 2}, Shape{big, big}, Shape{0, big * 4}, Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}}) {
    CHECK(test::throws_kind(ErrorKind::limit_exceeded,
                            [&] { (void)plane_specs(shape, Scheme::plain(DType::u8), Packing::rows); }));
  }
  CHECK(test::throws_kind(ErrorKind::limit_exceeded,
                          [&] { (void)plane_specs({big}, Scheme::plain(DType::u16), Packing::rows); }));
  CHECK(test::throws_kind(ErrorKind::limit_exceeded, [&] {
    (void)plane_specs({big, 1}, with_scale(DType::u4), Packing::tiles);
  }));
  CHECK(plane_specs({big}, Scheme::plain(DType::u8), Packing::rows)[0].total_bytes == big);
  CHECK(geometry({0, 7}, with_scale(DType::u4), Packing::tiles).units == 0);
}

TEST_CASE("rows_in_units_leaves_padding_out") {
  const Geometry view = geometry({2, 20, 8}, with_scale(DType::u4), Packing::tiles);
  CHECK(view.units == 4);
  CHECK(rows_in_units(view, 0, 1) == 16);
  CHECK(rows_in_units(view, 1, 2) == 4);
  CHECK(rows_in_units(view, 1, 3) == 20);
  CHECK(rows_in_units(view, 0, 4) == 40);
  CHECK(rows_in_units(view, 2, 2) == 0);
}

TEST_CASE("grid_codes_decode_with_signs_and_scales") {
  // IQ2_XXS, one row of 32 columns: entries 0, 1, 255, 7; d = 1, sub-scale 3 -> 2^-3 * 7. Signs 0x84, 0x00, 0x81, 0xFF:
  // seven bits each, the eighth is their parity.
  Scheme scheme;
  scheme.codes = {CodeKind::grid, DType::u8, "iq2_xxs"};
  scheme.scales = {{DType::u4, {1, 32}, 2, 1, false}, {DType::f16, {1, 256}, 1, 0, false}};
  scheme.shift = -3;
  const auto bytes = [](std::initializer_list<int> values) {
    std::vector<std::byte> plane;
    for (const int value : values) plane.push_back(static_cast<std::byte>(value));
    return plane;
  };
  constexpr unsigned kSigns = 0x04u | 0x00u << 7 | 0x01u << 14 | 0x7Fu << 21;
  const auto sign_plane = bytes({kSigns & 255, kSigns >> 8 & 255, kSigns >> 16 & 255, kSigns >> 24});
  Tensor tensor;
  tensor.shape = {1, 32};
  tensor.scheme = scheme;
  tensor.planes = planes_in_memory({bytes({0, 1, 255, 7}), sign_plane, bytes({3}), bytes({0x00, 0x3C})}, tensor.shape,
                                   scheme, Packing::rows);
  std::vector<float> values(32);
  decode_logical(tensor, values);
  const std::vector<std::int8_t> grid = expand(*find_grid("iq2_xxs"));
  const int entries[] = {0, 1, 255, 7};
  const int signs[] = {0x84, 0, 0x81, 0xFF};
  for (std::size_t i = 0; i < 32; ++i) {
    const int element = grid[static_cast<std::size_t>(entries[i / 8]) * 8 + i % 8];
    CHECK(values[i] == static_cast<float>((signs[i / 8] >> i % 8 & 1) != 0 ? -element : element) * 0.875f);
  }
  CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { (void)plane_specs({1, 20}, scheme, Packing::rows); }));
  scheme.codes.table = "iq9";
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)plane_specs({1, 32}, scheme, Packing::rows); }));
  // The index type must reach the whole grid and nothing beyond.
  scheme.codes = {CodeKind::grid, DType::u8, "iq3_s"};
  CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { (void)plane_specs({1, 32}, scheme, Packing::rows); }));
  scheme.codes.type = DType::u9;
  CHECK(plane_specs({3, 256}, scheme, Packing::rows)[0].total_bytes == 3 * 72);
}

TEST_CASE("grid_indexes_of_nine_to_eleven_bits_are_a_dense_stream") {
  std::mt19937_64 random(11);
  for (const DType type : {DType::u9, DType::u10, DType::u11}) {
    CAPTURE(name(type));
    for (const std::uint64_t count : {1u, 2u, 7u, 8u, 9u, 64u}) {
      std::vector<std::byte> plain(2 * count), back(2 * count), stream(dense_bytes(type, count));
      std::vector<bool> expected(8 * stream.size());
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto index = static_cast<std::uint16_t>(random() % (1u << bits(type)));
        store_le(plain.data() + 2 * i, index);
        for (unsigned b = 0; b < bits(type); ++b) expected[i * bits(type) + b] = (index >> b & 1u) != 0;
      }
      pack_parameters(Geometry{}, type, count, plain.data(), stream.data());
      for (std::size_t b = 0; b < expected.size(); ++b)
        CHECK((std::to_integer<unsigned>(stream[b / 8]) >> b % 8 & 1u) == (expected[b] ? 1u : 0u));
      unpack_parameters(Geometry{}, type, count, stream.data(), back.data());
      CHECK(back == plain);
    }
  }
}

TEST_CASE("a block of copied planes holds the same bytes, each plane at the beginning of a line") {
  std::mt19937_64 random(12);
  for (const Packing packing : {Packing::rows, Packing::tiles}) {
    Scheme scheme = with_scale(DType::u6);
    scheme.codes = {CodeKind::table, DType::u4, std::string(kCustomTable)};
    const test::PlainTensor plain = test::random_tensor({33, 96}, scheme, packing, true, random);
    const std::vector<std::vector<std::byte>> expected = test::naive_planes(plain);
    Tensor tensor = test::as_tensor(plain);
    const auto copy = copied_planes(test::streamed(tensor));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      REQUIRE(copy->view(i).has_value());
      CHECK(equal_bytes(expected[i], *copy->view(i)));
      CHECK(reinterpret_cast<std::uintptr_t>(copy->view(i)->data()) % 64 == 0);
    }
    tensor.planes = copy;
    const auto again = copied_planes(test::streamed(tensor));
    CHECK(equal_bytes(expected[0], *again->view(0)));
  }
}

}  // namespace ingot::tensor

// Tiles of 4-bit codes: every build of the loops against the portable one, and fingerprints made without decoding
// against the values of an independent reading of the specification.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/tensor/canonical_reader.h"
#include "format/tensor/canonical_tiles.h"
#include "format/tensor/fingerprint.h"
#include "format/tensor/tile_loops.h"
#include "format/tensor/unit_fingerprint.h"
#include "tensor_oracle.h"

namespace ingot::tensor {
namespace {

using Words = std::vector<std::uint32_t>;

Words any_words(std::size_t count, std::mt19937_64& random) {
  Words words(count);
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
  return words;
}
std::byte* bytes_of(Words& words) { return reinterpret_cast<std::byte*>(words.data()); }

constexpr std::uint32_t kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7}, kInverse[8] = {0, 2, 4, 6, 1, 3, 5, 7};

Scheme scheme_of(DType codes, DType scale, std::uint32_t group, Offset offset) {
  Scheme scheme;
  scheme.codes.type = codes;
  scheme.scales = {{.type = scale, .block = {1, group}}};
  scheme.offset = std::move(offset);
  return scheme;
}
Offset with_level(OffsetKind kind, DType type, std::uint32_t group) {
  return {kind, 0, {{.type = type, .block = {1, group}}}};
}

/// What the tiles take: every kind of offset, group by group and row by row.
std::vector<Scheme> taken_schemes(std::uint32_t group) {
  std::vector<Scheme> schemes;
  const auto add = [&](DType scale, Offset offset) {
    schemes.push_back(scheme_of(DType::u4, scale, group, std::move(offset)));
  };
  for (const DType scale : {DType::f16, DType::bf16, DType::f32}) {
    add(scale, {});
    add(scale, {OffsetKind::zero, 8, {}});
    add(scale, with_level(OffsetKind::zero_points, DType::u8, group));
    for (const DType bias : {DType::f16, DType::bf16, DType::f32})
      add(scale, with_level(OffsetKind::bias, bias, group));
  }
  return schemes;
}

/// Values by the specification, hashed block by block.
Hash128 expected_fingerprint(const test::PlainTensor& plain) {
  std::vector<float> values;
  for (std::uint64_t row = 0; row < plain.matrices * plain.rows; ++row)
    for (std::uint64_t col = 0; col < plain.cols; ++col) values.push_back(test::exact_value(plain, row, col));
  FingerprintBuilder builder(plain.shape);
  for (std::uint64_t begin = 0; begin < values.size(); begin += kFingerprintBlockElems)
    builder.add_block(begin / kFingerprintBlockElems,
                      std::span(values).subspan(begin, std::min(kFingerprintBlockElems, values.size() - begin)));
  return builder.finish();
}

/// The same planes from a source that has no views of them.
class UnseenPlanes final : public PlaneSource {
 public:
  UnseenPlanes(std::shared_ptr<const PlaneSource> planes, std::vector<PlaneSpec> specs)
      : planes_(std::move(planes)), specs_(std::move(specs)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return planes_->whole(index); }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (out[i] == nullptr) continue;
      const Bytes bytes = planes_->view(i)->subspan(begin * specs_[i].unit_bytes, (end - begin) * specs_[i].unit_bytes);
      std::copy(bytes.begin(), bytes.end(), out[i]);
    }
  }

 private:
  std::shared_ptr<const PlaneSource> planes_;
  std::vector<PlaneSpec> specs_;
};

Tensor without_views(Tensor tensor) {
  tensor.planes = std::make_shared<UnseenPlanes>(tensor.planes, tensor.plane_specs());
  return tensor;
}

/// Through windows of `units` units, half of whose blocks are added at a time.
Hash128 fingerprint_by_windows(const Tensor& tensor, std::uint64_t units) {
  UnitFingerprint fingerprint(tensor);
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  const std::uint64_t all = tensor.geometry().units;
  for (std::uint64_t begin = 0; begin < all; begin += units) {
    const std::uint64_t end = std::min(begin + units, all);
    std::vector<Bytes> planes;
    for (std::size_t i = 0; i < specs.size(); ++i)
      planes.push_back(
          tensor.planes->view(i)->subspan(begin * specs[i].unit_bytes, (end - begin) * specs[i].unit_bytes));
    UnitFingerprint::Window& window = fingerprint.open(begin, end, std::move(planes));
    const std::uint64_t half = window.block_count() / 2;
    window.add(half, window.block_count());
    window.add(0, half);
  }
  return fingerprint.finish();
}

}  // namespace

TEST_CASE("rows_become_lines_and_lines_rows_alike_in_every_build") {
  std::mt19937_64 random(1);
  for (const std::uint64_t words : {0, 1, 7, 8, 9, 64, 65, 300}) {
    const std::uint64_t stride = words * 4 + 12;
    Words rows = any_words(16 * stride / 4, random);
    Words lines(16 * words), portable(16 * words);
    tile_loops().lines_of_rows(bytes_of(rows), stride, words, bytes_of(lines));
    tile_loops_portable().lines_of_rows(bytes_of(rows), stride, words, bytes_of(portable));
    CHECK(lines == portable);
    for (std::uint64_t k = 0; k < words; ++k) CHECK(lines[k * 16 + 5] == rows[5 * stride / 4 + k]);
    for (const TileLoops* loops : {&tile_loops(), &tile_loops_portable()}) {
      Words back = rows;
      for (std::uint64_t row = 0; row < 16; ++row) std::fill_n(back.begin() + row * stride / 4, words, 0u);
      loops->rows_of_lines(bytes_of(lines), words, bytes_of(back), stride);
      CHECK(back == rows);  // and nothing between the rows was touched
    }
  }
}

TEST_CASE("squares_of_nibbles_turn_over_alike_in_every_build") {
  std::mt19937_64 random(2);
  constexpr std::uint64_t kStride = 13;
  Words rows = any_words(8 * kStride, random);
  for (const TileLoops* loops : {&tile_loops(), &tile_loops_portable()}) {
    Words squares(64);
    loops->squares_of_rows(bytes_of(rows), kStride * 4, kOrder, bytes_of(squares));
    for (std::uint64_t i = 0; i < 8; ++i)
      for (std::uint64_t k = 0; k < 8; ++k)
        for (std::uint64_t row = 0; row < 8; ++row)
          CHECK((squares[i * 8 + k] >> 4 * row & 15u) == (rows[row * kStride + i] >> 4 * kOrder[k] & 15u));
    Words back = rows;
    for (std::uint64_t row = 0; row < 8; ++row) std::fill_n(back.begin() + row * kStride, 8, 0u);
    loops->rows_of_squares(bytes_of(squares), kInverse, bytes_of(back), kStride * 4);
    CHECK(back == rows);
  }
}

TEST_CASE("canonical_values_are_the_same_bits_in_every_build") {
  std::mt19937_64 random(3);
  Words words = any_words(80, random);
  for (std::uint32_t& word : words)  // no NaN of e4m3
    for (std::uint32_t byte = 0x7F; byte != 0; byte <<= 8) word ^= (word & byte) == byte ? byte : 0;
  std::vector<float> scales(16 * 10), zeros(16 * 10), adds(16 * 10), table(16);
  std::uniform_real_distribution<float> near_zero(-3, 3);
  for (float& scale : scales) scale = near_zero(random);
  for (float& zero : zeros) zero = static_cast<float>(random() % 16);
  for (float& add : adds) add = random() % 2 == 0 ? 0 : near_zero(random);
  for (float& entry : table) entry = near_zero(random) / 8;
  scales[7] = 0x1p-149f;
  scales[16 + 7] = std::numeric_limits<float>::max() / 256;
  zeros[7] = adds[7] = 0;
  const TileRuns runs{scales.data(), zeros.data(), adds.data(), 32};
  const std::vector<float> no_zeros(16 * 10), no_adds(16 * 10);
  const TileRuns products{scales.data(), no_zeros.data(), no_adds.data(), 32};
  for (const auto& [begin, end] : {std::pair<std::uint64_t, std::uint64_t>{0, 320}, {8, 48}, {24, 32}, {312, 320}}) {
    const auto made_by = [&, first = begin, last = end](const TileLoops& loops) {
      std::vector<Words> made(5, Words(320));
      loops.canonical_nibbles(bytes_of(words), first, last, runs, 7, made[0].data());
      loops.canonical_bytes(bytes_of(words), 0, first, last, runs, 7, made[1].data());
      loops.canonical_bytes(bytes_of(words), 0x80, first, last, runs, 7, made[2].data());
      loops.canonical_table16(bytes_of(words), table.data(), first, last, runs, 7, made[3].data());
      loops.canonical_e4m3(bytes_of(words), first, last, products, 7, made[4].data());
      return made;
    };
    CHECK(made_by(tile_loops()) == made_by(tile_loops_portable()));
    for (const Words& made : made_by(tile_loops()))
      CHECK(std::find(made.begin(), made.end(), 0x80000000u) == made.end());  // no -0
  }
}

TEST_CASE("fingerprints_of_tiles_are_those_of_the_exact_values") {
  std::mt19937_64 random(4);
  const std::vector<Shape> shapes = {{1, 8}, {16, 32}, {37, 64}, {3, 20, 40}, {170, 800}};  // the last of two blocks
  for (const Shape& shape : shapes) {
    for (const std::uint32_t group : {32u, 0u}) {
      for (const Scheme& scheme : taken_schemes(group)) {
        for (const bool tame : {true, false}) {
          const bool usual = scheme.scales[0].type == DType::f16 && scheme.offset.kind == OffsetKind::zero_points;
          if (shape[0] == 170 && (!tame || group == 0 || !usual)) continue;  // the oracle takes its time
          const test::PlainTensor plain = test::random_tensor(shape, scheme, Packing::tiles, tame, random);
          const Tensor tensor = test::as_tensor(plain);
          CAPTURE(describe(scheme));
          CAPTURE(shape[0]);
          REQUIRE(CanonicalTiles::takes(tensor));
          const Hash128 expected = expected_fingerprint(plain);
          CHECK(fingerprint(tensor).hex() == expected.hex());
          CHECK(fingerprint(without_views(tensor)).hex() == expected.hex());
          if (shape.size() != 2) continue;
          REQUIRE(UnitFingerprint::takes(tensor));
          for (const std::uint64_t units : {1, 2, 5, 1000})
            CHECK(fingerprint_by_windows(tensor, units).hex() == expected.hex());
        }
      }
    }
  }
}

/// The exact values by the specification, without -0.
Words canonical_values(const test::PlainTensor& plain) {
  Words values;
  for (std::uint64_t row = 0; row < plain.matrices * plain.rows; ++row) {
    for (std::uint64_t col = 0; col < plain.cols; ++col) {
      const float value = test::exact_value(plain, row, col);
      values.push_back(std::isnan(value) ? 0x7FC00000u : value == 0 ? 0u : std::bit_cast<std::uint32_t>(value));
    }
  }
  return values;
}

/// Read forward in pieces, some of them twice.
Words read_in_pieces(const Tensor& tensor, std::uint64_t piece) {
  CanonicalReader reader(tensor);
  std::vector<float> values(tensor.elements());
  for (std::uint64_t begin = 0; begin < values.size(); begin += piece) {
    const std::span<float> out = std::span(values).subspan(begin, std::min(piece, values.size() - begin));
    if (begin % 3 != 0) reader.read(begin, out, 0);
    reader.read(begin, out, 0);
  }
  Words words(values.size());
  std::memcpy(words.data(), values.data(), values.size() * sizeof(float));
  return words;
}

TEST_CASE("canonical_values_in_any_pieces_are_the_exact_ones") {
  std::mt19937_64 random(6);
  std::vector<Scheme> schemes = taken_schemes(32);
  schemes.push_back(scheme_of(DType::i8, DType::f16, 32, {}));                                            // as Q8_0
  schemes.push_back(scheme_of(DType::u3, DType::f32, 20, with_level(OffsetKind::bias, DType::f32, 20)));  // decoded
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    schemes.emplace_back();
    schemes.back().codes.type = type;
  }
  for (const Scheme& scheme : schemes) {
    for (const Shape& shape : std::vector<Shape>{{1, 8}, {37, 64}, {3, 20, 40}}) {
      const Packing packing = scheme.is_plain() ? Packing::rows : Packing::tiles;
      const test::PlainTensor plain = test::random_tensor(shape, scheme, packing, false, random);
      const Tensor tensor = test::as_tensor(plain);
      const Words expected = canonical_values(plain);
      CAPTURE(describe(scheme));
      CAPTURE(shape[0]);
      for (const std::uint64_t piece : {8, 40, 64, 136, 1032, 100000}) {
        CAPTURE(piece);
        CHECK(read_in_pieces(tensor, piece) == expected);
        CHECK(read_in_pieces(without_views(tensor), piece) == expected);
      }
    }
  }
}

TEST_CASE("tiles_of_other_schemes_are_left_to_the_decoder") {
  std::mt19937_64 random(5);
  const auto takes = [&](const Scheme& scheme, const Shape& shape) {
    return CanonicalTiles::takes(test::as_tensor(test::random_tensor(shape, scheme, Packing::tiles, true, random)));
  };
  const Scheme usual = scheme_of(DType::u4, DType::f16, 32, {});
  CHECK(takes(usual, {16, 64}));
  CHECK_FALSE(takes(usual, {16, 60}));  // words that are no whole ones
  CHECK_FALSE(takes(scheme_of(DType::u4, DType::f16, 12, {}), {16, 64}));
  CHECK_FALSE(
      takes(scheme_of(DType::u4, DType::f16, 32, with_level(OffsetKind::zero_points, DType::f16, 32)), {16, 64}));
  Scheme shifted = usual;
  shifted.shift = -3;
  CHECK(takes(shifted, {16, 64}));
  shifted.scales[0].type = DType::f32;  // its smallest numbers would be rounded
  CHECK_FALSE(takes(shifted, {16, 64}));
  Scheme doubled = usual;
  doubled.scales.push_back({.type = DType::f32, .block = {0, 0}});  // a product of 35 bits
  CHECK_FALSE(takes(doubled, {16, 64}));
  doubled.rounded_scale = true;
  CHECK(takes(doubled, {16, 64}));
}

}  // namespace ingot::tensor

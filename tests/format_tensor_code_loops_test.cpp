// Tiles to rows of bytes and back: every build against the portable one, whole tiles against single rows.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "format/tensor/code_loops.h"
#include "format/tensor/group_layout.h"
#include "format/tensor/packing.h"

namespace ingot::tensor {
namespace {

template <class T>
std::vector<T> random_bytes(std::size_t count, std::mt19937_64& random) {
  std::vector<T> bytes(count);
  for (T& byte : bytes) byte = static_cast<T>(random() & 255);
  return bytes;
}

}  // namespace

TEST_CASE("builds_of_the_code_loops_give_the_same_bytes") {
  std::mt19937_64 random(11);
  for (const std::uint64_t cols : {32u, 64u, 96u, 416u}) {
    for (const std::uint64_t stride : {cols, cols + 1, cols + 64}) {
      const auto lines = random_bytes<std::byte>(cols / 4 * kLineBytes, random);
      const auto before = random_bytes<std::uint8_t>(kTileOutputs * stride, random);
      std::vector<std::uint8_t> rows = before, wanted = before;  // what lies between the rows stays as it is
      code_loops().rows_of_nibbles(lines.data(), cols, rows.data(), stride);
      code_loops_portable().rows_of_nibbles(lines.data(), cols, wanted.data(), stride);
      CHECK(rows == wanted);
      CHECK(rows[0] == (std::to_integer<unsigned>(lines[0]) & 15u));
      CHECK(rows[15 * stride + 31] == std::to_integer<unsigned>(lines[3 * kLineBytes + 15 * 4 + 3]) >> 4);

      code_loops().rows_of_bytes(lines.data(), cols, rows.data(), stride);
      code_loops_portable().rows_of_bytes(lines.data(), cols, wanted.data(), stride);
      CHECK(rows == wanted);
      CHECK(rows[stride + 5] == std::to_integer<unsigned>(lines[kLineBytes + 4 + 1]));

      const std::uint64_t high = cols / kHighLoopCols * kHighLoopCols;
      rows = wanted = before;
      code_loops().add_pairs_above_nibbles(lines.data(), high, rows.data(), stride);
      code_loops_portable().add_pairs_above_nibbles(lines.data(), high, wanted.data(), stride);
      CHECK(rows == wanted);
      if (high != 0)  // field 3 of byte 1 of the second word
        CHECK(rows[stride + 16 + 11] ==
              (before[stride + 27] | (std::to_integer<unsigned>(lines[kLineBytes + 5]) >> 6 << 4)));

      rows = wanted = before;
      code_loops().add_bits_above_nibbles(lines.data(), cols, rows.data(), stride);
      code_loops_portable().add_bits_above_nibbles(lines.data(), cols, wanted.data(), stride);
      CHECK(rows == wanted);
      CHECK(rows[stride + 13] == (before[stride + 13] | (std::to_integer<unsigned>(lines[4 + 2]) >> 3 & 1u) << 4));

      std::vector<std::byte> bits(cols / 32 * kLineBytes), bits_wanted(bits.size());
      code_loops().bits_above_nibbles(before.data(), stride, cols, bits.data());
      code_loops_portable().bits_above_nibbles(before.data(), stride, cols, bits_wanted.data());
      CHECK(bits == bits_wanted);
      CHECK((std::to_integer<unsigned>(bits[4 + 2]) >> 3 & 1u) == (before[stride + 13] >> 4 & 1u));

      std::vector<std::byte> packed(cols / 8 * kLineBytes), packed_wanted(packed.size());
      code_loops().nibbles_of_rows(before.data(), stride, cols, packed.data());
      code_loops_portable().nibbles_of_rows(before.data(), stride, cols, packed_wanted.data());
      CHECK(packed == packed_wanted);
      CHECK(std::to_integer<unsigned>(packed[4]) == ((before[stride] & 15u) | (before[stride + 1] & 15u) << 4));
    }
  }
}

TEST_CASE("builds_of_the_code_loops_transpose_pairs_alike") {
  std::mt19937_64 random(12);
  for (const std::uint64_t cols : {1u, 7u, 8u, 9u, 64u, 65u}) {
    const auto columns = random_bytes<std::byte>(cols * kTileOutputs * 2, random);
    std::vector<std::byte> rows(columns.size()), wanted(columns.size());
    code_loops().rows_of_pairs(columns.data(), cols, rows.data());
    code_loops_portable().rows_of_pairs(columns.data(), cols, wanted.data());
    CHECK(rows == wanted);
    CHECK(rows[cols * 2] == columns[2]);  // row 1, column 0
    for (const CodeLoops* loops : {&code_loops(), &code_loops_portable()}) {
      std::vector<std::byte> back(columns.size());
      loops->pairs_of_rows(rows.data(), cols, back.data());
      CHECK(back == columns);
    }
  }
}

TEST_CASE("whole_tiles_unpack_as_their_rows_do") {
  std::mt19937_64 random(13);
  for (std::uint8_t bits = 1; bits <= 8; ++bits) {
    for (const std::uint64_t cols : {1u, 31u, 32u, 33u, 100u, 257u}) {
      CAPTURE(static_cast<int>(bits));
      CAPTURE(cols);
      Geometry geometry;
      geometry.rows = geometry.rows_per_unit = kTileRows;
      geometry.cols = cols;
      geometry.packing = Packing::tiles;
      std::vector<std::uint8_t> codes(kTileRows * cols);
      for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(random() & ((1u << bits) - 1));
      std::vector<std::byte> planes[3];
      std::byte* out[3] = {};
      const CodeSlices slices = code_slices(bits);
      for (std::size_t i = 0; i < slices.count; ++i) {
        planes[i].resize((cols * slices.bits[i] + 31) / 32 * kLineBytes, std::byte{0});
        out[i] = planes[i].data();
      }
      pack_unit(geometry, bits, codes.data(), out);
      const std::byte* in[3] = {out[0], out[1], out[2]};
      std::vector<std::uint8_t> unpacked(codes.size());
      unpack_unit(geometry, bits, in, unpacked.data());
      CHECK(unpacked == codes);
      const std::uint64_t begin = cols > 32 ? 32 : 0, count = cols - begin, stride = count + 3;
      std::vector<std::uint8_t> window(kTileRows * stride), row(count);
      unpack_tile(bits, in, begin, cols, window.data(), stride);
      for (std::uint64_t r = 0; r < kTileRows; ++r) {
        unpack_row(Packing::tiles, bits, in, r, begin, cols, row.data());
        CHECK(std::equal(row.begin(), row.end(), codes.begin() + static_cast<std::ptrdiff_t>(r * cols + begin)));
        CHECK(std::equal(row.begin(), row.end(), window.begin() + static_cast<std::ptrdiff_t>(r * stride)));
      }
    }
  }
}

}  // namespace ingot::tensor

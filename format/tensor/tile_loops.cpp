// The portable build of the tile loops, and the choice between the builds.
#include "format/tensor/tile_loops.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "format/base/byte_reader.h"
#include "format/tensor/float_bits.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/group_layout.h"

#ifdef INGOT_TENSOR_ISA_FILES
#include <cpuid.h>
#endif

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kSide = 8;       // of a square; nibbles of a word
constexpr std::uint64_t kRunWords = 64;  // words of every row that are moved before the next run: 4 KiB of lines
using Square = std::array<std::uint32_t, kSide>;

void lines_of_rows(const std::byte* rows, std::uint64_t stride_bytes, std::uint64_t words, std::byte* lines) noexcept {
  for (std::uint64_t begin = 0; begin < words; begin += kRunWords) {
    const std::uint64_t end = std::min(begin + kRunWords, words);
    for (std::uint64_t row = 0; row < kTileOutputs; ++row)
      for (std::uint64_t k = begin; k < end; ++k)
        store_le(lines + k * kLineBytes + row * 4, load_le<std::uint32_t>(rows + row * stride_bytes + k * 4));
  }
}

void rows_of_lines(const std::byte* lines, std::uint64_t words, std::byte* rows, std::uint64_t stride_bytes) noexcept {
  for (std::uint64_t begin = 0; begin < words; begin += kRunWords) {
    const std::uint64_t end = std::min(begin + kRunWords, words);
    for (std::uint64_t row = 0; row < kTileOutputs; ++row)
      for (std::uint64_t k = begin; k < end; ++k)
        store_le(rows + row * stride_bytes + k * 4, load_le<std::uint32_t>(lines + k * kLineBytes + row * 4));
  }
}

/// Nibble j of word i <-> nibble i of word j.
void turn(Square& square) noexcept {
  constexpr std::array<std::uint32_t, 3> kLow = {0x0f0f0f0f, 0x00ff00ff, 0x0000ffff};
  for (unsigned step = 0; step < 3; ++step) {
    const unsigned distance = 1u << step, shift = 4u << step;
    for (unsigned i = 0; i < kSide; ++i) {
      if ((i & distance) != 0) continue;
      const std::uint32_t swapped = ((square[i] >> shift) ^ square[i + distance]) & kLow[step];
      square[i + distance] ^= swapped;
      square[i] ^= swapped << shift;
    }
  }
}

void squares_of_rows(const std::byte* rows, std::uint64_t stride_bytes, const std::uint32_t* order,
                     std::byte* squares) noexcept {
  for (std::uint64_t i = 0; i < kSide; ++i) {
    Square square;
    for (std::uint64_t row = 0; row < kSide; ++row)
      square[row] = load_le<std::uint32_t>(rows + row * stride_bytes + i * 4);
    turn(square);
    for (std::uint64_t k = 0; k < kSide; ++k) store_le(squares + (i * kSide + k) * 4, square[order[k]]);
  }
}

void rows_of_squares(const std::byte* squares, const std::uint32_t* order, std::byte* rows,
                     std::uint64_t stride_bytes) noexcept {
  for (std::uint64_t i = 0; i < kSide; ++i) {
    Square square;
    for (std::uint64_t k = 0; k < kSide; ++k) square[k] = load_le<std::uint32_t>(squares + (i * kSide + order[k]) * 4);
    turn(square);
    for (std::uint64_t row = 0; row < kSide; ++row) store_le(rows + row * stride_bytes + i * 4, square[row]);
  }
}

/// Every value by its formula; adding zero turns -0, which a tiny product can be rounded to, into 0.
template <class Number>
void canonical_values(std::uint64_t col_begin, std::uint64_t col_end, const TileRuns& runs, std::uint64_t row,
                      std::uint32_t* out, Number number) noexcept {
  for (std::uint64_t col = col_begin; col < col_end; ++col) {
    const std::uint64_t at = col / runs.run_cols * kTileOutputs + row;
    *out++ = bits_of(std::fma(runs.scales[at], number(col) - runs.zeros[at], runs.adds[at]) + 0.0f);
  }
}

std::uint32_t nibble(const std::byte* codes, std::uint64_t col) noexcept {
  return std::to_integer<std::uint32_t>(codes[col / 2]) >> (col % 2 * 4) & 15u;
}

void canonical_nibbles(const std::byte* codes, std::uint64_t col_begin, std::uint64_t col_end, const TileRuns& runs,
                       std::uint64_t row, std::uint32_t* out) noexcept {
  canonical_values(col_begin, col_end, runs, row, out,
                   [&](std::uint64_t col) { return static_cast<float>(nibble(codes, col)); });
}

void canonical_bytes(const std::byte* codes, std::uint8_t flip, std::uint64_t col_begin, std::uint64_t col_end,
                     const TileRuns& runs, std::uint64_t row, std::uint32_t* out) noexcept {
  canonical_values(col_begin, col_end, runs, row, out, [&](std::uint64_t col) {
    return static_cast<float>(std::to_integer<std::uint8_t>(codes[col]) ^ flip);
  });
}

void canonical_table16(const std::byte* codes, const float* table, std::uint64_t col_begin, std::uint64_t col_end,
                       const TileRuns& runs, std::uint64_t row, std::uint32_t* out) noexcept {
  canonical_values(col_begin, col_end, runs, row, out, [&](std::uint64_t col) { return table[nibble(codes, col)]; });
}

void canonical_e4m3(const std::byte* codes, std::uint64_t col_begin, std::uint64_t col_end, const TileRuns& runs,
                    std::uint64_t row, std::uint32_t* out) noexcept {
  canonical_values(col_begin, col_end, runs, row, out,
                   [&](std::uint64_t col) { return e4m3_to_f32(std::to_integer<std::uint8_t>(codes[col])); });
}

constexpr TileLoops kPortable = {lines_of_rows,     rows_of_lines,   squares_of_rows,   rows_of_squares,
                                 canonical_nibbles, canonical_bytes, canonical_table16, canonical_e4m3};

#ifdef INGOT_TENSOR_ISA_FILES
/// clang 14 does not know __builtin_cpu_supports("f16c").
bool has_f16c() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

const TileLoops& choose() noexcept {
#ifdef INGOT_TENSOR_ISA_FILES
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) return tile_loops_avx2();
#endif
  return kPortable;
}

}  // namespace

const TileLoops& tile_loops() noexcept {
  static const TileLoops& chosen = choose();
  return chosen;
}

const TileLoops& tile_loops_portable() noexcept { return kPortable; }

}  // namespace ingot::tensor

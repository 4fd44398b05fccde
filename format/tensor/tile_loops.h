// Hot loops over tiles of codes (group_layout.h) and over words on their way into tiles and out of them, in two builds:
// portable (tile_loops.cpp), which reads like the definition, and AVX2 with FMA and F16C (tile_loops_avx2.cpp), chosen
// once at run time. Both give the same bits. An ISA file may include only this header and the intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::tensor {

/// Parameters of a tile: element [run][16], a run being the columns that share them.
struct TileRuns {
  const float* scales;
  const float* zeros;
  const float* adds;
  std::uint64_t run_cols;  // a multiple of 8
};

struct TileLoops {
  /// Lines of a tile out of 16 rows of `words` 32-bit words that begin `stride_bytes` apart; and back.
  void (*lines_of_rows)(const std::byte* rows, std::uint64_t stride_bytes, std::uint64_t words,
                        std::byte* lines) noexcept;
  void (*rows_of_lines)(const std::byte* lines, std::uint64_t words, std::byte* rows,
                        std::uint64_t stride_bytes) noexcept;

  /// Turns squares of 8 x 8 nibbles over. `rows`: 8 rows of 8 words that begin `stride_bytes` apart. `squares`: 8 x 8
  /// words; nibble r of word [i][k] is nibble order[k] of word i of row r.
  void (*squares_of_rows)(const std::byte* rows, std::uint64_t stride_bytes, const std::uint32_t* order,
                          std::byte* squares) noexcept;
  /// Nibble k of word i of row r is nibble r of word [i][order[k]].
  void (*rows_of_squares)(const std::byte* squares, const std::uint32_t* order, std::byte* rows,
                          std::uint64_t stride_bytes) noexcept;

  // Canonical bits (spec/fingerprint.md) of scale * (T(code) - zero) + add, rounded once to binary32 where the
  // difference is exact, of columns [col_begin, col_end) of row `row` of a tile; both are multiples of 8. `codes`: the
  // whole row. All parameters and numbers are finite, no `add` is -0.

  /// T(code) = code, 4 bits each, lowest first. Scales and adds are multiples of 2^-149, zeros are integers.
  void (*canonical_nibbles)(const std::byte* codes, std::uint64_t col_begin, std::uint64_t col_end,
                            const TileRuns& runs, std::uint64_t row, std::uint32_t* out) noexcept;
  /// The same, a byte each; T(code) = code ^ flip.
  void (*canonical_bytes)(const std::byte* codes, std::uint8_t flip, std::uint64_t col_begin, std::uint64_t col_end,
                          const TileRuns& runs, std::uint64_t row, std::uint32_t* out) noexcept;
  /// T(code) = table[code], 4 bits each.
  void (*canonical_table16)(const std::byte* codes, const float* table, std::uint64_t col_begin, std::uint64_t col_end,
                            const TileRuns& runs, std::uint64_t row, std::uint32_t* out) noexcept;
  /// T(code) = the number of e4m3, no code being NaN. Only scale * T(code); 256 * scale must be finite.
  void (*canonical_e4m3)(const std::byte* codes, std::uint64_t col_begin, std::uint64_t col_end, const TileRuns& runs,
                         std::uint64_t row, std::uint32_t* out) noexcept;
};

/// The best build for this machine.
[[nodiscard]] const TileLoops& tile_loops() noexcept;

/// The portable one, on any machine (tests compare the two).
[[nodiscard]] const TileLoops& tile_loops_portable() noexcept;

/// The only symbol of tile_loops_avx2.cpp.
const TileLoops& tile_loops_avx2() noexcept;

}  // namespace ingot::tensor

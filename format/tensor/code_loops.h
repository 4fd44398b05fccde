// Hot loops between tiles of codes (group_layout.h) and rows of one code per byte, in two builds: portable
// (code_loops.cpp) and AVX2 (code_loops_avx2.cpp), chosen once at run time. Both give the same bytes. An ISA file may
// include only this header and the intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::tensor {

inline constexpr std::uint64_t kLoopCols = 32;      // columns that the loops do at once
inline constexpr std::uint64_t kHighLoopCols = 64;  // and those of higher slices

struct CodeLoops {
  /// Codes of 4 bits in lines of a tile -> 16 rows of bytes that begin `stride` apart. `cols`: a multiple of kLoopCols.
  void (*rows_of_nibbles)(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes,
                          std::uint64_t stride) noexcept;
  /// The same for codes of 8 bits.
  void (*rows_of_bytes)(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes, std::uint64_t stride) noexcept;
  /// Adds the 2-bit slice above 4-bit codes (group_layout.h), 32 columns in two words of a row, to such rows, as bits 4
  /// and 5. `cols`: a multiple of kHighLoopCols.
  void (*add_pairs_above_nibbles)(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes,
                                  std::uint64_t stride) noexcept;
  /// The 1-bit slice above them, 32 columns in a word of a row, as bit 4. `cols`: a multiple of kLoopCols.
  void (*add_bits_above_nibbles)(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes,
                                 std::uint64_t stride) noexcept;
  /// The way back, low 4 bits of every byte.
  void (*nibbles_of_rows)(const std::uint8_t* codes, std::uint64_t stride, std::uint64_t cols,
                          std::byte* lines) noexcept;
  /// Bit 4 of every byte.
  void (*bits_above_nibbles)(const std::uint8_t* codes, std::uint64_t stride, std::uint64_t cols,
                             std::byte* lines) noexcept;
  /// Elements of 2 bytes: [cols][16] <-> 16 rows of `cols`.
  void (*rows_of_pairs)(const std::byte* columns, std::uint64_t cols, std::byte* rows) noexcept;
  void (*pairs_of_rows)(const std::byte* rows, std::uint64_t cols, std::byte* columns) noexcept;
};

/// The best build for this machine.
[[nodiscard]] const CodeLoops& code_loops() noexcept;

/// The portable one, on any machine (tests compare the two).
[[nodiscard]] const CodeLoops& code_loops_portable() noexcept;

/// The only symbol of code_loops_avx2.cpp.
const CodeLoops& code_loops_avx2() noexcept;

}  // namespace ingot::tensor

// Products of integer codes, as they are stored, with inputs rounded to int8: the default mode of the runtime (the
// other one decodes exactly, kernel_table.h). The integer part is the same in every variant, bit for bit; the
// parameters are applied in binary32, a segment of inputs at a time. Goals: no expansion of the weights, several tiles
// or several inputs at once. Non-goals: columns that are no multiple of 32, schemes whose values are not scale * (code
// - zero), scale * code + bias or scale * table[code] with 16 entries.
#pragma once

#include <cstdint>

namespace ingot::kernels {

inline constexpr std::uint64_t kIntegerRun = 32;  // columns are a multiple of this
inline constexpr int kMaxIntegerTiles = 4;        // that one call takes
inline constexpr std::int32_t kInputLimit = 127;  // of the magnitude of a rounded input

/// The 8-bit floats (OCP E8M0 and E4M3) occur beside tables only.
enum class ParameterType : std::uint8_t { constant, f32, f16, bf16, integer, e8m0, e4m3 };

/// One number for each group of inputs and each of the 16 outputs: (groups, 16) elements, dense, element 0 of a stream
/// of integers in the lowest bits; or the same constant for all. With `steps`, a number is element * step, rounded to
/// binary32. `negated` turns the sign of all.
struct TileParameters {
  ParameterType type = ParameterType::constant;
  std::uint8_t bits = 0;   // 1..8, of integers
  bool is_signed = false;  // two's complement integers
  bool negated = false;
  const void* elements = nullptr;  // aligned to 4 bytes; null: `constant`
  float constant = 0;
  const std::uint16_t* steps = nullptr;  // binary16, (ceil(groups / groups_per_step), 16); null: none
  std::uint64_t groups_per_step = 1;
  float factor = 1;  // of all, beside tables only
};

inline constexpr int kEntryMiddle = 128;  // of entries
inline constexpr int kSmallEntries = 32;  // small ones are below it

/// What codes of 4 bits stand for, as integers from 1 to 255, small ones from 0 on: value = scale * (entry - zero
/// point) with one constant zero point. A table of multiples of one step, 127 of them at most to either side, is exact
/// so. Any other is stretched until its greatest magnitude a is about 125, where the entries round best, and then is
/// wrong by half a step at most: a/254 (NF4: a/353, 0.0021 a as root of the mean square). Rounding an input to 127
/// steps may change as much.
struct EntryTable {
  std::uint8_t entries[16];
  bool are_small;  // four products of each of a pair of inputs fit 16 bits
};

/// What makes a value of a code: scale * code, scale * (code - zero point) or scale * code + bias.
enum class OffsetKind : std::uint8_t { none, zero_point, bias };

/// One tile (16 outputs) of codes in the canonical packing (spec/planes.md section 4) with its parameters as stored.
/// Borrowed; valid during the call.
struct IntegerTile {
  const std::uint32_t* slices[3];  // low slice first; unused ones null
  TileParameters scales;           // floats, constant, or integers with steps
  TileParameters offsets;          // zero points: integers without steps or constant; biases: as scales
  OffsetKind offset;
  std::uint64_t cols;        // a multiple of 32
  std::uint64_t group_cols;  // inputs that share parameters: a multiple of the segment, or at least cols
  std::uint8_t bits;         // 1..8
  bool is_signed;            // two's complement codes
  const EntryTable* table;   // null: codes are numbers. Else bits is 4, the same for all tiles of a call
};

/// How inputs are cut and ordered for a tile: the width of the low slice decides where the bytes of a word come from.
struct IntegerLayout {
  std::uint8_t low_bits;  // 1, 2, 4 or 8
  std::uint8_t segment;   // inputs with one scale: 16 (not with low_bits 1), 32, 64 or 128
  bool operator==(const IntegerLayout&) const = default;
};

/// One input vector, rounded. Byte b of field n of each run of 32 inputs is input 4*F*(n div F) + F*b + n mod F, with
/// F = 8 / low_bits: the order in which `(word >> low_bits * f) & mask` yields the codes.
struct IntegerInput {
  const std::int8_t* codes;  // (cols)
  const float* scales;       // (cols / segment): greatest magnitude / 127, NaN where an input is not finite
  const float* sums;         // (cols / segment): of the codes, times the scale
};

/// Rounds x (cols) to nearest, ties to even.
using RoundInput = void(const float* x, std::uint64_t cols, IntegerLayout layout, std::int8_t* codes, float* scales,
                        float* sums) noexcept;

using MultiplyTiles = void(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput* inputs,
                           std::uint64_t vectors, float* out, std::uint64_t out_stride) noexcept;

struct IntegerKernels {
  RoundInput* round_input;
  /// out[v*out_stride + 16*t + r] for `tile_count` (1..kMaxIntegerTiles) tiles of one matrix, which differ in their
  /// planes only, and `vectors` inputs.
  MultiplyTiles* multiply;
  /// The same for tiles with a table.
  MultiplyTiles* multiply_table;
};

}  // namespace ingot::kernels

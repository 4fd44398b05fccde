// A scheme is the numeric contract of a tensor, as data. Implements spec/schemes/README.md.
//
//     value = 2^shift * scale_0 * scale_1 * ... * (T(code) - zero) + bias - min_0 * min_1 * ... rounded once to
//     binary32
//
// Where a layout defines its weights by binary32 operations, rounded_scale and rounded_steps say which of them are
// rounded. T maps a code to a number (itself, a small float, a table entry, a grid entry with signs). Scale levels
// multiply; each has its own element type and block. An unknown combination can still be sized, dumped and decoded by
// the generic decoder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/json.h"
#include "format/tensor/dtype.h"

namespace ingot::tensor {

/// Which elements share one parameter: a rectangle of the row view (geometry.h). 0 means "all", so {1,32} is a group of
/// 32 inputs, {1,0} a whole output row, {0,0} the whole matrix, {128,128} a DeepSeek block, {0,1} one input column.
struct Block {
  std::uint32_t rows = 1;
  std::uint32_t cols = 0;
  bool operator==(const Block&) const = default;
};

enum class CodeKind : std::uint8_t {
  /// The element itself is a number of type `type` (floats, signed and unsigned integers of 1..8 bits, i16..u64).
  number,
  table,   ///< unsigned `type` of 1..8 bits indexes a table of binary32 entries
  grid,    ///< an index (type u8 to u11) stands for 4 or 8 elements, whose signs may be a plane (the IQ types)
  opaque,  ///< bytes without a numeric meaning here (complex, foreign); hashed, never decoded
};

struct Codes {
  CodeKind kind = CodeKind::number;
  DType type = DType::f32;
  /// kind table: name of a built-in table (nf4, fp4, iq4nl, ...; tables.h) or "custom" (plane `table` holds 2^bits
  /// binary32 entries). kind grid: name of the grid ("iq2_xxs", ...; grids.h).
  std::string table;
  bool operator==(const Codes&) const = default;
};

/// One factor of the scale (or of the minimum). The stored element s means the number multiply * s + add (both small
/// integers; for float types multiply = 1, add = 0), or entry s of plane `scale_table` where `custom_table` is set.
struct Level {
  DType type = DType::f16;
  Block block;
  std::int32_t multiply = 1;
  std::int32_t add = 0;
  bool custom_table =
      false;  ///< element indexes plane `scale_table` (2^bits binary32 entries): bitsandbytes double quantization
  bool divide = false;  ///< the scale is divided by this level: only in scales, float types, with rounded_scale
  bool operator==(const Level&) const = default;
};

enum class OffsetKind : std::uint8_t {
  none,
  zero,         ///< integer constant `zero`, subtracted from the code
  zero_points,  ///< integer or f16, bf16, f32 per block, subtracted from the code (plane `zero_points`)
  bias,         ///< float per block, added at the end (plane `biases`)
  minimum,      ///< product of `levels` (planes `mins_0`, `mins_1`), subtracted at the end
};

struct Offset {
  OffsetKind kind = OffsetKind::none;
  std::int32_t zero = 0;
  std::vector<Level> levels;  ///< zero_points and bias: exactly one (type, block); minimum: one or two, finest first
  bool operator==(const Offset&) const = default;
};

enum class Order : std::uint8_t {
  identity,
  /// Codes are stored group by group: stored column k is logical column permutation[k] (plane `permutation`,
  /// u32[cols]).
  permutation,
  /// Codes in logical order; logical column c uses parameter column group_index[c] (plane `group_index`, u32[cols]).
  group_index,
};

/// Regular, copyable, comparable. Planes that belong to it are listed by plane_specs() in geometry.h.
struct Scheme {
  Codes codes;
  std::vector<Level> scales;  ///< finest first: scales_0 is coded by scales_1; empty: scale 1
  /// true: scale_0*scale_1 (+ scale_offset) is rounded to binary32 after every operation before it is used, as
  /// bitsandbytes does.
  bool rounded_scale = false;
  /// true: the whole value is computed in binary32 from left to right, ((code - zero) * scale_0) * scale_1 + bias,
  /// rounded after every operation (LLM.int8). Excludes rounded_scale and shift.
  bool rounded_steps = false;
  bool scale_offset = false;  ///< plane `scale_offset` f32[1] is added to the product of the scale levels
  std::int32_t shift = 0;     ///< power of two
  Offset offset;
  Order order = Order::identity;
  /// 0: the row view is the logical shape. n > 0: the tensor is one run of elements cut in blocks of n (bitsandbytes);
  /// the row view is [ceil(elements / n), n].
  std::uint32_t flat = 0;
  bool operator==(const Scheme&) const = default;

  [[nodiscard]] static Scheme plain(DType type);  ///< an unquantized tensor
  [[nodiscard]] bool is_plain() const noexcept;   ///< number codes, no scales, no offset, identity order
};

/// Families give the code: one row, one file under schemes/, one spec page each.
struct SchemeFamily {
  std::string_view name;  // "float", "affine", "table", "two_level", "microscaling", "grid", "stepped"
  bool (*matches)(const Scheme&) noexcept;
  std::string_view spec_page;  // "spec/schemes/affine.md"
};
/// The family of a valid scheme (the first matching row); never null for a scheme that passed validate().
[[nodiscard]] const SchemeFamily* family(const Scheme& scheme) noexcept;
[[nodiscard]] const std::vector<const SchemeFamily*>& families() noexcept;

/// Throws invalid_value (naming the field) for combinations that spec/schemes/README.md section 4 forbids.
void validate(const Scheme& scheme, std::string_view where);

/// Short printed form: "bf16", "u4_g128_f16_z8", "u4_g32_u8xf16_min", "e2m1_g16_e4m3/f32", ... Documented in
/// spec/schemes/README.md section 5.
[[nodiscard]] std::string describe(const Scheme& scheme);

[[nodiscard]] Json to_json(const Scheme& scheme);
[[nodiscard]] Scheme scheme_from_json(const Json& json, std::string_view where);

}  // namespace ingot::tensor

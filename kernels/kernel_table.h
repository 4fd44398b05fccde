// The operations that have hand-written variants, as a table of function pointers. One file per instruction set fills
// it; null entries inherit those of the next variant (registry.cpp). Kernels are pure, noexcept, single-threaded over
// the rows they are given. Goals: exactly decoded weights (one rounding to binary32 per weight), binary32 accumulation
// in several partial sums; beside them the products with rounded inputs (integer_kernels.h). Non-goals: schemes whose
// values need more than one fused multiply-add (those are decoded by format/tensor).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

/// One tile (16 outputs) of integer codes in the canonical packing (spec/planes.md section 4), with its parameters
/// widened to binary32. The value of an element is fma(scale, code, offset), or scale * (code - offset) with
/// `subtract_offset`; both round once. Every pointer is aligned to its element type. Borrowed; valid during the call.
struct AffineTile {
  const std::uint32_t* slices[3];  // low slice first; unused ones null. (lines, 16) words each
  std::uint32_t bits;  // 1..8: width of a code, hence the slices (8, 4, 2, 1; 3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1)
  bool is_signed;      // two's complement codes
  bool subtract_offset;
  const float* scales;   // (ceil(cols / group_cols), 16)
  const float* offsets;  // (ceil(cols / group_cols), 16)
  std::uint64_t cols;
  std::uint64_t group_cols;  // >= 1; multiples of 16 and single groups take the fast path
};

enum class FloatType : std::uint8_t { f32, f16, bf16 };
inline constexpr std::uint64_t kMaxFloatRows = 64;  // that one call takes

/// Rows of a matrix of floating-point numbers.
struct FloatRows {
  const void* elements;  // aligned to their type
  FloatType type;
  std::uint64_t stride;  // elements from a row to the next
  std::uint64_t count;   // 1..kMaxFloatRows
};

/// Products with several vectors, which pack() has put into an order of its own: all three belong together. Inputs are
/// added one after the other: a sum depends on nothing but its row and its vector.
struct FloatKernels {
  // Columns [first, end) of x (vectors, cols). packed: (vectors * cols) in all.
  void (*pack)(const float* x, std::uint64_t x_stride, std::uint64_t vectors, std::uint64_t cols, std::uint64_t first,
               std::uint64_t end, float* packed) noexcept;
  // out[t*out_stride + r] = row r . vector t
  void (*multiply_rows)(const FloatRows& rows, const float* packed, std::uint64_t vectors, std::uint64_t cols,
                        float* out, std::uint64_t out_stride) noexcept;
  // A decoded panel (cols, 16) times the vectors: out[t*out_stride + r] for r = 0..15.
  void (*panel_dot)(const float* panel, std::uint64_t cols, const float* packed, std::uint64_t vectors, float* out,
                    std::uint64_t out_stride) noexcept;
};

/// Affine tiles, exactly decoded.
struct TileKernels {
  // One tile times one vector: out[r] for r = 0..15.
  void (*dot)(const AffineTile& tile, const float* x, float* out) noexcept;
  // The exact values of one tile, column by column: panel[col*16 + row].
  void (*decode)(const AffineTile& tile, float* panel) noexcept;
};

/// Functions of many numbers, in place.
struct FunctionKernels {
  // exp(scale*value - greatest) / sum of these
  void (*softmax)(float* values, std::uint64_t size, float scale) noexcept;
  // value / (1 + exp(-value)) * factor
  void (*gate_silu)(float* values, const float* factors, std::uint64_t size) noexcept;
  // value/2 * (1 + tanh(sqrt(2/pi) * (value + 0.044715 value^3))) * factor
  void (*gate_gelu_tanh)(float* values, const float* factors, std::uint64_t size) noexcept;
};

struct KernelTable {
  const char* name;  // "portable", "avx2", "avx512vnni"

  // Sum over i of w[i]*x[i], float32 accumulation in several partial sums. n >= 0, any alignment.
  float (*dot_f32)(const float* w, const float* x, std::uint64_t n) noexcept;
  // The same for `count` rows of 16-bit floats and a few vectors: out[t*out_stride + r] of w + r*w_stride and x +
  // t*x_stride, in elements. A sum does not depend on `count` as long as rows come in fours, nor on `vectors` where
  // there are two or more.
  void (*rows_f16)(const std::uint16_t* w, std::uint64_t w_stride, std::uint64_t count, const float* x,
                   std::uint64_t x_stride, std::uint64_t vectors, std::uint64_t cols, float* out,
                   std::uint64_t out_stride) noexcept;
  void (*rows_bf16)(const std::uint16_t* w, std::uint64_t w_stride, std::uint64_t count, const float* x,
                    std::uint64_t x_stride, std::uint64_t vectors, std::uint64_t cols, float* out,
                    std::uint64_t out_stride) noexcept;

  // Bulk exact conversions (f32_to_* round to nearest even; NaN stays NaN, quieted).
  void (*f16_to_f32)(const std::uint16_t* src, float* dst, std::uint64_t n) noexcept;
  void (*bf16_to_f32)(const std::uint16_t* src, float* dst, std::uint64_t n) noexcept;
  void (*f32_to_f16)(const float* src, std::uint16_t* dst, std::uint64_t n) noexcept;
  void (*f32_to_bf16)(const float* src, std::uint16_t* dst, std::uint64_t n) noexcept;

  // A dense stream of integers of 1..8 bits, element 0 in the lowest bits (spec/planes.md section 3), as binary32.
  void (*integers_to_f32)(const std::byte* stream, std::uint32_t bits, bool is_signed, float* dst,
                          std::uint64_t n) noexcept;

  // Weighted sums of rows, for several sets of weights: out[t*out_stride + i] += sum over r of weights[t*weights_stride
  // + r] * rows[r*cols + i], one r after the other: what is added to an element does not depend on `vectors`.
  void (*add_rows)(const float* rows, std::uint64_t count, std::uint64_t cols, const float* weights,
                   std::uint64_t weights_stride, std::uint64_t vectors, float* out, std::uint64_t out_stride) noexcept;

  // Matrix rows times several vectors: out[t*out_stride + r] = dot(w + r*w_stride, x + t*x_stride, cols). Strides in
  // elements. A sum does not depend on `vectors`, nor on `rows` as long as rows come in fours.
  void (*rows_dot)(const float* w, std::uint64_t w_stride, std::uint64_t rows, const float* x, std::uint64_t x_stride,
                   std::uint64_t vectors, std::uint64_t cols, float* out, std::uint64_t out_stride) noexcept;

  TileKernels tiles;
  FloatKernels floats;
  FunctionKernels functions;
  IntegerKernels integer;
};

/// Which variant the machine and INGOT_KERNELS select; fully populated. Throws nothing; see registry.h for the checked
/// selection.
[[nodiscard]] const KernelTable& best() noexcept;

}  // namespace ingot::kernels

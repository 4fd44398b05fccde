// The oracle: every operation in plain C++, written to be read beside spec/planes.md section 4. Every other variant is
// tested against it.
#include <bit>
#include <cmath>
#include <cstddef>

#include "kernels/kernel_table.h"

namespace ingot::kernels {

const KernelTable& portable_table() noexcept;

namespace {

constexpr std::uint64_t kRows = 16;

float widen_bf16(std::uint16_t bits) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

float widen_f16(std::uint16_t bits) noexcept {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31;
  const std::uint32_t fraction = bits & 0x3FFu;
  if (exponent == 31) {  // infinity, or NaN made quiet with its payload kept
    const std::uint32_t quiet = fraction == 0 ? 0 : 0x400000u;
    return std::bit_cast<float>(sign | 0x7F800000u | quiet | fraction << 13);
  }
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24, exact
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

std::uint16_t narrow_f16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
  if (magnitude >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);  // 65520 and above round to infinity
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, rounded to nearest even by the float unit
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::nearbyint(scaled)));
  }
  const std::uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | (rounded - 0x38000000u) >> 13);
}

std::uint16_t narrow_bf16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

template <class Element, float (*kWiden)(Element)>
float dot(const Element* w, const float* x, std::uint64_t n) noexcept {
  float partial[8] = {};
  for (std::uint64_t i = 0; i < n; ++i) partial[i % 8] += kWiden(w[i]) * x[i];
  return ((partial[0] + partial[4]) + (partial[2] + partial[6])) +
         ((partial[1] + partial[5]) + (partial[3] + partial[7]));
}

float same(float value) { return value; }
float from_f16(std::uint16_t bits) { return widen_f16(bits); }
float from_bf16(std::uint16_t bits) { return widen_bf16(bits); }

float dot_f32(const float* w, const float* x, std::uint64_t n) noexcept { return dot<float, same>(w, x, n); }
float dot_f16(const std::uint16_t* w, const float* x, std::uint64_t n) noexcept {
  return dot<std::uint16_t, from_f16>(w, x, n);
}
float dot_bf16(const std::uint16_t* w, const float* x, std::uint64_t n) noexcept {
  return dot<std::uint16_t, from_bf16>(w, x, n);
}

void f16_to_f32(const std::uint16_t* src, float* dst, std::uint64_t n) noexcept {
  for (std::uint64_t i = 0; i < n; ++i) dst[i] = widen_f16(src[i]);
}
void bf16_to_f32(const std::uint16_t* src, float* dst, std::uint64_t n) noexcept {
  for (std::uint64_t i = 0; i < n; ++i) dst[i] = widen_bf16(src[i]);
}
void f32_to_f16(const float* src, std::uint16_t* dst, std::uint64_t n) noexcept {
  for (std::uint64_t i = 0; i < n; ++i) dst[i] = narrow_f16(src[i]);
}
void f32_to_bf16(const float* src, std::uint16_t* dst, std::uint64_t n) noexcept {
  for (std::uint64_t i = 0; i < n; ++i) dst[i] = narrow_bf16(src[i]);
}

void axpy_f32(float a, const float* x, float* out, std::uint64_t n) noexcept {
  for (std::uint64_t i = 0; i < n; ++i) out[i] += a * x[i];
}

void rows_dot(const float* w, std::uint64_t w_stride, std::uint64_t rows, const float* x, std::uint64_t x_stride,
              std::uint64_t vectors, std::uint64_t cols, float* out, std::uint64_t out_stride) noexcept {
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t r = 0; r < rows; ++r)
      out[t * out_stride + r] = dot_f32(w + r * w_stride, x + t * x_stride, cols);
  }
}

// The slices of a code, low end first.
struct Widths {
  std::uint32_t count;
  std::uint32_t bits[3];
};
constexpr Widths kWidths[9] = {{0, {}},        {1, {1, 0, 0}}, {1, {2, 0, 0}}, {2, {2, 1, 0}}, {1, {4, 0, 0}},
                               {2, {4, 1, 0}}, {2, {4, 2, 0}}, {3, {4, 2, 1}}, {1, {8, 0, 0}}};

// Field of input `col` in a higher slice of p bits: the run of 32/p inputs is cut in runs of 4F (F = inputs per byte of
// the low slice), byte b of the word holds inputs F*b .. F*b+F-1 of each.
std::uint32_t high_shift(std::uint32_t low_bits, std::uint32_t p, std::uint32_t input) noexcept {
  const std::uint32_t per_byte = 8 / low_bits;
  const std::uint32_t run = input / (4 * per_byte), within = input % (4 * per_byte);
  return 8 * (within / per_byte) + p * (run * per_byte + within % per_byte);
}

std::int32_t code_at(const AffineTile& tile, std::uint64_t row, std::uint64_t col) noexcept {
  const Widths& widths = kWidths[tile.bits];
  std::uint32_t code = 0, position = 0;
  for (std::uint32_t s = 0; s < widths.count; ++s) {
    const std::uint32_t p = widths.bits[s], per_word = 32 / p;
    const std::uint32_t input = static_cast<std::uint32_t>(col % per_word);
    const std::uint32_t shift = s == 0 ? p * input : high_shift(widths.bits[0], p, input);
    const std::uint32_t word = tile.slices[s][col / per_word * kRows + row];
    code |= (word >> shift & ((1u << p) - 1)) << position;
    position += p;
  }
  const std::uint32_t sign = tile.is_signed ? 1u << (tile.bits - 1) : 0;
  return static_cast<std::int32_t>(code ^ sign) - static_cast<std::int32_t>(sign);
}

float value_at(const AffineTile& tile, std::uint64_t row, std::uint64_t col) noexcept {
  const std::uint64_t parameter = col / tile.group_cols * kRows + row;
  const float code = static_cast<float>(code_at(tile, row, col));
  const float scale = tile.scales[parameter], offset = tile.offsets[parameter];
  return tile.subtract_offset ? scale * (code - offset) : std::fma(scale, code, offset);
}

void tile_dot(const AffineTile& tile, const float* x, float* out) noexcept {
  for (std::uint64_t row = 0; row < kRows; ++row) {
    float even = 0, odd = 0;
    for (std::uint64_t col = 0; col < tile.cols; ++col)
      (col % 2 == 0 ? even : odd) += value_at(tile, row, col) * x[col];
    out[row] = even + odd;
  }
}

void tile_decode(const AffineTile& tile, float* panel) noexcept {
  for (std::uint64_t col = 0; col < tile.cols; ++col) {
    for (std::uint64_t row = 0; row < kRows; ++row) panel[col * kRows + row] = value_at(tile, row, col);
  }
}

void panel_dot(const float* panel, std::uint64_t cols, const float* x, std::uint64_t x_stride, std::uint64_t vectors,
               float* out, std::uint64_t out_stride) noexcept {
  for (std::uint64_t t = 0; t < vectors; ++t) {
    float sums[kRows] = {};
    for (std::uint64_t col = 0; col < cols; ++col) {
      for (std::uint64_t row = 0; row < kRows; ++row) sums[row] += panel[col * kRows + row] * x[t * x_stride + col];
    }
    for (std::uint64_t row = 0; row < kRows; ++row) out[t * out_stride + row] = sums[row];
  }
}

}  // namespace

const KernelTable& portable_table() noexcept {
  static constexpr KernelTable table = {"portable",  dot_f32,  dot_f16,  dot_bf16, f16_to_f32,  bf16_to_f32, f32_to_f16,
                                        f32_to_bf16, axpy_f32, rows_dot, tile_dot, tile_decode, panel_dot};
  return table;
}

}  // namespace ingot::kernels

// The oracle: every operation in plain C++, written to be read beside spec/planes.md section 4. Every other variant is
// tested against it.
#include <bit>
#include <cmath>

#include "kernels/kernel_table.h"
#include "kernels/portable_codes.h"

namespace ingot::kernels {

const KernelTable& portable_table() noexcept;
const FunctionKernels& portable_function_kernels() noexcept;
const IntegerKernels& portable_integer_kernels() noexcept;

namespace {

constexpr std::uint64_t kRows = kTileOutputs;

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

template <float (*kFrom)(std::uint16_t)>
void rows(const std::uint16_t* w, std::uint64_t w_stride, std::uint64_t count, const float* x, std::uint64_t x_stride,
          std::uint64_t vectors, std::uint64_t cols, float* out, std::uint64_t out_stride) noexcept {
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t r = 0; r < count; ++r)
      out[t * out_stride + r] = dot<std::uint16_t, kFrom>(w + r * w_stride, x + t * x_stride, cols);
  }
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

void integers_to_f32(const std::byte* stream, std::uint32_t bits, bool is_signed, float* dst,
                     std::uint64_t n) noexcept {
  const std::uint32_t sign = is_signed ? 1u << (bits - 1) : 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::uint64_t bit = i * bits;
    std::uint32_t window = static_cast<std::uint32_t>(stream[bit / 8]);
    if (bit % 8 + bits > 8) window |= static_cast<std::uint32_t>(stream[bit / 8 + 1]) << 8;
    const std::uint32_t code = window >> bit % 8 & ((1u << bits) - 1);
    dst[i] = static_cast<float>(static_cast<std::int32_t>(code ^ sign) - static_cast<std::int32_t>(sign));
  }
}

void add_rows(const float* rows, std::uint64_t count, std::uint64_t cols, const float* weights,
              std::uint64_t weights_stride, std::uint64_t vectors, float* out, std::uint64_t out_stride) noexcept {
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t r = 0; r < count; ++r) {
      const float weight = weights[t * weights_stride + r];
      for (std::uint64_t i = 0; i < cols; ++i) out[t * out_stride + i] += weight * rows[r * cols + i];
    }
  }
}

void rows_dot(const float* w, std::uint64_t w_stride, std::uint64_t rows, const float* x, std::uint64_t x_stride,
              std::uint64_t vectors, std::uint64_t cols, float* out, std::uint64_t out_stride) noexcept {
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t r = 0; r < rows; ++r)
      out[t * out_stride + r] = dot_f32(w + r * w_stride, x + t * x_stride, cols);
  }
}

float value_at(const AffineTile& tile, std::uint64_t row, std::uint64_t col) noexcept {
  const std::uint64_t parameter = col / tile.group_cols * kRows + row;
  const float code = static_cast<float>(code_at({tile.slices, tile.bits, tile.is_signed}, row, col));
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

float number_at(const FloatRows& rows, std::uint64_t index) noexcept {
  const auto half = [&] { return static_cast<const std::uint16_t*>(rows.elements)[index]; };
  switch (rows.type) {
    case FloatType::f32: return static_cast<const float*>(rows.elements)[index];
    case FloatType::f16: return widen_f16(half());
    case FloatType::bf16: return widen_bf16(half());
  }
  return 0;
}

// Vectors stay one after the other.
void pack(const float* x, std::uint64_t x_stride, std::uint64_t vectors, std::uint64_t cols, std::uint64_t first,
          std::uint64_t end, float* packed) noexcept {
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t col = first; col < end; ++col) packed[t * cols + col] = x[t * x_stride + col];
  }
}

void multiply_rows(const FloatRows& rows, const float* packed, std::uint64_t vectors, std::uint64_t cols, float* out,
                   std::uint64_t out_stride) noexcept {
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t r = 0; r < rows.count; ++r) {
      float sum = 0;
      for (std::uint64_t col = 0; col < cols; ++col)
        sum += number_at(rows, r * rows.stride + col) * packed[t * cols + col];
      out[t * out_stride + r] = sum;
    }
  }
}

void panel_dot(const float* panel, std::uint64_t cols, const float* packed, std::uint64_t vectors, float* out,
               std::uint64_t out_stride) noexcept {
  for (std::uint64_t t = 0; t < vectors; ++t) {
    float sums[kRows] = {};
    for (std::uint64_t col = 0; col < cols; ++col) {
      for (std::uint64_t row = 0; row < kRows; ++row) sums[row] += panel[col * kRows + row] * packed[t * cols + col];
    }
    for (std::uint64_t row = 0; row < kRows; ++row) out[t * out_stride + row] = sums[row];
  }
}

}  // namespace

const KernelTable& portable_table() noexcept {
  static const KernelTable table = {"portable",
                                    dot_f32,
                                    rows<from_f16>,
                                    rows<from_bf16>,
                                    f16_to_f32,
                                    bf16_to_f32,
                                    f32_to_f16,
                                    f32_to_bf16,
                                    integers_to_f32,
                                    add_rows,
                                    rows_dot,
                                    {tile_dot, tile_decode},
                                    {pack, multiply_rows, panel_dot},
                                    portable_function_kernels(),
                                    portable_integer_kernels()};
  return table;
}

}  // namespace ingot::kernels

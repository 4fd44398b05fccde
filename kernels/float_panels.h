// Rows of floating-point numbers, or panels of decoded ones, times many vectors: what does not depend on the width of
// registers. Sixteen outputs at a time lie side by side in a panel, whose columns meet some vectors at once. A block of
// columns of all panels is made and used before the next one: it stays in the caches. Included only by files compiled
// with at least AVX2 flags, each of which holds its own copy (house style section 5).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/kernel_table.h"

namespace ingot::kernels {
namespace {

using u64 = std::uint64_t;

constexpr u64 kLanes = 8, kRows = 16;
constexpr u64 kBlockCols = 128;
constexpr u64 kVectorsOfChunk = 128;

inline __m256 loadu(const float* at) noexcept { return _mm256_loadu_ps(at); }

// --- rows as panels --------------------------------------------------------------------------------------------------
struct F32 {
  using Element = float;
  static __m256 load(const float* at) noexcept { return loadu(at); }
};
struct F16 {
  using Element = std::uint16_t;
  static __m256 load(const std::uint16_t* at) noexcept {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  }
};
struct Bf16 {
  using Element = std::uint16_t;
  static __m256 load(const std::uint16_t* at) noexcept {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
};

// Lane c of row r goes to lane r of column c, which is `panel` + c * kRows.
inline void store_transposed(const __m256* rows, float* panel) noexcept {
  __m256 pairs[8], quads[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
    quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (u64 i = 0; i < 4; ++i) {
    _mm256_store_ps(panel + i * kRows, _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20));
    _mm256_store_ps(panel + (i + 4) * kRows, _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31));
  }
}

// Eight columns of `count` rows, at most 16; `panel` (8, 16). Rows that are none become zeros.
template <class Type>
void fill_eight(const typename Type::Element* at, u64 stride, u64 count, float* panel) noexcept {
  for (u64 half = 0; half < kRows; half += kLanes) {
    __m256 rows[kLanes];
#pragma GCC unroll 8
    for (u64 r = 0; r < kLanes; ++r)
      rows[r] = half + r < count ? Type::load(at + (half + r) * stride) : _mm256_setzero_ps();
    store_transposed(rows, panel + half);
  }
}

template <class Type>
void fill_panel(const void* elements, u64 stride, u64 count, u64 first, u64 cols, float* panel) noexcept {
  const auto* const at = static_cast<const typename Type::Element*>(elements) + first;
  u64 col = 0;
  for (; col + kLanes <= cols; col += kLanes) fill_eight<Type>(at + col, stride, count, panel + col * kRows);
  if (col == cols) return;
  typename Type::Element rest[kRows * kLanes] = {};
  for (u64 r = 0; r < count; ++r) {
    for (u64 i = 0; i < cols - col; ++i) rest[r * kLanes + i] = at[r * stride + col + i];
  }
  fill_eight<Type>(rest, kLanes, count, panel + col * kRows);
}

// Asks for the next columns of all rows: each is a stream of its own, and short.
template <class Type>
void fetch(const typename Type::Element* at, u64 stride, u64 count) noexcept {
  for (u64 r = 0; r < count; ++r) {
    const char* const row = reinterpret_cast<const char*>(at + r * stride);
    for (u64 i = 0; i < kBlockCols * sizeof(*at); i += 64) _mm_prefetch(row + i, _MM_HINT_T0);
  }
}

// --- products --------------------------------------------------------------------------------------------------------
// Adds a panel of `cols` columns times some vectors to their totals, which are kMaxFloatRows apart.
using AddPanel = void(const float* panel, u64 cols, const float* x, u64 x_stride, u64 vectors, float* totals) noexcept;

// The sums of a chunk of vectors are gathered here: the rows that they go to are often a multiple of 4 KiB apart, which
// puts a column of them into the same few lines of the first-level cache.
struct Totals {
  alignas(64) float of[kVectorsOfChunk * kMaxFloatRows];

  void clear(u64 vectors) noexcept {
    for (u64 i = 0; i < vectors * kMaxFloatRows; ++i) of[i] = 0;
  }
  void move(u64 vectors, u64 rows, float* out, u64 out_stride) const noexcept {
    for (u64 t = 0; t < vectors; ++t) {
      for (u64 r = 0; r < rows; ++r) out[t * out_stride + r] = of[t * kMaxFloatRows + r];
    }
  }
};

// Products of `rows` outputs with all vectors: add(first, width, x, some, totals) adds what the columns from `first` on
// yield for some vectors, of which x is the first one's input there.
template <class Add>
void in_blocks(u64 rows, const float* x, u64 x_stride, u64 vectors, u64 cols, float* out, u64 out_stride,
               const Add& add) noexcept {
  Totals totals;
  for (u64 begin = 0; begin < vectors; begin += kVectorsOfChunk) {
    const u64 some = vectors - begin < kVectorsOfChunk ? vectors - begin : kVectorsOfChunk;
    totals.clear(some);
    for (u64 first = 0; first < cols; first += kBlockCols) {
      const u64 width = cols - first < kBlockCols ? cols - first : kBlockCols;
      add(first, width, x + begin * x_stride + first, some, totals.of);
    }
    totals.move(some, rows, out + begin * out_stride, out_stride);
  }
}

template <class Type, AddPanel* kAddPanel>
void multiply_rows_of(const FloatRows& rows, const float* x, u64 x_stride, u64 vectors, u64 cols, float* out,
                      u64 out_stride) noexcept {
  alignas(64) float panel[kBlockCols * kRows];
  const auto add = [&](u64 first, u64 width, const float* at_x, u64 some, float* totals) {
    for (u64 r = 0; r < rows.count; r += kRows) {
      const u64 count = rows.count - r < kRows ? rows.count - r : kRows;
      const auto* const at = static_cast<const typename Type::Element*>(rows.elements) + r * rows.stride;
      fill_panel<Type>(at, rows.stride, count, first, width, panel);
      fetch<Type>(at + first + kBlockCols, rows.stride, count);
      kAddPanel(panel, width, at_x, x_stride, some, totals + r);
    }
  };
  in_blocks(rows.count, x, x_stride, vectors, cols, out, out_stride, add);
}

template <AddPanel* kAddPanel>
void multiply_rows(const FloatRows& rows, const float* x, u64 x_stride, u64 vectors, u64 cols, float* out,
                   u64 out_stride) noexcept {
  switch (rows.type) {
    case FloatType::f32: return multiply_rows_of<F32, kAddPanel>(rows, x, x_stride, vectors, cols, out, out_stride);
    case FloatType::f16: return multiply_rows_of<F16, kAddPanel>(rows, x, x_stride, vectors, cols, out, out_stride);
    case FloatType::bf16: return multiply_rows_of<Bf16, kAddPanel>(rows, x, x_stride, vectors, cols, out, out_stride);
  }
}

template <AddPanel* kAddPanel>
void panel_dot(const float* panel, u64 cols, const float* x, u64 x_stride, u64 vectors, float* out,
               u64 out_stride) noexcept {
  in_blocks(kRows, x, x_stride, vectors, cols, out, out_stride,
            [&](u64 first, u64 width, const float* at_x, u64 some, float* totals) {
              kAddPanel(panel + first * kRows, width, at_x, x_stride, some, totals);
            });
}

}  // namespace
}  // namespace ingot::kernels

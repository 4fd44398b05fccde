// Rows of floating-point numbers, or panels of decoded ones, times several vectors: what does not depend on the width
// of registers. Sixteen outputs at a time lie side by side in a panel, whose columns meet a group of vectors, which lie
// side by side as well: one stream of numbers that the processor fetches ahead. A block of columns of all panels is
// made and used before the next one: it stays in the caches. Included only by files compiled with at least AVX2 flags,
// each of which holds its own copy (house style section 5).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/kernel_table.h"

namespace ingot::kernels {
namespace {

using u64 = std::uint64_t;

constexpr u64 kLanes = 8, kRows = 16;
constexpr u64 kBlockCols = 256;
constexpr u64 kVectorsOfChunk = 128;  // about

inline __m256 loadu(const float* at) noexcept { return _mm256_loadu_ps(at); }

// --- rows as panels --------------------------------------------------------------------------------------------------
struct F32 {
  using Element = float;
  static constexpr u64 kCols = 8;  // that are turned at once
};
struct F16 {
  using Element = std::uint16_t;
  static constexpr u64 kCols = 16;
  static __m256 widen(__m128i halves) noexcept { return _mm256_cvtph_ps(halves); }
};
struct Bf16 {
  using Element = std::uint16_t;
  static constexpr u64 kCols = 16;
  static __m256 widen(__m128i halves) noexcept {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
};

// Lane c of row r goes to lane r of column c, which is `panel` + c * kRows.
inline __attribute__((always_inline)) void store_transposed(const __m256* rows, float* panel) noexcept {
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
// The same for sixteen columns of numbers of 16 bits, which are widened at the end: half the work.
template <class Type>
inline __attribute__((always_inline)) void store_transposed(const __m256i* rows, float* panel) noexcept {
  __m256i pairs[8], quads[8];  // columns 0..7 and 8..15 in the halves of a register
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // rows 2i and 2i + 1, columns 0..3 and 4..7
    pairs[i] = _mm256_unpacklo_epi16(rows[2 * i], rows[2 * i + 1]);
    pairs[i + 4] = _mm256_unpackhi_epi16(rows[2 * i], rows[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {  // four rows, two columns each
    quads[i] = _mm256_unpacklo_epi32(pairs[i], pairs[i + 1]);
    quads[i + 1] = _mm256_unpackhi_epi32(pairs[i], pairs[i + 1]);
  }
#pragma GCC unroll 8
  for (u64 c = 0; c < 8; ++c) {
    const __m256i upper = quads[c / 4 * 4 + c / 2 % 2], lower = quads[c / 4 * 4 + c / 2 % 2 + 2];
    const __m256i column = c % 2 == 0 ? _mm256_unpacklo_epi64(upper, lower) : _mm256_unpackhi_epi64(upper, lower);
    _mm256_store_ps(panel + c * kRows, Type::widen(_mm256_castsi256_si128(column)));
    _mm256_store_ps(panel + (c + 8) * kRows, Type::widen(_mm256_extracti128_si256(column, 1)));
  }
}

// Type::kCols columns of `count` rows, at most 8; `panel` is that of the first of them. Rows that are none become
// zeros.
template <class Type>
void fill_eight(const float* at, u64 stride, u64 count, float* panel) noexcept {
  __m256 rows[kLanes];
#pragma GCC unroll 8
  for (u64 r = 0; r < kLanes; ++r) rows[r] = r < count ? loadu(at + r * stride) : _mm256_setzero_ps();
  store_transposed(rows, panel);
}
template <class Type>
void fill_eight(const std::uint16_t* at, u64 stride, u64 count, float* panel) noexcept {
  __m256i rows[kLanes];
#pragma GCC unroll 8
  for (u64 r = 0; r < kLanes; ++r) {
    const auto* const row = reinterpret_cast<const __m256i*>(at + r * stride);
    rows[r] = r < count ? _mm256_loadu_si256(row) : _mm256_setzero_si256();
  }
  store_transposed<Type>(rows, panel);
}

// Eight rows after the other eight: lines of more of them, which are often a multiple of 4 KiB apart, would drive one
// another out of the first-level cache.
template <class Type>
void fill_panel(const void* elements, u64 stride, u64 count, u64 first, u64 cols, float* panel) noexcept {
  constexpr u64 kCols = Type::kCols;
  for (u64 begin = 0; begin < kRows; begin += kLanes) {
    const u64 some = count < begin ? 0 : count - begin < kLanes ? count - begin : kLanes;
    const auto* const at =
        static_cast<const typename Type::Element*>(elements) + first + (some == 0 ? 0 : begin) * stride;
    float* const to = panel + begin;
    u64 col = 0;
    for (; col + kCols <= cols; col += kCols) fill_eight<Type>(at + col, stride, some, to + col * kRows);
    if (col == cols) continue;
    typename Type::Element rest[kLanes * kCols] = {};
    for (u64 r = 0; r < some; ++r) {
      for (u64 i = 0; i < cols - col; ++i) rest[r * kCols + i] = at[r * stride + col + i];
    }
    fill_eight<Type>(rest, kCols, some, to + col * kRows);
  }
}

// Asks for the next columns of all rows, in the second-level cache: each is a stream of its own, and short.
template <class Type>
void fetch(const typename Type::Element* at, u64 stride, u64 count) noexcept {
  for (u64 r = 0; r < count; ++r) {
    const char* const row = reinterpret_cast<const char*>(at + r * stride);
    for (u64 i = 0; i < kBlockCols * sizeof(*at); i += 64) _mm_prefetch(row + i, _MM_HINT_T1);
  }
}

// --- vectors as groups -----------------------------------------------------------------------------------------------
// Vectors in as few groups of at most kMost as there can be, of almost the same width. A group lies column by column,
// behind those before it.
template <u64 kMost>
struct Groups {
  u64 count, width, wider;  // the first `wider` groups have one vector more

  explicit Groups(u64 vectors) noexcept
      : count((vectors + kMost - 1) / kMost), width(vectors / count), wider(vectors % count) {}
  [[nodiscard]] u64 width_of(u64 group) const noexcept { return width + (group < wider ? 1 : 0); }
  [[nodiscard]] u64 first_of(u64 group) const noexcept { return group * width + (group < wider ? group : wider); }
};

template <u64 kMost>
void pack(const float* x, u64 x_stride, u64 vectors, u64 cols, u64 first, u64 end, float* packed) noexcept {
  const Groups<kMost> groups(vectors);
  for (u64 g = 0; g < groups.count; ++g) {
    const u64 begin = groups.first_of(g), width = groups.width_of(g);
    const float* const from = x + begin * x_stride;
    float* to = packed + begin * cols + first * width;
    for (u64 col = first; col < end; ++col, to += width) {
      for (u64 t = 0; t < width; ++t) to[t] = from[t * x_stride + col];
    }
  }
}

// --- products --------------------------------------------------------------------------------------------------------
// Adds a panel of `cols` columns times a group of vectors to their totals, which are kMaxFloatRows apart. One function
// for each width of a group, the first one for 1.
using AddPanel = void (*)(const float* panel, u64 cols, const float* x, float* totals) noexcept;

// The sums of a chunk of vectors are gathered here: the rows that they go to are often a multiple of 4 KiB apart, which
// puts a column of them into the same few lines of the first-level cache.
template <u64 kMost>
struct Totals {
  static constexpr u64 kGroups = (kVectorsOfChunk + kMost - 1) / kMost;
  alignas(64) float of[kGroups * kMost * kMaxFloatRows];

  void clear(u64 vectors) noexcept {
    for (u64 i = 0; i < vectors * kMaxFloatRows; ++i) of[i] = 0;
  }
  void move(u64 vectors, u64 rows, float* out, u64 out_stride) const noexcept {
    for (u64 t = 0; t < vectors; ++t) {
      for (u64 r = 0; r < rows; ++r) out[t * out_stride + r] = of[t * kMaxFloatRows + r];
    }
  }
};

// Some groups of the vectors, and a block of their columns.
template <u64 kMost, const AddPanel* kAddPanel>
struct Chunk {
  const Groups<kMost>& groups;
  u64 begin, end;  // groups
  u64 cols;        // of a vector
  const float* packed;

  [[nodiscard]] u64 first_vector() const noexcept { return groups.first_of(begin); }
  [[nodiscard]] u64 vectors() const noexcept { return groups.first_of(end) - first_vector(); }
  // Adds what the columns [first, first + width), which are those of `panel`, yield for 16 outputs.
  void add(const float* panel, u64 first, u64 width, float* totals) const noexcept {
    for (u64 g = begin; g < end; ++g) {
      const u64 vector = groups.first_of(g), some = groups.width_of(g);
      kAddPanel[some - 1](panel, width, packed + vector * cols + first * some,
                          totals + (vector - first_vector()) * kMaxFloatRows);
    }
  }
};

// Products of `rows` outputs with all vectors: add(chunk, first, width, totals) adds what the columns from `first` on
// yield for the vectors of a chunk.
template <u64 kMost, const AddPanel* kAddPanel, class Add>
void in_blocks(u64 rows, const float* packed, u64 vectors, u64 cols, float* out, u64 out_stride,
               const Add& add) noexcept {
  const Groups<kMost> groups(vectors);
  Totals<kMost> totals;
  for (u64 g = 0; g < groups.count; g += totals.kGroups) {
    const u64 end = groups.count - g < totals.kGroups ? groups.count : g + totals.kGroups;
    const Chunk<kMost, kAddPanel> chunk = {groups, g, end, cols, packed};
    totals.clear(chunk.vectors());
    for (u64 first = 0; first < cols; first += kBlockCols)
      add(chunk, first, cols - first < kBlockCols ? cols - first : kBlockCols, totals.of);
    totals.move(chunk.vectors(), rows, out + chunk.first_vector() * out_stride, out_stride);
  }
}

template <class Type, u64 kMost, const AddPanel* kAddPanel>
void multiply_rows_of(const FloatRows& rows, const float* packed, u64 vectors, u64 cols, float* out,
                      u64 out_stride) noexcept {
  alignas(64) float panel[kBlockCols * kRows];
  const auto add = [&](const Chunk<kMost, kAddPanel>& chunk, u64 first, u64 width, float* totals) {
    for (u64 r = 0; r < rows.count; r += kRows) {
      const u64 count = rows.count - r < kRows ? rows.count - r : kRows;
      const auto* const at = static_cast<const typename Type::Element*>(rows.elements) + r * rows.stride;
      fill_panel<Type>(at, rows.stride, count, first, width, panel);
      fetch<Type>(at + first + kBlockCols, rows.stride, count);
      chunk.add(panel, first, width, totals + r);
    }
  };
  in_blocks<kMost, kAddPanel>(rows.count, packed, vectors, cols, out, out_stride, add);
}

template <u64 kMost, const AddPanel* kAddPanel>
void multiply_rows(const FloatRows& rows, const float* packed, u64 vectors, u64 cols, float* out,
                   u64 out_stride) noexcept {
  switch (rows.type) {
    case FloatType::f32: return multiply_rows_of<F32, kMost, kAddPanel>(rows, packed, vectors, cols, out, out_stride);
    case FloatType::f16: return multiply_rows_of<F16, kMost, kAddPanel>(rows, packed, vectors, cols, out, out_stride);
    case FloatType::bf16: return multiply_rows_of<Bf16, kMost, kAddPanel>(rows, packed, vectors, cols, out, out_stride);
  }
}

template <u64 kMost, const AddPanel* kAddPanel>
void panel_dot(const float* panel, u64 cols, const float* packed, u64 vectors, float* out, u64 out_stride) noexcept {
  in_blocks<kMost, kAddPanel>(kRows, packed, vectors, cols, out, out_stride,
                              [&](const Chunk<kMost, kAddPanel>& chunk, u64 first, u64 width, float* totals) {
                                chunk.add(panel + first * kRows, first, width, totals);
                              });
}

}  // namespace
}  // namespace ingot::kernels

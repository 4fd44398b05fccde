// The tile loops with AVX2, FMA and F16C: rows and lines are transposed in registers, 8 x 8 words at a time.
#include "format/tensor/tile_loops.h"

#include <immintrin.h>

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kSide = 8, kLine = 64, kTileRows = 16, kUnrolled = 4;

inline __m256i loadu(const void* at) noexcept { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
inline void storeu(void* at, __m256i value) noexcept { _mm256_storeu_si256(static_cast<__m256i*>(at), value); }

/// Word j of register i <-> word i of register j.
inline void transpose(__m256i (&r)[kSide]) noexcept {
  __m256i pair[kSide], quad[kSide];
  for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);      // 00 10 01 11 | 04 14 05 15
    pair[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);  // 02 12 03 13 | 06 16 07 17
  }
  for (int i = 0; i < 8; i += 4) {
    quad[i] = _mm256_unpacklo_epi64(pair[i], pair[i + 2]);          // 00 10 20 30 | 04 14 24 34
    quad[i + 1] = _mm256_unpackhi_epi64(pair[i], pair[i + 2]);      // 01 ..       | 05 ..
    quad[i + 2] = _mm256_unpacklo_epi64(pair[i + 1], pair[i + 3]);  // 02 ..       | 06 ..
    quad[i + 3] = _mm256_unpackhi_epi64(pair[i + 1], pair[i + 3]);  // 03 ..       | 07 ..
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2x128_si256(quad[i], quad[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(quad[i], quad[i + 4], 0x31);
  }
}

void lines_of_rows(const std::byte* rows, std::uint64_t stride_bytes, std::uint64_t words, std::byte* lines) noexcept {
  std::uint64_t k = 0;
  for (; k + kSide <= words; k += kSide) {
    for (std::uint64_t half = 0; half < kTileRows; half += kSide) {
      __m256i r[kSide];
      for (std::uint64_t i = 0; i < kSide; ++i) r[i] = loadu(rows + (half + i) * stride_bytes + k * 4);
      transpose(r);
      for (std::uint64_t i = 0; i < kSide; ++i) storeu(lines + (k + i) * kLine + half * 4, r[i]);
    }
  }
  for (; k < words; ++k)
    for (std::uint64_t row = 0; row < kTileRows; ++row)
      __builtin_memcpy(lines + k * kLine + row * 4, rows + row * stride_bytes + k * 4, 4);
}

void rows_of_lines(const std::byte* lines, std::uint64_t words, std::byte* rows, std::uint64_t stride_bytes) noexcept {
  std::uint64_t k = 0;
  for (; k + kSide <= words; k += kSide) {
    for (std::uint64_t half = 0; half < kTileRows; half += kSide) {
      __m256i r[kSide];
      for (std::uint64_t i = 0; i < kSide; ++i) r[i] = loadu(lines + (k + i) * kLine + half * 4);
      transpose(r);
      for (std::uint64_t i = 0; i < kSide; ++i) storeu(rows + (half + i) * stride_bytes + k * 4, r[i]);
    }
  }
  for (; k < words; ++k)
    for (std::uint64_t row = 0; row < kTileRows; ++row)
      __builtin_memcpy(rows + row * stride_bytes + k * 4, lines + k * kLine + row * 4, 4);
}

/// Exchanges the high fields of `low` with the low fields of `high`.
template <int shift>
inline void exchange(__m256i& low, __m256i& high, __m256i low_fields) noexcept {
  const __m256i swapped = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi32(low, shift), high), low_fields);
  high = _mm256_xor_si256(high, swapped);
  low = _mm256_xor_si256(low, _mm256_slli_epi32(swapped, shift));
}

/// Nibble j of word i <-> nibble i of word j, in every lane.
inline void turn(__m256i (&r)[kSide]) noexcept {
  for (int i = 0; i < 8; i += 2) exchange<4>(r[i], r[i + 1], _mm256_set1_epi32(0x0f0f0f0f));
  for (int i = 0; i < 8; ++i)
    if ((i & 2) == 0) exchange<8>(r[i], r[i + 2], _mm256_set1_epi32(0x00ff00ff));
  for (int i = 0; i < 4; ++i) exchange<16>(r[i], r[i + 4], _mm256_set1_epi32(0x0000ffff));
}

void squares_of_rows(const std::byte* rows, std::uint64_t stride_bytes, const std::uint32_t* order,
                     std::byte* squares) noexcept {
  __m256i r[kSide];
  for (std::uint64_t i = 0; i < kSide; ++i) r[i] = loadu(rows + i * stride_bytes);
  turn(r);
  transpose(r);
  const __m256i places = loadu(order);
  for (std::uint64_t i = 0; i < kSide; ++i) storeu(squares + i * 32, _mm256_permutevar8x32_epi32(r[i], places));
}

void rows_of_squares(const std::byte* squares, const std::uint32_t* order, std::byte* rows,
                     std::uint64_t stride_bytes) noexcept {
  const __m256i places = loadu(order);
  __m256i r[kSide];
  for (std::uint64_t i = 0; i < kSide; ++i) r[i] = _mm256_permutevar8x32_epi32(loadu(squares + i * 32), places);
  transpose(r);
  turn(r);
  for (std::uint64_t i = 0; i < kSide; ++i) storeu(rows + i * stride_bytes, r[i]);
}

// The canonical loops call values(col, scale, zero, add) for the columns of every run; what it has made ready for the
// run makes eight values at a time.

template <class Values>
inline void each_run(std::uint64_t col_begin, std::uint64_t col_end, const TileRuns& runs, std::uint64_t row,
                     std::uint32_t* out, Values values) noexcept {
  std::uint64_t run = col_begin / runs.run_cols;
  for (std::uint64_t col = col_begin; col < col_end; ++run) {
    const std::uint64_t run_end = (run + 1) * runs.run_cols, at = run * kTileRows + row;
    const std::uint64_t end = run_end < col_end ? run_end : col_end;
    const auto eight_at = values(_mm256_broadcast_ss(runs.scales + at), _mm256_broadcast_ss(runs.zeros + at),
                                 _mm256_broadcast_ss(runs.adds + at));
    for (; col + kUnrolled * kSide <= end; col += kUnrolled * kSide, out += kUnrolled * kSide)
      for (std::uint64_t k = 0; k < kUnrolled; ++k)
        storeu(out + k * kSide, _mm256_castps_si256(eight_at(col + k * kSide)));
    for (; col < end; col += kSide, out += kSide) storeu(out, _mm256_castps_si256(eight_at(col)));
  }
}

/// Eight nibbles in the low bits of the lanes, with others above them.
inline __m256i nibbles_at(const std::byte* codes, std::uint64_t col) noexcept {
  int word;
  __builtin_memcpy(&word, codes + col / 2, sizeof word);
  return _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
}

inline __m128i eight_bytes(const std::byte* at) noexcept {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
}

void canonical_nibbles(const std::byte* codes, std::uint64_t col_begin, std::uint64_t col_end, const TileRuns& runs,
                       std::uint64_t row, std::uint32_t* out) noexcept {
  const __m256i fifteen = _mm256_set1_epi32(15);
  each_run(col_begin, col_end, runs, row, out, [=](__m256 scale, __m256 zero, __m256 add) {
    return [=](std::uint64_t col) {
      const __m256i nibbles = _mm256_and_si256(nibbles_at(codes, col), fifteen);
      return _mm256_fmadd_ps(scale, _mm256_sub_ps(_mm256_cvtepi32_ps(nibbles), zero), add);
    };
  });
}

void canonical_bytes(const std::byte* codes, std::uint8_t flip, std::uint64_t col_begin, std::uint64_t col_end,
                     const TileRuns& runs, std::uint64_t row, std::uint32_t* out) noexcept {
  const __m128i flips = _mm_set1_epi8(static_cast<char>(flip));
  each_run(col_begin, col_end, runs, row, out, [=](__m256 scale, __m256 zero, __m256 add) {
    return [=](std::uint64_t col) {
      const __m256i numbers = _mm256_cvtepu8_epi32(_mm_xor_si128(eight_bytes(codes + col), flips));
      return _mm256_fmadd_ps(scale, _mm256_sub_ps(_mm256_cvtepi32_ps(numbers), zero), add);
    };
  });
}

/// The 16 values of a run stand in two registers.
void canonical_table16(const std::byte* codes, const float* table, std::uint64_t col_begin, std::uint64_t col_end,
                       const TileRuns& runs, std::uint64_t row, std::uint32_t* out) noexcept {
  const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8);
  each_run(col_begin, col_end, runs, row, out, [=](__m256 scale, __m256 zero, __m256 add) {
    const __m256 plus_zero = _mm256_setzero_ps();  // -0 + 0 = 0
    const __m256 low_values = _mm256_add_ps(_mm256_fmadd_ps(scale, _mm256_sub_ps(low, zero), add), plus_zero);
    const __m256 high_values = _mm256_add_ps(_mm256_fmadd_ps(scale, _mm256_sub_ps(high, zero), add), plus_zero);
    return [=](std::uint64_t col) {
      const __m256i index = nibbles_at(codes, col);
      const __m256 is_high = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // bit 3 chooses
      return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low_values, index), _mm256_permutevar8x32_ps(high_values, index),
                              is_high);
    };
  });
}

/// s eeee mmm is s 0 eeee mmm 0000000 of binary16 times 256, subnormal numbers too.
void canonical_e4m3(const std::byte* codes, std::uint64_t col_begin, std::uint64_t col_end, const TileRuns& runs,
                    std::uint64_t row, std::uint32_t* out) noexcept {
  const __m128i all_but_bit_14 = _mm_set1_epi16(static_cast<short>(0xBFFF)), none = _mm_setzero_si128();
  each_run(col_begin, col_end, runs, row, out, [=](__m256 scale, __m256, __m256) {
    const __m256 scale_256 = _mm256_mul_ps(scale, _mm256_set1_ps(256)), plus_zero = _mm256_setzero_ps();
    return [=](std::uint64_t col) {
      const __m128i high_bytes = _mm_unpacklo_epi8(none, eight_bytes(codes + col));
      const __m256 number = _mm256_cvtph_ps(_mm_and_si128(_mm_srai_epi16(high_bytes, 1), all_but_bit_14));
      return _mm256_add_ps(_mm256_mul_ps(scale_256, number), plus_zero);
    };
  });
}

constexpr TileLoops kAvx2 = {lines_of_rows,     rows_of_lines,   squares_of_rows,   rows_of_squares,
                             canonical_nibbles, canonical_bytes, canonical_table16, canonical_e4m3};

}  // namespace
}  // namespace ingot::tensor

const ingot::tensor::TileLoops& ingot::tensor::tile_loops_avx2() noexcept { return ingot::tensor::kAvx2; }

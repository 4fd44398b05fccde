// The code loops with AVX2: words of lines are transposed in registers, four by four in each half.
#include "format/tensor/code_loops.h"

#include <immintrin.h>

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kLine = 64, kRows = 16, kHalf = 8;

inline __m256i loadu(const void* at) noexcept { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
inline void storeu(void* at, __m256i value) noexcept { _mm256_storeu_si256(static_cast<__m256i*>(at), value); }

/// In each half: word j of register i <-> word i of register j.
inline void transpose4(__m256i& a, __m256i& b, __m256i& c, __m256i& d) noexcept {
  const __m256i ab_low = _mm256_unpacklo_epi32(a, b), ab_high = _mm256_unpackhi_epi32(a, b);  // a0 b0 a1 b1
  const __m256i cd_low = _mm256_unpacklo_epi32(c, d), cd_high = _mm256_unpackhi_epi32(c, d);
  a = _mm256_unpacklo_epi64(ab_low, cd_low);  // a0 b0 c0 d0
  b = _mm256_unpackhi_epi64(ab_low, cd_low);
  c = _mm256_unpacklo_epi64(ab_high, cd_high);
  d = _mm256_unpackhi_epi64(ab_high, cd_high);
}

/// The 32 nibbles of two rows, a row in each half, to bytes.
inline void store_nibbles(__m256i words, std::uint8_t* row, std::uint8_t* other_row) noexcept {
  const __m256i fifteen = _mm256_set1_epi8(15);
  const __m256i even = _mm256_and_si256(words, fifteen);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(words, 4), fifteen);
  const __m256i first = _mm256_unpacklo_epi8(even, odd), second = _mm256_unpackhi_epi8(even, odd);
  storeu(row, _mm256_permute2x128_si256(first, second, 0x20));
  storeu(other_row, _mm256_permute2x128_si256(first, second, 0x31));
}

/// Calls work(words of two rows, codes of the one, codes of the other) for `cols` columns, kCols of which fill four
/// lines. Rows half..half+3 are in the low halves, half+4..half+7 in the high ones.
template <std::uint64_t kCols, class Work>
void each_two_rows(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes, std::uint64_t stride,
                   Work work) noexcept {
  for (std::uint64_t col = 0; col < cols; col += kCols, lines += 4 * kLine) {
    for (std::uint64_t half = 0; half < kRows; half += kHalf) {
      __m256i r[4];
      for (std::uint64_t k = 0; k < 4; ++k) r[k] = loadu(lines + k * kLine + half * 4);
      transpose4(r[0], r[1], r[2], r[3]);
      for (std::uint64_t i = 0; i < 4; ++i) {
        std::uint8_t* row = codes + (half + i) * stride + col;
        work(r[i], row, row + 4 * stride);
      }
    }
  }
}

void rows_of_nibbles(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes, std::uint64_t stride) noexcept {
  each_two_rows<kLoopCols>(lines, cols, codes, stride, store_nibbles);
}

void rows_of_bytes(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes, std::uint64_t stride) noexcept {
  for (std::uint64_t col = 0; col < cols; col += kLoopCols, lines += 8 * kLine) {
    for (std::uint64_t half = 0; half < kRows; half += kHalf) {
      __m256i r[8];
      for (std::uint64_t k = 0; k < 8; ++k) r[k] = loadu(lines + k * kLine + half * 4);
      transpose4(r[0], r[1], r[2], r[3]);
      transpose4(r[4], r[5], r[6], r[7]);
      for (std::uint64_t i = 0; i < 4; ++i) {
        std::uint8_t* row = codes + (half + i) * stride + col;
        storeu(row, _mm256_permute2x128_si256(r[i], r[i + 4], 0x20));
        storeu(row + 4 * stride, _mm256_permute2x128_si256(r[i], r[i + 4], 0x31));
      }
    }
  }
}

inline void or_into(std::uint8_t* at, __m256i bits) noexcept { storeu(at, _mm256_or_si256(loadu(at), bits)); }

/// The 64 pairs of bits of two rows, a row in each half, four words of a row: byte k of a word holds those of columns
/// 2k, 2k + 1, 2k + 8 and 2k + 9 of its 16.
inline void add_pairs(__m256i words, std::uint8_t* row, std::uint8_t* other_row) noexcept {
  const __m256i mask = _mm256_set1_epi8(0x30);
  const __m256i a = _mm256_and_si256(_mm256_slli_epi16(words, 4), mask);
  const __m256i b = _mm256_and_si256(_mm256_slli_epi16(words, 2), mask);
  const __m256i c = _mm256_and_si256(words, mask);
  const __m256i d = _mm256_and_si256(_mm256_srli_epi16(words, 2), mask);
  const __m256i ab_low = _mm256_unpacklo_epi8(a, b), ab_high = _mm256_unpackhi_epi8(a, b);
  const __m256i cd_low = _mm256_unpacklo_epi8(c, d), cd_high = _mm256_unpackhi_epi8(c, d);
  const __m256i first = _mm256_unpacklo_epi64(ab_low, cd_low), second = _mm256_unpackhi_epi64(ab_low, cd_low);
  const __m256i third = _mm256_unpacklo_epi64(ab_high, cd_high), fourth = _mm256_unpackhi_epi64(ab_high, cd_high);
  or_into(row, _mm256_permute2x128_si256(first, second, 0x20));
  or_into(row + 32, _mm256_permute2x128_si256(third, fourth, 0x20));
  or_into(other_row, _mm256_permute2x128_si256(first, second, 0x31));
  or_into(other_row + 32, _mm256_permute2x128_si256(third, fourth, 0x31));
}

void add_pairs_above_nibbles(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes,
                             std::uint64_t stride) noexcept {
  each_two_rows<kHighLoopCols>(lines, cols, codes, stride, add_pairs);
}

/// Bit 8b + 2g + k of a word is that of column 8g + 2b + k: byte b to its columns, then each looks at its bit.
void add_bits_above_nibbles(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes,
                            std::uint64_t stride) noexcept {
  const __m256i byte_of_column = _mm256_set1_epi64x(0x0303020201010000);
  const __m256i bit = _mm256_setr_epi64x(0x0201020102010201, 0x0804080408040804, 0x2010201020102010,
                                         static_cast<long long>(0x8040804080408040));
  const __m256i sixteen = _mm256_set1_epi8(16);
  for (std::uint64_t col = 0; col < cols; col += kLoopCols, lines += kLine) {
    for (std::uint64_t row = 0; row < kRows; ++row) {
      int word;
      __builtin_memcpy(&word, lines + row * 4, sizeof word);
      const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word), byte_of_column);
      const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
      or_into(codes + row * stride + col, _mm256_and_si256(is_set, sixteen));
    }
  }
}

/// The bits of the columns in order, then a square of 4 x 4 pairs turned over.
void bits_above_nibbles(const std::uint8_t* codes, std::uint64_t stride, std::uint64_t cols,
                        std::byte* lines) noexcept {
  for (std::uint64_t col = 0; col < cols; col += kLoopCols, lines += kLine) {
    for (std::uint64_t row = 0; row < kRows; ++row) {
      const __m256i at_top = _mm256_slli_epi16(loadu(codes + row * stride + col), 3);
      auto word = static_cast<std::uint32_t>(_mm256_movemask_epi8(at_top));
      std::uint32_t swapped = (word >> 6 ^ word) & 0x00CC00CCu;
      word ^= swapped ^ swapped << 6;
      swapped = (word >> 12 ^ word) & 0x0000F0F0u;
      word ^= swapped ^ swapped << 12;
      __builtin_memcpy(lines + row * 4, &word, sizeof word);
    }
  }
}

/// 32 bytes of two rows to their nibbles, a row in each half.
inline __m256i load_nibbles(const std::uint8_t* row, const std::uint8_t* other_row) noexcept {
  const __m256i fifteen = _mm256_set1_epi8(15), pairs = _mm256_set1_epi16(0x1001);  // first + 16 * second
  const __m256i a = _mm256_maddubs_epi16(_mm256_and_si256(loadu(row), fifteen), pairs);
  const __m256i b = _mm256_maddubs_epi16(_mm256_and_si256(loadu(other_row), fifteen), pairs);
  return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xD8);
}

void nibbles_of_rows(const std::uint8_t* codes, std::uint64_t stride, std::uint64_t cols, std::byte* lines) noexcept {
  for (std::uint64_t col = 0; col < cols; col += kLoopCols, lines += 4 * kLine) {
    for (std::uint64_t half = 0; half < kRows; half += kHalf) {
      __m256i r[4];
      for (std::uint64_t i = 0; i < 4; ++i) {
        const std::uint8_t* row = codes + (half + i) * stride + col;
        r[i] = load_nibbles(row, row + 4 * stride);
      }
      transpose4(r[0], r[1], r[2], r[3]);
      for (std::uint64_t k = 0; k < 4; ++k) storeu(lines + k * kLine + half * 4, r[k]);
    }
  }
}

/// Eight columns of 16 elements: first 8 x 8 in each half (rows 0..7 and 8..15), then stored apart.
void rows_of_pairs(const std::byte* columns, std::uint64_t cols, std::byte* rows) noexcept {
  std::uint64_t col = 0;
  for (; col + 8 <= cols; col += 8) {
    __m256i r[8], pair[8];
    for (std::uint64_t i = 0; i < 8; ++i) r[i] = loadu(columns + (col + i) * kRows * 2);
    for (int i = 0; i < 8; i += 2) {
      pair[i / 2] = _mm256_unpacklo_epi16(r[i], r[i + 1]);      // rows 0..3 of columns i, i + 1
      pair[i / 2 + 4] = _mm256_unpackhi_epi16(r[i], r[i + 1]);  // rows 4..7
    }
    transpose4(pair[0], pair[1], pair[2], pair[3]);
    transpose4(pair[4], pair[5], pair[6], pair[7]);
    for (std::uint64_t row = 0; row < 8; ++row) {
      std::byte* to = rows + (row * cols + col) * 2;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(pair[row]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8 * cols * 2), _mm256_extracti128_si256(pair[row], 1));
    }
  }
  for (; col < cols; ++col)
    for (std::uint64_t row = 0; row < kRows; ++row)
      __builtin_memcpy(rows + (row * cols + col) * 2, columns + (col * kRows + row) * 2, 2);
}

void pairs_of_rows(const std::byte* rows, std::uint64_t cols, std::byte* columns) noexcept {
  const auto load = [&](std::uint64_t row, std::uint64_t col) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + (row * cols + col) * 2));
  };
  std::uint64_t col = 0;
  for (; col + 8 <= cols; col += 8) {
    __m256i r[8], pair[8], quad[8];
    for (std::uint64_t i = 0; i < 8; ++i) r[i] = _mm256_set_m128i(load(i + 8, col), load(i, col));
    for (int i = 0; i < 8; i += 2) {
      pair[i] = _mm256_unpacklo_epi16(r[i], r[i + 1]);      // columns 0..3 of rows i, i + 1
      pair[i + 1] = _mm256_unpackhi_epi16(r[i], r[i + 1]);  // columns 4..7
    }
    for (int i = 0; i < 8; i += 4) {
      quad[i] = _mm256_unpacklo_epi32(pair[i], pair[i + 2]);  // columns 0, 1 of four rows
      quad[i + 1] = _mm256_unpackhi_epi32(pair[i], pair[i + 2]);
      quad[i + 2] = _mm256_unpacklo_epi32(pair[i + 1], pair[i + 3]);
      quad[i + 3] = _mm256_unpackhi_epi32(pair[i + 1], pair[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
      std::byte* to = columns + (col + 2 * static_cast<std::uint64_t>(i)) * kRows * 2;
      storeu(to, _mm256_unpacklo_epi64(quad[i], quad[i + 4]));
      storeu(to + kRows * 2, _mm256_unpackhi_epi64(quad[i], quad[i + 4]));
    }
  }
  for (; col < cols; ++col)
    for (std::uint64_t row = 0; row < kRows; ++row)
      __builtin_memcpy(columns + (col * kRows + row) * 2, rows + (row * cols + col) * 2, 2);
}

constexpr CodeLoops kAvx2 = {rows_of_nibbles, rows_of_bytes,      add_pairs_above_nibbles, add_bits_above_nibbles,
                             nibbles_of_rows, bits_above_nibbles, rows_of_pairs,           pairs_of_rows};

}  // namespace
}  // namespace ingot::tensor

const ingot::tensor::CodeLoops& ingot::tensor::code_loops_avx2() noexcept { return ingot::tensor::kAvx2; }

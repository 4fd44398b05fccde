// The loops over blocks with AVX2 and F16C. Blocks with numbers of no use (infinite, NaN, zero where its sign is
// stored) are left to the portable build.
#include "converters/gguf/loops.h"

#include <immintrin.h>

namespace ingot::convert::gguf {
namespace {

constexpr std::uint64_t kElems = 32, kQ8Bytes = 34;
constexpr std::uint64_t block_bytes(bool has_bias, bool has_fifth) noexcept {
  return 2u + (has_bias ? 2u : 0u) + (has_fifth ? 4u : 0u) + 16u;
}

inline __m256i loadu(const void* at) noexcept { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
inline void store_half(void* at, __m128i value) noexcept { _mm_storeu_si128(static_cast<__m128i*>(at), value); }
inline void store_f16(std::byte* at, float value) noexcept {
  const __m128i halves = _mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT);
  const auto half = static_cast<std::uint16_t>(_mm_extract_epi16(halves, 0));
  __builtin_memcpy(at, &half, sizeof half);
}
inline bool is_finite(float value) noexcept { return value - value == 0; }

/// One block from its codes, one in a byte. Returns where the next one begins.
template <bool has_bias, bool has_fifth>
inline std::byte* put_block(__m256i codes, const std::byte* scale, const std::byte* bias, std::byte* block) noexcept {
  __builtin_memcpy(block, scale, 2);
  block += 2;
  if constexpr (has_bias) {
    __builtin_memcpy(block, bias, 2);
    block += 2;
  }
  if constexpr (has_fifth) {
    const int fifth = _mm256_movemask_epi8(_mm256_slli_epi16(codes, 3));
    __builtin_memcpy(block, &fifth, 4);
    block += 4;
  }
  const __m256i nibbles = _mm256_and_si256(codes, _mm256_set1_epi8(15));
  const __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(nibbles, 1), 4);
  store_half(block, _mm_or_si128(_mm256_castsi256_si128(nibbles), high));
  return block + 16;
}

template <bool has_bias, bool has_fifth>
void join(const std::uint8_t* codes, const std::byte* scales, const std::byte* biases, std::uint64_t count,
          std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, codes += kElems)
    block = put_block<has_bias, has_fifth>(loadu(codes), scales + 2 * b, has_bias ? biases + 2 * b : nullptr, block);
}

template <bool has_bias, bool has_fifth>
void join_words(const std::byte* nibbles, const std::uint8_t* moves, const std::byte* scales, const std::byte* biases,
                std::uint64_t count, std::byte* block) noexcept {
  const __m128i fifteen = _mm_set1_epi8(15);
  for (std::uint64_t b = 0; b < count; ++b) {
    const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(nibbles + 16 * b));
    const __m128i even = _mm_and_si128(pairs, fifteen), odd = _mm_and_si128(_mm_srli_epi16(pairs, 4), fifteen);
    __m256i codes = _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
    if (moves != nullptr) codes = _mm256_add_epi8(codes, _mm256_set1_epi8(static_cast<char>(moves[b])));
    block = put_block<has_bias, has_fifth>(codes, scales + 2 * b, has_bias ? biases + 2 * b : nullptr, block);
  }
}

/// Bits of 32 elements, the first lowest, as the word of a 1-bit slice above 4-bit codes keeps them: pairs of bits are
/// transposed as a matrix of 4 x 4.
inline std::uint32_t slice_word(std::uint32_t bits) noexcept {
  std::uint32_t swapped = (bits >> 6 ^ bits) & 0x00CC00CCu;
  bits ^= swapped ^ swapped << 6;
  swapped = (bits >> 12 ^ bits) & 0x0000F0F0u;
  return bits ^ swapped ^ swapped << 12;
}

/// Blocks whose last bytes are the fifth bits, where they have them, and the nibbles.
template <std::uint64_t bytes, bool has_fifth>
void split_words(const std::byte* block, std::uint64_t count, std::byte* nibbles, std::byte* fifth) noexcept {
  const __m128i fifteen = _mm_set1_epi8(15), pairs_of = _mm_set1_epi16(0x1001);  // first + 16 * second
  for (std::uint64_t b = 0; b < count; ++b, block += bytes) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + bytes - 16));
    const __m128i low = _mm_and_si128(packed, fifteen), high = _mm_and_si128(_mm_srli_epi16(packed, 4), fifteen);
    store_half(nibbles + 16 * b, _mm_packus_epi16(_mm_maddubs_epi16(low, pairs_of), _mm_maddubs_epi16(high, pairs_of)));
    if constexpr (has_fifth) {
      std::uint32_t bits = 0;
      __builtin_memcpy(&bits, block + bytes - 20, sizeof bits);
      bits = slice_word(bits);
      __builtin_memcpy(fifth + 4 * b, &bits, sizeof bits);
    }
  }
}

void split_words_q4_k(const std::byte* block, std::uint64_t count, std::byte* nibbles, std::byte*) noexcept {
  const __m256i fifteen = _mm256_set1_epi8(15), pairs_of = _mm256_set1_epi16(0x1001);
  for (std::uint64_t b = 0; b < count; ++b, block += 144) {
    for (std::uint64_t quarter = 0; quarter < 4; ++quarter, nibbles += 32) {
      const __m256i packed = loadu(block + 16 + 32 * quarter);
      const __m256i low = _mm256_and_si256(packed, fifteen),
                    high = _mm256_and_si256(_mm256_srli_epi16(packed, 4), fifteen);
      const __m256i both =
          _mm256_packus_epi16(_mm256_maddubs_epi16(low, pairs_of), _mm256_maddubs_epi16(high, pairs_of));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(nibbles), _mm256_permute4x64_epi64(both, 0xD8));
    }
  }
}

/// Byte j of the result is 16 where bit j is set.
inline __m256i sixteens(int bits) noexcept {
  const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i picked = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte_of), bit_of);
  return _mm256_and_si256(_mm256_cmpeq_epi8(picked, bit_of), _mm256_set1_epi8(16));
}

template <bool has_bias>
void split_fifth(const std::byte* block, std::uint64_t count, std::uint8_t* codes) noexcept {
  const __m256i fifteen = _mm256_set1_epi8(15);
  for (std::uint64_t b = 0; b < count; ++b, block += block_bytes(has_bias, true), codes += kElems) {
    const std::byte* fifth = block + block_bytes(has_bias, true) - 20;
    int bits = 0;
    __builtin_memcpy(&bits, fifth, sizeof bits);
    const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(fifth + 4));
    const __m256i nibbles = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(pairs, 4), pairs), fifteen);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm256_or_si256(nibbles, sixteens(bits)));
  }
}

inline float greatest_lane(__m256 lanes) noexcept {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
inline float least_lane(__m256 lanes) noexcept {
  __m128 four = _mm_min_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  four = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(four, _mm_movehdup_ps(four)));
}

/// 32 values of a block.
struct Values {
  __m256 v[4];
  explicit Values(const float* at) noexcept {
    for (int i = 0; i < 4; ++i) v[i] = _mm256_loadu_ps(at + 8 * i);
  }
  [[nodiscard]] __m256 magnitude(int i) const noexcept { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v[i]); }
  /// Infinite where a value is infinite; as for NaN, nothing is promised.
  [[nodiscard]] float largest_magnitude() const noexcept {
    return greatest_lane(
        _mm256_max_ps(_mm256_max_ps(magnitude(0), magnitude(1)), _mm256_max_ps(magnitude(2), magnitude(3))));
  }
  [[nodiscard]] bool has_nan() const noexcept {
    const __m256 first = _mm256_or_ps(_mm256_cmp_ps(v[0], v[1], _CMP_UNORD_Q), _mm256_cmp_ps(v[2], v[3], _CMP_UNORD_Q));
    return _mm256_movemask_ps(first) != 0;
  }
  /// Index of the first value of this magnitude.
  [[nodiscard]] unsigned first_of(float largest) const noexcept {
    const __m256 wanted = _mm256_set1_ps(largest);
    unsigned mask = 0;
    for (int i = 0; i < 4; ++i) {
      const auto lanes = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(magnitude(i), wanted, _CMP_EQ_OQ)));
      mask |= lanes << 8 * i;
    }
    return static_cast<unsigned>(__builtin_ctz(mask));
  }
};

void encode_q8_0(const float* values, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, values += kElems, block += kQ8Bytes) {
    const Values x(values);
    const float scale = x.largest_magnitude() / 127.0f, inverse = 1.0f / scale;
    if (x.has_nan() || !is_finite(scale) || !is_finite(inverse)) {
      block_loops_portable().encode_q8_0(values, 1, block);
      continue;
    }
    store_f16(block, scale);
    __m256i codes[4];
    for (int i = 0; i < 4; ++i) {
      const __m256 scaled = _mm256_mul_ps(x.v[i], _mm256_set1_ps(inverse));
      // Halves away from zero: the number below 0.5 brings halves to the next whole number, and nothing less.
      const __m256 half = _mm256_or_ps(_mm256_and_ps(scaled, _mm256_set1_ps(-0.0f)), _mm256_set1_ps(0x1.fffffep-2f));
      codes[i] = _mm256_cvttps_epi32(_mm256_add_ps(scaled, half));
    }
    const __m256i packed =
        _mm256_packs_epi16(_mm256_packs_epi32(codes[0], codes[1]), _mm256_packs_epi32(codes[2], codes[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packing works on each half of the register
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(block + 2), _mm256_permutevar8x32_epi32(packed, order));
  }
}

/// Codes of a block, eight in each register -> fifth bits and nibbles.
template <bool has_fifth>
inline void store_codes(const __m256i (&codes)[4], std::byte* at) noexcept {
  __m256i nibbles[4];
  for (int i = 0; i < 4; ++i) nibbles[i] = has_fifth ? _mm256_and_si256(codes[i], _mm256_set1_epi32(15)) : codes[i];
  if constexpr (has_fifth) {
    unsigned fifth = 0;
    for (int i = 0; i < 4; ++i) {
      const __m256 signs = _mm256_castsi256_ps(_mm256_slli_epi32(codes[i], 27));
      fifth |= static_cast<unsigned>(_mm256_movemask_ps(signs)) << 8 * i;
    }
    __builtin_memcpy(at, &fifth, 4);
    at += 4;
  }
  const __m256i first = _mm256_or_si256(nibbles[0], _mm256_slli_epi32(nibbles[2], 4));
  const __m256i second = _mm256_or_si256(nibbles[1], _mm256_slli_epi32(nibbles[3], 4));
  const __m256i pairs = _mm256_permute4x64_epi64(_mm256_packus_epi32(first, second), 0xD8);
  store_half(at, _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1)));
}

/// trunc of (x - subtract) * inverse + add, clamped to 0 .. greatest.
inline __m256i code_lanes(__m256 x, float inverse, float add, float greatest) noexcept {
  const __m256 scaled = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(inverse)), _mm256_set1_ps(add));
  return _mm256_cvttps_epi32(_mm256_min_ps(_mm256_max_ps(scaled, _mm256_setzero_ps()), _mm256_set1_ps(greatest)));
}

template <bool has_fifth>
void encode_symmetric(const float* values, std::uint64_t count, std::byte* block) noexcept {
  constexpr float kHalf = has_fifth ? 16 : 8;
  constexpr std::uint64_t kBytes = block_bytes(false, has_fifth);
  const auto portable = has_fifth ? block_loops_portable().encode_q5_0 : block_loops_portable().encode_q4_0;
  for (std::uint64_t b = 0; b < count; ++b, values += kElems, block += kBytes) {
    const Values x(values);
    const float largest = x.largest_magnitude();
    if (x.has_nan() || !is_finite(largest)) {
      portable(values, 1, block);
      continue;
    }
    const float scale = values[x.first_of(largest)] / -kHalf, inverse = scale == 0 ? 0 : 1 / scale;
    if (!is_finite(inverse)) {
      portable(values, 1, block);
      continue;
    }
    store_f16(block, scale);
    __m256i codes[4];
    for (int i = 0; i < 4; ++i) codes[i] = code_lanes(x.v[i], inverse, kHalf + 0.5f, 2 * kHalf - 1);
    store_codes<has_fifth>(codes, block + 2);
  }
}

template <bool has_fifth>
void encode_asymmetric(const float* values, std::uint64_t count, std::byte* block) noexcept {
  constexpr float kGreatest = has_fifth ? 31 : 15;
  constexpr std::uint64_t kBytes = block_bytes(true, has_fifth);
  const auto portable = has_fifth ? block_loops_portable().encode_q5_1 : block_loops_portable().encode_q4_1;
  for (std::uint64_t b = 0; b < count; ++b, values += kElems, block += kBytes) {
    const Values x(values);
    const float least = least_lane(_mm256_min_ps(_mm256_min_ps(x.v[0], x.v[1]), _mm256_min_ps(x.v[2], x.v[3])));
    const float greatest = greatest_lane(_mm256_max_ps(_mm256_max_ps(x.v[0], x.v[1]), _mm256_max_ps(x.v[2], x.v[3])));
    const float scale = (greatest - least) / kGreatest, inverse = scale == 0 ? 0 : 1 / scale;
    if (x.has_nan() || least == 0 || !is_finite(least) || !is_finite(scale) || !is_finite(inverse)) {
      portable(values, 1, block);
      continue;
    }
    store_f16(block, scale);
    store_f16(block + 2, least);
    __m256i codes[4];
    for (int i = 0; i < 4; ++i)
      codes[i] = code_lanes(_mm256_sub_ps(x.v[i], _mm256_set1_ps(least)), inverse, 0.5f, kGreatest);
    store_codes<has_fifth>(codes, block + 4);
  }
}

constexpr BlockLoops kAvx2 = {join<false, false>,
                              join<true, false>,
                              join<false, true>,
                              join<true, true>,
                              encode_q8_0,
                              encode_symmetric<false>,
                              encode_asymmetric<false>,
                              encode_symmetric<true>,
                              encode_asymmetric<true>,
                              split_fifth<false>,
                              split_fifth<true>,
                              join_words<false, false>,
                              join_words<true, false>,
                              join_words<false, true>,
                              join_words<true, true>,
                              split_words<18, false>,
                              split_words<20, false>,
                              split_words<22, true>,
                              split_words<24, true>,
                              split_words_q4_k};

}  // namespace
}  // namespace ingot::convert::gguf

const ingot::convert::gguf::BlockLoops& ingot::convert::gguf::block_loops_avx2() noexcept {
  return ingot::convert::gguf::kAvx2;
}

// The portable build of the loops over blocks, and the choice between the builds.
#include "converters/gguf/loops.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "converters/gguf/block_codecs.h"
#include "converters/requantize/blocks.h"
#include "format/tensor/float_codes.h"

#ifdef INGOT_GGUF_ISA_FILES
#include <cpuid.h>
#endif

namespace ingot::convert::gguf {
namespace {

constexpr std::uint64_t kElems = 32, kF16Bytes = 2, kNibbleBytes = 16, kFifthBytes = 4;

void take_fifth_bits(const std::uint8_t* codes, std::byte* high) noexcept {
  for (std::size_t i = 0; i < kFifthBytes; ++i)
    high[i] = static_cast<std::byte>(collect_bits((load8(codes + 8 * i) >> 4) & kByteOnes));
}

/// f16 scale | f16 bias, where the type has one | fifth bits, where it has them | nibbles.
template <bool has_bias, bool has_fifth>
void join(const std::uint8_t* codes, const std::byte* scales, const std::byte* biases, std::uint64_t count,
          std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, codes += kElems) {
    copy_bytes(scales + b * kF16Bytes, block, kF16Bytes);
    block += kF16Bytes;
    if constexpr (has_bias) {
      copy_bytes(biases + b * kF16Bytes, block, kF16Bytes);
      block += kF16Bytes;
    }
    if constexpr (has_fifth) {
      take_fifth_bits(codes, block);
      block += kFifthBytes;
    }
    join_nibbles<kNibbleBytes>(codes, block);
    block += kNibbleBytes;
  }
}

/// Bit j of the fifth bits is that of element j.
template <bool has_bias>
void split_fifth(const std::byte* block, std::uint64_t count, std::uint8_t* codes) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, codes += kElems) {
    block += kF16Bytes * (has_bias ? 2 : 1);
    split_nibbles<kNibbleBytes>(block + kFifthBytes, codes);
    for (std::size_t i = 0; i < kFifthBytes; ++i) {
      const auto bits = std::to_integer<std::uint8_t>(block[i]);
      store8(codes + 8 * i, load8(codes + 8 * i) | spread_bits(bits) << 4);
    }
    block += kFifthBytes + kNibbleBytes;
  }
}

/// Codes of 4 bits as a row of a tile has them.
template <bool has_bias, bool has_fifth>
void join_words(const std::byte* nibbles, const std::uint8_t* moves, const std::byte* scales, const std::byte* biases,
                std::uint64_t count, std::byte* block) noexcept {
  constexpr std::uint64_t kBytes = kF16Bytes * (has_bias ? 2 : 1) + (has_fifth ? kFifthBytes : 0) + kNibbleBytes;
  std::uint8_t codes[kElems];
  for (std::uint64_t b = 0; b < count; ++b, nibbles += kNibbleBytes, block += kBytes) {
    const std::uint8_t move = moves == nullptr ? std::uint8_t{0} : moves[b];
    for (std::size_t i = 0; i < kNibbleBytes; ++i) {
      const auto pair = std::to_integer<std::uint8_t>(nibbles[i]);
      codes[2 * i] = static_cast<std::uint8_t>((pair & 15) + move);
      codes[2 * i + 1] = static_cast<std::uint8_t>((pair >> 4) + move);
    }
    join<has_bias, has_fifth>(codes, scales + b * kF16Bytes, has_bias ? biases + b * kF16Bytes : nullptr, 1, block);
  }
}

/// Low nibbles of `half` bytes two in a byte, then the high ones.
template <std::size_t half>
void pair_nibbles(const std::byte* packed, std::byte* nibbles) noexcept {
  constexpr std::byte kLow{15};
  for (std::size_t i = 0; i < half / 2; ++i) {
    nibbles[i] = (packed[2 * i] & kLow) | packed[2 * i + 1] << 4;
    nibbles[half / 2 + i] = packed[2 * i] >> 4 | (packed[2 * i + 1] & ~kLow);
  }
}

/// Bits of 32 elements, the first lowest, as the word of a 1-bit slice above 4-bit codes keeps them: pairs of bits are
/// transposed as a matrix of 4 x 4.
std::uint32_t slice_word(std::uint32_t bits) noexcept {
  std::uint32_t swapped = (bits >> 6 ^ bits) & 0x00CC00CCu;
  bits ^= swapped ^ swapped << 6;
  swapped = (bits >> 12 ^ bits) & 0x0000F0F0u;
  return bits ^ swapped ^ swapped << 12;
}

/// Blocks whose last bytes are the fifth bits, where they have them, and the nibbles.
template <std::uint64_t block_bytes, bool has_fifth>
void split_words(const std::byte* block, std::uint64_t count, std::byte* nibbles, std::byte* fifth) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += block_bytes, nibbles += kNibbleBytes) {
    const std::byte* packed = block + block_bytes - kNibbleBytes;
    pair_nibbles<kNibbleBytes>(packed, nibbles);
    if constexpr (has_fifth)
      store_le(fifth + b * kFifthBytes, slice_word(load_le<std::uint32_t>(packed - kFifthBytes)));
  }
}
void split_words_q4_k(const std::byte* block, std::uint64_t count, std::byte* nibbles, std::byte*) noexcept {
  constexpr std::uint64_t kBytes = 144, kQuarters = 4, kQuarterBytes = 32;
  for (std::uint64_t q = 0; q < count * kQuarters; ++q, nibbles += kQuarterBytes) {
    const std::byte* codes = block + q / kQuarters * kBytes + (kBytes - kQuarters * kQuarterBytes);
    pair_nibbles<kQuarterBytes>(codes + q % kQuarters * kQuarterBytes, nibbles);
  }
}

// The quantizer of ggml's reference, bit for bit the same blocks: scale = largest / 127, codes = roundf(value / scale).

constexpr std::uint64_t kQ8Bytes = 34;

/// Any values; a scale below 2^-128 has an infinite inverse (and is stored as zero).
void encode_special_block(const float* values, std::byte* block) noexcept {
  float largest = 0;
  for (std::size_t i = 0; i < kElems; ++i) largest = std::max(largest, std::fabs(values[i]));
  const float scale = largest / 127.0f;
  const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  store_le(block, tensor::f32_to_f16(scale));
  for (std::size_t i = 0; i < kElems; ++i) {
    const float scaled = std::clamp(values[i] * inverse, -127.5f, 127.49f);
    block[2 + i] = static_cast<std::byte>(static_cast<int>(std::roundf(scaled == scaled ? scaled : 0.0f)));
  }
}

/// No comparisons of floats in the loops, so that compilers vectorize them.
void encode_q8_0(const float* values, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, values += kElems, block += kQ8Bytes) {
    std::int32_t largest_bits = 0;
    for (std::size_t i = 0; i < kElems; ++i)
      largest_bits = std::max(largest_bits, std::bit_cast<std::int32_t>(values[i]) & 0x7FFFFFFF);
    const float scale = std::bit_cast<float>(largest_bits) / 127.0f;
    const float inverse = 1.0f / scale;
    if (!std::isfinite(scale) || !std::isfinite(inverse)) {
      encode_special_block(values, block);
      continue;
    }
    store_le(block, tensor::f32_to_f16(scale));
    std::int8_t codes[kElems];
    for (std::size_t i = 0; i < kElems; ++i) {
      const float scaled = values[i] * inverse;  // at most 127 apart from the last bits
      const auto whole = static_cast<std::int32_t>(scaled);
      const float rest = scaled - static_cast<float>(whole);                                // exact
      codes[i] = static_cast<std::int8_t>(whole + static_cast<std::int32_t>(rest + rest));  // halves away from zero
    }
    std::memcpy(block + 2, codes, kElems);
  }
}

// Q4_0, Q4_1, Q5_0, Q5_1: the quantizers of requantize/gguf.cpp, block by block.

struct RoundedType {
  tensor::Scheme scheme;
  const quantizers::Quantizer* quantizer;
};
RoundedType rounded_type(std::string_view name) {
  RoundedType result{find_block_type(name)->scheme(), nullptr};
  for (const quantizers::Quantizer& row : quantizers::kGgufQuantizers)
    if (row.matches(result.scheme)) result.quantizer = &row;
  return result;
}
template <bool has_bias, bool has_fifth>
const RoundedType& rounded_type() noexcept {
  static const RoundedType kType = rounded_type(has_fifth ? (has_bias ? "Q5_1" : "Q5_0") : has_bias ? "Q4_1" : "Q4_0");
  return kType;
}

template <bool has_bias, bool has_fifth>
void encode(const float* values, std::uint64_t count, std::byte* out) noexcept {
  constexpr std::uint64_t kBytes = kF16Bytes * (has_bias ? 2 : 1) + (has_fifth ? kFifthBytes : 0) + kNibbleBytes;
  const RoundedType& row = rounded_type<has_bias, has_fifth>();
  std::uint8_t codes[kElems];
  std::byte scale[kF16Bytes], bias[kF16Bytes];
  for (std::uint64_t b = 0; b < count; ++b, values += kElems, out += kBytes) {
    quantizers::Extremes extremes{values[0], values[0], values[0]};
    for (std::uint64_t i = 1; i < kElems; ++i) {
      extremes.least = std::min(extremes.least, values[i]);
      extremes.greatest = std::max(extremes.greatest, values[i]);
      if (std::fabs(values[i]) > std::fabs(extremes.farthest)) extremes.farthest = values[i];
    }
    const quantizers::BlockNumbers numbers = row.quantizer->numbers(row.scheme, extremes, true);
    row.quantizer->codes(row.scheme, numbers, values, kElems, codes);
    store_le(scale, tensor::f32_to_f16(numbers.scale));
    store_le(bias, tensor::f32_to_f16(numbers.offset));
    join<has_bias, has_fifth>(codes, scale, bias, 1, out);
  }
}

constexpr BlockLoops kPortable = {join<false, false>,
                                  join<true, false>,
                                  join<false, true>,
                                  join<true, true>,
                                  encode_q8_0,
                                  encode<false, false>,
                                  encode<true, false>,
                                  encode<false, true>,
                                  encode<true, true>,
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

#ifdef INGOT_GGUF_ISA_FILES
/// clang 14 does not know __builtin_cpu_supports("f16c").
bool has_f16c() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

const BlockLoops& choose() noexcept {
#ifdef INGOT_GGUF_ISA_FILES
  if (__builtin_cpu_supports("avx2") && has_f16c()) return block_loops_avx2();
#endif
  return kPortable;
}

}  // namespace

const BlockLoops& block_loops() noexcept {
  static const BlockLoops& chosen = choose();
  return chosen;
}

const BlockLoops& block_loops_portable() noexcept { return kPortable; }

}  // namespace ingot::convert::gguf

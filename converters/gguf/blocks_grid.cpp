// Split and join of the block types with grids: IQ1, IQ2 and IQ3. They have no codes per element: parameters[0] are the
// indexes (one byte each for grids of 256 entries, two for larger ones), then signs (unless IQ1), scales_0, scales_1,
// zero points (IQ1). Every bit of a block is in exactly one of them. Field order is given above each pair.
#include "converters/gguf/block_codecs.h"

namespace ingot::convert::gguf {
namespace {

constexpr std::size_t kF16Bytes = 2;
constexpr std::size_t kRuns = 32;  // runs of 8 elements in a block of 256

[[nodiscard]] unsigned nibble(const std::byte* packed, std::size_t index) noexcept {
  return static_cast<unsigned>(u8(packed + index / 2)) >> (4 * (index % 2)) & 15u;
}
void store_nibbles(const std::byte* elements, std::size_t count, std::byte* packed) noexcept {
  for (std::size_t i = 0; i < count; i += 2)
    packed[i / 2] = (elements[i] & std::byte{15}) | (elements[i + 1] & std::byte{15}) << 4;
}
void store_index(std::byte* indexes, std::size_t at, unsigned index) noexcept {
  store_le(indexes + 2 * at, static_cast<std::uint16_t>(index));
}
[[nodiscard]] unsigned load_index(const std::byte* indexes, std::size_t at) noexcept {
  return load_le<std::uint16_t>(indexes + 2 * at);
}

/// Four sign elements of 7 bits, the first lowest, and a scale in the upper four bits.
void split_signs_and_scale(std::uint32_t word, std::byte* signs, std::byte* scale) noexcept {
  for (std::size_t i = 0; i < 4; ++i) signs[i] = static_cast<std::byte>(word >> (7 * i) & 127u);
  *scale = static_cast<std::byte>(word >> 28);
}
[[nodiscard]] std::uint32_t join_signs_and_scale(const std::byte* signs, std::byte scale) noexcept {
  std::uint32_t word = std::to_integer<std::uint32_t>(scale) << 28;
  for (std::size_t i = 0; i < 4; ++i) word |= (std::to_integer<std::uint32_t>(signs[i]) & 127u) << (7 * i);
  return word;
}

// IQ2_XXS (66): f16 scale | 8 x (4 indexes | u32 signs and scale).
void split_iq2_xxs(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 66) {
    copy_bytes(block, row.parameters[3] + b * kF16Bytes, kF16Bytes);
    for (std::size_t k = 0; k < 8; ++k) {
      copy_bytes(block + 2 + 8 * k, row.parameters[0] + b * kRuns + 4 * k, 4);
      split_signs_and_scale(load_le<std::uint32_t>(block + 6 + 8 * k), row.parameters[1] + b * kRuns + 4 * k,
                            row.parameters[2] + b * 8 + k);
    }
  }
}
void join_iq2_xxs(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 66) {
    copy_bytes(row.parameters[3] + b * kF16Bytes, block, kF16Bytes);
    for (std::size_t k = 0; k < 8; ++k) {
      copy_bytes(row.parameters[0] + b * kRuns + 4 * k, block + 2 + 8 * k, 4);
      store_le(block + 6 + 8 * k,
               join_signs_and_scale(row.parameters[1] + b * kRuns + 4 * k, row.parameters[2][b * 8 + k]));
    }
  }
}

// IQ2_XS (74): f16 scale | 32 x u16 (9 bits of index, 7 of signs) | 16 nibbles of scales.
void split_iq2_xs(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 74) {
    copy_bytes(block, row.parameters[3] + b * kF16Bytes, kF16Bytes);
    for (std::size_t i = 0; i < kRuns; ++i) {
      const unsigned word = load_le<std::uint16_t>(block + 2 + 2 * i);
      store_index(row.parameters[0], b * kRuns + i, word & 511u);
      row.parameters[1][b * kRuns + i] = static_cast<std::byte>(word >> 9);
    }
    for (std::size_t k = 0; k < 16; ++k) row.parameters[2][b * 16 + k] = static_cast<std::byte>(nibble(block + 66, k));
  }
}
void join_iq2_xs(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 74) {
    copy_bytes(row.parameters[3] + b * kF16Bytes, block, kF16Bytes);
    for (std::size_t i = 0; i < kRuns; ++i) {
      const unsigned signs = u8(row.parameters[1] + b * kRuns + i) & 127u;
      store_le(block + 2 + 2 * i,
               static_cast<std::uint16_t>((load_index(row.parameters[0], b * kRuns + i) & 511u) | signs << 9));
    }
    store_nibbles(row.parameters[2] + b * 16, 16, block + 66);
  }
}

// IQ2_S (82): f16 scale | 32 low bytes of indexes | 32 sign bytes | 8 bytes, two upper bits of an index each four |
// 16 nibbles of scales.
void split_iq2_s(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 82) {
    copy_bytes(block, row.parameters[3] + b * kF16Bytes, kF16Bytes);
    for (std::size_t i = 0; i < kRuns; ++i) {
      const unsigned high = static_cast<unsigned>(u8(block + 66 + i / 4)) >> (2 * (i % 4)) & 3u;
      store_index(row.parameters[0], b * kRuns + i, u8(block + 2 + i) | high << 8);
    }
    copy_bytes(block + 34, row.parameters[1] + b * kRuns, kRuns);
    for (std::size_t k = 0; k < 16; ++k) row.parameters[2][b * 16 + k] = static_cast<std::byte>(nibble(block + 74, k));
  }
}
void join_iq2_s(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 82) {
    copy_bytes(row.parameters[3] + b * kF16Bytes, block, kF16Bytes);
    std::uint64_t high = 0;
    for (std::size_t i = 0; i < kRuns; ++i) {
      const unsigned index = load_index(row.parameters[0], b * kRuns + i);
      block[2 + i] = static_cast<std::byte>(index & 255u);
      high |= std::uint64_t{index >> 8 & 3u} << (2 * i);
    }
    copy_bytes(row.parameters[1] + b * kRuns, block + 34, kRuns);
    store_le(block + 66, high);
    store_nibbles(row.parameters[2] + b * 16, 16, block + 74);
  }
}

// IQ3_XXS (98): f16 scale | 64 indexes | 8 x u32 signs and scale.
void split_iq3_xxs(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 98) {
    copy_bytes(block, row.parameters[3] + b * kF16Bytes, kF16Bytes);
    copy_bytes(block + 2, row.parameters[0] + b * 64, 64);
    for (std::size_t k = 0; k < 8; ++k) {
      split_signs_and_scale(load_le<std::uint32_t>(block + 66 + 4 * k), row.parameters[1] + b * kRuns + 4 * k,
                            row.parameters[2] + b * 8 + k);
    }
  }
}
void join_iq3_xxs(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 98) {
    copy_bytes(row.parameters[3] + b * kF16Bytes, block, kF16Bytes);
    copy_bytes(row.parameters[0] + b * 64, block + 2, 64);
    for (std::size_t k = 0; k < 8; ++k) {
      store_le(block + 66 + 4 * k,
               join_signs_and_scale(row.parameters[1] + b * kRuns + 4 * k, row.parameters[2][b * 8 + k]));
    }
  }
}

// IQ3_S (110): f16 scale | 64 low bytes of indexes | 8 bytes, the ninth bit of an index each bit | 32 sign bytes |
// 8 nibbles of scales.
void split_iq3_s(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 110) {
    copy_bytes(block, row.parameters[3] + b * kF16Bytes, kF16Bytes);
    for (std::size_t i = 0; i < 64; ++i) {
      const unsigned high = static_cast<unsigned>(u8(block + 66 + i / 8)) >> (i % 8) & 1u;
      store_index(row.parameters[0], b * 64 + i, u8(block + 2 + i) | high << 8);
    }
    copy_bytes(block + 74, row.parameters[1] + b * kRuns, kRuns);
    for (std::size_t k = 0; k < 8; ++k) row.parameters[2][b * 8 + k] = static_cast<std::byte>(nibble(block + 106, k));
  }
}
void join_iq3_s(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 110) {
    copy_bytes(row.parameters[3] + b * kF16Bytes, block, kF16Bytes);
    std::uint64_t high = 0;
    for (std::size_t i = 0; i < 64; ++i) {
      const unsigned index = load_index(row.parameters[0], b * 64 + i);
      block[2 + i] = static_cast<std::byte>(index & 255u);
      high |= std::uint64_t{index >> 8 & 1u} << i;
    }
    store_le(block + 66, high);
    copy_bytes(row.parameters[1] + b * kRuns, block + 74, kRuns);
    store_nibbles(row.parameters[2] + b * 8, 8, block + 106);
  }
}

// IQ1_S (50): f16 scale | 32 low bytes of indexes | 8 x u16 (four times three upper bits of an index, 3 bits of scale,
// the sign of the offset).
void split_iq1_s(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 50) {
    copy_bytes(block, row.parameters[2] + b * kF16Bytes, kF16Bytes);
    for (std::size_t k = 0; k < 8; ++k) {
      const unsigned word = load_le<std::uint16_t>(block + 34 + 2 * k);
      for (std::size_t i = 0; i < 4; ++i) {
        const unsigned low = u8(block + 2 + 4 * k + i);
        store_index(row.parameters[0], b * kRuns + 4 * k + i, low | (word >> (3 * i) & 7u) << 8);
      }
      row.parameters[1][b * 8 + k] = static_cast<std::byte>(word >> 12 & 7u);
      row.parameters[3][b * 8 + k] = static_cast<std::byte>(word >> 15);
    }
  }
}
void join_iq1_s(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 50) {
    copy_bytes(row.parameters[2] + b * kF16Bytes, block, kF16Bytes);
    for (std::size_t k = 0; k < 8; ++k) {
      unsigned word = (u8(row.parameters[1] + b * 8 + k) & 7u) << 12 | (u8(row.parameters[3] + b * 8 + k) & 1u) << 15;
      for (std::size_t i = 0; i < 4; ++i) {
        const unsigned index = load_index(row.parameters[0], b * kRuns + 4 * k + i);
        block[2 + 4 * k + i] = static_cast<std::byte>(index & 255u);
        word |= (index >> 8 & 7u) << (3 * i);
      }
      store_le(block + 34 + 2 * k, static_cast<std::uint16_t>(word));
    }
  }
}

// IQ1_M (56): 32 low bytes of indexes | 32 nibbles (three upper bits of an index, the sign of the offset) | 4 x u16
// (four times 3 bits of scale, 4 bits of the f16 scale, the lowest first).
void split_iq1_m(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 56) {
    for (std::size_t i = 0; i < kRuns; ++i) {
      const unsigned high = nibble(block + 32, i);
      store_index(row.parameters[0], b * kRuns + i, u8(block + i) | (high & 7u) << 8);
      row.parameters[3][b * kRuns + i] = static_cast<std::byte>(high >> 3);
    }
    unsigned scale = 0;
    for (std::size_t k = 0; k < 16; ++k) {
      const unsigned word = load_le<std::uint16_t>(block + 48 + 2 * (k / 4));
      row.parameters[1][b * 16 + k] = static_cast<std::byte>(word >> (3 * (k % 4)) & 7u);
      if (k % 4 == 0) scale |= (word >> 12) << k;
    }
    store_le(row.parameters[2] + b * kF16Bytes, static_cast<std::uint16_t>(scale));
  }
}
void join_iq1_m(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 56) {
    std::byte high[kRuns];
    for (std::size_t i = 0; i < kRuns; ++i) {
      const unsigned index = load_index(row.parameters[0], b * kRuns + i);
      block[i] = static_cast<std::byte>(index & 255u);
      high[i] = static_cast<std::byte>((index >> 8 & 7u) | (u8(row.parameters[3] + b * kRuns + i) & 1u) << 3);
    }
    store_nibbles(high, kRuns, block + 32);
    const unsigned scale = load_le<std::uint16_t>(row.parameters[2] + b * kF16Bytes);
    for (std::size_t k = 0; k < 4; ++k) {
      unsigned word = (scale >> (4 * k) & 15u) << 12;
      for (std::size_t i = 0; i < 4; ++i) word |= (u8(row.parameters[1] + b * 16 + 4 * k + i) & 7u) << (3 * i);
      store_le(block + 48 + 2 * k, static_cast<std::uint16_t>(word));
    }
  }
}

}  // namespace

const BlockCodec kCodecIq2Xxs = {split_iq2_xxs, join_iq2_xxs};
const BlockCodec kCodecIq2Xs = {split_iq2_xs, join_iq2_xs};
const BlockCodec kCodecIq2S = {split_iq2_s, join_iq2_s};
const BlockCodec kCodecIq3Xxs = {split_iq3_xxs, join_iq3_xxs};
const BlockCodec kCodecIq3S = {split_iq3_s, join_iq3_s};
const BlockCodec kCodecIq1S = {split_iq1_s, join_iq1_s};
const BlockCodec kCodecIq1M = {split_iq1_m, join_iq1_m};

}  // namespace ingot::convert::gguf

// Split and join of the block types of 256 elements: the K-quants, IQ4_XS, TQ1_0, TQ2_0. Field order is given above
// each pair.
#include <array>

#include "converters/gguf/block_codecs.h"
#include "converters/gguf/loops.h"

namespace ingot::convert::gguf {
namespace {

constexpr std::uint64_t kElems = 256;
constexpr std::uint64_t kF16Bytes = 2;

/// Two-bit planes as the K-quants keep them: element 128*h + 32*s + l in bits 2s of byte 32*h + l.
void split_crumbs(const std::byte* packed, std::uint8_t* codes) noexcept {
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::size_t l = 0; l < 32; l += 8) {
      const std::uint64_t eight = load8(packed + 32 * h + l);
      for (std::size_t s = 0; s < 4; ++s) store8(codes + 128 * h + 32 * s + l, eight >> (2 * s) & kByteOnes * 3);
    }
  }
}
void join_crumbs(const std::uint8_t* codes, std::byte* packed) noexcept {
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::size_t l = 0; l < 32; l += 8) {
      std::uint64_t eight = 0;
      for (std::size_t s = 0; s < 4; ++s) eight |= (load8(codes + 128 * h + 32 * s + l) & kByteOnes * 3) << (2 * s);
      store_le(packed + 32 * h + l, eight);
    }
  }
}

/// One more bit per element, above the lowest `below`: element 32*s + l in bit s of byte l.
template <unsigned below>
void split_top_bits(const std::byte* packed, std::uint8_t* codes) noexcept {
  for (std::size_t l = 0; l < 32; l += 8) {
    const std::uint64_t eight = load8(packed + l);
    for (std::size_t s = 0; s < 8; ++s) {
      std::uint8_t* at = codes + 32 * s + l;
      store8(at, load8(at) | (eight >> s & kByteOnes) << below);
    }
  }
}
template <unsigned below>
void join_top_bits(const std::uint8_t* codes, std::byte* packed) noexcept {
  for (std::size_t l = 0; l < 32; l += 8) {
    std::uint64_t eight = 0;
    for (std::size_t s = 0; s < 8; ++s) eight |= (load8(codes + 32 * s + l) >> below & kByteOnes) << s;
    store_le(packed + l, eight);
  }
}

// Q2_K (84): 16 bytes (scale in the low nibble, minimum in the high one) | 64 bytes of crumbs | f16 scale | f16
// minimum.
void split_q2_k(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 84) {
    for (std::size_t k = 0; k < 16; ++k) {
      row.parameters[0][b * 16 + k] = block[k] & std::byte{15};
      row.parameters[2][b * 16 + k] = block[k] >> 4;
    }
    split_crumbs(block + 16, row.codes + b * kElems);
    copy_bytes(block + 80, row.parameters[1] + b * kF16Bytes, kF16Bytes);
    copy_bytes(block + 82, row.parameters[3] + b * kF16Bytes, kF16Bytes);
  }
}
void join_q2_k(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 84) {
    for (std::size_t k = 0; k < 16; ++k) {
      block[k] = (row.parameters[0][b * 16 + k] & std::byte{15}) | row.parameters[2][b * 16 + k] << 4;
    }
    join_crumbs(row.codes + b * kElems, block + 16);
    copy_bytes(row.parameters[1] + b * kF16Bytes, block + 80, kF16Bytes);
    copy_bytes(row.parameters[3] + b * kF16Bytes, block + 82, kF16Bytes);
  }
}

// Q3_K (110): 32 bytes of third bits (bit j/32 of byte j%32; set = not lowered by 4) | 64 bytes of crumbs | 12 bytes
// with sixteen 6-bit scales (low nibbles in bytes 0-7, the two upper bits in bytes 8-11) | f16 scale. Scale number k
// means its 6 bits minus 32.
void split_q3_k(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 110) {
    std::uint8_t* codes = row.codes + b * kElems;
    split_crumbs(block + 32, codes);
    split_top_bits<2>(block, codes);
    const std::byte* packed = block + 96;
    for (std::size_t k = 0; k < 16; ++k) {
      const int low = (u8(packed + k % 8) >> (4 * (k / 8))) & 15;
      const int high = (u8(packed + 8 + k % 4) >> (2 * (k / 4))) & 3;
      row.parameters[0][b * 16 + k] = static_cast<std::byte>((low | high << 4) - 32);
    }
    copy_bytes(block + 108, row.parameters[1] + b * kF16Bytes, kF16Bytes);
  }
}
void join_q3_k(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 110) {
    const std::uint8_t* codes = row.codes + b * kElems;
    join_top_bits<2>(codes, block);
    join_crumbs(codes, block + 32);
    std::array<std::uint8_t, 12> packed{};
    for (std::size_t k = 0; k < 16; ++k) {
      const unsigned scale = (u8(row.parameters[0] + b * 16 + k) + 32u) & 63;
      packed[k % 8] |= static_cast<std::uint8_t>((scale & 15) << (4 * (k / 8)));
      packed[8 + k % 4] |= static_cast<std::uint8_t>((scale >> 4) << (2 * (k / 4)));
    }
    copy_bytes(reinterpret_cast<const std::byte*>(packed.data()), block + 96, 12);
    copy_bytes(row.parameters[1] + b * kF16Bytes, block + 108, kF16Bytes);
  }
}

// Eight 6-bit scales and eight 6-bit minimums in 12 bytes (Q4_K, Q5_K):
//   byte k (k < 4):     scale k in bits 0-5,      upper two bits of scale k+4 in bits 6-7
//   byte k+4:           minimum k in bits 0-5,    upper two bits of minimum k+4 in bits 6-7
//   byte k+8:           low nibble of scale k+4 in bits 0-3, of minimum k+4 in bits 4-7
void split_six_bits(const std::byte* packed, std::byte* scales, std::byte* minimums) noexcept {
  const auto a = load_le<std::uint32_t>(packed), m = load_le<std::uint32_t>(packed + 4),
             rest = load_le<std::uint32_t>(packed + 8);
  store_le(scales, a & 0x3F3F3F3Fu);
  store_le(minimums, m & 0x3F3F3F3Fu);
  store_le(scales + 4, (rest & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u));
  store_le(minimums + 4, (rest >> 4 & 0x0F0F0F0Fu) | (m >> 2 & 0x30303030u));
}
void join_six_bits(const std::byte* scales, const std::byte* minimums, std::byte* packed) noexcept {
  const auto s0 = load_le<std::uint32_t>(scales), s1 = load_le<std::uint32_t>(scales + 4);
  const auto m0 = load_le<std::uint32_t>(minimums), m1 = load_le<std::uint32_t>(minimums + 4);
  store_le(packed, (s0 & 0x3F3F3F3Fu) | (s1 << 2 & 0xC0C0C0C0u));
  store_le(packed + 4, (m0 & 0x3F3F3F3Fu) | (m1 << 2 & 0xC0C0C0C0u));
  store_le(packed + 8, (s1 & 0x0F0F0F0Fu) | (m1 << 4 & 0xF0F0F0F0u));
}

// Q4_K (144): f16 scale | f16 minimum | 12 bytes of six-bit factors | 4 x 32 bytes of nibbles.
void split_q4_k(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 144) {
    copy_bytes(block, row.parameters[1] + b * kF16Bytes, kF16Bytes);
    copy_bytes(block + 2, row.parameters[3] + b * kF16Bytes, kF16Bytes);
    split_six_bits(block + 4, row.parameters[0] + b * 8, row.parameters[2] + b * 8);
    if (row.codes == nullptr) continue;
    for (std::size_t s = 0; s < 4; ++s) split_nibbles<32>(block + 16 + 32 * s, row.codes + b * kElems + 64 * s);
  }
}
void split_words_q4_k(const std::byte* blocks, std::uint64_t count, std::byte* nibbles, std::byte* fifth) noexcept {
  block_loops().split_words_q4_k(blocks, count, nibbles, fifth);
}
void join_q4_k(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 144) {
    copy_bytes(row.parameters[1] + b * kF16Bytes, block, kF16Bytes);
    copy_bytes(row.parameters[3] + b * kF16Bytes, block + 2, kF16Bytes);
    join_six_bits(row.parameters[0] + b * 8, row.parameters[2] + b * 8, block + 4);
    for (std::size_t s = 0; s < 4; ++s) join_nibbles<32>(row.codes + b * kElems + 64 * s, block + 16 + 32 * s);
  }
}

// Q5_K (176): as Q4_K, with 32 bytes of fifth bits (bit j/32 of byte j%32) before the nibbles.
void split_q5_k(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 176) {
    copy_bytes(block, row.parameters[1] + b * kF16Bytes, kF16Bytes);
    copy_bytes(block + 2, row.parameters[3] + b * kF16Bytes, kF16Bytes);
    split_six_bits(block + 4, row.parameters[0] + b * 8, row.parameters[2] + b * 8);
    std::uint8_t* codes = row.codes + b * kElems;
    for (std::size_t s = 0; s < 4; ++s) split_nibbles<32>(block + 48 + 32 * s, codes + 64 * s);
    split_top_bits<4>(block + 16, codes);
  }
}
void join_q5_k(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 176) {
    copy_bytes(row.parameters[1] + b * kF16Bytes, block, kF16Bytes);
    copy_bytes(row.parameters[3] + b * kF16Bytes, block + 2, kF16Bytes);
    join_six_bits(row.parameters[0] + b * 8, row.parameters[2] + b * 8, block + 4);
    const std::uint8_t* codes = row.codes + b * kElems;
    join_top_bits<4>(codes, block + 16);
    for (std::size_t s = 0; s < 4; ++s) join_nibbles<32>(codes + 64 * s, block + 48 + 32 * s);
  }
}

// Q6_K (210): 2 x 64 bytes of low nibbles | 64 bytes of crumbs with the upper bits | 16 signed scales | f16 scale.
void split_q6_k(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 210) {
    std::uint8_t* codes = row.codes + b * kElems;
    for (std::size_t h = 0; h < 2; ++h) {
      split_nibbles<64>(block + 64 * h, codes + 128 * h);
      for (std::size_t l = 0; l < 32; l += 8) {
        const std::uint64_t eight = load8(block + 128 + 32 * h + l);
        for (std::size_t s = 0; s < 4; ++s) {
          std::uint8_t* at = codes + 128 * h + 32 * s + l;
          store8(at, load8(at) | (eight >> (2 * s) & kByteOnes * 3) << 4);
        }
      }
    }
    copy_bytes(block + 192, row.parameters[0] + b * 16, 16);
    copy_bytes(block + 208, row.parameters[1] + b * kF16Bytes, kF16Bytes);
  }
}
void join_q6_k(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 210) {
    const std::uint8_t* codes = row.codes + b * kElems;
    for (std::size_t h = 0; h < 2; ++h) {
      join_nibbles<64>(codes + 128 * h, block + 64 * h);
      for (std::size_t l = 0; l < 32; l += 8) {
        std::uint64_t eight = 0;
        for (std::size_t s = 0; s < 4; ++s) {
          eight |= (load8(codes + 128 * h + 32 * s + l) >> 4 & kByteOnes * 3) << (2 * s);
        }
        store_le(block + 128 + 32 * h + l, eight);
      }
    }
    copy_bytes(row.parameters[0] + b * 16, block + 192, 16);
    copy_bytes(row.parameters[1] + b * kF16Bytes, block + 208, kF16Bytes);
  }
}

// Q8_K (292): f32 scale | 256 signed bytes | 16 sums of 16 codes (i16), which follow from the codes.
void split_q8_k(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 292) {
    copy_bytes(block, row.parameters[0] + b * 4, 4);
    copy_bytes(block + 4, reinterpret_cast<std::byte*>(row.codes) + b * kElems, kElems);
  }
}
void join_q8_k(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 292) {
    const std::uint8_t* codes = row.codes + b * kElems;
    copy_bytes(row.parameters[0] + b * 4, block, 4);
    copy_bytes(reinterpret_cast<const std::byte*>(codes), block + 4, kElems);
    for (std::size_t k = 0; k < 16; ++k) {
      int sum = 0;
      for (std::size_t i = 0; i < 16; ++i) sum += static_cast<std::int8_t>(codes[16 * k + i]);
      store_le(block + 260 + 2 * k, static_cast<std::int16_t>(sum));
    }
  }
}

// IQ4_XS (136): f16 scale | u16 with the upper two bits of eight 6-bit scales | 4 bytes with their low nibbles | 8 x
// 16 bytes of nibbles.
void split_iq4_xs(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 136) {
    copy_bytes(block, row.parameters[1] + b * kF16Bytes, kF16Bytes);
    const auto high = load_le<std::uint16_t>(block + 2);
    for (std::size_t k = 0; k < 8; ++k) {
      const int low = (u8(block + 4 + k / 2) >> (4 * (k % 2))) & 15;
      row.parameters[0][b * 8 + k] = static_cast<std::byte>((low | ((high >> (2 * k)) & 3) << 4) - 32);
      split_nibbles<16>(block + 8 + 16 * k, row.codes + b * kElems + 32 * k);
    }
  }
}
void join_iq4_xs(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 136) {
    copy_bytes(row.parameters[1] + b * kF16Bytes, block, kF16Bytes);
    unsigned high = 0;
    std::uint32_t low = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      const unsigned scale = (u8(row.parameters[0] + b * 8 + k) + 32u) & 63;
      low |= (scale & 15) << (4 * k);
      high |= (scale >> 4) << (2 * k);
      join_nibbles<16>(row.codes + b * kElems + 32 * k, block + 8 + 16 * k);
    }
    store_le(block + 2, static_cast<std::uint16_t>(high));
    store_le(block + 4, low);
  }
}

// TQ1_0 (54): base-3 digits, five per byte (most significant first; bytes 48-51: four) | f16 scale. A byte is
// ceil(value * 256 / 243).
struct TernaryRun {
  std::size_t first_byte, bytes, first_element, digits;
};
constexpr std::array<TernaryRun, 3> kTernaryRuns = {{{0, 32, 0, 5}, {32, 16, 160, 5}, {48, 4, 240, 4}}};

void split_tq1_0(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 54) {
    std::uint8_t packed[52], codes[kElems];  // local, so that the compiler knows that they do not overlap
    copy_bytes(block, reinterpret_cast<std::byte*>(packed), sizeof packed);
    for (const TernaryRun& run : kTernaryRuns) {
      std::uint8_t power = 1;
      for (std::size_t n = 0; n < run.digits; ++n, power = static_cast<std::uint8_t>(power * 3)) {
        for (std::size_t m = 0; m < run.bytes; ++m) {
          const auto rest = static_cast<std::uint8_t>(packed[run.first_byte + m] * power);  // modulo 256
          codes[run.first_element + n * run.bytes + m] = static_cast<std::uint8_t>(rest * 3 >> 8);
        }
      }
    }
    copy_bytes(reinterpret_cast<const std::byte*>(codes), reinterpret_cast<std::byte*>(row.codes) + b * kElems, kElems);
    copy_bytes(block + 52, row.parameters[0] + b * kF16Bytes, kF16Bytes);
  }
}
void join_tq1_0(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 54) {
    std::uint8_t packed[52], codes[kElems];
    copy_bytes(reinterpret_cast<const std::byte*>(row.codes) + b * kElems, reinterpret_cast<std::byte*>(codes), kElems);
    for (const TernaryRun& run : kTernaryRuns) {
      for (std::size_t m = 0; m < run.bytes; ++m) {
        unsigned value = 0;
        for (std::size_t n = 0; n < 5; ++n) {
          value = value * 3 + (n < run.digits ? codes[run.first_element + n * run.bytes + m] : 0u);
        }
        packed[run.first_byte + m] = static_cast<std::uint8_t>((value * 256 + 242) / 243);
      }
    }
    copy_bytes(reinterpret_cast<const std::byte*>(packed), block, sizeof packed);
    copy_bytes(row.parameters[0] + b * kF16Bytes, block + 52, kF16Bytes);
  }
}

// TQ2_0 (66): 64 bytes of crumbs | f16 scale.
void split_tq2_0(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 66) {
    split_crumbs(block, row.codes + b * kElems);
    copy_bytes(block + 64, row.parameters[0] + b * kF16Bytes, kF16Bytes);
  }
}
void join_tq2_0(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 66) {
    join_crumbs(row.codes + b * kElems, block);
    copy_bytes(row.parameters[0] + b * kF16Bytes, block + 64, kF16Bytes);
  }
}

}  // namespace

const BlockCodec kCodecQ2K = {split_q2_k, join_q2_k};
const BlockCodec kCodecQ3K = {split_q3_k, join_q3_k};
const BlockCodec kCodecQ4K = {split_q4_k, join_q4_k, true, split_words_q4_k};
const BlockCodec kCodecQ5K = {split_q5_k, join_q5_k};
const BlockCodec kCodecQ6K = {split_q6_k, join_q6_k};
const BlockCodec kCodecQ8K = {split_q8_k, join_q8_k};
const BlockCodec kCodecIq4Xs = {split_iq4_xs, join_iq4_xs};
const BlockCodec kCodecTq1_0 = {split_tq1_0, join_tq1_0};
const BlockCodec kCodecTq2_0 = {split_tq2_0, join_tq2_0};

}  // namespace ingot::convert::gguf

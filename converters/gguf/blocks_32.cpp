// Split and join of the block types without sub-blocks: Q4_0 to Q8_1, IQ4_NL, MXFP4, NVFP4, Q1_0, Q2_0.
// Field order inside a block is given above each pair; element order is ggml's (low nibbles first, then high nibbles).
#include "converters/gguf/block_codecs.h"
#include "converters/gguf/loops.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert::gguf {
namespace {

constexpr std::uint64_t kF16Bytes = 2;

template <SplitWordsLoop BlockLoops::*loop>
void split_words(const std::byte* blocks, std::uint64_t count, std::byte* nibbles, std::byte* fifth) noexcept {
  (block_loops().*loop)(blocks, count, nibbles, fifth);
}
template <JoinWordsLoop BlockLoops::*loop>
void join_words(const RowWords& row, std::uint64_t count, std::byte* blocks) noexcept {
  (block_loops().*loop)(row.nibbles, row.moves, row.parameters[0], row.parameters[1], count, blocks);
}

// Q4_0, IQ4_NL (18 bytes): f16 scale | 16 bytes of nibbles.
void split_q4_0(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 18) {
    copy_bytes(block, row.parameters[0] + b * kF16Bytes, kF16Bytes);
    if (row.codes == nullptr) continue;
    split_nibbles<16>(block + 2, row.codes + b * 32);
  }
}
void join_q4_0(const RowView& row, std::uint64_t count, std::byte* blocks) noexcept {
  block_loops().join_q4_0(row.codes, row.parameters[0], nullptr, count, blocks);
}

// Q4_1 (20): f16 scale | f16 bias | 16 bytes of nibbles.
void split_q4_1(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 20) {
    copy_bytes(block, row.parameters[0] + b * kF16Bytes, kF16Bytes);
    copy_bytes(block + 2, row.parameters[1] + b * kF16Bytes, kF16Bytes);
    if (row.codes == nullptr) continue;
    split_nibbles<16>(block + 4, row.codes + b * 32);
  }
}
void join_q4_1(const RowView& row, std::uint64_t count, std::byte* blocks) noexcept {
  block_loops().join_q4_1(row.codes, row.parameters[0], row.parameters[1], count, blocks);
}

// Q5_0 (22): f16 scale | 4 bytes of fifth bits, bit j for element j | 16 bytes of nibbles.
void split_q5_0(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  if (row.codes != nullptr) block_loops().split_q5_0(block, count, row.codes);
  for (std::uint64_t b = 0; b < count; ++b, block += 22) {
    copy_bytes(block, row.parameters[0] + b * kF16Bytes, kF16Bytes);
  }
}
void join_q5_0(const RowView& row, std::uint64_t count, std::byte* blocks) noexcept {
  block_loops().join_q5_0(row.codes, row.parameters[0], nullptr, count, blocks);
}

// Q5_1 (24): f16 scale | f16 bias | 4 bytes of fifth bits | 16 bytes of nibbles.
void split_q5_1(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  if (row.codes != nullptr) block_loops().split_q5_1(block, count, row.codes);
  for (std::uint64_t b = 0; b < count; ++b, block += 24) {
    copy_bytes(block, row.parameters[0] + b * kF16Bytes, kF16Bytes);
    copy_bytes(block + 2, row.parameters[1] + b * kF16Bytes, kF16Bytes);
  }
}
void join_q5_1(const RowView& row, std::uint64_t count, std::byte* blocks) noexcept {
  block_loops().join_q5_1(row.codes, row.parameters[0], row.parameters[1], count, blocks);
}

// Q8_0 (34): f16 scale | 32 signed bytes.
void split_q8_0(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 34) {
    copy_bytes(block, row.parameters[0] + b * kF16Bytes, kF16Bytes);
    if (row.codes == nullptr) continue;
    copy_bytes(block + 2, reinterpret_cast<std::byte*>(row.codes) + b * 32, 32);
  }
}
void join_q8_0(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 34) {
    copy_bytes(row.parameters[0] + b * kF16Bytes, block, kF16Bytes);
    copy_bytes(reinterpret_cast<const std::byte*>(row.codes) + b * 32, block + 2, 32);
  }
}

// Q8_1 (36): f16 scale | f16 scale * sum of codes | 32 signed bytes. The second field follows from the others up to
// rounding.
void split_q8_1(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 36) {
    copy_bytes(block, row.parameters[0] + b * kF16Bytes, kF16Bytes);
    copy_bytes(block + 4, reinterpret_cast<std::byte*>(row.codes) + b * 32, 32);
  }
}
void join_q8_1(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 36) {
    const std::uint8_t* codes = row.codes + b * 32;
    int sum = 0;
    for (std::size_t i = 0; i < 32; ++i) sum += static_cast<std::int8_t>(codes[i]);
    const auto scale = load_le<std::uint16_t>(row.parameters[0] + b * kF16Bytes);
    store_le(block, scale);
    store_le(block + 2, tensor::f32_to_f16(static_cast<float>(sum) * tensor::f16_to_f32(scale)));
    copy_bytes(reinterpret_cast<const std::byte*>(codes), block + 4, 32);
  }
}

// MXFP4 (17): power-of-two scale | 16 bytes of nibbles. ggml halves the scale and doubles the element table: the same
// numbers.
void split_mxfp4(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 17) {
    row.parameters[0][b] = block[0];
    split_nibbles<16>(block + 1, row.codes + b * 32);
  }
}
void join_mxfp4(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 17) {
    block[0] = row.parameters[0][b];
    join_nibbles<16>(row.codes + b * 32, block + 1);
  }
}

// NVFP4 (36): 4 E4M3 scales | 4 x 8 bytes of nibbles, low nibbles first inside each 16 elements. ggml ignores the
// sign bit of a scale and reads 0x7F as zero; the plane holds the E4M3 byte with that value (0xFF would be 480, which
// E4M3 lacks: it stays NaN).
void split_nvfp4(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 36) {
    for (std::size_t s = 0; s < 4; ++s) {
      const std::uint8_t scale = u8(block + s);
      row.parameters[0][b * 4 + s] = static_cast<std::byte>(scale == 0x7F ? 0 : scale & 0x7F);
      split_nibbles<8>(block + 4 + 8 * s, row.codes + b * 64 + 16 * s);
    }
  }
}
void join_nvfp4(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 36) {
    for (std::size_t s = 0; s < 4; ++s) {
      const std::byte scale = row.parameters[0][b * 4 + s];
      block[s] = scale == std::byte{0x7F} ? std::byte{0xFF} : scale;  // 0x7F would be read as zero
      join_nibbles<8>(row.codes + b * 64 + 16 * s, block + 4 + 8 * s);
    }
  }
}

// Q1_0 (18): f16 scale | 128 bits, 1 for +scale and 0 for -scale.
void split_q1_0(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 18) {
    copy_bytes(block, row.parameters[0] + b * kF16Bytes, kF16Bytes);
    for (std::size_t i = 0; i < 16; ++i) {
      store_le(reinterpret_cast<std::byte*>(row.codes + b * 128 + 8 * i), spread_bits(u8(block + 2 + i)));
    }
  }
}
void join_q1_0(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 18) {
    copy_bytes(row.parameters[0] + b * kF16Bytes, block, kF16Bytes);
    for (std::size_t i = 0; i < 16; ++i) {
      const auto eight = load_le<std::uint64_t>(reinterpret_cast<const std::byte*>(row.codes + b * 128 + 8 * i));
      block[2 + i] = static_cast<std::byte>(collect_bits(eight & 0x0101010101010101u));
    }
  }
}

// Q2_0 (18): f16 scale | 16 bytes, element j in bits 2*(j%4) of byte j/4.
void split_q2_0(const std::byte* block, std::uint64_t count, const MutableRowView& row) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 18) {
    copy_bytes(block, row.parameters[0] + b * kF16Bytes, kF16Bytes);
    for (std::size_t i = 0; i < 16; i += 2) {
      std::uint64_t x = load_le<std::uint16_t>(block + 2 + i);  // eight codes, first lowest
      x = (x | x << 24) & 0x000000FF000000FFu;
      x = (x | x << 12) & 0x000F000F000F000Fu;
      store8(row.codes + b * 64 + 4 * i, (x | x << 6) & kByteOnes * 3);
    }
  }
}
void join_q2_0(const RowView& row, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count; ++b, block += 18) {
    copy_bytes(row.parameters[0] + b * kF16Bytes, block, kF16Bytes);
    for (std::size_t i = 0; i < 16; i += 2) {
      std::uint64_t x = load8(row.codes + b * 64 + 4 * i) & kByteOnes * 3;
      x = (x | x >> 6) & 0x000F000F000F000Fu;
      x = (x | x >> 12) & 0x000000FF000000FFu;
      store_le(block + 2 + i, static_cast<std::uint16_t>(x | x >> 24));
    }
  }
}

}  // namespace

const BlockCodec kCodecQ4_0 = {split_q4_0, join_q4_0, true, split_words<&BlockLoops::split_words_q4_0>,
                               join_words<&BlockLoops::join_words_q4_0>};
const BlockCodec kCodecQ4_1 = {split_q4_1, join_q4_1, true, split_words<&BlockLoops::split_words_q4_1>,
                               join_words<&BlockLoops::join_words_q4_1>};
const BlockCodec kCodecQ5_0 = {split_q5_0, join_q5_0, true, split_words<&BlockLoops::split_words_q5_0>,
                               join_words<&BlockLoops::join_words_q5_0>};
const BlockCodec kCodecQ5_1 = {split_q5_1, join_q5_1, true, split_words<&BlockLoops::split_words_q5_1>,
                               join_words<&BlockLoops::join_words_q5_1>};
const BlockCodec kCodecQ8_0 = {split_q8_0, join_q8_0, true};
const BlockCodec kCodecQ8_1 = {split_q8_1, join_q8_1};
const BlockCodec kCodecIq4Nl = {split_q4_0, join_q4_0, true, split_words<&BlockLoops::split_words_q4_0>,
                                join_words<&BlockLoops::join_words_q4_0>};
const BlockCodec kCodecMxfp4 = {split_mxfp4, join_mxfp4};
const BlockCodec kCodecNvfp4 = {split_nvfp4, join_nvfp4};
const BlockCodec kCodecQ1_0 = {split_q1_0, join_q1_0};
const BlockCodec kCodecQ2_0 = {split_q2_0, join_q2_0};

}  // namespace ingot::convert::gguf

// The codecs behind the rows of blocks.cpp. Included by the blocks*.cpp files and by nobody else.
#pragma once

#include <cstring>

#include "converters/gguf/blocks.h"
#include "format/base/byte_reader.h"

namespace ingot::convert::gguf {

extern const BlockCodec kCodecQ4_0, kCodecQ4_1, kCodecQ5_0, kCodecQ5_1, kCodecQ8_0, kCodecQ8_1;  // blocks_32.cpp
extern const BlockCodec kCodecIq4Nl, kCodecMxfp4, kCodecNvfp4, kCodecQ1_0, kCodecQ2_0;           // blocks_32.cpp
extern const BlockCodec kCodecQ2K, kCodecQ3K, kCodecQ4K, kCodecQ5K, kCodecQ6K, kCodecQ8K;        // blocks_256.cpp
extern const BlockCodec kCodecIq4Xs, kCodecTq1_0, kCodecTq2_0;                                   // blocks_256.cpp
extern const BlockCodec kCodecIq2Xxs, kCodecIq2Xs, kCodecIq2S, kCodecIq3Xxs, kCodecIq3S;         // blocks_grid.cpp
extern const BlockCodec kCodecIq1S, kCodecIq1M;                                                  // blocks_grid.cpp

// --- Shared pieces: all work on bytes, one code per byte -------------------------------------------------------------

[[nodiscard]] inline std::uint8_t u8(const std::byte* at) noexcept { return static_cast<std::uint8_t>(*at); }

constexpr std::uint64_t kByteOnes = 0x0101010101010101u;  // times m: mask m in each of eight bytes

[[nodiscard]] inline std::uint64_t load8(const std::byte* at) noexcept { return load_le<std::uint64_t>(at); }
[[nodiscard]] inline std::uint64_t load8(const std::uint8_t* at) noexcept {
  return load8(reinterpret_cast<const std::byte*>(at));
}
inline void store8(std::uint8_t* at, std::uint64_t eight) noexcept {
  store_le(reinterpret_cast<std::byte*>(at), eight);
}

/// Low nibbles of `half` bytes to codes[0, half), high nibbles to codes[half, 2*half).
template <std::size_t half>
inline void split_nibbles(const std::byte* packed, std::uint8_t* codes) noexcept {
  for (std::size_t i = 0; i < half; i += 8) {
    const std::uint64_t eight = load8(packed + i);
    store8(codes + i, eight & kByteOnes * 15);
    store8(codes + half + i, eight >> 4 & kByteOnes * 15);
  }
}
template <std::size_t half>
inline void join_nibbles(const std::uint8_t* codes, std::byte* packed) noexcept {
  for (std::size_t i = 0; i < half; i += 8) {
    store_le(packed + i, (load8(codes + i) & kByteOnes * 15) | (load8(codes + half + i) & kByteOnes * 15) << 4);
  }
}

/// Bit i of `bits` becomes byte i (0 or 1) of the result.
[[nodiscard]] inline std::uint64_t spread_bits(std::uint8_t bits) noexcept {
  const std::uint64_t picked = (bits * 0x0101010101010101u) & 0x8040201008040201u;  // byte i keeps bit i
  return ((picked + 0x7F7F7F7F7F7F7F7Fu) & 0x8080808080808080u) >> 7;
}
/// Byte i (0 or 1) of `bytes` becomes bit i of the result.
[[nodiscard]] inline std::uint8_t collect_bits(std::uint64_t bytes) noexcept {
  return static_cast<std::uint8_t>((bytes * 0x0102040810204080u) >> 56);
}

inline void copy_bytes(const std::byte* from, std::byte* to, std::size_t count) noexcept {
  std::memcpy(to, from, count);
}

}  // namespace ingot::convert::gguf

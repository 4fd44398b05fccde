// The portable build of the code loops, and the choice between the builds.
#include "format/tensor/code_loops.h"

#include <cstring>

#include "format/base/byte_reader.h"
#include "format/tensor/group_layout.h"

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kOnes = 0x0101010101010101u;

/// Eight nibbles, lowest first, to the bytes of a 64-bit number; and back.
constexpr std::uint64_t spread_nibbles(std::uint64_t x) noexcept {
  x = (x | x << 16) & 0x0000FFFF0000FFFFu;
  x = (x | x << 8) & 0x00FF00FF00FF00FFu;
  return (x | x << 4) & kOnes * 15;
}
constexpr std::uint32_t gather_nibbles(std::uint64_t x) noexcept {
  x &= kOnes * 15;
  x = (x | x >> 4) & 0x00FF00FF00FF00FFu;
  x = (x | x >> 8) & 0x0000FFFF0000FFFFu;
  return static_cast<std::uint32_t>(x | x >> 16);
}

void rows_of_nibbles(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes, std::uint64_t stride) noexcept {
  for (std::uint64_t row = 0; row < kTileOutputs; ++row) {
    for (std::uint64_t col = 0; col < cols; col += 8) {
      const std::uint64_t eight = spread_nibbles(load_le<std::uint32_t>(lines + col / 8 * kLineBytes + row * 4));
      std::memcpy(codes + row * stride + col, &eight, sizeof eight);
    }
  }
}

void rows_of_bytes(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes, std::uint64_t stride) noexcept {
  for (std::uint64_t row = 0; row < kTileOutputs; ++row)
    for (std::uint64_t col = 0; col < cols; col += 4)
      std::memcpy(codes + row * stride + col, lines + col / 4 * kLineBytes + row * 4, 4);
}

void add_pairs_above_nibbles(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes,
                             std::uint64_t stride) noexcept {
  for (std::uint64_t row = 0; row < kTileOutputs; ++row) {
    for (std::uint64_t col = 0; col < cols; col += 16) {
      const auto word = load_le<std::uint32_t>(lines + col / 16 * kLineBytes + row * 4);
      for (std::uint32_t field = 0; field < 4; ++field)
        for (std::uint32_t byte = 0; byte < 4; ++byte)
          codes[row * stride + col + high_slice_input(4, field, byte)] |=
              static_cast<std::uint8_t>((word >> (8 * byte + 2 * field) & 3u) << 4);
    }
  }
}

void add_bits_above_nibbles(const std::byte* lines, std::uint64_t cols, std::uint8_t* codes,
                            std::uint64_t stride) noexcept {
  for (std::uint64_t row = 0; row < kTileOutputs; ++row) {
    for (std::uint64_t col = 0; col < cols; col += 32) {
      const auto word = load_le<std::uint32_t>(lines + col / 32 * kLineBytes + row * 4);
      for (std::uint32_t field = 0; field < 8; ++field)
        for (std::uint32_t byte = 0; byte < 4; ++byte)
          codes[row * stride + col + high_slice_input(4, field, byte)] |=
              static_cast<std::uint8_t>((word >> (8 * byte + field) & 1u) << 4);
    }
  }
}

void bits_above_nibbles(const std::uint8_t* codes, std::uint64_t stride, std::uint64_t cols,
                        std::byte* lines) noexcept {
  for (std::uint64_t row = 0; row < kTileOutputs; ++row) {
    for (std::uint64_t col = 0; col < cols; col += 32) {
      std::uint32_t word = 0;
      for (std::uint32_t field = 0; field < 8; ++field)
        for (std::uint32_t byte = 0; byte < 4; ++byte)
          word |= (codes[row * stride + col + high_slice_input(4, field, byte)] >> 4 & 1u) << (8 * byte + field);
      store_le(lines + col / 32 * kLineBytes + row * 4, word);
    }
  }
}

void nibbles_of_rows(const std::uint8_t* codes, std::uint64_t stride, std::uint64_t cols, std::byte* lines) noexcept {
  for (std::uint64_t row = 0; row < kTileOutputs; ++row) {
    for (std::uint64_t col = 0; col < cols; col += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, codes + row * stride + col, sizeof eight);
      store_le(lines + col / 8 * kLineBytes + row * 4, gather_nibbles(eight));
    }
  }
}

void rows_of_pairs(const std::byte* columns, std::uint64_t cols, std::byte* rows) noexcept {
  for (std::uint64_t row = 0; row < kTileOutputs; ++row)
    for (std::uint64_t col = 0; col < cols; ++col)
      std::memcpy(rows + (row * cols + col) * 2, columns + (col * kTileOutputs + row) * 2, 2);
}

void pairs_of_rows(const std::byte* rows, std::uint64_t cols, std::byte* columns) noexcept {
  for (std::uint64_t col = 0; col < cols; ++col)
    for (std::uint64_t row = 0; row < kTileOutputs; ++row)
      std::memcpy(columns + (col * kTileOutputs + row) * 2, rows + (row * cols + col) * 2, 2);
}

constexpr CodeLoops kPortable = {rows_of_nibbles, rows_of_bytes,      add_pairs_above_nibbles, add_bits_above_nibbles,
                                 nibbles_of_rows, bits_above_nibbles, rows_of_pairs,           pairs_of_rows};

const CodeLoops& choose() noexcept {
#ifdef INGOT_TENSOR_ISA_FILES
  if (__builtin_cpu_supports("avx2")) return code_loops_avx2();
#endif
  return kPortable;
}

}  // namespace

const CodeLoops& code_loops() noexcept {
  static const CodeLoops& chosen = choose();
  return chosen;
}

const CodeLoops& code_loops_portable() noexcept { return kPortable; }

}  // namespace ingot::tensor

// Hot loops over ggml blocks of 32 elements, in two builds: portable (loops.cpp) and AVX2 (loops_avx2.cpp),
// chosen once at run time. Both give the same bytes. An ISA file may include only this header and the intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::convert::gguf {

/// Codes, one per byte, and parameters of `count` blocks -> the blocks. `biases`: only of types that have them.
using JoinLoop = void (*)(const std::uint8_t* codes, const std::byte* scales, const std::byte* biases,
                          std::uint64_t count, std::byte* blocks) noexcept;
/// The way back, all but the scales and biases. Blocks of other types than those with fifth bits are split well
/// without.
using SplitLoop = void (*)(const std::byte* blocks, std::uint64_t count, std::uint8_t* codes) noexcept;
/// The same from codes of 4 bits, two in a byte, the first lowest. `moves`: by block, what its codes move by, modulo
/// 2^8; null: they stay.
using JoinWordsLoop = void (*)(const std::byte* nibbles, const std::uint8_t* moves, const std::byte* scales,
                               const std::byte* biases, std::uint64_t count, std::byte* blocks) noexcept;
/// The way back, codes alone: the low four bits, two in a byte, the first lowest, and the fifth bits as words of a
/// 1-bit slice (format/tensor/group_layout.h), only of types that have them.
using SplitWordsLoop = void (*)(const std::byte* blocks, std::uint64_t count, std::byte* nibbles,
                                std::byte* fifth) noexcept;
/// Values of `count` blocks -> the blocks, as spec/quantizers.md section 2 says.
using EncodeLoop = void (*)(const float* values, std::uint64_t count, std::byte* blocks) noexcept;

struct BlockLoops {
  JoinLoop join_q4_0, join_q4_1, join_q5_0, join_q5_1;
  EncodeLoop encode_q8_0, encode_q4_0, encode_q4_1, encode_q5_0, encode_q5_1;
  SplitLoop split_q5_0, split_q5_1;
  JoinWordsLoop join_words_q4_0, join_words_q4_1, join_words_q5_0, join_words_q5_1;
  SplitWordsLoop split_words_q4_0, split_words_q4_1, split_words_q5_0, split_words_q5_1, split_words_q4_k;
};

/// The best build for this machine.
[[nodiscard]] const BlockLoops& block_loops() noexcept;

/// The portable one, on any machine (tests compare the two).
[[nodiscard]] const BlockLoops& block_loops_portable() noexcept;

/// The only symbol of loops_avx2.cpp.
const BlockLoops& block_loops_avx2() noexcept;

}  // namespace ingot::convert::gguf

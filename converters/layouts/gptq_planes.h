// GPTQ's tensors in bytes: code words along the inputs, zero points along the outputs. No names, no config.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "converters/layouts/linear_parts.h"

namespace ingot::convert::gptq {

/// `qweight`: words of `word_bits` bits, row-major [ceil(inputs * bits / word_bits), outputs]. `planar` (gptq_p): 32
/// codes are cut into planes of 4, 2 and 1 bits, lowest first, instead of following each other.
struct CodeWords {
  const std::byte* data = nullptr;
  std::uint64_t inputs = 0, outputs = 0;
  std::uint8_t bits = 4, word_bits = 32;
  bool planar = false;
  void load(std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes) const;
};
void store_code_words(const LinearView& view, std::uint8_t word_bits, bool planar, const PartRange& range);

/// What a stored zero point means. Stored fields are `bits` wide.
enum class ZeroCoding : std::uint8_t {
  minus_one,        ///< v1: zero - 1 modulo 2^bits, field by field
  minus_one_words,  ///< v1 by subtraction from whole words (GPTQModel >= 0.9): a borrow runs into the next field
  plain,            ///< v2: the zero point
  planar,           ///< the zero point, 32 fields cut into planes
};

/// `qzeros`: row-major [groups, ceil(outputs * bits / word_bits)].
struct ZeroWords {
  const std::byte* data = nullptr;
  std::uint64_t groups = 0, outputs = 0, row_bytes = 0;
  std::uint8_t bits = 4;
  ZeroCoding coding = ZeroCoding::plain;
  /// [groups][16] true zero points (u8).
  void load(std::uint64_t tile, std::byte* parameters) const noexcept;
};
/// Zero points of the tensor (u8) as rows of words of `word_bits`.
void store_zero_words(const LinearView& view, ZeroCoding coding, std::uint8_t word_bits, const PartRange& range);
[[nodiscard]] std::uint64_t row_bytes_of_words(std::uint64_t count, std::uint8_t bits, std::uint8_t word_bits) noexcept;

/// What the fields of `qzeros` show.
struct ZeroEvidence {
  bool all_below_middle = true;   // every field is 2^(bits-1) - 1: a symmetric v1 file
  bool all_middle = true;         // every field is 2^(bits-1): a symmetric v2 file
  std::uint64_t all_ones = 0;     // fields of ones: a v1 zero point of 0, spelled in one of three ways
  bool spellings_differ = false;  // minus_one and minus_one_words give different zero points
};
[[nodiscard]] ZeroEvidence look_at_zeros(const ZeroWords& zeros);

/// `g_idx`: i32 [inputs].
void store_group_indexes(const LinearView& view, const PartRange& range);

}  // namespace ingot::convert::gptq

// Rows of codes in 32-bit words that row_planes() does not take: padded to whole words, or with fields that straddle
// none; and zero points packed down the columns. What compressed-tensors makes of odd shapes and odd widths.
#pragma once

#include "converters/layouts/row_planes.h"

namespace ingot::convert {

struct WordRows {
  std::uint64_t cols = 0;
  std::uint8_t bits = 0;
  bool spread = false;  // 32 / bits fields in a word, its top bits unused; else a dense stream, the last word padded
  [[nodiscard]] std::uint64_t row_bytes() const noexcept;
};

/// A plane source for `tensor`, whose codes in the file are `rows`; `others` as in RowParts.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> word_planes(const tensor::Tensor& tensor, RowPart codes,
                                                                     const WordRows& rows, std::vector<RowPart> others);
/// The way back; unused bits are zero. All planes of `tensor` have views.
void pack_words(const tensor::Tensor& tensor, bool spread, std::uint64_t begin, std::span<std::byte> out);

/// Fields (rows, cols) of every matrix <-> words [ceil(rows * bits / 32), cols], packed down the columns.
[[nodiscard]] std::vector<std::byte> unpack_columns(Bytes words, std::uint64_t matrices, std::uint64_t cols,
                                                    std::uint64_t rows, std::uint8_t bits, bool spread);
[[nodiscard]] std::vector<std::byte> pack_columns(Bytes fields, std::uint64_t matrices, std::uint64_t cols,
                                                  std::uint64_t rows, std::uint8_t bits, bool spread);

}  // namespace ingot::convert

// The ggml tensor types: one table row each, with the neutral scheme of the type and the functions that split blocks
// into codes and parameters and join them again. Sources of truth: the ggml type definitions; joining is the exact
// inverse of splitting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "format/tensor/scheme.h"

namespace ingot::convert::gguf {

inline constexpr std::size_t kMaxParameterPlanes = 4;

/// One row of a split block type: `codes` holds one byte per element (the low bits of the code), `parameters[i]` the
/// elements of the i-th parameter plane (order of tensor::plane_specs), each in its own byte or bytes. Types with grids
/// have no codes per element: their index plane is parameter 0.
struct RowView {
  const std::uint8_t* codes;
  const std::byte* parameters[kMaxParameterPlanes];
};
struct MutableRowView {
  std::uint8_t* codes;
  std::byte* parameters[kMaxParameterPlanes];
};

/// The same row with codes of 4 bits, two in a byte, the first lowest: as a row of a tile has them.
struct RowWords {
  const std::byte* nibbles;
  const std::uint8_t* moves;  // by block: what its codes move by, modulo 2^8; null: they stay
  const std::byte* parameters[kMaxParameterPlanes];
};

enum class BlockKind : std::uint8_t {
  plain,  ///< an array of numbers; the file bytes are the plane
  coded,  ///< blocks of codes and parameters
};

/// How one block type is taken apart and put together: `count` consecutive blocks of one row, any alignment.
struct BlockCodec {
  void (*split)(const std::byte* blocks, std::uint64_t count, const MutableRowView& row) noexcept;
  void (*join)(const RowView& row, std::uint64_t count, std::byte* blocks) noexcept;
  bool has_codes_apart = false;  // split() may be called without a place for codes: only parameters are wanted
  // Null: none. Where codes have 4 bits, or 5 and the fifth as words of a 1-bit slice (format/tensor/group_layout.h):
  void (*split_words)(const std::byte* blocks, std::uint64_t count, std::byte* nibbles,
                      std::byte* fifth) noexcept = nullptr;  // codes alone; has_codes_apart
  void (*join_words)(const RowWords& row, std::uint64_t count, std::byte* blocks) noexcept = nullptr;
};

struct BlockType {
  std::uint32_t id;       // in files
  std::string_view name;  // as ggml spells it
  std::uint32_t block_elems;
  std::uint32_t block_bytes;
  BlockKind kind;
  tensor::Scheme (*scheme)();
  const BlockCodec* codec;  // null unless coded
  bool one_encoding;        // join(split(block)) == block for every block; otherwise the way back may need patches
  bool writable;            // may be written as a weight
  std::int32_t file_type;   // general.file_type of a model made mostly of this type; -1: none
  /// Bits of scales and minimums that are integers, where a block has fewer for them than their planes; 0: as many.
  std::uint8_t sub_scale_bits = 0;
};

[[nodiscard]] std::span<const BlockType> block_types() noexcept;
[[nodiscard]] const BlockType* find_block_type(std::uint32_t id) noexcept;       // null: unknown or withdrawn
[[nodiscard]] const BlockType* find_block_type(std::string_view name) noexcept;  // "Q4_0"; null: unknown

}  // namespace ingot::convert::gguf

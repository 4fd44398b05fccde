// Tensors whose parts lie in the files as row-major matrices (MLX, bitsandbytes): codes as one dense bit stream per
// row, parameters element by element. Canonical planes out of them and back, whole words at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "format/base/mapped_file.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// The content of one part: a piece of a mapped file, or bytes of its own.
struct RowPart {
  Bytes bytes;
  std::shared_ptr<const MappedFile> file;  // null: `owned`
  std::shared_ptr<const std::vector<std::byte>> owned{};
};
/// A part that no file holds.
[[nodiscard]] RowPart owned_part(std::vector<std::byte> bytes);

/// Which half of a byte the even 4-bit code has.
enum class Nibbles : std::uint8_t { low_first, high_first };

struct RowParts {
  RowPart codes;  // rows follow each other; the last row of a flat scheme may be cut short
  Nibbles nibbles = Nibbles::low_first;
  std::vector<RowPart> others;  // by plane, after those of the codes; whole planes as spec/planes.md has them
};

/// A plane source for `tensor`, whose shape, scheme and packing are set: codes of 1 to 8 bits. The sizes of the parts
/// are the caller's promise, except that codes and rows of a flat scheme may end early.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> row_planes(const tensor::Tensor& tensor, RowParts parts);

/// The way back: bytes [begin, begin + out.size()) of the codes as row_planes() takes them; zero beyond their end. All
/// planes of `tensor` have views.
void pack_row_codes(const tensor::Tensor& tensor, Nibbles nibbles, std::uint64_t begin, std::span<std::byte> out);
/// The same for the plane of this role. Throws invalid_value when the tensor has none.
void pack_row_plane(const tensor::Tensor& tensor, std::string_view role, std::uint64_t begin, std::span<std::byte> out);

}  // namespace ingot::convert

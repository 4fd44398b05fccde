// From rows of ggml blocks to canonical planes and back: the streaming halves of reading, writing and restoring a
// coded tensor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "converters/gguf/blocks.h"
#include "converters/recode/groups.h"
#include "format/base/mapped_file.h"
#include "format/tensor/tensor.h"

namespace ingot::convert::gguf {

/// A plane source over the bytes of one tensor of a GGUF file. `stored_shape` outermost first; `data` belongs to
/// `mapping` (which may be null when the caller keeps the bytes alive). Coded types are split while they are read;
/// plain ones are viewed in place.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> block_planes(std::shared_ptr<const MappedFile> mapping,
                                                                      Bytes data, const BlockType& type,
                                                                      const tensor::Shape& stored_shape);

/// Reads rows of a coded tensor, whatever its packing and source, and makes blocks of them.
/// One object per thread.
class RowUnpacker {
 public:
  /// The tensor must outlive the object and have the scheme of `type`, with sliced parameters only (every writable
  /// block type).
  RowUnpacker(const tensor::Tensor& tensor, const BlockType& type);

  /// Loads the units that hold stored rows [row_begin, row_end) (counted over all matrices). Throws what the source
  /// throws.
  void load(std::uint64_t row_begin, std::uint64_t row_end);
  /// A loaded row as blocks.
  void join(std::uint64_t index, std::byte* blocks) const noexcept;

 private:
  [[nodiscard]] std::uint64_t unit_of(std::uint64_t row) const noexcept;
  void read_planes(const tensor::Tensor& tensor, const std::vector<std::size_t>& planes, std::uint64_t unit_end,
                   std::vector<std::vector<std::byte>>& raw, std::vector<const std::byte*>& bytes);
  void unpack_codes(std::uint64_t unit_count);
  void unpack_words(std::uint64_t unit_count);
  void find_moves(std::uint64_t unit);
  void unpack_parameters(std::uint64_t unit_count);

  struct ParameterPlane {
    std::size_t index;  // in plane_specs order
    std::uint64_t cols;
    std::uint64_t element_bytes;  // on the plain side
  };
  const tensor::Tensor& tensor_;
  const BlockType& type_;
  std::optional<recoding::MovedCodes> moved_;  // codes come from here
  tensor::Geometry geometry_;
  std::vector<tensor::PlaneSpec> specs_, code_specs_;
  std::vector<ParameterPlane> parameters_;
  std::vector<std::size_t> code_planes_, parameter_planes_;  // planes that are read
  std::size_t slices_ = 0;                                   // of codes
  std::uint8_t code_bits_ = 0;
  std::uint64_t row_blocks_ = 0;
  bool has_words_ = false;         // codes_ has two codes in a byte: the words of tiles
  std::uint64_t code_stride_ = 0;  // bytes
  std::uint64_t first_unit_ = 0;
  // Where the source has no view; and the first loaded unit of every plane that is read.
  std::vector<std::vector<std::byte>> raw_codes_, raw_parameters_;
  std::vector<const std::byte*> code_bytes_, parameter_bytes_;
  std::vector<std::uint8_t> codes_;            // (units * rows_per_unit, code_stride_)
  std::vector<std::uint8_t> moves_;            // of groups of a row
  std::vector<std::uint8_t> block_moves_;      // (units * rows_per_unit, row_blocks_), where codes move as words
  std::vector<std::vector<std::byte>> plain_;  // per parameter plane: (units * rows_per_unit, cols) elements
};

/// Is the tensor's scheme (with its own table, where it carries one) the type's?
[[nodiscard]] bool has_form_of(const BlockType& type, const tensor::Tensor& tensor);
/// And have its scales a place in blocks? Looks at them, unless they come from blocks.
[[nodiscard]] bool holds(const BlockType& type, const tensor::Tensor& tensor);

/// Bytes [begin, begin + out.size()) of the tensor as blocks of `type`, rows in stored order. Parallel inside.
void pack_blocks(const tensor::Tensor& tensor, const BlockType& type, std::uint64_t begin, std::span<std::byte> out);

}  // namespace ingot::convert::gguf

// Tensors whose codes lie in the files in an order of their own (HQQ, quanto, torchao, EXL2): the layout's file says
// how rows of codes and parameters are loaded, one per byte and row-major; this makes canonical planes of them, and
// rows of codes out of planes again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "converters/hf/codec.h"
#include "converters/layouts/row_planes.h"

namespace ingot::convert {

/// Rows [first, first + count) of the row view, counted over all matrices. Called from several threads; throws Error
/// where the file's bytes turn out bad.
using LoadCodes = std::function<void(std::uint64_t first, std::uint64_t count, std::uint8_t* codes)>;
using LoadParameters = std::function<void(std::uint64_t first, std::uint64_t count, std::byte* elements)>;

/// One plane after those of the codes.
struct ElementParameters {
  LoadParameters load;  // sliced planes
  RowPart whole;        // whole planes, as spec/planes.md has them
};
/// Dense row-major elements, `row_bytes` per row of a sliced plane; or a whole plane as it stands.
[[nodiscard]] ElementParameters dense_parameters(const HfCheckpoint::Stored& stored, std::uint64_t row_bytes);
[[nodiscard]] ElementParameters owned_parameters(std::vector<std::byte> whole);

struct ElementParts {
  LoadCodes load_codes;
  std::vector<ElementParameters> others;  // by plane
  std::vector<RowPart> files;             // what the functions read: kept mapped, dropped from memory in the end
};

/// A plane source for `tensor`, whose name, shape, scheme and packing are set: codes of 1 to 8 bits.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> element_planes(const tensor::Tensor& tensor,
                                                                        ElementParts parts);

/// The way back. All planes of the tensor have views; borrows it.
class ElementView {
 public:
  explicit ElementView(const tensor::Tensor& tensor);
  ElementView(const ElementView&) = delete;
  ElementView& operator=(const ElementView&) = delete;
  [[nodiscard]] const tensor::Geometry& geometry() const noexcept { return geometry_; }
  /// Elements [begin, begin + codes.size()) of the row view, row-major, one per byte. Keeps the unit read last: calls
  /// in ascending order unpack each unit once.
  void codes(std::uint64_t begin, std::span<std::uint8_t> codes);
  /// All bytes of a whole plane; throws invalid_value when the tensor has none of this role.
  [[nodiscard]] Bytes whole(std::string_view role) const;

 private:
  const tensor::Tensor& tensor_;
  tensor::Geometry geometry_;
  std::vector<tensor::PlaneSpec> specs_;
  std::vector<Bytes> slices_;
  std::vector<std::uint8_t> unit_codes_;
  std::uint64_t unit_;  // whose codes are in unit_codes_
};

// --- Codes packed along the first dimension -------------------------------------------------------------------------
/// The elements of the tensor, in order, are cut in `fields` segments of as many elements as there are words; word w
/// holds element w of every segment, that of segment k at bit shift(k). HQQ's and quanto's packings.
struct SegmentWords {
  std::uint8_t bits = 8, fields = 1, word_bytes = 1;
  std::uint8_t first_shift = 0;  // of segment 0
  bool descending = false;       // shift(k) = first_shift - bits * k, or + bits * k
  [[nodiscard]] std::uint8_t shift(std::uint64_t segment) const noexcept {
    const auto distance = static_cast<std::uint8_t>(bits * segment);
    return static_cast<std::uint8_t>(descending ? first_shift - distance : first_shift + distance);
  }
};
/// Rows of `cols` elements of a tensor of `elements`; the last row may be short, codes beyond are 0.
[[nodiscard]] LoadCodes load_segments(const HfCheckpoint::Stored& words, const SegmentWords& packing,
                                      std::uint64_t cols, std::uint64_t elements);
/// Bytes [begin, begin + out.size()) of `words` words; fields beyond the elements and unused bits are 0.
void pack_segments(const tensor::Tensor& tensor, const SegmentWords& packing, std::uint64_t words, std::uint64_t begin,
                   std::span<std::byte> out);

// --- What the readers of these layouts share ------------------------------------------------------------------------
/// A part as it outlives the checkpoint, whose Stored are gone when planes are read.
[[nodiscard]] RowPart part_of(const HfCheckpoint::Stored& stored);
/// File, name, type, shape and offset: how messages name a tensor.
[[nodiscard]] std::string place_of(const HfCheckpoint::Stored& stored);
[[noreturn]] void fail_at(const HfCheckpoint::Stored& stored, const std::string& why,
                          ErrorKind kind = ErrorKind::mismatch);
[[nodiscard]] std::string shape_text(const tensor::Shape& shape);
[[nodiscard]] std::uint64_t element_count(const HfCheckpoint::Stored& stored);
[[nodiscard]] bool is_parameter_float(tensor::DType type) noexcept;  // f16, bf16, f32
/// The tensor that must be there; `owner` is named where it is not.
[[nodiscard]] const HfCheckpoint::Stored& required_part(const HfCheckpoint& checkpoint,
                                                        const HfCheckpoint::Stored& owner, const std::string& name);
/// u1 to u8.
[[nodiscard]] tensor::DType unsigned_codes(std::uint64_t bits) noexcept;

}  // namespace ingot::convert

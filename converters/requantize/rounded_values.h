// The floats that a recovered tensor was found in, made again of its values: what `restore` packs for segments whose
// part begins with "rounded". Implements spec/restore.md section 3.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// `rounded TYPE [TYPE] [signs N]`: the values rounded to each type in turn; the last is that of the elements.
struct RoundedPart {
  std::vector<tensor::DType> types;  // of f32, f16 and bf16, one or two
  std::optional<std::uint64_t> signs;

  [[nodiscard]] std::string text() const;
  /// The attachment that tells zeros apart. Precondition: signs.
  [[nodiscard]] std::string attachment() const;
};
[[nodiscard]] bool is_rounded_part(std::string_view part) noexcept;
/// Throws invalid_value, naming `where`, for text that is none.
[[nodiscard]] RoundedPart parse_rounded_part(std::string_view part, const std::string& where);

/// Packs the values of a tensor. Thread-safe. Borrows the tensor and the signs.
class RoundedValues {
 public:
  /// `signs`: the attachment, or nothing where all zeros are positive.
  RoundedValues(const tensor::Tensor& tensor, std::vector<tensor::DType> types, Bytes signs);

  [[nodiscard]] std::uint64_t bytes() const noexcept { return tensor_.elements() * element_bytes_; }
  /// Bytes [begin, begin + out.size()). Throws invalid_value for signs that are cut off.
  void pack(std::uint64_t begin, std::span<std::byte> out) const;

 private:
  void apply_signs(std::uint64_t block, std::span<float> values) const;

  const tensor::Tensor& tensor_;
  std::vector<tensor::DType> types_;
  std::uint64_t element_bytes_;
  Bytes signs_;
};

/// How `made` gives the plain floats of `source` back, bit for bit: the part without the number of its signs, and
/// those, which are empty where no zero is negative. Nothing where other values than zeros differ. Parallel.
struct WayBack {
  RoundedPart part;
  std::vector<std::byte> signs;
};
[[nodiscard]] std::optional<WayBack> way_back(const tensor::Tensor& made, const tensor::Tensor& source);

}  // namespace ingot::convert

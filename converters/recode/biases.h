// Zero points into biases with scales of another type (GPTQ and AWQ to MLX in binary32): bias = -scale * zero. Whole
// units at a time, where rows.h goes row by row; GroupBiases of groups.h are for scales that keep their type. Internal
// to recode*.cpp.
#pragma once

#include <memory>
#include <vector>

#include "converters/recode/rows.h"

namespace ingot::convert::recoding {

/// Immutable and thread-safe.
class ZerosIntoBiases {
 public:
  /// Null where the conversion is another one, or does more: codes stay, groups stay or are split, and every number is
  /// finite and exact in its wanted type. Reads all parameters, in parallel, until one is not.
  [[nodiscard]] static std::shared_ptr<const ZerosIntoBiases> of(std::shared_ptr<const Conversion> conversion);

  /// Units [begin, end) of the wanted scales and biases; null: not wanted.
  void make(std::uint64_t unit_begin, std::uint64_t unit_end, std::byte* scales, std::byte* biases) const;

 private:
  struct Unit {
    std::vector<std::byte> scale_bytes, zero_bytes;
    std::vector<float> scales, zeros, biases;  // (groups of the source, 16)
  };
  explicit ZerosIntoBiases(std::shared_ptr<const Conversion> conversion);
  void load(std::uint64_t unit, Unit& buffers) const;
  [[nodiscard]] bool all_exact() const;
  void spread(const std::vector<float>& numbers, tensor::DType type, std::byte* out) const;

  std::shared_ptr<const Conversion> conversion_;
  std::uint64_t split_ = 1;  // wanted groups in one of the source
};

}  // namespace ingot::convert::recoding

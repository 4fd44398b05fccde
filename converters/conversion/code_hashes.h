// One hash over all codes of a tensor, made of its canonical units in any order: two tensors read at different times
// have equal codes where it is the same.
#pragma once

#include <vector>

#include "format/base/hash.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Keeps 16 bytes for every unit.
class CodeHashes {
 public:
  /// `tensor`: with codes of numbers or a table, in planes of their own.
  explicit CodeHashes(const tensor::Tensor& tensor);
  /// Units [begin, end), `planes` by plane as in plane_specs(). Thread-safe for different units.
  void add(std::uint64_t begin, std::uint64_t end, const std::vector<Bytes>& planes);
  /// After all units.
  [[nodiscard]] Hash128 finish() const noexcept;
  /// How many planes, from the first on, have the codes.
  [[nodiscard]] std::size_t plane_count() const noexcept { return unit_bytes_.size(); }

 private:
  std::vector<std::uint64_t> unit_bytes_;  // by plane of codes
  std::vector<Hash128> hashes_;            // by unit, all planes of a tile's codes
};

}  // namespace ingot::convert

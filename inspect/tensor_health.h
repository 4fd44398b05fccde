// What is wrong with the numbers of one tensor, whatever model it belongs to: not finite, or dead. Reads every value
// once.
#pragma once

#include <cstdint>

#include "format/tensor/tensor.h"

namespace ingot::inspect {

struct TensorHealth {
  std::uint64_t elements = 0, nans = 0, infinities = 0;
  std::uint64_t rows = 0, zero_rows = 0;  // of matrices; of vectors none, whose zeros mean something (biases, 1 + norm)
  /// Runs of a row that share all parameters, from kLeastGroup elements on; none of an unquantized tensor. Dead: all
  /// values are the same, because the scale is 0 or all codes are equal.
  std::uint64_t groups = 0, dead_groups = 0;
  double rms = 0;  // of the finite values

  [[nodiscard]] bool finite() const noexcept { return nans + infinities == 0; }
  [[nodiscard]] double zero_row_part() const noexcept { return part(zero_rows, rows); }
  [[nodiscard]] double dead_group_part() const noexcept { return part(dead_groups, groups); }

 private:
  [[nodiscard]] static double part(std::uint64_t some, std::uint64_t all) noexcept {
    return all == 0 ? 0 : static_cast<double>(some) / static_cast<double>(all);
  }
};

/// Codes of shorter groups are equal by chance.
inline constexpr std::uint64_t kLeastGroup = 16;

/// Streams the tensor; parallel. Opaque tensors have no values: only `elements` is set. Throws what decoding throws.
[[nodiscard]] TensorHealth tensor_health(const tensor::Tensor& tensor);

}  // namespace ingot::inspect

// An independent reading of the specification for the tests of format/tensor: planes packed bit by bit as
// spec/planes.md says, and values in exact integer arithmetic as spec/schemes/README.md section 1 says. Shares no code
// with the library but its type names.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "format/tensor/tensor.h"

namespace ingot::test {

/// A tensor as plain arrays: one code per element of the row view, one stored element per parameter, in row-major
/// order.
struct PlainTensor {
  tensor::Shape shape;
  tensor::Scheme scheme;
  tensor::Packing packing = tensor::Packing::rows;
  std::uint64_t matrices = 1, rows = 1, cols = 1;
  std::vector<std::uint64_t> codes = {};  // bit patterns, (matrices * rows, cols)
  std::vector<std::vector<std::uint64_t>> levels =
      {};  // bit patterns: scales, then offset levels; (matrices * parameter rows, columns)
  std::vector<float> table = {}, scale_table = {};
  float scale_offset = 0;
  std::vector<std::uint32_t> order = {};  // permutation or group_index
};

/// Random codes and parameters: bit patterns of every kind, finite or not, subnormal, huge; `tame` keeps parameters
/// near 1.
[[nodiscard]] PlainTensor random_tensor(const tensor::Shape& shape, const tensor::Scheme& scheme,
                                        tensor::Packing packing, bool tame, std::mt19937_64& random);

/// The planes in the order of spec/planes.md section 2.
[[nodiscard]] std::vector<std::vector<std::byte>> naive_planes(const PlainTensor& plain);
[[nodiscard]] tensor::Tensor as_tensor(const PlainTensor& plain);

/// The value of element (row, col), row counted through all matrices.
[[nodiscard]] float exact_value(const PlainTensor& plain, std::uint64_t row, std::uint64_t col);

/// Bit patterns with every NaN alike and no -0.
[[nodiscard]] std::uint32_t canonical(float value) noexcept;

}  // namespace ingot::test

// Declared, invertible relations between the tensor as stored and the logical tensor. Implements spec/transforms.md.
// "stored = T(logical)": the fingerprint and the decoded values are those of the logical tensor.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/json.h"

namespace ingot::tensor {

enum class TransformKind : std::uint8_t {
  /// Rows of each head reordered so that RoPE pairs are neighbours (GGUF llama): stored row h*d + 2*i + j = logical row
  /// h*d + j*(d/2) + i.
  rope_interleave,
  /// stored [a, b] is the logical [b, a] transposed (GPT-2 Conv1D in Hugging Face files).
  transpose,
  /// stored = round32(logical + 1) (Gemma norms in GGUF); logical = round32(stored - 1).
  add_one,
  /// stored row k = logical row order[k].
  row_order,
  /// stored column k = logical column order[k].
  column_order,
};

/// A permutation of 0 .. size-1, shared by the tensors that it belongs to; immutable.
using Permutation = std::shared_ptr<const std::vector<std::uint32_t>>;

struct Transform {
  TransformKind kind;
  std::uint64_t heads = 0;      ///< rope_interleave: number of heads; rows must be heads * even
  Permutation order = nullptr;  ///< row_order, column_order: never null there
  bool operator==(const Transform& other) const noexcept;
};

[[nodiscard]] bool is_permutation(std::span<const std::uint32_t> order);
/// The inverse: result[order[k]] == k. Precondition: is_permutation(order).
[[nodiscard]] std::vector<std::uint32_t> inverse_of(std::span<const std::uint32_t> order);

[[nodiscard]] std::string_view name(TransformKind kind) noexcept;
[[nodiscard]] Json to_json(const std::vector<Transform>& transforms);
/// Throws invalid_value for anything but an array that holds 0 .. size-1, each once.
[[nodiscard]] Permutation permutation_from_json(const Json& json, const std::string& where);
[[nodiscard]] std::vector<Transform> transforms_from_json(const Json& json, std::string_view where);

}  // namespace ingot::tensor

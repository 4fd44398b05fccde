// Equality without values: two tensors whose codes are the same bytes, or moved with their zeros, and whose parameters
// are the same numbers, have the same values. What the proof of a repacked tensor needs, at the price of one
// fingerprint.
#pragma once

#include <optional>

#include "converters/conversion/code_hashes.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// The fingerprint of both, which is computed from `a` in passing. Nothing where that cannot be said so: the codes or
/// the parameters differ, which need not mean that the values do, or the schemes are neither one that UnitFingerprint
/// takes nor two of 4-bit integers in tiles with scales by group, and zero points or biases, nor `a` of 4-bit and `b`
/// of 5-bit integers with zeros that the codes have moved with. Parallel; gives back pages of neither.
[[nodiscard]] std::optional<Hash128> fingerprint_if_equal_codes(const tensor::Tensor& a, const tensor::Tensor& b);

/// The same where all codes of `a` have been read before: has `b` the same values as far as codes and parameters can
/// tell? `codes_of_a`: as CodeHashes makes it. Reads only the parameters of `a`.
[[nodiscard]] bool has_equal_codes(const tensor::Tensor& a, const Hash128& codes_of_a, const tensor::Tensor& b);

}  // namespace ingot::convert

// The same values in another scheme: what a writer asks for when its layout does not hold a tensor as it is. Codes move
// as they are or by a constant; nothing goes through floating point unless the caller asks for requantization.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "converters/layout.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// How a layout would store a tensor. Packing is canonical_packing() of the stored shape and scheme.
struct StoredForm {
  tensor::Scheme scheme;
  std::vector<tensor::Transform> transforms;
};

struct Recoded {
  ProofClass proof = ProofClass::refused;
  std::string
      reason;  // why it is not exact: names what does not fit ("zero point 16 in group 3 of row 7 needs 5 bits")
  double worst_steps = 0;  // class codes: largest error in quantization steps
  tensor::Tensor tensor;   // unless refused: `source` in the wanted form; its planes are computed when they are read
};

/// `source` in the form `wanted`, without touching what its codes mean. Decides by looking at the data (every scale,
/// every zero point, every product), in parallel, at memory speed; reads codes only where the range of codes matters.
/// Never worse than class `worst` (exact or codes): gives up where the first worse number is found. What can be done:
///   - another packing; rows moved by rope_interleave; transposed only with per-tensor parameters
///   - codes shifted by a constant and widened or narrowed, zero points or the constant zero with them
///   - a constant zero <-> equal zero points <-> no offset with signed codes; zero points <-> bias (-scale * zero)
///   - groups split (always) and merged (where parameters are equal); row, tensor and 2-D blocks the same way
///   - scale and bias types changed where every number survives
///   - two-level scales multiplied out where the product is exact (K-quants -> bias form, double quantization -> f32)
///   - MX and float scales into each other, tables replaced by an equal table (e2m1 codes <-> table of the same values)
[[nodiscard]] Recoded recode(const tensor::Tensor& source, const StoredForm& wanted,
                             ProofClass worst = ProofClass::codes);

/// The best of several forms, in order of preference among equals; refused with the reason of the first when none can.
[[nodiscard]] Recoded recode_to_first(const tensor::Tensor& source, const std::vector<StoredForm>& wanted);

/// Facts about integer codes that writers choose their form by. Nothing for tables, floats and grids.
struct AffineFacts {
  std::uint8_t bits = 0;   // of the codes
  bool has_bias = false;   // float bias (or minimum): no integer zero known from the scheme alone
  bool two_level = false;  // scales are coded themselves
  std::optional<std::int32_t>
      zero;  // the one zero point of all groups, as an unsigned code (signed codes: + 2^(bits-1))
  std::int32_t least_zero = 0, greatest_zero = 0;  // the same over all groups
  tensor::Block block;                             // of the finest scale
  tensor::DType scale_type = tensor::DType::f16;
  tensor::Order order = tensor::Order::identity;
};
/// Reads all zero points. Throws what the planes throw.
[[nodiscard]] std::optional<AffineFacts> affine_facts(const tensor::Tensor& tensor);

/// `source` rounded to the nearest numbers of the form `wanted` by the plain algorithm of the library that owns the
/// scheme (spec/quantizers.md): class requantized. Throws unsupported for schemes without one.
[[nodiscard]] tensor::Tensor requantize(const tensor::Tensor& source, const StoredForm& wanted);
[[nodiscard]] bool can_requantize(const tensor::Scheme& wanted) noexcept;

}  // namespace ingot::convert

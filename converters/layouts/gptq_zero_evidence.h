// What the codes of asymmetric GPTQ modules say about their zero points, where no label does, or one that may lie.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "converters/layouts/gptq_module.h"

namespace ingot::convert::gptq {

/// Weights lie around zero, so the codes of a group lie around its zero point: on average they are one above the stored
/// field where that is zero - 1 (gptq), and equal to it where it is the zero point (gptq_v2).
struct CodeEvidence {
  double distance = 0;        ///< mean of (code - stored field)
  double error = 0;           ///< its standard error, by outputs
  double slope = 0;           ///< of the mean code of a group against its stored field: near 1 where codes follow it
  std::uint64_t outputs = 0;  ///< that were looked at
  /// True: stored as zero - 1; false: as the zero point; nothing where the codes do not decide.
  [[nodiscard]] std::optional<bool> says_minus_one() const noexcept;
};

/// Looks at a sample of the codes of some modules; Marlin, planar and modules of more than 4 bits, whose steps are too
/// small for weights to be centred to one, are left out.
[[nodiscard]] CodeEvidence look_at_codes(std::span<const Module* const> modules);

}  // namespace ingot::convert::gptq

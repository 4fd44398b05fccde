// The 16 values that 4-bit codes stand for, as the integers that kernels multiply (kernels/integer_kernels.h).
#pragma once

#include <optional>
#include <span>

#include "kernels/kernel_table.h"

namespace ingot::runtime {

/// Code c means step * (entry of c - origin).
struct CodeEntries {
  kernels::EntryTable table;
  float step, origin;
};

/// Exact where all values are multiples of one power of two, up to 127 times it (e2m1, iq4nl); zero is exact always.
/// Else no value is off by more than 1/254 of the greatest magnitude, and a rounding to binary32. Null for numbers that
/// are not finite, all zero, or too large or small for steps to be normal.
[[nodiscard]] std::optional<CodeEntries> code_entries(std::span<const float> values);

}  // namespace ingot::runtime

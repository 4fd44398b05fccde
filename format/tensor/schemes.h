// The families' code: one row per family in schemes.cpp, one file under schemes/. Internal to format/tensor.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "format/tensor/exact_sum.h"
#include "format/tensor/scheme.h"

namespace ingot::tensor {

/// The numbers that one element's value is made of, each exact.
struct ElementParts {
  double code = 0;                 // T(code)
  std::array<double, 3> scales{};  // level numbers, finest first (multiply * s + add, table entry, float)
  std::size_t scale_count = 0;
  float scale_offset = 0;
  double zero = 0;  // constant or per block
  double bias = 0;
  std::array<double, 2> mins{};
  std::size_t min_count = 0;
  std::int32_t shift = 0;
};

/// The scalar reference of a family, reading like its specification page.
using ElementValue = float (*)(const Scheme& scheme, const ElementParts& parts) noexcept;

struct FamilyCode {
  SchemeFamily family;
  ElementValue value;
};
[[nodiscard]] const FamilyCode& family_code(const Scheme& scheme) noexcept;  // scheme passed validate()

// Shared by the families, all without rounding except for rounded_scale:
/// + 2^shift * scale_0 * scale_1 * ... * (T(code) - zero)
void add_scaled_code(ExactSum& sum, const Scheme& scheme, const ElementParts& parts) noexcept;
/// + bias
void add_bias(ExactSum& sum, const Scheme& scheme, const ElementParts& parts) noexcept;
/// - min_0 * min_1
void subtract_minimum(ExactSum& sum, const Scheme& scheme, const ElementParts& parts) noexcept;
/// The scale levels (finest first) as one binary32 number, rounded after every operation (rounded_scale).
[[nodiscard]] float rounded_scale(const Scheme& scheme, std::span<const double> levels, float scale_offset) noexcept;

// One pair per file under schemes/.
[[nodiscard]] bool is_float(const Scheme& scheme) noexcept;
[[nodiscard]] float float_value(const Scheme& scheme, const ElementParts& parts) noexcept;
[[nodiscard]] bool is_stepped(const Scheme& scheme) noexcept;
[[nodiscard]] float stepped_value(const Scheme& scheme, const ElementParts& parts) noexcept;
[[nodiscard]] bool is_microscaling(const Scheme& scheme) noexcept;
[[nodiscard]] float microscaling_value(const Scheme& scheme, const ElementParts& parts) noexcept;
[[nodiscard]] bool is_grid(const Scheme& scheme) noexcept;
[[nodiscard]] float grid_value(const Scheme& scheme, const ElementParts& parts) noexcept;
[[nodiscard]] bool is_two_level(const Scheme& scheme) noexcept;
[[nodiscard]] float two_level_value(const Scheme& scheme, const ElementParts& parts) noexcept;
[[nodiscard]] bool is_table(const Scheme& scheme) noexcept;
[[nodiscard]] float table_value(const Scheme& scheme, const ElementParts& parts) noexcept;
[[nodiscard]] bool is_affine(const Scheme& scheme) noexcept;
[[nodiscard]] float affine_value(const Scheme& scheme, const ElementParts& parts) noexcept;

}  // namespace ingot::tensor

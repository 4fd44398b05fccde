// The arithmetic of recode(): parameters and codes of one wanted row from those of the source, and what is lost.
// Internal to recode*.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "converters/layout.h"
#include "converters/recode/groups.h"
#include "converters/recode/pieces.h"

namespace ingot::convert::recoding {

/// How codes become codes.
enum class CodeRule : std::uint8_t {
  copy,   ///< bit for bit
  shift,  ///< integers: T'(code') = T(code) + a constant of the piece
  map,    ///< a look-up table: T'(code') = T(code)
};

/// Everything that is decided once. Immutable while rows are made.
struct Conversion {
  tensor::Tensor source_tensor;
  Side source, wanted;
  RowMap rows;
  std::optional<ColumnMap> columns;  // refers to the sides and rows
  bool carry = false;                // every scale level becomes the level of the same rank
  bool inverts = false;              // the same, but one of the two multiplies by the number that the other divides by
  bool scales_change = false;        // some scale may become another number although carried
  CodeRule code_rule = CodeRule::copy;
  std::array<std::int16_t, 256> code_map{};  // rule map: -1 where no code has the number
  bool map_has_gaps = false;
  std::int32_t natural_shift = 0;                          // what codes move by when the zero may move with them
  double least_code = 0, greatest_code = 0;                // T of the source
  double wanted_least_code = 0, wanted_greatest_code = 0;  // T' of the wanted type
  double least_zero = 0, greatest_zero = 0;                // of wanted integer zero points
  std::optional<double> zero_point;   // of all groups, in a sliced plane: the source has one number for all codes
  double step_slack = 0;              // steps lost because one side rounds every operation and the other does not
  std::optional<GroupShifts> shifts;  // all codes move by groups, and fit
  std::optional<GroupBiases> biases;  // groups get biases, and all numbers are finite
  /// Of wanted levels in whole planes: parameters of all matrices, before and after rounding; else empty.
  std::vector<std::vector<double>> whole_wanted, whole_rounded;
};

/// What keeps a row from being exact.
struct Finding {
  ProofClass proof = ProofClass::exact;
  double worst_steps = 0;
  std::uint64_t row = ~std::uint64_t{0};  // the first such row
  std::string reason;
  /// `why` gives the words, which are only asked for where they will be kept: there may be millions of findings.
  template <class Why>
  void add(ProofClass found, double steps, std::uint64_t at, const Why& why) {
    if (found == ProofClass::exact) return;
    worst_steps = std::max(worst_steps, steps);
    if (found < proof || (found == proof && at >= row)) return;
    proof = found;
    row = at;
    reason = why();
  }
  void add(const Finding& other) {
    add(other.proof, other.worst_steps, other.row, [&] { return other.reason; });
  }
};

/// One object per thread.
class RowMaker {
 public:
  /// `with_codes`: make_codes() will be called.
  RowMaker(const Conversion& conversion, bool with_codes);

  /// Parameters of wanted row `row`, counted over all matrices. `finding` not null: judge them, and the codes where
  /// they matter.
  void make(std::uint64_t row, Finding* finding);
  /// Numbers of a wanted level for the row made last, by parameter column, after and before rounding to its type.
  [[nodiscard]] const std::vector<double>& numbers(std::size_t level) const noexcept { return rounded_[level]; }
  [[nodiscard]] const std::vector<double>& exact_numbers(std::size_t level) const noexcept { return column_[level]; }
  /// Do codes of the row made last change otherwise than by their type?
  [[nodiscard]] bool moves_codes() const noexcept;
  /// Codes of the row made last, in wanted columns, one per byte.
  void make_codes(std::uint8_t* out);

 private:
  static constexpr std::int16_t kNoFill = -1;

  void read_source(std::uint64_t row);
  void multiply_scales();
  void find_offsets();
  void want_scales();
  void want_offset();
  void settle_constant_zero();
  void settle_zero_points();
  void search_zero_points();
  void settle_float_zeros();
  void choose_bias_shifts();
  void settle_bias();
  void place_shift(std::size_t piece, double shift, double zero);
  [[nodiscard]] std::pair<double, double> code_range(std::size_t piece);
  [[nodiscard]] bool fits_without_looking(double shift) const noexcept;
  [[nodiscard]] std::vector<double> whole_row(const std::vector<std::vector<double>>& planes, std::size_t level) const;
  [[nodiscard]] bool collect(std::size_t level, bool judging);
  void judge(Finding& finding);
  void judge_codes(Finding& finding);
  [[nodiscard]] std::string place(std::size_t piece) const;
  [[nodiscard]] std::string misfit(std::size_t piece) const;
  const std::uint8_t* source_codes();

  const Conversion& conversion_;
  const ColumnMap& columns_;
  StoredRows reader_;
  Pieces pieces_;
  std::uint64_t row_ = 0;
  // By piece:
  std::vector<std::vector<double>> levels_;              // numbers of the source's levels
  std::vector<double> scale_, zero_, bias_, effective_;  // effective_: the zero that stands for the bias, too
  std::vector<double> shift_;                            // of codes
  std::vector<std::int16_t> fill_;                       // code that replaces all others; kNoFill: none
  std::vector<bool> constant_;                           // all values are the scale itself
  std::vector<std::vector<double>> wanted_;              // by wanted level
  bool inexact_ = false;                                 // some number was or will be rounded
  bool out_of_range_ = false;                            // codes must be looked at
  // By parameter column:
  std::vector<std::vector<double>> column_, rounded_;  // by wanted level
  std::vector<std::vector<std::uint32_t>> first_piece_;
  std::vector<double> whole_zeros_;
  std::vector<std::uint8_t> codes_, ordered_;
  bool codes_read_ = false;
};

// --- Shared by rows.cpp and judge.cpp

/// The offset is a number of its own, added or subtracted.
[[nodiscard]] inline bool has_float_offset(const tensor::Scheme& scheme) noexcept {
  return scheme.offset.kind == tensor::OffsetKind::bias || scheme.offset.kind == tensor::OffsetKind::minimum;
}

/// The scale of one element; `exact` is cleared where the product does not fit in binary64.
template <class NumberOf>
[[nodiscard]] double scale_of(const Side& side, const NumberOf& number_of, bool& exact) noexcept {
  const tensor::Scheme& scheme = side.scheme;
  if (scheme.rounded_scale) {
    float scale = 1;
    for (std::size_t i = 0; i < side.scale_count; ++i) {
      const auto number = static_cast<float>(number_of(i));
      scale = scheme.scales[i].divide ? scale / number : scale * number;
    }
    if (scheme.scale_offset) scale = scale + side.scale_offset;
    return std::ldexp(scale, scheme.shift);
  }
  if (side.scale_count == 0) return std::ldexp(1.0, scheme.shift);
  double scale = number_of(0);
  for (std::size_t i = 1; i < side.scale_count; ++i) {
    const double number = number_of(i), product = scale * number;
    if (std::isfinite(product) && std::fma(scale, number, -product) != 0) exact = false;
    scale = product;
  }
  return scheme.shift == 0 ? scale : std::ldexp(scale, scheme.shift);
}

constexpr double kMostSteps = 0.5;  // of a loss: beyond, other codes would be nearer

/// All values are alike, whatever the codes.
[[nodiscard]] inline bool dead(double scale) noexcept { return scale == 0 || std::isnan(scale); }

}  // namespace ingot::convert::recoding

// What recode() loses in a row, measured in quantization steps, and the words for it.
#include <algorithm>

#include "converters/recode/rows.h"

namespace ingot::convert::recoding {
namespace {

using tensor::OffsetKind;

constexpr double kLeastSteps = 0x1p-53;

std::string text(double number) {
  std::string digits = std::to_string(number);
  while (digits.back() == '0') digits.pop_back();
  if (digits.back() == '.') digits.pop_back();
  return digits;
}

}  // namespace

std::string RowMaker::place(std::size_t piece) const {
  return "columns " + std::to_string(pieces_.begin[piece]) + " to " +
         std::to_string(pieces_.begin[piece] + pieces_.length[piece] - 1) + " of row " + std::to_string(row_);
}

void RowMaker::judge(Finding& finding) {
  const Side& wanted = conversion_.wanted;
  const bool bias = has_float_offset(wanted.scheme);
  bool any = false;
  for (std::size_t a = 0; a < pieces_.size(); ++a) {
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      if (same_number(wanted_[i][a], column_[i][pieces_.wanted[i][a]])) continue;
      finding.add(ProofClass::refused, 0, row_, [&] {
        return "parameters differ inside a block of " + wanted.specs[wanted.levels[i].plane].role + ": " +
               text(wanted_[i][a]) + " in " + place(a);
      });
      return;
    }
    const auto number = [&](std::size_t level) { return rounded_[level][pieces_.wanted[level][a]]; };
    if (std::isnan(scale_[a])) {
      if (wanted.scale_count > 0 && std::isnan(number(0))) continue;
    }
    bool exact = true;
    const double scale = scale_of(wanted, number, exact);
    double zero = wanted.scheme.offset.kind == OffsetKind::zero ? wanted.scheme.offset.zero : 0;
    if (wanted.scheme.offset.kind == OffsetKind::zero_points) zero = number(wanted.scale_count);
    double offset = 0;
    if (bias) {
      offset = number(wanted.scale_count);
      for (std::size_t i = wanted.scale_count + 1; i < wanted.levels.size(); ++i) offset *= number(i);
      if (wanted.scheme.offset.kind == OffsetKind::minimum) offset = -offset;
    }
    if (scale == scale_[a] && dead(scale) && (!bias || same_number(offset, bias_[a]))) continue;
    if (fill_[a] != kNoFill && scale == scale_[a]) continue;
    const double least = fill_[a] == kNoFill ? conversion_.least_code : 1;
    const double greatest = fill_[a] == kNoFill ? conversion_.greatest_code : 1;
    if (fill_[a] != kNoFill) zero = shift_[a] = 0;
    const double moved = (offset + scale * (shift_[a] - zero)) - (bias_[a] - scale_[a] * zero_[a]);
    const auto error_at = [&](double code) {
      return std::isinf(scale) && scale == scale_[a] ? std::fabs(moved) : std::fabs((scale - scale_[a]) * code + moved);
    };
    const double error = std::max(error_at(least), error_at(greatest));
    const double steps = error == 0 ? 0 : error / std::fabs(scale) + conversion_.step_slack;
    if (steps == 0) continue;
    if (!(steps <= kMostSteps)) {
      finding.add(ProofClass::refused, 0, row_, [&] { return misfit(a); });
      return;
    }
    any = true;
    finding.add(ProofClass::codes, steps, row_, [&] { return misfit(a); });
  }
  if (!any && !conversion_.inverts) {
    finding.add(ProofClass::codes, std::max(kLeastSteps, conversion_.step_slack), row_,
                [] { return std::string("products lose bits beyond the last of binary32"); });
  }
}

/// What does not fit in a piece.
std::string RowMaker::misfit(std::size_t piece) const {
  const Side& wanted = conversion_.wanted;
  for (std::size_t i = 0; i < wanted_.size(); ++i) {
    const std::uint32_t c = pieces_.wanted[i][piece];
    if (same_number(column_[i][c], rounded_[i][c])) continue;
    return wanted.specs[wanted.levels[i].plane].role + " " + text(column_[i][c]) + " in " + place(piece) +
           " does not fit " + std::string(tensor::name(wanted.levels[i].level.type));
  }
  if (std::nearbyint(effective_[piece]) != effective_[piece] || bias_[piece] != 0)
    return "zero point " + text(effective_[piece]) + " in " + place(piece) + " is not whole";
  return "scale " + text(scale_[piece]) + " in " + place(piece) + " cannot be kept";
}

void RowMaker::judge_codes(Finding& finding) {
  if (conversion_.code_rule == CodeRule::map) {
    const std::uint8_t* codes = source_codes();
    for (std::size_t i = 0; i < ordered_.size(); ++i) {
      if (conversion_.code_map[codes[i]] >= 0) continue;
      finding.add(ProofClass::refused, 0, row_, [&] {
        return "no code of the wanted type means " + text(conversion_.source.code_numbers[codes[i]]) + " (column " +
               std::to_string(i) + " of row " + std::to_string(row_) + ")";
      });
      return;
    }
  }
  for (std::size_t a = 0; a < pieces_.size(); ++a) {
    if (fill_[a] != kNoFill || dead(scale_[a])) continue;
    if (conversion_.code_rule == CodeRule::shift && fits_without_looking(shift_[a])) continue;
    if (conversion_.code_rule != CodeRule::shift && shift_[a] == 0) continue;
    if (conversion_.code_rule == CodeRule::shift) {
      const auto [least, greatest] = code_range(a);
      if (least + shift_[a] >= conversion_.wanted_least_code &&
          greatest + shift_[a] <= conversion_.wanted_greatest_code)
        continue;
    }
    finding.add(ProofClass::refused, 0, row_, [&]() -> std::string {
      const std::string wanted(tensor::name(conversion_.wanted.scheme.codes.type));
      if (shift_[a] == 0) return "codes in " + place(a) + " are beyond " + wanted;
      return "zero point " + text(effective_[a]) + " in " + place(a) + " would move codes by " + text(shift_[a]) +
             ", beyond " + wanted;
    });
    return;
  }
}

}  // namespace ingot::convert::recoding

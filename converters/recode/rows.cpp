// Parameters and codes of a wanted row. Every number is a binary64 that is exact, or known not to be.
#include "converters/recode/rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ingot::convert::recoding {
namespace {

using tensor::OffsetKind;

constexpr std::uint32_t kNoPiece = ~std::uint32_t{0};
/// To an integer, ties to even, inline where nearbyint is a call. Beyond 2^51 numbers are no zero points of any codes:
/// the result only has to stay large.
double nearest_integer(double number) noexcept { return number + 0x1.8p52 - 0x1.8p52; }

constexpr double kMostShift = 1024;  // of a code: types have at most 8 bits

}  // namespace

RowMaker::RowMaker(const Conversion& conversion, bool with_codes)
    : conversion_(conversion),
      columns_(*conversion.columns),
      reader_(conversion.source_tensor, conversion.source, with_codes),
      pieces_(columns_.first_row()),
      levels_(conversion.source.levels.size()),
      wanted_(conversion.wanted.levels.size()),
      column_(conversion.wanted.levels.size()),
      rounded_(conversion.wanted.levels.size()),
      first_piece_(conversion.wanted.levels.size()) {}

void RowMaker::read_source(std::uint64_t row) {
  columns_.move_to(row, pieces_);
  const std::size_t count = pieces_.size();
  for (std::size_t i = 0; i < levels_.size(); ++i) {
    levels_[i].resize(count);
    const std::vector<std::uint32_t>& cols = pieces_.source[i];
    for (std::size_t a = 0; a < count;) {
      const std::uint64_t source_row = pieces_.source_row[a];
      const StoredRows::Numbers numbers = reader_.numbers(i, source_row);
      for (; a < count && pieces_.source_row[a] == source_row; ++a) levels_[i][a] = numbers[cols[a]];
    }
  }
  if (!columns_.flat() && !first_piece_.empty() && !first_piece_[0].empty()) return;
  for (std::size_t i = 0; i < first_piece_.size(); ++i) {
    first_piece_[i].assign(conversion_.wanted.levels[i].cols, kNoPiece);
    for (std::size_t a = count; a-- > 0;) first_piece_[i][pieces_.wanted[i][a]] = static_cast<std::uint32_t>(a);
  }
}

void RowMaker::multiply_scales() {
  const std::size_t count = pieces_.size();
  const Side& source = conversion_.source;
  const bool plain = source.scale_count == 1 && !source.scheme.rounded_scale && source.scheme.shift == 0;
  if (plain) {
    scale_ = levels_[0];
    return;
  }
  scale_.resize(count);
  bool exact = true;
  for (std::size_t a = 0; a < count; ++a)
    scale_[a] = scale_of(
        source, [&](std::size_t level) { return levels_[level][a]; }, exact);
  if (!exact && !conversion_.carry) inexact_ = true;
}

void RowMaker::find_offsets() {
  const std::size_t count = pieces_.size();
  const Side& source = conversion_.source;
  const tensor::Offset& offset = source.scheme.offset;
  zero_.assign(count, offset.kind == OffsetKind::zero ? offset.zero : 0);
  bias_.assign(count, 0.0);
  if (offset.kind == OffsetKind::zero_points) zero_ = levels_[source.scale_count];
  if (offset.kind == OffsetKind::bias) bias_ = levels_[source.scale_count];
  if (offset.kind == OffsetKind::minimum) {
    for (std::size_t a = 0; a < count; ++a) {
      double minimum = levels_[source.scale_count][a];
      for (std::size_t i = source.scale_count + 1; i < levels_.size(); ++i) {
        const double product = minimum * levels_[i][a];
        if (std::isfinite(product) && std::fma(minimum, levels_[i][a], -product) != 0) inexact_ = true;
        minimum = product;
      }
      bias_[a] = -minimum;
    }
  }
  effective_ = zero_;
  fill_.assign(count, kNoFill);
  constant_.assign(count, false);
  if (!has_float_offset(source.scheme) || has_float_offset(conversion_.wanted.scheme)) return;
  for (std::size_t a = 0; a < count; ++a) {
    if (bias_[a] == 0) continue;
    if (scale_[a] == 0 && conversion_.wanted.scale_count == 1 && conversion_.code_rule != CodeRule::map) {
      scale_[a] = bias_[a];  // all values are the bias: scale * 1
      bias_[a] = 0;
      constant_[a] = true;
    } else if (std::isnan(bias_[a])) {
      scale_[a] = bias_[a];
      bias_[a] = 0;
    } else {
      effective_[a] = -bias_[a] / scale_[a];
    }
  }
}

bool RowMaker::fits_without_looking(double shift) const noexcept {
  return conversion_.code_rule != CodeRule::shift ||
         (conversion_.least_code + shift >= conversion_.wanted_least_code &&
          conversion_.greatest_code + shift <= conversion_.wanted_greatest_code);
}

/// The piece's codes move by `shift` so that its zero is `zero`.
void RowMaker::place_shift(std::size_t piece, double shift, double zero) {
  const double least = conversion_.wanted_least_code, greatest = conversion_.wanted_greatest_code;
  shift_[piece] = shift;
  if (constant_[piece]) {
    const bool above = zero + 1 <= greatest;
    if (!above) scale_[piece] = -scale_[piece];
    fill_[piece] = static_cast<std::int16_t>(std::clamp(above ? zero + 1 : zero - 1, least, greatest));
    if (above ? zero + 1 < least : zero - 1 > greatest) inexact_ = true;
    effective_[piece] = zero_[piece] = 0;
    return;
  }
  if (!(std::fabs(shift) <= kMostShift)) shift_[piece] = 0;
  if (dead(scale_[piece])) return;  // all values are alike, whatever the codes
  if (!(std::fabs(shift) <= kMostShift)) inexact_ = true;
  const double rounded = nearest_integer(effective_[piece]);
  const bool exact =
      bias_[piece] == 0 ? rounded == effective_[piece] : std::fma(scale_[piece], rounded, bias_[piece]) == 0;
  if (!exact) inexact_ = true;
  if (conversion_.code_rule == CodeRule::shift ? !fits_without_looking(shift) : shift != 0) out_of_range_ = true;
}

void RowMaker::settle_constant_zero() {
  const tensor::Offset& offset = conversion_.wanted.scheme.offset;
  const double zero = offset.kind == OffsetKind::zero ? offset.zero : 0;
  for (std::size_t a = 0; a < pieces_.size(); ++a) {
    place_shift(a, zero - nearest_integer(effective_[a]), zero);
  }
}

std::pair<double, double> RowMaker::code_range(std::size_t piece) {
  const std::uint8_t* codes = source_codes() + pieces_.begin[piece];
  double least = std::numeric_limits<double>::infinity(), greatest = -least;
  for (std::uint64_t i = 0; i < pieces_.length[piece]; ++i) {
    const double number = conversion_.source.code_numbers[codes[i]];
    least = std::min(least, number);
    greatest = std::max(greatest, number);
  }
  return {least, greatest};
}

/// The zero point of every parameter column: near the source's, where it fits and all codes can follow it.
void RowMaker::settle_zero_points() {
  const std::size_t level = conversion_.wanted.scale_count, count = pieces_.size();
  const std::vector<std::uint32_t>& cols = pieces_.wanted[level];
  std::vector<double>& zeros = wanted_[level];
  const double natural = conversion_.natural_shift;
  bool simple = fits_without_looking(natural);
  for (std::size_t a = 0; a < count; ++a) {
    const std::uint32_t first = first_piece_[level][cols[a]];
    zeros[a] = first == a ? nearest_integer(effective_[a]) + natural : zeros[first];
    simple = simple && zeros[a] >= conversion_.least_zero && zeros[a] <= conversion_.greatest_zero &&
             nearest_integer(effective_[a]) + natural == zeros[a] && !constant_[a];
  }
  if (!whole_zeros_.empty())
    for (std::size_t a = 0; a < count; ++a) zeros[a] = whole_zeros_[cols[a]];
  else if (!simple)
    search_zero_points();
  for (std::size_t a = 0; a < count; ++a) place_shift(a, zeros[a] - nearest_integer(effective_[a]), zeros[a]);
}

void RowMaker::search_zero_points() {
  const std::size_t level = conversion_.wanted.scale_count, count = pieces_.size();
  const std::vector<std::uint32_t>& cols = pieces_.wanted[level];
  const std::size_t columns = conversion_.wanted.levels[level].cols;
  std::vector<double> least, greatest, target;
  const auto narrow = [&](bool look) {
    least.assign(columns, conversion_.least_zero);
    greatest.assign(columns, conversion_.greatest_zero);
    target.assign(columns, std::numeric_limits<double>::quiet_NaN());
    for (std::size_t a = 0; a < count; ++a) {
      if (dead(scale_[a])) continue;
      const double zero = nearest_integer(effective_[a]);
      double& aim = target[cols[a]];
      if (constant_[a]) {
        least[cols[a]] = std::max(least[cols[a]], conversion_.wanted_least_code - 1);
        greatest[cols[a]] = std::min(greatest[cols[a]], conversion_.wanted_greatest_code - 1);
        continue;
      }
      if (std::isnan(aim)) aim = zero + conversion_.natural_shift;
      if (conversion_.code_rule != CodeRule::shift) continue;
      const auto [low, high] = look ? code_range(a) : std::pair(conversion_.least_code, conversion_.greatest_code);
      least[cols[a]] = std::max(least[cols[a]], conversion_.wanted_least_code - low + zero);
      greatest[cols[a]] = std::min(greatest[cols[a]], conversion_.wanted_greatest_code - high + zero);
    }
    bool found = true;
    for (std::size_t c = 0; c < columns; ++c) found = found && least[c] <= greatest[c];
    return found;
  };
  if (!narrow(false)) narrow(true);
  for (std::size_t a = 0; a < count; ++a) {
    const std::uint32_t c = cols[a];
    double zero = std::isnan(target[c]) ? 0 : target[c];
    if (least[c] <= greatest[c]) zero = std::clamp(zero, least[c], greatest[c]);
    wanted_[level][a] = std::clamp<double>(zero, conversion_.least_zero, conversion_.greatest_zero);
  }
}

void RowMaker::settle_float_zeros() {
  const std::size_t level = conversion_.wanted.scale_count, count = pieces_.size();
  const double natural = conversion_.natural_shift;
  wanted_[level].resize(count);
  for (std::size_t a = 0; a < count; ++a) {
    const double zero = effective_[a] + natural;
    wanted_[level][a] = zero;
    shift_[a] = natural;
    if (constant_[a]) {
      wanted_[level][a] = natural;
      place_shift(a, natural, natural);
      continue;
    }
    if (dead(scale_[a])) wanted_[level][a] = std::isfinite(zero) ? zero : 0;
    const bool exact = dead(scale_[a]) || (zero - natural == effective_[a] &&
                                           (bias_[a] == 0 || std::fma(scale_[a], effective_[a], bias_[a]) == 0));
    if (!exact) inexact_ = true;
    if (!fits_without_looking(natural)) out_of_range_ = true;
  }
}

/// Codes of a narrower type move so that they fit, the same way in a whole parameter column.
void RowMaker::choose_bias_shifts() {
  const std::size_t level = conversion_.wanted.scale_count, count = pieces_.size();
  const std::vector<std::uint32_t>& cols = pieces_.wanted[level];
  const double natural = conversion_.natural_shift;
  std::fill(shift_.begin(), shift_.end(), natural);
  if (fits_without_looking(natural)) return;
  out_of_range_ = true;
  const std::size_t columns = conversion_.wanted.levels[level].cols;
  std::vector<double> least(columns, -512), greatest(columns, 512);
  for (std::size_t a = 0; a < count; ++a) {
    const auto [low, high] = code_range(a);
    least[cols[a]] = std::max(least[cols[a]], conversion_.wanted_least_code - low);
    greatest[cols[a]] = std::min(greatest[cols[a]], conversion_.wanted_greatest_code - high);
  }
  for (std::size_t a = 0; a < count; ++a)
    if (least[cols[a]] <= greatest[cols[a]]) shift_[a] = std::clamp(natural, least[cols[a]], greatest[cols[a]]);
}

void RowMaker::settle_bias() {
  const Side& wanted = conversion_.wanted;
  const std::size_t level = wanted.scale_count, count = pieces_.size();
  if (wanted.levels.size() - level > 1) {  // a minimum of two levels goes with the scales
    for (std::size_t i = level; i < wanted.levels.size(); ++i)
      wanted_[i] = levels_[conversion_.source.scale_count + i - level];
    return;
  }
  choose_bias_shifts();
  const double sign = wanted.scheme.offset.kind == OffsetKind::minimum ? -1 : 1;
  wanted_[level].resize(count);
  for (std::size_t a = 0; a < count; ++a) {
    const double zero = zero_[a] + shift_[a], product = scale_[a] * zero, bias = bias_[a];
    double sum = bias;
    if (zero != 0 && !std::isnan(scale_[a])) {
      sum = bias - product;
      // TwoSum; the product is exact wherever the scale fits a type of at most 32 bits, as it must to be kept.
      const double part = sum - bias;
      const double lost = (bias - (sum - part)) + (-product - part);
      if (lost != 0 || zero - shift_[a] != zero_[a]) inexact_ = true;
    }
    wanted_[level][a] = sign * sum;
  }
}

void RowMaker::want_offset() {
  const tensor::Offset& offset = conversion_.wanted.scheme.offset;
  shift_.assign(pieces_.size(), 0.0);
  whole_zeros_.clear();
  const std::size_t level = conversion_.wanted.scale_count;
  if (offset.kind == OffsetKind::zero_points && !conversion_.whole_rounded[level].empty())
    whole_zeros_ = whole_row(conversion_.whole_rounded, level);
  if (offset.kind == OffsetKind::none || offset.kind == OffsetKind::zero) return settle_constant_zero();
  if (has_float_offset(conversion_.wanted.scheme)) return settle_bias();
  wanted_[level].resize(pieces_.size());
  if (tensor::info(offset.levels[0].type).is_float) return settle_float_zeros();
  settle_zero_points();
}

void RowMaker::want_scales() {
  const Side& wanted = conversion_.wanted;
  if (conversion_.carry && (wanted.scale_count > 1 || wanted.scheme.scale_offset)) {
    for (std::size_t i = 0; i < wanted.scale_count; ++i) wanted_[i] = levels_[i];
    return;
  }
  if (conversion_.inverts) {
    for (std::size_t i = 0; i < wanted.scale_count; ++i) {
      wanted_[i] = levels_[i];
      if (wanted.scheme.scales[i].divide == conversion_.source.scheme.scales[i].divide) continue;
      for (double& number : wanted_[i]) number = 1 / number;
    }
    return;
  }
  if (wanted.scale_count == 0) {
    for (const double scale : scale_)
      if (scale != std::ldexp(1.0, wanted.scheme.shift)) inexact_ = true;
    return;
  }
  wanted_[0] = scale_;
  if (wanted.scheme.shift != 0)
    for (double& scale : wanted_[0]) scale = std::ldexp(scale, -wanted.scheme.shift);
  for (std::size_t i = 1; i < wanted.scale_count; ++i) wanted_[i].assign(pieces_.size(), 1.0);
}

bool RowMaker::moves_codes() const noexcept {
  for (std::size_t a = 0; a < pieces_.size(); ++a)
    if (shift_[a] != 0 || fill_[a] != kNoFill) return true;
  return false;
}

/// The parameters of the wanted row in a whole plane.
std::vector<double> RowMaker::whole_row(const std::vector<std::vector<double>>& planes, std::size_t level) const {
  const Side& wanted = conversion_.wanted;
  const LevelPlane& plane = wanted.levels[level];
  const std::uint64_t block_rows = plane.level.block.rows;
  const std::uint64_t index =
      row_ / wanted.geometry.rows * plane.rows + (block_rows == 0 ? 0 : row_ % wanted.geometry.rows / block_rows);
  const auto first = planes[level].begin() + static_cast<std::ptrdiff_t>(index * plane.cols);
  return {first, first + static_cast<std::ptrdiff_t>(plane.cols)};
}

/// One number per parameter column from those of its pieces; false when they differ.
bool RowMaker::collect(std::size_t level, bool judging) {
  const LevelPlane& plane = conversion_.wanted.levels[level];
  std::vector<double>& column = column_[level];
  if (!conversion_.whole_wanted[level].empty()) {
    column = whole_row(conversion_.whole_wanted, level);
    rounded_[level] = whole_row(conversion_.whole_rounded, level);
    for (std::size_t c = 0; c < column.size(); ++c)
      if (!same_number(column[c], rounded_[level][c])) inexact_ = true;
  } else {
    column.resize(plane.cols);
    rounded_[level].resize(plane.cols);
    for (std::size_t c = 0; c < column.size(); ++c) {
      const std::uint32_t first = first_piece_[level][c];
      column[c] = first == kNoPiece ? plane.codec.number_of_zero_bits() : wanted_[level][first];
    }
    if (!plane.codec.round(column.data(), column.size(), rounded_[level].data())) inexact_ = true;
  }
  if (!judging) return true;
  bool same = true;
  const std::vector<std::uint32_t>& cols = pieces_.wanted[level];
  for (std::size_t a = 0; a < pieces_.size(); ++a) same &= same_number(wanted_[level][a], column[cols[a]]);
  return same;
}

void RowMaker::make(std::uint64_t row, Finding* finding) {
  row_ = row;
  codes_read_ = inexact_ = out_of_range_ = false;
  read_source(row);
  inexact_ = conversion_.step_slack > 0;
  multiply_scales();
  find_offsets();
  want_offset();
  want_scales();
  bool same = true;
  for (std::size_t level = 0; level < wanted_.size(); ++level) same &= collect(level, finding != nullptr);
  if (finding == nullptr) return;
  if (inexact_ || !same) judge(*finding);
  if (finding->proof == ProofClass::refused) return;  // nothing is worse
  if (out_of_range_ || conversion_.map_has_gaps) judge_codes(*finding);
}

const std::uint8_t* RowMaker::source_codes() {
  if (codes_read_) return ordered_.data();
  codes_read_ = true;
  if (columns_.flat()) {
    ordered_.assign(conversion_.wanted.geometry.cols, 0);
    for (std::size_t a = 0; a < pieces_.size(); ++a) {
      reader_.codes(pieces_.source_row[a], pieces_.source_begin[a], pieces_.source_begin[a] + pieces_.length[a],
                    ordered_.data() + pieces_.begin[a]);
    }
    return ordered_.data();
  }
  const std::uint64_t cols = conversion_.source.geometry.cols;
  ordered_.resize(cols);
  if (cols == 0) return ordered_.data();
  const std::vector<std::uint32_t>& from = columns_.source_columns();
  if (from.empty()) {
    reader_.codes(conversion_.rows(row_), 0, cols, ordered_.data());
    return ordered_.data();
  }
  codes_.resize(cols);
  reader_.codes(conversion_.rows(row_), 0, cols, codes_.data());
  for (std::uint64_t p = 0; p < cols; ++p) ordered_[p] = codes_[from[p]];
  return ordered_.data();
}

void RowMaker::make_codes(std::uint8_t* out) {
  source_codes();
  std::uint8_t* codes = ordered_.data();
  if (conversion_.code_rule == CodeRule::map) {
    for (std::uint8_t& code : ordered_) code = static_cast<std::uint8_t>(conversion_.code_map[code]);
  } else if (conversion_.code_rule == CodeRule::shift) {
    const auto mask = static_cast<std::uint8_t>((1u << tensor::bits(conversion_.wanted.scheme.codes.type)) - 1);
    for (std::size_t a = 0; a < pieces_.size(); ++a) {
      const std::uint64_t begin = pieces_.begin[a], end = begin + pieces_.length[a];
      if (fill_[a] != kNoFill) {
        std::fill(codes + begin, codes + end, static_cast<std::uint8_t>(fill_[a] & mask));
        continue;
      }
      const auto shift = static_cast<std::uint8_t>(static_cast<int>(shift_[a]));
      for (std::uint64_t i = begin; i < end; ++i) codes[i] = static_cast<std::uint8_t>((codes[i] + shift) & mask);
    }
  }
  const std::vector<std::uint32_t>& to = columns_.wanted_columns();
  if (to.empty())
    std::copy(ordered_.begin(), ordered_.end(), out);
  else
    for (std::size_t p = 0; p < to.size(); ++p) out[to[p]] = codes[p];
  codes_read_ = false;
}

}  // namespace ingot::convert::recoding

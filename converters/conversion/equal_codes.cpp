#include "converters/conversion/equal_codes.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "converters/conversion/stored_units.h"
#include "converters/recode/elements.h"
#include "format/base/parallel.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/group_layout.h"
#include "format/tensor/unit_fingerprint.h"

namespace ingot::convert {
namespace {

using tensor::DType;
using tensor::kTileRows;
using tensor::OffsetKind;
using tensor::Tensor;

constexpr std::uint64_t kWindowBytes = std::uint64_t{1} << 19;  // of codes: both tensors' stay in the cache

bool same_bytes(Bytes a, Bytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Tables and parameters of more than a row.
bool same_whole_planes(const Tensor& a, const Tensor& b) {
  const std::vector<tensor::PlaneSpec> specs = a.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i)
    if (!specs[i].sliced && !same_bytes(a.planes->whole(i), b.planes->whole(i))) return false;
  return true;
}

/// Codes come first, then scales, then offsets.
std::size_t code_planes(const Tensor& tensor) {
  return tensor::code_slices(tensor::bits(tensor.scheme.codes.type)).count;
}
Bytes scales_of(const StoredUnits& units) { return units.planes()[code_planes(units.tensor())]; }
Bytes offsets_of(const StoredUnits& units) { return units.planes()[code_planes(units.tensor()) + 1]; }
std::uint64_t groups_of(const StoredUnits& units) { return units.specs()[code_planes(units.tensor())].cols; }

bool is_float_group(const tensor::Level& level) {
  const DType type = level.type;
  return (type == DType::f16 || type == DType::bf16 || type == DType::f32) && level.block.rows == 1 &&
         !level.custom_table && !level.divide && level.multiply == 1 && level.add == 0;
}

/// Are the codes integers of this type, and the parameters of all groups and rows a scale and at most one offset?
bool has_lines(const Tensor& tensor, DType codes) {
  const tensor::Scheme& scheme = tensor.scheme;
  if (scheme.codes.kind != tensor::CodeKind::number || scheme.codes.type != codes || scheme.rounded_scale ||
      scheme.scale_offset || scheme.shift != 0 || scheme.scales.size() != 1 || !is_float_group(scheme.scales[0]))
    return false;
  if (scheme.offset.kind == OffsetKind::none || scheme.offset.kind == OffsetKind::zero) return true;
  if (scheme.offset.levels.size() != 1 || scheme.offset.levels[0].block != scheme.scales[0].block) return false;
  const tensor::Level& offset = scheme.offset.levels[0];
  if (scheme.offset.kind == OffsetKind::bias) return is_float_group(offset);
  return scheme.offset.kind == OffsetKind::zero_points && offset.type == DType::u8 && !offset.custom_table &&
         offset.multiply == 1 && offset.add == 0;
}

/// Every value is  scale * code + constant; both parameters of all groups and rows: (units, groups, 16).
struct Lines {
  std::vector<float> scales;
  std::vector<double> constants;  // exact: a product of 24 and 8 bits
};

void find_lines(const StoredUnits& units, Lines& lines) {
  const tensor::Scheme& scheme = units.tensor().scheme;
  recoding::widen(scheme.scales[0].type, scales_of(units), lines.scales);
  lines.constants.resize(lines.scales.size());
  if (scheme.offset.kind == OffsetKind::bias) {
    std::vector<float> biases;
    recoding::widen(scheme.offset.levels[0].type, offsets_of(units), biases);
    std::copy(biases.begin(), biases.end(), lines.constants.begin());
    return;
  }
  for (std::size_t i = 0; i < lines.scales.size(); ++i) {
    const double zero = scheme.offset.kind == OffsetKind::zero_points
                            ? std::to_integer<std::uint8_t>(offsets_of(units)[i])
                            : scheme.offset.zero;
    lines.constants[i] = -(static_cast<double>(lines.scales[i]) * zero);
  }
}

/// Numbers of `count` units with `groups` groups each against others. One that is not finite is equal to nothing: what
/// is made of it depends on how.
template <class Number>
bool same_numbers(const std::vector<Number>& a, std::uint64_t groups_a, const std::vector<Number>& b,
                  std::uint64_t groups_b, std::uint64_t count) {
  const std::uint64_t groups = std::max(groups_a, groups_b);
  bool same = true;
  for (std::uint64_t unit = 0; unit < count; ++unit) {
    for (std::uint64_t group = 0; group < groups; ++group) {
      const Number* x = a.data() + (unit * groups_a + group * groups_a / groups) * kTileRows;
      const Number* y = b.data() + (unit * groups_b + group * groups_b / groups) * kTileRows;
      for (std::uint64_t row = 0; row < kTileRows; ++row) same &= x[row] == y[row] && std::isfinite(x[row]);
    }
  }
  return same;
}

bool are_finite(DType halves, const std::byte* from, std::uint64_t count) noexcept {
  const auto exponent = static_cast<std::uint16_t>(halves == DType::f16 ? 0x7C00 : 0x7F80);
  const auto one = static_cast<std::uint16_t>(halves == DType::f16 ? 0x0400 : 0x0080);
  std::uint16_t tops = 0;
  for (std::uint64_t i = 0; i < count; ++i) {  // adding one to an exponent of ones sets the top bit
    std::uint16_t half = 0;
    std::memcpy(&half, from + 2 * i, sizeof half);
    tops = static_cast<std::uint16_t>(tops | ((half & exponent) + one));
  }
  return (tops & 0x8000) == 0;
}

/// Bytes of the 16 rows of one group after the other, of `a` and of `b`, one for each of the narrower groups.
template <class Same>
bool same_in_groups(const StoredUnits& a, const StoredUnits& b, std::uint64_t count, const Same& same) {
  const std::uint64_t groups_a = groups_of(a), groups_b = groups_of(b), groups = std::max(groups_a, groups_b);
  bool all = true;
  for (std::uint64_t unit = 0; unit < count; ++unit)
    for (std::uint64_t group = 0; group < groups; ++group)
      all &= same((unit * groups_a + group * groups_a / groups) * kTileRows,
                  (unit * groups_b + group * groups_b / groups) * kTileRows);
  return all;
}

/// Finite and the same bits: quickly said of nearly all tensors.
bool same_half_scales(const StoredUnits& a, const StoredUnits& b, std::uint64_t count) {
  const DType type = a.tensor().scheme.scales[0].type;
  if (type != b.tensor().scheme.scales[0].type || type == DType::f32) return false;
  const Bytes of_a = scales_of(a), of_b = scales_of(b);
  return are_finite(type, of_a.data(), of_a.size() / 2) && same_in_groups(a, b, count, [&](auto at_a, auto at_b) {
           return std::memcmp(of_a.data() + 2 * at_a, of_b.data() + 2 * at_b, 2 * kTileRows) == 0;
         });
}

bool same_scales(const StoredUnits& a, const StoredUnits& b, std::uint64_t count) {
  if (same_half_scales(a, b, count)) return true;
  std::vector<float> of_a, of_b;
  recoding::widen(a.tensor().scheme.scales[0].type, scales_of(a), of_a);
  recoding::widen(b.tensor().scheme.scales[0].type, scales_of(b), of_b);
  return same_numbers(of_a, groups_of(a), of_b, groups_of(b), count);
}

/// Zero points of some units, or the one zero of the scheme; no bias.
class Zeros {
 public:
  explicit Zeros(const StoredUnits& units) : has_plane_(units.tensor().scheme.offset.kind == OffsetKind::zero_points) {
    if (has_plane_) bytes_ = offsets_of(units);
    constant_.fill(static_cast<std::byte>(units.tensor().scheme.offset.zero));
  }
  /// Of 16 rows.
  [[nodiscard]] const std::byte* at(std::uint64_t index) const noexcept {
    return has_plane_ ? bytes_.data() + index : constant_.data();
  }
  /// Is every zero a byte?
  [[nodiscard]] static bool takes(const tensor::Offset& offset) noexcept {
    return offset.kind == OffsetKind::zero_points || offset.kind == OffsetKind::none ||
           (offset.kind == OffsetKind::zero && offset.zero >= 0 && offset.zero <= 255);
  }

 private:
  bool has_plane_;
  Bytes bytes_;
  std::array<std::byte, kTileRows> constant_{};
};

bool same_zeros(const StoredUnits& a, const StoredUnits& b, std::uint64_t count) {
  if (!Zeros::takes(a.tensor().scheme.offset) || !Zeros::takes(b.tensor().scheme.offset)) return false;
  const Zeros of_a(a), of_b(b);
  return same_in_groups(
      a, b, count, [&](auto at_a, auto at_b) { return std::memcmp(of_a.at(at_a), of_b.at(at_b), kTileRows) == 0; });
}

bool equal_codes(const StoredUnits& a, const StoredUnits& b, std::size_t planes) {
  return std::equal(a.planes().begin(), a.planes().begin() + static_cast<std::ptrdiff_t>(planes), b.planes().begin(),
                    same_bytes);
}

/// Planes from `first` on, the codes not among them.
bool equal_parameters(const StoredUnits& a, const StoredUnits& b, std::size_t first, std::uint64_t count) {
  if (a.tensor().scheme == b.tensor().scheme) {
    const auto from = static_cast<std::ptrdiff_t>(first);
    return std::equal(a.planes().begin() + from, a.planes().end(), b.planes().begin() + from, b.planes().end(),
                      same_bytes);
  }
  if (same_half_scales(a, b, count) && same_zeros(a, b, count)) return true;
  Lines lines_a, lines_b;
  find_lines(a, lines_a);
  find_lines(b, lines_b);
  return same_numbers(lines_a.scales, groups_of(a), lines_b.scales, groups_of(b), count) &&
         same_numbers(lines_a.constants, groups_of(a), lines_b.constants, groups_of(b), count);
}

std::uint64_t group_cols(const Tensor& tensor) {
  const std::uint32_t block = tensor.scheme.scales[0].block.cols;
  return block == 0 ? tensor.geometry().cols : block;
}

/// Groups of one kind are parts of those of the other.
bool groups_match(const Tensor& a, const Tensor& b) {
  const std::uint64_t wide = std::max(group_cols(a), group_cols(b)), narrow = std::min(group_cols(a), group_cols(b));
  return wide == narrow || (wide % narrow == 0 && a.geometry().cols % wide == 0);
}

/// Units that are read at once: so many that no block of values lies across a border, where that is not too many.
std::uint64_t window_units(const Tensor& tensor) {
  const std::uint64_t unit_elems = kTileRows * tensor.geometry().cols;
  return tensor::units_in_whole_blocks(tensor, 2 * kWindowBytes / unit_elems);
}

/// Can codes and parameters tell that the values are the same?
bool are_comparable(const Tensor& a, const Tensor& b) {
  if (!tensor::UnitFingerprint::takes(a) || !tensor::UnitFingerprint::takes(b) || a.shape != b.shape) return false;
  const bool is_one_form = a.scheme == b.scheme && same_whole_planes(a, b);
  return is_one_form || (has_lines(a, DType::u4) && has_lines(b, DType::u4) && groups_match(a, b));
}

// Codes of 4 bits that became codes of 5 bits, all of a group and row moved by one number (Q5_0 of GGUF).

/// May codes of `b` be those of `a`, moved as the zeros are?
bool are_moved(const Tensor& a, const Tensor& b) {
  constexpr std::uint64_t kWordCols = 32;  // of a word of the fifth bits
  return tensor::UnitFingerprint::takes(a) && tensor::UnitFingerprint::takes(b) && a.shape == b.shape &&
         has_lines(a, DType::u4) && has_lines(b, DType::u5) && groups_match(a, b) && Zeros::takes(a.scheme.offset) &&
         (b.scheme.offset.kind == OffsetKind::none || b.scheme.offset.kind == OffsetKind::zero) &&
         a.geometry().cols % kWordCols == 0 && group_cols(a) % 8 == 0;
}

using Moves = std::array<std::uint32_t, kTileRows>;  // of the rows of a group: four times in a word

/// The columns of a word of codes moved down: line `line` of a tile of 4-bit codes. False: a code does not fit.
bool move_line_down(const std::byte* nibbles, const std::byte* fifth, std::uint64_t line, const Moves& moves,
                    std::byte* out) noexcept {
  constexpr std::uint32_t kLow = 0x0F0F0F0F, kOnes = 0x01010101, kTop = 0x80808080;
  const auto shift = static_cast<unsigned>(2 * (line % 4));  // format/tensor/group_layout.h
  Moves low, high, made;
  std::memcpy(low.data(), nibbles + line * tensor::kLineBytes, sizeof low);
  std::memcpy(high.data(), fifth + line / 4 * tensor::kLineBytes, sizeof high);
  std::uint32_t beyond = 0;
  for (std::size_t row = 0; row < kTileRows; ++row) {
    const std::uint32_t top = high[row] >> shift;  // even and odd columns, one in a byte, below a bit to borrow from
    const std::uint32_t even = ((low[row] & kLow) | (top & kOnes) << 4 | kTop) - moves[row];
    const std::uint32_t odd = ((low[row] >> 4 & kLow) | (top >> 1 & kOnes) << 4 | kTop) - moves[row];
    beyond |= (even ^ kTop) | (odd ^ kTop);
    made[row] = (even & kLow) | (odd & kLow) << 4;
  }
  std::memcpy(out + line * tensor::kLineBytes, made.data(), sizeof made);
  return (beyond & ~kLow) == 0;
}

/// What the codes of a group of one unit have been moved by; false: by a number that cannot be.
bool find_moves(const std::byte* zeros, std::int32_t zero, std::uint64_t rows, Moves& moves) noexcept {
  constexpr std::int32_t kMost = 31;
  bool possible = true;
  moves.fill(0);  // rows of padding stay
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::int32_t move = zero - std::to_integer<std::int32_t>(zeros[row]);
    possible &= move >= 0 && move <= kMost;
    moves[row] = static_cast<std::uint32_t>(move & kMost) * 0x01010101u;
  }
  return possible;
}

/// Makes the codes of `a` of those of `b`, unit by unit, and hands them to is_right(unit, codes) until that is false or
/// one does not fit.
bool move_down(const StoredUnits& a, const StoredUnits& b, std::uint64_t begin, std::uint64_t end,
               const std::function<bool(std::uint64_t, Bytes)>& is_right) {
  const tensor::Geometry view = a.tensor().geometry();
  const std::uint64_t lines = view.cols / 8, group_lines = group_cols(a.tensor()) / 8;
  const std::int32_t zero = b.tensor().scheme.offset.zero;
  const Zeros zeros(a);
  std::vector<std::byte> made(a.specs()[0].unit_bytes);
  for (std::uint64_t unit = 0; unit < end - begin; ++unit) {
    const std::byte* nibbles = b.planes()[0].data() + unit * b.specs()[0].unit_bytes;
    const std::byte* fifth = b.planes()[1].data() + unit * b.specs()[1].unit_bytes;
    const std::uint64_t rows = std::min(kTileRows, view.rows - (begin + unit) * kTileRows);
    bool fits = true;
    for (std::uint64_t line = 0, group = unit * groups_of(a); line < lines; ++group) {
      Moves moves;
      fits &= find_moves(zeros.at(group * kTileRows), zero, rows, moves);
      for (const std::uint64_t next = std::min(line + group_lines, lines); line < next; ++line)
        fits &= move_line_down(nibbles, fifth, line, moves, made.data());
    }
    if (!fits || !is_right(begin + unit, made)) return false;
  }
  return true;
}

/// Reads windows of both, the first `left_out` planes of `a` not, until is_equal(a, b, begin, end) says no.
bool compare_windows(
    const Tensor& a, const Tensor& b, std::size_t left_out,
    const std::function<bool(const StoredUnits&, const StoredUnits&, std::uint64_t, std::uint64_t)>& is_equal) {
  std::atomic<bool> equal{true};
  struct Worker {
    std::optional<StoredUnits> a, b;
  };
  std::vector<Worker> workers(static_cast<std::size_t>(thread_count()));
  parallel_for(a.geometry().units, window_units(a), [&](std::uint64_t begin, std::uint64_t end, int worker) {
    if (!equal.load(std::memory_order_relaxed)) return;
    Worker& own = workers[static_cast<std::size_t>(worker)];
    if (!own.a) {
      own.a.emplace(a, left_out);
      own.b.emplace(b);
    }
    own.a->read(begin, end);
    own.b->read(begin, end);
    if (!is_equal(*own.a, *own.b, begin, end)) equal = false;
  });
  return equal;
}

}  // namespace

std::optional<Hash128> fingerprint_if_equal_codes(const Tensor& a, const Tensor& b) {
  const bool moved = are_moved(a, b);
  if (!moved && !are_comparable(a, b)) return std::nullopt;
  tensor::UnitFingerprint fingerprint(a);
  const std::size_t codes = CodeHashes(a).plane_count();
  const bool equal = compare_windows(
      a, b, 0, [&](const StoredUnits& of_a, const StoredUnits& of_b, std::uint64_t begin, std::uint64_t end) {
        const auto is_same_unit = [&](std::uint64_t unit, Bytes made) {
          return same_bytes(of_a.planes()[0].subspan((unit - begin) * made.size(), made.size()), made);
        };
        const bool same = moved
                              ? same_scales(of_a, of_b, end - begin) && move_down(of_a, of_b, begin, end, is_same_unit)
                              : equal_codes(of_a, of_b, codes) && equal_parameters(of_a, of_b, codes, end - begin);
        if (!same) return false;
        tensor::UnitFingerprint::Window& window = fingerprint.open(begin, end, of_a.planes());
        window.add(0, window.block_count());
        return true;
      });
  return equal ? std::optional(fingerprint.finish()) : std::nullopt;
}

bool has_equal_codes(const Tensor& a, const Hash128& codes_of_a, const Tensor& b) {
  const bool moved = are_moved(a, b);
  if (!moved && !are_comparable(a, b)) return false;
  CodeHashes codes(a);
  return compare_windows(a, b, codes.plane_count(),
                         [&](const StoredUnits& of_a, const StoredUnits& of_b, std::uint64_t begin, std::uint64_t end) {
                           if (moved) {
                             const auto add = [&](std::uint64_t unit, Bytes made) {
                               codes.add(unit, unit + 1, {made});
                               return true;
                             };
                             return same_scales(of_a, of_b, end - begin) && move_down(of_a, of_b, begin, end, add);
                           }
                           codes.add(begin, end, of_b.planes());
                           return equal_parameters(of_a, of_b, codes.plane_count(), end - begin);
                         }) &&
         codes.finish() == codes_of_a;
}

}  // namespace ingot::convert

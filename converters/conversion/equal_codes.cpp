#include "converters/conversion/equal_codes.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "converters/conversion/stored_units.h"
#include "converters/recode/elements.h"
#include "format/base/parallel.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/unit_fingerprint.h"

namespace ingot::convert {
namespace {

using tensor::DType;
using tensor::kTileRows;
using tensor::OffsetKind;
using tensor::Tensor;

constexpr std::size_t kScales = 1, kOffsets = 2;                // planes of tensors with 4-bit codes
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

std::uint64_t groups_of(const StoredUnits& units) { return units.specs()[kScales].cols; }

bool is_float_group(const tensor::Level& level) {
  const DType type = level.type;
  return (type == DType::f16 || type == DType::bf16 || type == DType::f32) && level.block.rows == 1 &&
         !level.custom_table && !level.divide && level.multiply == 1 && level.add == 0;
}

/// Are the parameters of all groups and rows a scale and at most one offset?
bool has_lines(const Tensor& tensor) {
  const tensor::Scheme& scheme = tensor.scheme;
  if (scheme.codes.kind != tensor::CodeKind::number || scheme.codes.type != DType::u4 || scheme.rounded_scale ||
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
  recoding::widen(scheme.scales[0].type, units.planes()[kScales], lines.scales);
  lines.constants.resize(lines.scales.size());
  if (scheme.offset.kind == OffsetKind::bias) {
    std::vector<float> biases;
    recoding::widen(scheme.offset.levels[0].type, units.planes()[kOffsets], biases);
    std::copy(biases.begin(), biases.end(), lines.constants.begin());
    return;
  }
  for (std::size_t i = 0; i < lines.scales.size(); ++i) {
    const double zero = scheme.offset.kind == OffsetKind::zero_points
                            ? std::to_integer<std::uint8_t>(units.planes()[kOffsets][i])
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
  Lines lines_a, lines_b;
  find_lines(a, lines_a);
  find_lines(b, lines_b);
  return same_numbers(lines_a.scales, groups_of(a), lines_b.scales, groups_of(b), count) &&
         same_numbers(lines_a.constants, groups_of(a), lines_b.constants, groups_of(b), count);
}

/// Groups of one kind are parts of those of the other.
bool groups_match(const Tensor& a, const Tensor& b) {
  const std::uint64_t cols = a.geometry().cols;
  const auto width = [&](const Tensor& tensor) -> std::uint64_t {
    const std::uint32_t block = tensor.scheme.scales[0].block.cols;
    return block == 0 ? cols : block;
  };
  const std::uint64_t wide = std::max(width(a), width(b)), narrow = std::min(width(a), width(b));
  return wide == narrow || (wide % narrow == 0 && cols % wide == 0);
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
  return is_one_form || (has_lines(a) && has_lines(b) && groups_match(a, b));
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
  if (!are_comparable(a, b)) return std::nullopt;
  tensor::UnitFingerprint fingerprint(a);
  const std::size_t codes = CodeHashes(a).plane_count();
  const bool equal = compare_windows(
      a, b, 0, [&](const StoredUnits& of_a, const StoredUnits& of_b, std::uint64_t begin, std::uint64_t end) {
        if (!equal_codes(of_a, of_b, codes) || !equal_parameters(of_a, of_b, codes, end - begin)) return false;
        tensor::UnitFingerprint::Window& window = fingerprint.open(begin, end, of_a.planes());
        window.add(0, window.block_count());
        return true;
      });
  return equal ? std::optional(fingerprint.finish()) : std::nullopt;
}

bool has_equal_codes(const Tensor& a, const Hash128& codes_of_a, const Tensor& b) {
  if (!are_comparable(a, b)) return false;
  CodeHashes codes(b);
  return compare_windows(a, b, codes.plane_count(),
                         [&](const StoredUnits& of_a, const StoredUnits& of_b, std::uint64_t begin, std::uint64_t end) {
                           codes.add(begin, end, of_b.planes());
                           return equal_parameters(of_a, of_b, codes.plane_count(), end - begin);
                         }) &&
         codes.finish() == codes_of_a;
}

}  // namespace ingot::convert

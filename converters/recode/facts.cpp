// What writers ask about integer codes. Implements affine_facts() of converters/recode/recode.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>

#include "converters/recode/recode.h"
#include "converters/recode/side.h"
#include "format/base/parallel.h"

namespace ingot::convert {
namespace {

using tensor::CodeKind;
using tensor::OffsetKind;

constexpr std::uint64_t kRowsAtOnce = 512, kBytesAtOnce = std::uint64_t{1} << 16;

/// The numbers of zero points that have been seen.
struct ZeroRange {
  double least = std::numeric_limits<double>::infinity(), greatest = -least;
  bool whole = true;

  void add(double number) noexcept {
    least = std::min(least, number);
    greatest = std::max(greatest, number);
    whole = whole && number == std::nearbyint(number) && std::fabs(number) < 1e9;
  }
  void add(const ZeroRange& other) noexcept {
    least = std::min(least, other.least);
    greatest = std::max(greatest, other.greatest);
    whole = whole && other.whole;
  }
};

ZeroRange range_by_rows(const tensor::Tensor& tensor, const recoding::Side& side) {
  const std::size_t level = side.scale_count;
  const std::uint64_t rows = side.geometry.matrices * side.geometry.rows, cols = side.levels[level].cols;
  ZeroRange all;
  std::mutex mutex;
  parallel_for(rows, kRowsAtOnce, [&](std::uint64_t begin, std::uint64_t end, int) {
    recoding::StoredRows reader(tensor, side, level);
    ZeroRange own;
    for (std::uint64_t row = begin; row < end; ++row) {
      const auto numbers = reader.numbers(level, row);
      for (std::uint64_t c = 0; c < cols; ++c) own.add(numbers[c]);
    }
    const std::scoped_lock lock(mutex);
    all.add(own);
  });
  return all;
}

/// Elements of a byte in units, by value.
ZeroRange range_by_units(const tensor::Tensor& tensor, const recoding::Side& side) {
  const recoding::LevelPlane& plane = side.levels[side.scale_count];
  const tensor::Geometry& view = side.geometry;
  const std::uint64_t unit_bytes = side.specs[plane.plane].unit_bytes;
  const std::optional<Bytes> viewed = tensor.planes->view(plane.plane);
  std::array<bool, 256> seen{};
  std::mutex mutex;
  parallel_for(view.units, std::max<std::uint64_t>(kBytesAtOnce / std::max<std::uint64_t>(unit_bytes, 1), 1),
               [&](std::uint64_t begin, std::uint64_t end, int) {
                 std::vector<std::byte> read;
                 const std::byte* elements = viewed ? viewed->data() + begin * unit_bytes : nullptr;
                 if (!viewed) {
                   read.resize((end - begin) * unit_bytes);
                   std::vector<std::byte*> wanted(side.specs.size(), nullptr);
                   wanted[plane.plane] = read.data();
                   tensor.planes->read_units(begin, end, wanted);
                   elements = read.data();
                 }
                 std::array<bool, 256> own{};
                 for (std::uint64_t unit = begin; unit < end; ++unit, elements += unit_bytes) {
                   const std::uint64_t first = unit % view.units_per_matrix * view.rows_per_unit;
                   const std::uint64_t rows = std::min(view.rows_per_unit, view.rows - first);  // the others pad
                   for (std::uint64_t c = 0; c < plane.cols; ++c)
                     for (std::uint64_t row = 0; row < rows; ++row)
                       own[std::to_integer<std::size_t>(elements[c * view.rows_per_unit + row])] = true;
                 }
                 const std::scoped_lock lock(mutex);
                 for (std::size_t i = 0; i < own.size(); ++i) seen[i] = seen[i] || own[i];
               });
  std::array<std::byte, 256> elements;
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<std::byte>(i);
  std::array<double, 256> numbers{};
  plane.codec.decode(elements.data(), elements.size(), numbers.data());
  ZeroRange all;
  for (std::size_t i = 0; i < seen.size(); ++i)
    if (seen[i]) all.add(numbers[i]);
  return all;
}

/// Range of the integer zero points; nothing when one is not whole.
std::optional<std::pair<double, double>> zero_range(const tensor::Tensor& tensor, const recoding::Side& side) {
  const recoding::LevelPlane& plane = side.levels[side.scale_count];
  const bool by_units = plane.sliced && tensor::bits(plane.level.type) == 8 && !plane.level.custom_table;
  const ZeroRange range = by_units ? range_by_units(tensor, side) : range_by_rows(tensor, side);
  tensor.planes->done_with(0, tensor.geometry().units);  // a plan may ask every tensor before the first is written
  if (!range.whole || range.least > range.greatest) return std::nullopt;
  return std::pair(range.least, range.greatest);
}

}  // namespace

std::optional<AffineFacts> affine_facts(const tensor::Tensor& tensor) {
  const tensor::Scheme& scheme = tensor.scheme;
  const tensor::DTypeInfo& codes = tensor::info(scheme.codes.type);
  if (scheme.codes.kind != CodeKind::number || codes.is_float || codes.bits > 8 || scheme.scales.empty())
    return std::nullopt;
  AffineFacts facts;
  facts.bits = codes.bits;
  facts.has_bias = scheme.offset.kind == OffsetKind::bias || scheme.offset.kind == OffsetKind::minimum;
  facts.two_level = scheme.scales.size() > 1;
  facts.block = scheme.scales[0].block;
  if (scheme.flat != 0) {  // strided groups have no inputs in a row
    const bool strided = facts.block == tensor::Block{0, 1};
    facts.block = {1, strided ? 1 : scheme.flat};
  }
  facts.scale_type = scheme.scales[0].type;
  facts.order = scheme.order;
  const std::int32_t unsigned_by = codes.is_signed ? 1 << (codes.bits - 1) : 0;
  if (scheme.offset.kind == OffsetKind::none || scheme.offset.kind == OffsetKind::zero) {
    facts.zero = facts.least_zero = facts.greatest_zero = scheme.offset.zero + unsigned_by;
  } else if (scheme.offset.kind == OffsetKind::zero_points) {
    if (const auto range = zero_range(tensor, recoding::source_side(tensor))) {
      facts.least_zero = static_cast<std::int32_t>(range->first) + unsigned_by;
      facts.greatest_zero = static_cast<std::int32_t>(range->second) + unsigned_by;
      if (facts.least_zero == facts.greatest_zero) facts.zero = facts.least_zero;
    }
  }
  return facts;
}

}  // namespace ingot::convert

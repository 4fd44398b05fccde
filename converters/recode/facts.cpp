// What writers ask about integer codes. Implements affine_facts() of converters/recode/recode.h.
#include <algorithm>
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

constexpr std::uint64_t kRowsAtOnce = 512;

/// Range of the integer zero points; nothing when one is not whole.
std::optional<std::pair<double, double>> zero_range(const tensor::Tensor& tensor, const recoding::Side& side) {
  const std::size_t level = side.scale_count;
  const std::uint64_t rows = side.geometry.matrices * side.geometry.rows, cols = side.levels[level].cols;
  double least = std::numeric_limits<double>::infinity(), greatest = -least;
  bool whole = true;
  std::mutex mutex;
  parallel_for(rows, kRowsAtOnce, [&](std::uint64_t begin, std::uint64_t end, int) {
    recoding::StoredRows reader(tensor, side, false);
    double low = std::numeric_limits<double>::infinity(), high = -low;
    bool integers = true;
    for (std::uint64_t row = begin; row < end; ++row) {
      const auto numbers = reader.numbers(level, row);
      for (std::uint64_t c = 0; c < cols; ++c) {
        low = std::min(low, numbers[c]);
        high = std::max(high, numbers[c]);
        integers = integers && numbers[c] == std::nearbyint(numbers[c]) && std::fabs(numbers[c]) < 1e9;
      }
    }
    const std::scoped_lock lock(mutex);
    least = std::min(least, low);
    greatest = std::max(greatest, high);
    whole = whole && integers;
  });
  tensor.planes->done_with(0, tensor.geometry().units);  // a plan may ask every tensor before the first is written
  if (!whole || least > greatest) return std::nullopt;
  return std::pair(least, greatest);
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

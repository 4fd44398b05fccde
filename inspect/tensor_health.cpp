#include "inspect/tensor_health.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "format/base/byte_reader.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"

namespace ingot::inspect {
namespace {

using tensor::Geometry;
using tensor::Order;
using tensor::Tensor;

constexpr std::uint64_t kPieceElems = std::uint64_t{1} << 18;

/// Which columns of a row share all parameters: runs of `width` columns, or runs of a list of columns.
struct Groups {
  std::uint64_t width = 0;             // 0: an unquantized tensor
  std::vector<std::uint32_t> columns;  // of an order other than identity: the columns, those of a group side by side
  std::vector<std::uint64_t> ends;     // in `columns`
};

std::uint64_t group_width(const Tensor& tensor, std::uint64_t cols) {
  if (tensor.scheme.is_plain() || cols == 0) return 0;
  std::uint64_t width = cols;
  const auto narrow = [&](const std::vector<tensor::Level>& levels) {
    for (const tensor::Level& level : levels)
      if (level.block.cols != 0) width = std::min<std::uint64_t>(width, level.block.cols);
  };
  narrow(tensor.scheme.scales);
  narrow(tensor.scheme.offset.levels);
  return width;
}

/// The numbers of the plane that says which column belongs where.
std::vector<std::uint32_t> order_plane(const Tensor& tensor, std::uint64_t cols) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  std::vector<std::uint32_t> numbers;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].role != "permutation" && specs[i].role != "group_index") continue;
    const Bytes bytes = tensor.planes->whole(i);
    for (std::uint64_t c = 0; c < cols && (c + 1) * 4 <= bytes.size(); ++c)
      numbers.push_back(load_le<std::uint32_t>(bytes.data() + c * 4));
  }
  return numbers;
}

Groups groups_of(const Tensor& tensor, std::uint64_t cols) {
  Groups groups;
  groups.width = group_width(tensor, cols);
  if (groups.width == 0 || tensor.scheme.order == Order::identity) return groups;
  std::vector<std::uint32_t> order = order_plane(tensor, cols);
  if (tensor.scheme.order == Order::permutation) {
    groups.columns = std::move(order);
    for (std::uint64_t end = groups.width; end < cols + groups.width; end += groups.width)
      groups.ends.push_back(std::min(end, cols));
    return groups;
  }
  groups.columns.resize(order.size());
  std::iota(groups.columns.begin(), groups.columns.end(), 0u);
  std::stable_sort(groups.columns.begin(), groups.columns.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return order[a] < order[b]; });
  for (std::size_t i = 1; i <= groups.columns.size(); ++i) {
    if (i == groups.columns.size() || order[groups.columns[i]] != order[groups.columns[i - 1]])
      groups.ends.push_back(i);
  }
  return groups;
}

/// Sums of one worker.
struct Tally {
  TensorHealth health;
  double squares = 0;
  std::vector<float> values, gathered;

  void add_group(std::span<const float> group) {
    if (group.size() < kLeastGroup) return;
    ++health.groups;
    health.dead_groups += std::all_of(group.begin(), group.end(), [&](float value) { return value == group[0]; });
  }

  void add_row(std::span<const float> row, const Groups& groups) {
    bool zero = true;
    for (const float value : row) {
      health.nans += std::isnan(value);
      health.infinities += std::isinf(value);
      zero = zero && value == 0;
      if (std::isfinite(value)) squares += static_cast<double>(value) * value;
    }
    ++health.rows;
    health.zero_rows += zero;
    if (groups.width == 0) return;
    if (groups.columns.empty()) {
      for (std::uint64_t begin = 0; begin < row.size(); begin += groups.width)
        add_group(row.subspan(begin, std::min<std::uint64_t>(groups.width, row.size() - begin)));
      return;
    }
    gathered.resize(groups.columns.size());
    for (std::size_t i = 0; i < gathered.size(); ++i) gathered[i] = row[groups.columns[i]];
    std::uint64_t begin = 0;
    for (const std::uint64_t end : groups.ends) {
      add_group(std::span<const float>(gathered).subspan(begin, end - begin));
      begin = end;
    }
  }
};

/// The whole of what the workers saw.
Tally sum(const std::vector<Tally>& tallies) {
  Tally all;
  for (const Tally& tally : tallies) {
    all.health.nans += tally.health.nans;
    all.health.infinities += tally.health.infinities;
    all.health.rows += tally.health.rows;
    all.health.zero_rows += tally.health.zero_rows;
    all.health.groups += tally.health.groups;
    all.health.dead_groups += tally.health.dead_groups;
    all.squares += tally.squares;
  }
  return all;
}

}  // namespace

TensorHealth tensor_health(const Tensor& tensor) {
  TensorHealth none;
  none.elements = tensor.elements();
  if (tensor.scheme.codes.kind == tensor::CodeKind::opaque || none.elements == 0) return none;
  const Geometry geometry = tensor.geometry();
  const std::uint64_t unit_elems = std::max<std::uint64_t>(geometry.cols * geometry.rows_per_unit, 1);
  const std::uint64_t piece_units = std::max<std::uint64_t>(kPieceElems / unit_elems, 1);
  const std::uint64_t pieces_per_matrix = (geometry.units_per_matrix + piece_units - 1) / piece_units;
  const Groups groups = groups_of(tensor, geometry.cols);
  std::vector<Tally> tallies(static_cast<std::size_t>(thread_count()));
  parallel_for(geometry.matrices * pieces_per_matrix, 1, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    Tally& tally = tallies[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = begin; piece < end; ++piece) {
      const std::uint64_t first = piece / pieces_per_matrix * geometry.units_per_matrix;
      const std::uint64_t unit_begin = first + piece % pieces_per_matrix * piece_units;
      const std::uint64_t unit_end = std::min(unit_begin + piece_units, first + geometry.units_per_matrix);
      tally.values.resize(tensor::rows_in_units(geometry, unit_begin, unit_end) * geometry.cols);
      tensor::decode_units(tensor, unit_begin, unit_end, tally.values);
      tensor.planes->done_with(unit_begin, unit_end);
      for (std::uint64_t at = 0; at < tally.values.size(); at += geometry.cols)
        tally.add_row(std::span<const float>(tally.values).subspan(at, geometry.cols), groups);
    }
  });
  const Tally all = sum(tallies);
  TensorHealth health = all.health;
  health.elements = none.elements;
  const std::uint64_t odd = std::min(health.elements, health.nans + health.infinities);
  if (odd < health.elements) health.rms = std::sqrt(all.squares / static_cast<double>(health.elements - odd));
  if (tensor.shape.size() < 2 || tensor.scheme.flat != 0) health.rows = health.zero_rows = 0;
  return health;
}

}  // namespace ingot::inspect

// Which columns and rows of the two sides belong together.
#include "converters/recode/pieces.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace ingot::convert::recoding {
namespace {

using tensor::Order;
using tensor::Transform;
using tensor::TransformKind;

bool in_ascending_order(const std::vector<std::uint32_t>& columns) {
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (columns[i] != i) return false;
  return true;
}

void resize_levels(Pieces& pieces, const Side& source, const Side& wanted) {
  pieces.source.resize(source.levels.size());
  pieces.wanted.resize(wanted.levels.size());
}

void clear(Pieces& pieces) {
  for (auto* list : {&pieces.source_row, &pieces.source_begin, &pieces.begin, &pieces.length}) list->clear();
  for (auto& columns : pieces.source) columns.clear();
  for (auto& columns : pieces.wanted) columns.clear();
}

/// Up to the next border of groups of `group` columns (0: none).
std::uint64_t to_border(std::uint64_t col, std::uint64_t group, std::uint64_t most) {
  return group == 0 ? most : std::min(most, group - col % group);
}

}  // namespace

RowMap::RowMap(const std::vector<Transform>& source, const std::vector<Transform>& wanted, std::uint64_t rows) {
  if (source == wanted) return;
  for (auto at = wanted.rbegin(); at != wanted.rend(); ++at) {
    if (at->kind == TransformKind::rope_interleave) steps_.push_back({rows / at->heads, false});
    if (at->kind == TransformKind::row_order) steps_.push_back({rows, false, at->order});
  }
  for (const Transform& transform : source) {
    if (transform.kind == TransformKind::row_order)
      steps_.push_back(
          {rows, true, std::make_shared<const std::vector<std::uint32_t>>(tensor::inverse_of(*transform.order))});
    if (transform.kind != TransformKind::rope_interleave) continue;
    const Step step{rows / transform.heads, true};
    const bool undone = !steps_.empty() && steps_.back().table == nullptr && !steps_.back().interleaves &&
                        steps_.back().head_rows == step.head_rows;
    if (undone)
      steps_.pop_back();
    else
      steps_.push_back(step);
  }
  for (const Step& step : steps_) group_ = std::lcm(group_, step.head_rows);
}

std::uint64_t RowMap::operator()(std::uint64_t row) const noexcept {
  for (const Step& step : steps_) {
    const std::uint64_t d = step.head_rows, in_head = row % d;
    if (step.table != nullptr) {
      row = row - in_head + (*step.table)[in_head];
      continue;
    }
    row = row / d * d +
          (step.interleaves ? in_head % (d / 2) * 2 + in_head / (d / 2) : in_head % 2 * (d / 2) + in_head / 2);
  }
  return row;
}

ColumnMap::ColumnMap(const Side& source, Side& wanted, const RowMap& rows)
    : source_(source), wanted_(wanted), rows_(rows) {
  flat_ = source.scheme.flat != 0 || wanted.scheme.flat != 0;
  if (flat_ && (source.scheme.order != Order::identity || wanted.scheme.order != Order::identity)) {
    reason_ = "flat blocks cannot be reordered";
    return;
  }
  resize_levels(pieces_, source, wanted);
  if (flat_) {
    if (!rows.identity() && (source.scheme.flat == 0) != (wanted.scheme.flat == 0))
      stored_cols_ = source.scheme.flat == 0 ? source.geometry.cols : wanted.geometry.cols;
    else if (!rows.identity())
      reason_ = "rows of flat blocks cannot change places";
    return;
  }
  find_order();
  if (reason_.empty()) cut_columns();
}

/// Logical columns in the order of the source's groups.
std::vector<std::uint32_t> ColumnMap::sorted_columns() const {
  std::vector<std::uint32_t> columns(source_.geometry.cols);
  std::iota(columns.begin(), columns.end(), 0u);
  if (source_.scheme.order == Order::permutation) return source_.order;
  if (source_.scheme.order == Order::group_index) {
    std::stable_sort(columns.begin(), columns.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return source_.order[a] < source_.order[b]; });
  }
  return columns;
}

void ColumnMap::find_order() {
  if (source_.scheme.order == Order::identity && wanted_.scheme.order == Order::identity) return;
  positions_ = sorted_columns();
  if (wanted_.scheme.order == Order::identity) std::iota(positions_.begin(), positions_.end(), 0u);
  if (wanted_.scheme.order == Order::permutation) wanted_.order = positions_;
  if (wanted_.scheme.order == Order::group_index) {
    std::uint64_t group = 0;
    for (const LevelPlane& level : wanted_.levels) {
      if (level.level.block.cols == 0) continue;
      if (group != 0 && group != level.level.block.cols) reason_ = "one group index cannot serve groups of two sizes";
      group = level.level.block.cols;
    }
    bool same = source_.scheme.order == Order::group_index;
    for (const LevelPlane& level : source_.levels) same = same && level.level.block.cols == group;
    wanted_.order.assign(positions_.size(), 0);
    for (std::size_t p = 0; p < positions_.size(); ++p) {
      wanted_.order[positions_[p]] =
          same ? source_.order[positions_[p]] : static_cast<std::uint32_t>(group == 0 ? 0 : p / group);
    }
  }
  const std::size_t cols = positions_.size();
  source_columns_ = positions_;
  if (source_.scheme.order == Order::permutation) {
    std::vector<std::uint32_t> stored(cols);
    for (std::size_t k = 0; k < cols; ++k) stored[source_.order[k]] = static_cast<std::uint32_t>(k);
    for (std::uint32_t& column : source_columns_) column = stored[column];
  }
  if (wanted_.scheme.order != Order::permutation) wanted_columns_ = positions_;
  if (in_ascending_order(source_columns_)) source_columns_.clear();
  if (in_ascending_order(wanted_columns_)) wanted_columns_.clear();
}

/// Columns of which none but the first begins a piece.
std::uint64_t ColumnMap::columns_together() const {
  if (!positions_.empty() || source_.scheme.order != Order::identity || wanted_.scheme.order != Order::identity)
    return 1;
  std::uint64_t together = source_.geometry.cols;
  for (const Side* side : {&std::as_const(source_), &std::as_const(wanted_)})
    for (const LevelPlane& level : side->levels) together = std::gcd(together, std::uint64_t{level.level.block.cols});
  return std::max<std::uint64_t>(together, 1);
}

void ColumnMap::cut_columns() {
  const std::uint64_t cols = source_.geometry.cols;
  std::vector<std::vector<std::uint32_t>> columns;
  for (const LevelPlane& level : source_.levels) columns.push_back(source_.parameter_columns(level));
  for (const LevelPlane& level : wanted_.levels) columns.push_back(wanted_.parameter_columns(level));
  const auto column_of = [&](std::size_t level, std::uint64_t p) {
    return columns[level][positions_.empty() ? p : positions_[p]];
  };
  const std::size_t sources = source_.levels.size();
  const std::uint64_t together = columns_together();
  for (std::uint64_t p = 0; p < cols; p += together) {
    bool border = p == 0;
    for (std::size_t i = 0; i < columns.size() && !border; ++i) border = column_of(i, p) != column_of(i, p - 1);
    if (!border) {
      pieces_.length.back() += together;
      continue;
    }
    pieces_.source_row.push_back(0);
    pieces_.source_begin.push_back(p);
    pieces_.begin.push_back(p);
    pieces_.length.push_back(together);
    for (std::size_t i = 0; i < sources; ++i) pieces_.source[i].push_back(column_of(i, p));
    for (std::size_t i = sources; i < columns.size(); ++i) pieces_.wanted[i - sources].push_back(column_of(i, p));
  }
}

void ColumnMap::cut_flat_row(std::uint64_t row, Pieces& pieces) const {
  clear(pieces);
  resize_levels(pieces, source_, wanted_);
  const std::uint64_t source_cols = source_.geometry.cols, cols = wanted_.geometry.cols;
  const std::uint64_t elements = source_.geometry.elements;
  for (std::uint64_t col = 0; col < cols;) {
    std::uint64_t element = row * cols + col;
    if (element >= elements) break;
    std::uint64_t count = std::min(cols - col, elements - element);
    if (!rows_.identity()) {
      count = std::min(count, stored_cols_ - element % stored_cols_);
      element = rows_(element / stored_cols_) * stored_cols_ + element % stored_cols_;
    }
    const std::uint64_t source_col = element % source_cols;
    count = std::min(count, source_cols - source_col);
    for (const LevelPlane& level : source_.levels) count = to_border(source_col, level.level.block.cols, count);
    for (const LevelPlane& level : wanted_.levels) count = to_border(col, level.level.block.cols, count);
    pieces.source_row.push_back(element / source_cols);
    pieces.source_begin.push_back(source_col);
    pieces.begin.push_back(col);
    pieces.length.push_back(count);
    const auto column = [](const LevelPlane& level, std::uint64_t at) {
      return static_cast<std::uint32_t>(level.level.block.cols == 0 ? 0 : at / level.level.block.cols);
    };
    for (std::size_t i = 0; i < source_.levels.size(); ++i)
      pieces.source[i].push_back(column(source_.levels[i], source_col));
    for (std::size_t i = 0; i < wanted_.levels.size(); ++i) pieces.wanted[i].push_back(column(wanted_.levels[i], col));
    col += count;
  }
}

void ColumnMap::move_to(std::uint64_t row, Pieces& pieces) const {
  if (flat_) return cut_flat_row(row, pieces);
  const std::uint64_t source_row = rows_(row);
  std::fill(pieces.source_row.begin(), pieces.source_row.end(), source_row);
}

}  // namespace ingot::convert::recoding

// Where the elements of a wanted row come from: pieces of consecutive positions that share all parameters on both
// sides. Internal to recode*.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "converters/recode/side.h"

namespace ingot::convert::recoding {

/// Stored row of the source that holds what is stored in a row of the wanted tensor: both arrangements undone.
class RowMap {
 public:
  RowMap() = default;
  /// Only rope_interleave and row_order count; `rows` of the one matrix.
  RowMap(const std::vector<tensor::Transform>& source, const std::vector<tensor::Transform>& wanted,
         std::uint64_t rows);
  [[nodiscard]] bool identity() const noexcept { return steps_.empty(); }
  [[nodiscard]] std::uint64_t operator()(std::uint64_t row) const noexcept;
  /// Rows map onto themselves in groups of so many.
  [[nodiscard]] std::uint64_t group() const noexcept { return group_; }

 private:
  struct Step {
    std::uint64_t head_rows;      // the rows move within groups of so many
    bool interleaves;             // from a logical row to the stored one; else back
    tensor::Permutation table{};  // where row k goes; null: interleaved heads
  };
  std::vector<Step> steps_;
  std::uint64_t group_ = 1;
};

struct Pieces {
  std::vector<std::uint64_t> source_row, source_begin;     // position in the source's row, in its order
  std::vector<std::uint64_t> begin, length;                // positions in the wanted row
  std::vector<std::vector<std::uint32_t>> source, wanted;  // by level: parameter columns
  [[nodiscard]] std::size_t size() const noexcept { return begin.size(); }
};

/// How the columns of the two sides belong together. Positions are the columns of a row in the order of the wanted
/// tensor's groups.
class ColumnMap {
 public:
  /// Fills wanted.order, or says in reason() why there is no map. Sides and rows must outlive the object.
  ColumnMap(const Side& source, Side& wanted, const RowMap& rows);

  [[nodiscard]] bool refused() const noexcept { return !reason_.empty(); }
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
  /// Codes keep their columns.
  [[nodiscard]] bool codes_stay() const noexcept { return !flat_ && source_columns_ == wanted_columns_; }
  [[nodiscard]] bool flat() const noexcept { return flat_; }
  /// By position; empty: the position itself.
  [[nodiscard]] const std::vector<std::uint32_t>& source_columns() const noexcept { return source_columns_; }
  [[nodiscard]] const std::vector<std::uint32_t>& wanted_columns() const noexcept { return wanted_columns_; }

  /// The pieces of wanted row `row`, counted over all matrices; `pieces` is that of the row before, or a copy of
  /// first_row().
  void move_to(std::uint64_t row, Pieces& pieces) const;
  [[nodiscard]] const Pieces& first_row() const noexcept { return pieces_; }

 private:
  [[nodiscard]] std::vector<std::uint32_t> sorted_columns() const;
  void find_order();
  [[nodiscard]] std::uint64_t columns_together() const;
  void cut_columns();
  void cut_flat_row(std::uint64_t row, Pieces& pieces) const;

  const Side& source_;
  Side& wanted_;
  const RowMap& rows_;
  std::string reason_;
  bool flat_ = false;
  std::uint64_t stored_cols_ = 1;  // of the shape, where one side is flat
  std::vector<std::uint32_t> positions_, source_columns_, wanted_columns_;
  Pieces pieces_;
};

}  // namespace ingot::convert::recoding

// One stored tensor as recode() sees it: geometry, planes, parameters by level, and which column uses which of them.
// Internal to recode*.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "converters/recode/elements.h"
#include "format/tensor/tensor.h"

namespace ingot::convert::recoding {

/// Scale levels, then those of the offset, in the order of their planes.
struct LevelPlane {
  tensor::Level level;
  std::size_t plane;         // index in specs
  bool sliced;               // else all parameters are in one whole plane
  std::uint64_t rows, cols;  // parameters of one matrix
  ElementCodec codec;
};

struct Side {
  tensor::Scheme scheme;
  tensor::Geometry geometry;
  std::vector<tensor::PlaneSpec> specs;
  std::vector<LevelPlane> levels;
  std::size_t scale_count = 0;
  std::size_t code_planes = 1;         // planes [0, code_planes)
  std::vector<std::uint32_t> order;    // plane permutation or group_index; empty: identity
  std::vector<double> code_numbers;    // T of every code of at most 8 bits
  std::vector<std::byte> table;        // plane `table`
  std::vector<std::byte> scale_table;  // plane `scale_table`
  float scale_offset = 0;

  /// Index of plane `role`; specs.size(): there is none.
  [[nodiscard]] std::size_t plane(std::string_view role) const noexcept;
  /// Parameter column of `level` that the logical columns use: (cols).
  [[nodiscard]] std::vector<std::uint32_t> parameter_columns(const LevelPlane& level) const;
};

/// Of a tensor with planes. Throws what they throw, and invalid_value for planes whose size is wrong.
[[nodiscard]] Side source_side(const tensor::Tensor& tensor);
/// Of a tensor to be made: planes of tables and the order are filled in by the caller, then finish_side() is called.
[[nodiscard]] Side wanted_side(const tensor::Shape& stored_shape, const tensor::Scheme& scheme);
void add_levels(Side& side);
void load_code_numbers(Side& side);

/// Reads rows of a stored tensor, whatever its packing and source. One object per thread.
class StoredRows {
 public:
  /// Both must outlive the object. `with_codes`: codes will be asked for, so that they are read with the parameters.
  StoredRows(const tensor::Tensor& tensor, const Side& side, bool with_codes);
  /// For the numbers of one level.
  StoredRows(const tensor::Tensor& tensor, const Side& side, std::size_t only_level);

  struct Numbers {
    const double* first;
    std::uint64_t stride;
    [[nodiscard]] double operator[](std::uint64_t col) const noexcept { return first[col * stride]; }
  };
  /// Parameters of `level` for stored row `row`, counted over all matrices; valid until the next call for that level.
  [[nodiscard]] Numbers numbers(std::size_t level, std::uint64_t row);
  /// Columns [begin, end) of a row, one code per byte.
  void codes(std::uint64_t row, std::uint64_t begin, std::uint64_t end, std::uint8_t* out);

 private:
  /// Some units of the sliced planes.
  struct Run {
    std::uint64_t index = ~std::uint64_t{0}, units = 0;
    std::vector<std::vector<std::byte>> bytes;  // by plane, where the source has no view
    std::vector<const std::byte*> at;           // by plane
    std::vector<std::vector<double>> numbers;   // by level: (units, level columns, rows of a unit); empty: not yet
  };
  struct Place {
    Run& run;
    std::uint64_t unit, row;  // in the run, in the unit
  };
  static constexpr std::size_t kRuns = 4;

  Place place_of(std::uint64_t row);
  void load(Run& run, std::uint64_t index);
  void load_planes(Run& run, bool codes, bool parameters);
  void decode_level(Run& run, std::size_t level);
  [[nodiscard]] Numbers whole_numbers(std::size_t level, std::uint64_t row);

  const tensor::Tensor& tensor_;
  const Side& side_;
  bool with_codes_;
  std::optional<std::size_t> only_plane_;  // of parameters
  std::uint8_t code_bits_;
  std::uint64_t units_per_run_;
  std::vector<std::optional<Bytes>> views_;
  std::array<Run, kRuns> runs_;
  std::size_t next_ = 0;
  std::vector<std::uint64_t> whole_row_;    // by level: the parameter row in whole_
  std::vector<std::vector<double>> whole_;  // by level
  std::vector<std::uint8_t> plain_;
};

}  // namespace ingot::convert::recoding

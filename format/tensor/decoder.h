// Decodes rectangles of a stored tensor to exact binary32. The engine behind decode.h and fingerprint.h; internal to
// format/tensor.
//
// How a value is computed is chosen once per tensor from the ranges of its types, not from its name:
//   binary32   every step but the last is exact in binary32: vector loops (bulk.h). All GGUF types, GPTQ, AWQ, MX, FP8,
//              most of MLX.
//   binary64   the product is exact in binary64; a sum is rounded to odd first (two_level.md, "Rounding").
//   steps      rounded_steps: binary32 operations one after the other, a vector loop for each.
//   reference  the family's scalar code on ExactSum.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "format/tensor/bulk.h"
#include "format/tensor/element_numbers.h"
#include "format/tensor/schemes.h"
#include "format/tensor/tensor.h"

namespace ingot::tensor {

/// Buffers of one thread and one decoder. Holds the units that a source without views read last.
struct DecodeScratch {
  std::vector<std::uint8_t> codes;                        // (rows, columns of the window)
  std::vector<std::uint8_t> bytes;                        // small parameters or grid indexes, one per byte
  std::vector<double> linear;                             // parameters in plane order
  std::vector<std::vector<double>> levels;                // per level: (rows, level columns of the window)
  std::vector<std::uint64_t> level_counts;                // per level: its columns in the window
  std::vector<std::vector<std::uint32_t>> level_columns;  // per level: its column in `levels` for every run
  std::vector<Run> runs;                                  // (rows, runs)
  std::vector<double> numbers;                            // T(code) of one row
  std::vector<float> row;                                 // one row in stored column order
  std::vector<std::vector<std::byte>> units;              // per plane: bytes of units [unit_begin, unit_end)
  std::uint64_t unit_begin = 0, unit_end = 0;
};

/// Parameters of a tile for tile_loops.h, and what they are made of. Buffers of one thread.
struct TileRunBuffers {
  std::vector<float> scales, zeros, adds;  // (runs, 16)
  std::vector<std::vector<float>> levels;  // per level: (columns, 16)
  std::vector<float> row;                  // of parameters
  std::vector<std::uint8_t> codes;         // small parameters, one per byte
};

/// The loop of tile_loops.h that makes a tensor's values, and the form in which it takes a row of codes: a dense stream
/// of 4 bits each, or one byte each.
enum class TileForm : std::uint8_t { none, nibbles, bytes, table16, e4m3 };

/// Immutable and thread-safe; keeps the tensor's planes alive. The constructor throws unsupported for opaque codes and
/// unknown tables or grids, invalid_value for a broken permutation or group index.
class Decoder {
 public:
  explicit Decoder(const Tensor& tensor);

  [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] std::uint64_t stored_rows() const noexcept { return geometry_.matrices * geometry_.rows; }
  /// True when every sliced plane has a view: then rows and columns can be picked without reading whole units.
  [[nodiscard]] bool has_views() const noexcept { return has_views_; }
  /// The first column of a window must be a multiple of this (or 0).
  [[nodiscard]] std::uint64_t window_alignment() const noexcept {
    return scheme_.order == Order::identity ? window_alignment_ : std::max<std::uint64_t>(geometry_.cols, 1);
  }

  /// Rows [row_begin, row_end) counted through all matrices, columns [col_begin, col_end), the top left one into
  /// out[0], row by row at a distance of `stride`. With an order other than identity only whole rows.
  void decode(std::uint64_t row_begin, std::uint64_t row_end, std::uint64_t col_begin, std::uint64_t col_end,
              float* out, std::uint64_t stride, DecodeScratch& scratch) const;

  // decoder_tiles.cpp: whole tiles through the loops of tile_loops.h
  [[nodiscard]] TileForm tile_form() const noexcept;  // none: not through them
  [[nodiscard]] std::uint64_t run_cols() const noexcept { return run_cols_; }
  /// What canonical_bytes() flips, and the 16 entries of canonical_table16().
  [[nodiscard]] std::uint8_t tile_flip() const noexcept { return sign_offset() == 0 ? 0 : 0x80; }
  [[nodiscard]] const float* tile_table() const noexcept { return code_table_.data(); }
  /// Fills scales, zeros and adds for tile `unit`. planes[i]: the unit's bytes of a sliced plane, all bytes of another.
  /// False where a parameter does not suit the loops (it is not finite): then decode() has the values.
  [[nodiscard]] bool read_tile_runs(std::uint64_t unit, std::span<const std::byte* const> planes,
                                    TileRunBuffers& buffers) const;

 private:
  enum class Arithmetic : std::uint8_t { binary32, binary64, steps, reference };
  enum class CodeForm : std::uint8_t { integer_bytes, table_bytes, grid, wide };

  struct LevelPlane {
    Level level;
    std::size_t plane;
    bool sliced;
    std::uint64_t rows, cols;             // parameters of one matrix
    std::uint64_t columns_per_parameter;  // 0: one for all columns
    std::vector<double> numbers;          // of every code, for types of at most 8 bits
    std::vector<float> values;            // the same in binary32
    NumberRange range;
    [[nodiscard]] bool is_element() const noexcept {  // the number is the stored one
      return level.multiply == 1 && level.add == 0 && !level.custom_table;
    }
  };
  struct Window {
    std::uint64_t row_begin, row_end, col_begin, col_end;
    [[nodiscard]] std::uint64_t rows() const noexcept { return row_end - row_begin; }
    [[nodiscard]] std::uint64_t cols() const noexcept { return col_end - col_begin; }
  };
  /// Where the output goes: element (r, c) of the window at data[r * stride + c], or at permutation[c] for permuted
  /// columns.
  struct Target {
    float* data;
    std::uint64_t stride;
  };

  // decoder_setup.cpp
  void add_level(const Level& level, std::size_t plane, const PlaneSpec& spec, Bytes scale_table);
  void load_code_tables(Bytes custom_table);
  void check_order(const std::string& tensor_name) const;
  void choose_runs();
  void choose_arithmetic();

  // decoder_planes.cpp: plane bytes -> codes and parameters
  void read_units_of(const Window& window, DecodeScratch& scratch) const;
  [[nodiscard]] std::uint64_t unit_of(std::uint64_t row) const noexcept;
  [[nodiscard]] const std::byte* unit_bytes(std::size_t plane, std::uint64_t row,
                                            const DecodeScratch& scratch) const noexcept;
  void read_levels(const Window& window, DecodeScratch& scratch) const;
  void read_sliced_level(const LevelPlane& plane, const Window& window, std::uint64_t first, std::uint64_t count,
                         double* out, DecodeScratch& scratch) const;
  void read_whole_level(const LevelPlane& plane, const Window& window, std::uint64_t first, std::uint64_t count,
                        double* out, DecodeScratch& scratch) const;
  void convert_elements(const LevelPlane& plane, const std::byte* bytes, std::uint64_t first, std::uint64_t count,
                        double* out, DecodeScratch& scratch) const;
  void read_codes(const Window& window, DecodeScratch& scratch) const;
  void read_grid_row(std::uint64_t row, const Window& window, std::uint8_t* codes, const DecodeScratch& scratch) const;
  void read_numbers(std::uint64_t row, const Window& window, DecodeScratch& scratch) const;

  // decoder.cpp: codes and parameters -> values
  void decode_batch(const Window& window, Target target, DecodeScratch& scratch) const;
  void decode_plain(const Window& window, Target target, DecodeScratch& scratch) const;
  void decode_binary32(const Window& window, Target target, DecodeScratch& scratch) const;
  void decode_row32(const Window& window, const std::uint8_t* codes, const Run* runs, float* out,
                    std::uint64_t count) const;
  void decode_row64(std::uint64_t row, const Window& window, float* out, const DecodeScratch& scratch) const;
  void decode_row_reference(std::uint64_t row, const Window& window, float* out, const DecodeScratch& scratch) const;
  [[nodiscard]] bool make_runs(const Window& window, DecodeScratch& scratch) const;
  [[nodiscard]] float sign_offset() const noexcept;
  [[nodiscard]] static double level_number(std::size_t level, std::uint64_t row, std::uint64_t run,
                                           const DecodeScratch& scratch) noexcept {
    return scratch.levels[level][row * scratch.level_counts[level] + scratch.level_columns[level][run]];
  }
  [[nodiscard]] ElementParts parts_of(std::uint64_t row, std::uint64_t run, const DecodeScratch& scratch) const;
  [[nodiscard]] WideRun wide_run(std::uint64_t row, std::uint64_t run, const DecodeScratch& scratch) const;

  // decoder_tiles.cpp
  [[nodiscard]] bool is_exact_product(std::size_t level_begin, std::size_t level_end,
                                      NumberRange factor) const noexcept;
  [[nodiscard]] bool all_exact_levels() const noexcept;
  [[nodiscard]] bool is_one_fma() const noexcept;
  [[nodiscard]] bool all_finite_codes() const noexcept;
  [[nodiscard]] bool fit_tile_loops(const TileRunBuffers& buffers) const noexcept;
  void read_tile_elements(const LevelPlane& plane, const std::byte* bytes, std::uint64_t first, std::uint64_t count,
                          float* out, std::vector<std::uint8_t>& codes) const;
  void read_tile_level(const LevelPlane& plane, std::uint64_t unit, const std::byte* bytes, std::vector<float>& out,
                       TileRunBuffers& buffers) const;
  template <class RunsEach>
  void round_tile_scales(TileRunBuffers& buffers, std::uint64_t runs, RunsEach runs_each) const;

  // decoder_steps.cpp: rounded_steps
  [[nodiscard]] bool steps_fit_loops() const noexcept;
  void decode_steps(const Window& window, Target target, DecodeScratch& scratch) const;
  void finish_steps(std::uint64_t row, std::uint64_t run, float* values, std::uint64_t count,
                    const DecodeScratch& scratch) const;

  [[nodiscard]] std::uint64_t run_count(const Window& window) const noexcept;
  [[nodiscard]] std::uint64_t chosen_run(std::uint64_t col) const noexcept {  // group_index
    return std::min<std::uint64_t>(group_index_[col], indexed_runs_ - 1);
  }
  [[nodiscard]] std::uint64_t level_cols(std::size_t level, const Window& window) const noexcept;

  Scheme scheme_;
  Geometry geometry_;
  std::shared_ptr<const PlaneSource> source_;
  ElementValue value_;
  std::vector<std::optional<Bytes>> views_;      // by plane; whole planes always have one
  std::vector<std::uint64_t> plane_unit_bytes_;  // by plane; 0 for whole planes
  bool has_views_ = true;
  std::uint64_t window_alignment_ = 1;

  CodeForm code_form_ = CodeForm::integer_bytes;
  std::vector<double> code_numbers_;  // T of every code of at most 8 bits
  std::vector<float> code_table_;     // the same in binary32
  std::vector<std::int8_t> grid_;     // expanded grid
  std::uint32_t grid_width_ = 0;
  std::uint8_t sign_bits_ = 0;
  std::size_t sign_plane_ = 0;      // 0: none
  std::vector<LevelPlane> levels_;  // scale levels, then offset levels
  std::size_t scale_count_ = 0;
  float scale_offset_ = 0;
  std::vector<std::uint32_t> permutation_, group_index_;
  std::uint64_t run_cols_ = 1;      // columns that share all parameters
  std::uint64_t indexed_runs_ = 1;  // parameter columns that group_index chooses from
  bool has_sum_ = false;            // round_sums: a bias, a minimum, or a distributed zero
  bool distribute_zero_ = false;  // scale * code - scale * zero: each is exact in binary64 where the difference is not
  Arithmetic arithmetic_ = Arithmetic::binary32;
  Arithmetic fallback_ = Arithmetic::reference;  // where a scale exceeds largest_scale_
  double largest_scale_ = 0;                     // beyond it a product could overflow before the sum; 0: cannot happen
};

}  // namespace ingot::tensor

// From (shape, scheme, packing) to planes: which exist, their element types, their byte sizes, and how they are cut
// into units that can be streamed. Implements spec/planes.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor/group_layout.h"
#include "format/tensor/scheme.h"

namespace ingot::tensor {

using Shape =
    std::vector<std::uint64_t>;  // outermost first; [out, in] for a linear layer; [experts, out, in] for stacked ones

enum class Packing : std::uint8_t {
  rows,   ///< every plane row-major; each row of codes is a dense bit stream padded to a byte
  tiles,  ///< 16 outputs interleaved word by word (spec/planes.md section 4)
};
[[nodiscard]] std::string_view name(Packing packing) noexcept;

inline constexpr std::uint64_t kTileRows = 16;

/// The row view of a tensor: `matrices` matrices of rows x cols elements. Leading dimensions multiply into matrices; a
/// 1-D tensor is one row; a scalar is 1x1; flat schemes see [ceil(n/flat), flat] with the last row padded.
struct Geometry {
  std::uint64_t matrices = 1;
  std::uint64_t rows = 1;
  std::uint64_t cols = 1;
  std::uint64_t elements = 1;  // logical elements (<= matrices*rows*cols for flat)
  Packing packing = Packing::rows;
  std::uint64_t rows_per_unit = 1;  // 1 for rows, 16 for tiles
  std::uint64_t units_per_matrix = 1;
  std::uint64_t units = 1;  // matrices * units_per_matrix
};
[[nodiscard]] Geometry geometry(const Shape& shape, const Scheme& scheme, Packing packing);

/// tiles for 1..8-bit codes of two or more dimensions (also small floats), rows for everything else.
[[nodiscard]] Packing canonical_packing(const Shape& shape, const Scheme& scheme) noexcept;

/// One plane of a tensor. Unit u of a sliced plane is the byte range [u*unit_bytes, (u+1)*unit_bytes); a whole plane
/// (table, permutation, per-tensor scale, 2-D block scales) is not cut.
struct PlaneSpec {
  std::string
      role;  // "codes", "codes_high", "codes_top", "scales_0", "scales_1", "zero_points", "biases", "mins_0", "mins_1",
             // "table", "scale_table", "scale_offset", "permutation", "group_index", "signs"
  DType type = DType::u8;  // element type (codes: the slice's type)
  Block block;             // of parameters
  bool sliced = true;
  std::uint64_t unit_bytes = 0;  // sliced planes
  std::uint64_t total_bytes = 0;
  std::uint64_t rows = 1;  // parameter rows per matrix (whole planes: ceil(rows/block.rows))
  std::uint64_t cols = 1;  // parameter columns per row (groups)
};

/// All planes of a tensor, codes first, in the order of the role list above. Throws limit_exceeded when sizes overflow.
[[nodiscard]] std::vector<PlaneSpec> plane_specs(const Shape& shape, const Scheme& scheme, Packing packing);

/// How codes of `bits` bits are cut into word planes in tiles packing: {8},{4},{2},{1}; 3={2,1}, 5={4,1}, 6={4,2},
/// 7={4,2,1}.
struct CodeSlices {
  std::uint8_t count;
  std::uint8_t bits[3];  // low slice first
};
[[nodiscard]] CodeSlices code_slices(std::uint8_t bits) noexcept;

// --- One unit of codes, between one byte per code and the canonical packing
// ----------------------------------------------------- `codes` is row-major (rows_per_unit, cols), one code per byte
// (the low `bits` bits), rows beyond the matrix zero. planes[i] points at unit_bytes of slice i (tiles) or of the
// single codes plane (rows). Pure, noexcept, any alignment.
void pack_unit(const Geometry& geometry, std::uint8_t bits, const std::uint8_t* codes,
               std::byte* const planes[3]) noexcept;
void unpack_unit(const Geometry& geometry, std::uint8_t bits, const std::byte* const planes[3],
                 std::uint8_t* codes) noexcept;

// --- One unit of parameters (scales, zero points, ...): (rows_per_unit, cols) row-major elements of `type` <->
// canonical ----------- For tiles the canonical order is [col][16]; sub-byte types are dense, lowest bits first, one
// byte per element on the plain side.
void pack_parameters(const Geometry& geometry, DType type, std::uint64_t cols, const std::byte* plain,
                     std::byte* plane) noexcept;
void unpack_parameters(const Geometry& geometry, DType type, std::uint64_t cols, const std::byte* plane,
                       std::byte* plain) noexcept;

}  // namespace ingot::tensor

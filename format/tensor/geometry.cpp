// Which planes a tensor has and how large they are. Implements spec/planes.md sections 1 to 4.2.
#include "format/tensor/geometry.h"

#include "format/base/checked_math.h"
#include "format/tensor/grids.h"
#include "format/tensor/tables.h"

namespace ingot::tensor {
namespace {

constexpr std::size_t kMaxRank = 8;
constexpr std::uint64_t kMaxCount = (std::uint64_t{1} << 53) - 1;   // extents, elements, bytes of a plane
constexpr std::uint64_t kMaxPermutedCols = std::uint64_t{1} << 32;  // entries of a permutation are u32
constexpr std::uint64_t kSignRun = 8;                               // columns per element of plane `signs`

std::uint64_t limited(std::uint64_t count, std::string_view what) {
  if (count > kMaxCount)
    throw Error(ErrorKind::limit_exceeded, std::string(what) + ": " + std::to_string(count) + ", limit 2^53 - 1");
  return count;
}

/// Quantized codes that can be interleaved word by word.
bool fits_tiles(const Scheme& scheme) noexcept {
  return (scheme.codes.kind == CodeKind::number || scheme.codes.kind == CodeKind::table) &&
         bits(scheme.codes.type) <= 8 && scheme.flat == 0 && !scheme.is_plain();
}

class PlaneList {
 public:
  PlaneList(const Geometry& geometry, const Scheme& scheme) : geometry_(geometry), scheme_(scheme) {}

  void add_codes() {
    if (scheme_.codes.kind == CodeKind::grid) return add_grid_codes();
    const std::uint8_t code_bits = bits(scheme_.codes.type);
    if (geometry_.packing == Packing::rows)
      return add_sliced("codes", scheme_.codes.type, geometry_.cols, row_bytes(scheme_.codes.type));
    const CodeSlices slices = code_slices(code_bits);
    constexpr std::string_view kRoles[] = {"codes", "codes_high", "codes_top"};
    for (std::size_t i = 0; i < slices.count; ++i) {
      const std::uint64_t words = ceil_div(geometry_.cols, 32u / slices.bits[i]);
      const DType type = slices.count == 1     ? scheme_.codes.type
                         : slices.bits[i] == 4 ? DType::u4
                         : slices.bits[i] == 2 ? DType::u2
                                               : DType::u1;
      add_sliced(kRoles[i], type, geometry_.cols, checked_mul(words, kLineBytes, "bytes of a tile"));
    }
  }

  void add_level(std::string role, const Level& level) {
    PlaneSpec spec;
    spec.role = std::move(role);
    spec.type = level.type;
    spec.block = level.block;
    spec.cols = level.block.cols == 0 ? 1 : ceil_div(geometry_.cols, level.block.cols);
    if (level.block.rows == 1) {
      spec.rows = geometry_.rows;
      spec.unit_bytes =
          dense_bytes(level.type, checked_mul(spec.cols, geometry_.rows_per_unit, "parameters of a unit"));
      spec.total_bytes = checked_mul(spec.unit_bytes, geometry_.units, "bytes of a plane");
    } else {
      spec.sliced = false;
      spec.rows = level.block.rows == 0 ? 1 : ceil_div(geometry_.rows, level.block.rows);
      const std::uint64_t extents[] = {geometry_.matrices, spec.rows, spec.cols};
      spec.total_bytes = dense_bytes(level.type, checked_product(extents, "parameters"));
    }
    push(std::move(spec));
  }

  void add_whole(std::string role, DType type, std::uint64_t count) {
    PlaneSpec spec;
    spec.role = std::move(role);
    spec.type = type;
    spec.sliced = false;
    spec.cols = count;
    spec.total_bytes = dense_bytes(type, count);
    push(std::move(spec));
  }

  [[nodiscard]] std::vector<PlaneSpec> take() { return std::move(planes_); }

 private:
  [[nodiscard]] std::uint64_t row_bytes(DType type) const { return dense_bytes(type, geometry_.cols); }

  void add_grid_codes() {
    const Grid* grid = find_grid(scheme_.codes.table);
    if (grid == nullptr)
      throw Error(ErrorKind::unsupported, "grid \"" + scheme_.codes.table + "\" is not known to this build");
    if (geometry_.cols % kSignRun != 0) {
      throw Error(ErrorKind::invalid_value,
                  "grid codes need a multiple of 8 columns, got " + std::to_string(geometry_.cols));
    }
    if (grid->entries != std::uint32_t{1} << bits(scheme_.codes.type)) {
      throw Error(ErrorKind::invalid_value, "grid " + scheme_.codes.table + " has " + std::to_string(grid->entries) +
                                                " entries, codes are " + std::string(name(scheme_.codes.type)));
    }
    const std::uint64_t indexes = geometry_.cols / grid->width, runs = geometry_.cols / kSignRun;
    add_sliced("codes", scheme_.codes.type, indexes, dense_bytes(scheme_.codes.type, indexes));
    if (grid->sign_bits == 0) return;
    const DType sign_type = grid->sign_bits == 7 ? DType::u7 : DType::u8;
    add_sliced("signs", sign_type, runs, dense_bytes(sign_type, runs));
  }

  void add_sliced(std::string_view role, DType type, std::uint64_t cols, std::uint64_t unit_bytes) {
    PlaneSpec spec;
    spec.role = role;
    spec.type = type;
    spec.block = {1, 1};
    spec.rows = geometry_.rows;
    spec.cols = cols;
    spec.unit_bytes = unit_bytes;
    spec.total_bytes = checked_mul(unit_bytes, geometry_.units, "bytes of a plane");
    push(std::move(spec));
  }

  void push(PlaneSpec spec) {
    limited(spec.total_bytes, "bytes of plane " + spec.role);
    planes_.push_back(std::move(spec));
  }

  const Geometry& geometry_;
  const Scheme& scheme_;
  std::vector<PlaneSpec> planes_;
};

}  // namespace

std::string_view name(Packing packing) noexcept { return packing == Packing::rows ? "rows" : "tiles"; }

Geometry geometry(const Shape& shape, const Scheme& scheme, Packing packing) {
  if (shape.size() > kMaxRank)
    throw Error(ErrorKind::limit_exceeded, "rank " + std::to_string(shape.size()) + ", limit 8");
  if (packing == Packing::tiles && !fits_tiles(scheme)) {
    throw Error(ErrorKind::invalid_value,
                "packing tiles needs quantized codes of 1 to 8 bits without flat, got " + describe(scheme));
  }
  for (const std::uint64_t extent : shape) limited(extent, "extent");
  Geometry geometry;
  geometry.elements = limited(checked_product(shape, "elements"), "elements");
  geometry.packing = packing;
  if (scheme.flat != 0) {
    geometry.rows = ceil_div(geometry.elements, scheme.flat);
    geometry.cols = scheme.flat;
  } else if (!shape.empty()) {
    geometry.cols = shape.back();
    geometry.rows = shape.size() < 2 ? 1 : shape[shape.size() - 2];
    geometry.matrices = shape.size() < 3 ? 1 : checked_product(std::span(shape).first(shape.size() - 2), "matrices");
  }
  geometry.rows_per_unit = packing == Packing::tiles ? kTileRows : 1;
  geometry.units_per_matrix = ceil_div(geometry.rows, geometry.rows_per_unit);
  geometry.units = limited(checked_mul(geometry.matrices, geometry.units_per_matrix, "units"), "units");
  return geometry;
}

Packing canonical_packing(const Shape& shape, const Scheme& scheme) noexcept {
  const bool worth_it = shape.size() >= 2 && shape[shape.size() - 2] >= kTileRows;
  return worth_it && fits_tiles(scheme) ? Packing::tiles : Packing::rows;
}

std::vector<PlaneSpec> plane_specs(const Shape& shape, const Scheme& scheme, Packing packing) {
  const Geometry view = geometry(shape, scheme, packing);
  PlaneList list(view, scheme);
  list.add_codes();
  for (std::size_t i = 0; i < scheme.scales.size(); ++i)
    list.add_level("scales_" + std::to_string(i), scheme.scales[i]);
  const std::vector<Level>& offsets = scheme.offset.levels;
  if (scheme.offset.kind == OffsetKind::zero_points) list.add_level("zero_points", offsets[0]);
  if (scheme.offset.kind == OffsetKind::bias) list.add_level("biases", offsets[0]);
  if (scheme.offset.kind == OffsetKind::minimum) {
    for (std::size_t i = 0; i < offsets.size(); ++i) list.add_level("mins_" + std::to_string(i), offsets[i]);
  }
  if (scheme.codes.kind == CodeKind::table && scheme.codes.table == kCustomTable) {
    list.add_whole("table", DType::f32, std::uint64_t{1} << bits(scheme.codes.type));
  }
  for (const Level& level : scheme.scales) {
    if (level.custom_table) list.add_whole("scale_table", DType::f32, std::uint64_t{1} << bits(level.type));
  }
  if (scheme.scale_offset) list.add_whole("scale_offset", DType::f32, 1);
  if (scheme.order == Order::permutation && view.cols > kMaxPermutedCols) {
    throw Error(ErrorKind::invalid_value, "a permutation takes at most 2^32 columns, got " + std::to_string(view.cols));
  }
  if (scheme.order == Order::permutation) list.add_whole("permutation", DType::u32, view.cols);
  if (scheme.order == Order::group_index) list.add_whole("group_index", DType::u32, view.cols);
  return list.take();
}

CodeSlices code_slices(std::uint8_t bits) noexcept {
  constexpr CodeSlices kSlices[] = {{1, {1, 0, 0}}, {1, {2, 0, 0}}, {2, {2, 1, 0}}, {1, {4, 0, 0}},
                                    {2, {4, 1, 0}}, {2, {4, 2, 0}}, {3, {4, 2, 1}}, {1, {8, 0, 0}}};
  return kSlices[(bits - 1u) % 8];
}

}  // namespace ingot::tensor

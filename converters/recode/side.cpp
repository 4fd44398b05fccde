// Reading stored tensors: facts of their planes, rows of parameters and codes.
#include "converters/recode/side.h"

#include <algorithm>
#include <cstring>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/tensor/element_numbers.h"
#include "format/tensor/packing.h"
#include "format/tensor/tables.h"

namespace ingot::convert::recoding {
namespace {

using tensor::CodeKind;
using tensor::Order;
using tensor::PlaneSpec;

constexpr std::uint64_t kRunElems = 1 << 14, kMaxRunUnits = 256;

std::vector<float> floats(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = load_le<float>(bytes.data() + i * sizeof(float));
  return values;
}

std::vector<std::byte> whole_plane(const tensor::Tensor& tensor, const Side& side, std::string_view role) {
  const std::size_t index = side.plane(role);
  if (index == side.specs.size()) return {};
  const Bytes bytes = tensor.planes->whole(index);
  if (bytes.size() != side.specs[index].total_bytes) {
    throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": plane " + std::string(role) + " holds " +
                                              std::to_string(bytes.size()) + " bytes, expected " +
                                              std::to_string(side.specs[index].total_bytes));
  }
  return {bytes.begin(), bytes.end()};
}

std::vector<std::uint32_t> checked_order(const tensor::Tensor& tensor, const Side& side, std::string_view role) {
  const std::vector<std::byte> bytes = whole_plane(tensor, side, role);
  std::vector<std::uint32_t> order(bytes.size() / 4);
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = load_le<std::uint32_t>(bytes.data() + 4 * i);
  std::vector<bool> seen(side.scheme.order == Order::permutation ? order.size() : 0);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (order[i] >= seen.size() || seen[order[i]]) {
      throw Error(ErrorKind::invalid_value, "tensor " + tensor.name +
                                                ": plane permutation is not a permutation (entry " + std::to_string(i) +
                                                " is " + std::to_string(order[i]) + ")");
    }
    seen[order[i]] = true;
  }
  return order;
}

Side side_of(const tensor::Shape& stored_shape, const tensor::Scheme& scheme, tensor::Packing packing) {
  Side side;
  side.scheme = scheme;
  side.geometry = tensor::geometry(stored_shape, scheme, packing);
  side.specs = tensor::plane_specs(stored_shape, scheme, packing);
  side.code_planes = 0;
  while (side.code_planes < side.specs.size() && side.specs[side.code_planes].role.starts_with("codes"))
    ++side.code_planes;
  return side;
}

}  // namespace

std::size_t Side::plane(std::string_view role) const noexcept {
  const auto at = std::find_if(specs.begin(), specs.end(), [&](const PlaneSpec& spec) { return spec.role == role; });
  return static_cast<std::size_t>(at - specs.begin());
}

std::vector<std::uint32_t> Side::parameter_columns(const LevelPlane& level) const {
  std::vector<std::uint32_t> columns(geometry.cols, 0);
  const std::uint64_t group = level.level.block.cols;
  if (group == 0) return columns;
  if (scheme.order == Order::identity) {
    for (std::uint64_t c = 0; c < geometry.cols; c += group) {
      const auto run = static_cast<std::ptrdiff_t>(std::min(group, geometry.cols - c));
      std::fill_n(columns.begin() + static_cast<std::ptrdiff_t>(c), run, static_cast<std::uint32_t>(c / group));
    }
    return columns;
  }
  for (std::uint64_t c = 0; c < geometry.cols; ++c) {
    if (scheme.order == Order::group_index)
      columns[c] = order[c];
    else
      columns[scheme.order == Order::permutation ? order[c] : c] = static_cast<std::uint32_t>(c / group);
  }
  return columns;
}

void add_levels(Side& side) {
  const std::vector<float> table = floats(side.scale_table);
  std::size_t next = side.code_planes;
  if (next < side.specs.size() && side.specs[next].role == "signs") ++next;
  const auto add = [&](const tensor::Level& level) {
    const PlaneSpec& spec = side.specs[next];
    side.levels.push_back({level, next++, spec.sliced, spec.rows, spec.cols, ElementCodec(level, table)});
  };
  for (const tensor::Level& level : side.scheme.scales) add(level);
  side.scale_count = side.levels.size();
  for (const tensor::Level& level : side.scheme.offset.levels) add(level);
}

void load_code_numbers(Side& side) {
  const tensor::Codes& codes = side.scheme.codes;
  if (tensor::bits(codes.type) > 8) return;
  if (codes.kind == CodeKind::number) {
    side.code_numbers = tensor::numbers_of_codes(codes.type);
  } else if (codes.kind == CodeKind::table && codes.table == tensor::kCustomTable) {
    const std::vector<float> table = floats(side.table);
    side.code_numbers.assign(table.begin(), table.end());
  } else if (codes.kind == CodeKind::table) {
    if (const tensor::CodeTable* table = tensor::find_code_table(codes.table))
      side.code_numbers.assign(table->entries.begin(), table->entries.end());
  }
}

Side source_side(const tensor::Tensor& tensor) {
  Side side = side_of(tensor.stored_shape(), tensor.scheme, tensor.packing);
  side.table = whole_plane(tensor, side, "table");
  side.scale_table = whole_plane(tensor, side, "scale_table");
  const std::vector<std::byte> offset = whole_plane(tensor, side, "scale_offset");
  if (!offset.empty()) side.scale_offset = load_le<float>(offset.data());
  if (tensor.scheme.order == Order::permutation) side.order = checked_order(tensor, side, "permutation");
  if (tensor.scheme.order == Order::group_index) side.order = checked_order(tensor, side, "group_index");
  add_levels(side);
  for (const LevelPlane& level : side.levels) {
    if (tensor.scheme.order != Order::group_index || level.level.block.cols == 0) continue;
    for (std::size_t c = 0; c < side.order.size(); ++c) {
      if (side.order[c] < level.cols) continue;
      throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": group_index of column " + std::to_string(c) +
                                                " is " + std::to_string(side.order[c]) + ", but there are " +
                                                std::to_string(level.cols) + " parameter columns");
    }
  }
  load_code_numbers(side);
  return side;
}

Side wanted_side(const tensor::Shape& stored_shape, const tensor::Scheme& scheme) {
  return side_of(stored_shape, scheme, tensor::canonical_packing(stored_shape, scheme));
}

StoredRows::StoredRows(const tensor::Tensor& tensor, const Side& side, bool with_codes)
    : tensor_(tensor),
      side_(side),
      with_codes_(with_codes),
      code_bits_(tensor::bits(side.scheme.codes.type)),
      units_per_run_(
          side.geometry.packing == tensor::Packing::tiles
              ? 1
              : std::clamp<std::uint64_t>(kRunElems / std::max<std::uint64_t>(side.geometry.cols, 1), 1, kMaxRunUnits)),
      whole_row_(side.levels.size(), ~std::uint64_t{0}),
      whole_(side.levels.size()) {
  for (std::size_t i = 0; i < side.specs.size(); ++i) {
    views_.push_back(side.specs[i].sliced ? tensor.planes->view(i) : std::optional<Bytes>(tensor.planes->whole(i)));
    if (!views_[i] || views_[i]->size() == side.specs[i].total_bytes) continue;
    throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": plane " + side.specs[i].role + " holds " +
                                              std::to_string(views_[i]->size()) + " bytes, expected " +
                                              std::to_string(side.specs[i].total_bytes));
  }
}

StoredRows::StoredRows(const tensor::Tensor& tensor, const Side& side, std::size_t only_level)
    : StoredRows(tensor, side, false) {
  only_plane_ = side.levels[only_level].plane;
}

void StoredRows::load(Run& run, std::uint64_t index) {
  run.index = index;
  run.units = std::min(units_per_run_, side_.geometry.units - index * units_per_run_);
  run.bytes.resize(side_.specs.size());
  run.at.assign(side_.specs.size(), nullptr);
  run.numbers.assign(side_.levels.size(), {});
  load_planes(run, with_codes_, true);
}

void StoredRows::load_planes(Run& run, bool codes, bool parameters) {
  const std::uint64_t begin = run.index * units_per_run_;
  std::vector<std::byte*> wanted(side_.specs.size(), nullptr);
  bool any = false;
  for (std::size_t i = 0; i < side_.specs.size(); ++i) {
    const PlaneSpec& spec = side_.specs[i];
    if (!spec.sliced || !(i < side_.code_planes ? codes : parameters && i == only_plane_.value_or(i))) continue;
    if (views_[i]) {
      run.at[i] = views_[i]->data() + begin * spec.unit_bytes;
      continue;
    }
    run.bytes[i].resize(run.units * spec.unit_bytes);
    run.at[i] = wanted[i] = run.bytes[i].data();
    any = true;
  }
  if (any) tensor_.planes->read_units(begin, begin + run.units, wanted);
}

StoredRows::Place StoredRows::place_of(std::uint64_t row) {
  const tensor::Geometry& view = side_.geometry;
  const std::uint64_t unit = row / view.rows * view.units_per_matrix + row % view.rows / view.rows_per_unit;
  const std::uint64_t index = unit / units_per_run_;
  const std::uint64_t in_run = unit % units_per_run_, in_unit = row % view.rows % view.rows_per_unit;
  for (Run& run : runs_)
    if (run.index == index) return {run, in_run, in_unit};
  Run& run = runs_[next_++ % kRuns];
  load(run, index);
  return {run, in_run, in_unit};
}

StoredRows::Numbers StoredRows::whole_numbers(std::size_t level, std::uint64_t row) {
  const LevelPlane& plane = side_.levels[level];
  const std::uint64_t block_rows = plane.level.block.rows;
  const std::uint64_t in_matrix = row % side_.geometry.rows;
  const std::uint64_t index = row / side_.geometry.rows * plane.rows + (block_rows == 0 ? 0 : in_matrix / block_rows);
  std::vector<double>& numbers = whole_[level];
  if (whole_row_[level] == index) return {numbers.data(), 1};
  whole_row_[level] = index;
  numbers.resize(plane.cols);
  const std::byte* bytes = views_[plane.plane]->data();
  const std::uint8_t element_bits = tensor::bits(plane.level.type);
  if (element_bits >= 8) {
    plane.codec.decode(bytes + index * plane.cols * plane.codec.element_bytes(), plane.cols, numbers.data());
  } else {
    plain_.resize(plane.cols);
    for (std::uint64_t c = 0; c < plane.cols; ++c)
      plain_[c] = static_cast<std::uint8_t>(tensor::dense_element(element_bits, bytes, index * plane.cols + c));
    plane.codec.decode(reinterpret_cast<const std::byte*>(plain_.data()), plane.cols, numbers.data());
  }
  return {numbers.data(), 1};
}

StoredRows::Numbers StoredRows::numbers(std::size_t level, std::uint64_t row) {
  const LevelPlane& plane = side_.levels[level];
  if (!plane.sliced) return whole_numbers(level, row);
  const Place place = place_of(row);
  std::vector<double>& numbers = place.run.numbers[level];
  const std::uint64_t rows = side_.geometry.rows_per_unit, unit_numbers = plane.cols * rows;
  if (numbers.empty() && plane.cols > 0) decode_level(place.run, level);
  return {numbers.data() + place.unit * unit_numbers + place.row, rows};
}

void StoredRows::decode_level(Run& run, std::size_t level) {
  const LevelPlane& plane = side_.levels[level];
  const std::uint64_t unit_numbers = plane.cols * side_.geometry.rows_per_unit;
  const std::uint64_t unit_bytes = side_.specs[plane.plane].unit_bytes;
  const std::uint8_t element_bits = tensor::bits(plane.level.type);
  std::vector<double>& numbers = run.numbers[level];
  numbers.resize(unit_numbers * run.units);
  const std::byte* bytes = run.at[plane.plane];
  if (element_bits < 8) {
    plain_.resize(numbers.size());
    for (std::uint64_t unit = 0; unit < run.units; ++unit) {
      tensor::unpack_dense(element_bits, bytes + unit * unit_bytes, 0, unit_numbers,
                           plain_.data() + unit * unit_numbers);
    }
    bytes = reinterpret_cast<const std::byte*>(plain_.data());
  }
  plane.codec.decode(bytes, numbers.size(), numbers.data());
}

void StoredRows::codes(std::uint64_t row, std::uint64_t begin, std::uint64_t end, std::uint8_t* out) {
  const Place place = place_of(row);
  if (place.run.at[0] == nullptr) load_planes(place.run, true, false);
  const std::byte* planes[3] = {};
  for (std::size_t i = 0; i < side_.code_planes; ++i)
    planes[i] = place.run.at[i] + place.unit * side_.specs[i].unit_bytes;
  const std::uint64_t aligned = begin / tensor::kWindowCols * tensor::kWindowCols;
  if (aligned == begin) {
    tensor::unpack_row(side_.geometry.packing, code_bits_, planes, place.row, begin, end, out);
    return;
  }
  plain_.resize(end - aligned);
  tensor::unpack_row(side_.geometry.packing, code_bits_, planes, place.row, aligned, end, plain_.data());
  std::copy(plain_.begin() + static_cast<std::ptrdiff_t>(begin - aligned), plain_.end(), out);
}

}  // namespace ingot::convert::recoding

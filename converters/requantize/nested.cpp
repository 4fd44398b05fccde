#include "converters/requantize/nested.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <vector>

#include "format/base/checked_math.h"
#include "format/base/error.h"
#include "format/base/parallel.h"

namespace ingot::convert::quantizers {
namespace {

using tensor::DType;
using tensor::Scheme;
using tensor::Tensor;

constexpr std::uint64_t kNestedBlock = 256;
constexpr std::size_t kEntries = 256, kPlaces = 65536;

// --- The mean as torch sums: lanes of 8, four running sums each, in levels so that errors stay small
// ------------------
constexpr std::size_t kLanes = 8, kRows = 4, kLevels = 4;
using Lanes = std::array<float, kLanes>;

void add(Lanes& sum, const float* values) noexcept {
  for (std::size_t lane = 0; lane < kLanes; ++lane) sum[lane] += values[lane];
}

/// Four sums of every fourth run of 8 values, over `count` groups of four runs.
std::array<Lanes, kRows> sums_in_levels(const float* values, std::uint64_t count) noexcept {
  const auto width = static_cast<unsigned>(std::bit_width(count > 1 ? count - 1 : 0));
  const unsigned power = std::max(4u, width / static_cast<unsigned>(kLevels));
  const std::uint64_t step = std::uint64_t{1} << power, mask = step - 1;
  std::array<std::array<Lanes, kRows>, kLevels> levels{};
  const auto add_group = [&](std::uint64_t group) {
    for (std::size_t row = 0; row < kRows; ++row) add(levels[0][row], values + (group * kRows + row) * kLanes);
  };
  std::uint64_t done = 0;
  while (done + step <= count) {
    for (std::uint64_t i = 0; i < step; ++i) add_group(done++);
    for (std::size_t level = 1; level < kLevels; ++level) {
      for (std::size_t row = 0; row < kRows; ++row) {
        add(levels[level][row], levels[level - 1][row].data());
        levels[level - 1][row] = {};
      }
      if ((done & mask << level * power) != 0) break;
    }
  }
  while (done < count) add_group(done++);
  for (std::size_t level = 1; level < kLevels; ++level)
    for (std::size_t row = 0; row < kRows; ++row) add(levels[0][row], levels[level][row].data());
  return levels[0];
}

float mean(const std::vector<float>& values) noexcept {
  const std::uint64_t runs = values.size() / kLanes, groups = runs / kRows;
  std::array<Lanes, kRows> sums = sums_in_levels(values.data(), groups);
  for (std::uint64_t run = groups * kRows; run < runs; ++run) add(sums[0], values.data() + run * kLanes);
  for (std::size_t row = 1; row < kRows; ++row) add(sums[0], sums[row].data());
  float sum = 0;
  for (std::uint64_t i = runs * kLanes; i < values.size(); ++i) sum += values[i];
  for (const float lane : sums[0]) sum += lane;
  return sum / static_cast<float>(values.size());
}

// --- The table and its look-up --------------------------------------------------------------------------------------
/// torch.linspace(0.1, 1, count): from both ends, the product not rounded on its own.
float between(std::size_t i, std::size_t count) noexcept {
  const float step = (1.0f - 0.1f) / static_cast<float>(count - 1);
  if (i < count / 2) return static_cast<float>(double{0.1f} + double{step} * static_cast<double>(i));
  return static_cast<float>(1.0 - double{step} * static_cast<double>(count - 1 - i));
}

/// Seven ranges of powers of ten, each cut twice as finely as the one before, both signs; 0 and 1.
std::array<float, kEntries> make_table() {
  constexpr std::size_t kRanges = 7;
  std::array<float, kEntries> table{};
  std::size_t next = 0;
  for (std::size_t range = 0; range < kRanges; ++range) {
    const std::size_t count = (std::size_t{1} << range) + 1;
    const auto power = static_cast<float>(std::pow(10.0, static_cast<double>(range) - (kRanges - 1)));
    for (std::size_t i = 0; i + 1 < count; ++i) {
      const float entry = power * ((between(i, count) + between(i + 1, count)) / 2);
      table[next++] = entry;
      table[next++] = -entry;
    }
  }
  table[next++] = 0;
  table[next] = 1;
  std::sort(table.begin(), table.end());
  return table;
}

const std::array<float, kEntries>& table() {
  static const std::array<float, kEntries> entries = make_table();
  return entries;
}

/// The code nearest to -1 + 2 i / 65535, for every i.
std::vector<std::uint8_t> make_places() {
  std::vector<std::uint8_t> places(kPlaces);
  std::size_t code = 0;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    const float value = -1.0f + 2.0f * static_cast<float>(i) / static_cast<float>(kPlaces - 1);
    while (code + 1 < kEntries && 0.5f * (table()[code] + table()[code + 1]) < value) ++code;
    places[i] = static_cast<std::uint8_t>(code);
  }
  return places;
}

/// Code of a scale less the mean, of a block whose largest such magnitude is `magnitude`.
std::uint8_t code_of(float difference, float magnitude) {
  static const std::vector<std::uint8_t> places = make_places();
  if (magnitude == 0) return 0;
  const float value = std::clamp(difference * (1.0f / magnitude), -1.0f, 1.0f);
  return places[static_cast<std::size_t>((value + 1.0f) * 0.5f * static_cast<float>(kPlaces - 1) + 0.5f)];
}

// --- Planes ----------------------------------------------------------------------------------------------------------
class NestedPlanes final : public tensor::PlaneSource {
 public:
  NestedPlanes(Tensor single, const Tensor& target)
      : single_(std::move(single)), geometry_(target.geometry()), specs_(target.plane_specs()) {
    while (specs_[scales_].role != "scales_0") ++scales_;
    const tensor::PlaneSpec& outer = specs_[scales_ + 1];
    const std::uint64_t blocks = geometry_.matrices * geometry_.rows * row_blocks();
    const bool fits = outer.sliced ? outer.cols * kNestedBlock == row_blocks()
                                   : outer.total_bytes == ceil_div(blocks, kNestedBlock) * sizeof(float);
    if (!fits)
      throw Error(ErrorKind::unsupported, "tensor " + target.name + ": nothing rounds values to " +
                                              tensor::describe(target.scheme) + " (256 scales share a scale)");
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    return specs_[index].sliced ? std::nullopt : std::optional(whole(index));
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override {
    if (specs_[index].role == "scale_table") return std::as_bytes(std::span(table()));
    std::call_once(once_, [this] { find_outer(); });
    if (specs_[index].role == "scale_offset") return std::as_bytes(std::span(&offset_, 1));
    return std::as_bytes(std::span(outer_));
  }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override;

 private:
  [[nodiscard]] std::uint64_t row_blocks() const noexcept { return specs_[scales_].cols; }
  /// Rows of the matrices before a unit.
  [[nodiscard]] std::uint64_t first_row(std::uint64_t unit) const noexcept {
    return unit / geometry_.units_per_matrix * geometry_.rows +
           unit % geometry_.units_per_matrix * geometry_.rows_per_unit;
  }
  [[nodiscard]] std::uint64_t rows_in(std::uint64_t unit) const noexcept {
    return std::min(geometry_.rows_per_unit,
                    geometry_.rows - unit % geometry_.units_per_matrix * geometry_.rows_per_unit);
  }
  /// The scales of a unit, row by row.
  void read_scales(const std::byte* plane, std::vector<float>& scales) const {
    scales.resize(geometry_.rows_per_unit * row_blocks());
    tensor::unpack_parameters(geometry_, DType::f32, row_blocks(), plane,
                              std::as_writable_bytes(std::span(scales)).data());
  }
  void find_outer() const;

  Tensor single_;
  tensor::Geometry geometry_;
  std::vector<tensor::PlaneSpec> specs_;
  std::size_t scales_ = 0;  // index of the plane of codes of scales; those before it are those of `single_`
  mutable std::once_flag once_;
  mutable std::vector<float> outer_;  // scales of scales, in row-major order
  mutable float offset_ = 0;
};

void NestedPlanes::find_outer() const {
  const std::uint64_t rows = geometry_.matrices * geometry_.rows;
  std::vector<float> all(rows * row_blocks());
  const std::uint64_t unit_bytes = single_.plane_specs()[scales_].unit_bytes;
  parallel_for(geometry_.units, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    std::vector<std::byte> plane(unit_bytes);
    std::vector<std::byte*> out(single_.plane_specs().size(), nullptr);
    std::vector<float> scales;
    out[scales_] = plane.data();
    for (std::uint64_t unit = begin; unit < end; ++unit) {
      single_.planes->read_units(unit, unit + 1, out);
      read_scales(plane.data(), scales);
      std::copy_n(scales.begin(), rows_in(unit) * row_blocks(),
                  all.begin() + static_cast<std::ptrdiff_t>(first_row(unit) * row_blocks()));
    }
  });
  offset_ = mean(all);
  outer_.resize(ceil_div(all.size(), kNestedBlock));
  for (std::size_t i = 0; i < all.size(); ++i)
    outer_[i / kNestedBlock] = std::max(outer_[i / kNestedBlock], std::fabs(all[i] - offset_));
}

void NestedPlanes::read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const {
  std::call_once(once_, [this] { find_outer(); });
  const std::uint64_t unit_bytes = single_.plane_specs()[scales_].unit_bytes;
  std::vector<std::byte> plane((unit_end - unit_begin) * unit_bytes);
  std::vector<std::byte*> inner(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(std::min(scales_, out.size())));
  inner.resize(scales_, nullptr);
  inner.push_back(plane.data());
  single_.planes->read_units(unit_begin, unit_end, inner);
  std::vector<float> scales;
  std::vector<std::byte> codes(geometry_.rows_per_unit * row_blocks());
  for (std::uint64_t unit = unit_begin; unit < unit_end; ++unit) {
    const std::uint64_t first = first_row(unit) * row_blocks(), count = rows_in(unit) * row_blocks();
    read_scales(plane.data() + (unit - unit_begin) * unit_bytes, scales);
    std::fill(codes.begin(), codes.end(), std::byte{0});
    for (std::uint64_t i = 0; i < count; ++i)
      codes[i] = std::byte{code_of(scales[i] - offset_, outer_[(first + i) / kNestedBlock])};
    for (std::size_t i = scales_; i < std::min(specs_.size(), out.size()); ++i) {
      const tensor::PlaneSpec& spec = specs_[i];
      if (out[i] == nullptr || !spec.sliced) continue;
      std::byte* at = out[i] + (unit - unit_begin) * spec.unit_bytes;
      if (i == scales_) {
        tensor::pack_parameters(geometry_, spec.type, spec.cols, codes.data(), at);
      } else {  // scales of scales that lie within rows
        std::vector<float> outer(geometry_.rows_per_unit * spec.cols);
        std::copy_n(outer_.begin() + static_cast<std::ptrdiff_t>(first_row(unit) * spec.cols),
                    rows_in(unit) * spec.cols, outer.begin());
        tensor::pack_parameters(geometry_, spec.type, spec.cols, std::as_bytes(std::span(outer)).data(), at);
      }
    }
  }
}

}  // namespace

bool is_nested(const Scheme& scheme) noexcept {
  const bool table =
      scheme.codes.kind == tensor::CodeKind::table && (scheme.codes.table == "nf4" || scheme.codes.table == "fp4");
  if (!table || scheme.scales.size() != 2 || !scheme.scales[0].custom_table || !scheme.scale_offset) return false;
  const tensor::Level& inner = scheme.scales[0];
  const tensor::Level& outer = scheme.scales[1];
  if (inner.type != DType::u8 || outer.type != DType::f32 || !scheme.rounded_scale) return false;
  if (scheme.flat != 0) return outer.block == tensor::Block{kNestedBlock, 0};
  return inner.block.rows == 1 && inner.block.cols != 0;
}

Scheme without_nesting(const Scheme& scheme) {
  Scheme single = scheme;
  single.scales.pop_back();
  single.scales[0].type = DType::f32;
  single.scales[0].custom_table = false;
  single.rounded_scale = single.scale_offset = false;
  return single;
}

std::shared_ptr<const tensor::PlaneSource> nested_planes(Tensor single, const Tensor& target) {
  return std::make_shared<NestedPlanes>(std::move(single), target);
}

}  // namespace ingot::convert::quantizers

// Rounding values to the nearest numbers of a quantized scheme, unit by unit, by the plain algorithm of the library
// that owns it. Implements spec/quantizers.md.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "converters/recode/elements.h"
#include "converters/recode/pieces.h"
#include "converters/recode/recode.h"
#include "converters/requantize/blocks.h"
#include "converters/requantize/by_library.h"
#include "converters/requantize/nested.h"
#include "format/base/checked_math.h"
#include "format/base/error.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"

namespace ingot::convert {
namespace {

using quantizers::BlockNumbers;
using quantizers::Extremes;
using quantizers::Quantizer;
using tensor::DType;
using tensor::Geometry;
using tensor::Scheme;
using tensor::Tensor;
using tensor::TransformKind;

const Quantizer* find_in(std::span<const Quantizer> rows, const Scheme& scheme) noexcept {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const Quantizer& row) { return row.matches(scheme); });
  return found != rows.end() ? &*found : nullptr;
}

const Quantizer* find_quantizer(const Scheme& scheme) noexcept {
  for (const auto& rows : {quantizers::kGgufQuantizers, quantizers::kMlxQuantizers, quantizers::kTableQuantizers,
                           quantizers::kCompressedTensorsQuantizers})
    if (const Quantizer* row = find_in(rows, scheme)) return row;
  return find_in(quantizers::compressed_float_quantizers(DType::f32), scheme);
}

void widen_one_by_one(Extremes& extremes, const float* values, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    extremes.least = std::min(extremes.least, values[i]);
    extremes.greatest = std::max(extremes.greatest, values[i]);
    if (std::fabs(values[i]) > std::fabs(extremes.farthest)) extremes.farthest = values[i];
  }
}

/// The same in several lanes, which tell all but the sign of a zero and which of two opposite values came first.
void widen(Extremes& extremes, const float* values, std::uint64_t count) noexcept {
  constexpr std::uint64_t kLanes = 8;
  if (count < 2 * kLanes) return widen_one_by_one(extremes, values, count);
  float least[kLanes], greatest[kLanes];
  std::copy_n(values, kLanes, least);
  std::copy_n(values, kLanes, greatest);
  const std::uint64_t whole = count / kLanes * kLanes;
  for (std::uint64_t i = kLanes; i < whole; i += kLanes) {
    for (std::uint64_t k = 0; k < kLanes; ++k) {
      least[k] = values[i + k] < least[k] ? values[i + k] : least[k];
      greatest[k] = values[i + k] > greatest[k] ? values[i + k] : greatest[k];
    }
  }
  Extremes own{least[0], greatest[0], 0, 0};
  for (std::uint64_t k = 1; k < kLanes; ++k) {
    own.least = std::min(own.least, least[k]);
    own.greatest = std::max(own.greatest, greatest[k]);
  }
  // NaN leaves the lane that it began in undecided, too.
  const bool decided = own.least != 0 && own.greatest != 0 && own.least != -own.greatest;
  if (!decided || own.least != own.least || own.greatest != own.greatest)
    return widen_one_by_one(extremes, values, count);
  const bool first_is_low = std::fabs(own.least) > std::fabs(own.greatest);
  const float both[] = {first_is_low ? own.least : own.greatest, first_is_low ? own.greatest : own.least};
  widen_one_by_one(extremes, both, 2);
  widen_one_by_one(extremes, values + whole, count - whole);
}

Extremes starting_at(float value) noexcept { return {value, value, value, 0}; }

/// Values of the source in stored rows of the target.
class RowValues {
 public:
  RowValues(const Tensor& source, const Tensor& target)
      : reader_(source), geometry_(target.geometry()), cols_(geometry_.cols) {
    const tensor::Shape stored = target.stored_shape();
    rows_ = recoding::RowMap({}, target.transforms, stored.size() < 2 ? 1 : stored[stored.size() - 2]);
  }
  /// Row `row` of the row view; returns how many of its columns exist.
  std::uint64_t read(std::uint64_t row, std::vector<float>& out) {
    const std::uint64_t begin = rows_(row) * cols_;
    const std::uint64_t count = std::min(cols_, geometry_.elements - std::min(begin, geometry_.elements));
    out.resize(cols_);
    reader_.read(begin, std::span(out).first(count), 0);
    return count;
  }

 private:
  tensor::ValueReader reader_;
  Geometry geometry_;
  std::uint64_t cols_;
  recoding::RowMap rows_;
};

class QuantizedPlanes final : public tensor::PlaneSource {
 public:
  QuantizedPlanes(const Tensor& source, const Tensor& target, const Quantizer& quantizer)
      : source_(source),
        target_(target),
        quantizer_(quantizer),
        geometry_(target.geometry()),
        specs_(target.plane_specs()) {
    for (const tensor::Level& level : target.scheme.scales) codecs_.emplace_back(level, std::span<const float>());
    for (const tensor::Level& level : target.scheme.offset.levels)
      codecs_.emplace_back(level, std::span<const float>());
    while (code_planes_ < specs_.size() && specs_[code_planes_].role.starts_with("codes")) ++code_planes_;
    if (!target.scheme.scales.empty()) block_ = target.scheme.scales[0].block;
    block_.rows == 1 ? add_whole_scale() : find_whole_numbers();
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    return specs_[index].sliced ? std::nullopt : std::optional(whole(index));
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return whole_[index - code_planes_]; }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override;

 private:
  struct Unit {
    std::vector<float> values;
    std::vector<std::uint8_t> codes;
    std::vector<std::vector<double>> numbers;      // by level: (rows of a unit, columns)
    std::vector<std::vector<std::byte>> elements;  // the same, encoded
    std::vector<std::byte> unwanted;
  };

  [[nodiscard]] std::uint64_t group_cols() const noexcept { return block_.cols == 0 ? geometry_.cols : block_.cols; }
  [[nodiscard]] std::uint64_t blocks_of_row() const noexcept {
    return geometry_.cols == 0 ? 0 : ceil_div(geometry_.cols, group_cols());
  }
  void cast(std::vector<float>& values) const noexcept {
    if (!quantizer_.casts_values || target_.scheme.scales.empty()) return;
    quantizers::round_all(target_.scheme.scales[0].type, values);
  }
  [[nodiscard]] float farthest_value() const;
  void find_whole_numbers();
  void add_whole_scale();
  void quantize_row(std::uint64_t row, std::uint64_t in_unit, bool codes, RowValues& reader, Unit& unit) const;
  void make_unit(std::uint64_t index, std::uint64_t slot, RowValues& reader, Unit& unit,
                 const std::vector<std::byte*>& out) const;

  Tensor source_, target_;
  const Quantizer& quantizer_;
  Geometry geometry_;
  std::vector<tensor::PlaneSpec> specs_;
  std::vector<recoding::ElementCodec> codecs_;  // by level
  std::size_t code_planes_ = 0;
  tensor::Block block_{1, 0};
  float whole_scale_ = 0;
  std::vector<BlockNumbers> whole_numbers_;    // (matrices, parameter rows, columns), where blocks span rows
  std::vector<std::vector<std::byte>> whole_;  // by level
};

/// Of the largest magnitude in the tensor.
float QuantizedPlanes::farthest_value() const {
  Extremes all;
  std::mutex mutex;
  parallel_for(geometry_.matrices * geometry_.rows, 64, [&](std::uint64_t begin, std::uint64_t end, int) {
    RowValues reader(source_, target_);
    std::vector<float> values;
    Extremes own;
    for (std::uint64_t row = begin; row < end; ++row) {
      const std::uint64_t count = reader.read(row, values);
      widen(own, values.data(), count);
    }
    const std::scoped_lock lock(mutex);
    widen(all, &own.farthest, 1);
  });
  return all.farthest;
}

/// Scales of rows that share a number for the tensor.
void QuantizedPlanes::add_whole_scale() {
  whole_scale_ = quantizer_.whole_scale;
  if (quantizer_.find_whole_scale != nullptr) whole_scale_ = quantizer_.find_whole_scale(starting_at(farthest_value()));
  for (std::size_t level = 0; level < codecs_.size(); ++level) {
    const tensor::PlaneSpec& spec = specs_[code_planes_ + level];
    whole_.emplace_back(spec.sliced ? 0 : spec.total_bytes);
    const double number = whole_scale_;
    if (!spec.sliced) codecs_[level].encode(&number, 1, whole_.back().data());
  }
}

/// Blocks of several rows: one pass over all values for their extremes.
void QuantizedPlanes::find_whole_numbers() {
  const std::uint64_t cols = blocks_of_row(), block_rows = block_.rows == 0 ? geometry_.rows : block_.rows;
  const std::uint64_t parameter_rows = geometry_.rows == 0 ? 0 : ceil_div(geometry_.rows, block_rows);
  whole_numbers_.resize(geometry_.matrices * parameter_rows * cols);
  std::vector<Extremes> all(whole_numbers_.size());
  std::vector<bool> seen(all.size());
  std::mutex mutex;
  parallel_for(geometry_.matrices * geometry_.rows, 64, [&](std::uint64_t begin, std::uint64_t end, int) {
    RowValues reader(source_, target_);
    std::vector<float> values;
    for (std::uint64_t row = begin; row < end; ++row) {
      const std::uint64_t count = reader.read(row, values);
      cast(values);
      for (std::uint64_t block = 0; block < cols; ++block) {
        const std::uint64_t from = block * group_cols(), to = std::min(count, from + group_cols());
        Extremes own = starting_at(values[from]);
        widen(own, values.data() + from, to - from);
        const std::uint64_t at =
            (row / geometry_.rows * parameter_rows + row % geometry_.rows / block_rows) * cols + block;
        const std::scoped_lock lock(mutex);
        Extremes& extremes = all[at];
        if (!seen[at]) extremes = own;
        seen[at] = true;
        const float together[] = {own.least, own.greatest};
        widen(extremes, together, 2);
      }
    }
  });
  for (std::size_t i = 0; i < all.size(); ++i) whole_numbers_[i] = quantizer_.numbers(target_.scheme, all[i], true);
  for (std::size_t level = 0; level < codecs_.size(); ++level) {
    std::vector<double> numbers;
    for (const BlockNumbers& block : whole_numbers_) numbers.push_back(level == 0 ? block.scale : block.offset);
    whole_.emplace_back(specs_[code_planes_ + level].total_bytes);
    codecs_[level].encode(numbers.data(), numbers.size(), whole_.back().data());
  }
}

/// With or without its codes: who asks for the numbers alone is spared the longer part of the work.
void QuantizedPlanes::quantize_row(std::uint64_t row, std::uint64_t in_unit, bool codes, RowValues& reader,
                                   Unit& unit) const {
  const std::uint64_t count = reader.read(row, unit.values), cols = blocks_of_row();
  cast(unit.values);
  for (std::uint64_t block = 0; block < cols && block * group_cols() < count; ++block) {
    const std::uint64_t from = block * group_cols(), length = std::min(group_cols(), count - from);
    BlockNumbers numbers;
    if (whole_numbers_.empty()) {
      Extremes extremes = starting_at(unit.values[from]);
      widen(extremes, unit.values.data() + from, length);
      extremes.whole_scale = whole_scale_;
      numbers = quantizer_.numbers(target_.scheme, extremes, length == group_cols());
      const double stored[] = {numbers.scale, numbers.offset};
      for (std::size_t level = 0; level < unit.numbers.size(); ++level)
        unit.numbers[level][in_unit * cols + block] = stored[level];
    } else {
      const std::uint64_t block_rows = block_.rows == 0 ? geometry_.rows : block_.rows;
      const std::uint64_t parameter_rows = ceil_div(geometry_.rows, block_rows);
      numbers =
          whole_numbers_[(row / geometry_.rows * parameter_rows + row % geometry_.rows / block_rows) * cols + block];
    }
    if (!codes) continue;
    quantizer_.codes(target_.scheme, numbers, unit.values.data() + from, length,
                     unit.codes.data() + in_unit * geometry_.cols + from);
  }
}

void QuantizedPlanes::make_unit(std::uint64_t index, std::uint64_t slot, RowValues& reader, Unit& unit,
                                const std::vector<std::byte*>& out) const {
  const std::uint64_t in_matrix = index % geometry_.units_per_matrix * geometry_.rows_per_unit;
  const std::uint64_t first = index / geometry_.units_per_matrix * geometry_.rows + in_matrix;
  const std::uint64_t rows = std::min(geometry_.rows_per_unit, geometry_.rows - in_matrix);
  std::byte* slices[3] = {};
  bool codes = false;
  for (std::size_t i = 0; i < code_planes_; ++i) {
    codes |= out[i] != nullptr;
    slices[i] = out[i] != nullptr ? out[i] + slot * specs_[i].unit_bytes : unit.unwanted.data();
  }
  std::fill(unit.codes.begin(), unit.codes.end(), std::uint8_t{0});
  for (std::uint64_t r = 0; r < rows; ++r) quantize_row(first + r, r, codes, reader, unit);
  if (codes) tensor::pack_unit(geometry_, tensor::bits(target_.scheme.codes.type), unit.codes.data(), slices);
  for (std::size_t level = 0; level < unit.numbers.size(); ++level) {
    const std::size_t plane = code_planes_ + level;
    if (out[plane] == nullptr || !specs_[plane].sliced) continue;
    const std::uint64_t made = rows * blocks_of_row();
    std::fill(unit.elements[level].begin(), unit.elements[level].end(), std::byte{0});
    codecs_[level].encode(unit.numbers[level].data(), made, unit.elements[level].data());
    tensor::pack_parameters(geometry_, specs_[plane].type, specs_[plane].cols, unit.elements[level].data(),
                            out[plane] + slot * specs_[plane].unit_bytes);
  }
}

void QuantizedPlanes::read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const {
  RowValues reader(source_, target_);
  Unit unit;
  unit.codes.resize(geometry_.rows_per_unit * geometry_.cols);
  for (std::size_t level = 0; whole_numbers_.empty() && level < codecs_.size(); ++level) {
    unit.numbers.emplace_back(geometry_.rows_per_unit * blocks_of_row());
    unit.elements.emplace_back(unit.numbers.back().size() * codecs_[level].element_bytes());
  }
  for (std::size_t i = 0; i < code_planes_; ++i)
    unit.unwanted.resize(std::max<std::size_t>(unit.unwanted.size(), specs_[i].unit_bytes));
  std::vector<std::byte*> wanted = out;
  wanted.resize(specs_.size(), nullptr);
  for (std::uint64_t index = unit_begin; index < unit_end; ++index)
    make_unit(index, index - unit_begin, reader, unit, wanted);
}

/// Throws unsupported for transforms that quantized values cannot be stored with.
void check_transforms(const Tensor& source, const StoredForm& wanted) {
  for (const tensor::Transform& transform : wanted.transforms) {
    const bool rows = transform.kind == TransformKind::rope_interleave && transform.heads > 0 &&
                      source.shape.size() == 2 && source.shape[0] % (2 * transform.heads) == 0 &&
                      wanted.scheme.flat == 0;
    if (rows) continue;
    throw Error(ErrorKind::unsupported, "tensor " + source.name + ": quantized values cannot be stored with " +
                                            std::string(tensor::name(transform.kind)));
  }
}

/// `source` in the form `wanted`, without planes.
Tensor without_planes(const Tensor& source, const StoredForm& wanted) {
  Tensor target = source;
  target.scheme = wanted.scheme;
  target.transforms = wanted.transforms;
  target.packing = tensor::canonical_packing(target.stored_shape(), wanted.scheme);
  target.fingerprint.reset();
  target.planes = nullptr;
  return target;
}

Tensor quantized(const Tensor& source, const StoredForm& wanted, const Quantizer* quantizer) {
  if (quantizer == nullptr) {
    throw Error(ErrorKind::unsupported,
                "tensor " + source.name + ": nothing rounds values to " + tensor::describe(wanted.scheme));
  }
  check_transforms(source, wanted);
  if (source.scheme.codes.kind == tensor::CodeKind::opaque)
    throw Error(ErrorKind::unsupported, "tensor " + source.name + ": has no values to round");
  Tensor target = without_planes(source, wanted);
  target.planes = std::make_shared<QuantizedPlanes>(source, target, *quantizer);
  return target;
}

}  // namespace

bool can_requantize(const Scheme& wanted) noexcept {
  return quantizers::is_nested(wanted) || find_quantizer(wanted) != nullptr;
}

Tensor requantize(const Tensor& source, const StoredForm& wanted) {
  tensor::validate(wanted.scheme, "wanted scheme");
  if (!quantizers::is_nested(wanted.scheme)) return quantized(source, wanted, find_quantizer(wanted.scheme));
  const StoredForm single{quantizers::without_nesting(wanted.scheme), wanted.transforms};
  Tensor target = without_planes(source, wanted);
  target.planes = quantizers::nested_planes(quantized(source, single, find_quantizer(single.scheme)), target);
  return target;
}

Tensor requantize_for_compressed_tensors(const Tensor& source, const StoredForm& wanted) {
  tensor::validate(wanted.scheme, "wanted scheme");
  const DType type = source.scheme.is_plain() ? source.scheme.codes.type : DType::f32;
  const Quantizer* own = find_in(quantizers::compressed_float_quantizers(type), wanted.scheme);
  return own != nullptr ? quantized(source, wanted, own) : requantize(source, wanted);
}

Tensor requantize_for_mlx(const Tensor& source, const StoredForm& wanted) {
  tensor::validate(wanted.scheme, "wanted scheme");
  const DType type = source.scheme.is_plain() ? source.scheme.codes.type : DType::f32;
  const Quantizer* own = find_in(quantizers::mlx_float_quantizers(type), wanted.scheme);
  return own != nullptr ? quantized(source, wanted, own) : requantize(source, wanted);
}

}  // namespace ingot::convert

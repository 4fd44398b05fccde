// Codes and parameters of a recovered tensor, computed from its floats unit by unit. Implements spec/recovery.md
// section 5.
#include <algorithm>

#include "converters/recode/elements.h"
#include "converters/recover/form.h"

namespace ingot::convert::recovering {
namespace {

using tensor::OffsetKind;

/// How the numbers of a block are stored.
struct Coding {
  int zero = 0;           // added to the number
  bool negative = false;  // the number is negated, and the scale
};

class RecoveredPlanes final : public tensor::PlaneSource {
 public:
  RecoveredPlanes(const tensor::Tensor& source, const tensor::Tensor& target, Form form)
      : source_(source), form_(std::move(form)), geometry_(target.geometry()), specs_(target.plane_specs()) {
    codecs_.emplace_back(form_.scheme.scales[0], std::span<const float>());
    for (const tensor::Level& level : form_.scheme.offset.levels) codecs_.emplace_back(level, std::span<const float>());
    while (specs_[code_planes_].role.starts_with("codes")) ++code_planes_;
    if (form_.whole.empty()) return;
    for (std::size_t level = 0; level < codecs_.size(); ++level) {
      std::vector<double> numbers(form_.whole.size());
      for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = stored(form_.whole[i])[level];
      whole_.emplace_back(specs_[code_planes_ + level].total_bytes);
      encode(level, numbers, whole_.back().data());
    }
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
    std::vector<std::vector<double>> numbers;  // by level: (rows of a unit, blocks)
    std::vector<std::byte> elements, unwanted;
    BlockValues block;
  };

  [[nodiscard]] Coding coding(const Fit& fit) const noexcept;
  [[nodiscard]] std::array<double, 2> stored(const Fit& fit) const noexcept;
  void encode(std::size_t level, const std::vector<double>& numbers, std::byte* elements) const {
    codecs_[level].encode(numbers.data(), numbers.size(), elements);
  }
  void make_row(BlockRows& rows, std::uint64_t row, std::uint64_t in_unit, Unit& unit) const;
  void make_unit(BlockRows& rows, std::uint64_t index, std::uint64_t slot, Unit& unit,
                 const std::vector<std::byte*>& out) const;

  tensor::Tensor source_;
  Form form_;
  tensor::Geometry geometry_;
  std::vector<tensor::PlaneSpec> specs_;
  std::vector<recoding::ElementCodec> codecs_;  // scale, and zero point or bias
  std::size_t code_planes_ = 0;
  std::vector<std::vector<std::byte>> whole_;  // by level
};

Coding RecoveredPlanes::coding(const Fit& fit) const noexcept {
  if (form_.lattice.kind != LatticeKind::integers) return {};
  if (form_.scheme.offset.kind == OffsetKind::zero_points) return {-fit.least, false};
  const int half = 1 << (tensor::bits(form_.scheme.codes.type) - 1);
  const bool is_signed = tensor::info(form_.scheme.codes.type).is_signed;
  return {is_signed ? 0 : half, fit.least < -half || fit.greatest >= half};
}

/// Scale, and what stands beside it.
std::array<double, 2> RecoveredPlanes::stored(const Fit& fit) const noexcept {
  const Coding code = coding(fit);
  const bool biased = form_.lattice.kind == LatticeKind::biased;
  return {code.negative ? -fit.scale : fit.scale, biased ? fit.offset : code.zero};
}

void RecoveredPlanes::make_row(BlockRows& rows, std::uint64_t row, std::uint64_t in_unit, Unit& unit) const {
  const std::uint64_t count = rows.read(row, unit.values, 0);
  for (std::uint64_t b = 0, begin = 0; begin < count; ++b, begin += rows.block_cols()) {
    const std::uint64_t end = std::min(count, begin + rows.block_cols());
    Fit fit;
    if (!form_.whole.empty()) {
      fit = form_.whole[rows.parameter_row(row) * rows.blocks() + b];
    } else {
      unit.block.clear();
      if (!unit.block.add(unit.values.data() + begin, end - begin) || !form_.lattice.fit(unit.block, fit))
        throw Error(ErrorKind::mismatch, "tensor " + source_.name + ": its values have changed since they were read");
      for (std::size_t level = 0; level < unit.numbers.size(); ++level)
        unit.numbers[level][in_unit * rows.blocks() + b] = stored(fit)[level];
    }
    const Coding code = coding(fit);
    std::uint8_t* codes = unit.codes.data() + in_unit * geometry_.cols;
    for (std::uint64_t i = begin; i < end; ++i) {
      const int number = form_.lattice.number_of(unit.values[i], fit);
      codes[i] = static_cast<std::uint8_t>((code.negative ? -number : number) + code.zero);
    }
  }
}

void RecoveredPlanes::make_unit(BlockRows& rows, std::uint64_t index, std::uint64_t slot, Unit& unit,
                                const std::vector<std::byte*>& out) const {
  const std::uint64_t in_matrix = index % geometry_.units_per_matrix * geometry_.rows_per_unit;
  const std::uint64_t first = index / geometry_.units_per_matrix * geometry_.rows + in_matrix;
  const std::uint64_t count = std::min(geometry_.rows_per_unit, geometry_.rows - in_matrix);
  std::fill(unit.codes.begin(), unit.codes.end(), std::uint8_t{0});
  for (std::vector<double>& numbers : unit.numbers) std::fill(numbers.begin(), numbers.end(), 0.0);
  for (std::uint64_t r = 0; r < count; ++r) make_row(rows, first + r, r, unit);
  std::byte* slices[3] = {};
  for (std::size_t i = 0; i < code_planes_; ++i)
    slices[i] = out[i] != nullptr ? out[i] + slot * specs_[i].unit_bytes : unit.unwanted.data();
  tensor::pack_unit(geometry_, tensor::bits(form_.scheme.codes.type), unit.codes.data(), slices);
  for (std::size_t level = 0; level < unit.numbers.size(); ++level) {
    const std::size_t plane = code_planes_ + level;
    if (out[plane] == nullptr) continue;
    std::vector<double> numbers(unit.numbers[level].begin(),
                                unit.numbers[level].begin() + static_cast<std::ptrdiff_t>(count * rows.blocks()));
    unit.elements.assign(unit.numbers[level].size() * codecs_[level].element_bytes(), std::byte{0});  // padding rows
    encode(level, numbers, unit.elements.data());
    tensor::pack_parameters(geometry_, specs_[plane].type, specs_[plane].cols, unit.elements.data(),
                            out[plane] + slot * specs_[plane].unit_bytes);
  }
}

void RecoveredPlanes::read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const {
  BlockRows rows(source_, form_.scheme);
  Unit unit{{}, {}, {}, {}, {}, BlockValues(form_.lattice.widest())};
  unit.codes.resize(geometry_.rows_per_unit * geometry_.cols);
  for (std::size_t level = 0; form_.whole.empty() && level < codecs_.size(); ++level)
    unit.numbers.emplace_back(geometry_.rows_per_unit * rows.blocks());
  for (std::size_t i = 0; i < code_planes_; ++i)
    unit.unwanted.resize(std::max<std::size_t>(unit.unwanted.size(), specs_[i].unit_bytes));
  std::vector<std::byte*> wanted = out;
  wanted.resize(specs_.size(), nullptr);
  for (std::uint64_t index = unit_begin; index < unit_end; ++index)
    make_unit(rows, index, index - unit_begin, unit, wanted);
}

}  // namespace

tensor::Tensor in_form(const tensor::Tensor& source, Form form) {
  tensor::validate(form.scheme, "recovered scheme");
  tensor::Tensor target = source;
  target.scheme = form.scheme;
  target.transforms.clear();
  target.packing = tensor::canonical_packing(target.stored_shape(), form.scheme);
  target.fingerprint.reset();
  target.planes = std::make_shared<RecoveredPlanes>(source, target, std::move(form));
  return target;
}

}  // namespace ingot::convert::recovering

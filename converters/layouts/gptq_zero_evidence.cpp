#include "converters/layouts/gptq_zero_evidence.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"

namespace ingot::convert::gptq {
namespace {

constexpr std::size_t kMaxModules = 8;
constexpr std::uint64_t kTileRows = 16, kLineBytes = 64, kMaxTiles = 16;  // of a module
constexpr std::uint64_t kMaxInputs = 1024, kMinInputs = 16;               // of an output; of a group
constexpr std::uint64_t kMinOutputs = 64;
constexpr std::uint8_t kWidest = 4;
constexpr double kFarthest = 0.25;  // what a decided distance is from 0 or 1 at most, with four standard errors
constexpr double kLeastSlope = 0.5, kGreatestSlope = 1.5;

/// Sums for a mean, and for a line through points.
struct Moments {
  double count = 0, x = 0, y = 0, xx = 0, xy = 0;
  void add(double at, double value) noexcept {
    count += 1;
    x += at;
    y += value;
    xx += at * at;
    xy += at * value;
  }
};

/// The group of each of the first `inputs` inputs.
std::vector<std::uint32_t> groups_of_inputs(const Module& module, std::uint64_t inputs) {
  const std::uint64_t size = module.block_cols != 0 ? module.block_cols : module.inputs;
  std::vector<std::uint32_t> groups(inputs);
  if (module.order == tensor::Order::permutation) {
    for (std::uint64_t at = 0; at < module.inputs; ++at)
      if (const std::uint32_t input = module.order_plane[at]; input < inputs)
        groups[input] = static_cast<std::uint32_t>(at / size);
  } else {
    for (std::uint64_t i = 0; i < inputs; ++i)
      groups[i] =
          module.order == tensor::Order::group_index ? module.order_plane[i] : static_cast<std::uint32_t>(i / size);
  }
  return groups;
}

std::uint32_t code_at(const std::byte* lines, std::uint64_t input, std::uint64_t row, std::uint8_t bits) noexcept {
  const std::uint64_t at = input * bits, shift = at % 32;
  const std::byte* word = lines + at / 32 * kLineBytes + row * 4;
  std::uint64_t field = load_le<std::uint32_t>(word);
  if (shift + bits > 32) field |= std::uint64_t{load_le<std::uint32_t>(word + kLineBytes)} << 32;
  return static_cast<std::uint32_t>(field >> shift) & ((1u << bits) - 1);
}

/// The sample of one module: every tile adds to the distances of outputs and to the points (stored field, mean code).
class Sample {
 public:
  explicit Sample(const Module& module)
      : module_(module),
        inputs_(std::min(module.inputs, kMaxInputs)),
        groups_(groups_of_inputs(module, inputs_)),
        members_(module.groups),
        lines_(lines_of(inputs_, module.bits) * kLineBytes),
        stored_(module.groups * kTileRows),
        sums_(module.groups * kTileRows) {
    for (const std::uint32_t group : groups_) ++members_[group];
  }

  void look_at(std::uint64_t tile, Moments& distances, Moments& points) {
    CodeWords words{module_.parts.codes->bytes().data(), inputs_, module_.outputs, module_.bits, module_.word_bits};
    words.load(tile, tile + 1, lines_.data(), lines_.size());
    ZeroWords zeros = zero_words(module_);
    zeros.coding = ZeroCoding::plain;
    zeros.load(tile, stored_.data());
    std::fill(sums_.begin(), sums_.end(), 0);
    for (std::uint64_t i = 0; i < inputs_; ++i)
      for (std::uint64_t row = 0; row < kTileRows; ++row)
        sums_[groups_[i] * kTileRows + row] += code_at(lines_.data(), i, row, module_.bits);
    const std::uint64_t present = std::min(kTileRows, module_.outputs - tile * kTileRows);
    for (std::uint64_t row = 0; row < present; ++row) add_output(row, distances, points);
  }

 private:
  /// A field of ones may be a zero point of 0 under gptq, and what that spoils of its neighbours: it tells nothing.
  void add_output(std::uint64_t row, Moments& distances, Moments& points) const {
    Moments own;
    for (std::uint64_t group = 0; group < module_.groups; ++group) {
      const auto field = std::to_integer<std::uint32_t>(stored_[group * kTileRows + row]);
      if (members_[group] < kMinInputs || field == (1u << module_.bits) - 1) continue;
      const double mean = static_cast<double>(sums_[group * kTileRows + row]) / static_cast<double>(members_[group]);
      own.add(0, mean - field);
      points.add(field, mean);
    }
    if (own.count > 0) distances.add(own.y / own.count, 0);
  }

  const Module& module_;
  std::uint64_t inputs_;
  std::vector<std::uint32_t> groups_;
  std::vector<std::uint64_t> members_;
  std::vector<std::byte> lines_, stored_;
  std::vector<std::uint64_t> sums_;
};

}  // namespace

std::optional<bool> CodeEvidence::says_minus_one() const noexcept {
  if (outputs < kMinOutputs || slope < kLeastSlope || slope > kGreatestSlope) return std::nullopt;
  for (const bool minus_one : {true, false})
    if (std::abs(distance - (minus_one ? 1.0 : 0.0)) + 4 * error < kFarthest) return minus_one;
  return std::nullopt;
}

CodeEvidence look_at_codes(std::span<const Module* const> modules) {
  std::vector<const Module*> fit;
  for (const Module* module : modules)
    if (!module->parts.marlin_names && !module->planar && module->bits <= kWidest) fit.push_back(module);
  Moments distances;
  double covariance = 0, variance = 0;
  const std::size_t step = std::max<std::size_t>(1, fit.size() / kMaxModules);
  for (std::size_t i = 0, taken = 0; i < fit.size() && taken < kMaxModules; i += step, ++taken) {
    Sample sample(*fit[i]);
    Moments points;  // by module: widths differ
    const std::uint64_t tiles = std::min(ceil_div(fit[i]->outputs, kTileRows), kMaxTiles);
    for (std::uint64_t tile = 0; tile < tiles; ++tile) sample.look_at(tile, distances, points);
    if (points.count < 2) continue;
    covariance += points.xy - points.x * points.y / points.count;
    variance += points.xx - points.x * points.x / points.count;
  }
  CodeEvidence evidence;
  evidence.outputs = static_cast<std::uint64_t>(distances.count);
  if (distances.count < 2 || variance <= 0) return evidence;
  evidence.distance = distances.x / distances.count;
  const double spread = distances.xx / distances.count - evidence.distance * evidence.distance;
  evidence.error = std::sqrt(std::max(spread, 0.0) / distances.count);
  evidence.slope = covariance / variance;
  return evidence;
}

}  // namespace ingot::convert::gptq

#include "runtime/rope.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>
#include <string_view>

#include "format/base/error.h"

namespace ingot::runtime {
namespace {

using tensor::RopeScaling;

void scale_none(const RopeScaling&, std::vector<float>&) {}

void scale_linear(const RopeScaling& scaling, std::vector<float>& frequencies) {
  for (float& frequency : frequencies) frequency /= static_cast<float>(scaling.factor);
}

// Long waves are stretched by `factor`, short ones kept, the range between is interpolated.
void scale_llama3(const RopeScaling& scaling, std::vector<float>& frequencies) {
  const auto original = static_cast<float>(scaling.original_context_length);
  const auto low = static_cast<float>(scaling.low_freq_factor), high = static_cast<float>(scaling.high_freq_factor);
  const auto factor = static_cast<float>(scaling.factor);
  for (float& frequency : frequencies) {
    const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
    if (wavelength > original / low) {
      frequency /= factor;
    } else if (wavelength >= original / high) {
      const float smooth = (original / wavelength - low) / (high - low);
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

struct ScalingRow {
  std::string_view type;
  void (*apply)(const RopeScaling& scaling, std::vector<float>& frequencies);
};
constexpr ScalingRow kScalings[] = {
    {"", scale_none}, {"none", scale_none}, {"default", scale_none}, {"linear", scale_linear}, {"llama3", scale_llama3},
};

}  // namespace

std::vector<float> rope_frequencies(const tensor::ModelConfig& config, std::uint64_t rotary_dim) {
  const auto row = std::find_if(std::begin(kScalings), std::end(kScalings),
                                [&](const ScalingRow& r) { return r.type == config.rope_scaling.type; });
  if (row == std::end(kScalings)) {
    throw Error(ErrorKind::unsupported,
                "model configuration: rope scaling \"" + config.rope_scaling.type + "\" is not supported");
  }
  const double theta = config.rope_theta > 0 ? config.rope_theta : 10000;
  std::vector<float> frequencies(rotary_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
    frequencies[i] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  row->apply(config.rope_scaling, frequencies);
  return frequencies;
}

Rope::Rope(const tensor::ModelConfig& config, std::uint64_t head_dim, Pairs pairs, std::uint64_t max_positions)
    : pairs_(pairs),
      frequencies_(
          rope_frequencies(config, config.rotary_dim == 0 ? head_dim : std::min(config.rotary_dim, head_dim))) {
  cosines_.resize(max_positions * frequencies_.size());
  sines_.resize(cosines_.size());
}

void Rope::prepare(std::uint64_t first, std::uint64_t count) noexcept {
  for (std::uint64_t p = 0; p < count; ++p) {
    for (std::size_t i = 0; i < frequencies_.size(); ++i) {
      const float angle = static_cast<float>(first + p) * frequencies_[i];
      cosines_[p * frequencies_.size() + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sines_[p * frequencies_.size() + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
}

void Rope::rotate(float* head, std::uint64_t index) const noexcept {
  const std::size_t half = frequencies_.size();
  const float* cosines = cosines_.data() + index * half;
  const float* sines = sines_.data() + index * half;
  const std::size_t step = pairs_ == Pairs::neighbours ? 2 : 1, distance = pairs_ == Pairs::neighbours ? 1 : half;
  for (std::size_t i = 0; i < half; ++i) {
    float& a = head[i * step];
    float& b = head[i * step + distance];
    const float x = a, y = b;
    a = x * cosines[i] - y * sines[i];
    b = y * cosines[i] + x * sines[i];
  }
}

}  // namespace ingot::runtime

#include "runtime/rope.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>
#include <string>
#include <string_view>

#include "format/base/error.h"

namespace ingot::runtime {
namespace {

using tensor::RopeScaling;

double rope_base(const tensor::ModelConfig& config) noexcept {
  return config.rope_theta > 0 ? config.rope_theta : 10000;
}

/// One scaling at work on the plain frequencies.
struct Scaled {
  const tensor::ModelConfig& config;
  const RopeScaling& scaling;
  bool is_beyond;  // the sequence is longer than the original context
  std::vector<float>& frequencies;
};

// Where the file does not say what the model was first trained for, its context is.
std::uint64_t original_length(const tensor::ModelConfig& config) {
  const std::uint64_t stated = config.rope_scaling.original_context_length;
  const std::uint64_t length = stated != 0 ? stated : config.context_length;
  if (length == 0) {
    throw Error(ErrorKind::invalid_value, "model configuration: rope scaling \"" + config.rope_scaling.type +
                                              "\" without original_context_length");
  }
  return length;
}

void scale_none(const Scaled&) {}

void scale_linear(const Scaled& scaled) {
  for (float& frequency : scaled.frequencies) frequency /= static_cast<float>(scaled.scaling.factor);
}

// Long waves are stretched by `factor`, short ones kept, the range between is interpolated.
void scale_llama3(const Scaled& scaled) {
  const RopeScaling& scaling = scaled.scaling;
  const auto original = static_cast<float>(original_length(scaled.config));
  const auto low = static_cast<float>(scaling.low_freq_factor), high = static_cast<float>(scaling.high_freq_factor);
  const auto factor = static_cast<float>(scaling.factor);
  for (float& frequency : scaled.frequencies) {
    const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
    if (wavelength > original / low) {
      frequency /= factor;
    } else if (wavelength >= original / high) {
      const float smooth = (original / wavelength - low) / (high - low);
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

// Pairs that turn more than beta_fast times in the original context are kept, those below beta_slow turns are
// stretched, with a ramp over the pairs between.
void scale_yarn(const Scaled& scaled) {
  const RopeScaling& scaling = scaled.scaling;
  const auto original = static_cast<double>(original_length(scaled.config));
  const double dim = 2 * static_cast<double>(scaled.frequencies.size());
  const double base = rope_base(scaled.config);
  const auto pair_that_turns = [&](double turns) {
    return dim * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(base));
  };
  double first = pair_that_turns(scaling.beta_fast), last = pair_that_turns(scaling.beta_slow);
  if (scaling.truncate) {
    first = std::floor(first);
    last = std::ceil(last);
  }
  first = std::max(first, 0.0);
  last = std::min(last, dim - 1);
  if (first == last) last += 0.001;
  for (std::size_t i = 0; i < scaled.frequencies.size(); ++i) {
    const auto place = static_cast<float>((static_cast<double>(i) - first) / (last - first));
    const float stretched = std::clamp(place, 0.0f, 1.0f);
    const float frequency = scaled.frequencies[i];
    scaled.frequencies[i] = frequency / static_cast<float>(scaling.factor) * stretched + frequency * (1 - stretched);
  }
}

// A factor for every pair.
void scale_longrope(const Scaled& scaled) {
  const std::vector<double>& factors = scaled.is_beyond ? scaled.scaling.long_factor : scaled.scaling.short_factor;
  if (factors.size() != scaled.frequencies.size()) {
    throw Error(ErrorKind::invalid_value, std::string("model configuration: rope scaling: ") +
                                              (scaled.is_beyond ? "long_factor" : "short_factor") + ": expected " +
                                              std::to_string(scaled.frequencies.size()) + " numbers, got " +
                                              std::to_string(factors.size()));
  }
  for (std::size_t i = 0; i < factors.size(); ++i) scaled.frequencies[i] /= static_cast<float>(factors[i]);
}

double magnitude_none(const tensor::ModelConfig&) { return 1; }

double magnitude_yarn(const tensor::ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.attention_factor != 0) return scaling.attention_factor;
  return scaling.factor <= 1 ? 1 : 0.1 * std::log(scaling.factor) + 1;
}

double magnitude_longrope(const tensor::ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.attention_factor != 0) return scaling.attention_factor;
  if (scaling.factor <= 1) return 1;
  return std::sqrt(1 + std::log(scaling.factor) / std::log(static_cast<double>(original_length(config))));
}

struct ScalingRow {
  std::string_view type;
  void (*apply)(const Scaled& scaled);
  double (*magnitude)(const tensor::ModelConfig& config);
};
// "dynamic" changes the base only beyond the context length of the configuration, where no session goes.
constexpr ScalingRow kScalings[] = {
    {"", scale_none, magnitude_none},         {"none", scale_none, magnitude_none},
    {"default", scale_none, magnitude_none},  {"dynamic", scale_none, magnitude_none},
    {"linear", scale_linear, magnitude_none}, {"llama3", scale_llama3, magnitude_none},
    {"yarn", scale_yarn, magnitude_yarn},     {"longrope", scale_longrope, magnitude_longrope},
};

const ScalingRow& scaling_row(const tensor::ModelConfig& config) {
  const auto row = std::find_if(std::begin(kScalings), std::end(kScalings),
                                [&](const ScalingRow& r) { return r.type == config.rope_scaling.type; });
  if (row == std::end(kScalings)) {
    throw Error(ErrorKind::unsupported,
                "model configuration: rope scaling \"" + config.rope_scaling.type + "\" is not supported");
  }
  return *row;
}

}  // namespace

std::vector<float> rope_frequencies(const tensor::ModelConfig& config, std::uint64_t rotary_dim, bool is_beyond) {
  const ScalingRow& row = scaling_row(config);
  std::vector<float> frequencies(rotary_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
    frequencies[i] = 1.0f / static_cast<float>(std::pow(rope_base(config), static_cast<double>(exponent)));
  }
  row.apply({config, config.rope_scaling, is_beyond, frequencies});
  return frequencies;
}

double rope_magnitude(const tensor::ModelConfig& config) { return scaling_row(config).magnitude(config); }

Rope::Rope(const tensor::ModelConfig& config, std::uint64_t head_dim, Pairs pairs, std::uint64_t max_positions)
    : pairs_(pairs), magnitude_(static_cast<float>(rope_magnitude(config))) {
  const std::uint64_t rotary_dim = config.rotary_dim == 0 ? head_dim : std::min(config.rotary_dim, head_dim);
  frequencies_ = rope_frequencies(config, rotary_dim);
  if (!config.rope_scaling.long_factor.empty()) {
    original_length_ = original_length(config);
    others_ = rope_frequencies(config, rotary_dim, true);
  }
  cosines_.resize(max_positions * frequencies_.size());
  sines_.resize(cosines_.size());
}

bool Rope::choose_for(std::uint64_t length) noexcept {
  const bool is_beyond = original_length_ != 0 && length > original_length_;
  if (is_beyond == is_beyond_) return false;
  frequencies_.swap(others_);
  is_beyond_ = is_beyond;
  return true;
}

void Rope::prepare(std::uint64_t first, std::uint64_t count) noexcept {
  for (std::uint64_t p = 0; p < count; ++p) {
    for (std::size_t i = 0; i < frequencies_.size(); ++i) {
      const float angle = static_cast<float>(first + p) * frequencies_[i];
      cosines_[p * frequencies_.size() + i] = static_cast<float>(std::cos(static_cast<double>(angle))) * magnitude_;
      sines_[p * frequencies_.size() + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * magnitude_;
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

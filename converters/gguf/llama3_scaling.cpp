// RoPE scaling of the Llama 3 kind, of which GGUF holds the divisors of the frequencies and not the parameters.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "converters/gguf/config.h"
#include "format/tensor/json_fields.h"

namespace ingot::convert::gguf {
namespace {

using tensor::ModelConfig;
using tensor::RopeScaling;

constexpr std::uint64_t kMaxHeadDim = 65536;
constexpr std::uint64_t kLlama3OriginalContext = 8192;
constexpr std::uint64_t kShortestOriginal = 16, kLongestOriginal = std::uint64_t{1} << 20;
constexpr float kLastBits = 1e-4f;  // the powers were taken by another library

std::uint64_t rope_head_dim(const ModelConfig& config) {
  return config.head_dim > 0 ? config.head_dim : config.hidden_size / std::max<std::uint64_t>(config.head_count, 1);
}

/// Tokens per turn of each pair, head_dim/2 of them.
std::vector<float> wavelengths(const ModelConfig& config) {
  const std::uint64_t head_dim = rope_head_dim(config);
  if (head_dim > kMaxHeadDim) {
    throw Error(ErrorKind::limit_exceeded,
                "head_dim is " + std::to_string(head_dim) + ", at most " + std::to_string(kMaxHeadDim));
  }
  std::vector<float> lengths;
  for (std::uint64_t i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const float frequency = 1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
    lengths.push_back(2 * std::numbers::pi_v<float> / frequency);
  }
  return lengths;
}

float divisor(const RopeScaling& scaling, float wavelength) {
  const auto original = static_cast<float>(scaling.original_context_length > 0 ? scaling.original_context_length
                                                                               : kLlama3OriginalContext);
  const auto low = static_cast<float>(scaling.low_freq_factor), high = static_cast<float>(scaling.high_freq_factor);
  const auto factor = static_cast<float>(scaling.factor);
  if (wavelength < original / high) return 1;
  if (wavelength > original / low) return factor;
  const float smooth = (original / wavelength - low) / (high - low);
  return 1 / ((1 - smooth) / factor + smooth);
}

/// Looks for parameters among numbers that people write: multiples of a half, whole lengths.
class ScalingSearch {
 public:
  ScalingSearch(const ModelConfig& config, std::span<const float> divisors)
      : wavelengths_(wavelengths(config)), divisors_(divisors) {
    scaling_.type = "llama3";
    // The decimal that a person wrote, not the nearest float's own digits.
    scaling_.factor = tensor::float_from_json<double>(Json(tensor::shortest_decimal(divisors.back())), "factor");
  }

  std::optional<RopeScaling> find() {
    if (fits(kLlama3OriginalContext, kLastBits)) return scaling_;
    for (std::uint64_t original = kShortestOriginal; original <= kLongestOriginal; original *= 2)
      if (fits(original, kLastBits)) return scaling_;
    const std::size_t ramp = middle_of_ramp();
    if (ramp == divisors_.size()) return find_step() ? std::optional(scaling_) : std::nullopt;
    for (const float tolerance : {0.0f, kLastBits / 10})
      if (find_on_ramp(ramp, tolerance)) return scaling_;
    return std::nullopt;
  }

 private:
  [[nodiscard]] bool fits(std::uint64_t original, float tolerance) {
    scaling_.original_context_length = original;
    for (std::size_t i = 0; i < divisors_.size(); ++i) {
      const float expected = divisor(scaling_, wavelengths_[i]);
      if (!(std::fabs(expected - divisors_[i]) <= tolerance * expected)) return false;
    }
    return true;
  }

  /// How much of a frequency stays, 0 to 1.
  [[nodiscard]] double smooth(std::size_t i) const {
    const double least = 1 / static_cast<double>(divisors_.back());
    return (1 / static_cast<double>(divisors_[i]) - least) / (1 - least);
  }

  /// The pair on the ramp that tells most about it; the count of all pairs when none is on it.
  [[nodiscard]] std::size_t middle_of_ramp() const {
    std::size_t best = divisors_.size();
    for (std::size_t i = 0; i < divisors_.size(); ++i) {
      const bool on_ramp = divisors_[i] > 1 && divisors_[i] < divisors_.back();
      if (on_ramp && (best == divisors_.size() || std::fabs(smooth(i) - 0.5) < std::fabs(smooth(best) - 0.5))) best = i;
    }
    return best;
  }

  /// No pair is on the ramp: any narrow one between those that stay and those that are divided will do.
  [[nodiscard]] bool find_step() {
    double shorter = 0, longer = 0;
    for (std::size_t i = 0; i < divisors_.size() && longer == 0; ++i)
      (divisors_[i] == 1 ? shorter : longer) = wavelengths_[i];
    constexpr double kWidest = 4, kNarrowest = 1.001;
    for (double high = kWidest; high > kNarrowest; high = 1 + (high - 1) / 2) {
      scaling_.high_freq_factor = high;
      if (shorter * high < longer && fits(static_cast<std::uint64_t>(std::llround((shorter * high + longer) / 2)), 0))
        return true;
    }
    return false;
  }

  /// Given low and high, one pair on the ramp tells the original length.
  [[nodiscard]] bool find_on_ramp(std::size_t ramp, float tolerance) {
    constexpr double kStep = 0.5, kMostLow = 8, kMostHigh = 32;
    for (double low = kStep; low <= kMostLow; low += kStep) {
      for (double high = low + kStep; high <= kMostHigh; high += kStep) {
        scaling_.low_freq_factor = low;
        scaling_.high_freq_factor = high;
        const double original = wavelengths_[ramp] * (smooth(ramp) * (high - low) + low);
        if (!(original >= 1 && original <= kLongestOriginal)) continue;
        if (fits(static_cast<std::uint64_t>(std::llround(original)), tolerance)) return true;
      }
    }
    return false;
  }

  std::vector<float> wavelengths_;
  std::span<const float> divisors_;
  RopeScaling scaling_;
};

}  // namespace

std::vector<float> llama3_rope_divisors(const ModelConfig& config) {
  std::vector<float> divisors = wavelengths(config);
  for (float& value : divisors) value = divisor(config.rope_scaling, value);
  return divisors;
}

bool are_llama3_divisors(const ModelConfig& config, std::span<const float> divisors) {
  if (divisors.empty() || divisors.size() != rope_head_dim(config) / 2) return false;
  const std::vector<float> expected = llama3_rope_divisors(config);
  return std::equal(expected.begin(), expected.end(), divisors.begin(),
                    [](float wanted, float value) { return std::fabs(wanted - value) <= kLastBits * wanted; });
}

std::optional<RopeScaling> recognise_llama3_divisors(const ModelConfig& config, std::span<const float> divisors) {
  if (divisors.empty() || divisors.size() != rope_head_dim(config) / 2 || !std::isfinite(divisors.back()))
    return std::nullopt;
  return ScalingSearch(config, divisors).find();
}

}  // namespace ingot::convert::gguf

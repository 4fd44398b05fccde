#include "converters/gguf/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "format/base/error.h"

namespace ingot::convert::gguf {
namespace {

using tensor::ModelConfig;
using tensor::RopeScaling;

constexpr std::uint64_t kMaxHeadDim = 65536;
constexpr std::uint64_t kLlama3OriginalContext = 8192;

std::uint64_t rope_head_dim(const ModelConfig& config) {
  return config.head_dim > 0 ? config.head_dim : config.hidden_size / std::max<std::uint64_t>(config.head_count, 1);
}

bool are_divisors_of(const ModelConfig& config, std::span<const float> divisors) {
  constexpr float kLastBits = 1e-4f;  // the powers were taken by another library
  const std::vector<float> expected = llama3_rope_divisors(config);
  return std::ranges::equal(expected, divisors,
                            [](float ours, float theirs) { return std::fabs(ours - theirs) <= kLastBits * ours; });
}

}  // namespace

std::vector<float> llama3_rope_divisors(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const std::uint64_t head_dim = rope_head_dim(config);
  if (head_dim > kMaxHeadDim) {
    throw Error(ErrorKind::limit_exceeded,
                "head_dim is " + std::to_string(head_dim) + ", at most " + std::to_string(kMaxHeadDim));
  }
  const auto original = static_cast<float>(scaling.original_context_length > 0 ? scaling.original_context_length
                                                                               : kLlama3OriginalContext);
  const auto low = static_cast<float>(scaling.low_freq_factor), high = static_cast<float>(scaling.high_freq_factor);
  const auto factor = static_cast<float>(scaling.factor);
  std::vector<float> divisors;
  for (std::uint64_t i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const float frequency = 1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
    const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
    if (wavelength < original / high) {
      divisors.push_back(1);
    } else if (wavelength > original / low) {
      divisors.push_back(factor);
    } else {
      const float smooth = (original / wavelength - low) / (high - low);
      divisors.push_back(1 / ((1 - smooth) / factor + smooth));
    }
  }
  return divisors;
}

std::optional<RopeScaling> recognise_llama3_divisors(const ModelConfig& config, std::span<const float> divisors) {
  if (divisors.empty() || divisors.size() != rope_head_dim(config) / 2) return std::nullopt;
  ModelConfig guess = config;
  guess.rope_scaling = RopeScaling{};
  guess.rope_scaling.type = "llama3";
  guess.rope_scaling.factor = divisors.back();
  const auto fits = [&](std::uint64_t original) {
    guess.rope_scaling.original_context_length = original;
    return are_divisors_of(guess, divisors);
  };
  if (fits(kLlama3OriginalContext)) return guess.rope_scaling;
  for (std::uint64_t original = 64; original <= (1u << 20); original *= 2)
    if (fits(original)) return guess.rope_scaling;
  return std::nullopt;
}

std::string unsaid_rope_scaling(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.type != "dynamic" && scaling.type != "llama3") return {};
  if (scaling.type == "llama3" && recognise_llama3_divisors(config, llama3_rope_divisors(config)) == scaling) return {};
  ModelConfig alone;
  alone.rope_scaling = scaling;
  return canonical_json(tensor::to_json(alone));
}

std::optional<RopeScaling> said_rope_scaling(std::string_view text, const ModelConfig& config,
                                             std::span<const float> divisors, const std::string& where) {
  ModelConfig with = config;
  with.rope_scaling = tensor::model_config_from_json(parse_json(text, where), where).rope_scaling;
  const RopeScaling& scaling = with.rope_scaling;
  const bool holds = scaling.type == "llama3" ? are_divisors_of(with, divisors) : scaling.type == "dynamic";
  return holds ? std::optional(scaling) : std::nullopt;
}

}  // namespace ingot::convert::gguf

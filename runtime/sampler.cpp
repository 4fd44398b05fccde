// Choosing a token from logits. Deterministic: own generator (SplitMix64), ties go to the lower id, sums in double in
// sorted order.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/runtime.h"

namespace ingot::runtime {
namespace {

// Uniform in [0, 1) with 53 bits; advances `state`.
double next_uniform(std::uint64_t& state) noexcept {
  state += 0x9E3779B97F4A7C15u;
  std::uint64_t z = state;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return static_cast<double>((z ^ z >> 31) >> 11) * 0x1p-53;
}

// The first of the greatest numbers; the first of all where none is a number.
std::uint32_t greatest(std::span<const float> logits) noexcept {
  constexpr std::size_t kLanes = 8;
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -INFINITY);
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (std::size_t k = 0; k < kLanes; ++k) lanes[k] = logits[i + k] > lanes[k] ? logits[i + k] : lanes[k];
  }
  for (; i < logits.size(); ++i) lanes[0] = logits[i] > lanes[0] ? logits[i] : lanes[0];
  const auto found = std::find(logits.begin(), logits.end(), *std::max_element(lanes, lanes + kLanes));
  return found == logits.end() ? 0 : static_cast<std::uint32_t>(found - logits.begin());
}

}  // namespace

Sampler::Sampler(const Sampling& options) noexcept : options_(options), state_(options.seed) {}

std::uint32_t Sampler::sample(std::span<const float> logits, std::span<const std::uint32_t> before) {
  if (options_.repetition_penalty == 1 || before.empty()) return draw(logits);
  const auto penalty = static_cast<float>(options_.repetition_penalty);
  penalized_.assign(logits.begin(), logits.end());
  for (const std::uint32_t token : before) {  // from the logits as they were, so that a token counts once
    if (token < logits.size())
      penalized_[token] = logits[token] < 0 ? logits[token] * penalty : logits[token] / penalty;
  }
  return draw(penalized_);
}

std::uint32_t Sampler::draw(std::span<const float> logits) {
  if (!(options_.temperature > 0)) return greatest(logits);
  std::vector<std::uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    const float x = std::isnan(logits[a]) ? -INFINITY : logits[a], y = std::isnan(logits[b]) ? -INFINITY : logits[b];
    return x != y ? x > y : a < b;
  };
  const std::size_t kept = options_.top_k == 0 ? order.size() : std::min<std::size_t>(options_.top_k, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), before);
  order.resize(kept);

  const double top = logits[order[0]];
  if (!std::isfinite(top)) return order[0];
  std::vector<double> weights(kept);
  double total = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    const double weight = std::exp((static_cast<double>(logits[order[i]]) - top) / options_.temperature);
    weights[i] = std::isnan(weight) ? 0 : weight;
    total += weights[i];
  }
  // top-p: the shortest head whose probability reaches p; min-p: probabilities of at least min_p times the greatest
  // (which weighs 1).
  std::size_t count = kept;
  if (options_.top_p < 1) {
    double sum = 0;
    for (count = 0; count < kept && (count == 0 || sum < options_.top_p * total); ++count) sum += weights[count];
  }
  while (count > 1 && weights[count - 1] < options_.min_p) --count;

  double remaining = next_uniform(state_) *
                     std::accumulate(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(count), 0.0);
  for (std::size_t i = 0; i < count; ++i) {
    remaining -= weights[i];
    if (remaining < 0) return order[i];
  }
  return order[count - 1];
}

}  // namespace ingot::runtime

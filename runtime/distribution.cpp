#include "runtime/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ingot::runtime {

Error not_finite_numbers() {
  return Error(ErrorKind::invalid_value, "the model's logits are not finite numbers: it is broken");
}

double log_sum_exp(std::span<const float> logits) noexcept {
  const float greatest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - greatest);
  return greatest + std::log(sum);
}

Prediction predict(std::span<const float> logits, std::uint64_t count) {
  std::vector<std::uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto likelier = [&](std::uint32_t a, std::uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(count);
  std::nth_element(order.begin(), middle - 1, order.end(), likelier);
  std::sort(order.begin(), middle, likelier);
  const double total = log_sum_exp(logits);
  Prediction result;
  result.tokens.assign(order.begin(), middle);
  for (const std::uint32_t token : result.tokens)
    result.log_probabilities.push_back(static_cast<float>(logits[token] - total));
  double tail = 0;
  for (auto token = middle; token != order.end(); ++token)
    tail += std::exp(static_cast<double>(logits[*token]) - total);
  result.tail = static_cast<float>(tail);
  return result;
}

Divergence diverge(const Prediction& reference, std::span<const float> logits) {
  const double total = log_sum_exp(logits);
  Divergence result;
  double listed = 0;  // probability that the judged model gives to the listed tokens
  for (std::size_t i = 0; i < reference.tokens.size(); ++i) {
    const double expected = reference.log_probabilities[i], got = logits[reference.tokens[i]] - total;
    result.least += std::exp(expected) * (expected - got);
    result.squared_error += (expected - got) * (expected - got);
    listed += std::exp(got);
  }
  result.squared_error /= static_cast<double>(reference.tokens.size());
  result.most = result.least;
  const auto likeliest = static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  result.same_likeliest = likeliest == reference.tokens[0];
  if (reference.tail <= 0) {
    result.least = result.most = std::max(result.least, 0.0);  // rounding may end below
    return result;
  }
  constexpr double kSmallest = 1e-300;  // rounding may leave nothing for the tail
  const double tail = reference.tail;
  const double least_logit = *std::min_element(logits.begin(), logits.end());
  result.least += tail * (std::log(tail) - std::log(std::max(1 - listed, kSmallest)));
  result.most += tail * (reference.log_probabilities.back() - (least_logit - total));
  result.least = std::max(result.least, 0.0);
  result.most = std::max(result.most, result.least);
  return result;
}

}  // namespace ingot::runtime

// One model's prediction of the next token, whole or cut to its likeliest tokens, and how another's differs from it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/base/error.h"

namespace ingot::runtime {

/// For who meets logits that are infinite or NaN where they were to be compared.
[[nodiscard]] Error not_finite_numbers();

/// log(sum(exp(logits))), accumulated in double.
[[nodiscard]] double log_sum_exp(std::span<const float> logits) noexcept;

/// The likeliest tokens of a prediction, likeliest first, and the probability of all others together.
struct Prediction {
  std::vector<std::uint32_t> tokens;
  std::vector<float> log_probabilities;
  float tail = 0;
};
/// The `count` likeliest (1..logits.size(); ties: the lower id first).
[[nodiscard]] Prediction predict(std::span<const float> logits, std::uint64_t count);

struct Divergence {
  /// Kullback-Leibler divergence of the logits' distribution from the reference, in nats. With a tail the truth lies
  /// between the two: the tail taken as one token, and every token of the tail as likely as the last one listed where
  /// the other model finds it least likely.
  double least = 0, most = 0;
  double squared_error = 0;     // mean over the listed tokens, of the difference of log-probabilities
  bool same_likeliest = false;  // top-1 agreement
};
/// `logits`: of the model that is judged; as many as the reference's vocabulary has.
[[nodiscard]] Divergence diverge(const Prediction& reference, std::span<const float> logits);

}  // namespace ingot::runtime

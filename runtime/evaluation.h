// Perplexity of a text, and agreement with a reference, in windows as llama-perplexity takes them: the text's tokens
// are cut in windows; each is read from an empty context, its first token replaced by the beginning-of-text token where
// the tokenizer adds one; the predictions of the second half count: of token first + 1 up to the last, first = window /
// 2.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/base/json.h"
#include "runtime/distribution.h"
#include "runtime/runtime.h"
#include "runtime/statistics.h"

namespace ingot::runtime {

/// A text as the windows of an evaluation.
struct EvaluationText {
  std::vector<std::uint32_t> tokens;
  std::uint64_t window = 512;              // tokens; at least 4
  std::uint64_t windows = 0;               // whole ones in the text, at most as many as wanted
  std::optional<std::uint32_t> beginning;  // what replaces the first token of each

  [[nodiscard]] std::uint64_t first_scored() const noexcept { return window / 2; }
  [[nodiscard]] std::uint64_t scored_per_window() const noexcept { return window - 1 - first_scored(); }
  [[nodiscard]] std::vector<std::uint32_t> window_tokens(std::uint64_t index) const;
  /// XXH3-128 of the tokens of all windows, as little-endian 32-bit numbers: what results can be compared.
  [[nodiscard]] std::string hash() const { return hash_of(windows); }
  /// The same of the first `count` windows.
  [[nodiscard]] std::string hash_of(std::uint64_t count) const;
};
/// Throws invalid_value when the text has no whole window. `most_windows` 0: all.
[[nodiscard]] EvaluationText evaluation_text(const Tokenizer& tokenizer, std::string_view text, std::uint64_t window,
                                             std::uint64_t most_windows);

/// What was seen so far.
struct Evaluation {
  std::uint64_t windows = 0;
  RunningMean surprise;            // -log probability of the token that came, in nats
  RunningMean reference_surprise;  // the same of the reference, where it is a model
  RunningMean least_divergence, most_divergence, squared_error, agreement;
  double worst_divergence = 0;

  [[nodiscard]] double perplexity() const noexcept { return std::exp(surprise.mean()); }
  [[nodiscard]] double perplexity_error() const noexcept { return perplexity() * surprise.error(); }
};
[[nodiscard]] Json to_json(const Evaluation& evaluation);
/// Throws invalid_value naming `where`.
[[nodiscard]] Evaluation evaluation_from_json(const Json& document, std::string_view where);

/// Where predictions to compare with come from. Asked for windows in order.
class Reference {
 public:
  virtual ~Reference() = default;
  /// One entry per scored position of the window. `targets`: the tokens that came, to add to `surprise`.
  virtual const std::vector<Prediction>& window(std::uint64_t index, RunningMean& surprise) = 0;
};
/// Another model over the same text; `listed` likeliest tokens of each prediction, all for 0.
[[nodiscard]] std::unique_ptr<Reference> model_reference(Session& session, const EvaluationText& text,
                                                         std::uint64_t listed);

/// Adds one window. `reference` may be null. `session` is reset.
void evaluate_window(Session& session, const EvaluationText& text, std::uint64_t index, Reference* reference,
                     Evaluation& evaluation);

}  // namespace ingot::runtime

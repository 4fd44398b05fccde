#include "runtime/evaluation.h"

#include <algorithm>
#include <cmath>

#include "format/base/byte_reader.h"
#include "format/base/error.h"
#include "format/base/hash.h"
#include "format/base/parallel.h"

namespace ingot::runtime {
namespace {

constexpr std::uint64_t kLeastWindow = 4;

/// Calls visit(position, logits) for every scored position of a window, several at a time by several threads.
void score_window(Session& session, const EvaluationText& text, std::span<const std::uint32_t> tokens,
                  const std::function<void(std::uint64_t position, std::span<const float> logits)>& visit) {
  session.reset();
  const std::uint64_t vocab = session.vocab_size(), first = text.first_scored();
  session.score(tokens.first(text.window - 1), first, [&](std::uint64_t index, std::span<const float> logits) {
    parallel_for(logits.size() / vocab, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
      for (std::uint64_t row = begin; row < end; ++row) visit(index - first + row, logits.subspan(row * vocab, vocab));
    });
  });
}

double surprise_of(std::span<const float> logits, std::uint32_t token) {
  const double value = log_sum_exp(logits) - static_cast<double>(logits[token]);
  if (!std::isfinite(value)) throw not_finite_numbers();
  return value;
}

void check_token(std::uint32_t token, const Session& session) {
  if (token < session.vocab_size()) return;
  throw Error(ErrorKind::mismatch, "token id " + std::to_string(token) + " of the text: the model has only " +
                                       std::to_string(session.vocab_size()));
}

class ModelReference final : public Reference {
 public:
  ModelReference(Session& session, const EvaluationText& text, std::uint64_t listed)
      : session_(session), text_(text), listed_(listed == 0 ? session.vocab_size() : listed) {
    listed_ = std::min(listed_, session.vocab_size());
  }

  const std::vector<Prediction>& window(std::uint64_t index, RunningMean& surprise) override {
    const std::vector<std::uint32_t> tokens = text_.window_tokens(index);
    for (const std::uint32_t token : tokens) check_token(token, session_);
    predictions_.resize(text_.scored_per_window());
    std::vector<double> surprises(predictions_.size());
    score_window(session_, text_, tokens, [&](std::uint64_t position, std::span<const float> logits) {
      predictions_[position] = predict(logits, listed_);
      surprises[position] = surprise_of(logits, tokens[text_.first_scored() + position + 1]);
    });
    for (const double value : surprises) surprise.add(value);
    return predictions_;
  }

 private:
  Session& session_;
  const EvaluationText& text_;
  std::uint64_t listed_;
  std::vector<Prediction> predictions_;
};

Json mean_json(const RunningMean& mean) {
  Json result;
  result.set("count", mean.count);
  result.set("sum", mean.sum);
  result.set("sum_of_squares", mean.sum_of_squares);
  return result;
}

RunningMean mean_from(const Json& document, std::string_view name, std::string_view where) {
  const Json& mean = document.at(name, where);
  return {mean.at("count", where).as_u64(where), mean.at("sum", where).as_double(where),
          mean.at("sum_of_squares", where).as_double(where)};
}

}  // namespace

std::vector<std::uint32_t> EvaluationText::window_tokens(std::uint64_t index) const {
  const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(index * window);
  std::vector<std::uint32_t> result(begin, begin + static_cast<std::ptrdiff_t>(window));
  if (beginning) result.front() = *beginning;
  return result;
}

std::string EvaluationText::hash_of(std::uint64_t count) const {
  Hasher128 hasher;
  for (std::uint64_t i = 0; i < count * window; ++i) {
    std::byte bytes[4];
    store_le(bytes, tokens[i]);
    hasher.update(bytes);
  }
  return hasher.digest().hex();
}

EvaluationText evaluation_text(const Tokenizer& tokenizer, std::string_view text, std::uint64_t window,
                               std::uint64_t most_windows) {
  EvaluationText result;
  result.tokens = tokenizer.encode(text, true, false);
  result.window = std::max(window, kLeastWindow);
  result.windows = result.tokens.size() / result.window;
  if (most_windows != 0) result.windows = std::min(result.windows, most_windows);
  if (tokenizer.spec().add_bos) result.beginning = tokenizer.spec().bos;
  if (result.windows == 0) {
    throw Error(ErrorKind::invalid_value, "the text has " + std::to_string(result.tokens.size()) +
                                              (result.tokens.size() == 1 ? " token" : " tokens") +
                                              ": expected at least one window of " + std::to_string(result.window));
  }
  return result;
}

std::unique_ptr<Reference> model_reference(Session& session, const EvaluationText& text, std::uint64_t listed) {
  return std::make_unique<ModelReference>(session, text, listed);
}

void evaluate_window(Session& session, const EvaluationText& text, std::uint64_t index, Reference* reference,
                     Evaluation& evaluation) {
  const std::vector<std::uint32_t> tokens = text.window_tokens(index);
  for (const std::uint32_t token : tokens) check_token(token, session);
  const std::vector<Prediction>* expected =
      reference == nullptr ? nullptr : &reference->window(index, evaluation.reference_surprise);
  std::vector<double> surprises(text.scored_per_window());
  std::vector<Divergence> divergences(expected == nullptr ? 0 : surprises.size());
  score_window(session, text, tokens, [&](std::uint64_t position, std::span<const float> logits) {
    surprises[position] = surprise_of(logits, tokens[text.first_scored() + position + 1]);
    if (expected != nullptr) divergences[position] = diverge((*expected)[position], logits);
  });
  for (const double value : surprises) evaluation.surprise.add(value);
  for (const Divergence& one : divergences) {
    evaluation.least_divergence.add(one.least);
    evaluation.most_divergence.add(one.most);
    evaluation.squared_error.add(one.squared_error);
    evaluation.agreement.add(one.same_likeliest ? 1 : 0);
    evaluation.worst_divergence = std::max(evaluation.worst_divergence, one.least);
  }
  ++evaluation.windows;
}

Json to_json(const Evaluation& evaluation) {
  Json result;
  result.set("windows", evaluation.windows);
  result.set("surprise", mean_json(evaluation.surprise));
  result.set("reference_surprise", mean_json(evaluation.reference_surprise));
  result.set("least_divergence", mean_json(evaluation.least_divergence));
  result.set("most_divergence", mean_json(evaluation.most_divergence));
  result.set("squared_error", mean_json(evaluation.squared_error));
  result.set("agreement", mean_json(evaluation.agreement));
  result.set("worst_divergence", evaluation.worst_divergence);
  return result;
}

Evaluation evaluation_from_json(const Json& document, std::string_view where) {
  Evaluation result;
  result.windows = document.at("windows", where).as_u64(where);
  result.surprise = mean_from(document, "surprise", where);
  result.reference_surprise = mean_from(document, "reference_surprise", where);
  result.least_divergence = mean_from(document, "least_divergence", where);
  result.most_divergence = mean_from(document, "most_divergence", where);
  result.squared_error = mean_from(document, "squared_error", where);
  result.agreement = mean_from(document, "agreement", where);
  result.worst_divergence = document.at("worst_divergence", where).as_double(where);
  return result;
}

}  // namespace ingot::runtime

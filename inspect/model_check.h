// The smoke test after a conversion: are the numbers of a model sound, does it still read and write, and does it agree
// with the model it was made of? What counts as bad, and why, is said here and nowhere else.
//
// Goals: a verdict in seconds for a small model, for every scheme and layout; no false alarm for a sound model of
// English, however small or coarsely quantized. Non-goal: saying how good a model is (that is `eval`).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "format/base/progress.h"
#include "inspect/model_diff.h"
#include "inspect/tensor_health.h"
#include "inspect/text.h"
#include "runtime/evaluation.h"

namespace ingot::inspect {

/// Above this part of a matrix's rows zero, or of its groups dead, it is bad. Sound checkpoints have none or a handful;
/// one whose scales or codes were lost has them all. Rows of tokens (embedding, head) may be zero: padding of the
/// vocabulary.
inline constexpr double kMostDead = 0.1;
/// A matrix whose root mean square is this many times that of the same matrix in the middle layer, or this part of it,
/// is bad. Within a trained model they lie within a factor of ten; scales that were misread are off by powers of two or
/// ten.
inline constexpr double kMostLouder = 50;
/// How much harder the sample must be to predict with 4 to 7 tokens before each than with 64 to 127, as a quotient of
/// perplexities. Sound models, down to one of 600,000 parameters, reach 2.4 and more. Where positions or projections
/// are wrong, what stands further back does not help or harms: 0.6 to 0.9, however well neighbours are still predicted.
inline constexpr double kLeastContextGain = 1.4;
/// Beside a reference: root mean square of the error over that of the reference's values. Unrelated values of the same
/// size give 1.41, zeros 1, the coarsest useful quantization (one bit) 0.6.
inline constexpr double kMostTensorError = 0.8;
/// Mean Kullback-Leibler divergence from the reference in nats, and the share of equal likeliest tokens. Two bits a
/// weight give about 0.5 and 65 %; broken models more than 2 and less than 30 %. Above the notable one a sound model
/// gets a note (tiny-llama in Q4_0: 0.03, in 3 bits: 0.23).
inline constexpr double kMostDivergence = 1;
inline constexpr double kNotableDivergence = 0.1;
inline constexpr double kLeastAgreement = 0.5;

enum class Severity : std::uint8_t { note, bad };

struct Finding {
  Severity severity = Severity::note;
  std::string text;  // a sentence that names the tensor, the number and what was expected
};

struct CheckedTensor {
  std::string name, scheme;
  TensorHealth health;
};

/// What the model adds to a prompt, taking the likeliest token each time.
struct Continuation {
  std::string_view prompt;
  std::string text;
  std::uint64_t tokens = 0, distinct_tokens = 0;
};

struct TextCheck {
  std::uint64_t tokens = 0, windows = 0, window = 0;
  runtime::Evaluation seen;           // of the sample; the agreement too where there is a reference
  runtime::Evaluation short_context;  // of the sample in windows of 8 tokens
  bool has_reference = false;
  std::vector<Continuation> continuations;
  [[nodiscard]] double context_gain() const noexcept { return short_context.perplexity() / seen.perplexity(); }
};

struct ModelCheck {
  std::vector<CheckedTensor> tensors;
  std::optional<TextCheck> text;              // absent where the model cannot be run; a finding says why
  std::optional<ModelDifference> difference;  // of the values from the reference's
  std::vector<Finding> findings;
  double seconds = 0;
  [[nodiscard]] bool good() const noexcept;
};

/// Reads everything. `against` may be null: the model that this one was made of, or another form of it. Of a model
/// that is broken nothing is thrown: what was thrown becomes a finding. Progress may throw to stop.
[[nodiscard]] ModelCheck check_model(const tensor::Model& model, const tensor::Model* against,
                                     runtime::Numerics numerics, const Progress& progress);

[[nodiscard]] std::string check_text(const ModelCheck& check, const TextStyle& style);
[[nodiscard]] Json check_json(const ModelCheck& check);

/// Rms error of a compared tensor over the rms of the reference's values.
[[nodiscard]] double relative_error(const TensorDifference& difference) noexcept;

}  // namespace ingot::inspect

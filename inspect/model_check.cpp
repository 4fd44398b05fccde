#include "inspect/model_check.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "inspect/fold.h"
#include "inspect/overview.h"
#include "inspect/prose_sample.h"

namespace ingot::inspect {
namespace {

using tensor::Model;
using tensor::Tensor;

constexpr std::uint64_t kWindow = 128, kMostWindows = 12, kLeastWindow = 16, kShortWindow = 8;
constexpr std::uint64_t kContinuationTokens = 24;

/// One run of the check: collects what it finds.
class Checker {
 public:
  Checker(const Model& model, const Model* against, runtime::Numerics numerics, const Progress& progress)
      : model_(model), against_(against), numerics_(numerics), progress_(progress) {}

  ModelCheck run() {
    scan_tensors();
    compare_siblings();
    if (against_ != nullptr) compare_tensors();
    read_and_write();
    return std::move(check_);
  }

 private:
  void note(std::string text) { check_.findings.push_back({Severity::note, std::move(text)}); }
  void bad(std::string text) { check_.findings.push_back({Severity::bad, std::move(text)}); }
  void report(std::string_view phase, std::uint64_t done, std::uint64_t total) const {
    if (progress_) progress_(phase, done, total);
  }

  // --- numbers ---
  void scan_tensors();
  void judge(const Tensor& tensor, const TensorHealth& health);
  void note_dead();
  void compare_siblings();
  void compare_tensors();

  // --- text ---
  void read_and_write();
  void read_sample(runtime::Session& session, const runtime::EvaluationText& text);
  void judge_text(std::uint64_t vocab_size);
  void write_continuations(runtime::Session& session, const runtime::Tokenizer& tokenizer);

  const Model& model_;
  const Model* against_;
  runtime::Numerics numerics_;
  const Progress& progress_;
  ModelCheck check_;
};

std::string percent(double part) { return short_float(std::round(part * 1000) / 10) + " %"; }

void Checker::scan_tensors() {
  std::uint64_t total = 0, done = 0;
  for (const Tensor& tensor : model_.tensors) total += tensor.stored_bytes();
  for (const Tensor& tensor : model_.tensors) {
    report("reading", done, total);
    CheckedTensor checked{tensor.name, tensor::describe(tensor.scheme), {}};
    try {
      checked.health = tensor_health(tensor);
      judge(tensor, checked.health);
    } catch (const Error& error) {
      bad(tensor.name + ": cannot be decoded: " + error.what());
    }
    check_.tensors.push_back(std::move(checked));
    done += tensor.stored_bytes();
  }
  note_dead();
}

void Checker::judge(const Tensor& tensor, const TensorHealth& health) {
  if (!health.finite()) {
    bad(tensor.name + ": " + with_separators(health.nans) + " NaN and " + with_separators(health.infinities) +
        " infinite of " + plural(health.elements, "value"));
  }
  const bool rows_are_tokens = !tensor.shape.empty() && tensor.shape[0] == model_.config.vocab_size;
  if (!rows_are_tokens && health.zero_row_part() > kMostDead) {
    bad(tensor.name + ": " + with_separators(health.zero_rows) + " of " + plural(health.rows, "row") +
        " are zero: expected at most " + percent(kMostDead));
  }
  if (!rows_are_tokens && health.dead_group_part() > kMostDead) {
    bad(tensor.name + ": " + with_separators(health.dead_groups) + " of " + plural(health.groups, "group") +
        " are dead (scale 0, or all codes equal): expected at most " + percent(kMostDead));
  }
}

void Checker::note_dead() {
  std::uint64_t rows = 0, groups = 0;
  for (const CheckedTensor& tensor : check_.tensors) {
    rows += tensor.health.zero_rows;
    groups += tensor.health.dead_groups;
  }
  if (rows != 0) note(plural(rows, "row") + " of zeros in all tensors");
  if (groups != 0) note(plural(groups, "group") + " whose values are all the same, in all tensors");
}

/// The same matrix of all layers, and one that is far louder or quieter than the others.
void Checker::compare_siblings() {
  constexpr std::size_t kLeastSiblings = 3;
  std::vector<NamedItem> items;
  for (const CheckedTensor& tensor : check_.tensors) items.push_back({tensor.name, ""});
  for (const NameGroup& group : fold_names(items, true)) {
    std::vector<double> sizes;
    for (const std::size_t member : group.members)
      if (model_.tensors[member].shape.size() >= 2) sizes.push_back(check_.tensors[member].health.rms);
    if (sizes.size() < kLeastSiblings) continue;
    const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
    std::nth_element(sizes.begin(), middle, sizes.end());
    for (const std::size_t member : group.members) {
      const double size = check_.tensors[member].health.rms;
      if (model_.tensors[member].shape.size() < 2 || (size <= *middle * kMostLouder && size >= *middle / kMostLouder))
        continue;
      bad(check_.tensors[member].name + ": root mean square " + three_significant(size) + ", of the middle layer " +
          three_significant(*middle) + ": expected a factor of at most " + short_float(kMostLouder));
    }
  }
}

void Checker::compare_tensors() {
  check_.difference = compare_models(*against_, model_, Depth::values, progress_);
  for (const TensorDifference& difference : check_.difference->tensors) {
    switch (difference.relation) {
      case Relation::equal: break;
      case Relation::different:
        if (relative_error(difference) <= kMostTensorError) break;
        bad(difference.name + ": differs from the reference by " + three_significant(relative_error(difference)) +
            " of its values (root mean square): expected at most " + short_float(kMostTensorError));
        break;
      case Relation::other_shape:
        bad(difference.name + ": expected the reference's shape " + shape_text(difference.shape_a) + ", got " +
            shape_text(difference.shape_b));
        break;
      case Relation::only_in_a: bad(difference.name + ": only the reference has it"); break;
      case Relation::only_in_b: bad(difference.name + ": the reference does not have it"); break;
    }
  }
}

void Checker::read_sample(runtime::Session& session, const runtime::EvaluationText& text) {
  TextCheck& seen = *check_.text;
  std::unique_ptr<runtime::Session> other;
  std::unique_ptr<runtime::Reference> reference;
  if (against_ != nullptr) {
    other = std::make_unique<runtime::Session>(*against_, text.window, runtime::Numerics::exact);
    if (other->vocab_size() != session.vocab_size()) {
      throw Error(ErrorKind::mismatch, "the reference predicts " + std::to_string(other->vocab_size()) +
                                           " tokens, this model " + std::to_string(session.vocab_size()));
    }
    reference = runtime::model_reference(*other, text, 0);
    seen.has_reference = true;
  }
  const std::uint64_t bytes = text.window * sizeof(std::uint32_t), total = text.windows * bytes;
  for (std::uint64_t i = 0; i < text.windows; ++i) {
    report("predicting", i * bytes, total);
    runtime::evaluate_window(session, text, i, reference.get(), seen.seen);
  }
  runtime::EvaluationText pieces = text;
  pieces.window = kShortWindow;
  pieces.windows = text.windows * text.window / kShortWindow;
  for (std::uint64_t i = 0; i < pieces.windows; ++i) {
    report("predicting", total, total);
    runtime::evaluate_window(session, pieces, i, nullptr, seen.short_context);
  }
}

void Checker::judge_text(std::uint64_t vocab_size) {
  const TextCheck& text = *check_.text;
  if (text.seen.perplexity() >= static_cast<double>(vocab_size)) {
    bad("the sample: perplexity " + short_float(text.seen.perplexity()) +
        ", more than a model that knows nothing has (" + with_separators(vocab_size) + ")");
  } else if (text.window == kWindow && text.context_gain() < kLeastContextGain) {
    bad("the sample: perplexity " + short_float(text.seen.perplexity()) + ", with a few tokens before each " +
        short_float(text.short_context.perplexity()) + ", " + three_significant(text.context_gain()) +
        " times as much: expected at least " + short_float(kLeastContextGain) + " times (context does not help)");
  }
  if (!text.has_reference) return;
  if (text.seen.least_divergence.mean() > kMostDivergence) {
    bad("the sample: KL divergence from the reference " + three_significant(text.seen.least_divergence.mean()) +
        " nats: expected at most " + short_float(kMostDivergence));
  } else if (text.seen.least_divergence.mean() > kNotableDivergence) {
    note("the sample: KL divergence from the reference above " + short_float(kNotableDivergence) +
         " nats, perplexity " + short_float(text.seen.perplexity()) + " in place of " +
         short_float(std::exp(text.seen.reference_surprise.mean())) + ": much was lost on the way");
  }
  if (text.seen.agreement.mean() < kLeastAgreement) {
    bad("the sample: the same likeliest token as the reference for " + percent(text.seen.agreement.mean()) +
        ": expected at least " + percent(kLeastAgreement));
  }
}

void Checker::write_continuations(runtime::Session& session, const runtime::Tokenizer& tokenizer) {
  constexpr std::uint64_t kTokenBytes = sizeof(std::uint32_t);
  std::uint64_t monotonous = 0, written = 0;
  for (const std::string_view prompt : kPrompts) {
    session.reset();
    runtime::GenerateOptions options;
    options.max_tokens = kContinuationTokens;
    options.on_text = [&](std::string_view) {
      report("writing", ++written * kTokenBytes, kPrompts.size() * kContinuationTokens * kTokenBytes);
      return true;
    };
    const std::vector<std::uint32_t> tokens = tokenizer.encode(prompt, true, false);
    if (tokens.empty() || tokens.size() >= session.context()) continue;
    const runtime::GenerateResult result = runtime::generate(session, tokenizer, tokens, options);
    const std::set<std::uint32_t> distinct(result.tokens.begin(), result.tokens.end());
    check_.text->continuations.push_back({prompt, result.text, result.tokens.size(), distinct.size()});
    monotonous += distinct.size() <= 1 && result.tokens.size() == kContinuationTokens;
  }
  if (monotonous == 0) return;
  const std::string what = std::to_string(monotonous) + " of " + std::to_string(kPrompts.size()) +
                           " continuations are one token over and over";
  monotonous == kPrompts.size() ? bad(what) : note(what);
}

/// The model reads the sample and goes on with the prompts.
void Checker::read_and_write() {
  try {
    if (!model_.tokenizer && !model_.metadata.contains("source.tokenizer"))
      return note("not run: the model carries no tokenizer");
    const runtime::Tokenizer tokenizer = runtime::tokenizer_of(model_);
    const std::uint64_t limit = model_.config.context_length == 0 ? kWindow : model_.config.context_length;
    if (limit < kLeastWindow) return note("not run: the context is too short for the sample");
    const runtime::EvaluationText text =
        runtime::evaluation_text(tokenizer, kProseSample, std::min(kWindow, limit), kMostWindows);
    runtime::Session session(model_, text.window, numerics_, runtime::KvType::f32);
    check_.text.emplace();
    check_.text->tokens = text.tokens.size();
    check_.text->windows = text.windows;
    check_.text->window = text.window;
    read_sample(session, text);
    judge_text(session.vocab_size());
    write_continuations(session, tokenizer);
  } catch (const Error& error) {
    check_.text.reset();
    error.kind == ErrorKind::unsupported ? note(std::string("not run: ") + error.what())
                                         : bad(std::string("does not run: ") + error.what());
  }
}

}  // namespace

bool ModelCheck::good() const noexcept {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& finding) { return finding.severity == Severity::bad; });
}

double relative_error(const TensorDifference& difference) noexcept {
  const double error = difference.comparison.rms_error, size = difference.comparison.rms_value;
  if (error == 0) return 0;
  return size > 0 && std::isfinite(error) ? error / size : INFINITY;
}

ModelCheck check_model(const Model& model, const Model* against, runtime::Numerics numerics, const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  ModelCheck check = Checker(model, against, numerics, progress).run();
  check.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return check;
}

}  // namespace ingot::inspect

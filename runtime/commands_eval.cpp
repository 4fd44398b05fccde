// The verb eval: perplexity, and agreement with a reference.
#include <CLI/CLI.hpp>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>

#include "converters/commands.h"
#include "converters/registry.h"
#include "format/base/mapped_file.h"
#include "inspect/text.h"
#include "runtime/baseline.h"
#include "runtime/commands.h"
#include "runtime/model_identity.h"

namespace ingot::runtime {
namespace {

struct EvalCommand {
  std::string model, from, text, against, baseline, save_baseline, state;
  std::uint64_t window = 512, windows = 0;
  bool exact = false;
};

constexpr std::uint64_t kMostTextBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kMostStateBytes = std::uint64_t{1} << 20;

/// A model and its session, both alive as long as this.
struct Evaluated {
  tensor::Model model;
  Tokenizer tokenizer;
  std::unique_ptr<Session> session;
  explicit Evaluated(const std::string& path, const std::string& from)
      : model(convert::read_model(path, from)), tokenizer(tokenizer_of(model)) {}
  /// Keys and values are kept exactly, so that the figures are those of the weights.
  void start(std::uint64_t window, Numerics numerics) {
    session = std::make_unique<Session>(model, window, numerics, KvType::f32);
  }
};

/// What an earlier evaluation had seen, to which windows can be added; refuses the state of another one. The text is
/// known by the windows that were seen.
class StateFile {
 public:
  /// `other`: null without --against.
  StateFile(const EvalCommand& command, const tensor::Model& model, const tensor::Model* other,
            const EvaluationText& text)
      : path_(command.state),
        model_(command.model),
        against_(command.against + command.baseline),
        exact_(command.exact),
        text_(text) {
    if (path_.empty()) return;
    weights_ = identity_of(model).hex();
    if (other != nullptr) weights_ += " " + identity_of(*other).hex();
  }
  [[nodiscard]] Evaluation load() const {
    if (path_.empty() || !std::filesystem::exists(path_)) return {};
    const Json document = parse_json(read_text_file(path_, kMostStateBytes), path_);
    const Evaluation seen = evaluation_from_json(document.at("seen", path_), path_);
    const std::uint64_t comparable = std::min(seen.windows, text_.tokens.size() / text_.window);
    const std::string expected = canonical_json(identity(comparable)), got = canonical_json(document.at("of", path_));
    if (expected != got) {
      throw Error(ErrorKind::mismatch,
                  path_ + ": the state of another evaluation: expected " + expected + ", got " + got);
    }
    if (seen.windows > text_.windows) {
      throw Error(ErrorKind::mismatch, path_ + ": has seen more than is wanted: expected at most " +
                                           inspect::plural(text_.windows, "window") + ", got " +
                                           std::to_string(seen.windows));
    }
    return seen;
  }
  void store(const Evaluation& evaluation) const {
    if (path_.empty()) return;
    Json document;
    document.set("of", identity(evaluation.windows));
    document.set("seen", to_json(evaluation));
    OutputFile file(path_);
    file.write(as_bytes_view(canonical_json(document)));
    file.commit(false);
  }

 private:
  [[nodiscard]] Json identity(std::uint64_t windows) const {
    Json identity;
    identity.set("model", model_);
    identity.set("weights", weights_);
    identity.set("text", text_.hash_of(windows));
    identity.set("window", text_.window);
    identity.set("against", against_);
    identity.set("exact", exact_);
    return identity;
  }

  std::string path_, model_, against_, weights_;  // weights: which models stood under their names
  bool exact_;
  const EvaluationText& text_;
};

struct Outcome {
  Evaluation seen;
  std::optional<Evaluation> rounding;  // int8 inputs against exact ones, one window
  std::uint64_t tokens = 0, window = 0, windows = 0, listed = 0, vocab_size = 0;
};

/// Where the predictions to compare with come from, and what must outlive it.
struct References {
  std::optional<Evaluated> other;
  std::unique_ptr<Reference> source;
  std::unique_ptr<BaselineWriter> writer;
  [[nodiscard]] Reference* get() const noexcept { return writer ? writer.get() : source.get(); }
};

References make_references(const EvalCommand& command, const EvaluationText& text, Evaluated& ours, Outcome& outcome) {
  References references;
  if (!command.baseline.empty()) {
    references.source = read_baseline(command.baseline, text, outcome.vocab_size);
  } else if (!command.against.empty()) {
    references.other.emplace(command.against, "");
    references.other->start(text.window, Numerics::exact);
    if (references.other->session->vocab_size() != outcome.vocab_size) {
      throw Error(ErrorKind::mismatch, command.against + ": vocabulary: expected " +
                                           std::to_string(outcome.vocab_size) + " tokens, got " +
                                           std::to_string(references.other->session->vocab_size()));
    }
    references.source = model_reference(*references.other->session, text, 0);
  } else if (!command.save_baseline.empty()) {
    outcome.listed = usual_listed(outcome.vocab_size);
    references.source = model_reference(*ours.session, text, outcome.listed);
    references.writer = std::make_unique<BaselineWriter>(command.save_baseline, *references.source, outcome.listed);
  }
  return references;
}

/// What rounding inputs to int8 does to the first window, for the report of a fast evaluation.
std::optional<Evaluation> rounding_of(const EvalCommand& command, const EvaluationText& text, Evaluated& ours) {
  if (command.exact) return std::nullopt;
  Session exact(ours.model, text.window, Numerics::exact);
  const std::unique_ptr<Reference> reference = model_reference(exact, text, 0);
  Evaluation evaluation;
  evaluate_window(*ours.session, text, 0, reference.get(), evaluation);
  return evaluation;
}

Outcome evaluate(const EvalCommand& command, Console& console) {
  Evaluated ours(command.model, command.from);
  console.note_findings(ours.model.findings);
  const EvaluationText text =
      evaluation_text(ours.tokenizer, read_text_file(command.text, kMostTextBytes), command.window, command.windows);
  ours.start(text.window, command.exact ? Numerics::exact : Numerics::fast);
  Outcome outcome;
  outcome.tokens = text.tokens.size();
  outcome.window = text.window;
  outcome.windows = text.windows;
  outcome.vocab_size = ours.session->vocab_size();
  const References references = make_references(command, text, ours, outcome);
  const StateFile state(command, ours.model, references.other ? &references.other->model : nullptr, text);
  outcome.seen = state.load();
  const Progress progress = console.progress();
  const auto bytes_of = [&](std::uint64_t windows) { return windows * text.window * sizeof(std::uint32_t); };
  while (outcome.seen.windows < text.windows) {
    if (progress) progress("evaluating", bytes_of(outcome.seen.windows), bytes_of(text.windows));
    evaluate_window(*ours.session, text, outcome.seen.windows, references.get(), outcome.seen);
    state.store(outcome.seen);
  }
  outcome.rounding = rounding_of(command, text, ours);
  console.end_progress();
  if (references.writer) {
    references.writer->finish(text, outcome.vocab_size, outcome.seen.perplexity(),
                              std::filesystem::path(command.model).filename().string());
  }
  return outcome;
}

std::string with_error(double value, double error, int decimals) {
  return inspect::fixed(value, decimals) + " ± " + inspect::fixed(error, decimals);
}

std::string percent(const RunningMean& mean) {
  return inspect::fixed(100 * mean.mean(), 2) + " ± " + inspect::fixed(100 * mean.error(), 2) + " %";
}

void add_agreement(const Evaluation& seen, inspect::FactList& facts) {
  const RunningMean &least = seen.least_divergence, &most = seen.most_divergence;
  std::string divergence = inspect::three_significant(least.mean()) + " ± " + inspect::three_significant(least.error());
  if (most.mean() > least.mean() * 1.001) divergence += " (at most " + inspect::three_significant(most.mean()) + ")";
  facts.add("KL divergence", divergence + " nats, worst " + inspect::three_significant(seen.worst_divergence));
  facts.add("same likeliest", percent(seen.agreement));
  facts.add("log-probability",
            "differs by " + inspect::three_significant(std::sqrt(seen.squared_error.mean())) + " (root mean square)");
}

void print(const EvalCommand& command, const Outcome& outcome, Console& console) {
  inspect::FactList facts;
  facts.add("text", inspect::plural(outcome.tokens, "token") + ", " + inspect::plural(outcome.windows, "window") +
                        " of " + std::to_string(outcome.window) + ", the second half of each scored");
  facts.add("perplexity", with_error(outcome.seen.perplexity(), outcome.seen.perplexity_error(), 4) +
                              (command.exact ? "  (exact)" : ""));
  if (outcome.seen.reference_surprise.count > 0 && !command.against.empty()) {
    const double reference = std::exp(outcome.seen.reference_surprise.mean());
    facts.add("reference", inspect::fixed(reference, 4) + "  (" +
                               inspect::fixed(100 * (outcome.seen.perplexity() / reference - 1), 3) + " % from it)");
  }
  if (!command.against.empty() || !command.baseline.empty()) add_agreement(outcome.seen, facts);
  console.print(facts.render(console.style()));
  if (!outcome.rounding) return;
  console.print("\nint8 inputs against --exact, first window\n");
  inspect::FactList rounding;
  add_agreement(*outcome.rounding, rounding);
  console.print(rounding.render(console.style()));
}

Json agreement_json(const Evaluation& seen) {
  Json result;
  result.set("kl_divergence_least", seen.least_divergence.mean());
  result.set("kl_divergence_most", seen.most_divergence.mean());
  result.set("kl_divergence_error", seen.least_divergence.error());
  result.set("kl_divergence_worst", seen.worst_divergence);
  result.set("top1_agreement", seen.agreement.mean());
  result.set("log_probability_rms", std::sqrt(seen.squared_error.mean()));
  return result;
}

Json document(const EvalCommand& command, const Outcome& outcome) {
  Json result;
  result.set("tokens", outcome.tokens);
  result.set("window", outcome.window);
  result.set("windows", outcome.windows);
  result.set("numerics", command.exact ? "exact" : "fast");
  result.set("perplexity", outcome.seen.perplexity());
  result.set("perplexity_error", outcome.seen.perplexity_error());
  if (!command.against.empty()) {
    result.set("reference_perplexity", std::exp(outcome.seen.reference_surprise.mean()));
  }
  if (!command.against.empty() || !command.baseline.empty()) result.set("agreement", agreement_json(outcome.seen));
  if (outcome.rounding) result.set("int8_inputs", agreement_json(*outcome.rounding));
  return result;
}

}  // namespace

void add_eval_command(CLI::App& app, Console& console) {
  const auto command = std::make_shared<EvalCommand>();
  CLI::App* verb = app.add_subcommand("eval", "Measure perplexity, and agreement with a reference model");
  verb->add_option("MODEL", command->model, "File or directory in any layout")->required();
  verb->add_option("--text", command->text, "The text to predict")->required()->type_name("FILE");
  verb->add_option("--window", command->window, "Tokens of a window")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{4}, std::uint64_t{1} << 24))
      ->type_name("N");
  verb->add_option("--windows", command->windows, "Read only the first N windows; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1} << 40))
      ->type_name("N");
  CLI::Option* against =
      verb->add_option("--against", command->against, "Compare with this model, computed exactly")->type_name("MODEL");
  CLI::Option* baseline = verb->add_option("--baseline", command->baseline, "Compare with stored predictions")
                              ->type_name("FILE")
                              ->excludes(against);
  CLI::Option* save = verb->add_option("--save-baseline", command->save_baseline,
                                       "Store this model's predictions, in about 1/100 of its logits")
                          ->type_name("FILE")
                          ->excludes(against)
                          ->excludes(baseline);
  verb->add_option("--state", command->state,
                   "Keep what was seen here after each window, and go on from it (also with more --windows)")
      ->type_name("FILE")
      ->excludes(save);
  verb->add_flag("--exact", command->exact, "Decode weights exactly and add in float32");
  convert::add_from_option(*verb, command->from);
  console.add_common_options(*verb);
  verb->footer(
      "The perplexity is that of llama-perplexity: windows of 512 tokens from an empty context, the\n"
      "second half of each counts. ± is the standard error. A baseline lists the likeliest tokens only:\n"
      "the KL divergence is that of the list and the sum of the rest; in brackets is how great it can\n"
      "be whatever the rest looks like. A baseline of more windows than are read will do.\n\n"
      "Examples:\n"
      "  ingot eval model.gguf --text wiki.txt\n"
      "  ingot eval converted.ingot --text wiki.txt --against original/ --windows 20\n"
      "  ingot eval original/ --text wiki.txt --exact --save-baseline original.baseline\n"
      "  ingot eval converted.gguf --text wiki.txt --baseline original.baseline --state eval.json");
  verb->callback([command, &console] {
    const Outcome outcome = evaluate(*command, console);
    console.json() ? console.print_json(document(*command, outcome)) : print(*command, outcome, console);
  });
}

}  // namespace ingot::runtime

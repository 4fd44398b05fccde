#include <algorithm>
#include <cmath>

#include "inspect/model_check.h"

namespace ingot::inspect {
namespace {

constexpr std::size_t kMostFindings = 12;  // shown; the document has all

std::string with_error(double value, double error) { return fixed(value, 2) + " ± " + fixed(error, 2); }

std::string percent(double part, int decimals) { return fixed(100 * part, decimals) + " %"; }

std::string tensors_text(const ModelCheck& check) {
  std::uint64_t elements = 0, groups = 0, dead = 0, odd = 0;
  for (const CheckedTensor& tensor : check.tensors) {
    elements += tensor.health.elements;
    groups += tensor.health.groups;
    dead += tensor.health.dead_groups;
    odd += tensor.health.nans + tensor.health.infinities;
  }
  std::string text = plural(check.tensors.size(), "tensor") + " of " + human_count(elements) + " values, " +
                     (odd == 0 ? "all finite" : with_separators(odd) + " not finite");
  if (groups != 0) text += ", " + with_separators(dead) + " of " + plural(groups, "group") + " dead";
  return text;
}

/// The reference's tensor from which this model's differs most.
const TensorDifference* worst_of(const ModelDifference& difference) {
  const TensorDifference* worst = nullptr;
  for (const TensorDifference& one : difference.tensors) {
    if (one.relation != Relation::different) continue;
    if (worst == nullptr || relative_error(one) > relative_error(*worst)) worst = &one;
  }
  return worst;
}

void add_text(const TextCheck& text, FactList& facts) {
  const runtime::Evaluation& seen = text.seen;
  facts.add("perplexity", with_error(seen.perplexity(), seen.perplexity_error()) + " of a sample of " +
                              plural(text.tokens, "token") + ", " + three_significant(text.context_gain()) +
                              " times as much with little context");
  if (!text.has_reference) return;
  facts.add("reference", "perplexity " + fixed(std::exp(seen.reference_surprise.mean()), 2));
  facts.add("KL divergence", three_significant(seen.least_divergence.mean()) + " ± " +
                                 three_significant(seen.least_divergence.error()) + " nats, worst " +
                                 three_significant(seen.worst_divergence));
  facts.add("same likeliest", percent(seen.agreement.mean(), 1));
  facts.add("log-probability",
            "differs by " + three_significant(std::sqrt(seen.squared_error.mean())) + " (root mean square)");
}

std::string continuations_text(const TextCheck& text, const TextStyle& style) {
  TextTable table({{"PROMPT", TextTable::Align::left}, {"CONTINUATION", TextTable::Align::left, Elide::end}});
  for (const Continuation& one : text.continuations) {
    std::string line = one.text;
    std::replace(line.begin(), line.end(), '\n', ' ');
    table.add_row({printable(one.prompt), printable(line)});
  }
  return table.render(style);
}

std::string findings_text(const ModelCheck& check, const TextStyle& style) {
  std::string text;
  std::size_t shown = 0;
  for (const Severity severity : {Severity::bad, Severity::note}) {
    for (const Finding& finding : check.findings) {
      if (finding.severity != severity || ++shown > kMostFindings) continue;
      const bool is_bad = severity == Severity::bad;
      text += "  " + paint(is_bad ? "bad  " : "note ", is_bad ? Ink::bad : Ink::faint, style) + " " +
              printable(finding.text) + "\n";
    }
  }
  if (shown > kMostFindings) text += "  and " + std::to_string(shown - kMostFindings) + " more (--json lists all)\n";
  return text.empty() ? text : text + "\n";
}

Json text_json(const TextCheck& text) {
  Json json;
  json.set("tokens", text.tokens);
  json.set("windows", text.windows);
  json.set("window", text.window);
  json.set("perplexity", text.seen.perplexity());
  json.set("perplexity_error", text.seen.perplexity_error());
  json.set("short_context_perplexity", text.short_context.perplexity());
  if (text.has_reference) {
    json.set("reference_perplexity", std::exp(text.seen.reference_surprise.mean()));
    json.set("kl_divergence", text.seen.least_divergence.mean());
    json.set("kl_divergence_error", text.seen.least_divergence.error());
    json.set("kl_divergence_worst", text.seen.worst_divergence);
    json.set("top1_agreement", text.seen.agreement.mean());
    json.set("log_probability_rms", std::sqrt(text.seen.squared_error.mean()));
  }
  Json continuations(JsonArray{});
  for (const Continuation& one : text.continuations) {
    Json entry;
    entry.set("prompt", one.prompt);
    entry.set("text", one.text);
    entry.set("tokens", one.tokens);
    entry.set("distinct_tokens", one.distinct_tokens);
    continuations.push_back(std::move(entry));
  }
  json.set("continuations", std::move(continuations));
  return json;
}

Json health_json(const CheckedTensor& tensor) {
  Json json;
  json.set("name", tensor.name);
  json.set("scheme", tensor.scheme);
  json.set("elements", tensor.health.elements);
  json.set("nans", tensor.health.nans);
  json.set("infinities", tensor.health.infinities);
  json.set("rows", tensor.health.rows);
  json.set("zero_rows", tensor.health.zero_rows);
  json.set("groups", tensor.health.groups);
  json.set("dead_groups", tensor.health.dead_groups);
  json.set("rms", tensor.health.rms);
  return json;
}

}  // namespace

std::string check_text(const ModelCheck& check, const TextStyle& style) {
  FactList facts;
  facts.add("tensors", tensors_text(check));
  if (check.difference) {
    const TensorDifference* worst = worst_of(*check.difference);
    facts.add("differing", std::to_string(check.difference->tensors.size() - check.difference->count(Relation::equal)) +
                               " of " + plural(check.difference->tensors.size(), "tensor") +
                               (worst == nullptr ? std::string()
                                                 : ", most " + worst->name + " by " +
                                                       three_significant(relative_error(*worst)) + " of its values"));
  }
  if (check.text) add_text(*check.text, facts);
  std::string text = facts.render(style) + "\n";
  if (check.text) text += continuations_text(*check.text, style) + "\n";
  text += findings_text(check, style);
  return text + (check.good() ? paint("good", Ink::good, style) : paint("bad", Ink::bad, style)) + ", in " +
         human_seconds(check.seconds) + "\n";
}

Json check_json(const ModelCheck& check) {
  Json json;
  json.set("verdict", check.good() ? "good" : "bad");
  Json findings(JsonArray{});
  for (const Finding& finding : check.findings) {
    Json entry;
    entry.set("severity", finding.severity == Severity::bad ? "bad" : "note");
    entry.set("text", finding.text);
    findings.push_back(std::move(entry));
  }
  json.set("findings", std::move(findings));
  if (check.text) json.set("sample", text_json(*check.text));
  Json tensors(JsonArray{});
  for (const CheckedTensor& tensor : check.tensors) tensors.push_back(health_json(tensor));
  json.set("tensors", std::move(tensors));
  if (check.difference) {
    Json differences(JsonArray{});
    for (const TensorDifference& one : check.difference->tensors) {
      Json entry;
      entry.set("name", one.name);
      entry.set("relation", name(one.relation));
      if (one.relation == Relation::different && std::isfinite(relative_error(one)))
        entry.set("relative_error", relative_error(one));
      differences.push_back(std::move(entry));
    }
    json.set("differences", std::move(differences));
  }
  json.set("seconds", check.seconds);
  return json;
}

}  // namespace ingot::inspect

#include "inspect/conversion_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>

#include "format/base/utf8.h"

namespace ingot::inspect {
namespace {

using convert::ProofClass;
using convert::TensorOutcome;
using Align = TextTable::Align;

constexpr std::array<Ink, 4> kClassInks = {Ink::good, Ink::warning, Ink::warning, Ink::bad};

TextTable::Cell class_cell(ProofClass value) {
  return {std::string(convert::name(value)), kClassInks[static_cast<std::size_t>(value)]};
}

/// Outcomes with equal schemes and class.
struct OutcomeGroup {
  const TensorOutcome* first;
  std::uint64_t tensors = 0, source_bytes = 0, target_bytes = 0;
  double seconds = 0;
  void add(const TensorOutcome& outcome) {
    ++tensors;
    source_bytes += outcome.source_bytes;
    target_bytes += outcome.target_bytes;
    seconds += outcome.expected_seconds;
  }
};

std::vector<OutcomeGroup> group_outcomes(const convert::Forecast& forecast) {
  using Key = std::tuple<std::string, std::string, ProofClass>;
  std::map<Key, std::size_t> index;
  std::vector<OutcomeGroup> groups;
  for (const TensorOutcome& outcome : forecast.tensors) {
    const Key key{outcome.source_scheme, outcome.target_scheme, outcome.forecast};
    const auto [found, added] = index.emplace(key, groups.size());
    if (added) groups.push_back({&outcome});
    groups[found->second].add(outcome);
  }
  return groups;
}

/// A reason without what differs from tensor to tensor: its own name, and numbers ("zero point # in columns # to # of
/// row # is not whole"). Digits inside a word stay: q4_0, u4_g32.
std::string without_particulars(const TensorOutcome& outcome) {
  std::string reason = outcome.reason;
  if (const std::size_t at = reason.find(outcome.name); at != std::string::npos && !outcome.name.empty())
    reason.replace(at, outcome.name.size(), "#");
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_word = [&](char c) { return is_digit(c) || c == '_' || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); };
  std::string pattern;
  for (std::size_t at = 0; at < reason.size();) {
    std::size_t end = at;
    while (end < reason.size() && is_word(reason[end])) ++end;
    const std::string word = reason.substr(at, end - at);
    const bool is_number = !word.empty() && std::all_of(word.begin(), word.end(), is_digit);
    pattern += is_number || word == "inf" || word == "nan" ? "#" : word;
    if (end < reason.size()) pattern += reason[end++];
    at = end;
  }
  // Signs and fractions: -#.# is #.
  for (const std::string_view number : {"#.#", "-#"})
    for (std::size_t at = 0; (at = pattern.find(number)) != std::string::npos;) pattern.replace(at, number.size(), "#");
  return pattern;
}

/// Tensors of one class for one kind of reason.
struct ReasonGroup {
  const TensorOutcome* first;
  std::uint64_t tensors = 0;
  bool varies = false;  // in its particulars
};

std::vector<ReasonGroup> group_reasons(const convert::Forecast& forecast) {
  std::map<std::pair<ProofClass, std::string>, std::size_t> index;
  std::vector<ReasonGroup> groups;
  for (const TensorOutcome& outcome : forecast.tensors) {
    if (outcome.forecast == ProofClass::exact || outcome.reason.empty()) continue;
    const auto [found, added] = index.emplace(std::pair(outcome.forecast, without_particulars(outcome)), groups.size());
    if (added) groups.push_back({&outcome});
    ReasonGroup& group = groups[found->second];
    ++group.tensors;
    group.varies = group.varies || outcome.reason != group.first->reason;
  }
  // The worst class first, then the most frequent reason.
  std::stable_sort(groups.begin(), groups.end(), [](const ReasonGroup& a, const ReasonGroup& b) {
    return std::pair(a.first->forecast, a.tensors) > std::pair(b.first->forecast, b.tensors);
  });
  return groups;
}

/// One line for each kind of reason, and one for those beyond.
std::string reasons_text(const convert::Forecast& forecast, const TextStyle& style) {
  constexpr std::size_t kMostLines = 6;
  const std::vector<ReasonGroup> groups = group_reasons(forecast);
  std::string text;
  for (std::size_t i = 0; i < std::min(groups.size(), kMostLines); ++i) {
    const ReasonGroup& group = groups[i];
    std::string line = std::string(convert::name(group.first->forecast)) + ": " + printable(group.first->name);
    if (group.tensors > 1) line += " and " + with_separators(group.tensors - 1) + " more";
    line += std::string(group.varies ? ", for example: " : ": ") + printable(group.first->reason);
    text += wrap(line, style.width, 2) + "\n";
  }
  if (groups.size() <= kMostLines) return text;
  std::uint64_t others = 0;
  for (std::size_t i = kMostLines; i < groups.size(); ++i) others += groups[i].tensors;
  return text +
         wrap("and " + plural(groups.size() - kMostLines, "other reason") + " for " + plural(others, "tensor") +
                  " (--json lists every tensor)",
              style.width, 2) +
         "\n";
}

/// One line for each kind of note.
std::string notes_text(const convert::Forecast& forecast, const TextStyle& style) {
  std::map<std::string, std::pair<const TensorOutcome*, std::uint64_t>> kinds;
  for (const TensorOutcome& outcome : forecast.tensors) {
    if (outcome.note.empty()) continue;
    TensorOutcome shown = outcome;
    shown.reason = outcome.note;
    auto& [first, tensors] = kinds[without_particulars(shown)];
    if (tensors++ == 0) first = &outcome;
  }
  std::string text;
  for (const auto& [kind, group] : kinds) {
    const auto& [first, tensors] = group;
    std::string line = printable(first->name);
    if (tensors > 1) line += " and " + with_separators(tensors - 1) + " more, for example";
    text += wrap(line + ": " + printable(first->note), style.width, 2) + "\n";
  }
  return text;
}

std::string about(double seconds) {
  const std::string text = human_seconds(seconds);
  return text.starts_with('<') ? text : "~" + text;
}

/// Errors of all tensors of a class.
struct ClassErrors {
  double worst_steps = 0, worst_ulp = 0, squared_steps = 0, squared_ulp = 0;
  std::uint64_t elements = 0;
  void add(const convert::TensorProof& proof) {
    const auto count = static_cast<double>(proof.elements);
    worst_steps = std::max(worst_steps, proof.worst_error_steps);
    worst_ulp = std::max(worst_ulp, proof.worst_error_ulp);
    squared_steps += proof.rms_error_steps * proof.rms_error_steps * count;
    squared_ulp += proof.rms_error_ulp * proof.rms_error_ulp * count;
    elements += proof.elements;
  }
  [[nodiscard]] double rms(double squared) const {
    return elements == 0 ? 0 : std::sqrt(squared / static_cast<double>(elements));
  }
};

/// One row per class. Errors in steps and ulp have columns where there are any; of values rounded to few codes, units
/// of the last place say nothing.
TextTable proof_table(const convert::ConversionReport& report) {
  const bool lossy = std::any_of(report.proofs.begin(), report.proofs.end(),
                                 [](const auto& proof) { return proof.reached != ProofClass::exact; });
  std::vector<TextTable::Column> columns = {
      {"REACHED", Align::left}, {"TENSORS", Align::right}, {"WORST ERROR", Align::right}, {"IN STEPS", Align::right}};
  const bool has_codes = std::any_of(report.proofs.begin(), report.proofs.end(),
                                     [](const auto& proof) { return proof.reached == ProofClass::codes; });
  if (lossy) columns.push_back({"RMS", Align::right});
  if (has_codes) columns.insert(columns.end(), {{"IN ULP", Align::right}, {"RMS", Align::right}});
  columns.push_back({"WORST TENSOR", Align::left, Elide::front});
  TextTable table(std::move(columns));
  for (const ProofClass reached : {ProofClass::exact, ProofClass::codes, ProofClass::requantized}) {
    std::uint64_t count = 0;
    ClassErrors errors;
    const convert::TensorProof* worst = nullptr;
    for (const convert::TensorProof& proof : report.proofs) {
      if (proof.reached != reached) continue;
      ++count;
      errors.add(proof);
      if (worst == nullptr || proof.worst_error > worst->worst_error) worst = &proof;
    }
    if (count == 0) continue;
    const bool exact = reached == ProofClass::exact;
    if (reached == ProofClass::requantized) errors.worst_ulp = errors.squared_ulp = 0;
    const auto number = [&](double value) {
      return exact ? std::string("0") : value > 0 ? three_significant(value) : std::string("-");
    };
    std::vector<TextTable::Cell> row = {class_cell(reached), with_separators(count),
                                        three_significant(worst->worst_error), number(errors.worst_steps)};
    if (lossy) row.emplace_back(number(errors.rms(errors.squared_steps)));
    if (has_codes)
      for (const double value : {errors.worst_ulp, errors.rms(errors.squared_ulp)}) row.emplace_back(number(value));
    row.emplace_back(exact ? "" : printable(worst->name));
    table.add_row(std::move(row));
  }
  return table;
}

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(short_float(value)); }

}  // namespace

std::string forecast_text(const convert::Forecast& forecast, const TextStyle& style) {
  TextTable table({{"FROM", Align::left, Elide::end},
                   {"TO", Align::left},
                   {"PROOF", Align::left},
                   {"TENSORS", Align::right},
                   {"BYTES IN", Align::right},
                   {"BYTES OUT", Align::right},
                   {"TIME", Align::right}});
  const std::vector<OutcomeGroup> groups = group_outcomes(forecast);
  std::uint64_t tensors = 0, source_bytes = 0, target_bytes = 0;
  double seconds = 0;
  for (const OutcomeGroup& group : groups) {
    table.add_row({group.first->source_scheme, group.first->target_scheme, class_cell(group.first->forecast),
                   with_separators(group.tensors), human_bytes(group.source_bytes), human_bytes(group.target_bytes),
                   about(group.seconds)});
    tensors += group.tensors;
    source_bytes += group.source_bytes;
    target_bytes += group.target_bytes;
    seconds += group.seconds;
  }
  if (groups.size() > 1) {
    table.add_row({{"all", Ink::strong},
                   "",
                   "",
                   with_separators(tensors),
                   human_bytes(source_bytes),
                   human_bytes(target_bytes),
                   about(seconds)});
  }
  return paint("Forecast", Ink::strong, style) + "\n" + table.render(style) + reasons_text(forecast, style) +
         notes_text(forecast, style);
}

std::string needs_text(const convert::Forecast& forecast, std::uint64_t disk_bytes) {
  std::string saved;
  if (disk_bytes < forecast.output_bytes)
    saved = " (" + human_bytes(forecast.output_bytes - disk_bytes) +
            " less, because the source goes while the output grows)";
  return "Needs: " + human_bytes(disk_bytes) + " of disk beside what stands at the output" + saved + ", about " +
         human_bytes(forecast.peak_memory_bytes) + " of memory\n";
}

std::string proof_text(const convert::ConversionReport& report, const TextStyle& style) {
  std::string text;
  if (report.proven) {
    const bool equal = report.model_before == report.model_after;
    FactList list;
    list.add("fingerprint before", report.model_before.hex());
    list.add("fingerprint after", report.model_after.hex() + (equal ? "  equal" : "  different"));
    text += paint("Proof", Ink::strong, style) + " (read back from the written file)\n" +
            proof_table(report).render(style) + list.render(style);
  } else {
    text += "Not proven (--no-proof)\n";
  }
  if (!report.dropped.empty()) text += "Left out: " + plural(report.dropped.size(), "tensor") + " (--drop)\n";
  text += "Wrote " + human_bytes(report.written_bytes) + " in " + human_seconds(report.write_seconds) + " (" +
          human_rate(static_cast<double>(report.written_bytes), report.write_seconds) + ")";
  if (report.proven) text += ", proven in " + human_seconds(report.prove_seconds);
  text += "\n";
  for (const std::string& file : report.repeated_files)
    text += "Made again: " + printable(file) + " (its bytes were not those that had been written)\n";
  return text;
}

namespace {

void add_dropped(Json& json, const std::vector<std::string>& tensors) {
  if (tensors.empty()) return;
  Json dropped(JsonArray{});
  for (const std::string& tensor : tensors) dropped.push_back(to_valid_utf8(tensor));
  json.set("dropped", std::move(dropped));
}

}  // namespace

Json forecast_json(const convert::Forecast& forecast, std::uint64_t disk_bytes,
                   const std::vector<std::string>& dropped) {
  Json tensors(JsonArray{});
  for (const TensorOutcome& outcome : forecast.tensors) {
    Json entry;
    entry.set("name", to_valid_utf8(outcome.name));
    entry.set("forecast", convert::name(outcome.forecast));
    entry.set("source_scheme", outcome.source_scheme);
    entry.set("target_scheme", outcome.target_scheme);
    entry.set("source_bytes", outcome.source_bytes);
    entry.set("target_bytes", outcome.target_bytes);
    entry.set("expected_seconds", number_json(outcome.expected_seconds));
    if (!outcome.reason.empty()) entry.set("reason", outcome.reason);
    if (!outcome.note.empty()) entry.set("note", outcome.note);
    tensors.push_back(std::move(entry));
  }
  Json json;
  json.set("output_bytes", forecast.output_bytes);
  json.set("disk_bytes", disk_bytes);
  json.set("peak_memory_bytes", forecast.peak_memory_bytes);
  add_dropped(json, dropped);
  if (!forecast.findings.empty()) {
    Json findings(JsonArray{});
    for (const std::string& finding : forecast.findings) findings.push_back(to_valid_utf8(finding));
    json.set("findings", std::move(findings));
  }
  json.set("tensors", std::move(tensors));
  return json;
}

Json report_json(const convert::ConversionReport& report) {
  Json json;
  json.set("forecast", forecast_json(report.forecast, report.disk_bytes));
  add_dropped(json, report.dropped);
  json.set("proven", report.proven);
  if (report.proven) {
    Json proofs(JsonArray{});
    for (const convert::TensorProof& proof : report.proofs) {
      Json entry;
      entry.set("name", to_valid_utf8(proof.name));
      entry.set("reached", convert::name(proof.reached));
      entry.set("before", proof.before.hex());
      entry.set("after", proof.after.hex());
      entry.set("worst_error", number_json(proof.worst_error));
      entry.set("worst_error_steps", number_json(proof.worst_error_steps));
      entry.set("rms_error_steps", number_json(proof.rms_error_steps));
      entry.set("worst_error_ulp", number_json(proof.worst_error_ulp));
      entry.set("rms_error_ulp", number_json(proof.rms_error_ulp));
      proofs.push_back(std::move(entry));
    }
    json.set("fingerprint_before", report.model_before.hex());
    json.set("fingerprint_after", report.model_after.hex());
    json.set("proofs", std::move(proofs));
  }
  Json files(JsonArray{});
  for (const std::filesystem::path& file : report.files) files.push_back(to_valid_utf8(file.string()));
  json.set("files", std::move(files));
  json.set("source_bytes", report.source_bytes);
  json.set("written_bytes", report.written_bytes);
  json.set("kept_bytes", report.kept_bytes);
  if (!report.repeated_files.empty()) {
    Json repeated(JsonArray{});
    for (const std::string& file : report.repeated_files) repeated.push_back(file);
    json.set("repeated_files", std::move(repeated));
  }
  json.set("forecast_seconds", number_json(report.forecast_seconds));
  json.set("write_seconds", number_json(report.write_seconds));
  json.set("prove_seconds", number_json(report.prove_seconds));
  return json;
}

}  // namespace ingot::inspect

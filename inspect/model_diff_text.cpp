// Text and JSON of a model comparison.
#include <algorithm>
#include <cmath>

#include "format/base/utf8.h"
#include "inspect/fold.h"
#include "inspect/model_diff.h"
#include "inspect/overview.h"

namespace ingot::inspect {
namespace {

using Align = TextTable::Align;

std::string summary(const ModelDifference& difference) {
  const std::uint64_t equal = difference.count(Relation::equal);
  std::string text = plural(equal, "tensor") + " equal";
  const auto add = [&](Relation relation, std::string_view words) {
    const std::uint64_t count = difference.count(relation);
    if (count > 0) text += ", " + with_separators(count) + " " + std::string(words);
  };
  add(Relation::different, "different");
  add(Relation::other_shape, "of another shape");
  add(Relation::only_in_a, "only in A");
  add(Relation::only_in_b, "only in B");
  return text;
}

/// The structural differences: tensors that cannot be compared.
std::string unmatched_text(const ModelDifference& difference, const TextStyle& style) {
  TextTable table(
      {{"TENSOR", Align::left, Elide::front}, {"RELATION", Align::left}, {"IN A", Align::left}, {"IN B", Align::left}});
  for (const TensorDifference& tensor : difference.tensors) {
    if (tensor.relation == Relation::equal || tensor.relation == Relation::different) continue;
    const auto side = [](const std::string& scheme, const tensor::Shape& shape) {
      return scheme.empty() ? std::string("-") : scheme + " " + shape_text(shape);
    };
    table.add_row({printable(tensor.name), std::string(name(tensor.relation)), side(tensor.scheme_a, tensor.shape_a),
                   side(tensor.scheme_b, tensor.shape_b)});
  }
  return table.empty() ? std::string() : "\n" + table.render(style);
}

std::string facts_text(std::string_view title, const std::vector<FactDifference>& facts, const TextStyle& style) {
  if (facts.empty()) return "";
  TextTable table(
      {{std::string(title), Align::left}, {"IN A", Align::left, Elide::end}, {"IN B", Align::left, Elide::end}});
  for (const FactDifference& fact : facts)
    table.add_row({fact.key, fact.a.empty() ? "-" : fact.a, fact.b.empty() ? "-" : fact.b});
  return "\n" + table.render(style);
}

/// Worst and summed figures of tensors that are shown as one.
std::vector<TextTable::Cell> difference_row(const std::string& pattern,
                                            const std::vector<const TensorDifference*>& members) {
  std::uint64_t elements = 0, differing = 0;
  double worst = 0, steps = 0, squared_error = 0, squared_value = 0;
  for (const TensorDifference* member : members) {
    const convert::ValueComparison& comparison = member->comparison;
    const auto count = static_cast<double>(comparison.elements);
    elements += comparison.elements;
    differing += comparison.differing;
    worst = std::max(worst, comparison.worst_error);
    steps = std::max(steps, comparison.worst_error_steps);
    squared_error += comparison.rms_error * comparison.rms_error * count;
    squared_value += comparison.rms_value * comparison.rms_value * count;
  }
  const double all = std::max(1.0, static_cast<double>(elements));
  const double share = 100.0 * static_cast<double>(differing) / all;
  const std::string& scheme_a = members.front()->scheme_a;
  const std::string& scheme_b = members.front()->scheme_b;
  return {printable(pattern),
          members.size() > 1 ? "x" + std::to_string(members.size()) : "",
          scheme_a == scheme_b ? scheme_a : scheme_a + " -> " + scheme_b,
          share < 1 ? with_separators(differing) : fixed(share, 1) + " %",
          three_significant(worst),
          steps > 0 ? three_significant(steps) : "-",
          three_significant(std::sqrt(squared_error / all)),
          three_significant(std::sqrt(squared_value / all))};
}

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(short_float(value)); }

Json facts_json(const std::vector<FactDifference>& facts) {
  Json json(JsonArray{});
  for (const FactDifference& fact : facts) {
    Json entry;
    entry.set("key", fact.key);
    entry.set("a", fact.a);
    entry.set("b", fact.b);
    json.push_back(std::move(entry));
  }
  return json;
}

}  // namespace

std::string equality_text(const ModelDifference& difference, const TextStyle& style) {
  if (difference.values_equal()) {
    return paint("equal", Ink::good, style) + ": every value of " + plural(difference.tensors.size(), "tensor") + "\n";
  }
  std::string text = paint("not equal", Ink::bad, style) + ": " + summary(difference) + "\n";
  TextTable table({{"TENSOR", Align::left, Elide::front},
                   {"SCHEME A", Align::left},
                   {"SCHEME B", Align::left},
                   {"FINGERPRINT A", Align::left},
                   {"FINGERPRINT B", Align::left}});
  constexpr std::size_t kDigits = 12;
  for (const TensorDifference& tensor : difference.tensors) {
    if (tensor.relation != Relation::different) continue;
    table.add_row({printable(tensor.name), tensor.scheme_a, tensor.scheme_b,
                   tensor.comparison.fingerprint_a.hex().substr(0, kDigits),
                   tensor.comparison.fingerprint_b.hex().substr(0, kDigits)});
  }
  if (!table.empty()) text += "\n" + table.render(style);
  return text + unmatched_text(difference, style);
}

std::string difference_text(const ModelDifference& difference, bool fold, const TextStyle& style) {
  using Drop = TextTable::Drop;
  std::string text = summary(difference) + "\n";
  TextTable table({{"TENSOR", Align::left, Elide::front},
                   {"COUNT", Align::right},
                   {"SCHEMES", Align::left, Elide::no, Drop::late},
                   {"DIFFERING", Align::right},
                   {"WORST", Align::right},
                   {"STEPS", Align::right},
                   {"RMS", Align::right},
                   {"RMS OF A", Align::right, Elide::no, Drop::early}});
  std::vector<const TensorDifference*> different;
  std::vector<NamedItem> items;
  for (const TensorDifference& tensor : difference.tensors) {
    if (tensor.relation != Relation::different) continue;
    different.push_back(&tensor);
    items.push_back({tensor.name, tensor.scheme_a + " " + tensor.scheme_b + shape_text(tensor.shape_a)});
  }
  for (const NameGroup& group : fold_names(items, fold)) {
    std::vector<const TensorDifference*> members;
    for (const std::size_t i : group.members) members.push_back(different[i]);
    table.add_row(difference_row(group.pattern, members));
  }
  if (!table.empty()) text += "\n" + table.render(style);
  text += unmatched_text(difference, style);
  text += facts_text("CONFIG", difference.config, style);
  text += facts_text("METADATA", difference.metadata, style);
  text += facts_text("TOKENIZER", difference.tokenizer, style);
  return text;
}

Json difference_json(const ModelDifference& difference, Depth depth) {
  Json tensors(JsonArray{});
  for (const TensorDifference& tensor : difference.tensors) {
    Json entry;
    entry.set("name", to_valid_utf8(tensor.name));
    entry.set("relation", name(tensor.relation));
    if (!tensor.scheme_a.empty()) entry.set("scheme_a", tensor.scheme_a);
    if (!tensor.scheme_b.empty()) entry.set("scheme_b", tensor.scheme_b);
    if (tensor.relation == Relation::equal || tensor.relation == Relation::different) {
      const convert::ValueComparison& comparison = tensor.comparison;
      entry.set("fingerprint_a", comparison.fingerprint_a.hex());
      entry.set("fingerprint_b", comparison.fingerprint_b.hex());
      entry.set("elements", comparison.elements);
      if (depth == Depth::values) {
        entry.set("differing", comparison.differing);
        entry.set("worst_error", number_json(comparison.worst_error));
        entry.set("worst_error_steps", number_json(comparison.worst_error_steps));
        entry.set("worst_element", comparison.worst_element);
        entry.set("rms_error", number_json(comparison.rms_error));
        entry.set("rms_value", number_json(comparison.rms_value));
      }
    }
    tensors.push_back(std::move(entry));
  }
  Json json;
  json.set("values_equal", difference.values_equal());
  for (const Relation relation :
       {Relation::equal, Relation::different, Relation::other_shape, Relation::only_in_a, Relation::only_in_b})
    json.set(name(relation), difference.count(relation));
  json.set("config", facts_json(difference.config));
  json.set("metadata", facts_json(difference.metadata));
  json.set("tokenizer", facts_json(difference.tokenizer));
  json.set("tensors", std::move(tensors));
  return json;
}

}  // namespace ingot::inspect

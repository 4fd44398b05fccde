// What folds into what, and whether it is worth it.
#include "converters/conversion/fold.h"

#include <algorithm>
#include <array>
#include <optional>

#include "converters/conversion/logical_order.h"
#include "converters/declared_transforms.h"
#include "format/base/error.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert {
namespace {

using tensor::Permutation;
using tensor::Tensor;
using tensor::TransformKind;

/// Architectures where nothing but products and functions of single elements stands between the matrices of a rule.
constexpr auto kArchitectures =
    std::to_array<std::string_view>({"llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma",
                                     "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "gpt2"});

/// A matrix and where its inputs are made. Stems without `.weight`, of the same module.
struct Rule {
  std::string_view consumer;
  std::array<std::string_view, 2> producers;  // empty: none
  std::uint32_t copies;                       // the order holds for so many equal runs of the producers' rows ...
  bool heads;                                 // ... or for the values of the heads, behind queries and keys
};
constexpr auto kRules = std::to_array<Rule>({
    {"down_proj", {"up_proj", "gate_proj"}, 1, false},
    {"down_proj", {"gate_up_proj", ""}, 2, false},
    {"w2", {"w1", "w3"}, 1, false},
    {"o_proj", {"v_proj", ""}, 1, true},
    {"o_proj", {"qkv_proj", ""}, 1, true},
    {"c_proj", {"c_fc", ""}, 1, false},
    {"c_proj", {"c_attn", ""}, 1, true},
});

Permutation shared(std::vector<std::uint32_t> order) {
  return std::make_shared<const std::vector<std::uint32_t>>(std::move(order));
}

/// Looks for the fold of one matrix.
class Search {
 public:
  Search(const tensor::Model& model, const tensor::TensorIndex& tensors) : config_(model.config), tensors_(tensors) {}

  /// Nothing: `obstacle` says why.
  std::optional<Fold> fold_of(const Tensor& consumer, const Permutation& columns, std::string& obstacle) const {
    constexpr std::string_view kWeight = ".weight";
    const std::string stem = consumer.name.substr(0, consumer.name.size() - kWeight.size());
    const std::size_t dot = stem.rfind('.');
    const std::string module = dot == std::string::npos ? "" : stem.substr(0, dot + 1);
    obstacle = kSharedInputs;
    for (const Rule& rule : kRules) {
      if (!consumer.name.ends_with(kWeight) || stem.substr(module.size()) != rule.consumer) continue;
      if (obstacle == kSharedInputs) obstacle = "the layer before it is not in the model";
      Fold fold{consumer.name, columns, {}};
      if (add_producers(rule, module, fold, obstacle)) return fold;
    }
    return std::nullopt;
  }

 private:
  static constexpr std::string_view kSharedInputs = "its inputs come from a layer that other matrices share";

  /// `obstacle` stays where there is no such layer.
  bool add_producers(const Rule& rule, const std::string& module, Fold& fold, std::string& obstacle) const {
    for (const std::string_view producer : rule.producers) {
      if (producer.empty()) continue;
      const std::string name = module + std::string(producer);
      const Tensor* weight = tensors_.find(name + ".weight");
      if (weight == nullptr || weight->shape.size() != 2) return false;
      const Permutation rows = rule.heads ? rows_of_values(*fold.columns, weight->shape[0], obstacle)
                                          : repeated(*fold.columns, rule.copies, weight->shape[0], obstacle);
      if (rows == nullptr) return false;
      fold.rows[weight->name] = rows;
      if (const Tensor* bias = tensors_.find(name + ".bias")) fold.rows[bias->name] = rows;
    }
    return true;
  }

  static Permutation repeated(const std::vector<std::uint32_t>& columns, std::uint32_t copies, std::uint64_t rows,
                              std::string& obstacle) {
    if (rows != copies * columns.size()) {
      obstacle = "the layer before has " + std::to_string(rows) + " rows";
      return nullptr;
    }
    std::vector<std::uint32_t> order;
    for (std::uint32_t copy = 0; copy < copies; ++copy)
      for (const std::uint32_t column : columns)
        order.push_back(static_cast<std::uint32_t>(copy * columns.size()) + column);
    return shared(std::move(order));
  }

  /// Each head of the values feeds the columns of `group` query heads.
  Permutation rows_of_values(const std::vector<std::uint32_t>& columns, std::uint64_t rows,
                             std::string& obstacle) const {
    const std::uint64_t heads = config_.head_count;
    const std::uint64_t kv_heads = config_.kv_head_count != 0 ? config_.kv_head_count : heads;
    if (heads == 0 || kv_heads == 0 || heads % kv_heads != 0 || columns.size() % heads != 0) {
      obstacle = "the heads of the model are unknown";
      return nullptr;
    }
    const std::uint64_t head_dim = columns.size() / heads, group = heads / kv_heads;
    const std::uint64_t values = kv_heads * head_dim;
    if (rows != values && rows != columns.size() + 2 * values) {  // alone, or behind queries and keys
      obstacle = "the layer before has " + std::to_string(rows) + " rows";
      return nullptr;
    }
    std::vector<std::uint32_t> order(rows);
    for (std::uint64_t row = 0; row < rows; ++row) order[row] = static_cast<std::uint32_t>(row);
    for (std::uint64_t column = 0; column < columns.size(); ++column) {
      const std::uint64_t head = column / head_dim, in_head = columns[column] % head_dim;
      if (columns[column] / head_dim != head) {
        obstacle = "its order leaves the attention heads (column " + std::to_string(columns[column]) +
                   " stands in head " + std::to_string(head) + ")";
        return nullptr;
      }
      const std::uint64_t place = head / group * head_dim + column % head_dim;
      std::uint32_t& row = order[rows - values + place];
      const auto wanted = static_cast<std::uint32_t>(rows - values + head / group * head_dim + in_head);
      if (head % group == 0) {
        row = wanted;
      } else if (row != wanted) {
        obstacle = "its order differs between heads that share values (heads " + std::to_string(head / group * group) +
                   " and " + std::to_string(head) + ")";
        return nullptr;
      }
    }
    return shared(std::move(order));
  }

  const tensor::ModelConfig& config_;
  const tensor::TensorIndex& tensors_;
};

/// Is one of the tensors stored once for two names?
bool is_shared(const tensor::Model& model, const Fold& fold) {
  return std::any_of(model.aliases.begin(), model.aliases.end(), [&](const auto& alias) {
    return alias.second == fold.consumer || fold.rows.contains(alias.second);
  });
}

/// Names of the matrices among the producers.
std::string producers_of(const Fold& fold) {
  std::string names;
  for (const auto& [name, rows] : fold.rows)
    if (name.ends_with(".weight")) names += (names.empty() ? "" : ", ") + name;
  return names;
}

tensor::Model all_in_logical_order(const tensor::Model& model) {
  tensor::Model result = model;
  for (Tensor& tensor : result.tensors) tensor = in_logical_order(tensor);
  std::erase_if(result.attachments,
                [](const tensor::Attachment& attachment) { return attachment.name == kDeclarationAttachment; });
  return result;
}

/// `model` in logical order; the result declares the folds.
Rearranged folded(const tensor::Model& model, const std::vector<Fold>& folds) {
  Rearranged result{model, {}, {}};
  if (folds.empty()) return result;
  Declaration declaration;
  std::map<std::string, Tensor*> by_name;  // names of its own: the tensors are replaced
  for (Tensor& tensor : result.model.tensors) by_name.emplace(tensor.name, &tensor);
  for (const Fold& fold : folds) {
    Tensor& consumer = *by_name.at(fold.consumer);
    consumer = with_groups_in_order(consumer);
    declaration[fold.consumer] = {{TransformKind::column_order, 0, fold.columns}};
    result.notes[fold.consumer] = "act-order folded into " + producers_of(fold);
    for (const auto& [name, rows] : fold.rows) {
      *by_name.at(name) = with_rows_moved(*by_name.at(name), rows);
      declaration[name] = {{TransformKind::row_order, 0, rows}};
      result.notes[name] = "rows in the act-order of " + fold.consumer;
    }
  }
  const auto text = std::make_shared<const std::string>(declaration_text(declaration));
  result.model.attachments.push_back({std::string(kDeclarationAttachment), as_bytes_view(*text), text});
  return result;
}

/// Nothing where the layout cannot hold the model at all.
std::optional<Forecast> forecast_of(const tensor::Model& model, const Layout& layout, const WriteOptions& options) {
  try {
    return layout.forecast(model, options);
  } catch (const Error& error) {
    if (error.kind != ErrorKind::unsupported) throw;
    return std::nullopt;
  }
}

std::map<std::string_view, const TensorOutcome*> by_name(const Forecast& forecast) {
  std::map<std::string_view, const TensorOutcome*> result;
  for (const TensorOutcome& outcome : forecast.tensors) result.emplace(outcome.name, &outcome);
  return result;
}

/// Does the layout keep more of the matrix, and no less of what its inputs come from?
bool is_worth_it(const Fold& fold, const Forecast& after, const std::optional<Forecast>& before) {
  if (!before) return true;
  const auto old_outcomes = by_name(*before), outcomes = by_name(after);
  const TensorOutcome *old = old_outcomes.at(fold.consumer), *now = outcomes.at(fold.consumer);
  const bool gains = now->forecast != old->forecast
                         ? now->forecast < old->forecast
                         : now->forecast <= ProofClass::codes && now->target_bytes < old->target_bytes;
  return gains && std::all_of(fold.rows.begin(), fold.rows.end(), [&](const auto& entry) {
           return outcomes.at(entry.first)->forecast <= old_outcomes.at(entry.first)->forecast;
         });
}

/// The words of the forecast are about the source.
void restate(const tensor::Model& source, const FoldSurvey& survey, Rearranged& result) {
  const tensor::TensorIndex tensors(source);
  for (TensorOutcome& outcome : result.forecast.tensors) {
    if (const Tensor* tensor = tensors.find(outcome.name)) outcome.source_scheme = tensor::describe(tensor->scheme);
    if (const auto note = result.notes.find(outcome.name); note != result.notes.end()) outcome.note = note->second;
    const auto obstacle = survey.obstacles.find(outcome.name);
    if (obstacle == survey.obstacles.end() || outcome.forecast <= ProofClass::codes) continue;
    outcome.reason +=
        (outcome.reason.empty() ? "" : "; ") + std::string("its act-order cannot be folded: ") + obstacle->second;
  }
}

}  // namespace

FoldSurvey find_folds(const tensor::Model& model) {
  FoldSurvey survey;
  const bool known =
      std::find(kArchitectures.begin(), kArchitectures.end(), model.config.architecture) != kArchitectures.end();
  const tensor::TensorIndex tensors(model);
  const Search search(model, tensors);
  for (const Tensor& tensor : model.tensors) {
    const Permutation columns = act_order(tensor);
    if (columns == nullptr) continue;
    std::string& obstacle = survey.obstacles[tensor.name];
    obstacle = "what stands between the layers of architecture '" + model.config.architecture + "' is unknown";
    std::optional<Fold> fold = known ? search.fold_of(tensor, columns, obstacle) : std::nullopt;
    if (!fold) continue;
    if (is_shared(model, *fold)) {
      obstacle = "another tensor is the same as one that would be moved";
      continue;
    }
    survey.obstacles.erase(tensor.name);
    survey.folds.push_back(std::move(*fold));
  }
  return survey;
}

std::shared_ptr<const Rearranged> rearrange(const tensor::Model& model, const Layout& layout,
                                            const WriteOptions& options) {
  if (layout.keeps_source) return nullptr;  // declares what the source declares
  const bool declared = model.find_attachment(kDeclarationAttachment) != nullptr ||
                        std::any_of(model.tensors.begin(), model.tensors.end(), is_ordered);
  const bool carries_order = layout.carries_column_order != nullptr && layout.carries_column_order(options);
  const bool ordered = !carries_order &&
                       std::any_of(model.tensors.begin(), model.tensors.end(),
                                   [](const Tensor& tensor) { return tensor.scheme.order != tensor::Order::identity; });
  if (!declared && !ordered) return nullptr;
  const tensor::Model plain = all_in_logical_order(model);
  const FoldSurvey survey = carries_order ? FoldSurvey{} : find_folds(plain);
  if (!declared && survey.folds.empty() && survey.obstacles.empty()) return nullptr;
  std::vector<Fold> folds = survey.folds;
  if (!folds.empty()) {
    const std::optional<Forecast> before = forecast_of(plain, layout, options);
    const Rearranged all = folded(plain, folds);
    const Forecast after = layout.forecast(all.model, options);
    std::erase_if(folds, [&](const Fold& fold) { return !is_worth_it(fold, after, before); });
  }
  auto result = std::make_shared<Rearranged>(folded(plain, folds));
  result->forecast = layout.forecast(result->model, options);
  restate(model, survey, *result);
  return result;
}

}  // namespace ingot::convert

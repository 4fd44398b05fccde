#include "inspect/model_diff.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "format/tensor/fingerprint.h"
#include "format/tensor/tensor_index.h"

namespace ingot::inspect {
namespace {

using tensor::Model;
using tensor::Tensor;

constexpr std::array<std::string_view, 5> kRelationNames = {"equal", "different", "other_shape", "only_in_a",
                                                            "only_in_b"};

/// Shown form of one JSON value; long texts and arrays by size.
std::string value_text(const Json* value) {
  constexpr std::size_t kLongest = 60;
  if (value == nullptr) return "";
  if (value->is_array()) return plural(value->as_array("").size(), "entry");
  if (value->is_string() && value->as_string("").empty()) return "\"\"";
  if (value->is_string()) return elide(printable(value->as_string("")), kLongest, Elide::middle);
  return elide(canonical_json(*value), kLongest, Elide::middle);
}

std::string array_difference(const JsonArray& a, const JsonArray& b) {
  const std::size_t common = std::min(a.size(), b.size());
  std::size_t differing = 0, first = common;
  for (std::size_t i = 0; i < common; ++i) {
    if (a[i] == b[i]) continue;
    first = std::min(first, i);
    ++differing;
  }
  return differing == 0 ? std::string()
                        : plural(differing, "entry") + " differ, the first is number " + std::to_string(first);
}

/// Members of two objects that are not the same, by name.
std::vector<FactDifference> object_differences(const Json& a, const Json& b) {
  std::map<std::string, std::pair<const Json*, const Json*>> members;
  if (a.is_object())
    for (const auto& [key, value] : a.as_object("")) members[key].first = &value;
  if (b.is_object())
    for (const auto& [key, value] : b.as_object("")) members[key].second = &value;
  std::vector<FactDifference> differences;
  for (const auto& [key, values] : members) {
    const auto& [left, right] = values;
    if (left != nullptr && right != nullptr && *left == *right) continue;
    FactDifference difference{printable(key), value_text(left), value_text(right)};
    if (left != nullptr && right != nullptr && left->is_array() && right->is_array()) {
      const std::string detail = array_difference(left->as_array(""), right->as_array(""));
      if (!detail.empty()) difference.b += " (" + detail + ")";
    }
    differences.push_back(std::move(difference));
  }
  return differences;
}

/// An entry that is absent says the same as this value.
struct ImpliedEntry {
  std::string_view key, value;
};
constexpr std::array<ImpliedEntry, 1> kImpliedMetadata = {{{"general.type", "model"}}};

/// Without what says the same as its absence, and without the type that a writer of floats should announce.
Json config_json(const Model& model) {
  tensor::ModelConfig config = model.config;
  const auto all = [](const std::vector<bool>& layers) {
    return std::find(layers.begin(), layers.end(), false) == layers.end();
  };
  if (all(config.sliding_layers) || config.sliding_window == 0) config.sliding_layers.clear();
  if (all(config.rope_layers)) config.rope_layers.clear();
  if (config.rotary_dim == config.head_dim) config.rotary_dim = 0;
  if (config.head_dim > 0 && config.attention_scale == 1 / std::sqrt(static_cast<double>(config.head_dim)))
    config.attention_scale = 0;
  config.torch_dtype.clear();
  return tensor::to_json(config);
}

Json metadata_json(const Model& model) {
  Json json(JsonObject{});
  for (const ImpliedEntry& entry : kImpliedMetadata) json.set(entry.key, entry.value);
  for (const auto& [key, value] : model.metadata)
    if (!key.starts_with("source.")) json.set(key, value);  // those say of which files it was made, and in which scheme
  return json;
}

/// Without what has no influence on tokens: the text of a pattern whose family is known, the order of what ends a text.
Json tokenizer_json(const Model& model) {
  if (!model.tokenizer) return {};
  tensor::TokenizerSpec spec = *model.tokenizer;
  for (tensor::PreTokenizer& step : spec.pre_tokenizers)
    if (!step.pattern.empty()) step.source_pattern.clear();
  std::sort(spec.end_of_generation.begin(), spec.end_of_generation.end());
  return tensor::to_json(spec);
}

TensorDifference one_sided(const Tensor& tensor, bool in_a) {
  TensorDifference difference;
  difference.name = tensor.name;
  difference.relation = in_a ? Relation::only_in_a : Relation::only_in_b;
  (in_a ? difference.scheme_a : difference.scheme_b) = tensor::describe(tensor.scheme);
  (in_a ? difference.shape_a : difference.shape_b) = tensor.shape;
  return difference;
}

TensorDifference compare_pair(const Tensor& a, const Tensor& b, Depth depth,
                              const std::function<void(std::uint64_t)>& progress) {
  TensorDifference difference;
  difference.name = a.name;
  difference.scheme_a = tensor::describe(a.scheme);
  difference.scheme_b = tensor::describe(b.scheme);
  difference.shape_a = a.shape;
  difference.shape_b = b.shape;
  if (a.shape != b.shape) {
    difference.relation = Relation::other_shape;
    return difference;
  }
  if (depth == Depth::values) {
    difference.comparison = convert::compare_values(a, b, progress);
  } else {
    difference.comparison.elements = a.elements();
    difference.comparison.fingerprint_a = tensor::fingerprint(a);
    a.planes->done_with(0, a.geometry().units);
    progress(a.stored_bytes());
    difference.comparison.fingerprint_b = tensor::fingerprint(b);
    b.planes->done_with(0, b.geometry().units);
  }
  const bool equal = difference.comparison.fingerprint_a == difference.comparison.fingerprint_b;
  difference.relation = equal ? Relation::equal : Relation::different;
  return difference;
}

}  // namespace

std::string_view name(Relation relation) noexcept { return kRelationNames[static_cast<std::size_t>(relation)]; }

bool ModelDifference::values_equal() const noexcept { return count(Relation::equal) == tensors.size(); }

std::uint64_t ModelDifference::count(Relation relation) const noexcept {
  return static_cast<std::uint64_t>(
      std::count_if(tensors.begin(), tensors.end(),
                    [&](const TensorDifference& difference) { return difference.relation == relation; }));
}

ModelDifference compare_models(const Model& a, const Model& b, Depth depth, const Progress& progress) {
  std::uint64_t total = 0, done = 0;
  for (const Model* model : {&a, &b})
    for (const Tensor& tensor : model->tensors) total += tensor.stored_bytes();
  const auto show = [&](std::uint64_t bytes) {
    if (progress) progress("comparing", done + bytes, total);
  };
  const tensor::TensorIndex index_a(a), index_b(b);
  ModelDifference result;
  for (const Tensor& tensor : a.tensors) {
    const Tensor* counterpart = index_b.find(tensor.name);
    if (counterpart != nullptr) {
      result.tensors.push_back(compare_pair(tensor, *counterpart, depth, show));
      done += counterpart->stored_bytes();
    } else if (!tensor.derived) {
      result.tensors.push_back(one_sided(tensor, true));
    }
    done += tensor.stored_bytes();
    show(0);
  }
  for (const Tensor& tensor : b.tensors)
    if (!tensor.derived && index_a.find(tensor.name) == nullptr) result.tensors.push_back(one_sided(tensor, false));
  result.config = object_differences(config_json(a), config_json(b));
  result.metadata = object_differences(metadata_json(a), metadata_json(b));
  result.tokenizer = object_differences(tokenizer_json(a), tokenizer_json(b));
  return result;
}

}  // namespace ingot::inspect

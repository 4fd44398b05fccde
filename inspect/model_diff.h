// Two models side by side, whatever their layouts: which tensors are equal, by how much the others differ, and what
// else differs.
#pragma once

#include <string>
#include <vector>

#include "converters/registry.h"
#include "format/base/json.h"
#include "format/base/progress.h"
#include "format/tensor/model.h"
#include "inspect/text.h"

namespace ingot::inspect {

enum class Relation : std::uint8_t { equal, different, other_shape, only_in_a, only_in_b };
/// The word used in text and JSON: "equal", "different", "other_shape", "only_in_a", "only_in_b".
[[nodiscard]] std::string_view name(Relation relation) noexcept;

struct TensorDifference {
  std::string name;
  Relation relation = Relation::equal;
  std::string scheme_a, scheme_b;  // tensor::describe(); empty where the tensor is missing
  tensor::Shape shape_a, shape_b;
  convert::ValueComparison comparison;  // equal and different; only the fingerprints with Depth::fingerprints
};

/// One setting that is not the same in both. Texts; empty where absent.
struct FactDifference {
  std::string key, a, b;
};

struct ModelDifference {
  std::vector<TensorDifference> tensors;  // those of a in order, then those only in b
  std::vector<FactDifference> config, metadata, tokenizer;
  [[nodiscard]] bool values_equal() const noexcept;
  [[nodiscard]] bool identical() const noexcept {
    return values_equal() && config.empty() && metadata.empty() && tokenizer.empty();
  }
  [[nodiscard]] std::uint64_t count(Relation relation) const noexcept;
};

enum class Depth : std::uint8_t {
  fingerprints,  ///< equal or not
  values,        ///< also errors and counts
};

/// Streams both models; bounded memory. Tensors are matched by name, following aliases; derived tensors may be missing
/// on one side. Settings that say the same in other words (a default that is written out, the text of a known pattern)
/// are no difference.
[[nodiscard]] ModelDifference compare_models(const tensor::Model& a, const tensor::Model& b, Depth depth,
                                             const Progress& progress);

/// `verify A B`: one line when all is equal, else the tensors that are not.
[[nodiscard]] std::string equality_text(const ModelDifference& difference, const TextStyle& style);
/// `diff A B`: the tensors that differ with their errors (those of repeated layers as one with `fold`), then the
/// settings that differ.
[[nodiscard]] std::string difference_text(const ModelDifference& difference, bool fold, const TextStyle& style);
[[nodiscard]] Json difference_json(const ModelDifference& difference, Depth depth);

}  // namespace ingot::inspect

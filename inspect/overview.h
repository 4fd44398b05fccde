// What is in a model: header facts, tensor table with repeated layers folded, totals by scheme; as text and as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "format/base/json.h"
#include "format/container/container.h"
#include "format/tensor/model.h"
#include "inspect/text.h"

namespace ingot::inspect {

/// Sums over the tensors of one scheme, in order of first appearance.
struct SchemeTotal {
  std::string scheme;                     // tensor::describe()
  std::vector<std::string> source_types;  // what the source calls them ("Q4_K", ...); empty without a recipe
  std::uint64_t tensors = 0, elements = 0, bytes = 0;
};
[[nodiscard]] std::vector<SchemeTotal> totals_by_scheme(const tensor::Model& model);

/// What is known about a model beside the model.
struct OverviewFacts {
  std::string layout;                        // of the path: how it was opened
  std::optional<container::FileFacts> file;  // an .ingot
  std::optional<Hash128> fingerprint;        // of the model, recorded or computed
};
/// The model fingerprint from the recorded ones; empty when some tensor records none.
[[nodiscard]] std::optional<Hash128> recorded_fingerprint(const tensor::Model& model);

[[nodiscard]] std::string overview_text(const tensor::Model& model, const OverviewFacts& facts, bool fold,
                                        const TextStyle& style);
[[nodiscard]] Json overview_json(const tensor::Model& model, const OverviewFacts& facts);

/// Name, shape, scheme, sizes, transforms of one tensor, as in the `tensors` member of overview_json().
[[nodiscard]] Json tensor_json(const tensor::Tensor& tensor);
/// "[1024, 128]"; "scalar" for no dimensions.
[[nodiscard]] std::string shape_text(const tensor::Shape& shape);
/// "rope_interleave(8 heads)", joined by ", "; empty without transforms.
[[nodiscard]] std::string transforms_text(const tensor::Tensor& tensor);
/// Stored bits per logical element; 0 for no elements.
[[nodiscard]] double bits_per_weight(std::uint64_t bytes, std::uint64_t elements) noexcept;

}  // namespace ingot::inspect

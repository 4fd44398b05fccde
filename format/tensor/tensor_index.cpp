#include "format/tensor/tensor_index.h"

namespace ingot::tensor {

TensorIndex::TensorIndex(const Model& model) {
  by_name_.reserve(model.tensors.size() + model.aliases.size());
  for (const Tensor& tensor : model.tensors) by_name_.emplace(tensor.name, &tensor);
  std::unordered_map<std::string_view, const Tensor*> of_aliases;
  for (const auto& [alias, name] : model.aliases) of_aliases.emplace(alias, find(name));
  for (const auto& [alias, tensor] : of_aliases) by_name_.insert_or_assign(alias, tensor);
}

const Tensor* TensorIndex::find(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace ingot::tensor

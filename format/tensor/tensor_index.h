// Look-up of many tensors of one model by name: Model::find() walks the list, this hashes it once.
#pragma once

#include <string_view>
#include <unordered_map>

#include "format/tensor/model.h"

namespace ingot::tensor {

/// Borrows the model, which must not change meanwhile.
class TensorIndex {
 public:
  explicit TensorIndex(const Model& model);
  /// As Model::find: follows aliases; null when absent.
  [[nodiscard]] const Tensor* find(std::string_view name) const noexcept;

 private:
  std::unordered_map<std::string_view, const Tensor*> by_name_;  // tensors and aliases
};

}  // namespace ingot::tensor

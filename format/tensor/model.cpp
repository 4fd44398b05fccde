// Look-ups in a model.
#include "format/tensor/model.h"

#include <algorithm>

namespace ingot::tensor {

const Tensor* Model::find(std::string_view name) const noexcept {
  const auto alias =
      std::find_if(aliases.begin(), aliases.end(), [&](const auto& entry) { return entry.first == name; });
  const std::string_view stored = alias == aliases.end() ? name : std::string_view(alias->second);
  for (const Tensor& tensor : tensors) {
    if (tensor.name == stored) return &tensor;
  }
  return nullptr;
}

const Attachment* Model::find_attachment(std::string_view name) const noexcept {
  for (const Attachment& attachment : attachments) {
    if (attachment.name == name) return &attachment;
  }
  return nullptr;
}

}  // namespace ingot::tensor

// Matrices of experts as the stacks that GGUF holds: [experts, out, in].
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "converters/gguf/names.h"
#include "format/tensor/model.h"

namespace ingot::convert::gguf {

/// A model whose experts' matrices are stacks, named as GGUF names them.
struct StackedModel {
  tensor::Model model;
  std::map<std::string, std::vector<const tensor::Tensor*>> experts;  // by stack; tensors of the source model
};

/// Null where the architecture has no stacks or the model no experts. Matrices stay alone where a number is missing or
/// their shapes, schemes or transforms differ. Borrows `source`.
[[nodiscard]] std::shared_ptr<const StackedModel> stack_experts(const tensor::Model& source,
                                                                const Architecture* architecture);

}  // namespace ingot::convert::gguf

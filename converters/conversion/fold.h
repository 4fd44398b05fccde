// Act-order folded into the layers before, for layouts whose groups must follow the order of the inputs: the columns of
// a matrix take the order of its groups, and the rows of the layers that make its inputs take the same order. The model
// computes what it did before; no code and no scale changes. Implements spec/transforms.md section 3.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "converters/layout.h"

namespace ingot::convert {

/// One matrix whose column order goes into the rows of others.
struct Fold {
  std::string consumer;
  tensor::Permutation columns;
  std::map<std::string, tensor::Permutation> rows;  // by producer, biases included
};

/// What can be folded in a model, and why the rest cannot.
struct FoldSurvey {
  std::vector<Fold> folds;
  std::map<std::string, std::string> obstacles;  // by matrix with an act-order
};
/// Tensors in logical order; reads orders, not codes.
[[nodiscard]] FoldSurvey find_folds(const tensor::Model& model);

/// A model for a writer: all tensors in logical order but those that were folded, which it declares.
struct Rearranged {
  tensor::Model model;
  Forecast forecast;                         // of the writer for it, in the words of the source
  std::map<std::string, std::string> notes;  // by tensor: what was folded where
};

/// Null where the layout takes the model as it is. Folds where the layout then keeps more of the matrix, as its
/// forecasts tell.
[[nodiscard]] std::shared_ptr<const Rearranged> rearrange(const tensor::Model& model, const Layout& layout,
                                                          const WriteOptions& options);

}  // namespace ingot::convert

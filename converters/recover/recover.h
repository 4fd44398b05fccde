// Lattice recovery: floats whose values lie on the grid of a quantization scheme become tensors in that scheme again.
// Implements spec/recovery.md. To add a grid: a row in candidates.cpp, where a table is enough.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "converters/layout.h"

namespace ingot::convert {

/// What was found in one tensor.
struct Recovered {
  tensor::Tensor tensor;  // in the scheme found; planes are computed from the source when they are read
  /// The values are those of the source. Otherwise they are once they are rounded as it was.
  bool exact = true;
};

/// Null unless `source` is a plain matrix in F32, F16 or BF16 whose every value lies on one grid, with enough evidence
/// that this is no accident. Reads a few rows of ordinary floats and all of a tensor that seems to be one; in parallel.
[[nodiscard]] std::optional<Recovered> recover(const tensor::Tensor& source);

/// Do the values of `made`, rounded to the element type of the plain float matrix `source` or to the narrower one that
/// its values were rounded to, equal those of `source`?
[[nodiscard]] bool rounds_to(const tensor::Tensor& made, const tensor::Tensor& source);

/// A model with what was recovered in the place of its floats, for a writer.
struct Recovery {
  tensor::Model model;  // with the recipe of the source only where that makes the floats again of the codes
  struct Fact {
    tensor::DType from;  // element type of the source
    bool exact;
  };
  std::map<std::string, Fact> tensors;  // those that are replaced, by name
};

/// The recovered form of every tensor that the layout then writes without rounding codes; the others stay floats.
[[nodiscard]] std::shared_ptr<const Recovery> recover_model(const tensor::Model& model, const Layout& layout,
                                                            const WriteOptions& options);

/// The layout's forecast for the recovered model, with the source's own types and the classes of the recovery.
[[nodiscard]] Forecast forecast_recovered(const Recovery& recovery, const tensor::Model& model, const Layout& layout,
                                          const WriteOptions& options);

}  // namespace ingot::convert

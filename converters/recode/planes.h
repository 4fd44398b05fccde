// Plane sources of recode(): planes that are views of the source's, and planes computed when they are read. Internal to
// recode*.cpp.
#pragma once

#include <memory>

#include "converters/recode/biases.h"
#include "converters/recode/rows.h"

namespace ingot::convert::recoding {

/// Planes of the wanted side of a conversion. Those that equal a plane of the source byte for byte pass through.
/// `biases`: what makes its parameters many at a time; null: nothing.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> converted_planes(
    std::shared_ptr<const Conversion> conversion, std::shared_ptr<const ZerosIntoBiases> biases);

/// The same planes with rows in another order; packing rows, all planes with rows sliced. `rows` gives the source's
/// row of every row.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> moved_rows(const tensor::Tensor& source, const RowMap& rows);

}  // namespace ingot::convert::recoding

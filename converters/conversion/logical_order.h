// Tensors whose rows or columns are stored in a declared order (row_order, column_order), brought into another one for
// writers, which know neither.
#pragma once

#include "format/tensor/tensor.h"

namespace ingot::convert {

/// Is one of the transforms a row_order or a column_order?
[[nodiscard]] bool is_ordered(const tensor::Tensor& tensor) noexcept;

/// The same logical tensor without them: rows are read from where they are stored, the order of columns becomes that of
/// the scheme. What cannot be moved (floats whose columns move) keeps its transforms.
[[nodiscard]] tensor::Tensor in_logical_order(const tensor::Tensor& tensor);

/// The tensor whose row k is row order[k] of `tensor`, a matrix or a vector. No fingerprint is known of it.
[[nodiscard]] tensor::Tensor with_rows_moved(const tensor::Tensor& tensor, const tensor::Permutation& order);

/// The order of the columns by which the groups follow each other: column_order[k] is the logical column of stored
/// column k. Null where they do anyway, and where groups are of different sizes. `tensor` in logical order.
[[nodiscard]] tensor::Permutation act_order(const tensor::Tensor& tensor);
/// The tensor whose column k is column act_order(tensor)[k] of `tensor`, with groups that follow each other.
/// Precondition: that is not null.
[[nodiscard]] tensor::Tensor with_groups_in_order(const tensor::Tensor& tensor);

}  // namespace ingot::convert

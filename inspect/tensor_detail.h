// One tensor under the glass: statistics, first values, and the first elements of every plane.
#pragma once

#include <string>
#include <vector>

#include "format/base/json.h"
#include "format/tensor/tensor.h"
#include "inspect/text.h"

namespace ingot::inspect {

/// Of all values of a tensor; minimum, maximum, mean and rms are over the finite ones.
struct ValueStatistics {
  double minimum = 0, maximum = 0, mean = 0, rms = 0;
  std::uint64_t zeros = 0, nans = 0, infinities = 0;
};

struct PlaneDetail {
  tensor::PlaneSpec spec;
  std::vector<double> first;  // stored elements of row 0 in input order; empty where they are no numbers
};

struct TensorDetail {
  const tensor::Tensor* tensor = nullptr;  // borrowed
  ValueStatistics statistics;
  std::vector<float> first_values;  // logical order
  std::vector<PlaneDetail> planes;
};

/// Reads the whole tensor once (parallel, bounded memory). Opaque tensors give planes only.
[[nodiscard]] TensorDetail tensor_detail(const tensor::Tensor& tensor);

[[nodiscard]] std::string tensor_detail_text(const TensorDetail& detail, const TextStyle& style);
[[nodiscard]] Json tensor_detail_json(const TensorDetail& detail);

}  // namespace ingot::inspect

// Finds the tensors of an architecture by name and checks their shapes before anything is allocated. Errors name
// tensor, expected and got.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor/model.h"
#include "runtime/matrix.h"

namespace ingot::runtime {

class Loader {
 public:
  Loader(const tensor::Model& model, Numerics numerics, KvType kv) noexcept
      : model_(model), numerics_(numerics), kv_(kv) {}

  [[nodiscard]] const tensor::ModelConfig& config() const noexcept { return model_.config; }
  [[nodiscard]] const tensor::Model& model() const noexcept { return model_; }
  [[nodiscard]] KvType kv() const noexcept { return kv_; }
  /// Throws invalid_value naming the field when a hyperparameter is zero or above `limit`.
  std::uint64_t positive(std::string_view field, std::uint64_t value, std::uint64_t limit) const;

  /// The named tensor with exactly this shape; throws mismatch when it is missing or has another one.
  [[nodiscard]] const tensor::Tensor& require(const std::string& name, const tensor::Shape& shape) const;
  [[nodiscard]] Matrix matrix(const std::string& name, std::uint64_t rows, std::uint64_t cols,
                              Matrix::RowOrder order = Matrix::RowOrder::logical) const;
  [[nodiscard]] std::vector<float> vector(const std::string& name, std::uint64_t size) const;
  /// Empty when the model has no such tensor.
  [[nodiscard]] std::vector<float> optional_vector(const std::string& name, std::uint64_t size) const;

 private:
  const tensor::Model& model_;
  Numerics numerics_;
  KvType kv_;
};

}  // namespace ingot::runtime

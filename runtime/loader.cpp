#include "runtime/loader.h"

#include "format/base/error.h"
#include "format/tensor/decode.h"

namespace ingot::runtime {
namespace {

std::string text_of(const tensor::Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

std::uint64_t Loader::positive(std::string_view field, std::uint64_t value, std::uint64_t limit) const {
  if (value == 0 || value > limit) {
    throw Error(ErrorKind::invalid_value, model_.path.string() + ": model configuration: " + std::string(field) +
                                              ": expected 1.." + std::to_string(limit) + ", got " +
                                              std::to_string(value));
  }
  return value;
}

const tensor::Tensor& Loader::require(const std::string& name, const tensor::Shape& shape) const {
  const tensor::Tensor* found = model_.find(name);
  if (found == nullptr) {
    throw Error(ErrorKind::mismatch, model_.path.string() + ": tensor " + name + " of shape " + text_of(shape) +
                                         " is missing (architecture " + config().architecture + ")");
  }
  if (found->shape != shape) {
    throw Error(ErrorKind::mismatch, model_.path.string() + ": tensor " + name + ": expected shape " + text_of(shape) +
                                         ", got " + text_of(found->shape));
  }
  return *found;
}

Matrix Loader::matrix(const std::string& name, std::uint64_t rows, std::uint64_t cols, Matrix::RowOrder order) const {
  return Matrix(require(name, {rows, cols}), order, numerics_);
}

std::vector<float> Loader::vector(const std::string& name, std::uint64_t size) const {
  const tensor::Tensor& tensor = require(name, {size});
  std::vector<float> values(size);
  tensor::decode_logical(tensor, values);
  return values;
}

std::vector<float> Loader::optional_vector(const std::string& name, std::uint64_t size) const {
  return model_.find(name) == nullptr ? std::vector<float>() : vector(name, size);
}

}  // namespace ingot::runtime

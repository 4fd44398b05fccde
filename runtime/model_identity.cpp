#include "runtime/model_identity.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "format/base/json.h"
#include "format/tensor/decode.h"

namespace ingot::runtime {
namespace {

constexpr std::uint64_t kSampleElems = 64;

/// Values from the beginning, the middle and the end: they differ where a tensor was trained further.
Hash128 sample_hash(const tensor::Tensor& tensor) {
  const std::uint64_t count = std::min(kSampleElems, tensor.elements());
  std::array<float, kSampleElems> values{};
  const std::span<float> sample = std::span(values).first(count);
  Hasher128 hasher;
  for (const std::uint64_t quarters : {0u, 2u, 4u}) {
    tensor::decode_logical_range(tensor, (tensor.elements() - count) / 4 * quarters, sample);
    hasher.update(std::as_bytes(sample));
  }
  return hasher.digest();
}

}  // namespace

Hash128 identity_of(const tensor::Model& model) {
  std::string text = canonical_json(to_json(model.config));
  for (const tensor::Tensor& tensor : model.tensors) {
    text += "\n" + tensor.name;
    for (const std::uint64_t extent : tensor.shape) text += " " + std::to_string(extent);
    if (tensor.fingerprint) {
      text += " fingerprint " + tensor.fingerprint->hex();
    } else {
      text += " bytes " + std::to_string(tensor.stored_bytes()) + " sample " + sample_hash(tensor).hex();
    }
  }
  return hash128(as_bytes_view(text));
}

}  // namespace ingot::runtime

#include "converters/hf/config_check.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "converters/hf_architectures.h"
#include "converters/hf_names.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert {
namespace {

using tensor::Tensor;

constexpr std::string_view kLayers = "model.layers.", kLastNorm = "model.norm.weight";

/// Layers of a model whose names have the usual form; 0: none has.
std::uint64_t count_layers(const tensor::Model& model) {
  std::uint64_t count = 0;
  for (const Tensor& tensor : model.tensors) {
    const std::string_view name = tensor.name;
    std::uint64_t layer = 0;
    if (!name.starts_with(kLayers)) continue;
    const auto [end, failure] = std::from_chars(name.data() + kLayers.size(), name.data() + name.size(), layer);
    if (failure == std::errc() && end != name.data() + name.size() && *end == '.' && layer < (1u << 20))
      count = std::max(count, layer + 1);
  }
  return count;
}

class Dimensions {
 public:
  explicit Dimensions(const tensor::Model& model) : tensors_(model) {}

  /// `axis` of a matrix, where there is one, against what the config says under `key`; 0: it says nothing.
  void compare(std::string_view key, std::uint64_t stated, std::string_view name, std::size_t axis) {
    const Tensor* const matrix = tensors_.find(name);
    if (stated == 0 || matrix == nullptr || matrix->shape.size() != 2 || matrix->shape[axis] == stated) return;
    if (std::exchange(last_key_, key) == key) return;  // it is said already
    findings_.push_back("config.json says " + std::string(key) + " " + std::to_string(stated) + ", " +
                        std::string(name) + " is [" + std::to_string(matrix->shape[0]) + ", " +
                        std::to_string(matrix->shape[1]) + "]");
  }
  void compare_layers(std::uint64_t stated, std::uint64_t there, std::string_view embedding) {
    const bool is_whole = tensors_.find(kLastNorm) != nullptr && tensors_.find(embedding) != nullptr;
    if (stated == 0 || there == 0 || there == stated || !is_whole) return;
    findings_.push_back("config.json says num_hidden_layers " + std::to_string(stated) + ", tensors of " +
                        std::to_string(there) + " layers are there");
  }
  [[nodiscard]] std::vector<std::string> take() { return std::move(findings_); }

 private:
  tensor::TensorIndex tensors_;
  std::string_view last_key_;
  std::vector<std::string> findings_;
};

}  // namespace

std::vector<std::string> contradicted_dimensions(const tensor::Model& model) {
  const tensor::ModelConfig& config = model.config;
  if (find_hf_architecture(config.architecture) == nullptr) return {};
  Dimensions dimensions(model);
  const std::string_view embedding = hf_embedding_name(config.architecture);
  dimensions.compare("vocab_size", config.vocab_size, embedding, 0);
  dimensions.compare("hidden_size", config.hidden_size, embedding, 1);
  const std::string layer = std::string(kLayers) + "0.";
  dimensions.compare("hidden_size", config.hidden_size, layer + "mlp.down_proj.weight", 0);
  dimensions.compare("intermediate_size", config.intermediate_size, layer + "mlp.down_proj.weight", 1);
  dimensions.compare("num_attention_heads times head_dim", config.head_count * config.head_dim,
                     layer + "self_attn.q_proj.weight", 0);
  dimensions.compare_layers(config.layer_count, count_layers(model), embedding);
  return dimensions.take();
}

}  // namespace ingot::convert

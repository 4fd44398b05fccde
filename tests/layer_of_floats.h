// Small models of floats to convert, and the files of a directory. For tests of conversions that are interrupted.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "container_models.h"
#include "temporary_directory.h"

namespace ingot::test {

using Files = std::map<std::string, std::vector<std::byte>>;

/// All files below a directory, by their path in it.
[[nodiscard]] inline Files files_in(const std::filesystem::path& directory) {
  Files files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    if (entry.is_regular_file()) files[entry.path().lexically_relative(directory).string()] = read_bytes(entry.path());
  return files;
}

/// A Llama of one layer with tied embeddings, all F32, from -1 to 1.
[[nodiscard]] inline tensor::Model layer_of_floats(std::uint64_t vocab, std::uint64_t hidden,
                                                   std::uint64_t intermediate, std::uint64_t heads) {
  tensor::Model model;
  model.config.architecture = "llama";
  model.config.vocab_size = vocab;
  model.config.hidden_size = hidden;
  model.config.intermediate_size = intermediate;
  model.config.layer_count = 1;
  model.config.head_count = model.config.kv_head_count = heads;
  model.config.head_dim = hidden / heads;
  model.config.context_length = 128;
  model.config.norm_epsilon = 1e-5;
  model.config.rope_theta = 10000;
  model.config.tied_embeddings = true;
  const auto add = [&](const std::string& name, const tensor::Shape& shape) {
    tensor::Tensor tensor = make_tensor(name, shape, tensor::Scheme::plain(tensor::DType::f32), tensor::Packing::rows,
                                        model.tensors.size());
    Random random(model.tensors.size());
    std::vector<float> values(tensor.elements());
    for (float& value : values) value = static_cast<float>(random.below(2001)) / 1000 - 1;
    const auto bytes = std::as_bytes(std::span(values));
    tensor.planes =
        tensor::planes_in_memory({{bytes.begin(), bytes.end()}}, tensor.shape, tensor.scheme, tensor.packing);
    model.tensors.push_back(std::move(tensor));
  };
  add("model.embed_tokens.weight", {vocab, hidden});
  const std::string layer = "model.layers.0.";
  add(layer + "input_layernorm.weight", {hidden});
  for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
    add(layer + "self_attn." + name + ".weight", {hidden, hidden});
  add(layer + "post_attention_layernorm.weight", {hidden});
  for (const char* name : {"gate_proj", "up_proj"}) add(layer + "mlp." + name + ".weight", {intermediate, hidden});
  add(layer + "mlp.down_proj.weight", {hidden, intermediate});
  add("model.norm.weight", {hidden});
  return model;
}

}  // namespace ingot::test

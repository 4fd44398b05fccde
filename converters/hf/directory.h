// A checkpoint directory on disk: which files hold weights, and their tensors. Also a single file of weights.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "converters/files/weight_file.h"

namespace ingot::convert {

inline constexpr std::string_view kSafetensorsFile = "model.safetensors";
inline constexpr std::string_view kSafetensorsIndex = "model.safetensors.index.json";
inline constexpr std::string_view kTorchFile = "pytorch_model.bin";
inline constexpr std::string_view kTorchIndex = "pytorch_model.bin.index.json";

struct HfDirectory {
  std::filesystem::path root;               // the directory; of a single file, its parent
  std::vector<WeightFile> weights;          // by path
  std::vector<std::string> others;          // every other regular file, relative, sorted; empty for a single file
  std::vector<std::string> not_restorable;  // what a source recipe leaves out: empty directories, odd names, .git, ...
};

/// Does the path hold weights in safetensors or in files of torch.save (looks at the first bytes)? Never throws.
[[nodiscard]] bool has_weights(const std::filesystem::path& path) noexcept;

/// Maps the weight files and checks what they say of their tensors, the index and that every name has one owner. Where
/// there are both, safetensors are taken and PyTorch's files are other files. Reads no tensor data. Throws Error: io
/// for a missing shard, mismatch where index and shards disagree, invalid_value for bad content.
[[nodiscard]] HfDirectory open_hf_directory(const std::filesystem::path& path);

}  // namespace ingot::convert

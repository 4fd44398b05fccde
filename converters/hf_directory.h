// A Hugging Face checkpoint on disk: which files hold weights, and their headers. Also a single .safetensors file.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "converters/safetensors.h"
#include "format/base/mapped_file.h"

namespace ingot::convert {

inline constexpr std::string_view kSafetensorsFile = "model.safetensors";
inline constexpr std::string_view kSafetensorsIndex = "model.safetensors.index.json";

struct WeightFile {
  std::string path;  // relative to the checkpoint directory, forward slashes
  std::shared_ptr<const MappedFile> mapping;
  SafetensorsHeader header;
};

struct HfDirectory {
  std::filesystem::path root;               // the directory; of a single file, its parent
  std::vector<WeightFile> weights;          // by path
  std::vector<std::string> others;          // every other regular file, relative, sorted; empty for a single file
  std::vector<std::string> not_restorable;  // entries that a source recipe cannot name: empty directories, odd names
};

/// A relative path that stays inside its directory: no empty, "." or ".." component, no backslash, no NUL.
[[nodiscard]] bool is_safe_relative_path(const std::string& name);

/// Does the path hold safetensors weights (looks at the first bytes)? Never throws.
[[nodiscard]] bool has_safetensors_weights(const std::filesystem::path& path) noexcept;

/// Maps the weight files and checks their headers, the index and that every name has one owner. Reads no tensor data. Throws Error: io for a
/// missing shard, mismatch where index and shards disagree, invalid_value for bad content.
[[nodiscard]] HfDirectory open_hf_directory(const std::filesystem::path& path);

}  // namespace ingot::convert

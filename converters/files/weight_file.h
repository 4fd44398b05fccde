// A file that holds tensors by name, whatever its format: safetensors, or a PyTorch file (torch.save). The format is
// found by looking at the bytes.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "converters/files/weight_fact.h"
#include "format/base/mapped_file.h"
#include "format/tensor/geometry.h"

namespace ingot::convert {

struct WeightEntry {
  std::string name;
  tensor::DType type = tensor::DType::f32;
  tensor::Shape shape;                   // outermost first
  std::uint64_t begin = 0, end = 0;      // bytes from the file's start, from the first to the last element
  std::vector<std::uint64_t> strides{};  // in elements; empty: dense, in row-major order
  [[nodiscard]] std::uint64_t size() const noexcept { return end - begin; }
  [[nodiscard]] bool is_dense() const noexcept { return strides.empty(); }
  /// A matrix whose bytes are those of its dense transpose.
  [[nodiscard]] bool is_transposed() const noexcept {
    return strides.size() == 2 && strides[0] == 1 && strides[1] == shape[0];
  }
};

struct WeightFile {
  std::string path;  // relative to the checkpoint directory, forward slashes
  std::shared_ptr<const MappedFile> mapping;
  /// Several entries may share bytes (tied weights of a PyTorch file).
  std::vector<WeightEntry> entries;
  std::map<std::string, std::string> aliases;  // names without a tensor of their own -> the name that has it
  WeightFacts facts;                           // what modules say beside their tensors
  std::vector<std::string> notes;              // what was left unread, one sentence each

  [[nodiscard]] Bytes bytes(const WeightEntry& entry) const {
    return mapping->bytes().subspan(entry.begin, entry.size());
  }
  /// Bytes before the first one of a tensor: the header, or all pickles.
  [[nodiscard]] std::uint64_t head_bytes() const noexcept;
};

/// Do the first bytes look like one of the formats? Never throws.
[[nodiscard]] bool is_weight_file(const std::filesystem::path& path) noexcept;
[[nodiscard]] bool is_safetensors_file(const std::filesystem::path& path) noexcept;

/// Maps root/name and reads what it says about its tensors, no tensor data. Throws Error.
[[nodiscard]] WeightFile open_weight_file(const std::filesystem::path& root, const std::string& name);

}  // namespace ingot::convert

// Opening a GGUF file, or a set of shards, as a neutral model; and the pass that completes the recipe of the way back.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "converters/layout.h"

namespace ingot::convert::gguf {

[[nodiscard]] tensor::Model read_model(const std::filesystem::path& path, const ReadOptions& options);

/// Layout::find_patches.
void find_patches(tensor::Model& model);

/// Layout::pack_segment.
void pack_segment(const tensor::Tensor& tensor, const std::string& part, std::uint64_t begin, std::span<std::byte> out);

}  // namespace ingot::convert::gguf

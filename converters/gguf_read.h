// Opening a GGUF file, or a set of shards, as a neutral model; and the pass that completes the recipe of the way back.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "converters/layout.h"

namespace ingot::convert::gguf {

[[nodiscard]] tensor::Model read_model(const std::filesystem::path& path, const ReadOptions& options);

/// Layout::complete_source: file hashes, and patches where packing does not give the file's bytes.
void complete_source(tensor::Model& model, const Progress& progress);

/// Layout::pack_segment.
void pack_segment(const tensor::Tensor& tensor, const std::string& part, std::uint64_t begin, std::span<std::byte> out);

}  // namespace ingot::convert::gguf

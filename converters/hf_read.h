// Reading side of the `hf` row.
#pragma once

#include "converters/layout.h"

namespace ingot::convert {

/// Opens a checkpoint directory or one .safetensors file: headers only, tensors are views. Throws Error.
[[nodiscard]] tensor::Model read_hf(const std::filesystem::path& path, const ReadOptions& options);
/// Fills SourceFile::hash of every file.
void complete_hf_source(tensor::Model& model, const Progress& progress);

}  // namespace ingot::convert

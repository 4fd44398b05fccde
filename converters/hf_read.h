// Reading side of the `hf` row and of every layout with a codec (hf_codec.h).
#pragma once

#include "converters/layout.h"

namespace ingot::convert {

struct HfCodec;

/// Opens a checkpoint directory or one file of weights: headers only, tensors are views. `codec` null: every tensor
/// is plain. Throws Error.
[[nodiscard]] tensor::Model read_hf(const std::filesystem::path& path, const ReadOptions& options,
                                    const HfCodec* codec = nullptr);
/// Fills SourceFile::hash of every file, and the patches where packing would not give the file's bytes.
void complete_hf_source(tensor::Model& model, const Progress& progress, const HfCodec* codec = nullptr);

}  // namespace ingot::convert

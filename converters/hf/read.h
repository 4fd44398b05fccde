// Reading side of the `hf` row and of every layout with a codec (codec.h).
#pragma once

#include "converters/layout.h"

namespace ingot::convert {

struct HfCodec;

/// Opens a checkpoint directory or one file of weights: headers only, tensors are views. `codec` null: every tensor
/// is plain. Throws Error.
[[nodiscard]] tensor::Model read_hf(const std::filesystem::path& path, const ReadOptions& options,
                                    const HfCodec* codec = nullptr);
/// Layout::find_patches.
void find_hf_patches(tensor::Model& model, const HfCodec& codec);

}  // namespace ingot::convert

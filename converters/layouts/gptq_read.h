// Reading GPTQ checkpoints: sizes from shapes and g_idx, zero points by evidence.
#pragma once

#include "converters/hf/codec.h"

namespace ingot::convert::gptq {

/// Throws Error naming file and tensor where the parts of a module contradict each other, mismatch where the meaning of
/// its zero points cannot be decided.
[[nodiscard]] CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions& options);

}  // namespace ingot::convert::gptq

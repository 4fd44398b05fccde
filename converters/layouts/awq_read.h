// Reading AWQ checkpoints: AutoAWQ's GEMM, GEMV, GEMV_FAST and Marlin, and the tensors of llm-awq.
#pragma once

#include "converters/hf/codec.h"

namespace ingot::convert::awq {

/// Throws Error naming file and tensor where the parts of a module contradict each other.
[[nodiscard]] CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions& options);

}  // namespace ingot::convert::awq

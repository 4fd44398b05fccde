// From quantized modules to neutral tensors and back: what the layouts compressed-tensors, fp8, mxfp4 and nvfp4 share.
#pragma once

#include "converters/layouts/scaled_modules.h"

namespace ingot::convert::scaled {

/// HfCodec::read, pack and one_encoding of these layouts.
[[nodiscard]] CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions& options);
void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out);
[[nodiscard]] bool one_encoding(const tensor::Tensor& tensor, std::string_view part);

}  // namespace ingot::convert::scaled

// MLX checkpoints: which tensors are quantized modules, and how.
#pragma once

#include "converters/hf/codec.h"

namespace ingot::convert::mlx {

[[nodiscard]] bool claims(const HfCheckpoint& checkpoint);
[[nodiscard]] CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions& options);

/// What a module's parameters are in config.json.
struct Sizes {
  std::string mode = "affine";  // or "mxfp4", "mxfp8", "nvfp4"
  std::uint64_t group_size = 64, bits = 4;
  bool operator==(const Sizes&) const = default;
};
/// The modes whose scales are bytes: their element types are all there is to know.
struct FloatMode {
  std::string_view mode;
  std::uint64_t group_size;
  tensor::DType code, scale;
};
[[nodiscard]] std::span<const FloatMode> float_modes() noexcept;
/// The type of unsigned codes of 2, 3, 4, 5, 6 or 8 bits; nothing for other widths.
[[nodiscard]] std::optional<tensor::DType> code_type(std::uint64_t bits) noexcept;

}  // namespace ingot::convert::mlx

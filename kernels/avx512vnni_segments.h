// What the parameters of a tile make of integer sums: shared by the products of avx512vnni_integer.cpp and amx.cpp,
// which differ in how they come by the sums.
#pragma once

#include <cstdint>

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

inline constexpr std::uint64_t kSegmentsAtOnce = 16;

/// Some segments of a tile's inputs: their sums are made first, then their parameters are applied; a loop for each
/// keeps its values in registers.
struct SegmentBlock {
  std::uint64_t first, count;  // segments; 1..kSegmentsAtOnce
  std::uint64_t per_group;     // segments that share parameters
};

/// What a block has beside its scales.
enum class Beside : std::uint8_t { nothing, one_zero, zeros, biases, shifted_biases };

/// Parameters of a block as sums meet them: scale * (sum - zero * sum of inputs) + bias * sum of inputs.
struct BlockParameters {
  alignas(64) float scales[kSegmentsAtOnce * 16];   // (groups of the block, 16)
  alignas(64) float offsets[kSegmentsAtOnce * 16];  // zero points or biases
  float zero;                                       // of all, with `one_zero` and `shifted_biases`
  Beside beside;
};

/// Integer sums of a block: of[(segment - first) * stride + vector][output]. Aligned to 64 bytes.
struct BlockSums {
  const std::int32_t (*of)[16];
  std::uint64_t stride;
};

struct SegmentKernels {
  /// `shift`: what the codes in the sums are greater by.
  void (*widen)(const IntegerTile& tile, const SegmentBlock& block, float shift, BlockParameters& out) noexcept;
  /// Adds what the segments yield to totals[v * totals_stride + output].
  void (*add)(const BlockParameters& parameters, const SegmentBlock& block, const IntegerInput* inputs,
              std::uint64_t vectors, BlockSums sums, float* totals, std::uint64_t totals_stride) noexcept;
};

const SegmentKernels& avx512vnni_segments() noexcept;

}  // namespace ingot::kernels

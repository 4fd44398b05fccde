// Quantizers: from the extremes of a block to its parameters, from values to codes. One row per algorithm. Internal to
// requantize*.cpp. Implements spec/quantizers.md.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "format/tensor/bulk.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/scheme.h"

namespace ingot::convert::quantizers {

struct Extremes {
  float least = 0, greatest = 0;
  float farthest = 0;     // of the largest magnitude, the first such
  float whole_scale = 0;  // of the tensor's second level of scales, where it has one number
};

/// What a block's codes are made with, and what is stored of it (already numbers of the scheme's types).
struct BlockNumbers {
  float scale = 0, offset = 0;            // stored; offset: zero point or bias
  float work_scale = 0, work_offset = 0;  // used for the codes
};

struct Quantizer {
  bool (*matches)(const tensor::Scheme& scheme) noexcept;
  /// `whole`: the block has all the elements that its scheme asks for (flat: the last one may be shorter).
  BlockNumbers (*numbers)(const tensor::Scheme& scheme, const Extremes& extremes, bool whole) noexcept;
  /// Low bits of the codes, one per byte.
  void (*codes)(const tensor::Scheme& scheme, const BlockNumbers& block, const float* values, std::uint64_t count,
                std::uint8_t* codes) noexcept;
  bool casts_values;      // values are rounded to the type of the scales first
  float whole_scale = 0;  // the one number of a second level of scales
  /// That number where it follows from the values, of which only `farthest` is given. Null: whole_scale.
  float (*find_whole_scale)(const Extremes& all) noexcept = nullptr;
};

extern const std::span<const Quantizer> kGgufQuantizers;  // gguf.cpp
extern const std::span<const Quantizer> kMlxQuantizers;   // mlx.cpp
/// mxfp4, mxfp8 and nvfp4, for values of this type: the library computes in it. Others own these schemes too.
[[nodiscard]] std::span<const Quantizer> mlx_float_quantizers(tensor::DType type) noexcept;  // mlx_floats.cpp
extern const std::span<const Quantizer> kTableQuantizers;                                    // table.cpp
extern const std::span<const Quantizer> kCompressedTensorsQuantizers;                        // compressed_tensors.cpp
/// mxfp8 and nvfp4 of compressed-tensors, for values of this type.
[[nodiscard]] std::span<const Quantizer> compressed_float_quantizers(
    tensor::DType type) noexcept;  // compressed_floats.cpp

// --- Shared pieces ---------------------------------------------------------------------------------------------------

/// A number as a 16- or 32-bit float type holds it.
[[nodiscard]] inline float rounded(tensor::DType type, float value) noexcept {
  if (type == tensor::DType::f16) return tensor::f16_to_f32(tensor::f32_to_f16(value));
  if (type == tensor::DType::bf16) return tensor::bf16_to_f32(tensor::f32_to_bf16(value));
  return value;
}

inline constexpr std::uint64_t kPieceElems = 256;  // that loops take at a time: they stay in the cache

/// The same for all of `values`.
inline void round_all(tensor::DType type, std::span<float> values) noexcept {
  if (type != tensor::DType::f16 && type != tensor::DType::bf16) return;
  const tensor::BulkLoops& loops = tensor::bulk();
  const auto narrow = type == tensor::DType::f16 ? loops.f32_to_f16 : loops.f32_to_bf16;
  const auto widen = type == tensor::DType::f16 ? loops.f16_to_f32 : loops.bf16_to_f32;
  std::array<std::uint16_t, kPieceElems> halves;
  while (!values.empty()) {
    const std::size_t count = std::min(values.size(), halves.size());
    narrow(values.data(), halves.data(), count);
    widen(halves.data(), values.data(), count);
    values = values.subspan(count);
  }
}

/// To e4m3, to the nearest, ties to even; beyond the range the largest number, as a cast of torch.
[[nodiscard]] std::uint8_t to_e4m3(float value) noexcept;  // compressed_tensors.cpp
/// To e2m1, to the nearest, ties to even, at most 6; values below zero keep their sign.
[[nodiscard]] std::uint8_t to_e2m1(float value) noexcept;  // compressed_tensors.cpp

/// NaN becomes the least.
[[nodiscard]] inline float clamped(float value, float least, float greatest) noexcept {
  if (!(value >= least)) return least;
  return value > greatest ? greatest : value;
}

/// To an integer, ties to even; |value| at most 2^22. Inline where nearbyint is a call.
[[nodiscard]] inline float nearest_integer(float value) noexcept { return value + 0x1.8p23f - 0x1.8p23f; }

[[nodiscard]] inline bool is_integer(const tensor::Scheme& scheme) noexcept {
  return scheme.codes.kind == tensor::CodeKind::number && !tensor::info(scheme.codes.type).is_float;
}

/// One scale level of a float type of 16 or 32 bits and nothing unusual about it.
[[nodiscard]] inline bool has_one_float_scale(const tensor::Scheme& scheme) noexcept {
  if (scheme.scales.size() != 1 || scheme.rounded_scale || scheme.shift != 0 || scheme.order != tensor::Order::identity)
    return false;
  const tensor::DType type = scheme.scales[0].type;
  return type == tensor::DType::f32 || type == tensor::DType::f16 || type == tensor::DType::bf16;
}

}  // namespace ingot::convert::quantizers

// bitsandbytes checkpoints: NF4 and FP4 with their states, LLM.int8 with its row scales.
#pragma once

#include "converters/hf/codec.h"

namespace ingot::convert::bnb {

[[nodiscard]] bool claims(const HfCheckpoint& checkpoint);
[[nodiscard]] CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions& options);

/// What the factor 1/127 is in LLM.int8.
inline constexpr float kRowScaleUnit = 7.874015718698502e-3f;

/// Blocks of `block_size` elements of a matrix [.., inputs], one scale each; with `nested_size` scales that share a
/// scale of their own (0: single). As groups of inputs where rows divide into blocks, else as a flat run.
[[nodiscard]] tensor::Scheme block_scheme(const std::string& table, const tensor::Shape& shape,
                                          std::uint32_t block_size, std::uint32_t nested_size);
[[nodiscard]] tensor::Scheme row_scheme();  // of LLM.int8

/// A built-in table as `quant_map` holds it: zero without a sign. Empty when there is no such table.
[[nodiscard]] std::vector<float> quant_map(std::string_view table);

}  // namespace ingot::convert::bnb

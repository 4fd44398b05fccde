// One quantized module of a GPTQ checkpoint: what its tensors' shapes and its g_idx say.
#pragma once

#include <cstdint>
#include <vector>

#include "converters/layouts/gptq_config.h"
#include "converters/layouts/gptq_planes.h"
#include "converters/layouts/linear_modules.h"

namespace ingot::convert::gptq {

struct Module {
  LinearModule parts;
  ModuleConfig config;
  std::uint64_t inputs = 0, outputs = 0, groups = 0;
  std::uint8_t bits = 0, word_bits = 32;
  std::uint32_t block_cols = 0;  // of the scales
  tensor::Order order = tensor::Order::identity;
  std::vector<std::uint32_t> order_plane;
  bool index_is_implied = true;  // g_idx follows from order and block
  bool planar = false;
  ZeroEvidence evidence;  // not for Marlin
  ZeroCoding coding = ZeroCoding::minus_one;
};

/// Checks shapes and types against each other; the data of g_idx is read. Contradictions between config and tensors
/// become findings, contradictions between tensors are errors.
[[nodiscard]] Module inspect_module(const LinearModule& parts, const HfCheckpoint& checkpoint, const Config& config,
                                    FindingList& findings);
[[nodiscard]] ZeroWords zero_words(const Module& module);

}  // namespace ingot::convert::gptq

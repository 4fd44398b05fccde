// The orders in which layers put their norms.
#pragma once

#include "runtime/decoder.h"

namespace ingot::runtime {

/// x += attention(norm(x)); x += mlp(norm(x)). Most architectures.
[[nodiscard]] std::unique_ptr<DecoderLayer> make_pre_norm_layer(const Loader& loader, const DecoderConfig& config,
                                                                std::uint64_t index);
/// x += norm(attention(norm(x))); x += norm(mlp(norm(x))). The Gemma family from version 2 on.
[[nodiscard]] std::unique_ptr<DecoderLayer> make_sandwich_norm_layer(const Loader& loader, const DecoderConfig& config,
                                                                     std::uint64_t index);
/// x += norm(attention(x)); x += norm(mlp(x)). OLMo 2.
[[nodiscard]] std::unique_ptr<DecoderLayer> make_post_norm_layer(const Loader& loader, const DecoderConfig& config,
                                                                 std::uint64_t index);

}  // namespace ingot::runtime

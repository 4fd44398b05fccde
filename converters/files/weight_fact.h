// What a PyTorch file says of its modules beside their tensors ({"W_q": tensor, "nbits": 4, "packing": "4bit_u8"}).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace ingot::convert {

/// A whole number or flag, a real number, a text, the extents of a shape.
using WeightFact = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>>;
/// By full name, as tensors have them: "model.layers.0.self_attn.q_proj.nbits".
using WeightFacts = std::map<std::string, WeightFact, std::less<>>;

inline constexpr std::size_t kMaxWeightFacts = std::size_t{1} << 17;  // of one file
inline constexpr std::size_t kMaxFactTextBytes = 1'024, kMaxFactExtents = 8;

}  // namespace ingot::convert

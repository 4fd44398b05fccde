// Quantized tensors of other layouts as ggml blocks: which type holds the same codes.
#pragma once

#include <optional>
#include <string>

#include "converters/gguf/blocks.h"
#include "converters/recode/recode.h"

namespace ingot::convert::gguf {

struct BlockForm {
  const BlockType* type;
  Recoded recoded;  // exact or codes; transforms as in the source
};

/// The type that takes the fewest bytes among those that hold every value; where there is none, among those that hold
/// every code. Nothing: `reason` says what is in the way of the type that comes nearest.
[[nodiscard]] std::optional<BlockForm> find_block_form(const tensor::Tensor& tensor, std::string& reason);

}  // namespace ingot::convert::gguf

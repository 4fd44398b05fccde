#include "converters/gguf_recode.h"

#include <algorithm>
#include <vector>

#include "converters/gguf_planes.h"

namespace ingot::convert::gguf {
namespace {

/// Types that a row of the tensor can be cut into, smallest first.
std::vector<const BlockType*> candidates(const tensor::Tensor& tensor) {
  const std::uint64_t cols = tensor.stored_shape().empty() ? 1 : tensor.stored_shape().back();
  std::vector<const BlockType*> types;
  for (const BlockType& type : block_types()) {
    const bool grid = type.kind == BlockKind::coded && type.scheme().codes.kind == tensor::CodeKind::grid;
    if (grid && tensor.scheme.codes.kind != tensor::CodeKind::grid) continue;  // its codes are no codes of elements
    if (type.kind == BlockKind::coded && type.writable && cols % type.block_elems == 0) types.push_back(&type);
  }
  std::stable_sort(types.begin(), types.end(), [](const BlockType* a, const BlockType* b) {
    return a->block_bytes * b->block_elems < b->block_bytes * a->block_elems;
  });
  return types;
}

}  // namespace

std::optional<BlockForm> find_block_form(const tensor::Tensor& tensor, std::string& reason) {
  const std::uint8_t code_bits = tensor::bits(tensor.scheme.codes.type);
  std::optional<BlockForm> rounded;
  for (const BlockType* type : candidates(tensor)) {
    Recoded recoded = recode(tensor, {type->scheme(), tensor.transforms});
    if (recoded.proof != ProofClass::refused && !holds(*type, recoded.tensor)) {
      if (reason.empty())
        reason = std::string(type->name) + ": scales are negative, NaN or of too many bits, or its table is another";
      continue;
    }
    if (recoded.proof == ProofClass::exact) return BlockForm{type, std::move(recoded)};
    if (recoded.proof == ProofClass::refused) {
      if (reason.empty() && tensor::bits(type->scheme().codes.type) >= code_bits)
        reason = std::string(type->name) + ": " + recoded.reason;
      continue;
    }
    if (!rounded) rounded = BlockForm{type, std::move(recoded)};
  }
  return rounded;
}

}  // namespace ingot::convert::gguf

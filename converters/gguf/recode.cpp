#include "converters/gguf/recode.h"

#include <algorithm>
#include <vector>

#include "converters/gguf/planes.h"

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

/// The smallest type that holds the tensor in a class no worse than `worst`; else `reason` says why.
std::optional<BlockForm> smallest_form(const tensor::Tensor& tensor, ProofClass worst, std::string& reason) {
  const std::uint8_t code_bits = tensor::bits(tensor.scheme.codes.type);
  for (const BlockType* type : candidates(tensor)) {
    Recoded recoded = recode(tensor, {type->scheme(), tensor.transforms}, worst);
    if (recoded.proof == ProofClass::refused) {
      if (reason.empty() && tensor::bits(type->scheme().codes.type) >= code_bits)
        reason = std::string(type->name) + ": " + recoded.reason;
    } else if (holds(*type, recoded.tensor)) {
      return BlockForm{type, std::move(recoded)};
    } else if (reason.empty()) {
      reason = std::string(type->name) + ": scales are negative, NaN or of too many bits, or its table is another";
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<BlockForm> find_block_form(const tensor::Tensor& tensor, std::string& reason) {
  std::string not_exact;
  if (std::optional<BlockForm> form = smallest_form(tensor, ProofClass::exact, not_exact)) return form;
  return smallest_form(tensor, ProofClass::codes, reason);
}

}  // namespace ingot::convert::gguf

#include "converters/gguf/recode.h"

#include <algorithm>
#include <vector>

#include "converters/gguf/planes.h"
#include "format/tensor/decode.h"

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

/// Values of the first block of a tensor, as far as that is one of `cols` columns of every form; else none.
std::vector<float> first_values(const tensor::Tensor& tensor, std::uint64_t cols) {
  const bool is_in_order =
      tensor.transforms.empty() && tensor.scheme.order == tensor::Order::identity && tensor.scheme.flat == 0;
  if (!is_in_order || tensor.elements() == 0 || tensor.shape.back() < cols) return {};
  std::vector<float> values(cols);
  tensor::ValueReader(tensor).read(0, values, 0);
  return values;
}

/// Numbers that one scale and one offset make of codes are as many as the codes at most.
bool has_too_few_codes(const BlockType& type, std::span<const float> first) {
  const tensor::Scheme scheme = type.scheme();
  const std::uint8_t code_bits = tensor::bits(scheme.codes.type);
  if (scheme.codes.kind == tensor::CodeKind::grid || scheme.scales.empty() || code_bits >= 8) return false;
  const std::uint64_t block = scheme.scales[0].block.cols, cols = std::min<std::uint64_t>(block, first.size());
  if (scheme.scales[0].block.rows != 1) return false;
  std::vector<float> values(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(cols));
  if (std::any_of(values.begin(), values.end(), [](float value) { return value != value; })) return false;
  std::sort(values.begin(), values.end());
  const auto count = std::unique(values.begin(), values.end()) - values.begin();
  return count > std::ptrdiff_t{1} << code_bits;
}

/// The smallest type that holds the tensor in a class no worse than `worst`; else `reason` says why.
std::optional<BlockForm> smallest_form(const tensor::Tensor& tensor, ProofClass worst, std::string& reason) {
  const std::uint8_t code_bits = tensor::bits(tensor.scheme.codes.type);
  constexpr std::uint64_t kGlanceCols = 32;
  std::vector<float> first;  // looked at before codes are moved into less bits, which reads many of them
  for (const BlockType* type : candidates(tensor)) {
    const bool is_narrow = tensor::bits(type->scheme().codes.type) < code_bits;
    if (is_narrow && first.empty()) first = first_values(tensor, kGlanceCols);
    if (is_narrow && has_too_few_codes(*type, first)) continue;
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

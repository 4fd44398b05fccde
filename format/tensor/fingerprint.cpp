// Values -> canonical binary32 -> XXH3-128, block by block. Implements spec/fingerprint.md.
#include "format/tensor/fingerprint.h"

#include <algorithm>

#include "format/base/error.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "format/tensor/logical_decoder.h"

namespace ingot::tensor {
namespace {

constexpr std::string_view kValueDomain{"ingot-fp1\0", 10};
constexpr std::string_view kOpaqueDomain{"ingot-fp0\0", 10};
constexpr std::uint64_t kBlocksAtOnce = 8;

using Canonicalize = void (*)(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept;

/// Types whose bytes are canonicalized without a detour through floats.
struct DirectType {
  DType type;
  Canonicalize BulkLoops::*canonicalize;
};
constexpr DirectType kDirectTypes[] = {{DType::f32, &BulkLoops::canonical_f32},
                                       {DType::f16, &BulkLoops::canonical_f16},
                                       {DType::bf16, &BulkLoops::canonical_bf16}};

std::uint64_t block_count(std::uint64_t elements) noexcept {
  return (elements + kFingerprintBlockElems - 1) / kFingerprintBlockElems;
}

template <class T>
void append(Hasher128& hasher, T value) noexcept {
  std::byte bytes[sizeof(T)];
  store_le(bytes, value);
  hasher.update(bytes);
}

Hash128 combine(std::string_view domain, const Shape& shape, const std::vector<Hash128>& blocks) {
  Hasher128 hasher;
  hasher.update(as_bytes_view(domain));
  append(hasher, static_cast<std::uint32_t>(shape.size()));
  for (const std::uint64_t extent : shape) append(hasher, extent);
  for (const Hash128& block : blocks) hasher.update(block.bytes);
  return hasher.digest();
}

/// Runs work(block, first element, elements) for all blocks on all threads.
template <class Work>
void for_each_block(std::uint64_t elements, Work work) {
  parallel_for(block_count(elements), kBlocksAtOnce,
               [&](std::uint64_t first, std::uint64_t last, int) { work(first, last); });
}

std::uint64_t block_elems(std::uint64_t block, std::uint64_t elements) noexcept {
  return std::min(kFingerprintBlockElems, elements - block * kFingerprintBlockElems);
}

Hash128 hash_canonical(std::vector<std::uint32_t>& values, std::uint64_t count) noexcept {
  return hash128(std::as_bytes(std::span(values).first(count)));
}

/// Bytes in memory, one value after the other.
void hash_direct(Bytes bytes, std::uint64_t element_bytes, Canonicalize canonicalize, const Tensor& tensor,
                 std::vector<Hash128>& blocks) {
  const std::uint64_t elements = tensor.elements();
  const std::uint64_t row_elems = tensor.geometry().cols;
  for_each_block(elements, [&](std::uint64_t first, std::uint64_t last) {
    std::vector<std::uint32_t> values(kFingerprintBlockElems);
    for (std::uint64_t block = first; block < last; ++block) {
      const std::uint64_t count = block_elems(block, elements);
      canonicalize(bytes.data() + block * kFingerprintBlockElems * element_bytes, values.data(), count);
      blocks[block] = hash_canonical(values, count);
    }
    const std::uint64_t row_begin = (first * kFingerprintBlockElems + row_elems - 1) / row_elems;
    const std::uint64_t row_end = std::min(elements, last * kFingerprintBlockElems) / row_elems;
    if (row_begin < row_end) tensor.planes->done_with(row_begin, row_end);
  });
}

void hash_decoded(const Tensor& tensor, std::vector<Hash128>& blocks) {
  const LogicalDecoder decoder(tensor);
  const std::uint64_t elements = decoder.elements();
  std::vector<float> all;
  if (decoder.needs_whole_tensor()) {
    all.resize(elements);
    decode_logical(tensor, all);
  }
  for_each_block(elements, [&](std::uint64_t first, std::uint64_t last) {
    std::vector<float> values(kFingerprintBlockElems);
    std::vector<std::uint32_t> canonical(kFingerprintBlockElems);
    LogicalScratch scratch;
    for (std::uint64_t block = first; block < last; ++block) {
      const std::uint64_t begin = block * kFingerprintBlockElems;
      const std::uint64_t count = block_elems(block, elements);
      if (all.empty()) decoder.decode(begin, std::span(values).first(count), scratch);
      bulk().canonical_f32(all.empty() ? values.data() : all.data() + begin, canonical.data(), count);
      blocks[block] = hash_canonical(canonical, count);
    }
    const auto [unit_begin, unit_end] =
        decoder.units_inside(first * kFingerprintBlockElems, std::min(elements, last * kFingerprintBlockElems));
    if (unit_begin < unit_end) tensor.planes->done_with(unit_begin, unit_end);
  });
}

Hash128 fingerprint_opaque(const Tensor& tensor) {
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  const std::uint64_t total = specs[0].total_bytes;
  const std::uint64_t unit = specs[0].unit_bytes;
  const std::optional<Bytes> view = tensor.planes->view(0);
  std::vector<Hash128> blocks(block_count(total));
  for_each_block(total, [&](std::uint64_t first, std::uint64_t last) {
    std::vector<std::byte> buffer;
    for (std::uint64_t block = first; block < last; ++block) {
      const std::uint64_t begin = block * kFingerprintBlockElems;
      const std::uint64_t count = block_elems(block, total);
      if (view) {
        blocks[block] = hash128(view->subspan(begin, count));
        continue;
      }
      const std::uint64_t unit_begin = begin / unit;
      const std::uint64_t unit_end = (begin + count - 1) / unit + 1;
      buffer.resize((unit_end - unit_begin) * unit);
      std::vector<std::byte*> wanted{buffer.data()};
      tensor.planes->read_units(unit_begin, unit_end, wanted);
      blocks[block] = hash128(Bytes(buffer).subspan(begin - unit_begin * unit, count));
    }
  });
  return combine(kOpaqueDomain, tensor.shape, blocks);
}

bool is_tied_head(const Model& model, const std::vector<Hash128>& of_tensors, std::size_t index) {
  if (!model.config.tied_embeddings || model.tensors[index].name != "lm_head.weight") return false;
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    if (i != index && of_tensors[i] == of_tensors[index]) return true;
  }
  return false;
}

}  // namespace

Hash128 fingerprint(const Tensor& tensor) {
  if (tensor.scheme.codes.kind == CodeKind::opaque) return fingerprint_opaque(tensor);
  std::vector<Hash128> blocks(block_count(tensor.elements()));
  const auto* direct = std::find_if(std::begin(kDirectTypes), std::end(kDirectTypes),
                                    [&](const DirectType& row) { return row.type == tensor.scheme.codes.type; });
  const bool straight = tensor.scheme.is_plain() && tensor.transforms.empty() && direct != std::end(kDirectTypes);
  const std::optional<Bytes> view = straight ? tensor.planes->view(0) : std::nullopt;
  const std::uint64_t element_bytes = bits(tensor.scheme.codes.type) / 8u;
  if (view && view->size() == tensor.elements() * element_bytes) {
    hash_direct(*view, element_bytes, bulk().*direct->canonicalize, tensor, blocks);
  } else {
    hash_decoded(tensor, blocks);
  }
  return combine(kValueDomain, tensor.shape, blocks);
}

FingerprintBuilder::FingerprintBuilder(const Shape& logical_shape) : shape_(logical_shape) {
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : logical_shape) elements *= extent;  // the tensor's geometry was checked
  blocks_.resize(block_count(elements));
}

void FingerprintBuilder::add_block(std::uint64_t block, std::span<const float> values) {
  if (block >= blocks_.size() || values.size() > kFingerprintBlockElems) {
    throw Error(ErrorKind::invalid_value, "fingerprint block " + std::to_string(block) + " of " +
                                              std::to_string(blocks_.size()) + " with " +
                                              std::to_string(values.size()) + " values");
  }
  std::vector<std::uint32_t> canonical(values.size());
  bulk().canonical_f32(values.data(), canonical.data(), values.size());
  blocks_[block] = hash_canonical(canonical, canonical.size());
}

Hash128 FingerprintBuilder::finish() const { return combine(kValueDomain, shape_, blocks_); }

Hash128 model_fingerprint(const Model& model, const std::vector<Hash128>& of_tensors) {
  if (of_tensors.size() != model.tensors.size()) {
    throw Error(ErrorKind::invalid_value, "model fingerprint: " + std::to_string(of_tensors.size()) +
                                              " fingerprints for " + std::to_string(model.tensors.size()) + " tensors");
  }
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    if (!model.tensors[i].derived && !is_tied_head(model, of_tensors, i)) order.push_back(i);
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return model.tensors[a].name < model.tensors[b].name; });
  Hasher128 hasher;
  for (const std::size_t i : order) {
    append(hasher, static_cast<std::uint32_t>(model.tensors[i].name.size()));
    hasher.update(as_bytes_view(model.tensors[i].name));
    hasher.update(of_tensors[i].bytes);
  }
  return hasher.digest();
}

}  // namespace ingot::tensor

// Values -> canonical binary32 -> XXH3-128, block by block. Implements spec/fingerprint.md.
#include "format/tensor/fingerprint.h"

#include <algorithm>

#include "format/base/error.h"
#include "format/base/parallel.h"
#include "format/tensor/block_hasher.h"
#include "format/tensor/canonical_tiles.h"
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

/// Runs work(first block, end block, worker) for all blocks on all threads.
template <class Work>
void for_each_block(std::uint64_t elements, Work work) {
  parallel_for(block_count(elements), kBlocksAtOnce,
               [&](std::uint64_t first, std::uint64_t last, int worker) { work(first, last, worker); });
}

std::uint64_t block_elems(std::uint64_t block, std::uint64_t elements) noexcept {
  return std::min(kFingerprintBlockElems, elements - block * kFingerprintBlockElems);
}

/// Canonicalizes and hashes in pieces that stay in the first-level cache.
void add_canonical(Hasher128& hasher, const void* values, std::uint64_t element_bytes, Canonicalize canonicalize,
                   std::uint64_t count) {
  constexpr std::uint64_t kPieceElems = 2048;
  std::uint32_t canonical[kPieceElems];
  for (std::uint64_t at = 0; at < count; at += kPieceElems) {
    const std::uint64_t elems = std::min(kPieceElems, count - at);
    canonicalize(static_cast<const std::byte*>(values) + at * element_bytes, canonical, elems);
    hasher.update(std::as_bytes(std::span(canonical).first(elems)));
  }
}

Hash128 hash_canonical(const void* values, std::uint64_t element_bytes, Canonicalize canonicalize,
                       std::uint64_t count) {
  Hasher128 hasher;
  add_canonical(hasher, values, element_bytes, canonicalize, count);
  return hasher.digest();
}

const DirectType* find_direct(DType type) noexcept {
  for (const DirectType& row : kDirectTypes)
    if (row.type == type) return &row;
  return nullptr;
}

/// Bytes in memory, one value after the other.
void hash_direct(Bytes bytes, std::uint64_t element_bytes, Canonicalize canonicalize, const Tensor& tensor,
                 std::vector<Hash128>& blocks) {
  const std::uint64_t elements = tensor.elements();
  const std::uint64_t row_elems = tensor.geometry().cols;
  for_each_block(elements, [&](std::uint64_t first, std::uint64_t last, int) {
    for (std::uint64_t block = first; block < last; ++block) {
      blocks[block] = hash_canonical(bytes.data() + block * kFingerprintBlockElems * element_bytes, element_bytes,
                                     canonicalize, block_elems(block, elements));
    }
    const std::uint64_t row_begin = first * kFingerprintBlockElems / row_elems;
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
  struct Worker {
    std::vector<float> values;
    LogicalScratch scratch;
  };
  std::vector<Worker> workers(static_cast<std::size_t>(thread_count()));
  for_each_block(elements, [&](std::uint64_t first, std::uint64_t last, int worker) {
    Worker& own = workers[static_cast<std::size_t>(worker)];
    for (std::uint64_t block = first; block < last; ++block) {
      const std::uint64_t begin = block * kFingerprintBlockElems;
      const std::uint64_t count = block_elems(block, elements);
      if (all.empty()) {
        own.values.resize(count);
        decoder.decode(begin, own.values, own.scratch);
      }
      blocks[block] = hash_canonical(all.empty() ? own.values.data() : all.data() + begin, sizeof(float),
                                     bulk().canonical_f32, count);
    }
    const auto [unit_begin, unit_end] =
        decoder.units_ending_in(first * kFingerprintBlockElems, std::min(elements, last * kFingerprintBlockElems));
    if (unit_begin < unit_end) tensor.planes->done_with(unit_begin, unit_end);
  });
}

void hash_tiles(const Tensor& tensor, std::vector<Hash128>& blocks) {
  const CanonicalTiles tiles(tensor);
  const std::uint64_t elements = tensor.elements();
  std::vector<CanonicalTiles::Scratch> scratches(static_cast<std::size_t>(thread_count()));
  for_each_block(elements, [&](std::uint64_t first, std::uint64_t last, int worker) {
    tiles.hash(first * kFingerprintBlockElems, kFingerprintBlockElems, std::span(blocks).subspan(first, last - first),
               nullptr, scratches[static_cast<std::size_t>(worker)]);
    const auto [unit_begin, unit_end] =
        tiles.units_ending_in(first * kFingerprintBlockElems, std::min(elements, last * kFingerprintBlockElems));
    if (unit_begin < unit_end) tensor.planes->done_with(unit_begin, unit_end);
  });
}

Hash128 fingerprint_opaque(const Tensor& tensor) {
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  const std::uint64_t total = specs[0].total_bytes;
  const std::uint64_t unit = specs[0].unit_bytes;
  const std::optional<Bytes> view = tensor.planes->view(0);
  std::vector<Hash128> blocks(block_count(total));
  for_each_block(total, [&](std::uint64_t first, std::uint64_t last, int) {
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

namespace {

Hash128 fingerprint_values(const Tensor& tensor) {
  std::vector<Hash128> blocks(block_count(tensor.elements()));
  const DirectType* direct = find_direct(tensor.scheme.codes.type);
  const bool straight = tensor.scheme.is_plain() && tensor.transforms.empty() && direct != nullptr;
  const std::optional<Bytes> view = straight ? tensor.planes->view(0) : std::nullopt;
  const std::uint64_t element_bytes = bits(tensor.scheme.codes.type) / 8u;
  if (view && view->size() == tensor.elements() * element_bytes) {
    hash_direct(*view, element_bytes, bulk().*direct->canonicalize, tensor, blocks);
  } else if (CanonicalTiles::takes(tensor)) {
    hash_tiles(tensor, blocks);
  } else {
    hash_decoded(tensor, blocks);
  }
  return combine(kValueDomain, tensor.shape, blocks);
}

}  // namespace

Hash128 fingerprint(const Tensor& tensor) {
  const bool opaque = tensor.scheme.codes.kind == CodeKind::opaque;
  const Hash128 result = opaque ? fingerprint_opaque(tensor) : fingerprint_values(tensor);
  tensor.planes->done_with(0, tensor.geometry().units);
  return result;
}

void BlockHasher::add(std::span<const float> values) {
  add_canonical(hasher_, values.data(), sizeof(float), bulk().canonical_f32, values.size());
}

FingerprintBuilder::FingerprintBuilder(const Shape& logical_shape) : shape_(logical_shape) {
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : logical_shape) elements *= extent;  // the tensor's geometry was checked
  blocks_.resize(block_count(elements));
}

void FingerprintBuilder::add_block(std::uint64_t block, std::span<const float> values) {
  blocks_[checked(block, values.size())] =
      hash_canonical(values.data(), sizeof(float), bulk().canonical_f32, values.size());
}

bool FingerprintBuilder::takes_bytes_of(DType type) noexcept { return find_direct(type) != nullptr; }

void FingerprintBuilder::add_block(std::uint64_t block, DType type, Bytes bytes) {
  const DirectType* direct = find_direct(type);
  if (direct == nullptr)
    throw Error(ErrorKind::invalid_value, "fingerprint block of " + std::string(name(type)) + " elements");
  const std::uint64_t element_bytes = bits(type) / 8u;
  const std::uint64_t count = bytes.size() / element_bytes;
  blocks_[checked(block, count)] = hash_canonical(bytes.data(), element_bytes, bulk().*direct->canonicalize, count);
}

void FingerprintBuilder::add_hash(std::uint64_t block, const Hash128& hash) { blocks_[checked(block, 0)] = hash; }

std::uint64_t FingerprintBuilder::checked(std::uint64_t block, std::uint64_t count) const {
  if (block < blocks_.size() && count <= kFingerprintBlockElems) return block;
  throw Error(ErrorKind::invalid_value, "fingerprint block " + std::to_string(block) + " of " +
                                            std::to_string(blocks_.size()) + " with " + std::to_string(count) +
                                            " values");
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

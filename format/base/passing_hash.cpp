#include "format/base/passing_hash.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "format/base/checked_math.h"
#include "format/base/parallel.h"

namespace ingot {

PassingHashes::PassingHashes(std::vector<std::shared_ptr<const MappedFile>> mappings) {
  files_.reserve(mappings.size());
  for (std::shared_ptr<const MappedFile>& mapping : mappings) {
    const std::uint64_t blocks = mapping == nullptr ? 0 : ceil_div(mapping->size(), kTreeBlockBytes);
    files_.push_back({std::move(mapping), std::vector<Hash128>(blocks), std::vector<std::atomic<bool>>(blocks)});
  }
}

void PassingHashes::hash_block(File& file, std::uint64_t block) noexcept {
  if (file.taken[block].exchange(true, std::memory_order_relaxed)) return;
  const std::uint64_t begin = block * kTreeBlockBytes;
  file.blocks[block] =
      hash128(file.mapping->bytes().subspan(begin, std::min(kTreeBlockBytes, file.mapping->size() - begin)));
}

PassingHashes::BlockRange PassingHashes::blocks_ending_in(Bytes piece) noexcept {
  if (piece.empty()) return {};
  constexpr std::less<const std::byte*> is_before;  // of pointers into different mappings
  for (File& file : files_) {
    if (file.mapping == nullptr) continue;
    const Bytes bytes = file.mapping->bytes();
    if (is_before(piece.data(), bytes.data()) || !is_before(piece.data(), bytes.data() + bytes.size())) continue;
    const auto begin = static_cast<std::uint64_t>(piece.data() - bytes.data());
    const std::uint64_t end = begin + piece.size();
    const std::uint64_t end_block = end >= bytes.size() ? file.blocks.size() : end / kTreeBlockBytes;
    return {&file, std::min(begin / kTreeBlockBytes, end_block), end_block};
  }
  return {};
}

void PassingHashes::saw(Bytes piece) noexcept {
  const BlockRange range = blocks_ending_in(piece);
  for (std::uint64_t block = range.begin; block < range.end; ++block) hash_block(*range.file, block);
}

void PassingHashes::will_read(Bytes piece) {
  const BlockRange range = blocks_ending_in(piece);
  parallel_for(range.end - range.begin, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t block = range.begin + begin; block < range.begin + end; ++block) hash_block(*range.file, block);
  });
}

Hash128 PassingHashes::finish(std::size_t number, const Progress& progress) {
  constexpr std::uint64_t kBlocksAtOnce = 64;  // between two drop(), so that the resident set stays small
  File& file = files_[number];
  for (std::uint64_t first = 0; first < file.blocks.size(); first += kBlocksAtOnce) {
    const std::uint64_t count = std::min<std::uint64_t>(kBlocksAtOnce, file.blocks.size() - first);
    parallel_for(count, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
      for (std::uint64_t block = first + begin; block < first + end; ++block) hash_block(file, block);
    });
    const Bytes bytes = file.mapping->bytes();
    const std::uint64_t begin = first * kTreeBlockBytes;
    file.mapping->drop(bytes.subspan(begin, std::min<std::uint64_t>(count * kTreeBlockBytes, bytes.size() - begin)));
    if (progress)
      progress("hashing", std::min<std::uint64_t>(begin + count * kTreeBlockBytes, bytes.size()), bytes.size());
  }
  return hash128_of_blocks(file.blocks);
}

}  // namespace ingot

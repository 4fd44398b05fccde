// An .ingot file as opened: mapping, header, index and chunk table, all checked against each other. Implements
// spec/container.md section 4, spec/integrity.md sections 2 and 3. Internal to format/container.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "format/base/mapped_file.h"
#include "format/container/chunk.h"
#include "format/container/chunk_cache.h"
#include "format/container/header.h"
#include "format/container/index.h"

namespace ingot::container {

inline constexpr std::uint64_t kAlignment = 64;
inline constexpr std::uint64_t kLargeAlignment = 4096;
inline constexpr std::uint64_t kLargeBlobBytes = 65536;
[[nodiscard]] constexpr std::uint64_t blob_alignment(std::uint64_t stored_bytes) noexcept {
  return stored_bytes >= kLargeBlobBytes ? kLargeAlignment : kAlignment;
}

/// Immutable after open_file(); shared by every plane and attachment that points into the mapping.
struct File {
  MappedFile mapping;
  std::string where;  // path, for messages
  Header header;
  Index index;
  mutable ChunkCache cache;  // decompressed chunks, thread-safe

  [[nodiscard]] Bytes bytes() const noexcept { return mapping.bytes(); }
  [[nodiscard]] Bytes chunk_table() const noexcept {
    return bytes().subspan(index.chunk_table_offset, index.chunk_table_rows * kChunkRowBytes);
  }
  [[nodiscard]] ChunkRow row(std::uint64_t number) const noexcept { return chunk_row(chunk_table(), number); }
  [[nodiscard]] std::string_view index_bytes() const noexcept {
    return as_text(bytes().subspan(header.current.index_offset, header.current.index_size));
  }
};

/// Maps and checks everything but the data and, of a manifest, the members: header, index hash, index values, blob
/// places, chunk table (rows, their hashes, data root).
[[nodiscard]] std::shared_ptr<File> open_file(const std::filesystem::path& path);

/// The model of one file: what its index says, views of its bytes, its tokenizer. Of a manifest, without what its
/// members hold. Takes the model out of `file->index`.
[[nodiscard]] tensor::Model take_model(const std::shared_ptr<File>& file);

/// A piece of the file in use. Sorted by offset: the header page, every non-empty blob, the chunk table, the index.
struct Extent {
  std::uint64_t offset, size, alignment;
  [[nodiscard]] std::uint64_t end() const noexcept { return offset + size; }
};
[[nodiscard]] std::vector<Extent> sorted_extents(const Index& index, const Slot& slot);
/// Is the gap between neighbours the padding that alignment asks for (zeros)? Otherwise it is dead space.
[[nodiscard]] bool is_padding(const Extent& before, const Extent& after) noexcept;
/// Dead space inside the file and behind its end.
[[nodiscard]] std::uint64_t dead_bytes(const std::vector<Extent>& extents, std::uint64_t actual_bytes) noexcept;

/// Throws bad_checksum unless the stored bytes of a chunk, at `offset`, have the hash of `row`.
void check_chunk_hash(Bytes stored, const ChunkRow& row, std::string_view where, std::uint64_t offset);

/// spec/integrity.md section 3.
[[nodiscard]] Hash128 data_root(const Index& index);

/// All blobs of the index in order: attachments, then planes.
template <class Visit>
void for_each_blob(const Index& index, const Visit& visit) {
  for (const Blob& blob : index.attachments) visit(blob);
  for (const std::vector<Blob>& planes : index.planes)
    for (const Blob& blob : planes) visit(blob);
}

/// The plane bytes of one tensor of an opened file.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> mapped_planes(std::shared_ptr<const File> file,
                                                                       const std::vector<Blob>& blobs);

}  // namespace ingot::container

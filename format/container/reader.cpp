// Opening: O(index + chunk table), not O(file). Order of checks as in spec/conformance.md section 3.
#include <algorithm>

#include "format/base/checked_math.h"
#include "format/container/container.h"
#include "format/container/file.h"
#include "format/container/limits.h"
#include "format/container/set.h"

namespace ingot::container {
namespace {

[[noreturn]] void invalid(const File& file, std::uint64_t offset, const std::string& what) {
  throw Error(ErrorKind::invalid_value, file.where + ": " + what, offset);
}

/// Place of one blob or of the chunk table: behind the header page, before the index, aligned.
void check_place(const File& file, std::uint64_t offset, std::uint64_t size, std::string_view what) {
  const std::uint64_t limit = file.header.current.index_offset;
  if (size == 0) {
    if (offset != 0)
      invalid(file, offset, std::string(what) + " of size 0: expected offset 0, got " + std::to_string(offset));
    return;
  }
  if (offset < kHeaderBytes || offset > limit || size > limit - offset) {
    invalid(file, offset,
            std::string(what) + ": bytes " + std::to_string(offset) + " + " + std::to_string(size) +
                " lie outside the data (4096 .. " + std::to_string(limit) + ")");
  }
  if (offset % blob_alignment(size) != 0) {
    invalid(file, offset,
            std::string(what) + ": offset " + std::to_string(offset) + ": expected a multiple of " +
                std::to_string(blob_alignment(size)));
  }
}

void check_places(const File& file) {
  for_each_blob(file.index, [&](const Blob& blob) { check_place(file, blob.offset, blob.stored, "blob"); });
  const std::uint64_t table_bytes = checked_mul(file.index.chunk_table_rows, kChunkRowBytes, "chunk table");
  check_place(file, file.index.chunk_table_offset, table_bytes, "chunk table");
  const std::vector<Extent> extents = sorted_extents(file.index, file.header.current);
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].offset < extents[i - 1].end()) {
      invalid(file, extents[i].offset,
              "the blob at byte " + std::to_string(extents[i].offset) + " overlaps the one at byte " +
                  std::to_string(extents[i - 1].offset));
    }
  }
}

/// The rows of one blob: encodings, sizes that add up, hash. Says whether a chunk is compressed.
bool check_rows(const File& file, const Blob& blob) {
  bool has_zstd = false;
  std::uint64_t stored = 0;
  for (std::uint64_t chunk = 0; chunk < chunk_count(blob.size); ++chunk) {
    const std::uint64_t number = blob.first_chunk + chunk;
    const ChunkRow row = file.row(number);
    check_chunk_row(row, chunk_raw_bytes(blob.size, chunk), file.where,
                    file.index.chunk_table_offset + number * kChunkRowBytes);
    has_zstd |= row.is_zstd();
    stored += row.stored_size;
  }
  if (stored != blob.stored) {
    invalid(file, blob.offset,
            "blob at byte " + std::to_string(blob.offset) + ": expected chunks of " + std::to_string(blob.stored) +
                " stored bytes, got " + std::to_string(stored));
  }
  const Hash128 computed =
      hash128(file.chunk_table().subspan(blob.first_chunk * kChunkRowBytes, chunk_count(blob.size) * kChunkRowBytes));
  if (computed != blob.hash) {
    throw Error(ErrorKind::bad_checksum,
                file.where + ": chunk rows of the blob at byte " + std::to_string(blob.offset) +
                    ": checksum mismatch (stored " + blob.hash.hex() + ", computed " + computed.hex() + ")",
                file.index.chunk_table_offset + blob.first_chunk * kChunkRowBytes);
  }
  return has_zstd;
}

/// Every row belongs to exactly one blob, in order.
void check_chunk_table(const File& file) {
  bool has_zstd = false;
  std::uint64_t next_row = 0;
  for_each_blob(file.index, [&](const Blob& blob) {
    const std::uint64_t count = chunk_count(blob.size);
    const std::uint64_t expected = count == 0 ? 0 : next_row;
    if (blob.first_chunk != expected || count > file.index.chunk_table_rows - next_row) {
      invalid(file, blob.offset,
              "blob at byte " + std::to_string(blob.offset) + ": expected rows " + std::to_string(expected) + " + " +
                  std::to_string(count) + " of " + std::to_string(file.index.chunk_table_rows) + ", got first_chunk " +
                  std::to_string(blob.first_chunk));
    }
    next_row += count;
    has_zstd |= check_rows(file, blob);
  });
  if (next_row != file.index.chunk_table_rows) {
    invalid(file, file.index.chunk_table_offset,
            "chunk table: expected " + std::to_string(next_row) + " rows, got " +
                std::to_string(file.index.chunk_table_rows));
  }
  if (has_zstd != ((file.header.current.required_features & kFeatureZstd) != 0)) {
    invalid(file, kSlotOffsets[static_cast<std::size_t>(file.header.current_slot)] + 16,
            has_zstd ? "a chunk is compressed but required feature bit 0 is clear"
                     : "required feature bit 0 is set but no chunk is compressed");
  }
}

void check_set_feature(const File& file) {
  const bool is_manifest = !file.index.members.empty();
  if (is_manifest == ((file.header.current.required_features & kFeatureSet) != 0)) return;
  invalid(file, kSlotOffsets[static_cast<std::size_t>(file.header.current_slot)] + 16,
          is_manifest ? "the index names members of a set but required feature bit 1 is clear"
                      : "required feature bit 1 is set but the index names no members of a set");
}

void check_data_root(const File& file) {
  const Hash128 computed = data_root(file.index);
  if (computed == file.header.current.data_root) return;
  throw Error(ErrorKind::bad_checksum,
              file.where + ": data root: checksum mismatch (stored " + file.header.current.data_root.hex() +
                  ", computed " + computed.hex() + ")",
              kSlotOffsets[static_cast<std::size_t>(file.header.current_slot)] + 64);
}

/// The tokenizer is parsed on open, so its bytes are checked on open.
void take_tokenizer(const std::shared_ptr<const File>& file, const std::vector<Blob>& blobs, tensor::Model& model) {
  const auto found =
      std::find_if(model.attachments.begin(), model.attachments.end(),
                   [](const tensor::Attachment& attachment) { return attachment.name == kTokenizerAttachment; });
  if (found == model.attachments.end()) return;
  const Blob& blob = blobs[static_cast<std::size_t>(found - model.attachments.begin())];
  for (std::uint64_t chunk = 0; chunk < chunk_count(blob.size); ++chunk) {
    const std::uint64_t begin = chunk * kChunkBytes;
    check_chunk_hash(found->bytes.subspan(begin, chunk_raw_bytes(blob.size, chunk)),
                     file->row(blob.first_chunk + chunk), file->where, blob.offset + begin);
  }
  const std::string where = file->where + ": attachment " + std::string(kTokenizerAttachment);
  const Json json = parse_json(as_text(found->bytes), where, {kMaxTokenizerBytes, kMaxTokenizerDepth});
  model.tokenizer = tensor::tokenizer_spec_from_json(json, where);
  model.attachments.erase(found);
}

}  // namespace

Hash128 data_root(const Index& index) {
  std::vector<std::byte> hashes;
  for (const std::vector<Blob>& planes : index.planes)
    for (const Blob& blob : planes) hashes.insert(hashes.end(), blob.hash.bytes.begin(), blob.hash.bytes.end());
  return hash128(hashes);
}

void check_chunk_hash(Bytes stored, const ChunkRow& row, std::string_view where, std::uint64_t offset) {
  const Hash128 computed = hash128(stored);
  if (computed == row.hash) return;
  throw Error(ErrorKind::bad_checksum,
              std::string(where) + ": chunk at byte " + std::to_string(offset) + ": checksum mismatch (stored " +
                  row.hash.hex() + ", computed " + computed.hex() + ")",
              offset);
}

std::vector<Extent> sorted_extents(const Index& index, const Slot& slot) {
  std::vector<Extent> extents = {{0, kHeaderBytes, kAlignment}};
  for_each_blob(index, [&](const Blob& blob) {
    if (blob.stored != 0) extents.push_back({blob.offset, blob.stored, blob_alignment(blob.stored)});
  });
  const std::uint64_t table_bytes = index.chunk_table_rows * kChunkRowBytes;
  if (table_bytes != 0) extents.push_back({index.chunk_table_offset, table_bytes, blob_alignment(table_bytes)});
  extents.push_back({slot.index_offset, slot.index_size, kAlignment});
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  return extents;
}

bool is_padding(const Extent& before, const Extent& after) noexcept {
  return after.offset == align_up(before.end(), after.alignment);
}

std::uint64_t dead_bytes(const std::vector<Extent>& extents, std::uint64_t actual_bytes) noexcept {
  std::uint64_t dead = actual_bytes - extents.back().end();
  for (std::size_t i = 1; i < extents.size(); ++i)
    if (!is_padding(extents[i - 1], extents[i])) dead += extents[i].offset - extents[i - 1].end();
  return dead;
}

std::shared_ptr<File> open_file(const std::filesystem::path& path) {
  auto file = std::make_shared<File>();
  file->mapping = MappedFile(path);
  file->where = path.string();
  file->header = read_header(file->bytes(), file->where);
  const Slot& slot = file->header.current;
  const Hash128 computed = hash128(as_bytes_view(file->index_bytes()));
  if (computed != slot.index_hash) {
    throw Error(ErrorKind::bad_checksum,
                file->where + ": index at byte " + std::to_string(slot.index_offset) + ": checksum mismatch (stored " +
                    slot.index_hash.hex() + ", computed " + computed.hex() + ")",
                slot.index_offset);
  }
  try {
    file->index = parse_index(file->index_bytes(), file->where + ": index");
  } catch (const Error& error) {
    throw Error(error.kind, error.what(), slot.index_offset);
  }
  check_set_feature(*file);
  check_places(*file);
  check_chunk_table(*file);
  check_data_root(*file);
  return file;
}

tensor::Model take_model(const std::shared_ptr<File>& opened) {
  tensor::Model model = std::move(opened->index.model);
  const std::shared_ptr<const File> file = opened;
  model.path = file->mapping.path();
  for (std::size_t i = 0; i < model.attachments.size(); ++i) {
    const Blob& blob = file->index.attachments[i];
    model.attachments[i].bytes = file->bytes().subspan(blob.offset, blob.size);
    model.attachments[i].owner = file;
  }
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    model.tensors[i].planes = mapped_planes(file, file->index.planes[i]);
  }
  take_tokenizer(file, file->index.attachments, model);
  return model;
}

tensor::Model open(const std::filesystem::path& path) {
  const std::shared_ptr<File> file = open_file(path);
  std::vector<std::shared_ptr<File>> members;
  for (const SetMember& member : file->index.members) {
    members.push_back(open_member(*file, member));
    check_member(*file, member, *members.back());
  }
  if (!members.empty()) check_set(*file, members);
  tensor::Model model = take_model(file);
  for (const std::shared_ptr<File>& member : members) {
    tensor::Model part = take_model(member);
    std::move(part.tensors.begin(), part.tensors.end(), std::back_inserter(model.tensors));
  }
  return model;
}

FileFacts facts(const std::filesystem::path& path) {
  const std::shared_ptr<const File> file = open_file(path);
  const Slot& slot = file->header.current;
  FileFacts facts;
  facts.generation = slot.generation;
  facts.file_bytes = file->bytes().size();
  facts.index_bytes = slot.index_size;
  for_each_blob(file->index, [&](const Blob& blob) {
    facts.data_bytes += blob.stored;
    facts.raw_bytes += blob.size;
  });
  facts.dead_bytes = dead_bytes(sorted_extents(file->index, slot), file->bytes().size());
  facts.read_version = slot.read_version;
  facts.write_version = slot.write_version;
  facts.required_features = slot.required_features;
  facts.optional_features = slot.optional_features;
  facts.root = slot.index_hash;
  facts.data_root = slot.data_root;
  facts.members = file->index.members;
  return facts;
}

}  // namespace ingot::container

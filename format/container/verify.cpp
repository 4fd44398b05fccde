// Every byte of a file against its hashes, the zeros against zero, the index against its canonical form, the values against their
// fingerprints. Implements the verifying reader of spec/conformance.md section 2.
#include <algorithm>
#include <mutex>

#include "format/base/parallel.h"
#include "format/container/byte_meter.h"
#include "format/container/container.h"
#include "format/container/file.h"
#include "format/tensor/fingerprint.h"

namespace ingot::container {
namespace {

constexpr std::uint64_t kMaxFindings = 1000;  // more say nothing new
constexpr std::uint64_t kChunksPerJob = 4;

/// Collects findings of several threads.
class Findings {
 public:
  void add(const Error& error) { add(error.kind, error.what(), error.offset); }
  void add(ErrorKind kind, std::string message, std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    if (findings_.size() < kMaxFindings) findings_.push_back({kind, std::move(message), offset});
  }
  /// In the order of the file.
  [[nodiscard]] std::vector<Finding> take() {
    std::stable_sort(findings_.begin(), findings_.end(),
                     [](const Finding& a, const Finding& b) { return a.offset < b.offset; });
    return std::move(findings_);
  }

 private:
  std::mutex mutex_;
  std::vector<Finding> findings_;
};

void check_zeros(const File& file, std::uint64_t begin, std::uint64_t end, std::string_view what, Findings& findings) {
  const std::uint64_t at = begin + first_nonzero(file.bytes().subspan(begin, end - begin));
  if (at == end) return;
  findings.add(ErrorKind::invalid_value,
               file.where + ": " + std::string(what) + " at byte " + std::to_string(at) + ": expected zero", at);
}

void check_header_page(const File& file, Findings& findings) {
  for (const ReservedRange& range : kReservedRanges) check_zeros(file, range.begin, range.end, "header page", findings);
  if (file.header.other_state == SlotState::invalid) {
    const std::uint64_t offset = kSlotOffsets[static_cast<std::size_t>(1 - file.header.current_slot)];
    findings.add(ErrorKind::bad_checksum,
                 file.where + ": header slot at byte " + std::to_string(offset) +
                     ": neither empty nor valid (damage, or an edit that was interrupted; compact repairs it)",
                 offset);
  }
}

void check_canonical(const File& file, Findings& findings) {
  const std::string_view text = file.index_bytes();
  const std::string canonical = canonical_json(parse_index_json(text, file.where));
  if (canonical == text) return;
  const auto differs = std::mismatch(text.begin(), text.end(), canonical.begin(), canonical.end());
  const std::uint64_t at = file.header.current.index_offset + static_cast<std::uint64_t>(differs.first - text.begin());
  findings.add(ErrorKind::invalid_value,
               file.where + ": index at byte " + std::to_string(at) + ": not in canonical form", at);
}

void check_padding(const File& file, const std::vector<Extent>& extents, Findings& findings) {
  for (std::size_t i = 1; i < extents.size(); ++i)
    if (is_padding(extents[i - 1], extents[i]))
      check_zeros(file, extents[i - 1].end(), extents[i].offset, "padding", findings);
}

/// A chunk with its place in the file.
struct StoredChunk {
  std::uint64_t row, offset;
  std::uint32_t raw_bytes;
};

std::vector<StoredChunk> stored_chunks(const File& file) {
  std::vector<StoredChunk> chunks;
  chunks.reserve(file.index.chunk_table_rows);
  for_each_blob(file.index, [&](const Blob& blob) {
    std::uint64_t offset = blob.offset;
    for (std::uint64_t i = 0; i < chunk_count(blob.size); ++i) {
      chunks.push_back({blob.first_chunk + i, offset, static_cast<std::uint32_t>(chunk_raw_bytes(blob.size, i))});
      offset += file.row(blob.first_chunk + i).stored_size;
    }
  });
  return chunks;
}

void check_chunk(const File& file, const StoredChunk& chunk, std::vector<std::byte>& raw) {
  const ChunkRow row = file.row(chunk.row);
  const Bytes stored = file.bytes().subspan(chunk.offset, row.stored_size);
  check_chunk_hash(stored, row, file.where, chunk.offset);
  if (!row.is_zstd()) return;
  raw.resize(chunk.raw_bytes);
  file.cache.decode(raw, [&](ChunkDecoder& decoder, std::span<std::byte> target) {
    decoder.decode(stored, row.shuffle_width(), target, file.where, chunk.offset);
  });
}

void check_chunks(const File& file, ByteMeter& meter, Findings& findings) {
  const std::vector<StoredChunk> chunks = stored_chunks(file);
  std::vector<std::vector<std::byte>> raw(static_cast<std::size_t>(thread_count()));
  parallel_for(chunks.size(), kChunksPerJob, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    const std::uint64_t first_byte = chunks[begin].offset;
    const std::uint64_t last_byte = chunks[end - 1].offset + file.row(chunks[end - 1].row).stored_size;
    for (std::uint64_t i = begin; i < end; ++i) {
      try {
        check_chunk(file, chunks[i], raw[static_cast<std::size_t>(worker)]);
      } catch (const Error& error) {
        findings.add(error);
      }
      meter.add(file.row(chunks[i].row).stored_size);
    }
    if (first_byte < last_byte) file.mapping.drop(file.bytes().subspan(first_byte, last_byte - first_byte));
  });
}

void check_values(const std::filesystem::path& path, ByteMeter& meter, Findings& findings) {
  const tensor::Model model = open(path);
  for (const tensor::Tensor& tensor : model.tensors) {
    try {
      const Hash128 computed = tensor::fingerprint(tensor);
      if (computed != tensor.fingerprint) {
        throw Error(ErrorKind::bad_checksum, path.string() + ": tensor \"" + tensor.name +
                                                 "\": fingerprint mismatch (stored " + tensor.fingerprint->hex() +
                                                 ", computed " + computed.hex() + ")");
      }
    } catch (const Error& error) {
      findings.add(error);
    }
    tensor.planes->done_with(0, tensor.geometry().units);
    meter.add(tensor.stored_bytes());
  }
}

std::uint64_t raw_plane_bytes(const Index& index) {
  std::uint64_t total = 0;
  for (const std::vector<Blob>& planes : index.planes)
    for (const Blob& blob : planes) total += blob.size;
  return total;
}

}  // namespace

VerifyResult verify(const std::filesystem::path& path, bool values, const Progress& progress) {
  VerifyResult result;
  Findings findings;
  try {
    const std::shared_ptr<const File> file = open_file(path);
    const std::vector<Extent> extents = sorted_extents(file->index, file->header.current);
    result.dead_bytes = dead_bytes(extents, file->bytes().size());
    result.checked_bytes = file->bytes().size() - result.dead_bytes;
    check_header_page(*file, findings);
    check_canonical(*file, findings);
    check_padding(*file, extents, findings);
    std::uint64_t stored_bytes = 0;
    for_each_blob(file->index, [&](const Blob& blob) { stored_bytes += blob.stored; });
    ByteMeter meter(progress, "verifying", stored_bytes + (values ? raw_plane_bytes(file->index) : 0));
    check_chunks(*file, meter, findings);
    if (values) check_values(path, meter, findings);
    meter.finish();
  } catch (const Error& error) {
    if (error.kind == ErrorKind::io) throw;
    findings.add(error);
  }
  result.findings = findings.take();
  return result;
}

}  // namespace ingot::container

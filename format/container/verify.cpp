// Every byte of a file against its hashes, the zeros against zero, the index against its canonical form, the values
// against their fingerprints. Implements the verifying reader of spec/conformance.md section 2.
#include <algorithm>
#include <mutex>

#include "format/base/parallel.h"
#include "format/container/byte_meter.h"
#include "format/container/container.h"
#include "format/container/file.h"
#include "format/container/set.h"
#include "format/container/verify.h"
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
  /// What was found since the last call belongs to one file: puts it in the order of that file.
  void end_file() {
    std::stable_sort(findings_.begin() + static_cast<std::ptrdiff_t>(file_begin_), findings_.end(),
                     [](const Finding& a, const Finding& b) { return a.offset < b.offset; });
    file_begin_ = findings_.size();
  }
  [[nodiscard]] std::vector<Finding> take() {
    end_file();
    return std::move(findings_);
  }

 private:
  std::mutex mutex_;
  std::vector<Finding> findings_;
  std::size_t file_begin_ = 0;
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
  const tensor::Model model = take_model(open_file(path));
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

/// The bytes that are read for one file.
std::uint64_t bytes_to_check(const File& file, bool values) {
  std::uint64_t bytes = values ? raw_plane_bytes(file.index) : 0;
  for_each_blob(file.index, [&](const Blob& blob) { bytes += blob.stored; });
  return bytes;
}

void check_file(const File& file, bool values, ByteMeter& meter, VerifyResult& result, Findings& findings) {
  const std::vector<Extent> extents = sorted_extents(file.index, file.header.current);
  const std::uint64_t dead = dead_bytes(extents, file.bytes().size());
  result.dead_bytes += dead;
  result.checked_bytes += file.bytes().size() - dead;
  check_header_page(file, findings);
  check_canonical(file, findings);
  check_padding(file, extents, findings);
  check_chunks(file, meter, findings);
  if (values) check_values(file.mapping.path(), meter, findings);
}

/// Runs `check`; what it throws is a finding.
template <class Check>
bool passes(Findings& findings, const Check& check) {
  try {
    check();
    return true;
  } catch (const Error& error) {
    findings.add(error);
    return false;
  }
}

/// The members that open. How they fit the manifest is checked in passing.
std::vector<std::shared_ptr<File>> open_members(const File& manifest, Findings& findings) {
  std::vector<std::shared_ptr<File>> files;
  for (const SetMember& member : manifest.index.members) {
    passes(findings, [&] {
      files.push_back(open_member(manifest, member));
      check_member(manifest, member, *files.back());
    });
  }
  if (!files.empty() && files.size() == manifest.index.members.size())
    passes(findings, [&] { check_set(manifest, files); });
  return files;
}

VerifyResult verify_files(const std::filesystem::path& path, bool with_members, bool values, const Progress& progress) {
  VerifyResult result;
  Findings findings;
  std::shared_ptr<File> manifest;
  try {
    manifest = open_file(path);
  } catch (const Error& error) {
    if (error.kind == ErrorKind::io) throw;
    result.findings.push_back({error.kind, error.what(), error.offset});
    return result;
  }
  std::vector<std::shared_ptr<File>> files;
  if (with_members) {
    files = open_members(*manifest, findings);
    result.members = manifest->index.members.size();
  }
  files.insert(files.begin(), manifest);
  findings.end_file();
  std::uint64_t total_bytes = 0;
  for (const std::shared_ptr<File>& file : files) total_bytes += bytes_to_check(*file, values);
  ByteMeter meter(progress, "verifying", total_bytes);
  for (const std::shared_ptr<File>& file : files) {
    passes(findings, [&] { check_file(*file, values, meter, result, findings); });
    findings.end_file();
  }
  meter.finish();
  result.findings = findings.take();
  return result;
}

}  // namespace

VerifyResult verify(const std::filesystem::path& path, bool values, const Progress& progress) {
  return verify_files(path, true, values, progress);
}

VerifyResult verify_one_file(const std::filesystem::path& path, const Progress& progress) {
  return verify_files(path, false, false, progress);
}

}  // namespace ingot::container

// .ingot bytes <-> Model. Implements spec/container.md, spec/index.md, spec/integrity.md. zstd is seen only in this folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "format/base/hash.h"
#include "format/base/json.h"
#include "format/base/progress.h"
#include "format/tensor/model.h"

namespace ingot::container {

/// First bytes of every .ingot file.
[[nodiscard]] bool looks_like_ingot(Bytes first_bytes) noexcept;

/// Maps the file, checks header, slots, index hash, canonical limits and every offset, and hands out views: O(index), not O(file).
/// Tensors' planes are views for raw blobs; compressed chunks are decompressed (and their hash checked) on read. Throws Error.
[[nodiscard]] tensor::Model open(const std::filesystem::path& path);

enum class Compression : std::uint8_t { none, zstd };

struct WriteOptions {
  Compression compression = Compression::none;
  int zstd_level = 1;
  bool sync = true;  // fsync before rename
  Progress progress;
};

struct WriteResult {
  std::uint64_t file_bytes = 0;
  Hash128 root;                       // index hash: names the file in a set
  std::vector<Hash128> fingerprints;  // of the values, by tensor, computed while writing from the source model
};

/// Streams every tensor (unit ranges, all threads, bounded memory), attachments, the chunk table and the index into a temporary file, then
/// commits. Deterministic: same model and options, same bytes. Records each tensor's fingerprint in the index.
WriteResult write(const tensor::Model& model, const std::filesystem::path& path, const WriteOptions& options);

/// One problem found by verify: where and what.
struct Finding {
  ErrorKind kind;
  std::string message;
  std::uint64_t offset;
};
struct VerifyResult {
  std::vector<Finding> findings;  // empty: the file is intact
  std::uint64_t checked_bytes = 0;
  std::uint64_t dead_bytes = 0;  // superseded indexes, tail of a torn edit: not covered, removed by compact
};
/// Reads every byte once: both slots, index canonical form, chunk table, every chunk hash, zero padding; with `values` also decodes every
/// tensor and compares fingerprints.
[[nodiscard]] VerifyResult verify(const std::filesystem::path& path, bool values, const Progress& progress);

/// Metadata edit in place: appends a new index and flips the header slot. Crash-safe at any write. `changes`: key -> new value, or
/// nullopt to remove. Throws mismatch when a removed key does not exist.
struct MetadataChange {
  std::string key;
  std::optional<std::string> value;
};
void edit_metadata(const std::filesystem::path& path, const std::vector<MetadataChange>& changes);

/// Rewrites the file without dead space (temporary file, rename). Deterministic.
WriteResult compact(const std::filesystem::path& path, const WriteOptions& options);

/// Facts about the file itself for `inspect`: generation, versions, features, sizes, compression, dead bytes.
struct FileFacts {
  std::uint64_t generation = 0, file_bytes = 0, index_bytes = 0, dead_bytes = 0;
  std::uint64_t data_bytes = 0;  // stored bytes of planes and attachments
  std::uint64_t raw_bytes = 0;   // the same before compression
  std::uint32_t read_version = 0, write_version = 0;
  std::uint64_t required_features = 0, optional_features = 0;
  Hash128 root, data_root;
};
[[nodiscard]] FileFacts facts(const std::filesystem::path& path);

/// Fault injection for crash tests: called before every write to the file with its ordinal; returning false makes the process stop as if
/// killed (throws a private type through the writer). Null in production.
void set_write_fault_hook(std::function<bool(std::uint64_t)> hook);

}  // namespace ingot::container

// .ingot bytes <-> Model. Implements spec/container.md, spec/index.md, spec/integrity.md. zstd is seen only in this
// folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "format/base/hash.h"
#include "format/base/json.h"
#include "format/base/passing_hash.h"
#include "format/base/progress.h"
#include "format/base/write_journal.h"
#include "format/tensor/fingerprint.h"
#include "format/tensor/model.h"

namespace ingot::container {

/// First bytes of every .ingot file.
[[nodiscard]] bool looks_like_ingot(Bytes first_bytes) noexcept;

/// Maps the file, checks header, slots, index hash, canonical limits and every offset, and hands out views: O(index),
/// not O(file). Tensors' planes are views for raw blobs; compressed chunks are decompressed (and their hash checked) on
/// read. The manifest of a set (spec/sets.md) gives one model of all its files: the manifest's tensors, then those of
/// each member in order. Throws Error, mismatch where a member is not the one that the manifest names.
[[nodiscard]] tensor::Model open(const std::filesystem::path& path);

enum class Compression : std::uint8_t { none, zstd };

struct WriteOptions {
  Compression compression = Compression::none;
  int zstd_level = 1;
  bool sync = true;               // fsync before rename
  std::uint64_t shard_bytes = 0;  // largest member of a set; 0, or a model that fits: one file
  Progress progress;
  /// Of the files of model.source, in their order; told of all that is read, and asked for the hashes that are not set.
  /// Null: all are.
  PassingHashes* source_hashes = nullptr;
  /// Records finished tensors and leaves those that an earlier run finished; partial files stay when writing fails.
  WriteJournal* journal = nullptr;
  /// Of a set, writes the members (by index, from 0) that it accepts and no manifest; a single file is member 0. Null:
  /// everything.
  std::function<bool(std::uint64_t member)> takes;
};

struct WriteResult {
  std::uint64_t file_bytes = 0;  // of all files
  Hash128 root;                  // index hash: names the file in a set; of a set, that of its manifest
  std::vector<tensor::TakenFingerprint> fingerprints;  // by tensor, computed while writing from the source model
};

/// Streams every tensor (unit ranges, all threads, bounded memory), attachments, the chunk table and the index into a
/// temporary file, then commits. Deterministic: same model and options, same bytes. Records each tensor's fingerprint
/// in the index. A model that does not fit into `shard_bytes` becomes a set with its manifest at `path` and its members
/// beside it, each written and committed like a single file, the manifest last; a failure removes the members again.
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
  std::uint64_t members = 0;     // of a manifest: files of the set beside it, included above
};
/// Reads every byte once: both slots, index canonical form, chunk table, every chunk hash, zero padding; with `values`
/// also decodes every tensor and compares fingerprints. Of a manifest, every file of the set and how they fit together;
/// messages begin with the file. Throws io when `path` cannot be read; a missing member is a finding.
[[nodiscard]] VerifyResult verify(const std::filesystem::path& path, bool values, const Progress& progress);

/// Metadata edit in place: appends a new index and flips the header slot. Crash-safe at any write. `changes`: key ->
/// new value, or nullopt to remove. Throws mismatch when a removed key does not exist. Of a manifest, the members are
/// neither changed nor needed.
struct MetadataChange {
  std::string key;
  std::optional<std::string> value;
};
void edit_metadata(const std::filesystem::path& path, const std::vector<MetadataChange>& changes);

/// Rewrites the file without dead space (temporary file, rename). Deterministic. Of a manifest, the manifest alone.
WriteResult compact(const std::filesystem::path& path, const WriteOptions& options);
/// The same into another file. That of a manifest must lie in the same directory: throws invalid_value otherwise.
WriteResult compact(const std::filesystem::path& path, const std::filesystem::path& output,
                    const WriteOptions& options);

/// A member as its manifest names it.
struct SetMember {
  std::string path;  // from the directory of the manifest
  Hash128 root;      // its index hash
  std::uint64_t tensors = 0;
  [[nodiscard]] bool operator==(const SetMember&) const = default;
};

/// Facts about the file itself for `inspect`: generation, versions, features, sizes, compression, dead bytes.
struct FileFacts {
  std::uint64_t generation = 0, file_bytes = 0, index_bytes = 0, dead_bytes = 0;
  std::uint64_t data_bytes = 0;  // stored bytes of planes and attachments
  std::uint64_t raw_bytes = 0;   // the same before compression
  std::uint32_t read_version = 0, write_version = 0;
  std::uint64_t required_features = 0, optional_features = 0;
  Hash128 root, data_root;
  std::vector<SetMember> members;  // of a manifest; the members are not opened
};
[[nodiscard]] FileFacts facts(const std::filesystem::path& path);

/// Fault injection for crash tests: called before every write to the file, every rename and every removal with its
/// ordinal; returning false makes the process stop as if killed (throws a private type through the writer). Null in
/// production.
void set_write_fault_hook(std::function<bool(std::uint64_t)> hook);

}  // namespace ingot::container

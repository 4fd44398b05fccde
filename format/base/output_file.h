// Atomic file replacement: temporary file beside the target, positioned writes, fsync, rename. Nothing partial ever bears the final name.
#pragma once

#include <cstdint>
#include <filesystem>

#include "format/base/byte_reader.h"

namespace ingot {

/// Writes `<path>.<pid>.tmp` (with a number added where that exists), then commit() makes it durable and renames it onto `path`. Destruction without commit() removes the
/// temporary file. Throws ErrorKind::io with the path and the system's reason (also for a full disk), also
/// when `path` exists and is no regular file. An existing target keeps its permission bits and may be mapped meanwhile: its bytes
/// stay as they are until the last mapping goes. The file ends at the furthest byte written or reserved.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// Appends; not thread-safe.
  void write(Bytes bytes);
  /// Writes at an absolute offset without moving the append position; safe from several threads on disjoint ranges.
  void write_at(std::uint64_t offset, Bytes bytes);
  /// Moves the append position (a gap reads as zero).
  void seek(std::uint64_t offset) noexcept { position_ = offset; }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  /// Sets the size to at least `size_bytes` and has the file system reserve it; throws io when the disk cannot hold it.
  void reserve(std::uint64_t size_bytes);
  /// Path of the temporary file, for reading back before commit().
  [[nodiscard]] const std::filesystem::path& temporary_path() const noexcept { return temporary_path_; }

  /// fsync the file, rename it onto path(), fsync the directory. Without `durable` only the rename: a power failure may lose the file.
  void commit(bool durable = true);

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_path_;
  int descriptor_ = -1;
  std::uint64_t position_ = 0;
};

/// Makes renames and removals in the directory of `path` durable: they are once the directory is.
void sync_directory_of(const std::filesystem::path& path);

/// A whole small file through OutputFile.
void write_file_atomically(const std::filesystem::path& path, Bytes bytes);

}  // namespace ingot

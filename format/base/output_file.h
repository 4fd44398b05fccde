// Atomic file replacement: a file without a name beside the target, positioned writes, fsync, rename. Nothing partial
// ever bears the final name, and a process that is killed leaves nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <span>

#include "format/base/byte_reader.h"

namespace ingot {

/// What a writer that fails leaves behind.
enum class Leftover : std::uint8_t { removed, kept };

/// Writes an unnamed file in the directory of `path`, then commit() makes it durable, names it `<path>.<pid>.tmp`
/// (with a number added where that exists) and renames it onto `path`. On a file system that knows no unnamed files
/// it has that name from the start; destruction without commit() removes it. Throws ErrorKind::io with the path and
/// the system's reason (also for a full disk), also when `path` exists and is no regular file. An existing target
/// keeps its permission bits and may be mapped meanwhile: its bytes stay as they are until the last mapping goes. The
/// file ends at the furthest byte written or reserved.
class OutputFile {
 public:
  /// With Leftover::kept the temporary file is `<path>.partial`: destruction leaves it, and the next such writer goes
  /// on with its bytes (or with those of `path`, when it was committed). The caller sees to it that there is one writer
  /// at a time.
  explicit OutputFile(std::filesystem::path path, Leftover leftover = Leftover::removed);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// Appends; not thread-safe.
  void write(Bytes bytes);
  /// Writes at an absolute offset without moving the append position; safe from several threads on disjoint ranges.
  void write_at(std::uint64_t offset, Bytes bytes);
  /// Bytes that were written before; false when the file has less or cannot be read.
  [[nodiscard]] bool read_at(std::uint64_t offset, std::span<std::byte> out) const noexcept;
  /// Did it start with bytes of an earlier writer? Then a gap may hold anything.
  [[nodiscard]] bool continues() const noexcept { return continues_; }
  /// Makes a gap read as zero.
  void clear(std::uint64_t begin, std::uint64_t end);
  /// Moves the append position (a gap reads as zero).
  void seek(std::uint64_t offset) noexcept { position_ = offset; }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  /// Sets the size to at least `size_bytes` and has the file system reserve it; throws io when the disk cannot hold it.
  void reserve(std::uint64_t size_bytes);
  /// The final name.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// fsync the file, rename it onto path(), fsync the directory. Without `durable` only the rename: a power failure may
  /// lose the file.
  void commit(bool durable = true);

 private:
  void extend_end(std::uint64_t end) noexcept;
  void give_name();

  std::filesystem::path path_;
  std::filesystem::path temporary_path_;  // empty: it has no name yet
  int descriptor_ = -1;
  std::uint64_t position_ = 0;
  Leftover leftover_ = Leftover::removed;
  bool continues_ = false;
  std::atomic<std::uint64_t> end_ = 0;  // furthest byte written or reserved
};

/// Makes renames and removals in the directory of `path` durable: they are once the directory is.
void sync_directory_of(const std::filesystem::path& path);

/// A whole small file through OutputFile.
void write_file_atomically(const std::filesystem::path& path, Bytes bytes);

}  // namespace ingot

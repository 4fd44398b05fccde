// Read-only memory mapping of a whole file: the one owner of mmap.
#pragma once

#include <cstdint>
#include <filesystem>

#include "format/base/byte_reader.h"

namespace ingot {

/// Move-only. The mapping lives as long as the object; spans taken from it must not outlive it.
class MappedFile {
 public:
  MappedFile() noexcept = default;
  /// Throws ErrorKind::io when the path cannot be opened or is not a regular file. An empty file maps to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// Tells the kernel that `range` (a sub-span of bytes()) will be read soon / is no longer needed. Pages dropped here
  /// keep the resident set of a streaming conversion independent of the file size. Never fails.
  void will_need(Bytes range) const noexcept;
  void drop(Bytes range) const noexcept;

 private:
  std::filesystem::path path_;
  Bytes bytes_;
};

/// Reads a small file whole; throws limit_exceeded above `max_bytes`, io when it cannot be read.
[[nodiscard]] std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

}  // namespace ingot

// Memory that the system may take back: bytes of a file without a name. For what is large, needed for a while, and must
// not count against the memory that a conversion owns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

namespace ingot {

/// Move-only. The kernel writes its pages to the disk where their memory is needed for something else; nothing of them
/// is left behind, whatever becomes of the process.
class ScratchBlock {
 public:
  /// `bytes` of zeros, of a file in `directory`. Nothing where the directory cannot have such a file, with all of its
  /// room reserved: a full disk must be known before the first byte, because writing to the block cannot fail.
  [[nodiscard]] static std::optional<ScratchBlock> create(const std::filesystem::path& directory, std::uint64_t bytes);

  /// Can a block lie in `directory`, and not in memory by another name (tmpfs)?
  [[nodiscard]] static bool is_on_disk_in(const std::filesystem::path& directory) noexcept;

  ScratchBlock(ScratchBlock&& other) noexcept;
  ScratchBlock& operator=(ScratchBlock&& other) noexcept;
  ~ScratchBlock();

  [[nodiscard]] std::span<std::byte> bytes() noexcept { return bytes_; }

 private:
  explicit ScratchBlock(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}

  std::span<std::byte> bytes_;
};

}  // namespace ingot

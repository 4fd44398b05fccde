// Tree hashes of mapped files whose bytes somebody reads anyway, in any order and from several threads: each block is
// hashed while it is still in the cache, instead of in a pass of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "format/base/hash.h"
#include "format/base/mapped_file.h"
#include "format/base/progress.h"

namespace ingot {

class PassingHashes {
 public:
  /// Null: a file of which nothing will be asked.
  explicit PassingHashes(std::vector<std::shared_ptr<const MappedFile>> mappings);
  PassingHashes(const PassingHashes&) = delete;
  PassingHashes& operator=(const PassingHashes&) = delete;

  /// Hashes the blocks that end in `piece`, which was just read; memory outside the files is ignored. Thread-safe.
  void saw(Bytes piece) noexcept;
  /// The same with all threads, before `piece` is read.
  void will_read(Bytes piece);
  /// hash128_tree of the file; what saw() was not told of is read now, with all threads. After all calls of saw().
  [[nodiscard]] Hash128 finish(std::size_t file, const Progress& progress = {});

 private:
  struct File {
    std::shared_ptr<const MappedFile> mapping;
    std::vector<Hash128> blocks;
    std::vector<std::atomic<bool>> taken;  // by block: some thread hashes it or has done so
  };
  struct BlockRange {
    File* file = nullptr;
    std::uint64_t begin = 0, end = 0;
  };
  [[nodiscard]] BlockRange blocks_ending_in(Bytes piece) noexcept;
  static void hash_block(File& file, std::uint64_t block) noexcept;

  std::vector<File> files_;
};

}  // namespace ingot

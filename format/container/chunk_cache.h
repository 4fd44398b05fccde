// The decompressed chunks used last, so that reading a compressed plane unit by unit decompresses each chunk once.
// Bounded memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "format/container/chunk.h"

namespace ingot::container {

/// Thread-safe. Two threads that want the same chunk wait for one decompression.
class ChunkCache {
 public:
  using Fill = std::function<void(ChunkDecoder& decoder, std::span<std::byte> raw)>;

  /// The raw bytes of chunk `row`; `fill` makes them when they are not at hand, and may throw.
  [[nodiscard]] std::shared_ptr<const std::vector<std::byte>> get(std::uint64_t row, std::uint64_t raw_bytes,
                                                                  const Fill& fill);
  /// Decompresses past the cache with one of its decoders.
  void decode(std::span<std::byte> raw, const Fill& fill);

 private:
  static constexpr std::size_t kEntries = 24;  // of at most 1 MiB each

  struct Entry {
    std::uint64_t row = 0;
    std::mutex filling;
    bool is_filled = false;
    std::vector<std::byte> bytes;
  };

  [[nodiscard]] std::shared_ptr<Entry> entry_of(std::uint64_t row);

  std::mutex mutex_;
  std::vector<std::shared_ptr<Entry>> entries_;  // last used first
  std::vector<ChunkDecoder> idle_decoders_;
};

}  // namespace ingot::container

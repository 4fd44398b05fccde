// How fast this machine reads memory, now.
#pragma once

#include <cstdint>
#include <vector>

#include "format/base/large_block.h"

namespace ingot::runtime {

/// Reads one block of memory with all threads again and again, from end to end, in a few sequential streams of each
/// thread. Not for several threads at once.
class ReadProbe {
 public:
  /// `bytes` (at least 1 MiB; far more than the caches hold, to mean anything) are allocated and read some times in
  /// each pattern: the one with the greatest median is used from then on. Throws limit_exceeded when they cannot be
  /// had.
  explicit ReadProbe(std::uint64_t bytes);

  /// Reads all once: bytes per second. Other users of the machine's memory change it from moment to moment, so a rate
  /// of other work is to be compared with passes right beside it.
  [[nodiscard]] double pass();

  /// Streams of each thread: 1, 2, 4 or 8.
  [[nodiscard]] int streams() const noexcept { return streams_; }
  /// Of memory that the probe itself owns.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return block_.bytes().size(); }

 private:
  [[nodiscard]] double read_all(int streams);

  LargeBlock block_;
  std::uint64_t share_;  // words of each thread
  std::vector<std::uint64_t> sums_;
  int streams_ = 1;
};

}  // namespace ingot::runtime

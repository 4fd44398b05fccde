// Counts bytes done by several threads and passes them on to a Progress, one call at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "format/base/progress.h"

namespace ingot::container {

class ByteMeter {
 public:
  ByteMeter(const Progress& progress, std::string_view phase, std::uint64_t total_bytes)
      : progress_(progress), phase_(phase), total_bytes_(total_bytes) {}

  /// Thread-safe; skips the report when another thread is reporting or little has happened since the last one.
  void add(std::uint64_t bytes) {
    const std::uint64_t done = done_bytes_.fetch_add(bytes) + bytes;
    if (!progress_ || done < next_report_.load(std::memory_order_relaxed)) return;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return;
    next_report_ = done + kReportBytes;
    if (done > reported_bytes_) report(done);
  }

  /// From the thread that made it, after all others are done.
  void finish() {
    if (progress_ && reported_bytes_ != total_bytes_) report(total_bytes_);
  }
  [[nodiscard]] std::uint64_t done_bytes() const noexcept { return done_bytes_; }

 private:
  static constexpr std::uint64_t kReportBytes = std::uint64_t{4} << 20;

  void report(std::uint64_t done) {
    reported_bytes_ = done;
    progress_(phase_, done, total_bytes_);
  }

  const Progress& progress_;
  std::string_view phase_;
  std::uint64_t total_bytes_;
  std::atomic<std::uint64_t> done_bytes_ = 0;
  std::atomic<std::uint64_t> next_report_ = 0;
  std::uint64_t reported_bytes_ = 0;
  std::mutex mutex_;
};

}  // namespace ingot::container

// A shared counter hands out ranges to an OpenMP team. Built without OpenMP everything runs on the calling thread.
#include "format/base/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <atomic>
#include <exception>
#include <string>

#include "format/base/error.h"

namespace ingot {
namespace {

#ifdef _OPENMP
int available_threads() noexcept { return omp_get_max_threads(); }
bool inside_parallel_for() noexcept { return omp_in_parallel() != 0; }
#else
int available_threads() noexcept { return 1; }
bool inside_parallel_for() noexcept { return false; }
#endif

std::atomic<int>& configured_threads() noexcept {
  static std::atomic<int> count = available_threads();
  return count;
}

using RangeBody = std::function<void(std::uint64_t begin, std::uint64_t end, int worker)>;

/// What the workers of one parallel_for share.
class SharedRanges {
 public:
  SharedRanges(std::uint64_t count, std::uint64_t grain, const RangeBody& body)
      : count_(count), grain_(grain), body_(body) {}

  /// Takes ranges until none is left or a body has thrown.
  void work(int worker) noexcept {
    const std::uint64_t range_count = count_ / grain_ + (count_ % grain_ != 0);
    for (;;) {
      const std::uint64_t range = next_range_.fetch_add(1, std::memory_order_relaxed);
      if (range >= range_count || stopped_.load(std::memory_order_relaxed)) return;
      const std::uint64_t begin = range * grain_;
      try {
        body_(begin, begin + std::min(grain_, count_ - begin), worker);
      } catch (...) {
        if (!stopped_.exchange(true)) failure_ = std::current_exception();
      }
    }
  }

  /// After all workers have returned.
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  const std::uint64_t count_;
  const std::uint64_t grain_;
  const RangeBody& body_;
  std::atomic<std::uint64_t> next_range_ = 0;
  std::atomic<bool> stopped_ = false;
  std::exception_ptr failure_;
};

}  // namespace

int thread_count() noexcept { return configured_threads().load(std::memory_order_relaxed); }

void set_thread_count(int count) {
  if (count < 1)
    throw Error(ErrorKind::invalid_value, "thread count: expected at least 1, got " + std::to_string(count));
  configured_threads().store(count, std::memory_order_relaxed);
}

void parallel_for(std::uint64_t count, std::uint64_t grain, const RangeBody& body) {
  if (count == 0) return;
  grain = std::max<std::uint64_t>(grain, 1);
  SharedRanges ranges(count, grain, body);
  const std::uint64_t range_count = count / grain + (count % grain != 0);
  const int team_size =
      static_cast<int>(std::min<std::uint64_t>(static_cast<std::uint64_t>(thread_count()), range_count));
  if (team_size == 1 || inside_parallel_for()) {
    ranges.work(0);
  } else {
#ifdef _OPENMP
#pragma omp parallel num_threads(team_size)
    ranges.work(omp_get_thread_num());
#else
    ranges.work(0);
#endif
  }
  ranges.rethrow();
}

}  // namespace ingot

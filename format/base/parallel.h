// The only way to use several threads.
#pragma once

#include <cstdint>
#include <functional>

namespace ingot {

/// Number of worker threads parallel_for uses (default: the machine's cores).
[[nodiscard]] int thread_count() noexcept;
/// 1 <= count; throws invalid_value otherwise. Set once at program start.
void set_thread_count(int count);

/// Calls body(begin, end, worker) on disjoint ranges that cover [0, count), each a multiple of `grain` except the last,
/// dynamically scheduled. The caller is worker 0 and takes part; inside another loop, and while another thread's loop
/// runs, it does all the work. worker is in [0, thread_count()). Of exceptions that bodies throw, that of the lowest
/// range is rethrown after all have stopped; no range above it is begun any more.
void parallel_for(std::uint64_t count, std::uint64_t grain,
                  const std::function<void(std::uint64_t begin, std::uint64_t end, int worker)>& body);

}  // namespace ingot

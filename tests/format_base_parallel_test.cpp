#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "format/base/parallel.h"
#include "tests/expect_error.h"

using namespace ingot;

namespace {

/// Restores the number of threads at the end of a test case.
struct ThreadCount {
  explicit ThreadCount(int count) { set_thread_count(count); }
  ~ThreadCount() { set_thread_count(before); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;
  int before = thread_count();
};

}  // namespace

TEST_CASE("parallel_for_covers_every_index_once_in_ranges_of_grain") {
  for (const int threads : {1, 2, 3, 8}) {
    const ThreadCount scope(threads);
    for (const std::uint64_t count : {0u, 1u, 2u, 7u, 63u, 64u, 65u, 1000u}) {
      for (const std::uint64_t grain : {0u, 1u, 3u, 64u, 5000u}) {
        CAPTURE(threads);
        CAPTURE(count);
        CAPTURE(grain);
        std::vector<std::atomic<int>> visits(count);
        std::atomic<int> bad_ranges = 0;
        parallel_for(count, grain, [&](std::uint64_t begin, std::uint64_t end, int worker) {
          const std::uint64_t step = grain == 0 ? 1 : grain;
          const bool full = end - begin == step || end == count;
          if (begin >= end || end > count || begin % step != 0 || !full || worker < 0 || worker >= threads)
            ++bad_ranges;
          for (std::uint64_t i = begin; i < end; ++i) ++visits[i];
        });
        CHECK(bad_ranges == 0);
        int wrong = 0;
        for (const std::atomic<int>& visit : visits) wrong += visit != 1;
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("parallel_for_never_runs_one_worker_number_twice_at_a_time") {
  const ThreadCount scope(4);
  std::vector<std::atomic<int>> busy(4);
  std::atomic<int> collisions = 0;
  parallel_for(2000, 1, [&](std::uint64_t, std::uint64_t, int worker) {
    auto& mine = busy[static_cast<std::size_t>(worker)];
    if (mine.fetch_add(1) != 0) ++collisions;
    std::this_thread::yield();
    mine.fetch_sub(1);
  });
  CHECK(collisions == 0);
}

TEST_CASE("parallel_for_uses_several_threads") {
  const ThreadCount scope(2);
  std::atomic<int> waiting = 0;
  // Two ranges that can only end when both run at once.
  parallel_for(2, 1, [&](std::uint64_t, std::uint64_t, int) {
    ++waiting;
    while (waiting < 2) std::this_thread::yield();
  });
  CHECK(waiting == 2);
}

TEST_CASE("parallel_for_rethrows_the_first_exception_and_stops") {
  for (const int threads : {1, 3}) {
    const ThreadCount scope(threads);
    std::atomic<int> calls = 0;
    CHECK_THROWS_AS(parallel_for(100000, 1,
                                 [&](std::uint64_t begin, std::uint64_t, int) {
                                   ++calls;
                                   if (begin == 17) throw std::out_of_range("seventeen");
                                 }),
                    std::out_of_range);
    CHECK(calls >= 18);
    CHECK(calls < 100000);
    CHECK(test::throws_kind(ErrorKind::mismatch, [] {
      parallel_for(4, 1, [](std::uint64_t, std::uint64_t, int) { throw Error(ErrorKind::mismatch, "from a worker"); });
    }));
    std::atomic<int> later = 0;
    parallel_for(10, 1, [&](std::uint64_t, std::uint64_t, int) { ++later; });
    CHECK(later == 10);  // usable after a failure
  }
}

TEST_CASE("parallel_for_reports_the_failure_of_the_lowest_range") {
  const ThreadCount scope(3);
  std::atomic<bool> thrown = false;
  const auto body = [&](std::uint64_t begin, std::uint64_t, int) {
    if (begin > 0) {
      thrown = true;
      throw Error(ErrorKind::io, "range " + std::to_string(begin));
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);  // a lone thread throws here first
    while (!thrown && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    throw Error(ErrorKind::mismatch, "range 0");
  };
  CHECK(test::throws_kind(ErrorKind::mismatch, [&] { parallel_for(8, 1, body); }));
}

TEST_CASE("parallel_for_inside_parallel_for_covers_everything") {
  const ThreadCount scope(2);
  std::atomic<int> visits = 0;
  parallel_for(4, 1, [&](std::uint64_t, std::uint64_t, int) {
    parallel_for(10, 3, [&](std::uint64_t begin, std::uint64_t end, int) { visits += static_cast<int>(end - begin); });
  });
  CHECK(visits == 40);
}

TEST_CASE("parallel_for_many_short_loops_of_changing_teams") {
  const ThreadCount scope(1);
  std::atomic<std::uint64_t> sum = 0;
  std::uint64_t expected = 0;
  for (std::uint64_t round = 0; round < 20000; ++round) {
    set_thread_count(1 + static_cast<int>(round % 4));
    const std::uint64_t count = round % 7;
    parallel_for(count, 1, [&](std::uint64_t begin, std::uint64_t, int) { sum += begin + 1; });
    expected += count * (count + 1) / 2;
  }
  CHECK(sum == expected);
}

TEST_CASE("parallel_for_from_several_threads_at_once") {
  const ThreadCount scope(3);
  std::atomic<int> visits = 0;
  std::vector<std::jthread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        parallel_for(10, 1, [&](std::uint64_t, std::uint64_t, int) { ++visits; });
      }
    });
  }
  callers.clear();
  CHECK(visits == 4 * 500 * 10);
}

TEST_CASE("parallel_for_works_in_a_forked_child") {
  const ThreadCount scope(3);
  parallel_for(10, 1, [](std::uint64_t, std::uint64_t, int) {});  // the helpers exist
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::atomic<int> visits = 0;
    parallel_for(10, 1, [&](std::uint64_t, std::uint64_t, int) { ++visits; });
    ::_exit(visits == 10 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("thread_count_is_at_least_one_and_refuses_less") {
  const ThreadCount scope(3);
  CHECK(thread_count() == 3);
  for (const int count : {0, -1}) CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { set_thread_count(count); }));
  CHECK(thread_count() == 3);
}

// A process of its own that is killed at a chosen step of writing: what a crash leaves behind, without any clean-up.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>

#include "format/container/container.h"

namespace ingot::test {

/// Runs `call` in a process of its own that dies at step `ordinal` without any clean-up; says whether it died.
template <class Call>
[[nodiscard]] bool dies_at(std::uint64_t ordinal, const Call& call) {
  constexpr int kDied = 9, kFailed = 8;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    container::set_write_fault_hook([ordinal](std::uint64_t now) {
      if (now == ordinal) ::_exit(kDied);
      return true;
    });
    try {
      call();
    } catch (...) {
      ::_exit(kFailed);
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kDied));
  return WEXITSTATUS(status) == kDied;
}

}  // namespace ingot::test

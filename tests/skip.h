// How a test case says that it cannot run here.
#pragma once

#include <cstdio>
#include <string_view>

namespace ingot::test {

/// Prints the line that makes CTest report the test case as skipped. The caller returns afterwards.
inline void skip(std::string_view reason) {
  std::printf("SKIPPED: %.*s\n", static_cast<int>(reason.size()), reason.data());
}

}  // namespace ingot::test

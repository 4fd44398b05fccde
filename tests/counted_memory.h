// Counts the memory that operator new has given out, for tests that bound it. Defined once per test binary by
// counted_memory.cpp.
#pragma once

#include <cstdint>

namespace ingot::test {

/// Bytes in use now, and the most since the last reset.
[[nodiscard]] std::int64_t memory_in_use() noexcept;
[[nodiscard]] std::int64_t memory_peak() noexcept;
void reset_memory_peak() noexcept;

}  // namespace ingot::test

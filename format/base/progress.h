// Progress of long work, reported by libraries, drawn by the command line.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace ingot {

/// Called now and then from any thread that works (never concurrently): bytes done of bytes in all, and the phase
/// ("writing", "proving").
using Progress = std::function<void(std::string_view phase, std::uint64_t done_bytes, std::uint64_t total_bytes)>;

}  // namespace ingot

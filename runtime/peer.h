// llama.cpp's own benchmark program, where the user has one: run beside ours, in turn.
#pragma once

#include <cstdint>
#include <filesystem>

#include "runtime/speed.h"

namespace ingot::runtime {

/// One round of `program` (llama-bench) on a GGUF file with the threads that this process uses. Waits for it. Throws io
/// when it cannot be started or fails, invalid_value when its output is not understood.
[[nodiscard]] RoundSpeed time_llama_bench(const std::filesystem::path& program, const std::filesystem::path& model,
                                          std::uint64_t prompt_tokens, std::uint64_t new_tokens);

}  // namespace ingot::runtime

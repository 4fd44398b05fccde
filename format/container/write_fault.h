// Fault injection for crash tests: stops the process's writing at any point, in the middle of a write too.
#pragma once

#include <cstdint>
#include <functional>

#include "format/base/byte_reader.h"

namespace ingot::container {

/// Calls write(offset, bytes) once; or, while a hook is set, in pieces of at most 16 bytes, each after asking the hook.
/// A refusal throws a type that nothing catches, as if the process had been killed there.
void guarded_write(std::uint64_t offset, Bytes bytes, const std::function<void(std::uint64_t, Bytes)>& write);

/// Asks the hook before a step that is no write: a rename, a removal. Whoever publishes finished files calls it too.
void guarded_step();

}  // namespace ingot::container

// Where a text stops being JSON. simdjson says only that it does; a damaged config or header deserves an offset. Used
// after a failure, so it is written for clarity, not speed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ingot {

/// Offset of the first byte that no RFC 8259 text could hold there (text.size() when it ends too early); nothing when
/// `text` is valid. Numbers too large for a double are not faults here.
[[nodiscard]] std::optional<std::uint64_t> find_json_fault(std::string_view text);

}  // namespace ingot

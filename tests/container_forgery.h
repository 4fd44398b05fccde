// Files with valid checksums and hostile contents: what a stranger can make.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "format/base/json.h"
#include "format/container/header.h"

namespace ingot::test {

/// The file with another index text, at the place of the old one, and a slot that fits it.
[[nodiscard]] std::vector<std::byte> with_index_text(const std::vector<std::byte>& file, const std::string& text);
/// The file with a changed index.
[[nodiscard]] std::vector<std::byte> with_index(const std::vector<std::byte>& file,
                                                const std::function<void(Json&)>& change);
/// The file with a changed slot A, checksum included.
[[nodiscard]] std::vector<std::byte> with_slot(const std::vector<std::byte>& file,
                                               const std::function<void(container::Slot&)>& change);

[[nodiscard]] container::Slot slot_of(const std::vector<std::byte>& file, int number);
[[nodiscard]] std::string index_text_of(const std::vector<std::byte>& file);

/// The member of an object, for changing it.
[[nodiscard]] Json& member(Json& object, std::string_view name);

}  // namespace ingot::test

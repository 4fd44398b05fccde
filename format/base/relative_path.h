// Paths that files and indexes name: they stay below their directory. Implements spec/restore.md section 2.
#pragma once

#include <string_view>

namespace ingot {

/// What is wrong with `path` as a relative path with forward slashes that stays below its directory ("is empty", "has a
/// component . or .."); empty when nothing is. Limits of length are the caller's.
[[nodiscard]] std::string_view relative_path_fault(std::string_view path) noexcept;

}  // namespace ingot

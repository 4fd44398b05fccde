// Names of the error kinds.
#include "format/base/error.h"

#include <array>

namespace ingot {

std::string_view error_kind_name(ErrorKind kind) noexcept {
  static constexpr std::array<std::string_view, 9> kNames = {
      "io",          "truncated", "bad_magic", "unsupported_version", "bad_checksum", "invalid_value", "limit_exceeded",
      "unsupported", "mismatch"};
  static_assert(kNames.size() == static_cast<std::size_t>(ErrorKind::mismatch) + 1);
  const auto index = static_cast<std::size_t>(kind);
  return index < kNames.size() ? kNames[index] : "unknown";
}

}  // namespace ingot

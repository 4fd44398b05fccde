// The one exception type that crosses Ingot's library boundary. Implements spec/conformance.md section 3 (error kinds).
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ingot {

/// What went wrong, coarse enough to test against. Invalid spec vectors carry the kind in their file name.
enum class ErrorKind : std::uint8_t {
  io,                   ///< the operating system refused (open, read, write, disk full)
  truncated,            ///< the bytes end before the structure does
  bad_magic,            ///< not the file type it was opened as
  unsupported_version,  ///< a version or a must-understand feature that this reader does not know
  bad_checksum,         ///< a stored hash disagrees with the bytes
  invalid_value,        ///< a field holds a value that the specification forbids
  limit_exceeded,       ///< a count, length or depth above the specification's limit
  unsupported,          ///< well-formed, but outside what this build can do
  mismatch,             ///< two things that must agree do not (comparison failed, consent missing)
};

/// The word used in messages, JSON output and vector file names, e.g. "bad_checksum".
[[nodiscard]] std::string_view error_kind_name(ErrorKind kind) noexcept;

/// Message form: what, where, expected, got. `offset` counts bytes from the start of the file; kNoOffset when there is
/// none.
class Error : public std::runtime_error {
 public:
  static constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

  Error(ErrorKind error_kind, const std::string& message, std::uint64_t at_offset = kNoOffset)
      : std::runtime_error(message), kind(error_kind), offset(at_offset) {}

  ErrorKind kind;
  std::uint64_t offset;
};

}  // namespace ingot

// XXH3-128 and XXH3-64, the only hashes of the format. Implements spec/integrity.md section 1. xxHash is seen only by hash.cpp.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "format/base/byte_reader.h"

namespace ingot {

/// Sixteen bytes in xxHash's canonical order (big-endian, high half first), the order that `xxhsum -H2` prints.
struct Hash128 {
  std::array<std::byte, 16> bytes{};
  auto operator<=>(const Hash128&) const = default;
  [[nodiscard]] std::string hex() const;  // 32 lower-case digits
  [[nodiscard]] static std::optional<Hash128> from_hex(std::string_view text) noexcept;
};

[[nodiscard]] Hash128 hash128(Bytes bytes) noexcept;       // XXH3-128, seed 0
[[nodiscard]] std::uint64_t hash64(Bytes bytes) noexcept;  // XXH3-64, seed 0

/// The same XXH3-128 over bytes that arrive in pieces.
class Hasher128 {
 public:
  Hasher128();
  ~Hasher128();
  Hasher128(const Hasher128&) = delete;
  Hasher128& operator=(const Hasher128&) = delete;
  void update(Bytes bytes) noexcept;
  [[nodiscard]] Hash128 digest() const noexcept;

 private:
  void* state_;
};

}  // namespace ingot

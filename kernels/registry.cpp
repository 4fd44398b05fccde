// One row per instruction set, best first.
#include "kernels/registry.h"

#include <cstddef>
#include <cstdlib>

#include "kernels/cpu_features.h"

namespace ingot::kernels {

const KernelTable& portable_table() noexcept;
const KernelTable& avx2_table() noexcept;
const KernelTable& avx512vnni_table() noexcept;

namespace {

bool always() noexcept { return true; }

constexpr Variant kVariants[] = {
#ifdef INGOT_KERNELS_AVX512VNNI
    {"avx512vnni", has_avx512vnni, avx512vnni_table},
#endif
#ifdef INGOT_KERNELS_AVX2
    {"avx2", has_avx2, avx2_table},
#endif
    {"portable", always, portable_table},
};
constexpr std::size_t kVariantCount = sizeof kVariants / sizeof kVariants[0];

template <class Entry>
void inherit(Entry& entry, Entry portable) noexcept {
  if (entry == nullptr) entry = portable;
}

KernelTable completed(const KernelTable& table) noexcept {
  KernelTable result = table;
  const KernelTable& portable = portable_table();
  inherit(result.dot_f32, portable.dot_f32);
  inherit(result.dot_f16, portable.dot_f16);
  inherit(result.dot_bf16, portable.dot_bf16);
  inherit(result.f16_to_f32, portable.f16_to_f32);
  inherit(result.bf16_to_f32, portable.bf16_to_f32);
  inherit(result.f32_to_f16, portable.f32_to_f16);
  inherit(result.f32_to_bf16, portable.f32_to_bf16);
  inherit(result.axpy_f32, portable.axpy_f32);
  inherit(result.rows_dot, portable.rows_dot);
  inherit(result.tile_dot, portable.tile_dot);
  inherit(result.tile_decode, portable.tile_decode);
  inherit(result.panel_dot, portable.panel_dot);
  return result;
}

struct Tables {
  KernelTable tables[kVariantCount];
  bool supported[kVariantCount];
  Tables() noexcept {
    for (std::size_t i = 0; i < kVariantCount; ++i) {
      supported[i] = kVariants[i].supported();
      tables[i] = completed(supported[i] ? kVariants[i].table() : portable_table());
    }
  }
};

const Tables& tables() noexcept {
  static const Tables instance;
  return instance;
}

Selection select() noexcept {
  using Outcome = Selection::Outcome;
  const char* forced = std::getenv("INGOT_KERNELS");
  const KernelTable* const portable = &tables().tables[kVariantCount - 1];
  if (forced != nullptr && *forced != '\0') {
    for (std::size_t i = 0; i < kVariantCount; ++i) {
      if (kVariants[i].name != forced) continue;
      if (!tables().supported[i]) return {Outcome::unsupported, forced, portable};
      return {Outcome::forced, forced, &tables().tables[i]};
    }
    return {Outcome::unknown_name, forced, portable};
  }
  std::size_t i = 0;
  while (!tables().supported[i]) ++i;
  return {Outcome::automatic, {}, &tables().tables[i]};
}

}  // namespace

std::span<const Variant> variants() noexcept { return kVariants; }

const KernelTable* find(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kVariantCount; ++i) {
    if (kVariants[i].name == name && tables().supported[i]) return &tables().tables[i];
  }
  return nullptr;
}

const Selection& selection() noexcept {
  static const Selection instance = select();
  return instance;
}

const KernelTable& best() noexcept { return *selection().table; }

}  // namespace ingot::kernels

// One row per instruction set, best first.
#include "kernels/registry.h"

#include <cstddef>
#include <cstdlib>

#include "kernels/cpu_features.h"

namespace ingot::kernels {

const KernelTable& portable_table() noexcept;
const KernelTable& avx2_table() noexcept;
const KernelTable& avx512vnni_table() noexcept;
const KernelTable& amx_table() noexcept;

namespace {

bool always() noexcept { return true; }

constexpr Variant kVariants[] = {
#ifdef INGOT_KERNELS_AMX
    {"amx", has_amx, amx_table},
#endif
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
void inherit(Entry& entry, Entry next) noexcept {
  if (entry == nullptr) entry = next;
}

KernelTable completed(const KernelTable& table, const KernelTable& next) noexcept {
  KernelTable result = table;
  inherit(result.dot_f32, next.dot_f32);
  inherit(result.rows_f16, next.rows_f16);
  inherit(result.rows_bf16, next.rows_bf16);
  inherit(result.f16_to_f32, next.f16_to_f32);
  inherit(result.bf16_to_f32, next.bf16_to_f32);
  inherit(result.f32_to_f16, next.f32_to_f16);
  inherit(result.f32_to_bf16, next.f32_to_bf16);
  inherit(result.integers_to_f32, next.integers_to_f32);
  inherit(result.add_rows, next.add_rows);
  inherit(result.rows_dot, next.rows_dot);
  inherit(result.tiles.dot, next.tiles.dot);
  inherit(result.tiles.decode, next.tiles.decode);
  if (result.floats.pack == nullptr) result.floats = next.floats;
  inherit(result.functions.softmax, next.functions.softmax);
  inherit(result.functions.gate_silu, next.functions.gate_silu);
  inherit(result.functions.gate_gelu_tanh, next.functions.gate_gelu_tanh);
  inherit(result.integer.round_input, next.integer.round_input);
  inherit(result.integer.multiply, next.integer.multiply);
  inherit(result.integer.multiply_table, next.integer.multiply_table);
  return result;
}

struct Tables {
  KernelTable tables[kVariantCount];
  bool supported[kVariantCount];
  // A machine that supports a variant supports those below it.
  Tables() noexcept {
    for (std::size_t i = kVariantCount; i-- > 0;) {
      const KernelTable& next = i + 1 == kVariantCount ? portable_table() : tables[i + 1];
      supported[i] = kVariants[i].supported();
      tables[i] = supported[i] ? completed(kVariants[i].table(), next) : next;
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

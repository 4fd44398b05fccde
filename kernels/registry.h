// All kernel variants of this build and the choice among them. A variant is one file and one row in registry.cpp.
#pragma once

#include <span>
#include <string_view>

#include "kernels/kernel_table.h"

namespace ingot::kernels {

struct Variant {
  std::string_view name;
  bool (*supported)() noexcept;            // by this machine
  const KernelTable& (*table)() noexcept;  // may hold null entries; call only when supported
};

/// Best first; the last one is "portable", which every machine supports and which has no null entry.
[[nodiscard]] std::span<const Variant> variants() noexcept;

/// The table of one variant with the null entries taken from the next one; null when the name is unknown or the machine
/// lacks it.
[[nodiscard]] const KernelTable* find(std::string_view name) noexcept;

/// How best() was chosen.
struct Selection {
  enum class Outcome : unsigned char { automatic, forced, unknown_name, unsupported } outcome;
  std::string_view requested;  // value of INGOT_KERNELS; empty when unset
  const KernelTable*
      table;  // never null: with unknown_name and unsupported it is portable, and the caller must report the error
};
/// Reads INGOT_KERNELS once.
[[nodiscard]] const Selection& selection() noexcept;

}  // namespace ingot::kernels

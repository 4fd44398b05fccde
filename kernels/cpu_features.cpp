// __builtin_cpu_supports also checks that the operating system saves the wide registers.
#include "kernels/cpu_features.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ingot::kernels {
namespace {

/// clang 14 does not know __builtin_cpu_supports("f16c").
bool has_f16c() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

/// The state of tiles is large: the kernel saves it only for processes that asked. It refuses where it or the processor
/// knows no tiles.
bool may_use_tiles() noexcept {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM and a component of XCR0
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool has_avx2() noexcept { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }

bool has_avx512vnni() noexcept {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

bool has_amx() noexcept {
  constexpr unsigned kNeeded = 1u << 24 | 1u << 25 | 1u << 22;  // tiles, their int8 and bfloat16 products
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!has_avx512vnni() || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  return (d & kNeeded) == kNeeded && may_use_tiles();
}

}  // namespace ingot::kernels

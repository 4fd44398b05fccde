// The baseline build of the hot loops, and the choice between the builds.
#include "format/tensor/bulk_loops.h"

#ifdef INGOT_TENSOR_ISA_FILES
#include <cpuid.h>
#endif

namespace ingot::tensor {
namespace {

#ifdef INGOT_TENSOR_ISA_FILES
/// clang 14 does not know __builtin_cpu_supports("f16c").
bool has_f16c() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

const BulkLoops& choose() noexcept {
#ifdef INGOT_TENSOR_ISA_FILES
  if (__builtin_cpu_supports("avx2") && has_f16c()) return bulk_avx2();
#endif
  return kLoops;
}

}  // namespace

const BulkLoops& bulk() noexcept {
  static const BulkLoops& chosen = choose();
  return chosen;
}

const BulkLoops& bulk_baseline() noexcept { return kLoops; }

}  // namespace ingot::tensor

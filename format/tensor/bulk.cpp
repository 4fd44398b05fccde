// The baseline build of the hot loops, and the choice between the builds.
#include "format/tensor/bulk_loops.h"

namespace ingot::tensor {
namespace {

const BulkLoops& choose() noexcept {
#ifdef INGOT_TENSOR_ISA_FILES
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) return bulk_avx2();
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

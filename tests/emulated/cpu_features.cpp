// Of the processor that tests/emulated/immintrin.h computes.
#include "kernels/cpu_features.h"

namespace ingot::kernels {

bool has_avx2() noexcept { return false; }  // its kernels run as they are: test_kernels
bool has_avx512vnni() noexcept { return true; }
bool has_amx() noexcept { return true; }

}  // namespace ingot::kernels

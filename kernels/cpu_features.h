// What the processor and the operating system allow. Asked once at start by registry.cpp.
#pragma once

namespace ingot::kernels {

[[nodiscard]] bool has_avx2() noexcept;        // AVX2, FMA, F16C
[[nodiscard]] bool has_avx512vnni() noexcept;  // AVX-512 F, BW, VL, VNNI, and has_avx2()
/// AMX tiles, int8 and bfloat16, and has_avx512vnni(). Asks the kernel once for permission to use tiles, for the whole
/// process.
[[nodiscard]] bool has_amx() noexcept;

}  // namespace ingot::kernels

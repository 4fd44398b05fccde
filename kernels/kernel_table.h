// The operations that have hand-written variants, as a table of function pointers. One file per instruction set fills it; null entries
// inherit the portable one (registry.cpp). Kernels are pure, noexcept, single-threaded over the rows they are given.
#pragma once

#include <cstdint>

namespace ingot::kernels {

struct KernelTable {
  const char* name;   // "portable", "avx2", "avx512vnni"

  // Sum over i of w[i]*x[i], float32 accumulation in several partial sums. n >= 0, any alignment.
  float (*dot_f32)(const float* w, const float* x, std::uint64_t n) noexcept;
  float (*dot_f16)(const std::uint16_t* w, const float* x, std::uint64_t n) noexcept;
  float (*dot_bf16)(const std::uint16_t* w, const float* x, std::uint64_t n) noexcept;

  // Bulk exact conversions.
  void (*f16_to_f32)(const std::uint16_t* src, float* dst, std::uint64_t n) noexcept;
  void (*bf16_to_f32)(const std::uint16_t* src, float* dst, std::uint64_t n) noexcept;
  void (*f32_to_f16)(const float* src, std::uint16_t* dst, std::uint64_t n) noexcept;
  void (*f32_to_bf16)(const float* src, std::uint16_t* dst, std::uint64_t n) noexcept;

  // out[i] += a * x[i]
  void (*axpy_f32)(float a, const float* x, float* out, std::uint64_t n) noexcept;
};

/// Which variant the machine and INGOT_KERNELS select; fully populated. Throws nothing; see registry.h for the checked selection.
[[nodiscard]] const KernelTable& best() noexcept;

}  // namespace ingot::kernels

// Hot loops of the exact decode that exist in two builds: the baseline (bulk.cpp) and AVX2 with F16C (bulk_avx2.cpp),
// chosen once at run time. Both are compiled from bulk_loops.h and give the same bits. An ISA file may include only
// this header and the intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::tensor {

/// Parameters of a run of consecutive columns:  out = scale * (T(code) - zero) + add, every operation in binary32.
struct Run {
  float scale;
  float zero;
  float add;
};

/// The same in binary64.
struct WideRun {
  double scale;
  double zero;
  double add;
};

struct BulkLoops {
  // Float conversions; see float_codes.h for the rules.
  void (*f16_to_f32)(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept;
  void (*bf16_to_f32)(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept;
  void (*f32_to_f16)(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept;
  void (*f32_to_bf16)(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept;

  // Canonical bits of the fingerprint (-0 -> +0, NaN -> 0x7FC00000). `src` may be unaligned.
  void (*canonical_f32)(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept;
  void (*canonical_f16)(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept;
  void (*canonical_bf16)(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept;

  // `count` codes cut in runs of `run_cols` columns (the last one may be shorter); runs[i] belongs to run i.
  /// T(code) = code ^ flip as an unsigned number.
  void (*decode_integers)(const std::uint8_t* codes, std::uint8_t flip, std::uint64_t count, std::uint64_t run_cols,
                          const Run* runs, float* out) noexcept;
  /// T(code) = table[code]; 16 entries (codes below 16) or 256 entries.
  void (*decode_table16)(const std::uint8_t* codes, const float* table, std::uint64_t count, std::uint64_t run_cols,
                         const Run* runs, float* out) noexcept;
  void (*decode_table256)(const std::uint8_t* codes, const float* table, std::uint64_t count, std::uint64_t run_cols,
                          const Run* runs, float* out) noexcept;

  // One run in binary64, whose product scale * (number - zero) must be exact there; the result is rounded once to
  // binary32.
  void (*round_products)(const double* numbers, std::uint64_t count, const WideRun& run,
                         float* out) noexcept;  // without `add`
  void (*round_sums)(const double* numbers, std::uint64_t count, const WideRun& run, float* out) noexcept;
};

/// The best build for this machine.
[[nodiscard]] const BulkLoops& bulk() noexcept;

/// The baseline, on any machine (tests compare the two).
[[nodiscard]] const BulkLoops& bulk_baseline() noexcept;

/// The only symbol of bulk_avx2.cpp.
const BulkLoops& bulk_avx2() noexcept;

}  // namespace ingot::tensor

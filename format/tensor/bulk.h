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

/// The number line of a float type: what an error is measured in where there are no scales.
struct FloatGrid {
  int mantissa_bits;
  int min_exponent;  // of the smallest normal number; at least -149
};

/// What errors are measured in.
struct Steps {
  const float* sizes = nullptr;  // of runs of elements; null: the last place in `grid` of the larger of two values
  std::uint64_t run_elems = 1;   // that share a size
  std::uint64_t skipped = 0;     // elements of the first run that lie before the first value; less than run_elems
  FloatGrid grid{0, 0};
};

/// How values b differ from values a. Element k of a run goes into lane k % kLanes (without sizes all is one run), so
/// that every build adds in the same order.
struct Differences {
  static constexpr std::size_t kLanes = 8;
  double squared_value[kLanes] = {};   // of the finite values of a
  double squared_error[kLanes] = {};   // a run's sum is added at its end
  double squared_steps[kLanes] = {};   // the run's sum times 1 / the square of its size, where that is not zero
  double squared_places[kLanes] = {};  // places: of binary32, around the larger of |a| and |b|
  double worst_error[kLanes] = {};     // largest |b - a|; infinite where only one of the two is NaN
  double worst_steps[kLanes] = {};     // largest |b - a| / |size|; with sizes, of all lanes in the first
  double worst_places[kLanes] = {};
  std::uint64_t differing = 0;
};

struct BulkLoops {
  // Float conversions; see float_codes.h for the rules.
  void (*f16_to_f32)(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept;
  void (*bf16_to_f32)(const std::uint16_t* src, float* dst, std::uint64_t count) noexcept;
  void (*f32_to_f16)(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept;
  void (*f32_to_bf16)(const float* src, std::uint16_t* dst, std::uint64_t count) noexcept;

  // Does every value survive a conversion and back (-0 as 0, any NaN as NaN)?
  bool (*all_fit_f16)(const float* values, std::uint64_t count) noexcept;
  bool (*all_fit_bf16)(const float* values, std::uint64_t count) noexcept;

  /// Adds the differences of `count` values.
  void (*add_differences)(const float* a, const float* b, const Steps& steps, std::uint64_t count,
                          Differences& sum) noexcept;
  /// The same several times as fast: the squared sums are off by less than 2^-19 of themselves. Which worst errors are
  /// looked for: those beyond what `sum` has; these are exact, but may come into any lane.
  void (*add_near_differences)(const float* a, const float* b, const Steps& steps, std::uint64_t count,
                               Differences& sum) noexcept;

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
  /// The same where the table is that of e4m3, whose numbers are sooner made than looked up.
  void (*decode_e4m3)(const std::uint8_t* codes, const float* table, std::uint64_t count, std::uint64_t run_cols,
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

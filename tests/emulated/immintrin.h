// Stands in the place of the compiler's <immintrin.h>: every instruction is computed by SIMDe or below, so that the
// kernels for AVX-512 and AMX run on any machine, slowly. Below is what SIMDe 0.7.4 lacks, lane by lane after the
// Operation sections of Intel's manual (volume 2); what the kernels do not use is not here.
#pragma once

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

using __mmask8 = std::uint8_t;
using __mmask16 = std::uint16_t;
using __mmask64 = std::uint64_t;

namespace emulated {

template <class To, class From, class Function>
inline auto each(const From& from, const Function& function) {
  To to{};
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = function(from[i]);
  return to;
}

template <class Lane, class Register>
inline auto lanes(const Register& value) {
  return std::bit_cast<std::array<Lane, sizeof(Register) / sizeof(Lane)>>(value);
}

/// binary16 nearest to x, of two the even one; a NaN keeps its sign and the upper bits of its payload and becomes
/// quiet.
inline std::uint16_t half_of(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<std::uint16_t>(sign | 0x7E00 | (magnitude >> 13 & 0x1FF));
  const double size = std::bit_cast<float>(magnitude);
  if (size >= 65520) return static_cast<std::uint16_t>(sign | 0x7C00);
  const int exponent = std::max(size == 0 ? -14 : std::ilogb(size), -14);
  const double steps = std::nearbyint(std::ldexp(size, 10 - exponent));  // 1024..2048, or below 1024 when subnormal
  return static_cast<std::uint16_t>(sign | (static_cast<int>(steps) + (exponent + 14) * 1024));
}

using Bytes16 = std::array<std::int8_t, 16>;
using Halves16 = std::array<std::uint16_t, 16>;
using Words16 = std::array<std::int32_t, 16>;
using Floats16 = std::array<float, 16>;

}  // namespace emulated

// --- AVX-512 ---------------------------------------------------------------------------------------------------------
// SIMDe's own has a case for each of 256 functions, which takes the compiler minutes. Bit k of `function` is the result
// where the bits of a, b and c, a first, are those of the number k.
[[gnu::noinline]] inline __m512i emulated_ternarylogic(__m512i a, __m512i b, __m512i c, unsigned function) noexcept {
  const auto x = emulated::lanes<std::uint64_t>(a), y = emulated::lanes<std::uint64_t>(b);
  const auto z = emulated::lanes<std::uint64_t>(c);
  std::array<std::uint64_t, 8> result{};
  for (std::size_t i = 0; i < result.size(); ++i) {
    for (unsigned k = 0; k < 8; ++k) {
      if ((function >> k & 1) == 0) continue;
      result[i] |= ((k & 4) != 0 ? x[i] : ~x[i]) & ((k & 2) != 0 ? y[i] : ~y[i]) & ((k & 1) != 0 ? z[i] : ~z[i]);
    }
  }
  return std::bit_cast<__m512i>(result);
}
// Sums of four products of an unsigned byte of `a` and a signed one of `b`, modulo 2^32.
[[gnu::noinline]] inline __m512i emulated_dpbusd(__m512i sums, __m512i a, __m512i b) noexcept {
  auto result = emulated::lanes<std::uint32_t>(sums);
  const auto x = emulated::lanes<std::uint8_t>(a);
  const auto y = emulated::lanes<std::int8_t>(b);
  for (std::size_t i = 0; i < x.size(); ++i)
    result[i / 4] += static_cast<std::uint32_t>(std::int32_t{x[i]} * std::int32_t{y[i]});
  return std::bit_cast<__m512i>(result);
}
// One rounding, where SIMDe has two.
[[gnu::noinline]] inline __m512 emulated_fmadd(__m512 a, __m512 b, __m512 c) noexcept {
  const auto x = emulated::lanes<float>(a), y = emulated::lanes<float>(b), z = emulated::lanes<float>(c);
  emulated::Floats16 result{};
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = std::fma(x[i], y[i], z[i]);
  return std::bit_cast<__m512>(result);
}
#undef _mm512_fmadd_ps
#define _mm512_fmadd_ps(a, b, c) emulated_fmadd(a, b, c)
#undef _mm512_fmsub_ps
#define _mm512_fmsub_ps(a, b, c) emulated_fmadd(a, b, _mm512_xor_ps(c, _mm512_set1_ps(-0.0F)))
#undef _mm512_dpbusd_epi32
#define _mm512_dpbusd_epi32(sums, a, b) emulated_dpbusd(sums, a, b)
#undef _mm512_ternarylogic_epi32
#define _mm512_ternarylogic_epi32(a, b, c, function) emulated_ternarylogic(a, b, c, function)

inline __m512i _mm512_srai_epi32(__m512i a, unsigned count) noexcept {
  const int by = count > 31 ? 31 : static_cast<int>(count);
  return std::bit_cast<__m512i>(
      emulated::each<emulated::Words16>(emulated::lanes<std::int32_t>(a), [by](std::int32_t x) { return x >> by; }));
}
inline __m512 _mm512_cvtepi32_ps(__m512i a) noexcept {
  return std::bit_cast<__m512>(emulated::each<emulated::Floats16>(
      emulated::lanes<std::int32_t>(a), [](std::int32_t x) { return static_cast<float>(x); }));
}
// In the default rounding mode; what no int32 holds becomes the least one.
inline __m512i _mm512_cvtps_epi32(__m512 a) noexcept {
  return std::bit_cast<__m512i>(emulated::each<emulated::Words16>(emulated::lanes<float>(a), [](float x) {
    const float rounded = std::nearbyint(x);
    const bool fits = rounded >= -0x1p31F && rounded < 0x1p31F;
    return fits ? static_cast<std::int32_t>(rounded) : INT32_MIN;
  }));
}
inline __m512i _mm512_cvtepu16_epi32(__m256i a) noexcept {
  return std::bit_cast<__m512i>(emulated::each<emulated::Words16>(
      emulated::lanes<std::uint16_t>(a), [](std::uint16_t x) { return static_cast<std::int32_t>(x); }));
}
inline __m512i _mm512_cvtepu8_epi32(__m128i a) noexcept {
  return std::bit_cast<__m512i>(emulated::each<emulated::Words16>(
      emulated::lanes<std::uint8_t>(a), [](std::uint8_t x) { return static_cast<std::int32_t>(x); }));
}
inline __m256i _mm512_cvtepi32_epi16(__m512i a) noexcept {
  return std::bit_cast<__m256i>(emulated::each<emulated::Halves16>(
      emulated::lanes<std::int32_t>(a), [](std::int32_t x) { return static_cast<std::uint16_t>(x); }));
}
inline __m128i _mm512_cvtepi32_epi8(__m512i a) noexcept {
  return std::bit_cast<__m128i>(emulated::each<emulated::Bytes16>(
      emulated::lanes<std::int32_t>(a), [](std::int32_t x) { return static_cast<std::int8_t>(x); }));
}
inline __m512 _mm512_cvtph_ps(__m256i a) noexcept {
  const auto halves = emulated::lanes<__m128i>(a);
  return std::bit_cast<__m512>(std::array<__m256, 2>{_mm256_cvtph_ps(halves[0]), _mm256_cvtph_ps(halves[1])});
}
inline __m256i _mm512_cvtps_ph(__m512 a, int) noexcept {
  return std::bit_cast<__m256i>(emulated::each<emulated::Halves16>(emulated::lanes<float>(a), emulated::half_of));
}
inline __m128i emulated_cvtps_ph(__m128 a) noexcept {
  const auto x = emulated::lanes<float>(a);
  std::array<std::uint16_t, 8> halves{};
  for (std::size_t i = 0; i < x.size(); ++i) halves[i] = emulated::half_of(x[i]);
  return std::bit_cast<__m128i>(halves);
}
#undef _mm_cvtps_ph
#define _mm_cvtps_ph(a, rounding) emulated_cvtps_ph(a)
inline std::int32_t _mm512_reduce_add_epi32(__m512i a) noexcept {
  std::uint32_t sum = 0;
  for (const std::uint32_t lane : emulated::lanes<std::uint32_t>(a)) sum += lane;
  return static_cast<std::int32_t>(sum);
}
inline float _mm512_reduce_max_ps(__m512 a) noexcept {
  const auto lanes = emulated::lanes<float>(a);
  return *std::max_element(lanes.begin(), lanes.end());
}
inline __mmask16 _mm256_cmpeq_epi16_mask(__m256i a, __m256i b) noexcept {
  const auto x = emulated::lanes<std::uint16_t>(a), y = emulated::lanes<std::uint16_t>(b);
  unsigned mask = 0;
  for (std::size_t i = 0; i < x.size(); ++i) mask |= static_cast<unsigned>(x[i] == y[i]) << i;
  return static_cast<__mmask16>(mask);
}
// What is masked away is not touched in memory either.
template <class Register, class Lane, class Mask>
Register emulated_maskz_load(Mask mask, const void* from) noexcept {
  std::array<Lane, sizeof(Register) / sizeof(Lane)> lanes{};
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    if ((mask >> i & 1) != 0) std::memcpy(&lanes[i], static_cast<const Lane*>(from) + i, sizeof(Lane));
  }
  return std::bit_cast<Register>(lanes);
}
inline __m128i _mm_maskz_loadu_epi8(__mmask16 mask, const void* from) noexcept {
  return emulated_maskz_load<__m128i, std::uint8_t>(mask, from);
}
inline __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void* from) noexcept {
  return emulated_maskz_load<__m512i, std::uint8_t>(mask, from);
}
inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void* from) noexcept {
  return emulated_maskz_load<__m512, float>(mask, from);
}

// --- AMX -------------------------------------------------------------------------------------------------------------
namespace emulated {

/// Eight tile registers of one thread and their shapes; palette 0: not configured.
struct Tiles {
  std::uint8_t palette = 0;
  std::array<std::uint16_t, 8> row_bytes{};
  std::array<std::uint8_t, 8> rows{};
  std::uint8_t of[8][16][64];
};
inline thread_local Tiles tiles;

/// What the processor answers with a fault ends the test.
inline void demand(bool met) noexcept {
  if (!met) __builtin_trap();
}

inline void load_config(const void* memory) noexcept {
  const auto* const bytes = static_cast<const std::uint8_t*>(memory);
  demand(bytes[0] == 1 && bytes[1] == 0);
  const auto are_zero = [&](std::size_t begin, std::size_t end) {
    return std::all_of(bytes + begin, bytes + end, [](std::uint8_t byte) { return byte == 0; });
  };
  demand(are_zero(2, 16) && are_zero(32, 48) && are_zero(56, 64));  // reserved, and of tiles 8 to 15
  tiles.palette = bytes[0];
  for (std::size_t t = 0; t < 8; ++t) {
    std::memcpy(&tiles.row_bytes[t], bytes + 16 + 2 * t, 2);
    tiles.rows[t] = bytes[48 + t];
    demand(tiles.row_bytes[t] <= 64 && tiles.rows[t] <= 16 && (tiles.row_bytes[t] == 0) == (tiles.rows[t] == 0));
  }
  std::memset(tiles.of, 0, sizeof tiles.of);
}

inline void check_tile(std::size_t tile) noexcept { demand(tiles.palette == 1 && tiles.rows[tile] != 0); }

inline void load_tile(std::size_t tile, const void* base, std::size_t stride) noexcept {
  check_tile(tile);
  std::memset(tiles.of[tile], 0, sizeof tiles.of[tile]);
  for (std::size_t r = 0; r < tiles.rows[tile]; ++r)
    std::memcpy(tiles.of[tile][r], static_cast<const std::uint8_t*>(base) + r * stride, tiles.row_bytes[tile]);
}
inline void store_tile(std::size_t tile, void* base, std::size_t stride) noexcept {
  check_tile(tile);
  for (std::size_t r = 0; r < tiles.rows[tile]; ++r)
    std::memcpy(static_cast<std::uint8_t*>(base) + r * stride, tiles.of[tile][r], tiles.row_bytes[tile]);
}

inline void check_product(std::size_t c, std::size_t a, std::size_t b) noexcept {
  for (const std::size_t tile : {a, b, c}) check_tile(tile);
  demand(a != b && b != c && a != c && tiles.rows[c] == tiles.rows[a] && tiles.row_bytes[c] == tiles.row_bytes[b] &&
         tiles.row_bytes[a] == 4 * tiles.rows[b]);
}

/// C (M, N) += A (M, 4K bytes) * B (K, 4N bytes): sums of four products of bytes, modulo 2^32.
template <class OfA, class OfB>
void multiply_bytes(std::size_t c, std::size_t a, std::size_t b) noexcept {
  check_product(c, a, b);
  for (std::size_t m = 0; m < tiles.rows[c]; ++m) {
    for (std::size_t n = 0; n < tiles.row_bytes[c] / 4U; ++n) {
      std::uint32_t sum;
      std::memcpy(&sum, tiles.of[c][m] + 4 * n, 4);
      for (std::size_t k = 0; k < tiles.rows[b]; ++k) {
        for (std::size_t i = 0; i < 4; ++i) {
          const auto x = static_cast<OfA>(tiles.of[a][m][4 * k + i]);
          const auto y = static_cast<OfB>(tiles.of[b][k][4 * n + i]);
          sum += static_cast<std::uint32_t>(std::int32_t{x} * std::int32_t{y});
        }
      }
      std::memcpy(tiles.of[c][m] + 4 * n, &sum, 4);
    }
  }
}

inline float flushed(float value) noexcept {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0F, value) : value;
}
inline float widened(std::uint16_t brain) noexcept { return flushed(std::bit_cast<float>(std::uint32_t{brain} << 16)); }

/// The same of pairs of bfloat16 numbers: all first ones and all second ones are added up, then both and C. Every
/// operation takes and gives zeros for subnormal numbers, whatever the control register says.
inline void multiply_brains(std::size_t c, std::size_t a, std::size_t b) noexcept {
  check_product(c, a, b);
  for (std::size_t m = 0; m < tiles.rows[c]; ++m) {
    for (std::size_t n = 0; n < tiles.row_bytes[c] / 4U; ++n) {
      float sums[2] = {};
      for (std::size_t k = 0; k < tiles.rows[b]; ++k) {
        for (std::size_t i = 0; i < 2; ++i) {
          std::uint16_t x, y;
          std::memcpy(&x, tiles.of[a][m] + 4 * k + 2 * i, 2);
          std::memcpy(&y, tiles.of[b][k] + 4 * n + 2 * i, 2);
          sums[i] = flushed(std::fma(widened(x), widened(y), sums[i]));
        }
      }
      float total;
      std::memcpy(&total, tiles.of[c][m] + 4 * n, 4);
      total = flushed(flushed(total) + flushed(sums[0] + sums[1]));
      std::memcpy(tiles.of[c][m] + 4 * n, &total, 4);
    }
  }
}

}  // namespace emulated

inline void _tile_loadconfig(const void* memory) noexcept { emulated::load_config(memory); }
inline void _tile_release() noexcept { emulated::tiles.palette = 0; }
inline void _tile_zero(std::size_t tile) noexcept {
  emulated::check_tile(tile);
  std::memset(emulated::tiles.of[tile], 0, sizeof emulated::tiles.of[tile]);
}
inline void _tile_loadd(std::size_t tile, const void* base, std::size_t stride) noexcept {
  emulated::load_tile(tile, base, stride);
}
inline void _tile_stored(std::size_t tile, void* base, std::size_t stride) noexcept {
  emulated::store_tile(tile, base, stride);
}
inline void _tile_dpbssd(std::size_t c, std::size_t a, std::size_t b) noexcept {
  emulated::multiply_bytes<std::int8_t, std::int8_t>(c, a, b);
}
inline void _tile_dpbsud(std::size_t c, std::size_t a, std::size_t b) noexcept {
  emulated::multiply_bytes<std::int8_t, std::uint8_t>(c, a, b);
}
inline void _tile_dpbf16ps(std::size_t c, std::size_t a, std::size_t b) noexcept { emulated::multiply_brains(c, a, b); }

// AVX2 + FMA + F16C. A word of a line holds the codes of one output, so a 32-bit lane collects the sum of one output:
// `and` and shifts take four codes of each out of their words, vpmaddubsw multiplies them by four inputs that are the
// same for all.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

const IntegerKernels& avx2_integer_kernels() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kRows = 16, kHalf = 8;
// How far ahead codes are fetched, in bytes: the processor's own prefetching ends with each page.
constexpr u64 kAhead = 2048;

__m256i load_words(const u32* at) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }
__m256i four_inputs(const std::int8_t* at) noexcept {
  return _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(at)));
}

// Slice widths of a kBits code: 3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1.
template <u32 kBits>
struct Slices {
  static constexpr u32 low = kBits == 8 ? 8 : kBits >= 4 ? 4 : kBits >= 2 ? 2 : 1;
  static constexpr u32 middle = kBits == 6 || kBits == 7 ? 2 : kBits == 5 || kBits == 3 ? 1 : 0;
  static constexpr u32 top = kBits == 7 ? 1 : 0;
};

// Where the words of a run of 32 inputs lie: (width of the slice) lines of each slice.
struct Run {
  const u32* slices[3];
};

template <u32 kBits>
Run run_at(const IntegerTile& tile, u64 run) noexcept {
  using S = Slices<kBits>;
  Run result = {{tile.slices[0] + run * S::low * kRows, nullptr, nullptr}};
  if constexpr (S::middle != 0) result.slices[1] = tile.slices[1] + run * S::middle * kRows;
  if constexpr (S::top != 0) result.slices[2] = tile.slices[2] + run * S::top * kRows;
  return result;
}

// p bits of every byte, from bit `from`.
__m256i bits_of(const u32* words, u32 p, u32 from) noexcept {
  if (p == 8) return load_words(words);
  return _mm256_and_si256(_mm256_srli_epi32(load_words(words), static_cast<int>(from)),
                          _mm256_set1_epi8(static_cast<char>((1u << p) - 1)));
}

// Four codes of each of eight outputs: field n (0..7) of the run. `n` is a constant once the loop around is unrolled.
// With kFlip, a signed code becomes the unsigned one greater by 2^(bits-1), an unsigned byte the signed one less by 128.
template <u32 kBits, bool kFlip>
__m256i field(const Run& run, u32 n, u64 half) noexcept {
  using S = Slices<kBits>;
  constexpr u32 kPerLow = 8 / S::low;
  __m256i codes = bits_of(run.slices[0] + n / kPerLow * kRows + half, S::low, n % kPerLow * S::low);
  if constexpr (S::middle != 0) {
    constexpr u32 kPer = 8 / S::middle;
    const __m256i high = bits_of(run.slices[1] + n / kPer * kRows + half, S::middle, n % kPer * S::middle);
    codes = _mm256_or_si256(codes, _mm256_slli_epi32(high, S::low));
  }
  if constexpr (S::top != 0) {
    const __m256i high = bits_of(run.slices[2] + half, S::top, n);
    codes = _mm256_or_si256(codes, _mm256_slli_epi32(high, S::low + S::middle));
  }
  if constexpr (kFlip) codes = _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(1u << (kBits - 1))));
  return codes;
}

template <u32 kBits>
constexpr float shift_of(bool is_signed) noexcept {
  if (kBits == 8) return is_signed ? 0 : -128;
  return is_signed ? 1 << (kBits - 1) : 0;
}

// Sums of two products, 16 bits each; kBatch of them can be added: 8 * 15 * 127 * 2 < 2^15.
template <u32 kBits>
__m256i pairs(__m256i codes, __m256i inputs) noexcept {
  if constexpr (kBits == 8) return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(inputs, codes));
  return _mm256_maddubs_epi16(codes, inputs);
}
template <u32 kBits>
constexpr u32 kBatch = kBits <= 4   ? 8
                       : kBits == 5 ? 4
                       : kBits == 6 ? 2
                                    : 1;

__m256i four_sums(__m256i sums_of_two) noexcept { return _mm256_madd_epi16(sums_of_two, _mm256_set1_epi16(1)); }

// Integer sums of a tile, (vector, half).
template <int kVectors>
struct Sums {
  __m256i of[kVectors][2];
};

// Adds kFields fields from kFirst on, or starts the sums with them. inputs[v] points at the first input of the run.
template <u32 kBits, bool kFlip, bool kStart, u32 kFirst, u32 kFields, int kVectors>
inline __attribute__((always_inline)) void add_fields(const Run& run, const std::int8_t* const* inputs,
                                                      Sums<kVectors>& sums) noexcept {
  constexpr u32 kStep = kBatch<kBits> < kFields ? kBatch<kBits> : kFields;
#pragma GCC unroll 8
  for (u32 begin = kFirst; begin < kFirst + kFields; begin += kStep) {
    __m256i batch[kVectors][2];
#pragma GCC unroll 8
    for (u32 n = begin; n < begin + kStep; ++n) {
      const __m256i low = field<kBits, kFlip>(run, n, 0), high = field<kBits, kFlip>(run, n, kHalf);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const __m256i four = four_inputs(inputs[v] + 4 * n);
        const __m256i a = pairs<kBits>(low, four), b = pairs<kBits>(high, four);
        batch[v][0] = n == begin ? a : _mm256_add_epi16(batch[v][0], a);
        batch[v][1] = n == begin ? b : _mm256_add_epi16(batch[v][1], b);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      for (int half = 0; half < 2; ++half) {
        const __m256i added = four_sums(batch[v][half]);
        sums.of[v][half] = kStart && begin == kFirst ? added : _mm256_add_epi32(sums.of[v][half], added);
      }
    }
  }
}

// --- parameters ------------------------------------------------------------------------------------------------------
__m256i eight_bytes(const std::uint8_t* at) noexcept {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
}
__m256i eight_half_bytes(const std::uint8_t* at) noexcept {
  std::uint32_t word;
  __builtin_memcpy(&word, at, sizeof word);
  const __m128i both = _mm_cvtsi32_si128(static_cast<int>(word));
  const __m128i split = _mm_unpacklo_epi8(both, _mm_srli_epi16(both, 4));
  return _mm256_cvtepu8_epi32(_mm_and_si128(split, _mm_set1_epi8(15)));
}
__m128i eight_halves(const std::uint8_t* at) noexcept { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }
// Elements [first, first + count) as binary32; both multiples of 8.
void widen(const TileParameters& parameters, u64 first, u64 count, float* out) noexcept {
  const auto* bytes = static_cast<const std::uint8_t*>(parameters.elements);
  const auto each = [&](auto&& eight) {
    for (u64 i = 0; i < count; i += kHalf) _mm256_store_ps(out + i, eight(first + i));
  };
  switch (parameters.type) {
    case ParameterType::constant: return each([&](u64) { return _mm256_set1_ps(parameters.constant); });
    case ParameterType::f32:
      return each([&](u64 i) { return _mm256_loadu_ps(reinterpret_cast<const float*>(bytes) + i); });
    case ParameterType::f16: return each([&](u64 i) { return _mm256_cvtph_ps(eight_halves(bytes + 2 * i)); });
    case ParameterType::bf16:
      return each([&](u64 i) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight_halves(bytes + 2 * i)), 16));
      });
    case ParameterType::u4: return each([&](u64 i) { return _mm256_cvtepi32_ps(eight_half_bytes(bytes + i / 2)); });
    case ParameterType::u8: return each([&](u64 i) { return _mm256_cvtepi32_ps(eight_bytes(bytes + i)); });
    case ParameterType::i8:
      return each([&](u64 i) {
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + i))));
      });
  }
}

bool is_bias(ParameterType type) noexcept {
  return type == ParameterType::f32 || type == ParameterType::f16 || type == ParameterType::bf16;
}

// The parameters of some groups of a tile as scale * code + bias, for codes as field() yields them.
constexpr u64 kGroupsAtOnce = 16;
struct Widened {
  alignas(32) float scales[kGroupsAtOnce * kRows], biases[kGroupsAtOnce * kRows];

  __attribute__((noinline)) void fill(const IntegerTile& tile, u64 first, u64 groups, float shift) noexcept {
    widen(tile.scales, first * kRows, groups * kRows, scales);
    widen(tile.offsets, first * kRows, groups * kRows, biases);
    const __m256 moved = _mm256_set1_ps(-shift);
    const bool bias = is_bias(tile.offsets.type);
    if (bias && shift == 0) return;
    for (u64 i = 0; i < groups * kRows; i += kHalf) {
      const __m256 scale = _mm256_load_ps(scales + i), offset = _mm256_load_ps(biases + i);
      const __m256 value =
          bias ? _mm256_fmadd_ps(scale, moved, offset) : _mm256_mul_ps(scale, _mm256_sub_ps(moved, offset));
      _mm256_store_ps(biases + i, value);
    }
  }
};

// --- products --------------------------------------------------------------------------------------------------------
enum class Step : std::uint8_t { half_run, run, runs };

// Asks for the lines of the low slice that are kAhead bytes after those of `step` inputs.
template <u32 kBits>
void fetch(const Run& run, u64 step) noexcept {
  const char* at = reinterpret_cast<const char*>(run.slices[0]) + kAhead;
  const u64 bytes = step * Slices<kBits>::low * kRows / 8;
  for (u64 i = 0; i < bytes; i += 64) _mm_prefetch(at + i, _MM_HINT_T0);
}

// Integer sums of one segment.
template <u32 kBits, bool kFlip, Step kStep, int kVectors>
inline __attribute__((always_inline)) void add_codes(const IntegerTile& tile, u64 col, u64 step,
                                                     const IntegerInput* inputs, Sums<kVectors>& sums) noexcept {
  const std::int8_t* at[kVectors];
  u64 run = col / kIntegerRun;
  if constexpr (kVectors == 1) fetch<kBits>(run_at<kBits>(tile, run), step);
  for (int v = 0; v < kVectors; ++v) at[v] = inputs[v].codes + run * kIntegerRun;
  if constexpr (kStep == Step::half_run) {
    if (col % kIntegerRun == 0) {
      add_fields<kBits, kFlip, true, 0, 4>(run_at<kBits>(tile, run), at, sums);
    } else {
      add_fields<kBits, kFlip, true, 4, 4>(run_at<kBits>(tile, run), at, sums);
    }
  } else {
    add_fields<kBits, kFlip, true, 0, 8>(run_at<kBits>(tile, run), at, sums);
    if constexpr (kStep == Step::run) return;
    while (++run * kIntegerRun < col + step) {
      for (int v = 0; v < kVectors; ++v) at[v] += kIntegerRun;
      add_fields<kBits, kFlip, false, 0, 8>(run_at<kBits>(tile, run), at, sums);
    }
  }
}

// Adds the segments [begin, end) of one group to the totals.
template <u32 kBits, bool kFlip, Step kStep, int kVectors>
inline __attribute__((always_inline)) void add_group(const IntegerTile& tile, u64 step, u64 begin, u64 end,
                                                     const float* scales, const float* biases,
                                                     const IntegerInput* inputs,
                                                     __m256 (&totals)[kVectors][2]) noexcept {
  for (u64 segment = begin; segment < end; ++segment) {
    Sums<kVectors> sums;
    add_codes<kBits, kFlip, kStep, kVectors>(tile, segment * step, step, inputs, sums);
#pragma GCC unroll 2
    for (u64 half = 0; half < 2; ++half) {
      const __m256 scale = _mm256_load_ps(scales + half * kHalf), bias = _mm256_load_ps(biases + half * kHalf);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const __m256 factor = _mm256_mul_ps(scale, _mm256_broadcast_ss(inputs[v].scales + segment));
        totals[v][half] = _mm256_fmadd_ps(bias, _mm256_broadcast_ss(inputs[v].sums + segment), totals[v][half]);
        totals[v][half] = _mm256_fmadd_ps(factor, _mm256_cvtepi32_ps(sums.of[v][half]), totals[v][half]);
      }
    }
  }
}

template <u32 kBits, bool kFlip, Step kStep, int kVectors>
void one_tile(const IntegerTile& tile, u64 step, const IntegerInput* inputs, float* out, u64 out_stride) noexcept {
  const u64 segments = tile.cols / step;
  const u64 per_group = tile.group_cols >= tile.cols ? segments : tile.group_cols / step;
  const u64 groups = (segments + per_group - 1) / per_group;
  const float shift = kFlip ? shift_of<kBits>(tile.is_signed) : 0;
  Widened parameters;
  __m256 totals[kVectors][2];
  for (auto& vector : totals) vector[0] = vector[1] = _mm256_setzero_ps();
  for (u64 first = 0; first < groups; first += kGroupsAtOnce) {
    const u64 count = groups - first < kGroupsAtOnce ? groups - first : kGroupsAtOnce;
    parameters.fill(tile, first, count, shift);
    __m256 sums[kVectors][2];  // live in registers between the calls of fill()
    for (int v = 0; v < kVectors; ++v) sums[v][0] = totals[v][0], sums[v][1] = totals[v][1];
    for (u64 group = 0; group < count; ++group) {
      const u64 begin = (first + group) * per_group;
      const u64 end = begin + per_group < segments ? begin + per_group : segments;
      add_group<kBits, kFlip, kStep, kVectors>(tile, step, begin, end, parameters.scales + group * kRows,
                                               parameters.biases + group * kRows, inputs, sums);
    }
    for (int v = 0; v < kVectors; ++v) totals[v][0] = sums[v][0], totals[v][1] = sums[v][1];
  }
  for (int v = 0; v < kVectors; ++v) {
    _mm256_storeu_ps(out + static_cast<u64>(v) * out_stride, totals[v][0]);
    _mm256_storeu_ps(out + static_cast<u64>(v) * out_stride + kHalf, totals[v][1]);
  }
}

constexpr u64 kVectorsAtOnce = 4;

template <u32 kBits, bool kFlip, Step kStep>
void tile_product(const IntegerTile& tile, u64 step, const IntegerInput* inputs, u64 vectors, float* out,
                  u64 out_stride) noexcept {
  u64 v = 0;
  for (; v + kVectorsAtOnce <= vectors; v += kVectorsAtOnce)
    one_tile<kBits, kFlip, kStep, kVectorsAtOnce>(tile, step, inputs + v, out + v * out_stride, out_stride);
  for (; v < vectors; ++v) one_tile<kBits, kFlip, kStep, 1>(tile, step, inputs + v, out + v * out_stride, out_stride);
}

using TileProduct = void (*)(const IntegerTile&, u64, const IntegerInput*, u64, float*, u64) noexcept;

template <u32 kBits, bool kFlip>
TileProduct product_of(u64 step) noexcept {
  if (step < kIntegerRun) return tile_product<kBits, kFlip, Step::half_run>;
  return step == kIntegerRun ? tile_product<kBits, kFlip, Step::run> : tile_product<kBits, kFlip, Step::runs>;
}
template <u32 kBits>
TileProduct product_of(bool flip, u64 step) noexcept {
  return flip ? product_of<kBits, true>(step) : product_of<kBits, false>(step);
}

void multiply(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput* inputs, u64 vectors,
              float* out, u64 out_stride) noexcept {
  using Choose = TileProduct (*)(bool, u64) noexcept;
  static constexpr Choose kWidths[9] = {nullptr,       product_of<1>, product_of<2>, product_of<3>, product_of<4>,
                                        product_of<5>, product_of<6>, product_of<7>, product_of<8>};
  const bool flip = (tiles[0].bits == 8) != tiles[0].is_signed;
  const TileProduct product = kWidths[tiles[0].bits](flip, layout.segment);
  for (int t = 0; t < tile_count; ++t)
    product(tiles[t], layout.segment, inputs, vectors, out + static_cast<u64>(t) * kRows, out_stride);
}

// --- inputs ----------------------------------------------------------------------------------------------------------
float greatest_of(__m256 v) noexcept {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Sixteen inputs as bytes, in their own order.
__m128i rounded(const float* x, __m256 inverse) noexcept {
  const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
  const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + kHalf), inverse));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
  return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

// How the bytes of 16 inputs are ordered; a run of width 1 spans 32 of them and is woven from two.
__m128i order_of(u32 low_bits) noexcept {
  if (low_bits == 8) return _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if (low_bits == 4) return _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  if (low_bits == 2) return _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
}

void round_input(const float* x, u64 cols, IntegerLayout layout, std::int8_t* codes, float* scales,
                 float* sums) noexcept {
  const __m128i order = order_of(layout.low_bits);
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  const __m256 limit = _mm256_castsi256_ps(_mm256_set1_epi32(0x7F7FFFFF));  // the greatest finite number
  for (u64 first = 0, segment = 0; first < cols; first += layout.segment, ++segment) {
    __m256 greatest = _mm256_setzero_ps(), finite = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (u64 i = first; i < first + layout.segment; i += kHalf) {
      const __m256 size = _mm256_and_ps(_mm256_loadu_ps(x + i), magnitude);
      finite = _mm256_and_ps(finite, _mm256_cmp_ps(size, limit, _CMP_LE_OQ));
      greatest = _mm256_max_ps(size, greatest);
    }
    const bool usable = _mm256_movemask_ps(finite) == 0xFF;
    const float most = greatest_of(greatest);
    float inverse = usable && most > 0 ? static_cast<float>(kInputLimit) / most : 0;
    if (!(inverse <= 0x1.fffffep127f)) inverse = 0;  // `most` is subnormal: all codes are zero
    __m128i total = _mm_setzero_si128();
    for (u64 i = first; i < first + layout.segment; i += kRows) {
      const __m128i bytes = usable ? rounded(x + i, _mm256_set1_ps(inverse)) : _mm_setzero_si128();
      // Sums of unsigned bytes: with 128 added to each.
      total = _mm_add_epi64(total, _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), _mm_setzero_si128()));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i), _mm_shuffle_epi8(bytes, order));
    }
    if (layout.low_bits == 1) {  // each field of four takes two bytes from either half of its run
      for (u64 i = first; i < first + layout.segment; i += kIntegerRun) {
        __m128i* const run = reinterpret_cast<__m128i*>(codes + i);
        const __m128i low = _mm_loadu_si128(run), high = _mm_loadu_si128(run + 1);
        _mm_storeu_si128(run, _mm_unpacklo_epi16(low, high));
        _mm_storeu_si128(run + 1, _mm_unpackhi_epi16(low, high));
      }
    }
    const std::int64_t biased = _mm_cvtsi128_si64(total) + _mm_extract_epi64(total, 1);
    scales[segment] = usable ? most / static_cast<float>(kInputLimit) : __builtin_nanf("");
    sums[segment] = scales[segment] * static_cast<float>(biased - 128 * static_cast<std::int64_t>(layout.segment));
  }
}

}  // namespace

const IntegerKernels& avx2_integer_kernels() noexcept {
  static constexpr IntegerKernels kernels = {round_input, multiply};
  return kernels;
}

}  // namespace ingot::kernels

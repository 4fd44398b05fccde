// AVX-512: the parameters of some segments of a tile, and what they make of integer sums.
// Includes nothing but the interfaces: every other symbol has internal linkage (house style section 5).
#include "kernels/avx512vnni_segments.h"

#include <immintrin.h>

#include <cstdint>

namespace ingot::kernels {
namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kRows = 16;

// --- widening --------------------------------------------------------------------------------------------------------
__m256i sixteen_halves(const void* elements, u64 group) noexcept {
  return _mm256_loadu_si256(static_cast<const __m256i*>(elements) + group);
}

// Stores what load(group) yields for the 16 outputs of some groups, times the steps if there are any.
template <class Load>
void store_groups(const TileParameters& parameters, u64 first, u64 groups, float* out, const Load& load) noexcept {
  const __m512 sign = _mm512_set1_ps(parameters.negated ? -parameters.factor : parameters.factor);
  for (u64 group = first, end = first + groups; group < end;) {
    u64 stop = end;
    __m512 step = sign;
    if (parameters.steps != nullptr) {
      const u64 index = group / parameters.groups_per_step;
      if ((index + 1) * parameters.groups_per_step < end) stop = (index + 1) * parameters.groups_per_step;
      step = _mm512_mul_ps(sign, _mm512_cvtph_ps(sixteen_halves(parameters.steps, index)));
    }
    for (; group < stop; ++group, out += kRows) _mm512_store_ps(out, _mm512_mul_ps(load(group), step));
  }
}

__m128i sixteen_bytes(const void* elements, u64 group) noexcept {
  return _mm_loadu_si128(static_cast<const __m128i*>(elements) + group);
}
// Powers of two: the bits are the exponent; the least one is subnormal, 255 is NaN.
__m512 widen_e8m0(__m128i bytes) noexcept {
  const __m512i codes = _mm512_cvtepu8_epi32(bytes), top_of_fraction = _mm512_set1_epi32(1 << 22);
  const __mmask16 ends =
      _mm512_cmpeq_epi32_mask(codes, _mm512_setzero_si512()) | _mm512_cmpeq_epi32_mask(codes, _mm512_set1_epi32(255));
  const __m512i powers = _mm512_slli_epi32(codes, 23);
  return _mm512_castsi512_ps(_mm512_mask_or_epi32(powers, ends, powers, top_of_fraction));
}
// Seven bits are those of a binary16 number, from bit 7 on, whose exponent is 8 greater.
__m512 widen_e4m3(__m128i bytes) noexcept {
  const __m256i codes = _mm256_cvtepu8_epi16(bytes), magnitude = _mm256_and_si256(codes, _mm256_set1_epi16(0x7F));
  const __m256i sign = _mm256_slli_epi16(_mm256_srli_epi16(codes, 7), 15);
  const __mmask16 no_number = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7F));
  const __m256i halves = _mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign);
  const __m256i numbers = _mm256_mask_mov_epi16(halves, no_number, _mm256_set1_epi16(0x7E00));
  return _mm512_mul_ps(_mm512_cvtph_ps(numbers), _mm512_set1_ps(256));
}

// Sixteen integers take two bytes for each of their bits: every lane gets the two bytes that its integer lies in.
void widen_integers(const TileParameters& parameters, u64 first, u64 groups, float* out) noexcept {
  const auto bits = static_cast<int>(parameters.bits);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i position = _mm512_mullo_epi32(lane, _mm512_set1_epi32(bits));
  const __m512i byte = _mm512_srli_epi32(position, 3);
  // 0x80 yields no byte. The byte after the last one is the first again, and masked away.
  const __m512i bytes =
      _mm512_or_si512(_mm512_or_si512(byte, _mm512_slli_epi32(_mm512_add_epi32(byte, _mm512_set1_epi32(1)), 8)),
                      _mm512_set1_epi32(static_cast<int>(0x80800000u)));
  const __m512i shifts = _mm512_and_si512(position, _mm512_set1_epi32(7)), mask = _mm512_set1_epi32((1 << bits) - 1);
  const __m512i sign = _mm512_set1_epi32(parameters.is_signed ? 1 << (bits - 1) : 0);
  const auto stored = static_cast<__mmask16>((1u << 2 * bits) - 1);
  store_groups(parameters, first, groups, out, [&](u64 group) {
    const auto* const at = static_cast<const std::uint8_t*>(parameters.elements) + group * 2 * parameters.bits;
    const __m512i all = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(stored, at));
    const __m512i codes = _mm512_and_si512(_mm512_srlv_epi32(_mm512_shuffle_epi8(all, bytes), shifts), mask);
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_xor_si512(codes, sign), sign));
  });
}

void widen_groups(const TileParameters& parameters, u64 first, u64 groups, float* out) noexcept {
  const void* const elements = parameters.elements;
  const auto store = [&](auto&& load) { store_groups(parameters, first, groups, out, load); };
  switch (parameters.type) {
    case ParameterType::constant: return store([&](u64) { return _mm512_set1_ps(parameters.constant); });
    case ParameterType::f32:
      return store([&](u64 group) { return _mm512_loadu_ps(static_cast<const float*>(elements) + group * kRows); });
    case ParameterType::f16: return store([&](u64 group) { return _mm512_cvtph_ps(sixteen_halves(elements, group)); });
    case ParameterType::bf16:
      return store([&](u64 group) {
        const __m512i words = _mm512_cvtepu16_epi32(sixteen_halves(elements, group));
        return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
      });
    case ParameterType::integer: return widen_integers(parameters, first, groups, out);
    case ParameterType::e8m0: return store([&](u64 group) { return widen_e8m0(sixteen_bytes(elements, group)); });
    case ParameterType::e4m3: return store([&](u64 group) { return widen_e4m3(sixteen_bytes(elements, group)); });
  }
}

void widen(const IntegerTile& tile, const SegmentBlock& block, float shift, BlockParameters& out) noexcept {
  const u64 first = block.first / block.per_group;
  const u64 groups = (block.first + block.count - 1) / block.per_group + 1 - first;
  widen_groups(tile.scales, first, groups, out.scales);
  out.zero = shift;
  if (tile.offset == OffsetKind::bias) {
    widen_groups(tile.offsets, first, groups, out.offsets);
    out.beside = shift == 0 ? Beside::biases : Beside::shifted_biases;
  } else if (tile.offset == OffsetKind::zero_point && tile.offsets.type != ParameterType::constant) {
    widen_groups(tile.offsets, first, groups, out.offsets);
    out.beside = Beside::zeros;
    const __m512 moved = _mm512_set1_ps(shift);
    for (u64 i = 0; i < groups * kRows; i += kRows)
      _mm512_store_ps(out.offsets + i, _mm512_add_ps(_mm512_load_ps(out.offsets + i), moved));
  } else {
    if (tile.offset == OffsetKind::zero_point) out.zero += tile.offsets.constant;
    out.beside = out.zero == 0 ? Beside::nothing : Beside::one_zero;
  }
}

// --- applying --------------------------------------------------------------------------------------------------------
// The total of sixteen outputs with what one segment of an input adds to it. `zeros`: of the outputs or the one of all.
template <Beside kBeside>
__m512 with_segment(__m512 total, __m512i sums, __m512 scales, __m512 biases, __m512 zeros, float input_scale,
                    float input_sum) noexcept {
  const __m512 codes = _mm512_cvtepi32_ps(sums), scale = _mm512_set1_ps(input_scale), sum = _mm512_set1_ps(input_sum);
  if constexpr (kBeside == Beside::biases || kBeside == Beside::shifted_biases)
    total = _mm512_fmadd_ps(biases, sum, total);
  const __m512 value = kBeside == Beside::nothing || kBeside == Beside::biases
                           ? _mm512_mul_ps(codes, scale)
                           : _mm512_fmsub_ps(codes, scale, _mm512_mul_ps(zeros, sum));
  return _mm512_fmadd_ps(scales, value, total);
}

constexpr int kVectorsAtOnce = 4;

template <Beside kBeside, int kVectors>
void apply(const BlockParameters& parameters, const SegmentBlock& block, const IntegerInput* inputs, BlockSums sums,
           float* totals, u64 stride) noexcept {
  __m512 total[kVectors];
#pragma GCC unroll 4
  for (u64 v = 0; v < kVectors; ++v) total[v] = _mm512_loadu_ps(totals + v * stride);
  const __m512 zero = _mm512_set1_ps(parameters.zero);
  const u64 first_group = block.first / block.per_group, end = block.first + block.count;
  for (u64 segment = block.first, group = first_group; segment < end; ++group) {
    const u64 place = (group - first_group) * kRows;
    const __m512 scales = _mm512_load_ps(parameters.scales + place);
    const __m512 offsets = _mm512_load_ps(parameters.offsets + place);
    const u64 stop = (group + 1) * block.per_group < end ? (group + 1) * block.per_group : end;
    for (; segment < stop; ++segment) {
      const std::int32_t(*const of)[kRows] = sums.of + (segment - block.first) * sums.stride;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        total[v] = with_segment<kBeside>(total[v], _mm512_load_si512(of[v]), scales, offsets,
                                         kBeside == Beside::zeros ? offsets : zero, inputs[v].scales[segment],
                                         inputs[v].sums[segment]);
      }
    }
  }
#pragma GCC unroll 4
  for (u64 v = 0; v < kVectors; ++v) _mm512_storeu_ps(totals + v * stride, total[v]);
}

template <Beside kBeside>
void apply_to_all(const BlockParameters& parameters, const SegmentBlock& block, const IntegerInput* inputs, u64 vectors,
                  BlockSums sums, float* totals, u64 stride) noexcept {
  u64 v = 0;
  for (; v + kVectorsAtOnce <= vectors; v += kVectorsAtOnce) {
    apply<kBeside, kVectorsAtOnce>(parameters, block, inputs + v, {sums.of + v, sums.stride}, totals + v * stride,
                                   stride);
  }
  for (; v < vectors; ++v)
    apply<kBeside, 1>(parameters, block, inputs + v, {sums.of + v, sums.stride}, totals + v * stride, stride);
}

void add(const BlockParameters& parameters, const SegmentBlock& block, const IntegerInput* inputs, u64 vectors,
         BlockSums sums, float* totals, u64 totals_stride) noexcept {
  static constexpr decltype(&apply_to_all<Beside::nothing>) kApply[] = {
      apply_to_all<Beside::nothing>, apply_to_all<Beside::one_zero>, apply_to_all<Beside::zeros>,
      apply_to_all<Beside::biases>, apply_to_all<Beside::shifted_biases>};
  kApply[static_cast<int>(parameters.beside)](parameters, block, inputs, vectors, sums, totals, totals_stride);
}

}  // namespace

const SegmentKernels& avx512vnni_segments() noexcept {
  static constexpr SegmentKernels kernels = {widen, add};
  return kernels;
}

}  // namespace ingot::kernels

// AVX2: the parameters of some groups of a tile as binary32.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_byte_floats.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

// Groups [first, first + groups), 16 outputs each; `out` is aligned to 32 bytes.
void avx2_widen_parameters(const TileParameters& parameters, std::uint64_t first, std::uint64_t groups,
                           float* out) noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kRows = 16, kHalf = 8;

// How eight integers of 4 to 8 bits come out of the eight bytes that begin `skip` bytes before the first of them.
struct Lanes {
  __m256i bytes, shifts, mask, sign;
};
Lanes lanes_of(u32 bits, bool is_signed, u32 skip) noexcept {
  const __m256i position =
      _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(static_cast<int>(bits)));
  const __m256i byte = _mm256_add_epi32(_mm256_srli_epi32(position, 3), _mm256_set1_epi32(static_cast<int>(skip)));
  const __m256i next = _mm256_add_epi32(byte, _mm256_set1_epi32(1));
  Lanes lanes;
  lanes.bytes = _mm256_or_si256(_mm256_or_si256(byte, _mm256_slli_epi32(next, 8)),
                                _mm256_set1_epi32(static_cast<int>(0x80800000u)));
  lanes.shifts = _mm256_and_si256(position, _mm256_set1_epi32(7));
  lanes.mask = _mm256_set1_epi32((1 << bits) - 1);
  lanes.sign = _mm256_set1_epi32(is_signed ? 1 << (bits - 1) : 0);
  return lanes;
}
__m256 eight_integers(const std::uint8_t* at, const Lanes& lanes) noexcept {
  const __m256i both = _mm256_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  const __m256i codes =
      _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(both, lanes.bytes), lanes.shifts), lanes.mask);
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_xor_si256(codes, lanes.sign), lanes.sign));
}
// The same for integers of any width, one after the other.
float one_integer(const std::uint8_t* stream, u32 bits, bool is_signed, u64 index) noexcept {
  const u64 bit = index * bits;
  u32 window = stream[bit / 8];
  if (bit % 8 + bits > 8) window |= static_cast<u32>(stream[bit / 8 + 1]) << 8;
  const int code = static_cast<int>(window >> bit % 8 & ((1u << bits) - 1)), sign = is_signed ? 1 << (bits - 1) : 0;
  return static_cast<float>((code ^ sign) - sign);
}

__m128i eight_halves(const void* elements, u64 index) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const std::uint16_t*>(elements) + index));
}

struct Sixteen {
  __m256 low, high;
};

// Stores what load(group) yields for the 16 outputs of some groups, times the steps if there are any.
template <class Load>
void store_groups(const TileParameters& parameters, u64 first, u64 groups, float* out, const Load& load) noexcept {
  const __m256 sign = _mm256_set1_ps(parameters.negated ? -parameters.factor : parameters.factor);
  for (u64 group = first, end = first + groups; group < end;) {
    u64 stop = end;
    Sixteen step = {sign, sign};
    if (parameters.steps != nullptr) {
      const u64 index = group / parameters.groups_per_step;
      if ((index + 1) * parameters.groups_per_step < end) stop = (index + 1) * parameters.groups_per_step;
      step.low = _mm256_mul_ps(sign, _mm256_cvtph_ps(eight_halves(parameters.steps, index * kRows)));
      step.high = _mm256_mul_ps(sign, _mm256_cvtph_ps(eight_halves(parameters.steps, index * kRows + kHalf)));
    }
    for (; group < stop; ++group, out += kRows) {
      const Sixteen elements = load(group);
      _mm256_store_ps(out, _mm256_mul_ps(elements.low, step.low));
      _mm256_store_ps(out + kHalf, _mm256_mul_ps(elements.high, step.high));
    }
  }
}

void widen_integers(const TileParameters& parameters, u64 first, u64 groups, float* out) noexcept {
  const auto* stream = static_cast<const std::uint8_t*>(parameters.elements);
  const u32 bits = parameters.bits;
  if (bits < 4) {  // sixteen are less than eight bytes
    return store_groups(parameters, first, groups, out, [&](u64 group) {
      alignas(32) float values[kRows];
      for (u64 i = 0; i < kRows; ++i) values[i] = one_integer(stream, bits, parameters.is_signed, group * kRows + i);
      return Sixteen{_mm256_load_ps(values), _mm256_load_ps(values + kHalf)};
    });
  }
  if (bits == 8) {
    const auto store = [&](auto&& widened) {
      store_groups(parameters, first, groups, out, [&](u64 group) {
        const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(stream) + group);
        return Sixteen{_mm256_cvtepi32_ps(widened(all)), _mm256_cvtepi32_ps(widened(_mm_srli_si128(all, 8)))};
      });
    };
    if (parameters.is_signed) return store([](__m128i bytes) { return _mm256_cvtepi8_epi32(bytes); });
    return store([](__m128i bytes) { return _mm256_cvtepu8_epi32(bytes); });
  }
  const u32 skip = 8 - bits;  // the last eight bytes of sixteen integers begin that much before the ninth
  const Lanes low = lanes_of(bits, parameters.is_signed, 0), high = lanes_of(bits, parameters.is_signed, skip);
  store_groups(parameters, first, groups, out, [&](u64 group) {
    const std::uint8_t* const at = stream + group * 2 * bits;
    return Sixteen{eight_integers(at, low), eight_integers(at + bits - skip, high)};
  });
}

}  // namespace

void avx2_widen_parameters(const TileParameters& parameters, std::uint64_t first, std::uint64_t groups,
                           float* out) noexcept {
  const void* const elements = parameters.elements;
  const auto store = [&](auto&& eight) {
    store_groups(parameters, first, groups, out, [&](u64 group) {
      return Sixteen{eight(group * kRows), eight(group * kRows + kHalf)};
    });
  };
  switch (parameters.type) {
    case ParameterType::constant: return store([&](u64) { return _mm256_set1_ps(parameters.constant); });
    case ParameterType::f32:
      return store([&](u64 i) { return _mm256_loadu_ps(static_cast<const float*>(elements) + i); });
    case ParameterType::f16: return store([&](u64 i) { return _mm256_cvtph_ps(eight_halves(elements, i)); });
    case ParameterType::bf16:
      return store([&](u64 i) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight_halves(elements, i)), 16));
      });
    case ParameterType::integer: return widen_integers(parameters, first, groups, out);
    case ParameterType::e8m0: return store([&](u64 i) { return eight_e8m0(eight_bytes(elements, i)); });
    case ParameterType::e4m3: return store([&](u64 i) { return eight_e4m3(eight_bytes(elements, i)); });
  }
}

}  // namespace ingot::kernels

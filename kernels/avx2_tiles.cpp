// AVX2 + FMA: affine tiles, exactly decoded. A tile's 16 outputs are two registers of 8 lanes, one output per lane, so
// a dot product needs no horizontal sums.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace ingot::kernels {

const TileKernels& avx2_tile_kernels() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kLanes = 8;
constexpr u64 kRows = 16;

__m256 loadu(const float* at) noexcept { return _mm256_loadu_ps(at); }
__m256 broadcast(const float* at) noexcept { return _mm256_broadcast_ss(at); }
__m256i load_words(const u32* at) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }

// Slice widths of a kBits code: 3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1.
template <u32 kBits>
struct Slices {
  static constexpr u32 low = kBits == 8 ? 8 : kBits >= 4 ? 4 : kBits >= 2 ? 2 : 1;
  static constexpr u32 middle = kBits == 6 || kBits == 7 ? 2 : kBits == 5 || kBits == 3 ? 1 : 0;
  static constexpr u32 top = kBits == 7 ? 1 : 0;
};

// Bit position of input `input` (counted inside one word) in a higher slice of p bits; spec/planes.md section 4.3.
template <u32 kLow, u32 p>
constexpr u32 high_shift(u32 input) noexcept {
  constexpr u32 kPerByte = 8 / kLow;
  const u32 run = input / (4 * kPerByte), within = input % (4 * kPerByte);
  return 8 * (within / kPerByte) + p * (run * kPerByte + within % kPerByte);
}

struct TwoHalves {
  __m256 low, high;  // outputs 0..7 and 8..15
};

__m256i shifted_field(const u32* word, u32 shift, u32 width) noexcept {
  return _mm256_and_si256(_mm256_srli_epi32(load_words(word), static_cast<int>(shift)),
                          _mm256_set1_epi32((1 << width) - 1));
}

// Codes of input `col` for 8 outputs, `half` = 0 or 8. Unrolled loops turn every shift into an immediate.
template <u32 kBits, bool kSigned>
__m256i codes_at(const AffineTile& tile, u64 col, u64 half) noexcept {
  using S = Slices<kBits>;
  constexpr u32 kPerLow = 32 / S::low;
  const u32* low = tile.slices[0] + col / kPerLow * kRows + half;
  const u32 low_shift = S::low * static_cast<u32>(col % kPerLow);
  if constexpr (kSigned && S::middle == 0) {
    const __m256i left = _mm256_slli_epi32(load_words(low), static_cast<int>(32 - S::low - low_shift));
    return _mm256_srai_epi32(left, 32 - S::low);
  } else {
    __m256i code = shifted_field(low, low_shift, S::low);
    if constexpr (S::middle != 0) {
      constexpr u32 kPerWord = 32 / S::middle;
      const u32 shift = high_shift<S::low, S::middle>(static_cast<u32>(col % kPerWord));
      const __m256i field = shifted_field(tile.slices[1] + col / kPerWord * kRows + half, shift, S::middle);
      code = _mm256_or_si256(code, _mm256_slli_epi32(field, S::low));
    }
    if constexpr (S::top != 0) {
      const u32 shift = high_shift<S::low, S::top>(static_cast<u32>(col % 32));
      const __m256i field = shifted_field(tile.slices[2] + col / 32 * kRows + half, shift, S::top);
      code = _mm256_or_si256(code, _mm256_slli_epi32(field, S::low + S::middle));
    }
    if constexpr (kSigned) {
      const __m256i sign = _mm256_set1_epi32(1 << (kBits - 1));
      code = _mm256_sub_epi32(_mm256_xor_si256(code, sign), sign);
    }
    return code;
  }
}

template <bool kSubtract>
__m256 value(__m256i codes, __m256 scale, __m256 offset) noexcept {
  const __m256 code = _mm256_cvtepi32_ps(codes);
  if constexpr (kSubtract) {
    return _mm256_mul_ps(scale, _mm256_sub_ps(code, offset));
  } else {
    return _mm256_fmadd_ps(scale, code, offset);
  }
}

// Where the values go: into sums with the input vector, or into a panel.
struct DotSink {
  const float* x;
  __m256 sums[2][2];  // (column parity, half)
  void take(u64 col, u64 parity, __m256 low, __m256 high) noexcept {
    const __m256 input = broadcast(x + col);
    sums[parity][0] = _mm256_fmadd_ps(low, input, sums[parity][0]);
    sums[parity][1] = _mm256_fmadd_ps(high, input, sums[parity][1]);
  }
};
struct PanelSink {
  float* panel;
  void take(u64 col, u64, __m256 low, __m256 high) noexcept {
    _mm256_storeu_ps(panel + col * kRows, low);
    _mm256_storeu_ps(panel + col * kRows + kLanes, high);
  }
};

template <u32 kBits, bool kSigned, bool kSubtract, class Sink>
void walk(const AffineTile& tile, Sink& sink) noexcept {
  const bool one_group = tile.group_cols >= tile.cols;
  u64 col = 0;
  if (one_group || tile.group_cols % 16 == 0) {
    for (; col + 16 <= tile.cols; col += 16) {
      const u64 parameter = one_group ? 0 : col / tile.group_cols * kRows;
      const __m256 scale_low = loadu(tile.scales + parameter), scale_high = loadu(tile.scales + parameter + kLanes);
      const __m256 offset_low = loadu(tile.offsets + parameter), offset_high = loadu(tile.offsets + parameter + kLanes);
      AffineTile here =
          tile;  // pointers at this run of 16 inputs, or at the 32 that hold it: positions inside become constants
      constexpr u64 kRun = 32;
      const u64 run = col / kRun;
      here.slices[0] += run * Slices<kBits>::low * kRows;
      if constexpr (Slices<kBits>::middle != 0) here.slices[1] += run * Slices<kBits>::middle * kRows;
      if constexpr (Slices<kBits>::top != 0) here.slices[2] += run * Slices<kBits>::top * kRows;
      if (col % kRun == 0) {
#pragma GCC unroll 16
        for (u64 i = 0; i < 16; ++i) {
          sink.take(col + i, i % 2, value<kSubtract>(codes_at<kBits, kSigned>(here, i, 0), scale_low, offset_low),
                    value<kSubtract>(codes_at<kBits, kSigned>(here, i, kLanes), scale_high, offset_high));
        }
      } else {
#pragma GCC unroll 16
        for (u64 i = 16; i < 32; ++i) {
          sink.take(col + i - 16, i % 2, value<kSubtract>(codes_at<kBits, kSigned>(here, i, 0), scale_low, offset_low),
                    value<kSubtract>(codes_at<kBits, kSigned>(here, i, kLanes), scale_high, offset_high));
        }
      }
    }
  }
  for (; col < tile.cols; ++col) {
    const u64 parameter = col / tile.group_cols * kRows;
    const TwoHalves scale = {loadu(tile.scales + parameter), loadu(tile.scales + parameter + kLanes)};
    const TwoHalves offset = {loadu(tile.offsets + parameter), loadu(tile.offsets + parameter + kLanes)};
    sink.take(col, col % 2, value<kSubtract>(codes_at<kBits, kSigned>(tile, col, 0), scale.low, offset.low),
              value<kSubtract>(codes_at<kBits, kSigned>(tile, col, kLanes), scale.high, offset.high));
  }
}

template <u32 kBits, class Sink>
void walk_bits(const AffineTile& tile, Sink& sink) noexcept {
  if (tile.is_signed) {
    tile.subtract_offset ? walk<kBits, true, true>(tile, sink) : walk<kBits, true, false>(tile, sink);
  } else {
    tile.subtract_offset ? walk<kBits, false, true>(tile, sink) : walk<kBits, false, false>(tile, sink);
  }
}

template <class Sink>
void walk_any(const AffineTile& tile, Sink& sink) noexcept {
  using Walk = void (*)(const AffineTile&, Sink&) noexcept;
  static constexpr Walk kWalks[9] = {nullptr,
                                     walk_bits<1, Sink>,
                                     walk_bits<2, Sink>,
                                     walk_bits<3, Sink>,
                                     walk_bits<4, Sink>,
                                     walk_bits<5, Sink>,
                                     walk_bits<6, Sink>,
                                     walk_bits<7, Sink>,
                                     walk_bits<8, Sink>};
  kWalks[tile.bits](tile, sink);
}

void tile_dot(const AffineTile& tile, const float* x, float* out) noexcept {
  const __m256 zero = _mm256_setzero_ps();
  DotSink sink = {x, {{zero, zero}, {zero, zero}}};
  walk_any(tile, sink);
  _mm256_storeu_ps(out, _mm256_add_ps(sink.sums[0][0], sink.sums[1][0]));
  _mm256_storeu_ps(out + kLanes, _mm256_add_ps(sink.sums[0][1], sink.sums[1][1]));
}

void tile_decode(const AffineTile& tile, float* panel) noexcept {
  PanelSink sink = {panel};
  walk_any(tile, sink);
}

}  // namespace

const TileKernels& avx2_tile_kernels() noexcept {
  static const TileKernels kernels = {tile_dot, tile_decode};
  return kernels;
}

}  // namespace ingot::kernels

// AMX bfloat16: rows of bfloat16 numbers times many vectors. A row of weights is a row of an A tile as it lies in
// memory. A number of a vector is the sum of three bfloat16 ones, exactly, which are the B tiles of three products:
// sums are those of binary32 numbers, but that subnormal numbers count as zero, and that an infinite weight may give
// NaN. Everything else is left to AVX-512. Includes nothing but the interfaces: every other symbol has internal linkage
// (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/amx_tiles.h"
#include "kernels/float_panels.h"

namespace ingot::kernels {

const FloatKernels& amx_float_kernels() noexcept;
const FloatKernels& avx512vnni_float_kernels() noexcept;

namespace {

constexpr u64 kVectors = 16;  // of a group as avx512vnni_floats.cpp packs them, columns of B and C
constexpr u64 kStep = 32;     // columns of the matrix in one product of tiles
constexpr u64 kSteps = 8;     // of a block, so that the parts of its inputs stay in the first-level cache
constexpr u64 kRowTiles = kMaxFloatRows / kRows;  // one C register each

// Parts of the inputs of a block: a row holds a pair of columns of all vectors.
struct alignas(64) Parts {
  std::uint32_t of[3][kSteps][kStep / 2][kVectors];
};
// What the products of a group add up to.
struct alignas(64) Sums {
  float of[kRowTiles][kRows][kVectors];
};
// Of rows and columns that are no whole tile.
struct alignas(64) PaddedRows {
  std::uint16_t of[kRows][kStep];
};

// The upper halves of binary32 numbers, side by side in a word: those of `even` below those of `odd`.
__m512i paired(__m512 even, __m512 odd) noexcept {
  const __m512i upper = _mm512_and_si512(_mm512_castps_si512(odd), _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)));
  return _mm512_or_si512(upper, _mm512_srli_epi32(_mm512_castps_si512(even), 16));
}

// A number cut after its first eight bits, and what was cut off: nothing of what is not finite. NaN stays one.
struct Cut {
  __m512 first, rest;
};
Cut cut(__m512 number) noexcept {
  const __m512i bits = _mm512_castps_si512(number);
  const __mmask16 nan = _mm512_cmp_ps_mask(number, number, _CMP_UNORD_Q);
  const __m512i kept = _mm512_and_si512(_mm512_mask_or_epi32(bits, nan, bits, _mm512_set1_epi32(1 << 22)),
                                        _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)));
  const __m512 first = _mm512_castsi512_ps(kept);
  const __mmask16 finite = _mm512_cmp_ps_mask(_mm512_abs_ps(number), _mm512_set1_ps(0x1.fffffep127f), _CMP_LE_OQ);
  return {first, _mm512_maskz_sub_ps(finite, number, first)};
}

// `cols` columns of a group of `width` vectors, column by column. Vectors and columns that are none become zeros.
void fill_parts(const float* group, u64 width, u64 cols, Parts& parts) noexcept {
  const auto stored = static_cast<__mmask16>((1u << width) - 1);
  for (u64 pair = 0; pair < (cols + kStep - 1) / kStep * kStep / 2; ++pair) {
    const u64 col = 2 * pair;
    const __mmask16 is_even = col < cols ? stored : 0, is_odd = col + 1 < cols ? stored : 0;
    __m512 even = _mm512_maskz_loadu_ps(is_even, group + (is_even != 0 ? col * width : 0));
    __m512 odd = _mm512_maskz_loadu_ps(is_odd, group + (is_odd != 0 ? (col + 1) * width : 0));
    for (auto& part : parts.of) {
      const Cut of_even = cut(even), of_odd = cut(odd);
      _mm512_store_si512(part[pair / (kStep / 2)][pair % (kStep / 2)], paired(of_even.first, of_odd.first));
      even = of_even.rest;
      odd = of_odd.rest;
    }
  }
}

// Some columns of all rows of a call, for A.
class Weights {
 public:
  explicit Weights(const FloatRows& rows) noexcept
      : elements_(static_cast<const std::uint16_t*>(rows.elements)), stride_(rows.stride), count_(rows.count) {}

  // Columns [first, first + cols) of the rows of a tile, at most kStep: where they lie, or zeros around them.
  struct Place {
    const std::uint16_t* at;
    u64 stride_bytes;
  };
  [[nodiscard]] Place tile(u64 tile, u64 first, u64 cols, PaddedRows& padded) const noexcept {
    const u64 begin = tile * kRows < count_ ? tile * kRows : count_;
    const u64 count = count_ - begin < kRows ? count_ - begin : kRows;
    const std::uint16_t* const at = elements_ + begin * stride_ + first;
    if (count == kRows && cols == kStep) return {at, stride_ * sizeof *at};
    for (u64 r = 0; r < kRows; ++r) {
      for (u64 c = 0; c < kStep; ++c) padded.of[r][c] = r < count && c < cols ? at[r * stride_ + c] : 0;
    }
    return {padded.of[0], sizeof padded.of[0]};
  }

 private:
  const std::uint16_t* elements_;
  u64 stride_, count_;
};

// Products of all rows with one group of vectors.
class GroupProduct {
 public:
  GroupProduct(const Weights& weights, u64 cols) noexcept : weights_(weights), cols_(cols) {}

  void run(const float* group, u64 width) noexcept {
    for (auto& tile : sums_.of) {
      for (auto& row : tile) _mm512_store_ps(row, _mm512_setzero_ps());
    }
    for (u64 first = 0; first < cols_; first += kSteps * kStep) {
      const u64 cols = cols_ - first < kSteps * kStep ? cols_ - first : kSteps * kStep;
      fill_parts(group + first * width, width, cols, parts_);
      add_block(first, cols);
    }
  }
  void move(u64 width, u64 rows, float* out, u64 out_stride) const noexcept {
    for (u64 t = 0; t < width; ++t) {
      for (u64 r = 0; r < rows; ++r) out[t * out_stride + r] = sums_.of[r / kRows][r % kRows][t];
    }
  }

 private:
  // The sums of all rows stay in their registers. Those of a tile wait for one another, so that of three products one
  // after the other there are four in the machine.
  void add_block(u64 first, u64 cols) noexcept {
    used_by_tiles(this);
    _tile_loadd(0, sums_.of[0], kTileLine);
    _tile_loadd(1, sums_.of[1], kTileLine);
    _tile_loadd(2, sums_.of[2], kTileLine);
    _tile_loadd(3, sums_.of[3], kTileLine);
    for (u64 step = 0; step * kStep < cols; ++step) {
      const u64 at = step * kStep, some = cols - at < kStep ? cols - at : kStep;
      Weights::Place rows[kRowTiles];
      for (u64 tile = 0; tile < kRowTiles; ++tile) rows[tile] = weights_.tile(tile, first + at, some, padded_[tile]);
      used_by_tiles(rows);
      _tile_loadd(5, parts_.of[0][step], kTileLine);
      _tile_loadd(6, parts_.of[1][step], kTileLine);
      _tile_loadd(7, parts_.of[2][step], kTileLine);
      _tile_loadd(4, rows[0].at, rows[0].stride_bytes);
      _tile_dpbf16ps(0, 4, 7);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(0, 4, 5);
      _tile_loadd(4, rows[1].at, rows[1].stride_bytes);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(1, 4, 6);
      _tile_dpbf16ps(1, 4, 5);
      _tile_loadd(4, rows[2].at, rows[2].stride_bytes);
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(2, 4, 6);
      _tile_dpbf16ps(2, 4, 5);
      _tile_loadd(4, rows[3].at, rows[3].stride_bytes);
      _tile_dpbf16ps(3, 4, 7);
      _tile_dpbf16ps(3, 4, 6);
      _tile_dpbf16ps(3, 4, 5);
      used_by_tiles(rows);
    }
    _tile_stored(0, sums_.of[0], kTileLine);
    _tile_stored(1, sums_.of[1], kTileLine);
    _tile_stored(2, sums_.of[2], kTileLine);
    _tile_stored(3, sums_.of[3], kTileLine);
    used_by_tiles(this);
  }

  const Weights& weights_;
  u64 cols_;
  Parts parts_;
  Sums sums_;
  PaddedRows padded_[kRowTiles];
};

void multiply_bf16(const FloatRows& rows, const float* packed, u64 vectors, u64 cols, float* out,
                   u64 out_stride) noexcept {
  const TileShapes shapes(kTileLine);
  const Weights weights(rows);
  const Groups<kVectors> groups(vectors);
  GroupProduct product(weights, cols);
  for (u64 g = 0; g < groups.count; ++g) {
    const u64 first = groups.first_of(g), width = groups.width_of(g);
    product.run(packed + first * cols, width);
    product.move(width, rows.count, out + first * out_stride, out_stride);
  }
}

void multiply(const FloatRows& rows, const float* packed, u64 vectors, u64 cols, float* out, u64 out_stride) noexcept {
  const auto product = rows.type == FloatType::bf16 ? multiply_bf16 : avx512vnni_float_kernels().multiply_rows;
  product(rows, packed, vectors, cols, out, out_stride);
}

}  // namespace

const FloatKernels& amx_float_kernels() noexcept {
  static const FloatKernels kernels = {avx512vnni_float_kernels().pack, multiply, avx512vnni_float_kernels().panel_dot};
  return kernels;
}

}  // namespace ingot::kernels

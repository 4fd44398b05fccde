// AVX2: products of one input with tiles whose scales are bytes times binary16 steps (K-quants). The bytes are applied
// to the integers: vpmaddwd, which adds neighbouring sums anyway, multiplies them by the scale of their output at the
// same time. What is left for each group is one conversion and one multiply-add with the scale of the input; a step is
// applied once for all groups that share it. Zero points come off the 16-bit sums, where any overflow on the way
// cancels out. With many inputs the widened scales of avx2_integer.cpp serve better.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include "kernels/avx2_nested.h"

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_codes.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

namespace {

constexpr u64 kGroupsAtOnce = 16;
constexpr int kTilesAtOnce = 2;

// Fields whose products are added up in 16 bits before they meet their scale.
constexpr u32 fields_of_batch(u32 bits, u64 group) noexcept { return bits <= 4 && group == kIntegerRun ? 8 : 4; }

// Groups that share one step of scales, and one of minimums.
struct Block {
  u64 first, count;
};

// What zero points take off the batches of a block, as two 16-bit sums each.
using Moved = std::int32_t[kGroupsAtOnce * 2];

// `batches` batches of kFields fields from `codes` on.
template <u32 kFields>
void fill_moved(const std::int8_t* codes, u64 batches, std::int8_t zero, std::int32_t* out) noexcept {
  const __m128i zeros = _mm_set1_epi8(zero);
  for (u64 i = 0; i < batches; ++i, codes += kFields * 4) {
    __m128i sums = _mm_maddubs_epi16(zeros, _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    if constexpr (kFields == 8) {
      const __m128i rest = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes) + 1);
      sums = _mm_add_epi16(sums, _mm_maddubs_epi16(zeros, rest));
    }
    sums = _mm_add_epi16(sums, _mm_shuffle_epi32(sums, 0x4E));
    out[i] = _mm_cvtsi128_si32(_mm_add_epi16(sums, _mm_shuffle_epi32(sums, 0xB1)));
  }
}

// Sixteen bytes as pairs of equal 16-bit numbers, those of eight outputs at a time.
struct Widening {
  __m256i places[2];
  __m128i shift;

  explicit Widening(bool is_signed) noexcept {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i pairs = _mm256_mullo_epi32(lanes, _mm256_set1_epi32(0x00010001));
    // A signed byte comes into the upper half of its number and is shifted down.
    places[0] = is_signed ? _mm256_or_si256(_mm256_slli_epi32(pairs, 8), _mm256_set1_epi32(0x00800080))
                          : _mm256_or_si256(pairs, _mm256_set1_epi32(static_cast<int>(0x80008000u)));
    places[1] = _mm256_add_epi32(places[0], _mm256_set1_epi32(is_signed ? 0x08000800 : 0x00080008));
    shift = _mm_cvtsi32_si128(is_signed ? 8 : 0);
  }
  [[nodiscard]] __m256i of(const void* bytes, u64 group, int half) const noexcept {
    const __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(bytes) + group));
    return _mm256_sra_epi16(_mm256_shuffle_epi8(all, places[half]), shift);
  }
};

// What is the same for all blocks of a product.
struct Plan {
  Widening widening;
  u64 per_step;
  std::int8_t zero;  // of all codes
  bool has_minimums;
};

// Eight numbers of each of kTiles tiles, by (tile, half of the outputs).
template <int kTiles>
using Integers = __m256i[kTiles][2];

// The sums of kFields fields from kFirst on.
template <u32 kBits, u32 kFirst, u32 kFields, int kTiles>
inline __attribute__((always_inline)) void add_up(const Run* runs, const std::int8_t* codes,
                                                  Integers<kTiles>& batch) noexcept {
#pragma GCC unroll 8
  for (u32 n = kFirst; n < kFirst + kFields; ++n) {
    const __m256i four = four_inputs(codes + 4 * n);
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i pairs = _mm256_maddubs_epi16(field<kBits, false>(runs[t], n, static_cast<u64>(h) * kHalf), four);
        batch[t][h] = n == kFirst ? pairs : _mm256_add_epi16(batch[t][h], pairs);
        keep_order(batch[t][h]);
      }
    }
  }
}

// The batch times its scales, added to the products or their start.
template <bool kStart, int kTiles>
inline __attribute__((always_inline)) void apply_scales(const Integers<kTiles>& batch, std::int32_t moved,
                                                        const Integers<kTiles>& scales,
                                                        Integers<kTiles>& products) noexcept {
  const __m256i off = _mm256_set1_epi32(moved);
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256i product = _mm256_madd_epi16(_mm256_sub_epi16(batch[t][h], off), scales[t][h]);
      products[t][h] = kStart ? product : _mm256_add_epi32(products[t][h], product);
    }
  }
}

// The integers of one group: sums of codes times the scales' bytes. moved[0] is of its first batch.
template <u32 kBits, u32 kGroup, int kTiles>
inline __attribute__((always_inline)) void group_products(const Plan& plan, const IntegerTile* tiles, u64 group,
                                                          const std::int8_t* codes, const std::int32_t* moved,
                                                          Integers<kTiles>& products) noexcept {
  constexpr u32 kFields = fields_of_batch(kBits, kGroup);
  const u64 run = group * kGroup / kIntegerRun;
  const std::int8_t* const inputs = codes + run * kIntegerRun;
  Run runs[kTiles];
  Integers<kTiles> batch, scales;
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) {
    runs[t] = run_at<kBits>(tiles[t], run);
    for (int h = 0; h < 2; ++h) scales[t][h] = plan.widening.of(tiles[t].scales.elements, group, h);
  }
  if (kGroup == kIntegerRun || group % 2 == 0) {
    add_up<kBits, 0, kFields, kTiles>(runs, inputs, batch);
  } else {
    add_up<kBits, 4, 4, kTiles>(runs, inputs, batch);
  }
  apply_scales<true, kTiles>(batch, moved[0], scales, products);
  if constexpr (kGroup == kIntegerRun && kFields == 4) {
    add_up<kBits, 4, 4, kTiles>(runs, inputs, batch);
    apply_scales<false, kTiles>(batch, moved[1], scales, products);
  }
}

__m256 eight_steps(const std::uint16_t* steps, u64 step, u64 half) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(steps + step * kRows + half)));
}
void add_product(float* out, __m256 a, __m256 b) noexcept {
  _mm256_storeu_ps(out, _mm256_fmadd_ps(a, b, _mm256_loadu_ps(out)));
}

template <u32 kBits, u32 kGroup, int kTiles>
void add_block(const Plan& plan, const IntegerTile* tiles, Block block, const IntegerInput& input,
               const std::int32_t* moved, float* out) noexcept {
  constexpr u64 kBatches = kGroup / (4 * fields_of_batch(kBits, kGroup));
  __m256 totals[kTiles][2];
  for (int t = 0; t < kTiles; ++t) totals[t][0] = totals[t][1] = _mm256_setzero_ps();
  for (u64 group = block.first; group < block.first + block.count; ++group, moved += kBatches) {
    Integers<kTiles> products;
    group_products<kBits, kGroup, kTiles>(plan, tiles, group, input.codes, moved, products);
    const __m256 scale = _mm256_broadcast_ss(input.scales + group);
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h)
        totals[t][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[t][h]), scale, totals[t][h]);
    }
  }
  for (int t = 0; t < kTiles; ++t) {
    for (u64 h = 0; h < 2; ++h) {
      const __m256 step = eight_steps(tiles[t].scales.steps, block.first / plan.per_step, h * kHalf);
      add_product(out + static_cast<u64>(t) * kRows + h * kHalf, totals[t][h], step);
    }
  }
}

// Adds the minimums of a block: byte * step * sum of the inputs of a group.
void add_minimums(const Plan& plan, const IntegerTile& tile, Block block, const float* sums, float* out) noexcept {
  const auto* const bytes = static_cast<const std::uint8_t*>(tile.offsets.elements);
  const __m256 sign = _mm256_set1_ps(tile.offsets.negated ? -1.0f : 1.0f);
  __m256 totals[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (u64 group = block.first; group < block.first + block.count; ++group) {
    const __m256 sum = _mm256_broadcast_ss(sums + group);
    for (u64 h = 0; h < 2; ++h) {
      const auto* const eight = reinterpret_cast<const __m128i*>(bytes + group * kRows + h * kHalf);
      const __m256 minimums = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(eight)));
      totals[h] = _mm256_fmadd_ps(minimums, sum, totals[h]);
    }
  }
  for (u64 h = 0; h < 2; ++h) {
    const __m256 step = eight_steps(tile.offsets.steps, block.first / plan.per_step, h * kHalf);
    add_product(out + h * kHalf, totals[h], _mm256_mul_ps(sign, step));
  }
}

// Blocks in turn for all tiles: as many streams of codes as there are tiles.
template <u32 kBits, u32 kGroup>
void multiply_all(const Plan& plan, const IntegerTile* tiles, int tile_count, const IntegerInput& input,
                  float* out) noexcept {
  constexpr u32 kFields = fields_of_batch(kBits, kGroup);
  const u64 groups = tiles[0].cols / kGroup;
  for (u64 r = 0; r < static_cast<u64>(tile_count) * kRows; ++r) out[r] = 0;
  for (Block block = {0, 0}; block.first < groups; block.first += block.count) {
    const u64 rest = (block.first / plan.per_step + 1) * plan.per_step - block.first;
    const u64 left = groups - block.first, most = rest < left ? rest : left;
    block.count = most < kGroupsAtOnce ? most : kGroupsAtOnce;
    Moved moved;
    fill_moved<kFields>(input.codes + block.first * kGroup, block.count * kGroup / (4 * kFields), plan.zero, moved);
    int t = 0;
    for (; t + kTilesAtOnce <= tile_count; t += kTilesAtOnce)
      add_block<kBits, kGroup, kTilesAtOnce>(plan, tiles + t, block, input, moved, out + static_cast<u64>(t) * kRows);
    if (t < tile_count)
      add_block<kBits, kGroup, 1>(plan, tiles + t, block, input, moved, out + static_cast<u64>(t) * kRows);
    for (t = 0; plan.has_minimums && t < tile_count; ++t)
      add_minimums(plan, tiles[t], block, input.sums, out + static_cast<u64>(t) * kRows);
  }
}

bool has_byte_scales(const TileParameters& parameters) noexcept {
  return parameters.type == ParameterType::integer && parameters.bits == 8 && parameters.steps != nullptr &&
         parameters.factor == 1;
}

// The zero point of all codes where 16 bits hold what it leaves of a batch; else -1.
int zero_of(const IntegerTile& tile, u32 fields) noexcept {
  const float constant = tile.offset == OffsetKind::zero_point ? tile.offsets.constant : 0;
  if (!(constant >= 0 && constant <= 127)) return -1;
  const int zero = static_cast<int>(constant), most = (1 << tile.bits) - 1;
  const int magnitude = zero > most - zero ? zero : most - zero;
  const bool fits = magnitude * 2 * kInputLimit * static_cast<int>(fields) < 1 << 15;
  return static_cast<float>(zero) == constant && fits ? zero : -1;
}

using MultiplyAll = decltype(multiply_all<4, 32>);

// Null: no such product. 4 bits in groups of 32 (Q4_K) are a quarter faster here while the weights are in a cache, but from
// memory they were 5 % slower than with parameters applied group by group (1.1B, 2 threads).
MultiplyAll* product_for(const IntegerTile& tile, u64 group) noexcept {
  static constexpr MultiplyAll* kProducts[2][7] = {
      {nullptr, nullptr, multiply_all<2, 16>, multiply_all<3, 16>, multiply_all<4, 16>, multiply_all<5, 16>,
       multiply_all<6, 16>},
      {nullptr, nullptr, multiply_all<2, 32>, multiply_all<3, 32>, nullptr, multiply_all<5, 32>, multiply_all<6, 32>}};
  const bool known = tile.table == nullptr && !tile.is_signed && tile.bits >= 2 && tile.bits <= 6 && group <= 32;
  return known && tile.group_cols == group && tile.group_cols < tile.cols ? kProducts[group / 32][tile.bits] : nullptr;
}

}  // namespace

bool avx2_multiply_nested(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                          float* out) noexcept {
  const IntegerTile& tile = tiles[0];
  const TileParameters &scales = tile.scales, &offsets = tile.offsets;
  MultiplyAll* const product = product_for(tile, layout.segment);
  if (product == nullptr || !has_byte_scales(scales) || scales.negated) return false;
  const bool has_minimums = tile.offset == OffsetKind::bias;
  if (has_minimums &&
      !(has_byte_scales(offsets) && !offsets.is_signed && offsets.groups_per_step == scales.groups_per_step))
    return false;
  if (tile.offset == OffsetKind::zero_point && offsets.type != ParameterType::constant) return false;
  const int zero = zero_of(tile, fields_of_batch(tile.bits, layout.segment));
  if (zero < 0) return false;
  product({Widening(scales.is_signed), scales.groups_per_step, static_cast<std::int8_t>(zero), has_minimums}, tiles,
          tile_count, input, out);
  return true;
}

}  // namespace ingot::kernels

// AVX2: products of one input with tiles whose scales are bytes times binary16 steps (K-quants). The bytes are applied
// to the integers: vpmaddwd, which adds neighbouring sums anyway, multiplies them by the scale of their output at the
// same time. What is left for each group is one conversion and one multiply-add with the scale of the input; a step is
// applied once for all groups that share it. Zero points come off the 16-bit sums, where any overflow on the way
// cancels out. Two tiles at a time are read from their first column to the last: memory yields most to few streams.
// With many inputs widened scales serve better (avx2_many.cpp).
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include "kernels/avx2_nested.h"

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_codes.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

namespace {

constexpr u64 kBatchesOfPart = 1024;  // 8 or 16 thousand columns: rows of most matrices
constexpr int kTilesAtOnce = 2;

// Fields whose products are added up in 16 bits before they meet their scale.
constexpr u32 fields_of_batch(u32 bits, u64 group) noexcept { return bits <= 4 && group == kIntegerRun ? 8 : 4; }

// Groups that share one step of scales, and one of minimums.
struct Block {
  u64 first, count, step;
};

// What zero points take off the batches of a part of the columns, as two 16-bit sums each.
using Moved = std::int32_t[kBatchesOfPart];

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
template <bool kSigned>
struct Widening {
  __m256i places[2];

  Widening() noexcept {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i pairs = _mm256_mullo_epi32(lanes, _mm256_set1_epi32(0x00010001));
    // A signed byte comes into the upper half of its number and is shifted down.
    places[0] = kSigned ? _mm256_or_si256(_mm256_slli_epi32(pairs, 8), _mm256_set1_epi32(0x00800080))
                        : _mm256_or_si256(pairs, _mm256_set1_epi32(static_cast<int>(0x80008000u)));
    places[1] = _mm256_add_epi32(places[0], _mm256_set1_epi32(kSigned ? 0x08000800 : 0x00080008));
  }
  [[nodiscard]] __m256i of(const void* bytes, u64 group, int half) const noexcept {
    const __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(bytes) + group));
    const __m256i placed = _mm256_shuffle_epi8(all, places[half]);
    return kSigned ? _mm256_srai_epi16(placed, 8) : placed;
  }
};

// What is the same for all blocks of a product.
struct Plan {
  u64 per_step;      // groups
  std::int8_t zero;  // of all codes
  const IntegerInput& input;
};

// What is beside the scales: minimums, then the bytes of scales have no sign; or one zero point, then they have.
enum class Beside : std::uint8_t { minimums, zero };

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

// The batch times its scales, added to the products or their start. moved: null without zero point.
template <bool kStart, int kTiles>
inline __attribute__((always_inline)) void apply_scales(const Integers<kTiles>& batch, const std::int32_t* moved,
                                                        const Integers<kTiles>& scales,
                                                        Integers<kTiles>& products) noexcept {
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256i sums = moved == nullptr ? batch[t][h] : _mm256_sub_epi16(batch[t][h], _mm256_set1_epi32(*moved));
      const __m256i product = _mm256_madd_epi16(sums, scales[t][h]);
      products[t][h] = kStart ? product : _mm256_add_epi32(products[t][h], product);
    }
  }
}

// The integers of one group: sums of codes times the scales' bytes. `moved` is of its first batch.
template <u32 kBits, u32 kGroup, Beside kBeside, int kTiles>
inline __attribute__((always_inline)) void group_products(const IntegerTile* tiles, u64 group, const std::int8_t* codes,
                                                          const std::int32_t* moved,
                                                          Integers<kTiles>& products) noexcept {
  constexpr u32 kFields = fields_of_batch(kBits, kGroup);
  constexpr bool kHasZero = kBeside == Beside::zero;
  const Widening<kHasZero> widening;
  const u64 run = group * kGroup / kIntegerRun;
  const std::int8_t* const inputs = codes + run * kIntegerRun;
  Run runs[kTiles];
  Integers<kTiles> batch, scales;
#pragma GCC unroll 2
  for (int t = 0; t < kTiles; ++t) {
    runs[t] = run_at<kBits>(tiles[t], run);
    // Without minimums nothing is gained.
    if constexpr (kBeside == Beside::minimums && kGroup == kIntegerRun) fetch_codes<kBits>(runs[t]);
    for (int h = 0; h < 2; ++h) scales[t][h] = widening.of(tiles[t].scales.elements, group, h);
  }
  if (kGroup == kIntegerRun || group % 2 == 0) {
    add_up<kBits, 0, kFields, kTiles>(runs, inputs, batch);
  } else {
    add_up<kBits, 4, 4, kTiles>(runs, inputs, batch);
  }
  apply_scales<true, kTiles>(batch, kHasZero ? moved : nullptr, scales, products);
  if constexpr (kGroup == kIntegerRun && kFields == 4) {
    add_up<kBits, 4, 4, kTiles>(runs, inputs, batch);
    apply_scales<false, kTiles>(batch, kHasZero ? moved + 1 : nullptr, scales, products);
  }
}

// Parameters are slow streams, which the processor does not fetch ahead by itself.
inline void fetch_parameters(const TileParameters& parameters, Block block) noexcept {
  constexpr u64 kAhead = 2048, kStepsAhead = 512;
  prefetch_lines<1>(static_cast<const std::uint8_t*>(parameters.elements) + block.first * kRows, block.count * kRows,
                    kAhead);
  prefetch_lines<1>(parameters.steps + block.step * kRows, 1, kStepsAhead);
}

__m256 eight_steps(const std::uint16_t* steps, u64 step, u64 half) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(steps + step * kRows + half)));
}
void add_product(float* out, __m256 a, __m256 b) noexcept {
  _mm256_storeu_ps(out, _mm256_fmadd_ps(a, b, _mm256_loadu_ps(out)));
}

// Adds the minimums of a block: byte * step * sum of the inputs of a group.
template <int kTiles>
inline __attribute__((always_inline)) void add_minimums(const IntegerTile* tiles, Block block, const float* sums,
                                                        float* out) noexcept {
  const __m256 sign = _mm256_set1_ps(tiles[0].offsets.negated ? -1.0f : 1.0f);
  __m256 totals[kTiles][2];
  for (int t = 0; t < kTiles; ++t) totals[t][0] = totals[t][1] = _mm256_setzero_ps();
  for (u64 group = block.first; group < block.first + block.count; ++group) {
    const __m256 sum = _mm256_broadcast_ss(sums + group);
#pragma GCC unroll 2
    for (int t = 0; t < kTiles; ++t) {
      const auto* const bytes = static_cast<const std::uint8_t*>(tiles[t].offsets.elements) + group * kRows;
#pragma GCC unroll 2
      for (u64 h = 0; h < 2; ++h) {
        const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + h * kHalf));
        totals[t][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight)), sum, totals[t][h]);
      }
    }
  }
  for (int t = 0; t < kTiles; ++t) {
    for (u64 h = 0; h < 2; ++h) {
      const __m256 step = eight_steps(tiles[t].offsets.steps, block.step, h * kHalf);
      add_product(out + static_cast<u64>(t) * kRows + h * kHalf, totals[t][h], _mm256_mul_ps(sign, step));
    }
  }
}

// `moved` is of the first batch of the block.
template <u32 kBits, u32 kGroup, Beside kBeside, int kTiles>
inline __attribute__((always_inline)) void add_block(const IntegerTile* tiles, Block block, const IntegerInput& input,
                                                     const std::int32_t* moved, float* out) noexcept {
  constexpr u64 kBatches = kGroup / (4 * fields_of_batch(kBits, kGroup));
  for (int t = 0; t < kTiles; ++t) {
    fetch_parameters(tiles[t].scales, block);
    if constexpr (kBeside == Beside::minimums) fetch_parameters(tiles[t].offsets, block);
  }
  __m256 totals[kTiles][2];
  for (int t = 0; t < kTiles; ++t) totals[t][0] = totals[t][1] = _mm256_setzero_ps();
  for (u64 group = block.first; group < block.first + block.count; ++group, moved += kBatches) {
    Integers<kTiles> products;
    group_products<kBits, kGroup, kBeside, kTiles>(tiles, group, input.codes, moved, products);
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
      const __m256 step = eight_steps(tiles[t].scales.steps, block.step, h * kHalf);
      add_product(out + static_cast<u64>(t) * kRows + h * kHalf, totals[t][h], step);
    }
  }
  if constexpr (kBeside == Beside::minimums) add_minimums<kTiles>(tiles, block, input.sums, out);
}

// The groups [first, end) of some tiles; `first` is the first one of its step.
template <u32 kBits, u32 kGroup, Beside kBeside, int kTiles>
void add_groups(const Plan& plan, const IntegerTile* tiles, u64 first, u64 end, const std::int32_t* moved,
                float* out) noexcept {
  constexpr u64 kBatches = kGroup / (4 * fields_of_batch(kBits, kGroup));
  for (Block block = {first, 0, first / plan.per_step}; block.first < end; block.first += block.count, ++block.step) {
    block.count = end - block.first < plan.per_step ? end - block.first : plan.per_step;
    add_block<kBits, kGroup, kBeside, kTiles>(tiles, block, plan.input, moved, out);
    moved += block.count * kBatches;
  }
}

template <u32 kBits, u32 kGroup, Beside kBeside>
void multiply_all(const Plan& plan, const IntegerTile* tiles, int tile_count, float* out) noexcept {
  constexpr u32 kFields = fields_of_batch(kBits, kGroup);
  constexpr u64 kBatches = kGroup / (4 * kFields);
  const u64 groups = tiles[0].cols / kGroup, of_part = kBatchesOfPart / kBatches / plan.per_step * plan.per_step;
  for (u64 r = 0; r < static_cast<u64>(tile_count) * kRows; ++r) out[r] = 0;
  for (u64 first = 0; first < groups; first += of_part) {
    const u64 end = groups - first < of_part ? groups : first + of_part;
    Moved moved;
    if constexpr (kBeside == Beside::zero)
      fill_moved<kFields>(plan.input.codes + first * kGroup, (end - first) * kBatches, plan.zero, moved);
    for (int t = 0; t < tile_count;) {
      const bool some = t + kTilesAtOnce <= tile_count;
      (some ? add_groups<kBits, kGroup, kBeside, kTilesAtOnce>
            : add_groups<kBits, kGroup, kBeside, 1>)(plan, tiles + t, first, end, moved,
                                                     out + static_cast<u64>(t) * kRows);
      t += some ? kTilesAtOnce : 1;
    }
  }
}

bool has_byte_scales(const TileParameters& parameters, u64 most_per_step) noexcept {
  return parameters.type == ParameterType::integer && parameters.bits == 8 && parameters.steps != nullptr &&
         parameters.factor == 1 && parameters.groups_per_step <= most_per_step;
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

using MultiplyAll = decltype(multiply_all<4, 32, Beside::zero>);

template <Beside kBeside>
constexpr MultiplyAll* kProducts[2][7] = {
    {nullptr, nullptr, multiply_all<2, 16, kBeside>, multiply_all<3, 16, kBeside>, multiply_all<4, 16, kBeside>,
     multiply_all<5, 16, kBeside>, multiply_all<6, 16, kBeside>},
    {nullptr, nullptr, multiply_all<2, 32, kBeside>, multiply_all<3, 32, kBeside>, multiply_all<4, 32, kBeside>,
     multiply_all<5, 32, kBeside>, multiply_all<6, 32, kBeside>}};

// Null: no such product.
MultiplyAll* product_for(const IntegerTile& tile, u64 group) noexcept {
  const bool known = tile.table == nullptr && !tile.is_signed && tile.bits >= 2 && tile.bits <= 6 && group <= 32 &&
                     tile.group_cols == group && tile.group_cols < tile.cols;
  const u64 most_per_step = kBatchesOfPart / 2;
  if (!known || !has_byte_scales(tile.scales, most_per_step) || tile.scales.negated) return nullptr;
  const TileParameters& offsets = tile.offsets;
  if (tile.offset == OffsetKind::bias) {
    const bool alike = has_byte_scales(offsets, most_per_step) && !offsets.is_signed && !tile.scales.is_signed &&
                       offsets.groups_per_step == tile.scales.groups_per_step;
    return alike ? kProducts<Beside::minimums>[group / 32][tile.bits] : nullptr;
  }
  const bool constant = tile.offset == OffsetKind::none || offsets.type == ParameterType::constant;
  return constant && tile.scales.is_signed ? kProducts<Beside::zero>[group / 32][tile.bits] : nullptr;
}

}  // namespace

bool avx2_multiply_nested(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput& input,
                          float* out) noexcept {
  const IntegerTile& tile = tiles[0];
  MultiplyAll* const product = product_for(tile, layout.segment);
  if (product == nullptr) return false;
  const int zero = zero_of(tile, fields_of_batch(tile.bits, layout.segment));
  if (zero < 0) return false;
  product({tile.scales.groups_per_step, static_cast<std::int8_t>(zero), input}, tiles, tile_count, out);
  return true;
}

}  // namespace ingot::kernels

// AVX2: products of tiles with many inputs. A block of a tile's codes is taken out of its words once (avx2_panels.h)
// and stays in the first-level cache while some inputs after the others pass. A 32-bit lane collects the sum of one
// output, as with one input: bytes meet inputs in vpmaddubsw, whose sums of two are added in 16 bits as long as they
// fit; wider numbers meet inputs widened to 16 bits in vpmaddwd. Includes nothing but the table: every other symbol has
// internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_codes.h"
#include "kernels/avx2_panels.h"
#include "kernels/integer_kernels.h"

namespace ingot::kernels {

void avx2_widen_parameters(const TileParameters& parameters, std::uint64_t first, std::uint64_t groups,
                           float* out) noexcept;

namespace {

constexpr u64 kBlockCols = 512, kMaxSegments = kBlockCols / 16;
constexpr u64 kInputsOfChunk = 128;

// Inputs of a block with the scale and the sum of each segment.
template <class Code>
struct BlockInput {
  const Code* codes;
  const float *scales, *sums;
};

// Scales of the segments of a block, and what an input's sum adds beside.
struct Parameters {
  alignas(32) float scales[kMaxSegments * kRows], biases[kMaxSegments * kRows];
};

struct Block {
  const std::uint8_t* panel;
  const Parameters& parameters;
  u64 step, segments;
};

__m256i load(const std::uint8_t* at) noexcept { return _mm256_load_si256(reinterpret_cast<const __m256i*>(at)); }

// Integer sums of kVectors inputs, by half of the outputs.
template <int kVectors>
struct Sums {
  __m256i of[kVectors][2];
};

// Bytes, kBatch fields of which may be added up in 16 bits; kVectors_ inputs at once were fastest.
template <u32 kBatch, int kVectors_>
struct Bytes {
  using Code = std::int8_t;
  static constexpr PanelForm kForm = PanelForm::bytes;
  static constexpr int kVectors = kVectors_;
  static constexpr u64 kFieldBytes = 64;

  // Adds kFields fields to the sums, or starts them.
  template <u32 kFields, bool kStart, int kCount>
  static inline __attribute__((always_inline)) void add(const std::uint8_t* panel, const Code* const* inputs,
                                                        Sums<kCount>& sums) noexcept {
    constexpr u32 kStep = kBatch < kFields ? kBatch : kFields;
#pragma GCC unroll 8
    for (u32 begin = 0; begin < kFields; begin += kStep) {
      __m256i batch[kCount][2];
#pragma GCC unroll 8
      for (u32 n = begin; n < begin + kStep; ++n) {
        const __m256i low = load(panel + n * kFieldBytes), high = load(panel + n * kFieldBytes + 32);
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) {
          const __m256i four = four_inputs(inputs[v] + 4 * n);
          const __m256i first = _mm256_maddubs_epi16(low, four), second = _mm256_maddubs_epi16(high, four);
          batch[v][0] = n == begin ? first : _mm256_add_epi16(batch[v][0], first);
          batch[v][1] = n == begin ? second : _mm256_add_epi16(batch[v][1], second);
          keep_order(batch[v][0]);
          keep_order(batch[v][1]);
        }
      }
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          const __m256i added = _mm256_madd_epi16(batch[v][h], _mm256_set1_epi16(1));
          sums.of[v][h] = kStart && begin == 0 ? added : _mm256_add_epi32(sums.of[v][h], added);
        }
      }
    }
  }
};

// 16-bit numbers: sums of two are 32 bits wide.
struct Words {
  using Code = std::int16_t;
  static constexpr PanelForm kForm = PanelForm::words;
  static constexpr int kVectors = 4;
  static constexpr u64 kFieldBytes = 128;

  template <u32 kFields, bool kStart, int kCount>
  static inline __attribute__((always_inline)) void add(const std::uint8_t* panel, const Code* const* inputs,
                                                        Sums<kCount>& sums) noexcept {
#pragma GCC unroll 16
    for (u32 n = 0; n < 2 * kFields; ++n) {
      const u32 place = n / 8 * 8 + n % 2 * 4 + n % 8 / 2;  // of 16 inputs, first the even ones of the fields
      const __m256i low = load(panel + n * 64), high = load(panel + n * 64 + 32);
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) {
        const __m256i two = _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(inputs[v]) + place));
        const __m256i first = _mm256_madd_epi16(low, two), second = _mm256_madd_epi16(high, two);
        sums.of[v][0] = kStart && n == 0 ? first : _mm256_add_epi32(sums.of[v][0], first);
        sums.of[v][1] = kStart && n == 0 ? second : _mm256_add_epi32(sums.of[v][1], second);
        keep_order(sums.of[v][0]);
        keep_order(sums.of[v][1]);
      }
    }
  }
};

// Adds what a block yields to the totals of kCount inputs. Segments are of kFields fields, or of several times as many.
template <class Form, u32 kFields, bool kBiases, int kCount>
void add_block(const Block& block, const BlockInput<typename Form::Code>* inputs, float* totals, u64 stride) noexcept {
  const typename Form::Code* at[kCount];
  __m256 total[kCount][2];
#pragma GCC unroll 4
  for (int v = 0; v < kCount; ++v) {
    at[v] = inputs[v].codes;
    total[v][0] = _mm256_loadu_ps(totals + static_cast<u64>(v) * stride);
    total[v][1] = _mm256_loadu_ps(totals + static_cast<u64>(v) * stride + kHalf);
  }
  const std::uint8_t* panel = block.panel;
  const float *scales = block.parameters.scales, *biases = block.parameters.biases;
  for (u64 segment = 0; segment < block.segments; ++segment, scales += kRows, biases += kRows) {
    Sums<kCount> sums;
    Form::template add<kFields, true, kCount>(panel, at, sums);
    u64 left = block.step;
    while (true) {
      panel += kFields * Form::kFieldBytes;
#pragma GCC unroll 4
      for (int v = 0; v < kCount; ++v) at[v] += kFields * 4;
      if (kFields == 4 || (left -= kIntegerRun) == 0) break;
      Form::template add<kFields, false, kCount>(panel, at, sums);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) {
      const __m256 scale = _mm256_broadcast_ss(inputs[v].scales + segment);
      const __m256 sum = _mm256_broadcast_ss(inputs[v].sums + segment);
#pragma GCC unroll 2
      for (u64 h = 0; h < 2; ++h) {
        const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(sums.of[v][h]), scale);
        total[v][h] = _mm256_fmadd_ps(value, _mm256_load_ps(scales + h * kHalf), total[v][h]);
        if constexpr (kBiases) total[v][h] = _mm256_fmadd_ps(sum, _mm256_load_ps(biases + h * kHalf), total[v][h]);
      }
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kCount; ++v) {
    _mm256_storeu_ps(totals + static_cast<u64>(v) * stride, total[v][0]);
    _mm256_storeu_ps(totals + static_cast<u64>(v) * stride + kHalf, total[v][1]);
  }
}

// What is the same for all blocks of a product.
struct Plan {
  u64 step, segments, per_group;
  float shift;  // that the codes in the sums are greater by
  bool has_biases;

  Plan(const IntegerTile& tile, u64 segment) noexcept
      : step(segment),
        segments(tile.cols / segment),
        per_group(tile.group_cols >= tile.cols ? segments : tile.group_cols / segment),
        shift(tile.is_signed && tile.bits < 8 ? static_cast<float>(1 << (tile.bits - 1)) : 0),
        has_biases(tile.offset != OffsetKind::none || shift != 0) {}

  // The parameters of `count` segments from `first` on.
  void fill(const IntegerTile& tile, u64 first, u64 count, Parameters& out) const noexcept {
    const u64 group = first / per_group, groups = (first + count - 1) / per_group + 1 - group;
    avx2_widen_parameters(tile.scales, group, groups, out.scales);
    if (has_biases) fill_biases(tile, group, groups, out);
    if (per_group == 1) return;
    for (u64 s = count; s-- > 0;) {
      const u64 from = ((first + s) / per_group - group) * kRows;
      for (u64 r = 0; r < kRows; r += kHalf) {
        _mm256_store_ps(out.scales + s * kRows + r, _mm256_load_ps(out.scales + from + r));
        if (has_biases) _mm256_store_ps(out.biases + s * kRows + r, _mm256_load_ps(out.biases + from + r));
      }
    }
  }

 private:
  // Zero points become biases too: - scale * zero.
  void fill_biases(const IntegerTile& tile, u64 group, u64 groups, Parameters& out) const noexcept {
    const bool adds = tile.offset == OffsetKind::bias;
    if (tile.offset == OffsetKind::none) {
      for (u64 i = 0; i < groups * kRows; ++i) out.biases[i] = 0;
    } else {
      avx2_widen_parameters(tile.offsets, group, groups, out.biases);
    }
    if (adds && shift == 0) return;
    const __m256 moved = _mm256_set1_ps(shift);
    for (u64 i = 0; i < groups * kRows; i += kHalf) {
      const __m256 scale = _mm256_load_ps(out.scales + i), offset = _mm256_load_ps(out.biases + i);
      const __m256 bias = adds ? _mm256_fnmadd_ps(scale, moved, offset)
                               : _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), scale), _mm256_add_ps(offset, moved));
      _mm256_store_ps(out.biases + i, bias);
    }
  }
};

// Inputs of a block, widened to 16 bits: of 16 inputs first the even ones of their fields.
void widen_inputs(const std::int8_t* codes, u64 cols, std::int16_t* out) noexcept {
  for (u64 i = 0; i < cols; i += 16, out += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i));
    _mm_store_si128(reinterpret_cast<__m128i*>(out), _mm_srai_epi16(_mm_slli_epi16(bytes, 8), 8));
    _mm_store_si128(reinterpret_cast<__m128i*>(out) + 1, _mm_srai_epi16(bytes, 8));
  }
}

template <class Form>
struct Memory {
  alignas(64) std::uint8_t panel[kBlockCols / 4 * Form::kFieldBytes];
  Parameters parameters;
  BlockInput<typename Form::Code> inputs[kInputsOfChunk];
  alignas(64) std::int16_t words[Form::kForm == PanelForm::words ? kInputsOfChunk : 1][kBlockCols + 32];
};

template <class Form>
void take_inputs(const Plan& plan, u64 first, u64 count, const IntegerInput* inputs, u64 vectors,
                 Memory<Form>& memory) noexcept {
  for (u64 v = 0; v < vectors; ++v) {
    const std::int8_t* const codes = inputs[v].codes + first * plan.step;
    if constexpr (Form::kForm == PanelForm::words) {
      widen_inputs(codes, count * plan.step, memory.words[v]);
      memory.inputs[v] = {memory.words[v], inputs[v].scales + first, inputs[v].sums + first};
    } else {
      memory.inputs[v] = {codes, inputs[v].scales + first, inputs[v].sums + first};
    }
  }
}

template <class Form, u32 kFields, bool kBiases>
void multiply_chunk(const Plan& plan, const IntegerTile* tiles, int tile_count, const IntegerInput* inputs, u64 vectors,
                    Memory<Form>& memory, float* out, u64 out_stride) noexcept {
  const u64 most = kBlockCols / plan.step;
  for (u64 first = 0; first < plan.segments; first += most) {
    const u64 count = plan.segments - first < most ? plan.segments - first : most;
    take_inputs<Form>(plan, first, count, inputs, vectors, memory);
    const u64 first_run = first * plan.step / kIntegerRun, runs = count * plan.step / kIntegerRun;
    for (int t = 0; t < tile_count; ++t) {
      avx2_fill_panel(tiles[t], first_run, runs, Form::kForm, memory.panel);
      plan.fill(tiles[t], first, count, memory.parameters);
      const Block block = {memory.panel, memory.parameters, plan.step, count};
      float* const totals = out + static_cast<u64>(t) * kRows;
      u64 v = 0;
      for (; v + Form::kVectors <= vectors; v += Form::kVectors)
        add_block<Form, kFields, kBiases, Form::kVectors>(block, memory.inputs + v, totals + v * out_stride,
                                                          out_stride);
      for (; v < vectors; ++v)
        add_block<Form, kFields, kBiases, 1>(block, memory.inputs + v, totals + v * out_stride, out_stride);
    }
  }
}

using Multiply = void(const Plan& plan, const IntegerTile* tiles, int tile_count, const IntegerInput* inputs,
                      u64 vectors, float* out, u64 out_stride) noexcept;

template <class Form, u32 kFields, bool kBiases>
void multiply_all(const Plan& plan, const IntegerTile* tiles, int tile_count, const IntegerInput* inputs, u64 vectors,
                  float* out, u64 out_stride) noexcept {
  Memory<Form> memory;
  for (u64 v = 0; v < vectors; v += kInputsOfChunk) {
    const u64 some = vectors - v < kInputsOfChunk ? vectors - v : kInputsOfChunk;
    float* const to = out + v * out_stride;
    for (u64 i = 0; i < some; ++i) {
      for (u64 r = 0; r < static_cast<u64>(tile_count) * kRows; ++r) to[i * out_stride + r] = 0;
    }
    multiply_chunk<Form, kFields, kBiases>(plan, tiles, tile_count, inputs + v, some, memory, to, out_stride);
  }
}

template <class Form>
Multiply* product_of(const Plan& plan) noexcept {
  if (plan.step < kIntegerRun) return plan.has_biases ? multiply_all<Form, 4, true> : multiply_all<Form, 4, false>;
  return plan.has_biases ? multiply_all<Form, 8, true> : multiply_all<Form, 8, false>;
}
Multiply* product_for(const IntegerTile& tile, const Plan& plan) noexcept {
  if (tile.table != nullptr && !tile.table->are_small) return product_of<Words>(plan);
  switch (tile.table != nullptr ? 5 : tile.bits) {
    case 8: return product_of<Words>(plan);
    case 7: return product_of<Bytes<1, 4>>(plan);
    case 6: return product_of<Bytes<2, 4>>(plan);
    case 5: return product_of<Bytes<4, 2>>(plan);
    default: return product_of<Bytes<8, 4>>(plan);
  }
}

}  // namespace

void avx2_multiply_many(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput* inputs,
                        std::uint64_t vectors, float* out, std::uint64_t out_stride) noexcept {
  const Plan plan(tiles[0], layout.segment);
  product_for(tiles[0], plan)(plan, tiles, tile_count, inputs, vectors, out, out_stride);
}

}  // namespace ingot::kernels

// AMX: its table, and with tiles of int8 the integer products of many inputs at once. A line of four codes of sixteen
// outputs is a row of a B tile as it comes out of its words, rounded inputs are the rows of an A tile, the sums of a
// segment a C tile of 16 inputs x 16 outputs. Everything else, and few inputs, is left to AVX-512 VNNI.
// Includes nothing but the interfaces: every other symbol has internal linkage (house style section 5).
#include <immintrin.h>

#include <cstdint>

#include "kernels/amx_tiles.h"
#include "kernels/avx512vnni_codes.h"
#include "kernels/avx512vnni_segments.h"
#include "kernels/kernel_table.h"

namespace ingot::kernels {

const KernelTable& amx_table() noexcept;
const FloatKernels& amx_float_kernels() noexcept;
const IntegerKernels& avx512vnni_integer_kernels() noexcept;

namespace {

using u64 = std::uint64_t;
using u32 = std::uint32_t;

constexpr u64 kVectors = kTileRegisterRows;       // rows of A and C
constexpr u64 kFewVectors = 8;                    // less than these are not worth a tile
constexpr u64 kBlockInputs = 512, kSegments = 8;  // at most, so that a block stays in the first-level cache
constexpr u64 kProducts = 8;                      // of tiles, hence, for the segments of a block
constexpr u64 kFieldInputs = 4;

// The codes of a block of one tile, a field of four inputs and sixteen outputs a row; and what they give to sixteen
// inputs.
struct alignas(64) Panel {
  std::int8_t rows[kBlockInputs / kFieldInputs][kTileLine];
};
struct alignas(64) Inputs {
  std::int8_t rows[kProducts][kVectors][kTileLine];
};
struct alignas(64) Sums {
  std::int32_t of[kSegments][kVectors][kRows];
};

// `inputs` of one tile from `col` on: signed codes with their sign, others as they are.
template <u32 kBits>
void unpack(const IntegerTile& tile, u64 col, u64 inputs, Panel& panel) noexcept {
  const __m512i sign = sign_of(tile);
  for (u64 at = 0; at < inputs; at += kIntegerRun) {
    const Run run = run_at<kBits>(tile, (col + at) / kIntegerRun);
#pragma GCC unroll 8
    for (u32 n = 0; n < kRunFields; ++n)
      _mm512_store_si512(panel.rows[at / kFieldInputs + n], _mm512_sub_epi8(field<kBits>(run, n, sign), sign));
  }
}
// The same of the entries of a table.
void unpack_entries(const IntegerTile& tile, u64 col, u64 inputs, Panel& panel) noexcept {
  const __m512i entries = sixteen_entries(tile.table->entries);
  unpack<4>(tile, col, inputs, panel);
  for (u64 row = 0; row < inputs / kFieldInputs; ++row)
    _mm512_store_si512(panel.rows[row], _mm512_shuffle_epi8(entries, _mm512_load_si512(panel.rows[row])));
}
using Unpack = void (*)(const IntegerTile&, u64, u64, Panel&) noexcept;
constexpr Unpack kUnpack[9] = {nullptr,   unpack<1>, unpack<2>, unpack<3>, unpack<4>,
                               unpack<5>, unpack<6>, unpack<7>, unpack<8>};

// Rows of A: `width` bytes of each input for each product of tiles, contiguous in memory. Those of no input are zero.
void gather(const IntegerInput* inputs, u64 vectors, u64 col, u64 count, u64 width, Inputs& out) noexcept {
  const __mmask64 stored = width == kTileLine ? ~__mmask64{0} : (__mmask64{1} << width) - 1;
  for (u64 v = 0; v < kVectors; ++v) {
    for (u64 at = 0; at < count; at += width) {
      const __mmask64 mask = v < vectors ? stored : 0;
      const std::int8_t* const from = inputs[v < vectors ? v : 0].codes + col + at;
      _mm512_store_si512(out.rows[at / width][v], _mm512_maskz_loadu_epi8(mask, from));
    }
  }
}

// C = A * B for the four tiles of a call and one segment: `products` of tiles one after the other.
template <bool kSigned>
void segment_sums(const std::int8_t (*a)[kVectors][kTileLine], u64 products, const Panel* const* panels, u64 row,
                  u64 rows, Sums* sums, u64 segment) noexcept {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (u64 i = 0; i < products; ++i, row += rows) {
    _tile_loadd(4, a[i], kTileLine);
    _tile_loadd(5, panels[0]->rows[row], kTileLine);
    _tile_loadd(6, panels[1]->rows[row], kTileLine);
    _tile_loadd(7, panels[2]->rows[row], kTileLine);
    if constexpr (kSigned) {
      _tile_dpbssd(0, 4, 5);
      _tile_dpbssd(1, 4, 6);
      _tile_dpbssd(2, 4, 7);
    } else {
      _tile_dpbsud(0, 4, 5);
      _tile_dpbsud(1, 4, 6);
      _tile_dpbsud(2, 4, 7);
    }
    _tile_loadd(5, panels[3]->rows[row], kTileLine);
    if constexpr (kSigned) {
      _tile_dpbssd(3, 4, 5);
    } else {
      _tile_dpbsud(3, 4, 5);
    }
  }
  _tile_stored(0, sums[0].of[segment], kTileLine);
  _tile_stored(1, sums[1].of[segment], kTileLine);
  _tile_stored(2, sums[2].of[segment], kTileLine);
  _tile_stored(3, sums[3].of[segment], kTileLine);
}

// A product of up to four tiles with many inputs.
class TileProduct {
 public:
  TileProduct(const IntegerTile* tiles, int tile_count, IntegerLayout layout) noexcept
      : unpack_(tiles[0].table == nullptr ? kUnpack[tiles[0].bits] : unpack_entries),
        tiles_(tiles),
        tile_count_(tile_count),
        step_(layout.segment),
        width_(step_ < kTileLine ? step_ : kTileLine),
        count_(tiles[0].cols / step_),
        per_group_(tiles[0].group_cols >= tiles[0].cols ? count_ : tiles[0].group_cols / step_) {
    // A call of fewer tiles makes the sums of its first one again and leaves them.
    for (int t = 0; t < kMaxIntegerTiles; ++t) panels_[t] = panel_ + (t < tile_count ? t : 0);
  }

  void run(const IntegerInput* inputs, u64 vectors, float* out, u64 out_stride) noexcept {
    const TileShapes shapes(width_);
    const u64 most = kBlockInputs / step_ < kSegments ? kBlockInputs / step_ : kSegments;
    for (u64 first = 0; first < count_; first += most) {
      const SegmentBlock block = {first, count_ - first < most ? count_ - first : most, per_group_};
      for (int t = 0; t < tile_count_; ++t) {
        unpack_(tiles_[t], first * step_, block.count * step_, panel_[t]);
        segments_.widen(tiles_[t], block, 0, parameters_[t]);
      }
      for (u64 v = 0; v < vectors; v += kVectors)
        multiply_block(block, inputs + v, vectors - v < kVectors ? vectors - v : kVectors, out + v * out_stride,
                       out_stride);
    }
  }

 private:
  void multiply_block(const SegmentBlock& block, const IntegerInput* inputs, u64 vectors, float* out,
                      u64 out_stride) noexcept {
    gather(inputs, vectors, block.first * step_, block.count * step_, width_, inputs_);
    used_by_tiles(this);
    const u64 products = step_ / width_, rows = width_ / kFieldInputs;
    for (u64 segment = 0; segment < block.count; ++segment) {
      const auto* const a = inputs_.rows + segment * products;
      const u64 row = segment * step_ / kFieldInputs;
      (tiles_[0].is_signed ? segment_sums<true> : segment_sums<false>)(a, products, panels_, row, rows, sums_, segment);
    }
    used_by_tiles(this);
    for (int t = 0; t < tile_count_; ++t) {
      segments_.add(parameters_[t], block, inputs, vectors, {sums_[t].of[0], kVectors},
                    out + static_cast<u64>(t) * kRows, out_stride);
    }
  }

  const SegmentKernels& segments_ = avx512vnni_segments();
  Unpack unpack_;
  const IntegerTile* tiles_;
  int tile_count_;
  u64 step_, width_, count_, per_group_;  // inputs of a segment and of a product of tiles; segments
  const Panel* panels_[kMaxIntegerTiles];
  Panel panel_[kMaxIntegerTiles];
  BlockParameters parameters_[kMaxIntegerTiles];
  Inputs inputs_;
  Sums sums_[kMaxIntegerTiles];
};

void multiply(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput* inputs, u64 vectors,
              float* out, u64 out_stride) noexcept {
  // A last part of few inputs goes the way of few inputs.
  const u64 rest = vectors % kVectors < kFewVectors ? vectors % kVectors : 0;
  const u64 many = vectors - rest;
  if (many > 0) {
    for (u64 v = 0; v < many; ++v) {
      for (u64 r = 0; r < static_cast<u64>(tile_count) * kRows; ++r) out[v * out_stride + r] = 0;
    }
    TileProduct(tiles, tile_count, layout).run(inputs, many, out, out_stride);
  }
  if (rest == 0) return;
  avx512vnni_integer_kernels().multiply(tiles, tile_count, layout, inputs + many, rest, out + many * out_stride,
                                        out_stride);
}

}  // namespace

const KernelTable& amx_table() noexcept {
  static const KernelTable table = {"amx",   nullptr,
                                    nullptr, nullptr,
                                    nullptr, nullptr,
                                    nullptr, nullptr,
                                    nullptr, nullptr,
                                    nullptr, nullptr,
                                    nullptr, amx_float_kernels(),
                                    {},      {nullptr, multiply, multiply}};
  return table;
}

}  // namespace ingot::kernels

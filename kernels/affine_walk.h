// The walk over an affine tile, column by column, and what it does with the values: what does not depend on the width
// of registers. Included only by files of instruction sets, each of which holds its own copy (house style section 5).
#pragma once

#include <cstdint>

#include "kernels/code_slices.h"
#include "kernels/kernel_table.h"

namespace ingot::kernels {
namespace {

// `Isa` has for the 16 outputs of a tile:
//   Numbers                                       a float for each
//   load(const float*), store(float*, Numbers)    dense
//   broadcast(const float*), zero(), add(a, b), multiply_add(a, b, c)
//   kSums                                         so many chains of additions keep the processor busy
//   value<kBits, kSigned, kSubtract>(slices, input, scale, offset)    of one input, counted from where the slices begin

// Where the values go: into sums with the input vector, or into a panel.
template <class Isa>
struct DotSink {
  const float* x;
  typename Isa::Numbers sums[Isa::kSums];  // by column mod kSums
  inline __attribute__((always_inline)) void take(std::uint64_t col, std::uint64_t phase,
                                                  const typename Isa::Numbers& values) noexcept {
    sums[phase] = Isa::multiply_add(values, Isa::broadcast(x + col), sums[phase]);
  }
};
template <class Isa>
struct PanelSink {
  float* panel;
  inline __attribute__((always_inline)) void take(std::uint64_t col, std::uint64_t,
                                                  const typename Isa::Numbers& values) noexcept {
    Isa::store(panel + col * kLineWords, values);
  }
};

constexpr std::uint64_t kHalfRun = 16, kWholeRun = 32;  // inputs

template <class Isa, std::uint32_t kBits, bool kSigned, bool kSubtract, class Sink>
void walk(const AffineTile& tile, Sink& sink) noexcept {
  const bool one_group = tile.group_cols >= tile.cols;
  std::uint64_t col = 0;
  if (one_group || tile.group_cols % kHalfRun == 0) {
    for (; col + kHalfRun <= tile.cols; col += kHalfRun) {
      const std::uint64_t parameter = one_group ? 0 : col / tile.group_cols * kLineWords;
      const auto scale = Isa::load(tile.scales + parameter), offset = Isa::load(tile.offsets + parameter);
      const Run run = run_at<kBits>(tile, col / kWholeRun);  // positions inside become constants
      if (col % kWholeRun == 0) {
#pragma GCC unroll 16
        for (std::uint64_t i = 0; i < kHalfRun; ++i)
          sink.take(col + i, i % Isa::kSums, Isa::template value<kBits, kSigned, kSubtract>(run, i, scale, offset));
      } else {
#pragma GCC unroll 16
        for (std::uint64_t i = kHalfRun; i < kWholeRun; ++i) {
          sink.take(col + i - kHalfRun, i % Isa::kSums,
                    Isa::template value<kBits, kSigned, kSubtract>(run, i, scale, offset));
        }
      }
    }
  }
  for (; col < tile.cols; ++col) {
    const std::uint64_t parameter = col / tile.group_cols * kLineWords;
    const Run run = run_at<kBits>(tile, col / kWholeRun);
    sink.take(col, col % Isa::kSums,
              Isa::template value<kBits, kSigned, kSubtract>(run, col % kWholeRun, Isa::load(tile.scales + parameter),
                                                             Isa::load(tile.offsets + parameter)));
  }
}

template <class Isa, std::uint32_t kBits, class Sink>
void walk_bits(const AffineTile& tile, Sink& sink) noexcept {
  if (tile.is_signed) {
    tile.subtract_offset ? walk<Isa, kBits, true, true>(tile, sink) : walk<Isa, kBits, true, false>(tile, sink);
  } else {
    tile.subtract_offset ? walk<Isa, kBits, false, true>(tile, sink) : walk<Isa, kBits, false, false>(tile, sink);
  }
}

template <class Isa, class Sink>
void walk_any(const AffineTile& tile, Sink& sink) noexcept {
  using Walk = void (*)(const AffineTile&, Sink&) noexcept;
  static constexpr Walk kWalks[9] = {nullptr,
                                     walk_bits<Isa, 1, Sink>,
                                     walk_bits<Isa, 2, Sink>,
                                     walk_bits<Isa, 3, Sink>,
                                     walk_bits<Isa, 4, Sink>,
                                     walk_bits<Isa, 5, Sink>,
                                     walk_bits<Isa, 6, Sink>,
                                     walk_bits<Isa, 7, Sink>,
                                     walk_bits<Isa, 8, Sink>};
  kWalks[tile.bits](tile, sink);
}

// The dot product of all 16 outputs with x (cols), and all values (cols, 16).
template <class Isa>
void tile_dot(const AffineTile& tile, const float* x, float* out) noexcept {
  DotSink<Isa> sink = {x, {}};
  for (auto& sum : sink.sums) sum = Isa::zero();
  walk_any<Isa>(tile, sink);
  for (std::uint64_t step = 1; step < Isa::kSums; step *= 2)
    for (std::uint64_t i = 0; i < Isa::kSums; i += 2 * step) sink.sums[i] = Isa::add(sink.sums[i], sink.sums[i + step]);
  Isa::store(out, sink.sums[0]);
}

template <class Isa>
void tile_decode(const AffineTile& tile, float* panel) noexcept {
  PanelSink<Isa> sink = {panel};
  walk_any<Isa>(tile, sink);
}

}  // namespace
}  // namespace ingot::kernels

// Where the bits of a code lie in the words of a tile (spec/planes.md section 4.3), in terms that become constants.
// Included only by files of instruction sets, each of which holds its own copy (house style section 5).
#pragma once

#include <cstdint>

namespace ingot::kernels {
namespace {

constexpr std::uint64_t kLineWords = 16;  // one of each output of a tile

// Slice widths of a kBits code: 3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1.
template <std::uint32_t kBits>
struct Slices {
  static constexpr std::uint32_t low = kBits == 8 ? 8 : kBits >= 4 ? 4 : kBits >= 2 ? 2 : 1;
  static constexpr std::uint32_t middle = kBits == 6 || kBits == 7 ? 2 : kBits == 5 || kBits == 3 ? 1 : 0;
  static constexpr std::uint32_t top = kBits == 7 ? 1 : 0;
};

// Bit position of input `input` (counted inside one word) in a higher slice of p bits.
template <std::uint32_t kLow, std::uint32_t p>
constexpr std::uint32_t high_shift(std::uint32_t input) noexcept {
  constexpr std::uint32_t kPerByte = 8 / kLow;
  const std::uint32_t run = input / (4 * kPerByte), within = input % (4 * kPerByte);
  return 8 * (within / kPerByte) + p * (run * kPerByte + within % kPerByte);
}

// Where the words of a run of 32 inputs lie: (width of the slice) lines of each slice.
struct Run {
  const std::uint32_t* slices[3];
};

// `Tile`: with slices, low slice first.
template <std::uint32_t kBits, class Tile>
Run run_at(const Tile& tile, std::uint64_t run) noexcept {
  using S = Slices<kBits>;
  Run result = {{tile.slices[0] + run * S::low * kLineWords, nullptr, nullptr}};
  if constexpr (S::middle != 0) result.slices[1] = tile.slices[1] + run * S::middle * kLineWords;
  if constexpr (S::top != 0) result.slices[2] = tile.slices[2] + run * S::top * kLineWords;
  return result;
}

}  // namespace
}  // namespace ingot::kernels

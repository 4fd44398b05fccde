#include "converters/layouts/linear_parts.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using tensor::kLineBytes;
using tensor::kTileRows;

std::uint64_t outputs_of_tile(std::uint64_t tile, std::uint64_t outputs) noexcept {
  return std::min(kTileRows, outputs - tile * kTileRows);
}

template <class Copy>
void store_group_rows(const LinearView& view, const PartRange& range, std::uint64_t element_bytes, const Copy& copy) {
  const std::uint64_t row_bytes = view.outputs() * element_bytes;
  const std::uint64_t begin = range.begin() / row_bytes;
  const std::uint64_t end = std::min(ceil_div(range.end(), row_bytes), view.groups());
  const std::uint64_t tile_bytes = kTileRows * element_bytes;
  std::vector<std::byte> tile_rows(begin < end ? (end - begin) * tile_bytes : 0);
  for (std::uint64_t tile = 0; tile < view.tiles() && begin < end; ++tile) {
    copy(tile, begin, end, tile_rows.data());
    for (std::uint64_t row = begin; row < end; ++row)
      range.put(row * row_bytes + tile * tile_bytes, tile_rows.data() + (row - begin) * tile_bytes,
                outputs_of_tile(tile, view.outputs()) * element_bytes);
  }
}

// Where a code of a block of 16 inputs x 64 outputs stands: word in 0..127, shift.
struct MarlinPlace {
  std::uint8_t word, shift;
};
constexpr MarlinPlace marlin_place(std::uint64_t input, std::uint64_t output) noexcept {
  constexpr std::array<std::uint8_t, 8> kSlot = {0, 4, 1, 5, 2, 6, 3, 7};
  const std::uint64_t column = output % 8, half = output % 16 / 8;
  const std::uint64_t lane = column * 4 + input % 8 / 2;
  const std::uint64_t element = half * 4 + input % 2 + input / 8 * 2;
  return {static_cast<std::uint8_t>(lane * 4 + output / 16), static_cast<std::uint8_t>(4 * kSlot[element])};
}
constexpr std::uint64_t kMarlinInputs = 16, kMarlinOutputs = 64, kMarlinBlockWords = 128;

// Column of the permuted scales that belongs to place `at` of a run of columns.
std::uint64_t marlin_scale_column(std::uint64_t at, bool by_group) noexcept {
  constexpr std::array<std::uint8_t, 8> kRowWise = {0, 1, 8, 9, 16, 17, 24, 25};
  if (by_group) return at / 64 * 64 + at % 64 / 8 + at % 8 * 8;
  return at / 32 * 32 + at % 32 / 8 * 2 + kRowWise[at % 8];
}

}  // namespace

void PartRange::put(std::uint64_t offset, const std::byte* bytes, std::uint64_t count) const noexcept {
  const std::uint64_t first = std::max(offset, begin_), last = std::min(offset + count, end());
  if (first < last) std::memcpy(out_.data() + (first - begin_), bytes + (first - offset), last - first);
}

void GroupRows::load(std::uint64_t tile, std::byte* parameters) const noexcept {
  const std::uint64_t present = outputs_of_tile(tile, outputs) * element_bytes, tile_bytes = kTileRows * element_bytes;
  const std::byte* from = data + tile * tile_bytes;
  for (std::uint64_t group = 0; group < groups; ++group, parameters += tile_bytes, from += outputs * element_bytes) {
    std::memcpy(parameters, from, present);
    std::fill_n(parameters + present, tile_bytes - present, std::byte{0});
  }
}

void store_scales(const LinearView& view, const PartRange& range) {
  store_group_rows(view, range, view.scale_bytes(),
                   [&](std::uint64_t tile, std::uint64_t begin, std::uint64_t end, std::byte* out) {
                     view.scales(tile, begin, end, out);
                   });
}

void store_offsets(const LinearView& view, const PartRange& range) {
  store_group_rows(view, range, view.offset_bytes(),
                   [&](std::uint64_t tile, std::uint64_t begin, std::uint64_t end, std::byte* out) {
                     view.offsets(tile, begin, end, out);
                   });
}

void MarlinWords::load(std::uint64_t begin, std::uint64_t end, std::byte* lines,
                       std::uint64_t stride_bytes) const noexcept {
  for (std::uint64_t tile = begin; tile < end; ++tile, lines += stride_bytes) {
    const std::uint64_t first_output = tile * kTileRows % kMarlinOutputs;
    const std::byte* block = data + tile * kTileRows / kMarlinOutputs * kMarlinBlockWords * 4;
    for (std::uint64_t row = 0; row < inputs / kMarlinInputs; ++row, block += outputs * 2 * 4) {
      std::array<std::uint32_t, 2 * kTileRows> words{};  // two lines of 8 inputs
      for (std::uint64_t output = 0; output < kTileRows; ++output) {
        for (std::uint64_t input = 0; input < kMarlinInputs; ++input) {
          const MarlinPlace place = marlin_place(input, first_output + output);
          const std::uint32_t code = load_le<std::uint32_t>(block + place.word * 4u) >> place.shift & 15u;
          words[input / 8 * kTileRows + output] |= code << (input % 8 * 4);
        }
      }
      std::memcpy(lines + row * 2 * kLineBytes, words.data(), sizeof words);
    }
  }
}

void store_marlin(const LinearView& view, const PartRange& range) {
  const std::uint64_t row_bytes = view.outputs() * 2 * 4, rows = view.inputs() / kMarlinInputs;
  const std::uint64_t begin = range.begin() / row_bytes, end = std::min(ceil_div(range.end(), row_bytes), rows);
  std::vector<std::byte> scratch;
  for (std::uint64_t row = begin; row < end; ++row) {
    for (std::uint64_t first = 0; first < view.outputs(); first += kMarlinOutputs) {
      std::array<std::uint32_t, kMarlinBlockWords> words{};
      for (std::uint64_t output = 0; output < kMarlinOutputs; ++output) {
        const std::uint64_t tile = (first + output) / kTileRows, lane = output % kTileRows;
        const std::byte* lines = view.lines(tile, row * 2, row * 2 + 2, scratch);
        for (std::uint64_t input = 0; input < kMarlinInputs; ++input) {
          const MarlinPlace place = marlin_place(input, output);
          const std::uint32_t word = load_le<std::uint32_t>(lines + input / 8 * kLineBytes + lane * 4);
          words[place.word] |= (word >> (input % 8 * 4) & 15u) << place.shift;
        }
      }
      range.put(row * row_bytes + first * 2 * 4, reinterpret_cast<const std::byte*>(words.data()), sizeof words);
    }
  }
}

void MarlinScales::load(std::uint64_t tile, std::byte* parameters) const noexcept {
  for (std::uint64_t group = 0; group < groups; ++group) {
    const std::byte* row = data + group * outputs * element_bytes;
    // The permutation stays inside runs of 64 columns: the four tiles around this one.
    const std::uint64_t run = tile * kTileRows / kMarlinOutputs * kMarlinOutputs;
    for (std::uint64_t at = run; at < run + kMarlinOutputs; ++at) {
      const std::uint64_t column = marlin_scale_column(at, groups > 1);
      if (column / kTileRows != tile) continue;
      std::memcpy(parameters + (group * kTileRows + column % kTileRows) * element_bytes, row + at * element_bytes,
                  element_bytes);
    }
  }
}

void store_marlin_scales(const LinearView& view, const PartRange& range) {
  const std::uint64_t element_bytes = view.scale_bytes(), columns = view.outputs();
  std::vector<std::byte> plain(view.groups() * columns * element_bytes), permuted(plain.size());
  store_scales(view, PartRange(0, plain));
  for (std::uint64_t group = 0; group < view.groups(); ++group) {
    const std::uint64_t row = group * columns;
    for (std::uint64_t at = 0; at < columns; ++at) {
      const std::uint64_t from = row + marlin_scale_column(at, view.groups() > 1);
      std::memcpy(permuted.data() + (row + at) * element_bytes, plain.data() + from * element_bytes, element_bytes);
    }
  }
  range.put(0, permuted.data(), permuted.size());
}

}  // namespace ingot::convert

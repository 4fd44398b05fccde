#include "converters/layouts/awq_planes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "format/base/checked_math.h"
#include "format/tensor/tile_loops.h"

namespace ingot::convert::awq {
namespace {

using tensor::kLineBytes;
using tensor::kTileRows;

constexpr std::uint64_t kWordCodes = 8;
constexpr std::array<std::uint32_t, kWordCodes> kSlotOfOutput = {0, 4, 1, 5, 2, 6, 3, 7};
constexpr std::array<std::uint32_t, kWordCodes> kOutputOfSlot = {0, 2, 4, 6, 1, 3, 5, 7};

std::uint64_t outputs_of_tile(std::uint64_t tile, std::uint64_t outputs) noexcept {
  return std::min(kTileRows, outputs - tile * kTileRows);
}

constexpr std::uint64_t kWords = 8, kTiles = kWords / 2;  // of GEMM handled at once: 64 outputs, 4 tiles
using Squares = std::array<std::uint32_t, kWords * kWordCodes>;

std::byte* bytes_of(Squares& squares) noexcept { return reinterpret_cast<std::byte*>(squares.data()); }

/// 4 nibbles of each of 4 u16 words, transposed.
std::uint64_t transpose_4x4(std::uint64_t x) noexcept {
  std::uint64_t swapped = ((x >> 12) ^ x) & 0x0000f0f00000f0f0u;  // nibbles (row, column) of odd distance 1
  x ^= swapped ^ (swapped << 12);
  swapped = ((x >> 24) ^ x) & 0x00000000ff00ff00u;
  return x ^ swapped ^ (swapped << 24);
}

}  // namespace

// --- GEMM ------------------------------------------------------------------------------------------------------------
void GemmWords::load(std::uint64_t begin, std::uint64_t end, std::byte* lines,
                     std::uint64_t stride_bytes) const noexcept {
  const std::uint64_t row_words = outputs / kWordCodes, row_bytes = row_words * 4;
  const std::uint64_t word_end = std::min(end * 2, row_words), blocks = ceil_div(inputs, kWordCodes);
  constexpr std::uint64_t kBlocksAhead = 3;
  const tensor::TileLoops& loops = tensor::tile_loops();
  for (std::uint64_t block = 0; block < blocks; ++block) {
    const std::uint64_t rows = std::min(kWordCodes, inputs - block * kWordCodes);
    const std::byte* from = data + block * kWordCodes * row_bytes;
    const std::uint64_t ahead = std::min(kBlocksAhead, blocks - 1 - block) * kWordCodes * row_bytes;
    for (std::uint64_t word = begin * 2; word < end * 2; word += kWords) {
      const std::uint64_t count = word < word_end ? std::min(kWords, word_end - word) : 0;
      Squares squares;
      if (rows == kWordCodes && count == kWords) {
        for (std::uint64_t row = 0; row < kWordCodes; ++row)  // rows are too far apart for the hardware to foresee them
          __builtin_prefetch(from + ahead + row * row_bytes + word * 4);
        loops.squares_of_rows(from + word * 4, row_bytes, kSlotOfOutput.data(), bytes_of(squares));
      } else {
        Squares padded{};
        for (std::uint64_t row = 0; row < rows; ++row)
          std::memcpy(&padded[row * kWords], from + row * row_bytes + word * 4, count * 4);
        loops.squares_of_rows(bytes_of(padded), kWords * 4, kSlotOfOutput.data(), bytes_of(squares));
      }
      std::byte* line = lines + (word / 2 - begin) * stride_bytes + block * kLineBytes;
      const std::uint64_t tiles = std::min(kTiles, end - word / 2);
      for (std::uint64_t i = 0; i < tiles; ++i, line += stride_bytes)
        std::memcpy(line, bytes_of(squares) + i * kLineBytes, kLineBytes);
    }
  }
}

namespace {

/// Eight inputs of four tiles: rows of words, at their place or, where the range or the matrix ends, through a buffer.
void store_squares(Squares& squares, std::uint64_t first_row, std::uint64_t rows, std::uint64_t row_bytes,
                   std::uint64_t tile, std::uint64_t words, const PartRange& range) noexcept {
  const tensor::TileLoops& loops = tensor::tile_loops();
  const std::uint64_t offset = first_row * row_bytes + tile * 8;
  std::byte* place =
      rows == kWordCodes && words == kWords ? range.place(offset, (kWordCodes - 1) * row_bytes + kWords * 4) : nullptr;
  if (place != nullptr) return loops.rows_of_squares(bytes_of(squares), kOutputOfSlot.data(), place, row_bytes);
  Squares turned;
  loops.rows_of_squares(bytes_of(squares), kOutputOfSlot.data(), bytes_of(turned), kWords * 4);
  for (std::uint64_t row = 0; row < rows; ++row)
    range.put(offset + row * row_bytes, bytes_of(turned) + row * kWords * 4, words * 4);
}

}  // namespace

void store_gemm(const LinearView& view, const PartRange& range) {
  const std::uint64_t row_words = view.outputs() / kWordCodes, row_bytes = row_words * 4;
  const std::uint64_t begin = range.begin() / row_bytes;
  const std::uint64_t end = std::min(ceil_div(range.end(), row_bytes), view.inputs());
  if (begin >= end) return;
  constexpr std::uint64_t kStrip = 8;  // blocks: their rows stay in the cache until all tiles have been there
  std::array<std::vector<std::byte>, kTiles> scratch;
  const std::uint64_t last = ceil_div(end, kWordCodes);
  for (std::uint64_t strip = begin / kWordCodes; strip < last; strip += kStrip) {
    const std::uint64_t strip_end = std::min(strip + kStrip, last);
    for (std::uint64_t tile = 0; tile < view.tiles(); tile += kTiles) {
      const std::uint64_t tiles = std::min(kTiles, view.tiles() - tile);
      std::array<const std::byte*, kTiles> lines{};
      for (std::uint64_t i = 0; i < tiles; ++i) lines[i] = view.lines(tile + i, strip, strip_end, scratch[i]);
      const std::uint64_t words = std::min(tiles * 2, row_words - tile * 2);
      for (std::uint64_t block = strip; block < strip_end; ++block) {
        Squares squares;
        for (std::uint64_t i = 0; i < kTiles; ++i)
          std::memcpy(&squares[i * kTileRows], lines[std::min(i, tiles - 1)] + (block - strip) * kLineBytes,
                      kLineBytes);
        const std::uint64_t rows = std::min(end - block * kWordCodes, kWordCodes);
        store_squares(squares, block * kWordCodes, rows, row_bytes, tile, words, range);
      }
    }
  }
}

void GemmZeros::load(std::uint64_t tile, std::byte* parameters) const noexcept {
  const std::uint64_t row_bytes = outputs / 2, present = outputs_of_tile(tile, outputs);
  for (std::uint64_t group = 0; group < groups; ++group, parameters += kTileRows) {
    std::fill_n(parameters, kTileRows, std::byte{0});
    for (std::uint64_t word = 0; word < present / kWordCodes; ++word) {
      const auto packed = load_le<std::uint32_t>(data + group * row_bytes + (tile * 2 + word) * 4);
      for (std::size_t output = 0; output < kWordCodes; ++output)
        parameters[word * kWordCodes + output] = static_cast<std::byte>(packed >> (4 * kSlotOfOutput[output]) & 15u);
    }
  }
}

void store_gemm_zeros(const LinearView& view, const PartRange& range) {
  const std::uint64_t row_bytes = view.outputs() / 2, begin = range.begin() / row_bytes;
  const std::uint64_t end = std::min(ceil_div(range.end(), row_bytes), view.groups());
  if (begin >= end) return;
  std::vector<std::byte> zeros((end - begin) * kTileRows);
  for (std::uint64_t tile = 0; tile < view.tiles(); ++tile) {
    view.offsets(tile, begin, end, zeros.data());
    const std::uint64_t words = outputs_of_tile(tile, view.outputs()) / kWordCodes;
    for (std::uint64_t row = begin; row < end; ++row) {
      std::array<std::uint32_t, 2> packed{};
      for (std::size_t output = 0; output < kTileRows; ++output) {
        const auto zero = std::to_integer<std::uint32_t>(zeros[(row - begin) * kTileRows + output]) & 15u;
        packed[output / kWordCodes] |= zero << (4 * kSlotOfOutput[output % kWordCodes]);
      }
      range.put(row * row_bytes + tile * 8, reinterpret_cast<const std::byte*>(packed.data()), words * 4);
    }
  }
}

// --- GEMV ------------------------------------------------------------------------------------------------------------
void GemvWords::load(std::uint64_t begin, std::uint64_t end, std::byte* lines,
                     std::uint64_t stride_bytes) const noexcept {
  const std::uint64_t words = inputs / kWordCodes;
  for (std::uint64_t tile = begin; tile < end; ++tile, lines += stride_bytes) {
    const std::uint64_t present = outputs_of_tile(tile, outputs);
    const std::byte* from = data + tile * kTileRows * words * 4;
    for (std::uint64_t word = 0; word < words; ++word) {
      std::array<std::uint32_t, kTileRows> line{};
      for (std::uint64_t row = 0; row < present; ++row)
        line[row] = load_le<std::uint32_t>(from + (row * words + word) * 4);
      std::memcpy(lines + word * kLineBytes, line.data(), sizeof line);
    }
  }
}

void store_gemv(const LinearView& view, const PartRange& range) {
  const std::uint64_t words = view.inputs() / kWordCodes, row_bytes = words * 4;
  const std::uint64_t begin = range.begin() / row_bytes;
  const std::uint64_t end = std::min(ceil_div(range.end(), row_bytes), view.outputs());
  std::vector<std::byte> scratch, row_words(row_bytes * kTileRows);
  for (std::uint64_t tile = begin / kTileRows; tile * kTileRows < end; ++tile) {
    const std::byte* lines = view.lines(tile, 0, words, scratch);
    for (std::uint64_t word = 0; word < words; ++word)
      for (std::uint64_t row = 0; row < kTileRows; ++row)
        std::memcpy(row_words.data() + row * row_bytes + word * 4, lines + word * kLineBytes + row * 4, 4);
    range.put(tile * kTileRows * row_bytes, row_words.data(), outputs_of_tile(tile, view.outputs()) * row_bytes);
  }
}

std::uint64_t gemv_zeros_width(std::uint64_t inputs, std::uint64_t group_size) noexcept {
  const std::uint64_t multiple = group_size >= 128 ? 1 : group_size == 64 ? 2 : group_size == 32 ? 4 : 0;
  return multiple == 0 ? 0 : align_up(ceil_div(inputs / group_size, kWordCodes), multiple);
}

void GemvParameters::load(std::uint64_t tile, std::byte* parameters) const noexcept {
  const std::uint64_t present = outputs_of_tile(tile, outputs), size = std::max<std::uint64_t>(element_bytes, 1);
  std::fill_n(parameters, groups * kTileRows * size, std::byte{0});
  for (std::uint64_t row = 0; row < present; ++row) {
    const std::byte* from = data + (tile * kTileRows + row) * row_bytes;
    for (std::uint64_t group = 0; group < groups; ++group) {
      std::byte* to = parameters + (group * kTileRows + row) * size;
      if (element_bytes == 0) {
        *to = (from[group / 2] >> (4 * (group % 2))) & std::byte{15};
      } else {
        std::memcpy(to, from + group * size, size);
      }
    }
  }
}

namespace {

/// Rows of outputs: `copy` gives the elements of a tile, `place` puts element `group` into the row.
template <class Copy, class Place>
void store_gemv_rows(const LinearView& view, const PartRange& range, std::uint64_t row_bytes,
                     std::uint64_t element_bytes, const Copy& copy, const Place& place) {
  const std::uint64_t begin = range.begin() / row_bytes;
  const std::uint64_t end = std::min(ceil_div(range.end(), row_bytes), view.outputs());
  std::vector<std::byte> elements(view.groups() * kTileRows * element_bytes), row_of(row_bytes);
  for (std::uint64_t tile = begin / kTileRows; tile * kTileRows < end; ++tile) {
    copy(tile, elements.data());
    for (std::uint64_t row = 0; row < outputs_of_tile(tile, view.outputs()); ++row) {
      std::fill(row_of.begin(), row_of.end(), std::byte{0});
      for (std::uint64_t group = 0; group < view.groups(); ++group)
        place(row_of.data(), group, elements.data() + (group * kTileRows + row) * element_bytes);
      range.put((tile * kTileRows + row) * row_bytes, row_of.data(), row_bytes);
    }
  }
}

}  // namespace

void store_gemv_scales(const LinearView& view, const PartRange& range) {
  const std::uint64_t size = view.scale_bytes();
  store_gemv_rows(
      view, range, gemv_zeros_width(view.inputs(), view.group_size()) * kWordCodes * size, size,
      [&](std::uint64_t tile, std::byte* out) { view.scales(tile, 0, view.groups(), out); },
      [&](std::byte* row, std::uint64_t group, const std::byte* scale) {
        std::memcpy(row + group * size, scale, size);
      });
}

void store_gemv_zeros(const LinearView& view, const PartRange& range) {
  store_gemv_rows(
      view, range, gemv_zeros_width(view.inputs(), view.group_size()) * 4, 1,
      [&](std::uint64_t tile, std::byte* out) { view.offsets(tile, 0, view.groups(), out); },
      [](std::byte* row, std::uint64_t group, const std::byte* zero) {
        row[group / 2] |= (*zero & std::byte{15}) << (4 * (group % 2));
      });
}

// --- GEMV_FAST
// ---------------------------------------------------------------------------------------------------------------- In a
// block of 4 outputs x 64 inputs, 64 u16 words: word 16 * output + 8 * half + j holds inputs 32 * half + j + 8 *
// nibble.
namespace {
constexpr std::uint64_t kFastOutputs = 4, kFastInputs = 64, kFastBytes = 128;
}

void FastWords::load(std::uint64_t begin, std::uint64_t end, std::byte* lines,
                     std::uint64_t stride_bytes) const noexcept {
  for (std::uint64_t tile = begin; tile < end; ++tile, lines += stride_bytes) {
    const std::uint64_t present = outputs_of_tile(tile, outputs);
    for (std::uint64_t half = 0; half < inputs / 32; ++half) {
      std::array<std::array<std::uint32_t, kTileRows>, 4> quad{};
      for (std::uint64_t row = 0; row < present; ++row) {
        const std::uint64_t output = tile * kTileRows + row;
        const std::byte* from = data + output / kFastOutputs * inputs * 2 + half / 2 * kFastBytes +
                                output % kFastOutputs * 32 + half % 2 * 16;
        const std::uint64_t low = transpose_4x4(load_le<std::uint64_t>(from));
        const std::uint64_t high = transpose_4x4(load_le<std::uint64_t>(from + 8));
        for (unsigned i = 0; i < 4; ++i) {
          const std::uint64_t word = (low >> (16 * i) & 0xffff) | (high >> (16 * i) & 0xffff) << 16;
          quad[i][row] = static_cast<std::uint32_t>(word);
        }
      }
      std::memcpy(lines + half * 4 * kLineBytes, quad.data(), sizeof quad);
    }
  }
}

void store_fast(const LinearView& view, const PartRange& range) {
  const std::uint64_t row_bytes = view.inputs() * 2, rows = view.outputs() / kFastOutputs;
  const std::uint64_t begin = range.begin() / row_bytes, end = std::min(ceil_div(range.end(), row_bytes), rows);
  std::vector<std::byte> scratch;
  for (std::uint64_t row = begin; row < end; ++row) {
    const std::uint64_t tile = row * kFastOutputs / kTileRows;
    const std::byte* lines = view.lines(tile, 0, view.line_count(), scratch);
    for (std::uint64_t block = 0; block < view.inputs() / kFastInputs; ++block) {
      std::array<std::uint64_t, kFastBytes / 8> words;
      for (std::uint64_t part = 0; part < kFastOutputs * 2; ++part) {  // output, half
        const std::uint64_t lane = row * kFastOutputs % kTileRows + part / 2, line = block * 8 + part % 2 * 4;
        std::uint64_t low = 0, high = 0;
        for (unsigned i = 0; i < 4; ++i) {
          const auto word = load_le<std::uint32_t>(lines + (line + i) * kLineBytes + lane * 4);
          low |= std::uint64_t{word & 0xffff} << (16 * i);
          high |= std::uint64_t{word >> 16} << (16 * i);
        }
        words[part * 2] = transpose_4x4(low);
        words[part * 2 + 1] = transpose_4x4(high);
      }
      range.put(row * row_bytes + block * kFastBytes, reinterpret_cast<const std::byte*>(words.data()), sizeof words);
    }
  }
}

}  // namespace ingot::convert::awq

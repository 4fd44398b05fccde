#include "converters/layouts/gptq_planes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "format/base/checked_math.h"

namespace ingot::convert::gptq {
namespace {

using tensor::kLineBytes;
using tensor::kTileRows;

constexpr std::uint64_t kRun = 32;  // codes in a planar block; 32 codes are `bits` whole words
using RunWords = std::array<std::uint32_t, 8>;
using RunCodes = std::array<std::uint8_t, kRun>;

std::uint64_t outputs_of_tile(std::uint64_t tile, std::uint64_t outputs) noexcept {
  return std::min(kTileRows, outputs - tile * kTileRows);
}

RunCodes unpack_dense(const RunWords& words, std::uint8_t bits) noexcept {
  RunCodes codes;
  for (std::uint64_t i = 0; i < kRun; ++i) {
    const std::uint64_t at = i * bits;
    std::uint64_t pair = words[at / 32];
    if (at / 32 + 1 < bits) pair |= std::uint64_t{words[at / 32 + 1]} << 32;
    codes[i] = static_cast<std::uint8_t>(pair >> (at % 32) & ((1u << bits) - 1));
  }
  return codes;
}
RunWords pack_dense(const RunCodes& codes, std::uint8_t bits) noexcept {
  RunWords words{};
  for (std::uint64_t i = 0; i < kRun; ++i) {
    const std::uint64_t at = i * bits, pair = std::uint64_t{codes[i]} << (at % 32);
    words[at / 32] |= static_cast<std::uint32_t>(pair);
    if (at / 32 + 1 < bits) words[at / 32 + 1] |= static_cast<std::uint32_t>(pair >> 32);
  }
  return words;
}

/// Calls visit(word, shift, low_bit, width) for the fields of one code: the planes are the binary digits of the width.
template <class Visit>
void visit_planar(std::uint8_t bits, std::uint64_t input, const Visit& visit) {
  std::uint64_t first_word = 0;
  unsigned low_bit = 0;
  for (const unsigned width : {8u, 4u, 2u, 1u}) {
    if ((bits & width) == 0) continue;
    const std::uint64_t per_word = 32 / width;
    visit(first_word + input / per_word, static_cast<unsigned>(input % per_word) * width, low_bit, width);
    first_word += width;
    low_bit += width;
  }
}

RunCodes unpack_planar(const RunWords& words, std::uint8_t bits) noexcept {
  RunCodes codes{};
  for (std::uint64_t i = 0; i < kRun; ++i) {
    visit_planar(bits, i, [&](std::uint64_t word, unsigned shift, unsigned low_bit, unsigned width) {
      const std::uint32_t field = words[word] >> shift & ((1u << width) - 1);
      codes[i] = static_cast<std::uint8_t>(codes[i] | field << low_bit);
    });
  }
  return codes;
}
RunWords pack_planar(const RunCodes& codes, std::uint8_t bits) noexcept {
  RunWords words{};
  for (std::uint64_t i = 0; i < kRun; ++i) {
    visit_planar(bits, i, [&](std::uint64_t word, unsigned shift, unsigned low_bit, unsigned width) {
      words[word] |= (static_cast<std::uint32_t>(codes[i]) >> low_bit & ((1u << width) - 1)) << shift;
    });
  }
  return words;
}

/// Changes the order of bits in runs of `bits` lines, lane by lane.
template <class Unpack, class Pack>
void convert_runs(std::byte* lines, std::uint64_t line_count, std::uint8_t bits, const Unpack& unpack,
                  const Pack& pack) {
  for (std::uint64_t run = 0; run < line_count / bits; ++run, lines += bits * kLineBytes) {
    for (std::uint64_t lane = 0; lane < kTileRows; ++lane) {
      RunWords words{};
      for (std::uint64_t k = 0; k < bits; ++k) words[k] = load_le<std::uint32_t>(lines + k * kLineBytes + lane * 4);
      words = pack(unpack(words, bits), bits);
      for (std::uint64_t k = 0; k < bits; ++k) store_le(lines + k * kLineBytes + lane * 4, words[k]);
    }
  }
}

// --- Words of 8, 16 and 64 bits: where the pieces of a row's words go in the lines -----------------------------------
struct WordPieces {
  std::uint64_t bytes, count;  // a 64-bit word is two pieces of 4 bytes, the others are one
};
WordPieces pieces_of(std::uint8_t word_bits) noexcept {
  return {std::min<std::uint64_t>(word_bits / 8, 4), word_bits == 64 ? 2u : 1u};
}

void load_row(const std::byte* row, std::uint64_t outputs, std::uint8_t word_bits, std::uint64_t index,
              std::byte* lines, std::uint64_t line_count) noexcept {
  const WordPieces pieces = pieces_of(word_bits);
  for (std::uint64_t piece = 0; piece < pieces.count; ++piece) {
    const std::uint64_t bit = index * word_bits + piece * 32;
    if (bit / 32 >= line_count) return;
    std::byte* line = lines + bit / 32 * kLineBytes + bit % 32 / 8;
    for (std::uint64_t lane = 0; lane < outputs; ++lane)
      std::memcpy(line + lane * 4, row + lane * (word_bits / 8) + piece * 4, pieces.bytes);
  }
}
void store_row(const std::byte* lines, std::uint64_t line_begin, std::uint64_t line_end, std::uint8_t word_bits,
               std::uint64_t index, std::byte* row) noexcept {
  const WordPieces pieces = pieces_of(word_bits);
  for (std::uint64_t piece = 0; piece < pieces.count; ++piece) {
    const std::uint64_t bit = index * word_bits + piece * 32;
    const std::byte* line = lines + (bit / 32 - line_begin) * kLineBytes + bit % 32 / 8;
    for (std::uint64_t lane = 0; lane < kTileRows; ++lane) {
      std::byte* word = row + lane * (word_bits / 8) + piece * 4;
      if (bit / 32 < line_end) {
        std::memcpy(word, line + lane * 4, pieces.bytes);
      } else {
        std::fill_n(word, pieces.bytes, std::byte{0});
      }
    }
  }
}

// --- Zero points -----------------------------------------------------------------------------------------------------
/// A one in every field of a word: what v1 subtracts from whole words.
std::uint32_t ones_of(std::uint8_t bits) noexcept {
  std::uint32_t word = 0;
  for (unsigned at = 0; at < 32; at += bits) word |= 1u << at;
  return word;
}
bool by_words(ZeroCoding coding, std::uint8_t bits) noexcept {
  return coding == ZeroCoding::minus_one_words && 32 % bits == 0;
}
bool by_fields(ZeroCoding coding, std::uint8_t bits) noexcept {
  return coding == ZeroCoding::minus_one || (coding == ZeroCoding::minus_one_words && 32 % bits != 0);
}

RunCodes decode_zeros(RunWords words, std::uint8_t bits, ZeroCoding coding) noexcept {
  if (coding == ZeroCoding::planar) return unpack_planar(words, bits);
  if (by_words(coding, bits))
    for (std::uint32_t& word : words) word += ones_of(bits);
  RunCodes zeros = unpack_dense(words, bits);
  if (by_fields(coding, bits))
    for (std::uint8_t& zero : zeros) zero = static_cast<std::uint8_t>((zero + 1u) & ((1u << bits) - 1));
  return zeros;
}
RunWords encode_zeros(RunCodes zeros, std::uint8_t bits, ZeroCoding coding) noexcept {
  if (coding == ZeroCoding::planar) return pack_planar(zeros, bits);
  if (by_fields(coding, bits))
    for (std::uint8_t& zero : zeros) zero = static_cast<std::uint8_t>((zero - 1u) & ((1u << bits) - 1));
  RunWords words = pack_dense(zeros, bits);
  if (by_words(coding, bits))
    for (std::uint32_t& word : words) word -= ones_of(bits);
  return words;
}

// Nibbles in whole words, which is what nearly every file has.
bool in_plain_nibbles(const ZeroWords& zeros) noexcept { return zeros.bits == 4 && zeros.coding != ZeroCoding::planar; }

/// The eight nibbles of a word, one per byte.
std::uint64_t spread_nibbles(std::uint32_t word) noexcept {
  std::uint64_t x = word;
  x = (x | x << 16) & 0x0000ffff0000ffffu;
  x = (x | x << 8) & 0x00ff00ff00ff00ffu;
  return (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
}

/// Zero points of eight outputs, one per byte.
std::uint64_t decode_zero_nibbles(std::uint32_t word, ZeroCoding coding) noexcept {
  if (coding == ZeroCoding::minus_one_words) word += 0x11111111u;
  const std::uint64_t zeros = spread_nibbles(word);
  if (coding != ZeroCoding::minus_one) return zeros;
  return (zeros + 0x0101010101010101u) & 0x0f0f0f0f0f0f0f0fu;
}

void look_at_nibbles(std::uint32_t word, ZeroEvidence& evidence) noexcept {
  evidence.all_middle &= word == 0x88888888u;
  evidence.all_below_middle &= word == 0x77777777u;
  std::uint32_t ones = word & word >> 1;
  ones &= ones >> 2 & 0x11111111u;
  evidence.all_ones += static_cast<std::uint64_t>(std::popcount(ones));
  evidence.spellings_differ |= (ones & 0x01111111u) != 0;  // the carry out of the last field is lost
}

/// Words of outputs [32 * run, 32 * run + 32) of a row; beyond its end zero.
RunWords load_run(const std::byte* row, std::uint64_t row_bytes, std::uint64_t run, std::uint8_t bits) noexcept {
  RunWords words{};
  const std::uint64_t begin = run * bits * 4;
  if (begin < row_bytes) std::memcpy(words.data(), row + begin, std::min<std::uint64_t>(bits * 4u, row_bytes - begin));
  return words;
}

/// Pieces of 64 bytes of every row. A row is a page or more away from the next, so that only we know what comes next.
void load_lines(const std::byte* data, std::uint64_t row_bytes, std::uint64_t line_count, std::uint64_t begin,
                std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes) noexcept {
  constexpr std::uint64_t kAhead = 6;  // rows
  const std::uint64_t whole_end = std::min(end, row_bytes / kLineBytes);
  for (std::uint64_t k = 0; k < line_count; ++k) {
    const std::byte* row = data + k * row_bytes;
    const std::byte* next = data + std::min(k + kAhead, line_count - 1) * row_bytes;
    std::byte* line = lines + k * kLineBytes;
    for (std::uint64_t tile = begin; tile < whole_end; ++tile, line += stride_bytes) {
      __builtin_prefetch(next + tile * kLineBytes);
      std::memcpy(line, row + tile * kLineBytes, kLineBytes);
    }
    if (whole_end == end) continue;
    const std::uint64_t present = row_bytes - whole_end * kLineBytes;  // the last tile's
    std::memcpy(line, row + whole_end * kLineBytes, present);
    std::fill_n(line + present, kLineBytes - present, std::byte{0});
  }
}

}  // namespace

void CodeWords::load(std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes) const {
  const std::uint64_t line_count = lines_of(inputs, bits), row_bytes = outputs * (word_bits / 8);
  if (word_bits == 32) {
    load_lines(data, row_bytes, line_count, begin, end, lines, stride_bytes);
  } else {
    for (std::uint64_t tile = begin; tile < end; ++tile)
      std::fill_n(lines + (tile - begin) * stride_bytes, line_count * kLineBytes, std::byte{0});
    for (std::uint64_t index = 0; index < ceil_div(inputs * bits, word_bits); ++index) {
      for (std::uint64_t tile = begin; tile < end; ++tile)
        load_row(data + index * row_bytes + tile * kTileRows * (word_bits / 8), outputs_of_tile(tile, outputs),
                 word_bits, index, lines + (tile - begin) * stride_bytes, line_count);
    }
  }
  if (!planar) return;
  for (std::uint64_t tile = begin; tile < end; ++tile)
    convert_runs(lines + (tile - begin) * stride_bytes, line_count, bits, unpack_planar, pack_dense);
}

void store_code_words(const LinearView& view, std::uint8_t word_bits, bool planar, const PartRange& range) {
  const std::uint64_t element_bytes = word_bits / 8, row_bytes = view.outputs() * element_bytes;
  const std::uint64_t rows = ceil_div(view.inputs() * view.bits(), word_bits);
  const std::uint64_t begin = range.begin() / row_bytes, end = std::min(ceil_div(range.end(), row_bytes), rows);
  if (begin >= end) return;
  const std::uint64_t quantum = planar ? view.bits() : 1;  // lines that are converted together
  const std::uint64_t line_begin = begin * word_bits / 32 / quantum * quantum;
  const std::uint64_t line_end = std::min(align_up(ceil_div(end * word_bits, 32), quantum), view.line_count());
  std::vector<std::byte> scratch;
  std::array<std::byte, kTileRows * 8> words;
  for (std::uint64_t tile = 0; tile < view.tiles(); ++tile) {
    const std::byte* lines = view.lines(tile, line_begin, line_end, scratch);
    if (planar && 32 % view.bits() != 0) {  // never in place
      convert_runs(scratch.data(), line_end - line_begin, view.bits(), unpack_dense, pack_planar);
    }
    const std::uint64_t present = outputs_of_tile(tile, view.outputs()) * element_bytes;
    for (std::uint64_t row = begin; row < end; ++row) {
      const std::byte* from = lines + (row - line_begin) * kLineBytes;
      if (word_bits != 32) {
        store_row(lines, line_begin, line_end, word_bits, row, words.data());
        from = words.data();
      }
      range.put(row * row_bytes + tile * kTileRows * element_bytes, from, present);
    }
  }
}

std::uint64_t row_bytes_of_words(std::uint64_t count, std::uint8_t bits, std::uint8_t word_bits) noexcept {
  return ceil_div(count * bits, word_bits) * (word_bits / 8);
}

void ZeroWords::load(std::uint64_t tile, std::byte* parameters) const noexcept {
  const std::uint64_t present = outputs_of_tile(tile, outputs), skipped = tile * kTileRows % kRun;
  if (in_plain_nibbles(*this) && present == kTileRows) {
    const std::byte* from = data + tile * kTileRows / 2;
    for (std::uint64_t group = 0; group < groups; ++group, parameters += kTileRows, from += row_bytes) {
      store_le(parameters, decode_zero_nibbles(load_le<std::uint32_t>(from), coding));
      store_le(parameters + 8, decode_zero_nibbles(load_le<std::uint32_t>(from + 4), coding));
    }
    return;
  }
  for (std::uint64_t group = 0; group < groups; ++group, parameters += kTileRows) {
    const RunWords words = load_run(data + group * row_bytes, row_bytes, tile * kTileRows / kRun, bits);
    const RunCodes zeros = decode_zeros(words, bits, coding);
    std::memcpy(parameters, zeros.data() + skipped, present);
    std::fill_n(parameters + present, kTileRows - present, std::byte{0});
  }
}

void store_zero_words(const LinearView& view, ZeroCoding coding, std::uint8_t word_bits, const PartRange& range) {
  const std::uint8_t bits = view.bits();
  const std::uint64_t row_bytes = row_bytes_of_words(view.outputs(), bits, word_bits);
  const std::uint64_t begin = range.begin() / row_bytes;
  const std::uint64_t end = std::min(ceil_div(range.end(), row_bytes), view.groups());
  if (begin >= end) return;
  const std::uint64_t columns = view.tiles() * kTileRows;
  std::vector<std::byte> zeros((end - begin) * columns), tile_rows((end - begin) * kTileRows);
  for (std::uint64_t tile = 0; tile < view.tiles(); ++tile) {
    view.offsets(tile, begin, end, tile_rows.data());
    for (std::uint64_t row = 0; row < end - begin; ++row)
      std::memcpy(zeros.data() + row * columns + tile * kTileRows, tile_rows.data() + row * kTileRows, kTileRows);
  }
  std::vector<std::byte> words(ceil_div(columns, kRun) * bits * 4 + 8);
  for (std::uint64_t row = begin; row < end; ++row) {
    for (std::uint64_t run = 0; run < ceil_div(columns, kRun); ++run) {
      RunCodes codes{};
      const std::uint64_t from = run * kRun;
      std::memcpy(codes.data(), zeros.data() + (row - begin) * columns + from, std::min(kRun, columns - from));
      const RunWords run_words = encode_zeros(codes, bits, coding);
      std::memcpy(words.data() + run * bits * 4, run_words.data(), bits * 4u);
    }
    range.put(row * row_bytes, words.data(), row_bytes);
  }
}

ZeroEvidence look_at_zeros(const ZeroWords& zeros) {
  ZeroEvidence evidence;
  const std::uint8_t middle = static_cast<std::uint8_t>(1u << (zeros.bits - 1));
  const std::uint8_t ones = static_cast<std::uint8_t>((1u << zeros.bits) - 1);
  const ZeroCoding stored = zeros.coding == ZeroCoding::planar ? ZeroCoding::planar : ZeroCoding::plain;
  const std::uint64_t whole_runs = in_plain_nibbles(zeros) ? zeros.outputs / kRun : 0;
  for (std::uint64_t group = 0; group < zeros.groups; ++group) {
    const std::byte* row = zeros.data + group * zeros.row_bytes;
    for (std::uint64_t at = 0; at < whole_runs * kRun / 2; at += 4)
      look_at_nibbles(load_le<std::uint32_t>(row + at), evidence);
    for (std::uint64_t run = whole_runs; run * kRun < zeros.outputs; ++run) {
      const RunWords words = load_run(zeros.data + group * zeros.row_bytes, zeros.row_bytes, run, zeros.bits);
      const RunCodes fields = decode_zeros(words, zeros.bits, stored);
      const std::uint64_t count = std::min(kRun, zeros.outputs - run * kRun);
      std::uint64_t all_ones = 0;
      for (std::uint64_t i = 0; i < count; ++i) {
        evidence.all_middle &= fields[i] == middle;
        evidence.all_below_middle &= fields[i] == middle - 1;
        all_ones += fields[i] == ones;
      }
      evidence.all_ones += all_ones;
      if (all_ones == 0) continue;
      const RunCodes one = decode_zeros(words, zeros.bits, ZeroCoding::minus_one);
      const RunCodes other = decode_zeros(words, zeros.bits, ZeroCoding::minus_one_words);
      evidence.spellings_differ |=
          !std::equal(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(count), other.begin());
    }
  }
  return evidence;
}

void store_group_indexes(const LinearView& view, const PartRange& range) {
  const std::vector<std::uint32_t> groups = view.group_of_inputs();
  range.put(0, std::as_bytes(std::span(groups)).data(), groups.size() * sizeof(std::uint32_t));
}

}  // namespace ingot::convert::gptq

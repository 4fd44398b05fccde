// Packing and unpacking of codes and parameters, eight codes at a time. Implements spec/planes.md sections 3 and 4.
#include "format/tensor/packing.h"

#include <algorithm>
#include <cstring>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/tensor/code_loops.h"
#include "format/tensor/tile_loops.h"

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kOnes = 0x0101010101010101u;

// Eight codes of B bits, one per byte <-> 8*B dense bits, in three steps that join or split neighbours:
//   bytes  ...  d  c  b  a   ->  16-bit lanes  dc ba  ->  32-bit lanes  dcba  ->  all eight
template <unsigned B>
constexpr std::uint64_t join8(std::uint64_t x) noexcept {
  x = (x & 0x00FF00FF00FF00FFu) | (x & 0xFF00FF00FF00FF00u) >> (8 - B);
  x = (x & 0x0000FFFF0000FFFFu) | (x & 0xFFFF0000FFFF0000u) >> (16 - 2 * B);
  return (x & 0x00000000FFFFFFFFu) | (x & 0xFFFFFFFF00000000u) >> (32 - 4 * B);
}

template <unsigned B>
constexpr std::uint64_t split8(std::uint64_t x) noexcept {
  constexpr std::uint64_t kLow4 = B == 8 ? 0xFFFFFFFFu : (std::uint64_t{1} << 4 * B) - 1;
  constexpr std::uint64_t kLow2 = ((std::uint64_t{1} << 2 * B) - 1) * 0x0000000100000001u;
  constexpr std::uint64_t kLow1 = ((std::uint64_t{1} << B) - 1) * 0x0001000100010001u;
  x = (x & kLow4) | (x & kLow4 << 4 * B) << (32 - 4 * B);
  x = (x & kLow2) | (x & kLow2 << 2 * B) << (16 - 2 * B);
  return (x & kLow1) | (x & kLow1 << B) << (8 - B);
}

/// Up to eight bytes as a number; bytes beyond `count` are zero.
std::uint64_t load_some(const void* at, std::uint64_t count) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, at, std::min<std::uint64_t>(count, 8));
  return value;
}
void store_some(void* at, std::uint64_t value, std::uint64_t count) noexcept {
  std::memcpy(at, &value, std::min<std::uint64_t>(count, 8));
}

template <unsigned B>
void pack_stream(const std::uint8_t* codes, std::uint64_t count, std::byte* stream) noexcept {
  constexpr std::uint64_t kMask = kOnes * ((1u << B) - 1);
  std::uint64_t i = 0;
  for (; i + 8 <= count; i += 8, stream += B) store_some(stream, join8<B>(load_some(codes + i, 8) & kMask), B);
  if (i < count) store_some(stream, join8<B>(load_some(codes + i, count - i) & kMask), ceil_div((count - i) * B, 8));
}

template <unsigned B>
void unpack_stream(const std::byte* stream, std::uint64_t count, std::uint8_t* codes) noexcept {
  std::uint64_t i = 0;
  for (; i + 8 <= count; i += 8, stream += B) store_some(codes + i, split8<B>(load_some(stream, B)), 8);
  if (i < count) store_some(codes + i, split8<B>(load_some(stream, ceil_div((count - i) * B, 8))), count - i);
}

using PackStream = void (*)(const std::uint8_t*, std::uint64_t, std::byte*) noexcept;
using UnpackStream = void (*)(const std::byte*, std::uint64_t, std::uint8_t*) noexcept;
constexpr PackStream kPackStream[] = {pack_stream<1>, pack_stream<2>, pack_stream<3>, pack_stream<4>,
                                      pack_stream<5>, pack_stream<6>, pack_stream<7>, pack_stream<8>};
constexpr UnpackStream kUnpackStream[] = {unpack_stream<1>, unpack_stream<2>, unpack_stream<3>, unpack_stream<4>,
                                          unpack_stream<5>, unpack_stream<6>, unpack_stream<7>, unpack_stream<8>};

// --- One row of a slice in a tile: words at a stride of one line -----------------------------------------------------

/// Low slice: a word is 32/P consecutive codes.
template <unsigned P>
void pack_low(const std::uint8_t* codes, std::uint64_t count, std::byte* line) noexcept {
  constexpr std::uint64_t kPerWord = 32 / P;
  constexpr std::uint64_t kMask = kOnes * ((1u << P) - 1);
  std::uint64_t i = 0;
  for (; i + kPerWord <= count; i += kPerWord, line += kLineBytes) {
    std::uint64_t word = 0;
    if constexpr (P == 8) {
      word = load_some(codes + i, 4);
    } else {
      for (std::uint64_t j = 0; j < kPerWord; j += 8) word |= join8<P>(load_some(codes + i + j, 8) & kMask) << j * P;
    }
    store_le(line, static_cast<std::uint32_t>(word));
  }
  if (i == count) return;
  std::uint32_t word = 0;
  for (std::uint64_t j = 0; i + j < count; ++j) word |= (codes[i + j] & ((1u << P) - 1)) << j * P;
  store_le(line, word);
}

template <unsigned P>
void unpack_low(const std::byte* line, std::uint64_t count, std::uint8_t* codes) noexcept {
  constexpr std::uint64_t kPerWord = 32 / P;
  std::uint64_t i = 0;
  for (; i + kPerWord <= count; i += kPerWord, line += kLineBytes) {
    const std::uint64_t word = load_le<std::uint32_t>(line);
    if constexpr (P == 8) {
      store_le(reinterpret_cast<std::byte*>(codes + i), static_cast<std::uint32_t>(word));
    } else {
      for (std::uint64_t j = 0; j < kPerWord; j += 8)
        store_some(codes + i + j, split8<P>(word >> j * P & ((std::uint64_t{1} << 8 * P) - 1)), 8);
    }
  }
  const std::uint64_t word = i < count ? load_le<std::uint32_t>(line) : 0;
  for (std::uint64_t j = 0; i + j < count; ++j)
    codes[i + j] = static_cast<std::uint8_t>(word >> j * P & ((1u << P) - 1));
}

// Higher slice of P bits above `Below` bits, where the low slice has L bits: field f of byte b belongs to input
// high_slice_input(L, f, b). With F = 8 / L the F fields from F*g on hold the 4*F inputs of group g, four bytes at a
// distance of F. So a group is a matrix of bytes:
//   (word >> P*(F*g + k)) & mask   =   inputs  4*F*g + k,  + F,  + 2*F,  + 3*F      in bytes 0, 1, 2, 3

template <unsigned P>
constexpr std::uint32_t field_of_bytes(std::uint32_t word, std::uint32_t field) noexcept {
  return word >> P * field & 0x01010101u * ((1u << P) - 1);
}

/// Bytes a..d of a 32-bit number to the even bytes of a 64-bit number, and back.
constexpr std::uint64_t to_even_bytes(std::uint64_t x) noexcept {
  x = (x | x << 16) & 0x0000FFFF0000FFFFu;
  return (x | x << 8) & 0x00FF00FF00FF00FFu;
}
constexpr std::uint32_t from_even_bytes(std::uint64_t x) noexcept {
  x &= 0x00FF00FF00FF00FFu;
  x = (x | x >> 8) & 0x0000FFFF0000FFFFu;
  return static_cast<std::uint32_t>(x | x >> 16);
}

/// One word to the 32/P codes of its run, shifted to their place.
template <unsigned P, unsigned L, unsigned Below>
void spread_high(std::uint32_t word, std::uint8_t* run) noexcept {
  if constexpr (L == 4) {
    for (std::uint32_t field = 0; field < 8 / P; field += 2) {
      const std::uint64_t codes =
          to_even_bytes(field_of_bytes<P>(word, field)) | to_even_bytes(field_of_bytes<P>(word, field + 1)) << 8;
      store_some(run + 4 * field, codes << Below, 8);
    }
  } else {
    for (std::uint32_t field = 0; field < 8 / P; ++field) {
      for (std::uint32_t byte = 0; byte < 4; ++byte) {
        run[high_slice_input(L, field, byte)] =
            static_cast<std::uint8_t>((word >> (8 * byte + P * field) & ((1u << P) - 1)) << Below);
      }
    }
  }
}

template <unsigned P, unsigned L, unsigned Below>
std::uint32_t gather_high(const std::uint8_t* run) noexcept {
  std::uint32_t word = 0;
  if constexpr (L == 4) {
    for (std::uint32_t field = 0; field < 8 / P; field += 2) {
      const std::uint64_t codes = load_some(run + 4 * field, 8) >> Below & kOnes * ((1u << P) - 1);
      word |= from_even_bytes(codes) << P * field | from_even_bytes(codes >> 8) << P * (field + 1);
    }
  } else {
    for (std::uint32_t field = 0; field < 8 / P; ++field) {
      for (std::uint32_t byte = 0; byte < 4; ++byte) {
        const std::uint32_t part =
            static_cast<std::uint32_t>(run[high_slice_input(L, field, byte)]) >> Below & ((1u << P) - 1);
        word |= part << (8 * byte + P * field);
      }
    }
  }
  return word;
}

template <unsigned P, unsigned L, unsigned Below>
void pack_high(const std::uint8_t* codes, std::uint64_t count, std::byte* line) noexcept {
  constexpr std::uint64_t kPerWord = 32 / P;
  std::uint64_t i = 0;
  for (; i + kPerWord <= count; i += kPerWord, line += kLineBytes) store_le(line, gather_high<P, L, Below>(codes + i));
  if (i == count) return;
  std::uint8_t run[kPerWord] = {};
  std::memcpy(run, codes + i, count - i);
  store_le(line, gather_high<P, L, Below>(run));
}

/// Adds the slice to codes that already hold the bits below.
template <unsigned P, unsigned L, unsigned Below>
void unpack_high(const std::byte* line, std::uint64_t count, std::uint8_t* codes) noexcept {
  constexpr std::uint64_t kPerWord = 32 / P;
  std::uint8_t run[kPerWord];
  std::uint64_t i = 0;
  for (; i + kPerWord <= count; i += kPerWord, line += kLineBytes) {
    spread_high<P, L, Below>(load_le<std::uint32_t>(line), run);
    for (std::uint64_t j = 0; j < kPerWord; j += 8)
      store_some(codes + i + j, load_some(codes + i + j, 8) | load_some(run + j, 8), 8);
  }
  if (i == count) return;
  spread_high<P, L, Below>(load_le<std::uint32_t>(line), run);
  for (std::uint64_t j = 0; i + j < count; ++j) codes[i + j] |= run[j];
}

/// The slices of one code width, low slice first; the same split as code_slices().
struct TileCodec {
  PackStream pack[3];
  UnpackStream unpack[3];
};
constexpr TileCodec kTileCodecs[] = {
    {{pack_low<1>}, {unpack_low<1>}},
    {{pack_low<2>}, {unpack_low<2>}},
    {{pack_low<2>, pack_high<1, 2, 2>}, {unpack_low<2>, unpack_high<1, 2, 2>}},
    {{pack_low<4>}, {unpack_low<4>}},
    {{pack_low<4>, pack_high<1, 4, 4>}, {unpack_low<4>, unpack_high<1, 4, 4>}},
    {{pack_low<4>, pack_high<2, 4, 4>}, {unpack_low<4>, unpack_high<2, 4, 4>}},
    {{pack_low<4>, pack_high<2, 4, 4>, pack_high<1, 4, 6>},
     {unpack_low<4>, unpack_high<2, 4, 4>, unpack_high<1, 4, 6>}},
    {{pack_low<8>}, {unpack_low<8>}},
};

/// The low slice of a tile as far as the loops of code_loops.h take it; returns the columns done.
std::uint64_t unpack_low_slice(std::uint8_t slice_bits, const std::byte* lines, std::uint64_t cols, std::uint8_t* codes,
                               std::uint64_t stride) noexcept {
  const std::uint64_t whole = cols / kLoopCols * kLoopCols;
  if (slice_bits == 4)
    code_loops().rows_of_nibbles(lines, whole, codes, stride);
  else if (slice_bits == 8)
    code_loops().rows_of_bytes(lines, whole, codes, stride);
  else
    return 0;
  return whole;
}
/// The same of slice `index` above it.
std::uint64_t unpack_high_slice(const CodeSlices& slices, std::size_t index, const std::byte* lines, std::uint64_t cols,
                                std::uint8_t* codes, std::uint64_t stride) noexcept {
  if (index != 1 || slices.bits[0] != 4) return 0;
  if (slices.bits[1] == 1) {
    const std::uint64_t whole = cols / kLoopCols * kLoopCols;
    code_loops().add_bits_above_nibbles(lines, whole, codes, stride);
    return whole;
  }
  const std::uint64_t whole = cols / kHighLoopCols * kHighLoopCols;
  code_loops().add_pairs_above_nibbles(lines, whole, codes, stride);
  return whole;
}
std::uint64_t pack_low_slice(std::uint8_t slice_bits, const std::uint8_t* codes, std::uint64_t cols,
                             std::byte* lines) noexcept {
  const std::uint64_t whole = cols / kLoopCols * kLoopCols;
  if (slice_bits == 4)
    code_loops().nibbles_of_rows(codes, cols, whole, lines);
  else if (slice_bits == 8)
    tile_loops().lines_of_rows(reinterpret_cast<const std::byte*>(codes), cols, whole / 4, lines);
  else
    return 0;
  return whole;
}

/// The same of slice `index` above it.
std::uint64_t pack_high_slice(const CodeSlices& slices, std::size_t index, const std::uint8_t* codes,
                              std::uint64_t cols, std::byte* lines) noexcept {
  if (index != 1 || slices.bits[0] != 4 || slices.bits[1] != 1) return 0;
  const std::uint64_t whole = cols / kLoopCols * kLoopCols;
  code_loops().bits_above_nibbles(codes, cols, whole, lines);
  return whole;
}

// --- Parameters ------------------------------------------------------------------------------------------------------

template <class T>
void transpose(const std::byte* from, std::uint64_t rows, std::uint64_t cols, std::byte* to) noexcept {
  for (std::uint64_t row = 0; row < rows; ++row) {
    for (std::uint64_t col = 0; col < cols; ++col) {
      store_le(to + (col * rows + row) * sizeof(T), load_le<T>(from + (row * cols + col) * sizeof(T)));
    }
  }
}

/// Bytes that `mask` leaves out of a, and those that it leaves in b, change places.
void swap_parts(std::uint64_t& a, std::uint64_t& b, unsigned shift, std::uint64_t mask) noexcept {
  const std::uint64_t swapped = (a >> shift ^ b) & mask;
  a ^= swapped << shift;
  b ^= swapped;
}

/// Eight by eight in registers.
void transpose_bytes(const std::byte* from, std::uint64_t rows, std::uint64_t cols, std::byte* to) noexcept {
  const std::uint64_t whole = rows % 8 == 0 ? cols / 8 * 8 : 0;
  for (std::uint64_t row = 0; row < rows && whole != 0; row += 8) {
    for (std::uint64_t col = 0; col < whole; col += 8) {
      std::uint64_t x[8];
      for (std::uint64_t i = 0; i < 8; ++i) x[i] = load_le<std::uint64_t>(from + (row + i) * cols + col);
      for (int i = 0; i < 4; ++i) swap_parts(x[i], x[i + 4], 32, 0x00000000FFFFFFFFu);
      for (const int i : {0, 1, 4, 5}) swap_parts(x[i], x[i + 2], 16, 0x0000FFFF0000FFFFu);
      for (const int i : {0, 2, 4, 6}) swap_parts(x[i], x[i + 1], 8, 0x00FF00FF00FF00FFu);
      for (std::uint64_t i = 0; i < 8; ++i) store_le(to + (col + i) * rows + row, x[i]);
    }
  }
  for (std::uint64_t row = 0; row < rows; ++row)
    for (std::uint64_t col = whole; col < cols; ++col) to[col * rows + row] = from[row * cols + col];
}

void transpose_elements(std::uint64_t element_bytes, const std::byte* from, std::uint64_t rows, std::uint64_t cols,
                        std::byte* to) noexcept {
  if (element_bytes == 1) return transpose_bytes(from, rows, cols, to);
  if (element_bytes == 2) return transpose<std::uint16_t>(from, rows, cols, to);
  if (element_bytes == 4) return transpose<std::uint32_t>(from, rows, cols, to);
  transpose<std::uint64_t>(from, rows, cols, to);
}

/// Elements of 9 to 15 bits: two bytes each on the plain side.
void pack_wide(std::uint8_t element_bits, const std::byte* plain, std::uint64_t count, std::byte* stream) noexcept {
  std::uint32_t pending = 0;
  unsigned held = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    pending |= (load_le<std::uint16_t>(plain + 2 * i) & ((1u << element_bits) - 1)) << held;
    for (held += element_bits; held >= 8; held -= 8, pending >>= 8) *stream++ = static_cast<std::byte>(pending & 255u);
  }
  if (held > 0) *stream = static_cast<std::byte>(pending);
}

}  // namespace

void unpack_row(Packing packing, std::uint8_t bits, const std::byte* const planes[3], std::uint64_t row,
                std::uint64_t col_begin, std::uint64_t col_end, std::uint8_t* codes) noexcept {
  const std::uint64_t count = col_end - col_begin;
  if (packing == Packing::rows) return kUnpackStream[bits - 1](planes[0] + col_begin * bits / 8, count, codes);
  const CodeSlices slices = code_slices(bits);
  for (std::size_t i = 0; i < slices.count; ++i) {
    const std::uint64_t first_line = col_begin * slices.bits[i] / 32;
    kTileCodecs[bits - 1].unpack[i](planes[i] + first_line * kLineBytes + row * 4, count, codes);
  }
}

void unpack_dense(std::uint8_t bits, const std::byte* stream, std::uint64_t first, std::uint64_t count,
                  std::uint8_t* elements) noexcept {
  const std::uint32_t mask = (1u << bits) - 1;
  std::uint64_t i = 0;
  for (; i < count && (first + i) % 8 != 0; ++i) {  // up to the next whole byte
    const std::uint64_t bit = (first + i) * bits;
    const std::uint64_t pair = load_some(stream + bit / 8, bit % 8 + bits > 8 ? 2 : 1);
    elements[i] = static_cast<std::uint8_t>(pair >> bit % 8 & mask);
  }
  kUnpackStream[bits - 1](stream + (first + i) / 8 * bits, count - i, elements + i);
}

void pack_unit(const Geometry& geometry, std::uint8_t bits, const std::uint8_t* codes,
               std::byte* const planes[3]) noexcept {
  if (geometry.packing == Packing::rows) return kPackStream[bits - 1](codes, geometry.cols, planes[0]);
  const CodeSlices slices = code_slices(bits);
  for (std::size_t i = 0; i < slices.count; ++i) {
    const std::uint64_t done = i == 0 ? pack_low_slice(slices.bits[0], codes, geometry.cols, planes[0])
                                      : pack_high_slice(slices, i, codes, geometry.cols, planes[i]);
    const std::uint64_t first_line = done * slices.bits[i] / 32;
    for (std::uint64_t row = 0; row < kTileRows && done < geometry.cols; ++row) {
      kTileCodecs[bits - 1].pack[i](codes + row * geometry.cols + done, geometry.cols - done,
                                    planes[i] + first_line * kLineBytes + row * 4);
    }
  }
}

void unpack_tile(std::uint8_t bits, const std::byte* const planes[3], std::uint64_t col_begin, std::uint64_t col_end,
                 std::uint8_t* codes, std::uint64_t stride) noexcept {
  const std::uint64_t count = col_end - col_begin;
  const CodeSlices slices = code_slices(bits);
  for (std::size_t i = 0; i < slices.count; ++i) {
    const std::byte* lines = planes[i] + col_begin * slices.bits[i] / 32 * kLineBytes;
    const std::uint64_t done = i == 0 ? unpack_low_slice(slices.bits[0], lines, count, codes, stride)
                                      : unpack_high_slice(slices, i, lines, count, codes, stride);
    lines += done * slices.bits[i] / 32 * kLineBytes;
    for (std::uint64_t row = 0; row < kTileRows && done < count; ++row)
      kTileCodecs[bits - 1].unpack[i](lines + row * 4, count - done, codes + row * stride + done);
  }
}

void unpack_unit(const Geometry& geometry, std::uint8_t bits, const std::byte* const planes[3],
                 std::uint8_t* codes) noexcept {
  if (geometry.packing == Packing::rows)
    unpack_row(Packing::rows, bits, planes, 0, 0, geometry.cols, codes);
  else
    unpack_tile(bits, planes, 0, geometry.cols, codes, geometry.cols);
}

void pack_parameters(const Geometry& geometry, DType type, std::uint64_t cols, const std::byte* plain,
                     std::byte* plane) noexcept {
  const std::uint64_t rows = geometry.rows_per_unit;
  const std::uint8_t element_bits = bits(type);
  if (element_bits == 16 && rows == kTileRows) return code_loops().pairs_of_rows(plain, cols, plane);
  if (element_bits % 8 == 0) return transpose_elements(element_bits / 8u, plain, rows, cols, plane);
  if (element_bits > 8) return pack_wide(element_bits, plain, cols, plane);  // grid indexes: one row
  // Eight elements fill element_bits bytes; the element order is column by column.
  for (std::uint64_t first = 0; first < rows * cols; first += 8) {
    std::uint8_t run[8] = {};
    const std::uint64_t count = std::min<std::uint64_t>(8, rows * cols - first);
    for (std::uint64_t j = 0; j < count; ++j) {
      run[j] = std::to_integer<std::uint8_t>(plain[(first + j) % rows * cols + (first + j) / rows]);
    }
    kPackStream[element_bits - 1](run, count, plane + first / 8 * element_bits);
  }
}

void unpack_parameters(const Geometry& geometry, DType type, std::uint64_t cols, const std::byte* plane,
                       std::byte* plain) noexcept {
  const std::uint64_t rows = geometry.rows_per_unit;
  const std::uint8_t element_bits = bits(type);
  if (element_bits == 16 && rows == kTileRows) return code_loops().rows_of_pairs(plane, cols, plain);
  if (element_bits % 8 == 0) return transpose_elements(element_bits / 8u, plane, cols, rows, plain);
  if (element_bits > 8) {  // grid indexes: one row
    for (std::uint64_t i = 0; i < cols; ++i)
      store_le(plain + 2 * i, static_cast<std::uint16_t>(dense_element(element_bits, plane, i)));
    return;
  }
  for (std::uint64_t first = 0; first < rows * cols; first += 8) {
    std::uint8_t run[8];
    const std::uint64_t count = std::min<std::uint64_t>(8, rows * cols - first);
    kUnpackStream[element_bits - 1](plane + first / 8 * element_bits, count, run);
    for (std::uint64_t j = 0; j < count; ++j) plain[(first + j) % rows * cols + (first + j) / rows] = std::byte{run[j]};
  }
}

}  // namespace ingot::tensor

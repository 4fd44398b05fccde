// The packing of one tile of codes, written from spec/planes.md section 4 in the packing direction, independently of
// the kernels' unpacking.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

/// Slices of 16 rows of codes (row-major, (16, cols)), low slice first: 4.1 for the low one; 4.3 for the higher ones:
/// "field f (bits 8b + p*f) holds input 4*F*(f div F) + F*b + f mod F".
inline std::vector<std::vector<std::uint32_t>> packed_codes(const std::vector<std::int32_t>& codes, std::uint32_t bits,
                                                            std::uint64_t cols) {
  static const std::vector<std::uint32_t> kSlices[9] = {{}, {1}, {2}, {2, 1}, {4}, {4, 1}, {4, 2}, {4, 2, 1}, {8}};
  std::vector<std::vector<std::uint32_t>> slices;
  std::uint32_t position = 0;
  for (const std::uint32_t p : kSlices[bits]) {
    const bool lowest = slices.empty();
    const std::uint32_t per_word = 32 / p, per_byte = 8 / kSlices[bits][0];
    const std::uint64_t lines = (cols + per_word - 1) / per_word;
    std::vector<std::uint32_t>& slice = slices.emplace_back(lines * 16);
    for (std::uint64_t row = 0; row < 16; ++row) {
      for (std::uint64_t line = 0; line < lines; ++line) {
        std::uint32_t word = 0;
        for (std::uint32_t b = 0; b < 4; ++b) {
          for (std::uint32_t f = 0; f < 8 / p; ++f) {
            const std::uint32_t input =
                lowest ? (8 * b + p * f) / p : 4 * per_byte * (f / per_byte) + per_byte * b + f % per_byte;
            const std::uint64_t col = line * per_word + input;
            if (col >= cols) continue;
            const auto code = static_cast<std::uint32_t>(codes[row * cols + col]);
            word |= (code >> position & ((1u << p) - 1)) << (8 * b + p * f);
          }
        }
        slice[line * 16 + row] = word;
      }
    }
    position += p;
  }
  return slices;
}

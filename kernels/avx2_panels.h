// Codes of a tile as the AVX2 products with many inputs read them: taken out of their words once for all inputs.
#pragma once

#include <cstdint>

#include "kernels/integer_kernels.h"

namespace ingot::kernels {

/// Bytes: four codes of an output side by side, as the inputs are; signed codes are greater by 2^(bits-1).
/// Words: 16-bit numbers, of every field of four first those with even places, then the others.
enum class PanelForm : std::uint8_t { bytes, words };

/// Fills `panel` with `runs` runs of 32 inputs from run `first` on, by (field, half of the outputs) or (field, parity,
/// half of the outputs), 32 bytes each. Bytes are for codes below 2^7 and small entries.
void avx2_fill_panel(const IntegerTile& tile, std::uint64_t first, std::uint64_t runs, PanelForm form,
                     std::uint8_t* panel) noexcept;

/// out[v*out_stride + 16*t + r], as IntegerKernels::multiply.
void avx2_multiply_many(const IntegerTile* tiles, int tile_count, IntegerLayout layout, const IntegerInput* inputs,
                        std::uint64_t vectors, float* out, std::uint64_t out_stride) noexcept;

}  // namespace ingot::kernels

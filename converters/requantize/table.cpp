// NF4 and FP4 blocks and the rows of LLM.int8 as bitsandbytes makes them on the CPU. Implements spec/quantizers.md
// section 4.
#include <algorithm>
#include <array>

#include "converters/requantize/blocks.h"
#include "format/tensor/tables.h"

namespace ingot::convert::quantizers {
namespace {

using tensor::CodeKind;
using tensor::DType;
using tensor::OffsetKind;
using tensor::Scheme;

constexpr float kLeastScale = 1e-38f;

/// The entries in ascending order and the borders between them.
struct SortedTable {
  std::array<std::uint8_t, 16> codes{};
  std::array<float, 15> borders{};
};
SortedTable sorted(std::string_view name) {
  const std::span<const float> entries = tensor::find_code_table(name)->entries;
  SortedTable table;
  for (std::size_t i = 0; i < 16; ++i) table.codes[i] = static_cast<std::uint8_t>(i);
  std::stable_sort(table.codes.begin(), table.codes.end(),
                   [&](std::uint8_t a, std::uint8_t b) { return entries[a] < entries[b]; });
  for (std::size_t i = 0; i < 15; ++i) table.borders[i] = (entries[table.codes[i]] + entries[table.codes[i + 1]]) / 2;
  return table;
}

bool is_four_bit_table(const Scheme& scheme) noexcept {
  return scheme.codes.kind == CodeKind::table && (scheme.codes.table == "nf4" || scheme.codes.table == "fp4") &&
         has_one_float_scale(scheme) && scheme.scales[0].type == DType::f32 && scheme.offset.kind == OffsetKind::none &&
         !scheme.rounded_steps;
}

/// A whole block is multiplied by the reciprocal; the rest at the end is divided (work_offset 1).
BlockNumbers four_bit_table(const Scheme&, const Extremes& extremes, bool whole) noexcept {
  const float magnitude = std::fabs(extremes.farthest);
  const float divisor = std::max(magnitude, kLeastScale);
  if (whole) return {magnitude, 0, 1.0f / divisor, 0};
  return {divisor, 0, divisor, 1};
}

void codes_four_bit_table(const Scheme& scheme, const BlockNumbers& block, const float* values, std::uint64_t count,
                          std::uint8_t* codes) noexcept {
  static const SortedTable kNf4 = sorted("nf4"), kFp4 = sorted("fp4");
  const SortedTable& table = scheme.codes.table == "nf4" ? kNf4 : kFp4;
  for (std::uint64_t i = 0; i < count; ++i) {
    const float scaled = block.work_offset == 0 ? values[i] * block.work_scale : values[i] / block.work_scale;
    const float value = clamped(scaled, -1, 1);
    std::size_t place = 0;
    for (const float border : table.borders) place += value > border ? 1u : 0u;
    codes[i] = table.codes[place];
  }
}

/// What the factor 1/127 is in LLM.int8.
constexpr float kRowUnit = 7.874015718698502e-3f;

bool is_row_of_bytes(const Scheme& scheme) noexcept {
  return scheme.codes.kind == CodeKind::number && scheme.codes.type == DType::i8 && scheme.scales.size() == 2 &&
         scheme.scales[0].type == DType::f32 && scheme.scales[0].block == tensor::Block{1, 0} &&
         scheme.scales[1].type == DType::f32 && scheme.scales[1].block == tensor::Block{0, 0} && scheme.rounded_steps &&
         scheme.offset.kind == OffsetKind::none;
}
/// The library rounds weights to binary16 first.
BlockNumbers row_of_bytes(const Scheme&, const Extremes& extremes, bool) noexcept {
  const float magnitude = rounded(DType::f16, std::fabs(extremes.farthest));
  return {magnitude, 0, magnitude == 0 ? 0 : 1.0f / magnitude * 127.0f, 0};
}
void codes_row_of_bytes(const Scheme&, const BlockNumbers& block, const float* values, std::uint64_t count,
                        std::uint8_t* codes) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    const float scaled = clamped(rounded(DType::f16, values[i]) * block.work_scale, -127, 127);
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(nearest_integer(scaled)));
  }
}

constexpr Quantizer kRows[] = {{is_four_bit_table, four_bit_table, codes_four_bit_table, false},
                               {is_row_of_bytes, row_of_bytes, codes_row_of_bytes, false, kRowUnit}};

}  // namespace

const std::span<const Quantizer> kTableQuantizers = kRows;

}  // namespace ingot::convert::quantizers

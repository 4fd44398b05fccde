// Entries as their owners define them, to the last binary32 bit. Implements spec/schemes/table.md.
#include "format/tensor/tables.h"

#include <array>
#include <bit>
#include <cstdint>

namespace ingot::tensor {
namespace {

template <std::size_t N>
constexpr std::array<float, N> from_bit_patterns(const std::uint32_t (&patterns)[N]) {
  std::array<float, N> entries{};
  for (std::size_t i = 0; i < N; ++i) entries[i] = std::bit_cast<float>(patterns[i]);
  return entries;
}

constexpr auto kNf4 =
    from_bit_patterns({0xBF800000, 0xBF3239B1, 0xBF066B30, 0xBECA32A0, 0xBE91A24D, 0xBE3D353F, 0xBDBA7871, 0x00000000,
                       0x3DA2FAFF, 0x3E24CAE3, 0x3E7C04DD, 0x3EAD033A, 0x3EE1A4B8, 0x3F1007AB, 0x3F3913B3, 0x3F800000});
// Not in ascending order; index 8 is -0.
constexpr auto kFp4 =
    from_bit_patterns({0x00000000, 0x3BAAAAAB, 0x3F2AAAAB, 0x3F800000, 0x3EAAAAAB, 0x3F000000, 0x3E2AAAAB, 0x3E800000,
                       0x80000000, 0xBBAAAAAB, 0xBF2AAAAB, 0xBF800000, 0xBEAAAAAB, 0xBF000000, 0xBE2AAAAB, 0xBE800000});
constexpr std::array<float, 16> kIq4Nl = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr std::array<float, 2> kBinary = {-1, 1};

constexpr CodeTable kTables[] = {
    {"nf4", kNf4},
    {"fp4", kFp4},
    {"iq4nl", kIq4Nl},
    {"binary", kBinary},
};

}  // namespace

const CodeTable* find_code_table(std::string_view name) noexcept {
  for (const CodeTable& table : kTables) {
    if (table.name == name) return &table;
  }
  return nullptr;
}

std::span<const CodeTable> code_tables() noexcept { return kTables; }

}  // namespace ingot::tensor

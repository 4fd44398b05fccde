// The eight tile registers of AMX and their shapes. Included only by files compiled with AMX flags, each of which holds
// its own copy (house style section 5).
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ingot::kernels {
namespace {

constexpr std::uint64_t kTileLine = 64;          // bytes of a row of a tile register
constexpr std::uint64_t kTileRegisterRows = 16;  // at most

// The intrinsics of tiles do not tell the compiler which memory they read and write: all that is reached from `memory`.
inline void used_by_tiles(const void* memory) noexcept { asm volatile("" : : "r"(memory) : "memory"); }

// C = C + A * B with 16 x 16 sums: registers 0..3 hold C, 4 A (16 rows of `width` bytes), 5..7 B (a row of 64 bytes for
// every four bytes of A's). They belong to the thread, from here to the release.
class TileShapes {
 public:
  // `width`: a multiple of 4, at most 64.
  explicit TileShapes(std::uint64_t width) noexcept {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } shapes;
    for (int tile = 0; tile < 8; ++tile) {
      shapes.row_bytes[tile] = static_cast<std::uint16_t>(tile == 4 ? width : kTileLine);
      shapes.rows[tile] = static_cast<std::uint8_t>(tile <= 4 ? kTileRegisterRows : width / 4);
    }
    used_by_tiles(&shapes);
    _tile_loadconfig(&shapes);
  }
  ~TileShapes() { _tile_release(); }
  TileShapes(const TileShapes&) = delete;
  TileShapes& operator=(const TileShapes&) = delete;
};

}  // namespace
}  // namespace ingot::kernels

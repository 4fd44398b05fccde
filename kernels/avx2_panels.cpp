// AVX2: codes of a tile as bytes or 16-bit numbers, in the order in which products with many inputs want them.
// Includes nothing but the table: every other symbol has internal linkage (house style section 5).
#include "kernels/avx2_panels.h"

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2_codes.h"

namespace ingot::kernels {

namespace {

constexpr u64 kFields = 8;  // of a run of 32 inputs

void store(std::uint8_t* at, __m256i value) noexcept { _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), value); }

// Bytes as 16-bit numbers: those with even places, those with odd ones.
struct Parities {
  __m256i even, odd;
};
Parities unsigned_parities(__m256i bytes) noexcept {
  return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16(bytes, 8)};
}
Parities signed_parities(__m256i bytes) noexcept {
  return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
}

__m256i both_lanes(const std::uint8_t* entries) noexcept {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
}

// Asks for the same run of the next block of columns, which is wanted when all inputs have met this one.
template <u32 kBits>
void fetch_block(const Run& run) noexcept {
  using S = Slices<kBits>;
  constexpr u64 kRunsOfBlock = 16;
  const auto fetch = [](const u32* words, u64 lines) {
    prefetch_lines<2>(words, lines * kRows * sizeof(u32), kRunsOfBlock * lines * kRows * sizeof(u32));
  };
  fetch(run.slices[0], S::low);
  if constexpr (S::middle != 0) fetch(run.slices[1], S::middle);
  if constexpr (S::top != 0) fetch(run.slices[2], S::top);
}

template <u32 kBits, bool kSigned>
void fill_bytes(const IntegerTile& tile, u64 first, u64 runs, std::uint8_t* panel) noexcept {
  for (u64 i = first; i < first + runs; ++i) {
    const Run run = run_at<kBits>(tile, i);
    fetch_block<kBits>(run);
#pragma GCC unroll 8
    for (u32 n = 0; n < kFields; ++n, panel += 64) {
      store(panel, field<kBits, kSigned>(run, n, 0));
      store(panel + 32, field<kBits, kSigned>(run, n, kHalf));
    }
  }
}

void store_words(std::uint8_t* panel, u64 half, Parities parities) noexcept {
  store(panel + half * 4, parities.even);
  store(panel + 64 + half * 4, parities.odd);
}

template <bool kSigned>
void fill_words(const IntegerTile& tile, u64 first, u64 runs, std::uint8_t* panel) noexcept {
  for (u64 i = first; i < first + runs; ++i) {
    const Run run = run_at<8>(tile, i);
    fetch_block<8>(run);
#pragma GCC unroll 8
    for (u32 n = 0; n < kFields; ++n, panel += 128) {
      for (u64 half = 0; half < kRows; half += kHalf) {
        const __m256i codes = field<8, false>(run, n, half);
        store_words(panel, half, kSigned ? signed_parities(codes) : unsigned_parities(codes));
      }
    }
  }
}

void fill_small_entries(const IntegerTile& tile, u64 first, u64 runs, std::uint8_t* panel) noexcept {
  const __m256i entries = both_lanes(tile.table->entries);
  for (u64 i = first; i < first + runs; ++i) {
    const Run run = run_at<4>(tile, i);
    fetch_block<4>(run);
#pragma GCC unroll 8
    for (u32 n = 0; n < kFields; ++n, panel += 64) {
      store(panel, _mm256_shuffle_epi8(entries, field<4, false>(run, n, 0)));
      store(panel + 32, _mm256_shuffle_epi8(entries, field<4, false>(run, n, kHalf)));
    }
  }
}

void fill_entries(const IntegerTile& tile, u64 first, u64 runs, std::uint8_t* panel) noexcept {
  const __m256i entries = both_lanes(tile.table->entries);
  for (u64 i = first; i < first + runs; ++i) {
    const Run run = run_at<4>(tile, i);
    fetch_block<4>(run);
#pragma GCC unroll 8
    for (u32 n = 0; n < kFields; ++n, panel += 128) {
      for (u64 half = 0; half < kRows; half += kHalf)
        store_words(panel, half, unsigned_parities(_mm256_shuffle_epi8(entries, field<4, false>(run, n, half))));
    }
  }
}

using Fill = void(const IntegerTile& tile, u64 first, u64 runs, std::uint8_t* panel) noexcept;
constexpr Fill* kBytes[2][8] = {
    {nullptr, fill_bytes<1, false>, fill_bytes<2, false>, fill_bytes<3, false>, fill_bytes<4, false>,
     fill_bytes<5, false>, fill_bytes<6, false>, fill_bytes<7, false>},
    {nullptr, fill_bytes<1, true>, fill_bytes<2, true>, fill_bytes<3, true>, fill_bytes<4, true>, fill_bytes<5, true>,
     fill_bytes<6, true>, fill_bytes<7, true>}};

}  // namespace

void avx2_fill_panel(const IntegerTile& tile, std::uint64_t first, std::uint64_t runs, PanelForm form,
                     std::uint8_t* panel) noexcept {
  const bool words = form == PanelForm::words;
  if (tile.table != nullptr) return (words ? fill_entries : fill_small_entries)(tile, first, runs, panel);
  if (words) return (tile.is_signed ? fill_words<true> : fill_words<false>)(tile, first, runs, panel);
  kBytes[tile.is_signed ? 1 : 0][tile.bits](tile, first, runs, panel);
}

}  // namespace ingot::kernels

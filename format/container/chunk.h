// Chunks of a blob: the table rows, the byte-plane shuffle and zstd. Implements spec/integrity.md section 2. zstd is
// seen only by chunk.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/base/hash.h"

namespace ingot::container {

inline constexpr std::uint64_t kChunkBytes = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kChunkRowBytes = 24;

[[nodiscard]] constexpr std::uint64_t chunk_count(std::uint64_t blob_bytes) noexcept {
  return ceil_div(blob_bytes, kChunkBytes);
}
/// Raw bytes of chunk `chunk` of a blob. Precondition: chunk < chunk_count(blob_bytes).
[[nodiscard]] constexpr std::uint64_t chunk_raw_bytes(std::uint64_t blob_bytes, std::uint64_t chunk) noexcept {
  return chunk + 1 == chunk_count(blob_bytes) ? blob_bytes - chunk * kChunkBytes : kChunkBytes;
}

/// One row of the chunk table.
struct ChunkRow {
  std::uint32_t stored_size = 0;
  std::uint32_t encoding = 0;
  Hash128 hash;  // of the stored bytes

  [[nodiscard]] bool is_zstd() const noexcept { return (encoding & 0xff) == 1; }
  [[nodiscard]] std::uint32_t shuffle_width() const noexcept { return encoding >> 8 & 0xff; }
};
[[nodiscard]] constexpr std::uint32_t zstd_encoding(std::uint32_t shuffle_width) noexcept {
  return 1 | shuffle_width << 8;
}

/// Row `row` of a table. Precondition: it lies inside `table`.
[[nodiscard]] ChunkRow chunk_row(Bytes table, std::uint64_t row) noexcept;
[[nodiscard]] std::vector<std::byte> encode_chunk_rows(std::span<const ChunkRow> rows);
/// Throws invalid_value for an encoding or a stored size that the specification forbids for a chunk of `raw_bytes`.
void check_chunk_row(const ChunkRow& row, std::uint64_t raw_bytes, std::string_view where, std::uint64_t row_offset);

/// Byte j of element i moves from i*width+j to j*n+i, n = floor(size / width); the rest stays at the end. width 2, 4 or
/// 8.
void shuffle_bytes(Bytes raw, std::uint32_t width, std::byte* shuffled) noexcept;
void unshuffle_bytes(Bytes shuffled, std::uint32_t width, std::byte* raw) noexcept;

/// Compresses chunks; one per thread.
class ChunkEncoder {
 public:
  explicit ChunkEncoder(int zstd_level);
  ~ChunkEncoder();
  ChunkEncoder(ChunkEncoder&&) noexcept;

  /// Shuffles and compresses into `out` (resized). False when the result would not be smaller: the chunk is stored raw.
  [[nodiscard]] bool encode(Bytes raw, std::uint32_t shuffle_width, std::vector<std::byte>& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Decompresses chunks; one per thread.
class ChunkDecoder {
 public:
  ChunkDecoder();
  ~ChunkDecoder();
  ChunkDecoder(ChunkDecoder&&) noexcept;

  /// Fills `raw` (exactly the chunk's raw size) from the stored bytes of a zstd chunk. Throws invalid_value when they
  /// are not one zstd frame of that size, limit_exceeded when it needs a larger window. The caller has checked the
  /// hash.
  void decode(Bytes stored, std::uint32_t shuffle_width, std::span<std::byte> raw, std::string_view where,
              std::uint64_t offset);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ingot::container

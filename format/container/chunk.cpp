#include "format/container/chunk.h"

#define ZSTD_STATIC_LINKING_ONLY  // ZSTD_getFrameHeader
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "format/container/limits.h"

namespace ingot::container {

ChunkRow chunk_row(Bytes table, std::uint64_t row) noexcept {
  const std::byte* at = table.data() + row * kChunkRowBytes;
  ChunkRow read{load_le<std::uint32_t>(at), load_le<std::uint32_t>(at + 4), {}};
  std::copy_n(at + 8, read.hash.bytes.size(), read.hash.bytes.begin());
  return read;
}

std::vector<std::byte> encode_chunk_rows(std::span<const ChunkRow> rows) {
  std::vector<std::byte> bytes(rows.size() * kChunkRowBytes);
  std::byte* at = bytes.data();
  for (const ChunkRow& row : rows) {
    store_le(at, row.stored_size);
    store_le(at + 4, row.encoding);
    std::copy(row.hash.bytes.begin(), row.hash.bytes.end(), at + 8);
    at += kChunkRowBytes;
  }
  return bytes;
}

void check_chunk_row(const ChunkRow& row, std::uint64_t raw_bytes, std::string_view where, std::uint64_t row_offset) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::invalid_value,
                std::string(where) + ": chunk row at byte " + std::to_string(row_offset) + ": " + what, row_offset);
  };
  const std::uint32_t width = row.shuffle_width();
  const bool width_is_legal = width == 0 || (row.is_zstd() && (width == 1 || width == 2 || width == 4 || width == 8));
  if ((row.encoding & 0xff) > 1 || row.encoding >> 16 != 0 || !width_is_legal)
    fail("unknown encoding " + std::to_string(row.encoding));
  if (row.is_zstd() ? row.stored_size == 0 || row.stored_size >= raw_bytes : row.stored_size != raw_bytes) {
    fail("stored_size: expected " + std::string(row.is_zstd() ? "less than " : "") + std::to_string(raw_bytes) +
         ", got " + std::to_string(row.stored_size));
  }
}

// ---- byte-plane shuffle
// ------------------------------------------------------------------------------------------------------------------

namespace {

template <std::uint32_t width>
void shuffle_fixed(const std::byte* raw, std::uint64_t count, std::byte* shuffled) noexcept {
  for (std::uint64_t i = 0; i < count; ++i)
    for (std::uint32_t j = 0; j < width; ++j) shuffled[j * count + i] = raw[i * width + j];
}

template <std::uint32_t width>
void unshuffle_fixed(const std::byte* shuffled, std::uint64_t count, std::byte* raw) noexcept {
  for (std::uint64_t i = 0; i < count; ++i)
    for (std::uint32_t j = 0; j < width; ++j) raw[i * width + j] = shuffled[j * count + i];
}

}  // namespace

void shuffle_bytes(Bytes raw, std::uint32_t width, std::byte* shuffled) noexcept {
  const std::uint64_t count = raw.size() / width;
  if (width == 2) shuffle_fixed<2>(raw.data(), count, shuffled);
  if (width == 4) shuffle_fixed<4>(raw.data(), count, shuffled);
  if (width == 8) shuffle_fixed<8>(raw.data(), count, shuffled);
  std::copy(raw.begin() + static_cast<std::ptrdiff_t>(count * width), raw.end(), shuffled + count * width);
}

void unshuffle_bytes(Bytes shuffled, std::uint32_t width, std::byte* raw) noexcept {
  const std::uint64_t count = shuffled.size() / width;
  if (width == 2) unshuffle_fixed<2>(shuffled.data(), count, raw);
  if (width == 4) unshuffle_fixed<4>(shuffled.data(), count, raw);
  if (width == 8) unshuffle_fixed<8>(shuffled.data(), count, raw);
  std::copy(shuffled.begin() + static_cast<std::ptrdiff_t>(count * width), shuffled.end(), raw + count * width);
}

// ---- zstd
// ------------------------------------------------------------------------------------------------------------------

struct ChunkEncoder::State {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  int level = 1;
  std::vector<std::byte> shuffled;
  ~State() { ZSTD_freeCCtx(context); }
};

ChunkEncoder::ChunkEncoder(int zstd_level) : state_(std::make_unique<State>()) {
  if (state_->context == nullptr) throw std::bad_alloc();
  state_->level = std::clamp(zstd_level, ZSTD_minCLevel(), ZSTD_maxCLevel());
}
ChunkEncoder::~ChunkEncoder() = default;
ChunkEncoder::ChunkEncoder(ChunkEncoder&&) noexcept = default;

bool ChunkEncoder::encode(Bytes raw, std::uint32_t shuffle_width, std::vector<std::byte>& out) {
  Bytes source = raw;
  if (shuffle_width > 1) {
    state_->shuffled.resize(raw.size());
    shuffle_bytes(raw, shuffle_width, state_->shuffled.data());
    source = state_->shuffled;
  }
  out.resize(ZSTD_compressBound(raw.size()));
  const std::size_t size =
      ZSTD_compressCCtx(state_->context, out.data(), out.size(), source.data(), source.size(), state_->level);
  if (ZSTD_isError(size) != 0) {
    if (ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation) throw std::bad_alloc();
    throw Error(ErrorKind::invalid_value, std::string("zstd: ") + ZSTD_getErrorName(size));
  }
  if (size >= raw.size()) return false;
  out.resize(size);
  return true;
}

struct ChunkDecoder::State {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  std::vector<std::byte> shuffled;
  ~State() { ZSTD_freeDCtx(context); }
};

ChunkDecoder::ChunkDecoder() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr) throw std::bad_alloc();
}
ChunkDecoder::~ChunkDecoder() = default;
ChunkDecoder::ChunkDecoder(ChunkDecoder&&) noexcept = default;

void ChunkDecoder::decode(Bytes stored, std::uint32_t shuffle_width, std::span<std::byte> raw, std::string_view where,
                          std::uint64_t offset) {
  const auto fail = [&](ErrorKind kind, const std::string& what) {
    throw Error(kind, std::string(where) + ": chunk at byte " + std::to_string(offset) + ": " + what, offset);
  };
  ZSTD_frameHeader header;
  if (ZSTD_getFrameHeader(&header, stored.data(), stored.size()) != 0 || header.frameType != ZSTD_frame) {
    fail(ErrorKind::invalid_value, "expected a zstd frame");
  }
  if (header.windowSize > kMaxZstdWindowBytes) {
    fail(ErrorKind::limit_exceeded, "zstd window: expected at most " + std::to_string(kMaxZstdWindowBytes) +
                                        " bytes, got " + std::to_string(header.windowSize));
  }
  if (ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size()) {
    fail(ErrorKind::invalid_value, "expected one zstd frame of " + std::to_string(stored.size()) + " bytes");
  }
  std::byte* target = raw.data();
  if (shuffle_width > 1) {
    state_->shuffled.resize(raw.size());
    target = state_->shuffled.data();
  }
  const std::size_t size = ZSTD_decompressDCtx(state_->context, target, raw.size(), stored.data(), stored.size());
  if (ZSTD_isError(size) != 0) fail(ErrorKind::invalid_value, std::string("zstd: ") + ZSTD_getErrorName(size));
  if (size != raw.size()) {
    fail(ErrorKind::invalid_value,
         "expected " + std::to_string(raw.size()) + " decompressed bytes, got " + std::to_string(size));
  }
  if (shuffle_width > 1) unshuffle_bytes(state_->shuffled, shuffle_width, raw.data());
}

}  // namespace ingot::container

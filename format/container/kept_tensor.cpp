// The note of a record is the fingerprint and the encoding of every chunk: "<32 hex digits> 0 513 513".
#include "format/container/kept_tensor.h"

#include <charconv>
#include <string>

namespace ingot::container {
namespace {

constexpr std::size_t kHexDigits = 32;

/// The next number of the note, which begins with a blank.
std::optional<std::uint32_t> take_number(std::string_view& text) {
  if (!text.starts_with(' ')) return std::nullopt;
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::optional<std::vector<KeptBlob>> kept_blobs(const FinishedWork& work, const BlobWriter& blobs,
                                                std::span<const std::size_t> blob_numbers) {
  std::string_view encodings = std::string_view(work.note).substr(kHexDigits);
  std::vector<KeptBlob> kept;
  std::size_t next = 0;
  for (const std::size_t number : blob_numbers) {
    KeptBlob& blob = kept.emplace_back();
    blob.number = number;
    const std::size_t chunks = blobs.rows_of(number).size();
    if (work.pieces.size() - next < chunks) return std::nullopt;
    for (std::size_t i = 0; i < chunks; ++i, ++next) {
      const WrittenPiece& piece = work.pieces[next];
      const std::optional<std::uint32_t> encoding = take_number(encodings);
      if (i == 0) blob.offset = blob.end = piece.offset;
      if (!encoding || piece.offset != blob.end || piece.size > kChunkBytes) return std::nullopt;
      blob.rows.push_back({static_cast<std::uint32_t>(piece.size), *encoding, piece.hash});
      blob.end += piece.size;
    }
  }
  if (next != work.pieces.size() || !encodings.empty()) return std::nullopt;
  return kept;
}

}  // namespace

std::optional<Hash128> keep_tensor(WriteJournal* journal, BlobWriter& blobs, std::string_view tensor,
                                   std::span<const std::size_t> blob_numbers) {
  const std::optional<FinishedWork> work = finished_work(journal, blobs.file(), tensor);
  if (!work || work->note.size() < kHexDigits) return std::nullopt;
  const std::optional<Hash128> fingerprint = Hash128::from_hex(std::string_view(work->note).substr(0, kHexDigits));
  const std::optional<std::vector<KeptBlob>> kept = kept_blobs(*work, blobs, blob_numbers);
  if (!fingerprint || !kept) return std::nullopt;
  if (blobs.is_compressing()) blobs.flush();
  if (!blobs.keep(*kept)) return std::nullopt;
  for (const WrittenPiece& piece : work->pieces) journal->keep(piece.size);
  return fingerprint;
}

void record_tensor(WriteJournal* journal, const BlobWriter& blobs, std::string_view tensor,
                   std::span<const std::size_t> blob_numbers, const Hash128& fingerprint) {
  if (journal == nullptr) return;
  FinishedWork work;
  work.note = fingerprint.hex();
  for (const std::size_t number : blob_numbers) {
    std::uint64_t offset = blobs.offset_of(number);
    for (const ChunkRow& row : blobs.rows_of(number)) {
      work.pieces.push_back({offset, row.stored_size, row.hash});
      work.note += ' ' + std::to_string(row.encoding);
      offset += row.stored_size;
    }
  }
  journal->record(blobs.file(), tensor, work);
}

}  // namespace ingot::container

#include "format/base/write_journal.h"

#include <algorithm>
#include <atomic>

#include "format/base/parallel.h"

namespace ingot {
namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kSmallPieceBytes = std::uint64_t{16} << 10;
constexpr std::uint64_t kLargestPieceBytes = std::uint64_t{64} << 20;  // of a record that is read; writers make 1 MiB

bool confirms(const OutputFile& file, const std::vector<WrittenPiece>& pieces) {
  std::atomic<bool> confirmed{true};
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(pieces.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    std::vector<std::byte>& buffer = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t i = begin; i < end && confirmed.load(std::memory_order_relaxed); ++i) {
      if (pieces[i].size > kLargestPieceBytes) {
        confirmed = false;
        return;
      }
      buffer.resize(pieces[i].size);
      if (!file.read_at(pieces[i].offset, buffer) || hash128(buffer) != pieces[i].hash) confirmed = false;
    }
  });
  return confirmed;
}

void sort_by_offset(std::vector<WrittenPiece>& pieces) {
  std::sort(pieces.begin(), pieces.end(),
            [](const WrittenPiece& a, const WrittenPiece& b) { return a.offset < b.offset; });
}

/// `pieces` are sorted.
bool covers(const std::vector<WrittenPiece>& pieces, std::uint64_t offset, std::uint64_t size) {
  std::uint64_t at = offset;
  for (const WrittenPiece& piece : pieces) {
    if (piece.offset != at || piece.size > offset + size - at) return false;
    at += piece.size;
  }
  return at == offset + size;
}

}  // namespace

std::optional<FinishedWork> finished_work(WriteJournal* journal, const OutputFile& file, std::string_view key) {
  const FinishedWork* work = journal != nullptr ? journal->find(file, key) : nullptr;
  if (work == nullptr || !confirms(file, work->pieces)) return std::nullopt;
  return *work;
}

JournaledRange::JournaledRange(OutputFile& file, WriteJournal* journal, std::string_view key, std::uint64_t offset,
                               std::uint64_t size)
    : file_(file), journal_(journal), key_(key), offset_(offset), size_(size) {
  const FinishedWork* work = journal != nullptr ? journal->find(file, key) : nullptr;
  is_finished_ = work != nullptr && covers(work->pieces, offset, size) && confirms(file, work->pieces);
  if (is_finished_) journal->keep(size);
}

void JournaledRange::write_at(std::uint64_t offset, Bytes bytes) {
  file_.write_at(offset, bytes);
  if (journal_ == nullptr || bytes.empty()) return;
  const bool is_small = bytes.size() < kSmallPieceBytes && bytes.size() != size_;
  const WrittenPiece piece{offset, bytes.size(), is_small ? Hash128{} : hash128(bytes)};
  const std::scoped_lock lock(mutex_);
  reads_back_ |= is_small;
  if (!reads_back_) work_.pieces.push_back(piece);
}

std::vector<WrittenPiece> JournaledRange::read_back() const {
  std::vector<WrittenPiece> pieces;
  for (std::uint64_t begin = 0; begin < size_; begin += kPieceBytes)
    pieces.push_back({offset_ + begin, std::min(kPieceBytes, size_ - begin), {}});
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(pieces.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    std::vector<std::byte>& buffer = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t i = begin; i < end; ++i) {
      buffer.resize(pieces[i].size);
      if (file_.read_at(pieces[i].offset, buffer)) pieces[i].hash = hash128(buffer);
    }
  });
  return pieces;
}

void JournaledRange::finish() {
  if (journal_ == nullptr || is_finished_) return;
  if (reads_back_) work_.pieces = read_back();
  sort_by_offset(work_.pieces);
  if (covers(work_.pieces, offset_, size_)) journal_->record(file_, key_, work_);
}

}  // namespace ingot

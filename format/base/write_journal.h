// What a writer tells of its progress, so that a later run keeps finished work instead of doing it again. Writers know
// this interface and not what a journal looks like.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/hash.h"
#include "format/base/output_file.h"

namespace ingot {

/// A run of bytes of a file.
struct WrittenPiece {
  std::uint64_t offset = 0, size = 0;
  Hash128 hash;
};

/// A finished part of a file: every byte of it is in one of the pieces.
struct FinishedWork {
  std::vector<WrittenPiece> pieces;
  std::string note;  // what else the writer needs to go on from there
};

/// One per conversion, used from one thread. Files are told apart by their place below the directory of the journal.
class WriteJournal {
 public:
  virtual ~WriteJournal() = default;
  /// What an earlier run recorded; null when it did not. Nothing says yet that the bytes are still there:
  /// finished_work() does.
  [[nodiscard]] virtual const FinishedWork* find(const OutputFile& file, std::string_view key) const = 0;
  /// All bytes of `work` have been given to the operating system. `key` is unique in the file.
  virtual void record(const OutputFile& file, std::string_view key, const FinishedWork& work) = 0;
  /// Bytes of earlier runs that were kept are counted here.
  virtual void keep(std::uint64_t bytes) = 0;
};

/// What an earlier run recorded and the bytes in the file still confirm, piece by piece; parallel. Nothing without a
/// journal.
[[nodiscard]] std::optional<FinishedWork> finished_work(WriteJournal* journal, const OutputFile& file,
                                                        std::string_view key);

/// What becomes of the partial file of a writer that fails: with a journal a later run continues it.
[[nodiscard]] inline Leftover leftover(const WriteJournal* journal) noexcept {
  return journal != nullptr ? Leftover::kept : Leftover::removed;
}

/// A range of a file, written in pieces by any number of threads, recorded when it is complete. Without a journal only
/// passes them on.
class JournaledRange {
 public:
  /// The range is [offset, offset + size) of the file. All arguments must outlive it.
  JournaledRange(OutputFile& file, WriteJournal* journal, std::string_view key, std::uint64_t offset,
                 std::uint64_t size);

  /// Did an earlier run write all of it? Then there is nothing to write.
  [[nodiscard]] bool is_finished() const noexcept { return is_finished_; }
  /// Offset from the start of the file.
  void write_at(std::uint64_t offset, Bytes bytes);
  /// After the last byte, from one thread.
  void finish();

 private:
  [[nodiscard]] std::vector<WrittenPiece> read_back() const;

  OutputFile& file_;
  WriteJournal* journal_;
  std::string_view key_;
  std::uint64_t offset_, size_;
  bool is_finished_ = false;
  std::mutex mutex_;
  FinishedWork work_;
  bool reads_back_ = false;  // many small pieces: hashed in larger ones at the end
};

}  // namespace ingot

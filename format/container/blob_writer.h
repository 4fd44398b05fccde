// Writes blobs chunk by chunk: hashes, compresses and writes the queued chunks with all threads, in an order and at
// offsets that do not depend on the number of threads. Implements spec/container.md section 4 (the writer's order) and
// spec/integrity.md section 2.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "format/base/output_file.h"
#include "format/container/byte_meter.h"
#include "format/container/chunk.h"
#include "format/container/container.h"
#include "format/container/index.h"

namespace ingot::container {

/// What else is done with a chunk while its bytes are in the cache. Called from several threads.
using ChunkTask = std::function<void(std::uint64_t chunk, int worker)>;

/// A blob that is in the file before its writer comes to it.
struct KeptBlob {
  std::size_t number = 0;
  std::uint64_t offset = 0, end = 0;  // in the file
  std::vector<ChunkRow> rows;
};

class BlobWriter {
 public:
  BlobWriter(OutputFile& file, const WriteOptions& options, ByteMeter& meter);

  /// The next blob in file order; returns its number. Uncompressed writers know its place at once.
  std::size_t begin_blob(std::uint64_t size, bool is_compressible, std::uint32_t shuffle_width);
  /// Queues consecutive chunks of a blob from `first_chunk` on; `raw` ends at a chunk border or at the end of the blob.
  /// The bytes and the task must live until flush(). Compressing writers need the chunks in file order. Flushes by
  /// itself when much is queued.
  void add_chunks(std::size_t blob, std::uint64_t first_chunk, Bytes raw, const ChunkTask* task = nullptr);
  /// Bytes of source files that are about to be read: their hashes are taken now, by all threads.
  void will_read(const std::vector<Bytes>& source_bytes);
  /// Runs on the calling thread once everything queued so far is written.
  void after_flush(std::function<void()> call) { after_flush_.push_back(std::move(call)); }
  /// Runs after those, beside others of its kind: gives pages back to the system, which takes a while.
  void release_after_flush(std::function<void()> call) { releases_.push_back(std::move(call)); }
  void flush();

  /// Bytes outside the chunk system (chunk table, index) at the next multiple of `alignment`; returns their offset.
  std::uint64_t append(Bytes bytes, std::uint64_t alignment);
  void write_at(std::uint64_t offset, Bytes bytes);

  /// Instead of all chunks of the blobs begun last: they are in the file already. A compressing writer must have
  /// nothing queued. False, and nothing done, where this writer would not have put them there.
  [[nodiscard]] bool keep(const std::vector<KeptBlob>& kept);
  /// The rows of a blob whose chunks are written.
  [[nodiscard]] std::span<const ChunkRow> rows_of(std::size_t blob) const;
  /// Its first byte, from the start of the file.
  [[nodiscard]] std::uint64_t offset_of(std::size_t blob) const { return blobs_[blob].blob.offset; }
  [[nodiscard]] const OutputFile& file() const noexcept { return file_; }

  /// After the last flush(): the blob with its hash.
  [[nodiscard]] Blob finished_blob(std::size_t blob) const;
  [[nodiscard]] const std::vector<ChunkRow>& rows() const noexcept { return rows_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return end_; }
  [[nodiscard]] bool has_compressed_chunks() const noexcept { return has_compressed_chunks_; }
  [[nodiscard]] bool is_compressing() const noexcept { return compression_ == Compression::zstd; }

 private:
  struct OpenBlob {
    Blob blob;
    bool is_compressible = false;
    bool is_placed = false;
    std::uint32_t shuffle_width = 0;
  };
  struct Job {
    std::size_t blob = 0;
    std::uint64_t chunk = 0;
    Bytes raw;
    const ChunkTask* task = nullptr;
    Bytes stored;              // raw, or a view of its output buffer
    std::uint64_t offset = 0;  // from file start
    bool is_placed = false;
  };

  [[nodiscard]] bool fits(const std::vector<KeptBlob>& kept) const;
  void place(OpenBlob& blob, std::uint64_t stored_bytes);
  void encode(std::size_t job_number, int worker);
  void write_soon(const Job& job);
  [[nodiscard]] const Job* take_encoded();  // null: none
  void place_jobs();
  /// Jobs [begin, end) are those of one blob.
  void place_jobs_of_blob(std::size_t begin, std::size_t end);

  OutputFile& file_;
  Compression compression_;
  int zstd_level_;
  PassingHashes* source_hashes_;
  ByteMeter& meter_;
  std::uint64_t end_;
  std::vector<OpenBlob> blobs_;
  std::vector<ChunkRow> rows_;
  std::vector<Job> jobs_;
  std::uint64_t queued_bytes_ = 0;
  std::deque<const Job*> encoded_;  // their chunks are to be written
  std::mutex encoded_mutex_, writing_mutex_;
  std::vector<std::vector<std::byte>> outputs_;        // by job
  std::vector<std::optional<ChunkEncoder>> encoders_;  // by worker
  std::vector<std::byte> pending_;  // stored bytes of a blob that is too small so far to know its alignment
  std::vector<std::function<void()>> after_flush_, releases_;
  bool has_compressed_chunks_ = false;
};

}  // namespace ingot::container

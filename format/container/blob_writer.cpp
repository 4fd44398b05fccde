#include "format/container/blob_writer.h"

#include <algorithm>

#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/container/file.h"
#include "format/container/write_fault.h"

namespace ingot::container {
namespace {

// Uncompressed chunks are written from where they lie, so much may be queued; compressed ones need output buffers.
constexpr std::uint64_t kRawQueueBytes = std::uint64_t{128} << 20;
constexpr std::uint64_t kZstdQueueBytes = std::uint64_t{24} << 20;

}  // namespace

BlobWriter::BlobWriter(OutputFile& file, const WriteOptions& options, ByteMeter& meter)
    : file_(file),
      compression_(options.compression),
      zstd_level_(options.zstd_level),
      source_hashes_(options.source_hashes),
      meter_(meter),
      end_(kHeaderBytes) {
  encoders_.resize(static_cast<std::size_t>(thread_count()));
}

void BlobWriter::place(OpenBlob& blob, std::uint64_t stored_bytes) {
  blob.blob.offset = align_up(end_, blob_alignment(stored_bytes));
  file_.clear(end_, blob.blob.offset);
  blob.is_placed = true;
  end_ = blob.blob.offset;
}

std::size_t BlobWriter::begin_blob(std::uint64_t size, bool is_compressible, std::uint32_t shuffle_width) {
  OpenBlob& blob = blobs_.emplace_back();
  blob.blob.size = blob.blob.stored = size;
  blob.is_compressible = is_compressible && is_compressing();
  blob.shuffle_width = shuffle_width;
  if (size != 0) {
    blob.blob.first_chunk = rows_.size();
    rows_.resize(rows_.size() + chunk_count(size));
    if (!is_compressing()) {
      place(blob, size);
      end_ += size;
    }
  }
  return blobs_.size() - 1;
}

void BlobWriter::add_chunks(std::size_t blob, std::uint64_t first_chunk, Bytes raw, const ChunkTask* task) {
  for (std::uint64_t chunk = first_chunk; !raw.empty(); ++chunk) {
    Job& job = jobs_.emplace_back();
    job.blob = blob;
    job.chunk = chunk;
    job.raw = raw.first(std::min<std::uint64_t>(kChunkBytes, raw.size()));
    job.task = task;
    raw = raw.subspan(job.raw.size());
    queued_bytes_ += job.raw.size();
    if (queued_bytes_ >= (is_compressing() ? kZstdQueueBytes : kRawQueueBytes)) flush();
  }
}

void BlobWriter::will_read(const std::vector<Bytes>& source_bytes) {
  if (source_hashes_ == nullptr) return;
  for (const Bytes piece : source_bytes) source_hashes_->will_read(piece);
}

void BlobWriter::encode(std::size_t job_number, int worker) {
  Job& job = jobs_[job_number];
  const OpenBlob& blob = blobs_[job.blob];
  ChunkRow& row = rows_[blob.blob.first_chunk + job.chunk];
  job.stored = job.raw;
  row.encoding = 0;
  if (blob.is_compressible) {
    std::optional<ChunkEncoder>& encoder = encoders_[static_cast<std::size_t>(worker)];
    if (!encoder) encoder.emplace(zstd_level_);
    if (encoder->encode(job.raw, blob.shuffle_width, outputs_[job_number])) {
      job.stored = outputs_[job_number];
      row.encoding = zstd_encoding(blob.shuffle_width);
    }
  }
  row.stored_size = static_cast<std::uint32_t>(job.stored.size());
  row.hash = hash128(job.stored);
  if (job.task != nullptr) (*job.task)(job.chunk, worker);
  if (source_hashes_ != nullptr) source_hashes_->saw(job.raw);
  if (blob.is_placed && !is_compressing()) {
    job.offset = blob.blob.offset + job.chunk * kChunkBytes;
    write_soon(job);
  }
  meter_.add(job.raw.size());
}

/// The kernel lets one thread at a time write to a file. Whoever finds another thread writing leaves the chunk to it
/// and goes on with the next one, unless too many wait to be still in the cache.
void BlobWriter::write_soon(const Job& job) {
  constexpr std::size_t kMaxWaiting = 8;
  std::size_t waiting = 0;
  {
    const std::lock_guard lock(encoded_mutex_);
    encoded_.push_back(&job);
    waiting = encoded_.size();
  }
  std::unique_lock writing(writing_mutex_, std::defer_lock);
  if (waiting > kMaxWaiting) writing.lock();
  while (writing.owns_lock() || writing.try_lock()) {
    while (const Job* next = take_encoded()) write_at(next->offset, next->stored);
    writing.unlock();
    // What came between the last look and unlock() would be left to nobody.
    const std::lock_guard lock(encoded_mutex_);
    if (encoded_.empty()) return;
  }
}

const BlobWriter::Job* BlobWriter::take_encoded() {
  const std::lock_guard lock(encoded_mutex_);
  if (encoded_.empty()) return nullptr;
  const Job* const job = encoded_.front();
  encoded_.pop_front();
  return job;
}

void BlobWriter::place_jobs_of_blob(std::size_t begin, std::size_t end) {
  OpenBlob& blob = blobs_[jobs_[begin].blob];
  std::uint64_t stored_bytes = pending_.size();
  for (std::size_t i = begin; i < end; ++i) stored_bytes += jobs_[i].stored.size();
  const bool is_complete = jobs_[end - 1].chunk + 1 == chunk_count(blob.blob.size);
  if (!blob.is_placed) {
    if (!is_complete && stored_bytes < kLargeBlobBytes) {
      for (std::size_t i = begin; i < end; ++i)
        pending_.insert(pending_.end(), jobs_[i].stored.begin(), jobs_[i].stored.end());
      return;
    }
    place(blob, stored_bytes);
    write_at(end_, pending_);
    end_ += pending_.size();
    pending_.clear();
  }
  for (std::size_t i = begin; i < end; ++i) {
    jobs_[i].offset = end_;
    jobs_[i].is_placed = true;
    end_ += jobs_[i].stored.size();
  }
  if (is_complete) blob.blob.stored = end_ - blob.blob.offset;
}

void BlobWriter::place_jobs() {
  for (std::size_t begin = 0; begin < jobs_.size();) {
    std::size_t end = begin + 1;
    while (end < jobs_.size() && jobs_[end].blob == jobs_[begin].blob) ++end;
    place_jobs_of_blob(begin, end);
    begin = end;
  }
  parallel_for(jobs_.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t i = begin; i < end; ++i)
      if (jobs_[i].is_placed) write_at(jobs_[i].offset, jobs_[i].stored);
  });
}

void BlobWriter::flush() {
  if (is_compressing()) outputs_.resize(std::max(outputs_.size(), jobs_.size()));
  parallel_for(jobs_.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    for (std::uint64_t i = begin; i < end; ++i) encode(i, worker);
  });
  if (is_compressing()) {
    for (const Job& job : jobs_)
      has_compressed_chunks_ |= rows_[blobs_[job.blob].blob.first_chunk + job.chunk].is_zstd();
    place_jobs();
  }
  jobs_.clear();
  queued_bytes_ = 0;
  for (const std::function<void()>& call : std::exchange(after_flush_, {})) call();
  const std::vector<std::function<void()>> releases = std::exchange(releases_, {});
  parallel_for(releases.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t i = begin; i < end; ++i) releases[i]();
  });
}

std::uint64_t BlobWriter::append(Bytes bytes, std::uint64_t alignment) {
  const std::uint64_t offset = align_up(end_, alignment);
  file_.clear(end_, offset);
  write_at(offset, bytes);
  end_ = offset + bytes.size();
  return offset;
}

void BlobWriter::write_at(std::uint64_t offset, Bytes bytes) {
  guarded_write(offset, bytes, [&](std::uint64_t at, Bytes piece) { file_.write_at(at, piece); });
}

std::span<const ChunkRow> BlobWriter::rows_of(std::size_t number) const {
  const Blob& blob = blobs_[number].blob;
  return std::span(rows_).subspan(blob.size == 0 ? 0 : blob.first_chunk, chunk_count(blob.size));
}

bool BlobWriter::fits(const std::vector<KeptBlob>& kept) const {
  std::uint64_t end = end_;
  for (const KeptBlob& one : kept) {
    const Blob& blob = blobs_[one.number].blob;
    if (one.rows.size() != chunk_count(blob.size)) return false;
    if (blob.size == 0) continue;
    const std::uint64_t stored_bytes = one.end - one.offset;
    if (!is_compressing() && (one.offset != blob.offset || stored_bytes != blob.size)) return false;
    if (is_compressing() && one.offset != align_up(end, blob_alignment(stored_bytes))) return false;
    end = one.end;
  }
  return true;
}

bool BlobWriter::keep(const std::vector<KeptBlob>& kept) {
  if (!fits(kept)) return false;
  for (const KeptBlob& one : kept) {
    OpenBlob& blob = blobs_[one.number];
    if (blob.blob.size == 0) continue;
    blob.blob.offset = one.offset;
    blob.blob.stored = one.end - one.offset;
    blob.is_placed = true;
    if (is_compressing()) {
      file_.clear(end_, one.offset);
      end_ = one.end;
    }
    std::copy(one.rows.begin(), one.rows.end(), rows_.begin() + static_cast<std::ptrdiff_t>(blob.blob.first_chunk));
    for (const ChunkRow& row : one.rows) has_compressed_chunks_ |= row.is_zstd();
    meter_.add(blob.blob.size);
  }
  return true;
}

Blob BlobWriter::finished_blob(std::size_t number) const {
  Blob blob = blobs_[number].blob;
  const std::span<const ChunkRow> rows(rows_.data() + blob.first_chunk, chunk_count(blob.size));
  blob.hash = hash128(encode_chunk_rows(rows));
  return blob;
}

}  // namespace ingot::container

// A PlaneSource over the blobs of an opened file: raw blobs are views of the mapping, compressed chunks are
// decompressed on read.
#include <algorithm>
#include <cstring>

#include "format/container/file.h"
#include "format/tensor/tensor.h"

namespace ingot::container {
namespace {

struct Plane {
  Blob blob;
  std::vector<std::uint64_t> chunk_offsets;  // compressed blobs: file offset of each chunk
};

class MappedPlanes final : public tensor::PlaneSource {
 public:
  MappedPlanes(std::shared_ptr<const File> file, const std::vector<Blob>& blobs) : file_(std::move(file)) {
    planes_.reserve(blobs.size());
    for (const Blob& blob : blobs) {
      Plane& plane = planes_.emplace_back();
      plane.blob = blob;
      if (blob.stored != blob.size) plane.chunk_offsets = chunk_offsets_of(blob);
    }
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (!planes_[index].chunk_offsets.empty()) return std::nullopt;
    return raw(planes_[index]);
  }

  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    for (std::size_t i = 0; i < planes_.size(); ++i) {
      const Plane& plane = planes_[i];
      if (out[i] == nullptr || plane.blob.unit_bytes == 0) continue;
      const std::uint64_t begin = unit_begin * plane.blob.unit_bytes;
      const std::uint64_t size = unit_end * plane.blob.unit_bytes - begin;
      if (plane.chunk_offsets.empty()) {
        std::memcpy(out[i], raw(plane).subspan(begin, size).data(), size);
      } else {
        read_compressed(plane, begin, std::span(out[i], size));
      }
    }
  }

  [[nodiscard]] Bytes whole(std::size_t index) const override {
    return raw(planes_[index]);
  }  // whole planes are never compressed

  void done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const override {
    for (const Plane& plane : planes_) {
      if (plane.blob.unit_bytes == 0 || plane.blob.size == 0) continue;
      const std::uint64_t begin = unit_begin * plane.blob.unit_bytes, end = unit_end * plane.blob.unit_bytes;
      if (plane.chunk_offsets.empty()) {
        file_->mapping.drop(raw(plane).subspan(begin, end - begin));
      } else if (end == plane.blob.size) {
        drop_stored(plane, begin / kChunkBytes, plane.chunk_offsets.size());
      } else {
        drop_stored(plane, begin / kChunkBytes, end / kChunkBytes);
      }
    }
  }

 private:
  [[nodiscard]] std::vector<std::uint64_t> chunk_offsets_of(const Blob& blob) const {
    std::vector<std::uint64_t> offsets(chunk_count(blob.size));
    std::uint64_t offset = blob.offset;
    for (std::uint64_t chunk = 0; chunk < offsets.size(); ++chunk) {
      offsets[chunk] = offset;
      offset += file_->row(blob.first_chunk + chunk).stored_size;
    }
    return offsets;
  }

  [[nodiscard]] Bytes raw(const Plane& plane) const noexcept {
    return file_->bytes().subspan(plane.blob.offset, plane.blob.size);
  }

  void drop_stored(const Plane& plane, std::uint64_t chunk_begin, std::uint64_t chunk_end) const noexcept {
    if (chunk_begin >= chunk_end) return;
    const std::uint64_t end = chunk_end == plane.chunk_offsets.size() ? plane.blob.offset + plane.blob.stored
                                                                      : plane.chunk_offsets[chunk_end];
    file_->mapping.drop(
        file_->bytes().subspan(plane.chunk_offsets[chunk_begin], end - plane.chunk_offsets[chunk_begin]));
  }

  /// Bytes [begin, begin + out.size()) of the plane. A chunk that is wanted whole is decompressed in place, others
  /// through the cache.
  void read_compressed(const Plane& plane, std::uint64_t begin, std::span<std::byte> out) const {
    while (!out.empty()) {
      const std::uint64_t chunk = begin / kChunkBytes;
      const std::uint64_t raw_bytes = chunk_raw_bytes(plane.blob.size, chunk);
      const std::uint64_t skip = begin - chunk * kChunkBytes;
      const std::uint64_t count = std::min<std::uint64_t>(raw_bytes - skip, out.size());
      const ChunkCache::Fill fill = [&](ChunkDecoder& decoder, std::span<std::byte> target) {
        fill_chunk(plane, chunk, decoder, target);
      };
      if (count == raw_bytes) {
        file_->cache.decode(out.first(count), fill);
      } else {
        const auto cached = file_->cache.get(plane.blob.first_chunk + chunk, raw_bytes, fill);
        std::memcpy(out.data(), cached->data() + skip, count);
      }
      begin += count;
      out = out.subspan(count);
    }
  }

  void fill_chunk(const Plane& plane, std::uint64_t chunk, ChunkDecoder& decoder, std::span<std::byte> raw_out) const {
    const ChunkRow row = file_->row(plane.blob.first_chunk + chunk);
    const std::uint64_t offset = plane.chunk_offsets[chunk];
    const Bytes stored = file_->bytes().subspan(offset, row.stored_size);
    check_chunk_hash(stored, row, file_->where, offset);
    if (row.is_zstd()) {
      decoder.decode(stored, row.shuffle_width(), raw_out, file_->where, offset);
    } else {
      std::memcpy(raw_out.data(), stored.data(), stored.size());
    }
  }

  std::shared_ptr<const File> file_;
  std::vector<Plane> planes_;
};

}  // namespace

std::shared_ptr<const tensor::PlaneSource> mapped_planes(std::shared_ptr<const File> file,
                                                         const std::vector<Blob>& blobs) {
  return std::make_shared<MappedPlanes>(std::move(file), blobs);
}

}  // namespace ingot::container

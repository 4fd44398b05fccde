#include "format/container/tensor_writer.h"

#include <algorithm>
#include <utility>

#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/container/kept_tensor.h"
#include "format/tensor/decode.h"

namespace ingot::container {
namespace {

constexpr std::uint64_t kBufferBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kPieceBytes = std::uint64_t{32} << 20;     // of a view, between two done_with()
constexpr std::uint64_t kReadGrainBytes = std::uint64_t{2} << 20;  // one read_units() of a thread: long pieces of rows

/// Is the order of the stored bytes the order of the logical values, one fixed number of bytes each?
bool is_in_logical_order(const tensor::Tensor& tensor) {
  const tensor::DTypeInfo& type = tensor::info(tensor.scheme.codes.type);
  return tensor.packing == tensor::Packing::rows && tensor.transforms.empty() && tensor.scheme.is_plain() &&
         tensor.scheme.flat == 0 && tensor.scheme.codes.kind == tensor::CodeKind::number && type.decodable &&
         type.bits % 8 == 0;
}

template <class Owners, class T>
void forget(Owners& owners, const T* wanted) {
  std::erase_if(owners, [&](const auto& one) { return one.get() == wanted; });
}

/// At most `most` units, or one; a multiple of those that no block of values crosses, where so many fit.
std::uint64_t window_units_of(const tensor::Tensor& tensor, std::uint64_t most) {
  const std::uint64_t step = tensor::UnitFingerprint::units_of_whole_blocks(tensor);
  return most >= step ? most / step * step : std::max<std::uint64_t>(1, most);
}

std::uint32_t shuffle_width(const tensor::PlaneSpec& spec) {
  const tensor::DTypeInfo& type = tensor::info(spec.type);
  return type.is_float && type.bits >= 16 ? type.bits / 8 : 0;
}

}  // namespace

/// The fingerprint of a tensor whose chunks hold whole blocks of values: computed while a chunk is being written.
class TensorWriter::InPassing {
 public:
  /// `values`: a buffer per worker, shared by all tensors.
  InPassing(const tensor::Tensor& source, Bytes bytes, std::vector<std::vector<float>>& values)
      : bytes_(bytes),
        type_(source.scheme.codes.type),
        element_bytes_(tensor::bits(type_) / 8u),
        builder_(source.shape),
        elements_(source.elements()),
        blocks_per_chunk_(kChunkBytes / element_bytes_ / tensor::kFingerprintBlockElems),
        task_([this, &values](std::uint64_t chunk, int worker) {
          add_chunk(chunk, values[static_cast<std::size_t>(worker)], worker);
        }) {
    if (!tensor::FingerprintBuilder::takes_bytes_of(type_)) reader_.emplace(source);
  }

  [[nodiscard]] const ChunkTask& task() const noexcept { return task_; }
  [[nodiscard]] Hash128 finish() const { return builder_.finish(); }

 private:
  void add_chunk(std::uint64_t chunk, std::vector<float>& values, int worker) {
    for (std::uint64_t block = chunk * blocks_per_chunk_; block < (chunk + 1) * blocks_per_chunk_; ++block) {
      const std::uint64_t begin = block * tensor::kFingerprintBlockElems;
      if (begin >= elements_) return;
      const std::uint64_t count = std::min(tensor::kFingerprintBlockElems, elements_ - begin);
      if (!reader_) {
        builder_.add_block(block, type_, bytes_.subspan(begin * element_bytes_, count * element_bytes_));
        continue;
      }
      values.resize(count);
      reader_->read(begin, values, worker);
      builder_.add_block(block, values);
    }
  }

  Bytes bytes_;
  tensor::DType type_;
  std::uint64_t element_bytes_;
  std::optional<tensor::ValueReader> reader_;  // for types that are not hashed as they are
  tensor::FingerprintBuilder builder_;
  std::uint64_t elements_;
  std::uint64_t blocks_per_chunk_;
  ChunkTask task_;
};

TensorWriter::TensorWriter(BlobWriter& blobs, std::vector<tensor::TakenFingerprint>& fingerprints,
                           bool reuse_fingerprints, WriteJournal* journal)
    : blobs_(blobs), fingerprints_(fingerprints), reuse_fingerprints_(reuse_fingerprints), journal_(journal) {
  values_.resize(static_cast<std::size_t>(thread_count()));
}
TensorWriter::~TensorWriter() = default;

std::vector<std::size_t> TensorWriter::add(const tensor::Tensor& tensor, std::size_t number) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  std::vector<std::size_t> blob_numbers;
  for (const tensor::PlaneSpec& spec : specs)
    blob_numbers.push_back(blobs_.begin_blob(spec.total_bytes, spec.sliced, shuffle_width(spec)));
  if (const std::optional<Hash128> known = keep_tensor(journal_, blobs_, tensor.name, blob_numbers)) {
    fingerprints_[number].hash = *known;
    return blob_numbers;
  }
  const bool reuse = reuse_fingerprints_ && tensor.fingerprint;
  InPassing* in_passing = nullptr;
  if (!reuse && is_in_logical_order(tensor) && tensor.elements() != 0) {
    if (const std::optional<Bytes> view = tensor.planes->view(0); view && view->size() == specs[0].total_bytes)
      in_passing = in_passing_.emplace_back(std::make_unique<InPassing>(tensor, *view, values_)).get();
  }
  std::vector<StreamedPlane> streamed;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const tensor::PlaneSpec& spec = specs[i];
    const std::size_t blob = blob_numbers[i];
    const std::optional<Bytes> view = spec.sliced ? tensor.planes->view(i) : tensor.planes->whole(i);
    if (view) {
      add_bytes(tensor, spec, blob, *view, in_passing != nullptr ? &in_passing->task() : nullptr);
      continue;
    }
    StreamedPlane plane;
    plane.index = i;
    plane.blob = blob;
    plane.unit_bytes = spec.unit_bytes;
    streamed.push_back(std::move(plane));
    if (blobs_.is_compressing())
      add_units(tensor, std::exchange(streamed, {}), nullptr);  // file order: one plane after the other
  }
  tensor::UnitFingerprint* of_units = nullptr;
  const auto sliced = std::count_if(specs.begin(), specs.end(), [](const auto& spec) { return spec.sliced; });
  if (!reuse && std::cmp_equal(streamed.size(), sliced) && tensor::UnitFingerprint::takes(tensor))
    of_units = unit_fingerprints_.emplace_back(std::make_unique<tensor::UnitFingerprint>(tensor)).get();
  if (!streamed.empty()) add_units(tensor, std::move(streamed), of_units);
  blobs_.after_flush([this, &tensor, number, reuse, in_passing, of_units, blob_numbers] {
    tensor::TakenFingerprint& taken = fingerprints_[number];
    taken.hash = reuse                   ? *tensor.fingerprint
                 : in_passing != nullptr ? in_passing->finish()
                 : of_units != nullptr   ? of_units->finish()
                                         : tensor::fingerprint(tensor);
    // Compressed bytes are hashed, their values are those of others.
    taken.of_written_bytes =
        !blobs_.is_compressing() && (in_passing != nullptr || (of_units != nullptr && of_units->is_all_in_windows()));
    record_tensor(journal_, blobs_, tensor.name, blob_numbers, taken.hash);
    forget(in_passing_, in_passing);
    forget(unit_fingerprints_, of_units);
  });
  blobs_.release_after_flush([&tensor] { tensor.planes->done_with(0, tensor.geometry().units); });
  return blob_numbers;
}

void TensorWriter::add_bytes(const tensor::Tensor& tensor, const tensor::PlaneSpec& spec, std::size_t blob, Bytes bytes,
                             const ChunkTask* task) {
  if (bytes.size() != spec.total_bytes) {
    throw Error(ErrorKind::invalid_value, "tensor \"" + tensor.name + "\": plane " + spec.role + ": expected " +
                                              std::to_string(spec.total_bytes) + " bytes, got " +
                                              std::to_string(bytes.size()));
  }
  for (std::uint64_t begin = 0; begin < bytes.size(); begin += kPieceBytes) {
    const std::uint64_t size = std::min<std::uint64_t>(kPieceBytes, bytes.size() - begin);
    blobs_.add_chunks(blob, begin / kChunkBytes, bytes.subspan(begin, size), task);
    if (spec.sliced && spec.unit_bytes != 0 && begin + size < bytes.size()) {
      blobs_.release_after_flush(
          [&tensor, unit_begin = begin / spec.unit_bytes, unit_end = (begin + size) / spec.unit_bytes] {
            tensor.planes->done_with(unit_begin, unit_end);
          });
    }
  }
}

std::byte* TensorWriter::take_buffer(std::uint64_t bytes) {
  if (buffer_.size() - buffer_used_ < bytes) {
    blobs_.flush();  // nothing queued points into the buffer any more
    buffer_used_ = 0;
    if (buffer_.size() < bytes) buffer_.resize(std::max(bytes, kBufferBytes));
  }
  std::byte* taken = buffer_.data() + buffer_used_;
  buffer_used_ += bytes;
  return taken;
}

/// Reads units into the planes' regions (behind their carry) with all threads.
void TensorWriter::read_window(const tensor::Tensor& tensor, std::vector<StreamedPlane>& planes,
                               std::uint64_t unit_begin, std::uint64_t unit_end) {
  std::uint64_t unit_bytes = 0, window_bytes = 0;
  for (const StreamedPlane& plane : planes) {
    unit_bytes += plane.unit_bytes;
    window_bytes += plane.carry.size() + (unit_end - unit_begin) * plane.unit_bytes;
  }
  std::byte* at = take_buffer(window_bytes);
  for (StreamedPlane& plane : planes) {
    plane.region = at;
    std::copy(plane.carry.begin(), plane.carry.end(), at);
    at += plane.carry.size() + (unit_end - unit_begin) * plane.unit_bytes;
  }
  blobs_.will_read(tensor.planes->file_bytes(unit_begin, unit_end));
  const std::size_t plane_count = tensor.plane_specs().size();
  const std::uint64_t grain = std::max<std::uint64_t>(1, kReadGrainBytes / std::max<std::uint64_t>(1, unit_bytes));
  parallel_for(unit_end - unit_begin, grain, [&](std::uint64_t begin, std::uint64_t end, int) {
    std::vector<std::byte*> out(plane_count, nullptr);
    for (const StreamedPlane& plane : planes)
      out[plane.index] = plane.region + plane.carry.size() + begin * plane.unit_bytes;
    tensor.planes->read_units(unit_begin + begin, unit_begin + end, out);
  });
}

/// Shares the blocks of a window out among the chunks that its codes fill, so that one thread hashes values while the
/// other writes. Null where they fill none: then the blocks are done.
const ChunkTask* TensorWriter::window_task(tensor::UnitFingerprint& fingerprint,
                                           const std::vector<StreamedPlane>& planes, std::uint64_t unit_begin,
                                           std::uint64_t unit_end, std::uint64_t code_bytes) {
  std::vector<Bytes> bytes(planes.back().index + 1);  // all sliced planes are among them
  for (const StreamedPlane& plane : planes)
    bytes[plane.index] = Bytes(plane.region + plane.carry.size(), (unit_end - unit_begin) * plane.unit_bytes);
  tensor::UnitFingerprint::Window& window = fingerprint.open(unit_begin, unit_end, std::move(bytes));
  const std::uint64_t first = planes[0].next_chunk, count = ceil_div(code_bytes, kChunkBytes);
  if (count == 0) {
    window.add(0, window.block_count());
    return nullptr;
  }
  const auto share = [&window, count](std::uint64_t chunk) { return window.block_count() * chunk / count; };
  window_tasks_.push_back(std::make_unique<const ChunkTask>([&window, first, share](std::uint64_t chunk, int) {
    window.add(share(chunk - first), share(chunk - first + 1));
  }));
  return window_tasks_.back().get();
}

void TensorWriter::add_units(const tensor::Tensor& tensor, std::vector<StreamedPlane> planes,
                             tensor::UnitFingerprint* fingerprint) {
  const std::uint64_t units = tensor.geometry().units;
  std::uint64_t unit_bytes = 0;
  for (const StreamedPlane& plane : planes) unit_bytes += plane.unit_bytes;
  if (units == 0 || unit_bytes == 0) return;
  const std::uint64_t window_bytes = kBufferBytes - std::min(kBufferBytes / 2, planes.size() * kChunkBytes);
  const std::uint64_t window_units = window_units_of(tensor, window_bytes / unit_bytes);
  for (std::uint64_t begin = 0; begin < units; begin += window_units) {
    const std::uint64_t end = std::min(units, begin + window_units);
    read_window(tensor, planes, begin, end);
    std::vector<std::uint64_t> whole_chunks;  // bytes of planes that fill chunks
    for (const StreamedPlane& plane : planes) {
      const std::uint64_t size = plane.carry.size() + (end - begin) * plane.unit_bytes;
      whole_chunks.push_back(end == units ? size : size / kChunkBytes * kChunkBytes);
    }
    const ChunkTask* task =
        fingerprint != nullptr ? window_task(*fingerprint, planes, begin, end, whole_chunks[0]) : nullptr;
    for (std::size_t i = 0; i < planes.size(); ++i) {
      StreamedPlane& plane = planes[i];
      const std::uint64_t size = plane.carry.size() + (end - begin) * plane.unit_bytes;
      blobs_.add_chunks(plane.blob, plane.next_chunk, Bytes(plane.region, whole_chunks[i]), i == 0 ? task : nullptr);
      plane.next_chunk += whole_chunks[i] / kChunkBytes;
      plane.carry.assign(plane.region + whole_chunks[i], plane.region + size);
    }
    if (task != nullptr) blobs_.after_flush([this, task] { forget(window_tasks_, task); });
    blobs_.release_after_flush([&tensor, begin, end] { tensor.planes->done_with(begin, end); });
  }
}

}  // namespace ingot::container

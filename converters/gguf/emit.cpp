// The bytes of planned tensors: rows copied, blocks joined, or values encoded, in pieces that several threads work on.
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "converters/gguf/encode.h"
#include "converters/gguf/plan.h"
#include "converters/gguf/planes.h"
#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "format/tensor/unit_fingerprint.h"

namespace ingot::convert::gguf {
namespace {

using tensor::Tensor;
using Sink = std::function<void(std::uint64_t, std::span<const std::byte>)>;

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kJoinedElems = std::uint64_t{1} << 18;  // of several tiles, which lie side by side in files
constexpr std::uint64_t kEncodedElems = std::uint64_t{1}
                                        << 15;  // decoded at a time: they stay in the second-level cache
constexpr std::uint64_t kCachedElems = std::uint64_t{1} << 12;  // the same of plain numbers, in the first-level cache
constexpr std::uint64_t kScanElems = std::uint64_t{1} << 16;
constexpr std::uint64_t kScansAtOnce = 8;

std::uint64_t heads_of(const Tensor& tensor) {
  for (const tensor::Transform& transform : tensor.transforms)
    if (transform.kind == tensor::TransformKind::rope_interleave) return transform.heads;
  return 0;
}

/// Position inside a head of d rows: from the interleaved arrangement to the logical one, and back.
std::uint64_t to_logical(std::uint64_t row, std::uint64_t d) { return row % 2 * (d / 2) + row / 2; }
std::uint64_t to_interleaved(std::uint64_t row, std::uint64_t d) { return row % (d / 2) * 2 + row / (d / 2); }

/// The rows of a tensor in the file, and where each comes from. Groups of `group` rows map onto themselves.
struct FileRows {
  std::uint64_t rows = 1, cols = 1, row_bytes = 0, group = 1;
};

FileRows row_view(const TensorPlan& plan, bool elements_as_rows) {
  FileRows view;
  const tensor::Shape& shape = plan.shape;
  if (elements_as_rows) {
    view.rows = shape.empty() ? 1 : shape[0];
  } else {
    view.cols = shape.empty() ? 1 : shape.back();
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) view.rows *= shape[i];
  }
  view.row_bytes = view.cols / plan.type->block_elems * plan.type->block_bytes;
  return view;
}

/// Runs work(first_row, row_count, bytes, worker) for pieces of whole groups and hands the bytes to the sink.
void for_pieces(const FileRows& view, std::uint64_t unit_rows, const Sink& sink,
                const std::function<void(std::uint64_t, std::uint64_t, std::span<std::byte>, int)>& work) {
  if (view.rows == 0 || view.row_bytes == 0) return;
  const std::uint64_t step = view.group > 1 ? view.group : unit_rows;
  const std::uint64_t piece_rows = align_up(std::max<std::uint64_t>(kPieceBytes / view.row_bytes, 1), step);
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(ceil_div(view.rows, piece_rows), 1, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    std::vector<std::byte>& bytes = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = begin; piece < end; ++piece) {
      const std::uint64_t first = piece * piece_rows, count = std::min(piece_rows, view.rows - first);
      bytes.resize(count * view.row_bytes);
      work(first, count, bytes, worker);
      sink(first * view.row_bytes, bytes);
    }
  });
}

/// Tells the source that the units of these stored rows were read for the last time.
void release_rows(const Tensor& tensor, std::uint64_t first, std::uint64_t count) {
  const tensor::Geometry geometry = tensor.geometry();
  if (geometry.rows == 0 || count == 0 || tensor.scheme.flat != 0) return;
  const auto unit_of = [&](std::uint64_t row) {
    return row / geometry.rows * geometry.units_per_matrix + row % geometry.rows / geometry.rows_per_unit;
  };
  tensor.planes->done_with(unit_of(first), unit_of(first + count - 1) + 1);
}

/// Stored row of the source that becomes row `row` of the file.
struct RowMap {
  std::uint64_t head_rows;
  bool from_logical, from_interleaved;  // neither: same arrangement
  [[nodiscard]] std::uint64_t operator()(std::uint64_t row) const {
    if (from_logical) return row / head_rows * head_rows + to_logical(row % head_rows, head_rows);
    if (from_interleaved) return row / head_rows * head_rows + to_interleaved(row % head_rows, head_rows);
    return row;
  }
};

RowMap row_map(const TensorPlan& plan, FileRows& view) {
  const std::uint64_t have = heads_of(*plan.source);
  if (have == plan.target_heads) return {1, false, false};
  view.group = view.rows / std::max(have, plan.target_heads);
  return {view.group, have == 0, have != 0};
}

void emit_copy(const TensorPlan& plan, const Sink& sink) {
  FileRows view = row_view(plan, false);
  const RowMap map = row_map(plan, view);
  const Tensor& tensor = *plan.source;
  const auto whole = tensor.planes->view(0);
  for_pieces(view, 1, sink, [&](std::uint64_t first, std::uint64_t count, std::span<std::byte> bytes, int) {
    std::vector<std::byte> read;
    const std::byte* rows = nullptr;
    if (whole) {
      rows = whole->data() + first * view.row_bytes;
    } else {
      read.resize(bytes.size());
      std::vector<std::byte*> wanted(tensor.plane_specs().size(), nullptr);
      wanted[0] = read.data();
      tensor.planes->read_units(first, first + count, wanted);
      rows = read.data();
    }
    if (view.group == 1) {
      std::memcpy(bytes.data(), rows, bytes.size());
    } else {
      for (std::uint64_t r = 0; r < count; ++r) {
        std::memcpy(bytes.data() + r * view.row_bytes, rows + (map(first + r) - first) * view.row_bytes,
                    view.row_bytes);
      }
    }
    release_rows(tensor, first, count);
  });
}

void emit_join(const TensorPlan& plan, const Sink& sink) {
  FileRows view = row_view(plan, false);
  const RowMap map = row_map(plan, view);
  const Tensor& tensor = plan.blocks();
  const std::uint64_t rows_at_once = kJoinedElems / std::max<std::uint64_t>(view.cols, 1) / tensor::kTileRows;
  constexpr std::uint64_t kLeastTiles = 4;  // what readers of such files turn over at once
  const std::uint64_t tiles = tensor::units_in_whole_blocks(tensor, std::max(rows_at_once, kLeastTiles));
  const std::uint64_t step = align_up(tiles * tensor::kTileRows, view.group);
  std::vector<std::optional<RowUnpacker>> unpackers(static_cast<std::size_t>(thread_count()));
  for_pieces(view, tiles * tensor::kTileRows, sink,
             [&](std::uint64_t first, std::uint64_t count, std::span<std::byte> bytes, int worker) {
               std::optional<RowUnpacker>& rows = unpackers[static_cast<std::size_t>(worker)];
               if (!rows) rows.emplace(tensor, *plan.type);
               for (std::uint64_t begin = first; begin < first + count; begin += step) {
                 const std::uint64_t end = std::min(begin + step, first + count);
                 rows->load(begin, end);
                 for (std::uint64_t r = begin; r < end; ++r)
                   rows->join(map(r), bytes.data() + (r - first) * view.row_bytes);
               }
               release_rows(tensor, first, count);
             });
}

void emit_encode(const TensorPlan& plan, const Sink& sink) {
  const Encoder& encoder = *find_encoder(plan.type->name);
  FileRows view = row_view(plan, plan.target_heads > 0 && plan.shape.size() == 1);
  if (plan.target_heads > 0) view.group = view.rows / plan.target_heads;
  const bool in_rows = plan.source->scheme.is_plain();  // else tiles should not be decoded in parts
  const std::uint64_t elems_at_once = in_rows ? kCachedElems : kEncodedElems;
  const std::uint64_t rows_at_once = std::max<std::uint64_t>(elems_at_once / std::max<std::uint64_t>(view.cols, 1), 1);
  const std::uint64_t step = align_up(in_rows ? rows_at_once : align_up(rows_at_once, tensor::kTileRows), view.group);
  tensor::ValueReader reader(*plan.source);
  std::vector<std::vector<float>> buffers(static_cast<std::size_t>(thread_count()));
  const auto work = [&](std::uint64_t first, std::uint64_t count, std::span<std::byte> bytes, int worker) {
    std::vector<float>& values = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t begin = first; begin < first + count; begin += step) {
      const std::uint64_t rows = std::min(step, first + count - begin);
      std::byte* out = bytes.data() + (begin - first) * view.row_bytes;
      values.resize(rows * view.cols);
      reader.read(begin * view.cols, values, worker);
      if (plan.add_one) {
        for (float& value : values) value += 1.0f;
      }
      if (view.group == 1) {
        encoder.encode(values.data(), values.size(), out);
        continue;
      }
      for (std::uint64_t r = 0; r < rows; ++r) {
        const std::uint64_t from = r / view.group * view.group + to_logical(r % view.group, view.group);
        encoder.encode(values.data() + from * view.cols, view.cols, out + r * view.row_bytes);
      }
    }
    reader.done_with(first * view.cols, (first + count) * view.cols);
  };
  for_pieces(view, tensor::kTileRows, sink, work);
}

/// Equal as canonical values: -0 counts as +0, every NaN as the same.
bool same_value(float a, float b) { return a == b || (a != a && b != b); }

/// What is known of the values after a look at them.
struct ScanResult {
  std::atomic<bool> equal{true};
  std::atomic<bool> finite{true};
};

/// Buffers of one worker.
struct ScanBuffers {
  std::vector<float> values, back;
  std::vector<std::byte> bytes;
};

/// Adding one to an exponent of ones sets the top bit.
bool all_finite(std::span<const float> values) noexcept {
  constexpr std::uint32_t kExponent = 0x7F800000, kOne = 0x00800000, kTop = 0x80000000;
  std::uint32_t tops = 0;
  for (const float value : values) tops |= (std::bit_cast<std::uint32_t>(value) & kExponent) + kOne;
  return (tops & kTop) == 0;
}

/// The same of stored elements of 16 bits.
bool all_finite(Bytes halves, std::uint16_t exponent, std::uint16_t one) noexcept {
  std::uint16_t tops = 0;
  for (std::size_t i = 0; i + 1 < halves.size(); i += 2) {
    std::uint16_t half = 0;
    std::memcpy(&half, halves.data() + i, sizeof half);
    tops = static_cast<std::uint16_t>(tops | ((half & exponent) + one));
  }
  return (tops & 0x8000) == 0;
}

/// Infinities and NaN of a tensor that is numbers of 16 bits in a file are found where they lie.
class StoredHalves {
 public:
  explicit StoredHalves(const Tensor& tensor) {
    const tensor::DType type = tensor.scheme.codes.type;
    if (!tensor.scheme.is_plain() || (type != tensor::DType::bf16 && type != tensor::DType::f16)) return;
    const std::optional<Bytes> view = tensor.planes->view(0);
    if (!view || view->size() != 2 * tensor.elements()) return;
    bytes_ = *view;
    exponent_ = type == tensor::DType::bf16 ? 0x7F80 : 0x7C00;
    one_ = type == tensor::DType::bf16 ? 0x0080 : 0x0400;
  }
  [[nodiscard]] bool has_them() const noexcept { return !bytes_.empty(); }
  /// In the order of the file: a transform moves values, and one that adds keeps them finite.
  [[nodiscard]] bool are_finite(std::uint64_t begin, std::uint64_t count) const noexcept {
    return all_finite(bytes_.subspan(2 * begin, 2 * count), exponent_, one_);
  }

 private:
  Bytes bytes_;
  std::uint16_t exponent_ = 0, one_ = 0;
};

/// Converts every value and back; once one is known to change, only infinities and NaN are of interest.
void scan_values(const TensorPlan& plan, const Encoder& encoder, ScanBuffers& buffers, ScanResult& result) {
  const std::vector<float>& values = buffers.values;
  if (!encoder.holds_non_finite && !all_finite(values)) result.finite = false;
  if (!result.equal) return;
  if (encoder.all_fit != nullptr && !plan.add_one) {
    if (!encoder.all_fit(values.data(), values.size())) result.equal = false;
    return;
  }
  buffers.back.resize(values.size());
  if (plan.add_one) {
    for (std::size_t i = 0; i < values.size(); ++i) buffers.back[i] = (values[i] + 1.0f) - 1.0f;
  } else {
    buffers.bytes.resize(values.size() * sizeof(float) + plan.type->block_bytes);
    encoder.encode(values.data(), values.size(), buffers.bytes.data());
    encoder.decode(buffers.bytes.data(), values.size(), buffers.back.data());
  }
  bool equal = true;
  for (std::size_t i = 0; i < values.size(); ++i) equal &= same_value(values[i], buffers.back[i]);
  if (!equal) result.equal = false;
}

/// Stops early once nothing more can be learnt.
void scan(const TensorPlan& plan, ScanResult& result) {
  const Encoder& encoder = *find_encoder(plan.type->name);
  tensor::ValueReader reader(*plan.source);
  const StoredHalves halves(*plan.source);
  const std::uint64_t elements = reader.elements();
  std::vector<ScanBuffers> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(ceil_div(elements, kScanElems), kScansAtOnce, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    ScanBuffers& own = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = begin; piece < end; ++piece) {
      if (!result.equal && (encoder.holds_non_finite || !result.finite)) return;
      const std::uint64_t count = std::min(kScanElems, elements - piece * kScanElems);
      if (!result.equal && halves.has_them()) {
        if (!halves.are_finite(piece * kScanElems, count)) result.finite = false;
        continue;
      }
      own.values.resize(count);
      reader.read(piece * kScanElems, own.values, worker);
      scan_values(plan, encoder, own, result);
    }
    reader.done_with(begin * kScanElems, std::min(elements, end * kScanElems));
  });
  reader.done_with(0, elements);
}

}  // namespace

ProofClass check_values(const TensorPlan& plan, std::string& reason) {
  reason = plan.reason;
  if (plan.action == Action::refuse) return ProofClass::refused;
  if (plan.action != Action::encode) return plan.proof;
  const bool same_type = plan.source->scheme == plan.type->scheme();
  if (!plan.add_one && (plan.type->name == "F32" || same_type)) return ProofClass::exact;
  ScanResult result;
  scan(plan, result);
  if (!find_encoder(plan.type->name)->holds_non_finite && !result.finite) {
    reason = "infinities or NaN cannot be held by " + std::string(plan.type->name);
    return ProofClass::refused;
  }
  if (result.equal) return ProofClass::exact;
  reason = plan.add_one                          ? "weight + 1 loses low bits"
           : plan.type->kind == BlockKind::coded ? "values are rounded to " + std::string(plan.type->name)
                                                 : "some values have more bits than " + std::string(plan.type->name);
  if (!plan.reason.empty()) reason += " (" + plan.reason + ")";
  return ProofClass::requantized;
}

void emit_tensor(const TensorPlan& plan, const Sink& sink) {
  switch (plan.action) {
    case Action::copy: return emit_copy(plan, sink);
    case Action::join: return emit_join(plan, sink);
    case Action::encode: return emit_encode(plan, sink);
    case Action::given: return sink(0, std::as_bytes(std::span(plan.values)));
    case Action::drop:
    case Action::refuse: return;
  }
}

}  // namespace ingot::convert::gguf

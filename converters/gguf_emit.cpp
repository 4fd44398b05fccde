// The bytes of planned tensors: rows copied, blocks joined, or values encoded, in pieces that several threads work on.
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "converters/gguf_encode.h"
#include "converters/gguf_plan.h"
#include "converters/gguf_planes.h"
#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"

namespace ingot::convert::gguf {
namespace {

using tensor::Tensor;
using Sink = std::function<void(std::uint64_t, std::span<const std::byte>)>;

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kScanElems = std::uint64_t{1} << 16;

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

/// Runs work(first_row, row_count, bytes) for pieces of whole groups and hands the bytes to the sink.
void for_pieces(const FileRows& view, std::uint64_t unit_rows, const Sink& sink,
                const std::function<void(std::uint64_t, std::uint64_t, std::span<std::byte>)>& work) {
  if (view.rows == 0 || view.row_bytes == 0) return;
  const std::uint64_t step = view.group > 1 ? view.group : unit_rows;
  const std::uint64_t piece_rows = align_up(std::max<std::uint64_t>(kPieceBytes / view.row_bytes, 1), step);
  parallel_for(ceil_div(view.rows, piece_rows), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    std::vector<std::byte> bytes;
    for (std::uint64_t piece = begin; piece < end; ++piece) {
      const std::uint64_t first = piece * piece_rows, count = std::min(piece_rows, view.rows - first);
      bytes.resize(count * view.row_bytes);
      work(first, count, bytes);
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
  for_pieces(view, 1, sink, [&](std::uint64_t first, std::uint64_t count, std::span<std::byte> bytes) {
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
  const Tensor& tensor = *plan.source;
  for_pieces(view, tensor::kTileRows, sink, [&](std::uint64_t first, std::uint64_t count, std::span<std::byte> bytes) {
    RowUnpacker rows(tensor);
    const std::uint64_t step = std::max<std::uint64_t>(view.group, tensor::kTileRows);
    for (std::uint64_t begin = first; begin < first + count; begin += step) {
      const std::uint64_t end = std::min(begin + step, first + count);
      rows.load(begin, end);
      for (std::uint64_t r = begin; r < end; ++r) {
        plan.type->codec->join(rows.row(map(r)), view.cols / plan.type->block_elems,
                               bytes.data() + (r - first) * view.row_bytes);
      }
    }
    release_rows(tensor, first, count);
  });
}

void emit_encode(const TensorPlan& plan, const Sink& sink) {
  const Encoder& encoder = *find_encoder(plan.type->name);
  FileRows view = row_view(plan, plan.target_heads > 0 && plan.shape.size() == 1);
  if (plan.target_heads > 0) view.group = view.rows / plan.target_heads;
  const bool transposed = plan.source->stored_shape() != plan.source->shape;
  for_pieces(view, tensor::kTileRows, sink, [&](std::uint64_t first, std::uint64_t count, std::span<std::byte> bytes) {
    std::vector<float> values(count * view.cols);
    tensor::decode_logical_range(*plan.source, first * view.cols, values);
    if (plan.add_one) {
      for (float& value : values) value += 1.0f;
    }
    if (view.group == 1) {
      encoder.encode(values.data(), values.size(), bytes.data());
    } else {
      for (std::uint64_t r = 0; r < count; ++r) {
        const std::uint64_t from = r / view.group * view.group + to_logical(r % view.group, view.group);
        encoder.encode(values.data() + from * view.cols, view.cols, bytes.data() + r * view.row_bytes);
      }
    }
    if (!transposed && view.cols > 1) release_rows(*plan.source, first, count);
  });
}

/// Equal as canonical values: -0 counts as +0, every NaN as the same.
bool same_value(float a, float b) { return a == b || (a != a && b != b); }

struct ScanResult {
  bool equal = true;
  bool finite = true;
};

/// Converts every value and back. Stops early once nothing more can be learnt.
ScanResult scan(const TensorPlan& plan) {
  const Encoder& encoder = *find_encoder(plan.type->name);
  const Tensor& tensor = *plan.source;
  std::atomic<bool> equal{true}, finite{true};
  const std::uint64_t elements = tensor.elements();
  parallel_for(ceil_div(elements, kScanElems), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    std::vector<float> values, back;
    std::vector<std::byte> bytes(kScanElems * sizeof(float) + plan.type->block_bytes);
    for (std::uint64_t piece = begin; piece < end; ++piece) {
      if (!equal && (encoder.holds_non_finite || !finite)) return;
      values.resize(std::min(kScanElems, elements - piece * kScanElems));
      back.resize(values.size());
      tensor::decode_logical_range(tensor, piece * kScanElems, values);
      if (plan.add_one) {
        for (std::size_t i = 0; i < values.size(); ++i) back[i] = (values[i] + 1.0f) - 1.0f;
      } else {
        encoder.encode(values.data(), values.size(), bytes.data());
        encoder.decode(bytes.data(), values.size(), back.data());
      }
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (!same_value(values[i], back[i])) equal = false;
        if (!std::isfinite(values[i])) finite = false;
      }
    }
  });
  return {equal, finite};
}

}  // namespace

ProofClass check_values(const TensorPlan& plan, std::string& reason) {
  reason = plan.reason;
  if (plan.action == Action::refuse) return ProofClass::refused;
  if (plan.action != Action::encode) return ProofClass::exact;
  const bool same_type = plan.source->scheme == plan.type->scheme();
  if (!plan.add_one && (plan.type->name == "F32" || same_type)) return ProofClass::exact;
  const ScanResult result = scan(plan);
  if (!find_encoder(plan.type->name)->holds_non_finite && !result.finite) {
    reason = "infinities or NaN cannot be held by " + std::string(plan.type->name);
    return ProofClass::refused;
  }
  if (result.equal) return ProofClass::exact;
  reason =
      plan.add_one ? "weight + 1 loses low bits" : "some values have more bits than " + std::string(plan.type->name);
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

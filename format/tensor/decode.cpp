// The public face of the decoder. Implements spec/schemes/README.md section 1 and spec/transforms.md.
#include "format/tensor/decode.h"

#include <algorithm>

#include "format/base/error.h"
#include "format/base/parallel.h"
#include "format/tensor/logical_decoder.h"

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kPieceElems = 65536;
constexpr std::uint64_t kPiecesAtOnce = 4;         // one scratch serves so many pieces of a parallel run
constexpr std::uint64_t kBufferedElems = 1 << 20;  // decoded ahead of an ordered sink

void check_size(const Tensor& tensor, std::uint64_t expected, std::uint64_t got) {
  if (expected == got) return;
  throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": output holds " + std::to_string(got) +
                                            " values, expected " + std::to_string(expected));
}

void check_range(const std::string& name, const LogicalDecoder& decoder, std::uint64_t begin, std::uint64_t count) {
  if (begin <= decoder.elements() && count <= decoder.elements() - begin) return;
  throw Error(ErrorKind::invalid_value, "tensor " + name + ": elements " + std::to_string(begin) + " + " +
                                            std::to_string(count) + " of " + std::to_string(decoder.elements()));
}

/// Elements [begin, begin + out.size()), by all threads.
void decode_parallel(const LogicalDecoder& decoder, std::uint64_t begin, std::span<float> out) {
  std::vector<LogicalScratch> scratches(static_cast<std::size_t>(thread_count()));
  parallel_for((out.size() + kPieceElems - 1) / kPieceElems, kPiecesAtOnce,
               [&](std::uint64_t first, std::uint64_t last, int worker) {
                 LogicalScratch& scratch = scratches[static_cast<std::size_t>(worker)];
                 for (std::uint64_t piece = first; piece < last; ++piece) {
                   const std::uint64_t at = piece * kPieceElems;
                   decoder.decode(begin + at, out.subspan(at, std::min(kPieceElems, out.size() - at)), scratch);
                 }
               });
}

}  // namespace

std::uint64_t rows_in_units(const Geometry& geometry, std::uint64_t unit_begin, std::uint64_t unit_end) noexcept {
  if (geometry.units_per_matrix == 0) return 0;
  const auto rows_before = [&](std::uint64_t unit) {
    const std::uint64_t in_matrix = unit % geometry.units_per_matrix * geometry.rows_per_unit;
    return unit / geometry.units_per_matrix * geometry.rows + std::min(in_matrix, geometry.rows);
  };
  return rows_before(unit_end) - rows_before(unit_begin);
}

void decode_units(const Tensor& tensor, std::uint64_t unit_begin, std::uint64_t unit_end, std::span<float> out) {
  const Decoder decoder(tensor);
  const Geometry& view = decoder.geometry();
  if (unit_begin > unit_end || unit_end > view.units) {
    throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": units " + std::to_string(unit_begin) + ".." +
                                              std::to_string(unit_end) + " of " + std::to_string(view.units));
  }
  const std::uint64_t rows = rows_in_units(view, unit_begin, unit_end);
  check_size(tensor, rows * view.cols, out.size());
  const std::uint64_t first_row = rows_in_units(view, 0, unit_begin);
  DecodeScratch scratch;
  decoder.decode(first_row, first_row + rows, 0, view.cols, out.data(), view.cols, scratch);
}

void decode_logical(const Tensor& tensor, std::span<float> out) {
  check_size(tensor, tensor.elements(), out.size());
  const LogicalDecoder decoder(tensor);
  if (!decoder.needs_whole_tensor()) return decode_parallel(decoder, 0, out);
  LogicalScratch scratch;
  decoder.decode(0, out, scratch);
}

void for_each_logical(const Tensor& tensor, std::uint64_t piece_elems,
                      const std::function<void(std::uint64_t, std::span<const float>)>& sink) {
  if (piece_elems == 0) throw Error(ErrorKind::invalid_value, "tensor " + tensor.name + ": pieces of 0 elements");
  const LogicalDecoder decoder(tensor);
  const std::uint64_t total = decoder.elements();
  std::vector<float> buffer;
  const bool at_once = decoder.needs_whole_tensor();
  const std::uint64_t buffered =
      at_once ? total : std::min(total, std::max(piece_elems, kBufferedElems / piece_elems * piece_elems));
  buffer.resize(buffered);
  for (std::uint64_t begin = 0; begin < total; begin += buffered) {
    const std::span<float> values = std::span(buffer).first(std::min(buffered, total - begin));
    if (at_once)
      decode_logical(tensor, values);
    else
      decode_parallel(decoder, begin, values);
    for (std::uint64_t at = 0; at < values.size(); at += piece_elems) {
      sink(begin + at, values.subspan(at, std::min<std::uint64_t>(piece_elems, values.size() - at)));
    }
  }
}

void decode_logical_range(const Tensor& tensor, std::uint64_t begin, std::span<float> out) {
  const LogicalDecoder decoder(tensor);
  check_range(tensor.name, decoder, begin, out.size());
  LogicalScratch scratch;
  decoder.decode(begin, out, scratch);
}

struct ValueReader::State {
  explicit State(const Tensor& tensor)
      : name(tensor.name),
        planes(tensor.planes),
        decoder(tensor),
        scratches(static_cast<std::size_t>(thread_count())) {}

  std::string name;
  std::shared_ptr<const PlaneSource> planes;
  LogicalDecoder decoder;
  std::vector<LogicalScratch> scratches;  // by worker
};

ValueReader::ValueReader(const Tensor& tensor) : state_(std::make_unique<State>(tensor)) {}
ValueReader::~ValueReader() = default;

std::uint64_t ValueReader::elements() const noexcept { return state_->decoder.elements(); }

void ValueReader::read(std::uint64_t begin, std::span<float> out, int worker) {
  check_range(state_->name, state_->decoder, begin, out.size());
  state_->decoder.decode(begin, out, state_->scratches.at(static_cast<std::size_t>(worker)));
}

void ValueReader::done_with(std::uint64_t begin, std::uint64_t end) const {
  const auto [unit_begin, unit_end] = state_->decoder.units_ending_in(begin, end);
  if (unit_begin < unit_end) state_->planes->done_with(unit_begin, unit_end);
}

}  // namespace ingot::tensor

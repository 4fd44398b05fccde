#include "format/tensor/canonical_reader.h"

#include <optional>
#include <vector>

#include "format/base/parallel.h"
#include "format/tensor/bulk.h"
#include "format/tensor/canonical_tiles.h"
#include "format/tensor/decode.h"

namespace ingot::tensor {
namespace {

using Canonicalize = void (*)(const void* src, std::uint32_t* dst, std::uint64_t count) noexcept;

Canonicalize canonicalize_of(DType type) noexcept {
  switch (type) {
    case DType::f32: return bulk().canonical_f32;
    case DType::f16: return bulk().canonical_f16;
    case DType::bf16: return bulk().canonical_bf16;
    default: return nullptr;
  }
}

/// Floats that lie in the order of the values.
std::optional<Bytes> floats_of(const Tensor& tensor) {
  if (!tensor.scheme.is_plain() || !tensor.transforms.empty()) return std::nullopt;
  if (canonicalize_of(tensor.scheme.codes.type) == nullptr) return std::nullopt;
  const std::optional<Bytes> view = tensor.planes->view(0);
  const std::uint64_t bytes = tensor.elements() * (bits(tensor.scheme.codes.type) / 8u);
  return view && view->size() == bytes ? view : std::nullopt;
}

}  // namespace

struct CanonicalReader::State {
  explicit State(const Tensor& tensor)
      : values(tensor), floats(floats_of(tensor)), element_bytes(bits(tensor.scheme.codes.type) / 8u) {
    if (floats) canonicalize = canonicalize_of(tensor.scheme.codes.type);
    // Rows that change places would have their tiles turned over again and again.
    if (floats || !tensor.transforms.empty() || !CanonicalTiles::takes(tensor)) return;
    tiles.emplace(tensor);
    scratches.resize(static_cast<std::size_t>(thread_count()));
  }

  ValueReader values;
  std::optional<Bytes> floats;
  Canonicalize canonicalize = nullptr;
  std::uint64_t element_bytes;
  std::optional<CanonicalTiles> tiles;
  std::vector<CanonicalTiles::Scratch> scratches;  // by worker
};

CanonicalReader::CanonicalReader(const Tensor& tensor) : state_(std::make_unique<State>(tensor)) {}
CanonicalReader::~CanonicalReader() = default;

bool CanonicalReader::reads_in_pieces() const noexcept { return state_->floats || state_->tiles; }

void CanonicalReader::read(std::uint64_t begin, std::span<float> out, int worker) {
  const std::span<std::uint32_t> canonical(reinterpret_cast<std::uint32_t*>(out.data()), out.size());
  if (state_->floats) {
    const Bytes bytes = state_->floats->subspan(begin * state_->element_bytes, out.size() * state_->element_bytes);
    return state_->canonicalize(bytes.data(), canonical.data(), canonical.size());
  }
  if (state_->tiles)
    return state_->tiles->read(begin, canonical, state_->scratches.at(static_cast<std::size_t>(worker)));
  state_->values.read(begin, out, worker);
  bulk().canonical_f32(out.data(), canonical.data(), canonical.size());
}

void CanonicalReader::done_with(std::uint64_t begin, std::uint64_t end) const { state_->values.done_with(begin, end); }

}  // namespace ingot::tensor

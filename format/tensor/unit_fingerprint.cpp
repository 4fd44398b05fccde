#include "format/tensor/unit_fingerprint.h"

#include <algorithm>

#include "format/tensor/canonical_tiles.h"

namespace ingot::tensor {
namespace {

/// Planes of a window.
class WindowPlanes final : public PlaneSource {
 public:
  explicit WindowPlanes(std::vector<Bytes> planes) : planes_(std::move(planes)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override { return planes_[index]; }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return planes_[index]; }
  void read_units(std::uint64_t, std::uint64_t, std::vector<std::byte*>&) const override {}  // all have views

 private:
  std::vector<Bytes> planes_;
};

Tensor part_of(const Tensor& tensor, std::uint64_t rows, std::vector<Bytes> planes) {
  Tensor part = tensor;
  part.shape = {rows, tensor.geometry().cols};
  part.planes = std::make_shared<WindowPlanes>(std::move(planes));
  return part;
}

}  // namespace

UnitFingerprint::Window::Window(UnitFingerprint& owner, std::uint64_t unit_begin, std::uint64_t unit_end,
                                std::vector<Bytes> planes)
    : owner_(owner) {
  const Geometry view = owner.tensor_.geometry();
  const std::uint64_t row_begin = unit_begin * kTileRows, row_end = std::min(unit_end * kTileRows, view.rows);
  const std::uint64_t end = row_end * view.cols;
  first_elem_ = row_begin * view.cols;
  first_ = (first_elem_ + kFingerprintBlockElems - 1) / kFingerprintBlockElems;
  last_ = (row_end == view.rows ? end + kFingerprintBlockElems - 1 : end) / kFingerprintBlockElems;
  last_ = std::max(first_, last_);
  tiles_ = std::make_unique<const CanonicalTiles>(part_of(owner.tensor_, row_end - row_begin, std::move(planes)));
}
UnitFingerprint::Window::~Window() = default;

void UnitFingerprint::Window::add(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  CanonicalTiles::Scratch scratch;
  std::vector<Hash128> hashes(end - begin);
  tiles_->hash((first_ + begin) * kFingerprintBlockElems - first_elem_, kFingerprintBlockElems, hashes, scratch);
  for (std::uint64_t i = 0; i < hashes.size(); ++i) owner_.builder_.add_hash(first_ + begin + i, hashes[i]);
}

bool UnitFingerprint::takes(const Tensor& tensor) {
  return CanonicalTiles::takes(tensor) && tensor.geometry().matrices == 1 && tensor.elements() != 0;
}

UnitFingerprint::UnitFingerprint(const Tensor& tensor)
    : tensor_(tensor),
      builder_(tensor.shape),
      opened_((tensor.elements() + kFingerprintBlockElems - 1) / kFingerprintBlockElems) {}
UnitFingerprint::~UnitFingerprint() = default;

UnitFingerprint::Window& UnitFingerprint::open(std::uint64_t unit_begin, std::uint64_t unit_end,
                                               std::vector<Bytes> planes) {
  std::unique_ptr<Window> opened(new Window(*this, unit_begin, unit_end, std::move(planes)));
  Window& window = *opened;
  const std::scoped_lock lock(mutex_);
  windows_.push_back(std::move(opened));
  std::fill_n(opened_.begin() + static_cast<std::ptrdiff_t>(window.first_), window.block_count(), true);
  return window;
}

Hash128 UnitFingerprint::finish() {
  const CanonicalTiles tiles(tensor_);
  CanonicalTiles::Scratch scratch;
  for (std::uint64_t block = 0; block < opened_.size(); ++block) {
    if (opened_[block]) continue;
    Hash128 hash;
    tiles.hash(block * kFingerprintBlockElems, kFingerprintBlockElems, std::span(&hash, 1), scratch);
    builder_.add_hash(block, hash);
  }
  return builder_.finish();
}

}  // namespace ingot::tensor

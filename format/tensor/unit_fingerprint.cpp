#include "format/tensor/unit_fingerprint.h"

#include <algorithm>
#include <numeric>

namespace ingot::tensor {

UnitFingerprint::Window::Window(UnitFingerprint& owner, CanonicalTiles::Units units)
    : owner_(owner), units_(std::move(units)) {
  const Geometry view = owner.tensor_.geometry();
  const std::uint64_t row_end = std::min(units_.end * kTileRows, view.rows);
  const std::uint64_t begin = units_.begin * kTileRows * view.cols, end = row_end * view.cols;
  first_ = (begin + kFingerprintBlockElems - 1) / kFingerprintBlockElems;
  last_ = (row_end == view.rows ? end + kFingerprintBlockElems - 1 : end) / kFingerprintBlockElems;
  last_ = std::max(first_, last_);
}

void UnitFingerprint::Window::add(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  CanonicalTiles::Scratch scratch;
  std::vector<Hash128> hashes(end - begin);
  owner_.tiles_.hash((first_ + begin) * kFingerprintBlockElems, kFingerprintBlockElems, hashes, &units_, scratch);
  for (std::uint64_t i = 0; i < hashes.size(); ++i) owner_.builder_.add_hash(first_ + begin + i, hashes[i]);
}

bool UnitFingerprint::takes(const Tensor& tensor) {
  return tensor.transforms.empty() && tensor.elements() != 0 && tensor.geometry().matrices == 1 &&
         CanonicalTiles::takes(tensor);
}

std::uint64_t UnitFingerprint::units_of_whole_blocks(const Tensor& tensor) {
  return kFingerprintBlockElems / std::gcd(kFingerprintBlockElems, kTileRows * tensor.geometry().cols);
}

UnitFingerprint::UnitFingerprint(const Tensor& tensor)
    : tensor_(tensor),
      tiles_(tensor),
      builder_(tensor.shape),
      opened_((tensor.elements() + kFingerprintBlockElems - 1) / kFingerprintBlockElems) {}

UnitFingerprint::Window& UnitFingerprint::open(std::uint64_t unit_begin, std::uint64_t unit_end,
                                               std::vector<Bytes> planes) {
  std::unique_ptr<Window> opened(new Window(*this, {unit_begin, unit_end, std::move(planes)}));
  Window& window = *opened;
  const std::scoped_lock lock(mutex_);
  windows_.push_back(std::move(opened));
  std::fill_n(opened_.begin() + static_cast<std::ptrdiff_t>(window.first_), window.block_count(), true);
  return window;
}

std::uint64_t UnitFingerprint::blocks_outside_windows() const {
  return static_cast<std::uint64_t>(std::count(opened_.begin(), opened_.end(), false));
}

Hash128 UnitFingerprint::finish() {
  CanonicalTiles::Scratch scratch;
  for (std::uint64_t block = 0; block < opened_.size(); ++block) {
    if (opened_[block]) continue;
    Hash128 hash;
    tiles_.hash(block * kFingerprintBlockElems, kFingerprintBlockElems, std::span(&hash, 1), nullptr, scratch);
    builder_.add_hash(block, hash);
  }
  return builder_.finish();
}

std::uint64_t units_in_whole_blocks(const Tensor& tensor, std::uint64_t some) {
  constexpr std::uint64_t kTimes = 4;
  const std::uint64_t least = std::max<std::uint64_t>(some, 1);
  if (tensor.packing != Packing::tiles || tensor.geometry().cols == 0) return least;
  const std::uint64_t step = UnitFingerprint::units_of_whole_blocks(tensor);
  return step <= kTimes * least ? (least + step - 1) / step * step : least;
}

}  // namespace ingot::tensor

#include "converters/conversion/source_witness.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <string>

#include "converters/conversion/code_hashes.h"
#include "converters/conversion/source_removal.h"
#include "format/base/checked_math.h"
#include "format/tensor/packing.h"
#include "format/tensor/unit_fingerprint.h"

namespace ingot::convert {
namespace {

using tensor::Tensor;
using tensor::UnitFingerprint;

constexpr std::uint64_t kWindowElems = std::uint64_t{1} << 20;  // looked at right after they are read: in the cache

/// What has been seen of one tensor.
struct Watch {
  explicit Watch(const Tensor& tensor) : values(tensor), codes(tensor), claimed(tensor.geometry().units) {}
  UnitFingerprint values;
  CodeHashes codes;
  std::vector<std::atomic<bool>> claimed;  // by unit: somebody looks, or has looked, at it
  std::atomic<std::uint64_t> seen = 0;     // units
};

bool is_watched(const Tensor& tensor) {
  if (tensor.fingerprint || tensor.planes == nullptr || is_removed(tensor) || !UnitFingerprint::takes(tensor))
    return false;
  return !tensor.planes->view(0);
}

}  // namespace

class WatchedPlanes final : public tensor::PlaneSource {
 public:
  explicit WatchedPlanes(const Tensor& tensor)
      : tensor_(tensor),
        specs_(tensor.plane_specs()),
        code_planes_(tensor::code_slices(tensor::bits(tensor.scheme.codes.type)).count),
        whole_blocks_(UnitFingerprint::units_of_whole_blocks(tensor)) {
    const std::uint64_t some = std::max<std::uint64_t>(kWindowElems / (tensor::kTileRows * tensor.geometry().cols), 1);
    window_units_ = align_up(some, whole_blocks_);
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override { return tensor_.planes->view(index); }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return tensor_.planes->whole(index); }
  void done_with(std::uint64_t begin, std::uint64_t end) const override { tensor_.planes->done_with(begin, end); }
  [[nodiscard]] std::vector<Bytes> file_bytes(std::uint64_t begin, std::uint64_t end) const override {
    return tensor_.planes->file_bytes(begin, end);
  }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    const bool is_looked_at = is_active_ && wants_codes(out) && has_whole_blocks(begin, end);
    const std::shared_ptr<Watch> watch = is_looked_at ? this->watch() : nullptr;
    if (watch == nullptr) return tensor_.planes->read_units(begin, end, out);
    for (std::uint64_t at = begin; at < end;) {
      const std::uint64_t next = std::min(end, (at / window_units_ + 1) * window_units_);
      read_window(*watch, begin, at, next, out);
      at = next;
    }
  }

  void start() noexcept { is_active_ = true; }
  [[nodiscard]] std::optional<SeenUnits> finish() {
    is_active_ = false;
    const std::scoped_lock lock(mutex_);
    watch_.reset();
    return seen_;
  }

 private:
  [[nodiscard]] bool wants_codes(const std::vector<std::byte*>& out) const noexcept {
    return out.size() >= code_planes_ &&
           std::all_of(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(code_planes_),
                       [](const std::byte* plane) { return plane != nullptr; });
  }
  /// Else nearly all blocks would have to be read again.
  [[nodiscard]] bool has_whole_blocks(std::uint64_t begin, std::uint64_t end) const noexcept {
    return end - begin >= whole_blocks_ || end - begin == tensor_.geometry().units;
  }
  /// Null: everything has been seen.
  [[nodiscard]] std::shared_ptr<Watch> watch() const {
    const std::scoped_lock lock(mutex_);
    if (watch_ == nullptr && is_active_) watch_ = std::make_shared<Watch>(tensor_);
    return watch_;
  }
  /// After the last unit: what was kept of each is no longer needed. Nothing is seen where too few units came at a
  /// time.
  void settle(Watch& watch) const {
    constexpr std::uint64_t kFew = 8;  // one of so many blocks may have to be read again, and one more
    const std::uint64_t blocks = ceil_div(tensor_.elements(), tensor::kFingerprintBlockElems);
    const std::uint64_t again = watch.values.blocks_outside_windows();
    std::optional<SeenUnits> seen;
    if (again <= blocks / kFew + 1) seen = {watch.values.finish(), watch.codes.finish()};
    if (seen && again > 0) tensor_.planes->done_with(0, watch.claimed.size());
    const std::scoped_lock lock(mutex_);
    is_active_ = false;
    seen_ = seen;
    watch_.reset();
  }
  /// Units [begin, end) of a read from `first` on, with the parameters that the reader does not want.
  void read_window(Watch& watch, std::uint64_t first, std::uint64_t begin, std::uint64_t end,
                   const std::vector<std::byte*>& out) const {
    std::vector<std::byte*> wanted(specs_.size(), nullptr);
    std::vector<std::vector<std::byte>> others(specs_.size());
    std::vector<Bytes> planes(specs_.size());
    const bool is_first_look = claim(watch, begin, end);
    for (std::size_t i = 0; i < specs_.size(); ++i) {
      if (!specs_[i].sliced) continue;
      const std::uint64_t unit_bytes = specs_[i].unit_bytes, bytes = (end - begin) * unit_bytes;
      if (i < out.size() && out[i] != nullptr) {
        wanted[i] = out[i] + (begin - first) * unit_bytes;
      } else if (const std::optional<Bytes> view = tensor_.planes->view(i)) {
        planes[i] = view->subspan(begin * unit_bytes, bytes);
        continue;
      } else if (is_first_look) {
        others[i].resize(bytes);
        wanted[i] = others[i].data();
      }
      planes[i] = Bytes(wanted[i], wanted[i] == nullptr ? 0 : bytes);
    }
    tensor_.planes->read_units(begin, end, wanted);
    if (!is_first_look) return;
    watch.codes.add(begin, end, planes);
    UnitFingerprint::Window& window = watch.values.open(begin, end, std::move(planes));
    window.add(0, window.block_count());
    const std::uint64_t count = end - begin;
    if (watch.seen.fetch_add(count) + count == watch.claimed.size()) settle(watch);
  }
  /// Were all of these units free?
  [[nodiscard]] static bool claim(Watch& watch, std::uint64_t begin, std::uint64_t end) noexcept {
    bool free = true;
    for (std::uint64_t unit = begin; unit < end; ++unit) free &= !watch.claimed[unit].exchange(true);
    return free;
  }

  Tensor tensor_;  // with the planes of the source
  std::vector<tensor::PlaneSpec> specs_;
  std::size_t code_planes_;
  std::uint64_t whole_blocks_, window_units_;  // units
  mutable std::atomic<bool> is_active_ = false;
  mutable std::mutex mutex_;  // of what follows
  mutable std::shared_ptr<Watch> watch_;
  mutable std::optional<SeenUnits> seen_;
};

std::shared_ptr<SourceWitness> SourceWitness::of(const tensor::Model& model) {
  if (std::none_of(model.tensors.begin(), model.tensors.end(), is_watched)) return nullptr;
  std::shared_ptr<SourceWitness> witness(new SourceWitness);
  witness->model_ = model;
  for (Tensor& tensor : witness->model_.tensors) {
    witness->watched_.push_back(is_watched(tensor) ? std::make_shared<WatchedPlanes>(tensor) : nullptr);
    if (witness->watched_.back() != nullptr) tensor.planes = witness->watched_.back();
  }
  return witness;
}

void SourceWitness::start(const Forecast& forecast) {
  std::map<std::string_view, ProofClass> forecasts;
  for (const TensorOutcome& outcome : forecast.tensors) forecasts.emplace(outcome.name, outcome.forecast);
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    const auto found = forecasts.find(model_.tensors[i].name);
    if (watched_[i] != nullptr && found != forecasts.end() && found->second == ProofClass::exact) watched_[i]->start();
  }
}

std::vector<std::optional<SeenUnits>> SourceWitness::finish() {
  std::vector<std::optional<SeenUnits>> seen(watched_.size());
  for (std::size_t i = 0; i < seen.size(); ++i)
    if (watched_[i] != nullptr) seen[i] = watched_[i]->finish();
  return seen;
}

}  // namespace ingot::convert

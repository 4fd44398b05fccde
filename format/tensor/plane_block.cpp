#include "format/tensor/plane_block.h"

#include <algorithm>

#include "format/base/checked_math.h"
#include "format/base/parallel.h"

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kAlignment = 64;  // as in a file (spec/container.md): lines of a tile are lines of the cache
constexpr std::uint64_t kUnitsAtOnce = 64;

}  // namespace

PlaneBlock::PlaneBlock(const Shape& stored_shape, const Scheme& scheme, Packing packing)
    : specs_(plane_specs(stored_shape, scheme, packing)) {
  const std::string what = "planes of " + describe(scheme);
  std::uint64_t end = 0;
  for (const PlaneSpec& spec : specs_) {
    offsets_.push_back(end);
    end = checked_mul(ceil_div(checked_add(end, spec.total_bytes, what), kAlignment), kAlignment, what);
  }
  memory_ = LargeBlock(end);
}

std::span<std::byte> PlaneBlock::fill(std::size_t index) noexcept {
  return memory_.bytes().subspan(offsets_[index], specs_[index].total_bytes);
}

Bytes PlaneBlock::whole(std::size_t index) const {
  return memory_.bytes().subspan(offsets_[index], specs_[index].total_bytes);
}

void PlaneBlock::read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const {
  for (std::size_t i = 0; i < specs_.size() && i < out.size(); ++i) {
    if (out[i] == nullptr || !specs_[i].sliced) continue;
    const std::uint64_t bytes = specs_[i].unit_bytes;
    std::ranges::copy(whole(i).subspan(unit_begin * bytes, (unit_end - unit_begin) * bytes), out[i]);
  }
}

std::shared_ptr<const PlaneSource> copied_planes(const Tensor& tensor) {
  const auto copy = std::make_shared<PlaneBlock>(tensor.stored_shape(), tensor.scheme, tensor.packing);
  std::vector<std::byte*> begins(copy->specs().size(), nullptr);
  for (std::size_t i = 0; i < begins.size(); ++i) {
    if (copy->specs()[i].sliced) {
      begins[i] = copy->fill(i).data();
    } else {
      std::ranges::copy(tensor.planes->whole(i), copy->fill(i).data());
    }
  }
  parallel_for(tensor.geometry().units, kUnitsAtOnce, [&](std::uint64_t begin, std::uint64_t end, int) {
    std::vector<std::byte*> out = begins;
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (out[i] != nullptr) out[i] += begin * copy->specs()[i].unit_bytes;
    }
    tensor.planes->read_units(begin, end, out);
    tensor.planes->done_with(begin, end);  // the copy is what stays in memory
  });
  tensor.planes->done_with(0, tensor.geometry().units);  // and pages that came along with their neighbours
  return copy;
}

}  // namespace ingot::tensor

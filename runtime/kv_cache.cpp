// How keys and values are kept.
#include <algorithm>
#include <cmath>
#include <new>

#include "format/base/checked_math.h"
#include "runtime/attention.h"

namespace ingot::runtime {
namespace {

constexpr float kGreatestCode = 127;

template <class Element>
std::unique_ptr<Element[]> allocate(std::uint64_t elems, std::uint64_t total) {
  constexpr std::uint64_t kMaxElems = std::uint64_t{1} << 46;
  try {
    if (elems <= kMaxElems) return std::make_unique_for_overwrite<Element[]>(elems);
  } catch (const std::bad_alloc&) {
  }
  throw Error(ErrorKind::limit_exceeded, "key/value cache of 2 x " + std::to_string(total) +
                                             " numbers: not enough memory (use a smaller context)");
}

}  // namespace

KvCache::KvCache(KvType type, std::uint64_t layers, std::uint64_t heads, std::uint64_t positions,
                 std::uint64_t head_dim)
    : type_(type),
      kernels_(&kernels::best()),
      layers_(layers),
      heads_(heads),
      positions_(positions),
      head_dim_(head_dim) {
  const std::uint64_t extents[] = {layers, heads, positions, head_dim};
  const std::uint64_t elems = checked_product(extents, "key/value cache");
  const std::uint64_t rows = head_dim == 0 ? 0 : elems / head_dim;
  for (int part = 0; part < 2; ++part) {
    switch (type) {
      case KvType::f32: floats_[part] = allocate<float>(elems, elems); break;
      case KvType::f16: halves_[part] = allocate<std::uint16_t>(elems, elems); break;
      case KvType::q8: codes_[part] = allocate<std::int8_t>(elems, elems); scales_[part] = allocate<float>(rows, elems);
    }
  }
  const std::uint64_t of_elems = checked_mul(elems, type == KvType::f32 ? 4 : type == KvType::f16 ? 2 : 1, "cache");
  bytes_ = 2 * (of_elems + (type == KvType::q8 ? rows * sizeof(float) : 0));
}

void KvCache::store_halves(const float* values, std::uint16_t* out) const noexcept {
  kernels_->f32_to_f16(values, out, head_dim_);
  constexpr std::uint16_t kInfinity = 0x7C00, kGreatest = 0x7BFF, kMagnitude = 0x7FFF;
  unsigned infinite = 0;
  for (std::uint64_t i = 0; i < head_dim_; ++i) infinite |= (out[i] & kMagnitude) == kInfinity ? 1u : 0u;
  if (infinite == 0) return;
  for (std::uint64_t i = 0; i < head_dim_; ++i)  // an infinite score would make NaN of all
    if ((out[i] & kMagnitude) == kInfinity && std::isfinite(values[i]))
      out[i] = static_cast<std::uint16_t>((out[i] & ~kMagnitude) | kGreatest);
}

void KvCache::store_row(Part part, std::uint64_t row, const float* values) noexcept {
  const auto at = static_cast<std::size_t>(part);
  if (type_ == KvType::f32) {
    std::copy_n(values, head_dim_, floats_[at].get() + row * head_dim_);
    return;
  }
  if (type_ == KvType::f16) return store_halves(values, halves_[at].get() + row * head_dim_);
  float greatest = 0;
  bool finite = true;
  for (std::uint64_t i = 0; i < head_dim_; ++i) {
    finite = finite && std::isfinite(values[i]);
    greatest = std::max(greatest, std::fabs(values[i]));
  }
  const float inverse = finite && greatest > 0 ? kGreatestCode / greatest : 0;
  std::int8_t* const codes = codes_[at].get() + row * head_dim_;
  for (std::uint64_t i = 0; i < head_dim_; ++i)
    codes[i] = std::isfinite(inverse) && finite ? static_cast<std::int8_t>(std::nearbyint(values[i] * inverse)) : 0;
  scales_[at][row] = finite ? greatest / kGreatestCode : NAN;
}

void KvCache::store(std::uint64_t layer, std::uint64_t position, const float* keys, const float* values) noexcept {
  for (std::uint64_t head = 0; head < heads_; ++head) {
    store_row(Part::keys, row_index(layer, head, position), keys + head * head_dim_);
    store_row(Part::values, row_index(layer, head, position), values + head * head_dim_);
  }
}

const float* KvCache::rows(Part part, std::uint64_t layer, std::uint64_t head, std::uint64_t position,
                           std::uint64_t count, float* scratch) const noexcept {
  const auto at = static_cast<std::size_t>(part);
  const std::uint64_t row = row_index(layer, head, position), first = row * head_dim_;
  if (type_ == KvType::f32) return floats_[at].get() + first;
  if (type_ == KvType::f16) {
    kernels_->f16_to_f32(halves_[at].get() + first, scratch, count * head_dim_);
    return scratch;
  }
  const auto* const codes = reinterpret_cast<const std::byte*>(codes_[at].get() + first);
  kernels_->integers_to_f32(codes, 8, true, scratch, count * head_dim_);
  for (std::uint64_t r = 0; r < count; ++r) {
    const float scale = scales_[at][row + r];
    for (std::uint64_t i = 0; i < head_dim_; ++i) scratch[r * head_dim_ + i] *= scale;
  }
  return scratch;
}

std::span<std::byte> KvCache::kept_rows(Part part, std::uint64_t layer, std::uint64_t head,
                                        std::uint64_t count) noexcept {
  const auto at = static_cast<std::size_t>(part);
  const std::uint64_t first = row_index(layer, head, 0) * head_dim_, elems = count * head_dim_;
  if (type_ == KvType::f32) return std::as_writable_bytes(std::span(floats_[at].get() + first, elems));
  if (type_ == KvType::f16) return std::as_writable_bytes(std::span(halves_[at].get() + first, elems));
  return std::as_writable_bytes(std::span(codes_[at].get() + first, elems));
}

std::span<std::byte> KvCache::kept_scales(Part part, std::uint64_t layer, std::uint64_t head,
                                          std::uint64_t count) noexcept {
  if (type_ != KvType::q8) return {};
  float* const first = scales_[static_cast<std::size_t>(part)].get() + row_index(layer, head, 0);
  return std::as_writable_bytes(std::span(first, count));
}

}  // namespace ingot::runtime

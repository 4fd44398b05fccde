#include "converters/conversion/code_hashes.h"

#include "format/tensor/packing.h"

namespace ingot::convert {

CodeHashes::CodeHashes(const tensor::Tensor& tensor) : hashes_(tensor.geometry().units) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  const std::size_t planes = tensor::code_slices(tensor::bits(tensor.scheme.codes.type)).count;
  for (std::size_t i = 0; i < planes; ++i) unit_bytes_.push_back(specs.at(i).unit_bytes);
}

void CodeHashes::add(std::uint64_t begin, std::uint64_t end, const std::vector<Bytes>& planes) {
  for (std::uint64_t unit = begin; unit < end; ++unit) {
    const auto part = [&](std::size_t plane) {
      return planes[plane].subspan((unit - begin) * unit_bytes_[plane], unit_bytes_[plane]);
    };
    if (unit_bytes_.size() == 1) {
      hashes_[unit] = hash128(part(0));
      continue;
    }
    Hasher128 hasher;
    for (std::size_t plane = 0; plane < unit_bytes_.size(); ++plane) hasher.update(part(plane));
    hashes_[unit] = hasher.digest();
  }
}

Hash128 CodeHashes::finish() const noexcept { return hash128(std::as_bytes(std::span(hashes_))); }

}  // namespace ingot::convert

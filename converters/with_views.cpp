#include "converters/with_views.h"

#include <algorithm>

#include "format/base/parallel.h"

namespace ingot::convert {
namespace {

bool has_views(const tensor::Tensor& tensor, const std::vector<tensor::PlaneSpec>& specs) {
  for (std::size_t i = 0; i < specs.size(); ++i)
    if (specs[i].sliced && !tensor.planes->view(i)) return false;
  return true;
}

}  // namespace

tensor::Tensor with_views(const tensor::Tensor& tensor) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  if (has_views(tensor, specs)) return tensor;
  std::vector<std::vector<std::byte>> planes(specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    planes[i].resize(specs[i].total_bytes);
    if (specs[i].sliced) continue;
    const Bytes whole = tensor.planes->whole(i);
    std::copy(whole.begin(), whole.end(), planes[i].begin());
  }
  constexpr std::uint64_t kGrainBytes = std::uint64_t{1} << 20;
  const std::uint64_t units = tensor.geometry().units;
  const std::uint64_t unit_bytes =
      std::max<std::uint64_t>(tensor.stored_bytes() / std::max<std::uint64_t>(units, 1), 1);
  parallel_for(units, std::max<std::uint64_t>(kGrainBytes / unit_bytes, 1),
               [&](std::uint64_t begin, std::uint64_t end, int) {
                 std::vector<std::byte*> out(specs.size(), nullptr);
                 for (std::size_t i = 0; i < specs.size(); ++i)
                   if (specs[i].sliced) out[i] = planes[i].data() + begin * specs[i].unit_bytes;
                 tensor.planes->read_units(begin, end, out);
               });
  tensor::Tensor viewed = tensor;
  viewed.planes = tensor::planes_in_memory(std::move(planes), tensor.stored_shape(), tensor.scheme, tensor.packing);
  return viewed;
}

}  // namespace ingot::convert

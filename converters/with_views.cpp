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

/// Planes that lie somewhere in memory.
class BorrowedPlanes final : public tensor::PlaneSource {
 public:
  explicit BorrowedPlanes(std::vector<Bytes> planes) : planes_(std::move(planes)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override { return planes_.at(index); }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return planes_.at(index); }
  void read_units(std::uint64_t, std::uint64_t, std::vector<std::byte*>&) const override {}  // all planes have views

 private:
  std::vector<Bytes> planes_;
};

void read_planes(const tensor::Tensor& tensor, const std::vector<tensor::PlaneSpec>& specs,
                 std::vector<std::vector<std::byte>>& planes) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].sliced) continue;
    const Bytes whole = tensor.planes->whole(i);
    std::copy(whole.begin(), whole.end(), planes[i].begin());
  }
  constexpr std::uint64_t kGrainBytes = std::uint64_t{2} << 20;
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
  tensor.planes->done_with(0, units);
}

}  // namespace

tensor::Tensor with_views(const tensor::Tensor& tensor) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  if (has_views(tensor, specs)) return tensor;
  std::vector<std::vector<std::byte>> planes(specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) planes[i].resize(specs[i].total_bytes);
  read_planes(tensor, specs, planes);
  tensor::Tensor viewed = tensor;
  viewed.planes = tensor::planes_in_memory(std::move(planes), tensor.stored_shape(), tensor.scheme, tensor.packing);
  return viewed;
}

tensor::Tensor with_views(const tensor::Tensor& tensor, PlaneBuffers& buffers) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  if (has_views(tensor, specs)) return tensor;
  if (buffers.planes.size() < specs.size()) buffers.planes.resize(specs.size());
  std::vector<Bytes> views;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    std::vector<std::byte>& plane = buffers.planes[i];
    if (plane.size() < specs[i].total_bytes) plane = std::vector<std::byte>(specs[i].total_bytes);
    views.push_back(Bytes(plane).first(specs[i].total_bytes));
  }
  read_planes(tensor, specs, buffers.planes);
  tensor::Tensor viewed = tensor;
  viewed.planes = std::make_shared<BorrowedPlanes>(std::move(views));
  return viewed;
}

}  // namespace ingot::convert

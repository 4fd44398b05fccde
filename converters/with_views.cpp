#include "converters/with_views.h"

#include <algorithm>

#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/tensor/unit_fingerprint.h"

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

using Places = std::vector<std::byte*>;  // by plane

void read_planes(const tensor::Tensor& tensor, const std::vector<tensor::PlaneSpec>& specs, const Places& planes) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].sliced) continue;
    const Bytes whole = tensor.planes->whole(i);
    std::copy(whole.begin(), whole.end(), planes[i]);
  }
  constexpr std::uint64_t kGrainBytes = std::uint64_t{1} << 19;  // matrices of a few MB are for all threads
  const std::uint64_t units = tensor.geometry().units;
  const std::uint64_t unit_bytes =
      std::max<std::uint64_t>(tensor.stored_bytes() / std::max<std::uint64_t>(units, 1), 1);
  parallel_for(units, tensor::units_in_whole_blocks(tensor, kGrainBytes / unit_bytes),
               [&](std::uint64_t begin, std::uint64_t end, int) {
                 std::vector<std::byte*> out(specs.size(), nullptr);
                 for (std::size_t i = 0; i < specs.size(); ++i)
                   if (specs[i].sliced) out[i] = planes[i] + begin * specs[i].unit_bytes;
                 tensor.planes->read_units(begin, end, out);
               });
  tensor.planes->done_with(0, units);
}

constexpr std::uint64_t kPlaneAlignment = 64;

bool has_room_beside_output(const std::filesystem::path& directory, std::uint64_t left_free, std::uint64_t bytes) {
  std::error_code failed;
  const std::filesystem::space_info space = std::filesystem::space(directory, failed);
  return !failed && space.available >= left_free && space.available - left_free >= bytes;
}

std::byte* take_memory(PlaneBuffers& buffers, std::uint64_t bytes) {
  buffers.large.reset();
  if (bytes > buffers.large_bytes && !buffers.scratch.empty() &&
      has_room_beside_output(buffers.scratch, buffers.left_free, bytes)) {
    buffers.large = ScratchBlock::create(buffers.scratch, bytes);
    if (buffers.large) return buffers.large->bytes().data();
  }
  if (buffers.memory.size() < bytes) {
    buffers.memory = {};  // before the next one: never both
    buffers.memory.resize(bytes);
  }
  return buffers.memory.data();
}

}  // namespace

bool planes_go_to_disk(const std::filesystem::path& directory, std::uint64_t left_free, std::uint64_t bytes) {
  return has_room_beside_output(directory, left_free, bytes) && ScratchBlock::is_on_disk_in(directory);
}

tensor::Tensor with_views(const tensor::Tensor& tensor) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  if (has_views(tensor, specs)) return tensor;
  std::vector<std::vector<std::byte>> planes(specs.size());
  Places places;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    planes[i].resize(specs[i].total_bytes);
    places.push_back(planes[i].data());
  }
  read_planes(tensor, specs, places);
  tensor::Tensor viewed = tensor;
  viewed.planes = tensor::planes_in_memory(std::move(planes), tensor.stored_shape(), tensor.scheme, tensor.packing);
  return viewed;
}

tensor::Tensor with_views(const tensor::Tensor& tensor, PlaneBuffers& buffers) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  if (has_views(tensor, specs)) return tensor;
  std::vector<std::uint64_t> offsets;
  std::uint64_t total_bytes = 0;
  for (const tensor::PlaneSpec& spec : specs) {
    offsets.push_back(total_bytes);
    total_bytes = align_up(checked_add(total_bytes, spec.total_bytes, "planes"), kPlaneAlignment);
  }
  std::byte* const memory = take_memory(buffers, total_bytes);
  Places places;
  std::vector<Bytes> views;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    places.push_back(memory + offsets[i]);
    views.push_back(Bytes(places[i], specs[i].total_bytes));
  }
  read_planes(tensor, specs, places);
  tensor::Tensor viewed = tensor;
  viewed.planes = std::make_shared<BorrowedPlanes>(std::move(views));
  return viewed;
}

}  // namespace ingot::convert

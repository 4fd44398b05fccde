#include "converters/conversion/stored_units.h"

namespace ingot::convert {

StoredUnits::StoredUnits(const tensor::Tensor& tensor, std::size_t left_out)
    : tensor_(tensor),
      specs_(tensor.plane_specs()),
      left_out_(left_out),
      buffers_(specs_.size()),
      sizes_(specs_.size()) {}

void StoredUnits::read(std::uint64_t begin, std::uint64_t end) {
  std::vector<std::byte*> out(specs_.size(), nullptr);
  bool any = false;
  planes_.assign(specs_.size(), Bytes());
  for (std::size_t i = left_out_; i < specs_.size(); ++i) {
    if (!specs_[i].sliced) continue;
    const std::uint64_t bytes = (end - begin) * specs_[i].unit_bytes;
    if (const std::optional<Bytes> view = tensor_.planes->view(i)) {
      planes_[i] = view->subspan(begin * specs_[i].unit_bytes, bytes);
      continue;
    }
    if (sizes_[i] < bytes) buffers_[i] = std::make_unique_for_overwrite<std::byte[]>(sizes_[i] = bytes);
    out[i] = buffers_[i].get();
    planes_[i] = Bytes(buffers_[i].get(), bytes);
    any = true;
  }
  if (any) tensor_.planes->read_units(begin, end, out);
}

}  // namespace ingot::convert

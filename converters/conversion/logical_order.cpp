// Permutations moved between transforms, schemes and places.
#include "converters/conversion/logical_order.h"

#include <algorithm>
#include <cstring>

#include "converters/recode/recode.h"
#include "format/base/byte_reader.h"
#include "format/base/error.h"

namespace ingot::convert {
namespace {

using tensor::Order;
using tensor::Permutation;
using tensor::Tensor;
using tensor::Transform;
using tensor::TransformKind;

bool orders(const Transform& transform) noexcept {
  return transform.kind == TransformKind::row_order || transform.kind == TransformKind::column_order;
}

/// The planes of another source, and a permutation behind them where there is one.
class OrderedPlanes final : public tensor::PlaneSource {
 public:
  /// `planes` has `inner_count` planes, of which those before `count` are shown.
  OrderedPlanes(std::shared_ptr<const tensor::PlaneSource> planes, std::size_t inner_count, std::size_t count,
                const Permutation& order)
      : planes_(std::move(planes)), inner_count_(inner_count), count_(count) {
    if (order == nullptr) return;
    order_.resize(order->size() * sizeof(std::uint32_t));
    for (std::size_t i = 0; i < order->size(); ++i) store_le(order_.data() + i * sizeof(std::uint32_t), (*order)[i]);
  }
  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    return index < count_ ? planes_->view(index) : std::optional(Bytes(order_));
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override {
    return index < count_ ? planes_->whole(index) : Bytes(order_);
  }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    std::vector<std::byte*> wanted(out.begin(),
                                   out.begin() + static_cast<std::ptrdiff_t>(std::min(count_, out.size())));
    wanted.resize(inner_count_, nullptr);
    planes_->read_units(unit_begin, unit_end, wanted);
  }
  void done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const override {
    planes_->done_with(unit_begin, unit_end);
  }

 private:
  std::shared_ptr<const tensor::PlaneSource> planes_;
  std::size_t inner_count_, count_;
  std::vector<std::byte> order_;
};

bool is_valid(const tensor::Scheme& scheme) {
  try {
    tensor::validate(scheme, "scheme");
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// A transform column_order becomes the order of the scheme, where that can have one.
Tensor with_order_in_scheme(const Tensor& tensor) {
  const auto found = std::find_if(tensor.transforms.begin(), tensor.transforms.end(),
                                  [](const Transform& t) { return t.kind == TransformKind::column_order; });
  if (found == tensor.transforms.end() || tensor.scheme.order != Order::identity || tensor.scheme.is_plain())
    return tensor;
  const Permutation order = found->order;
  Tensor result = tensor;
  result.transforms.erase(result.transforms.begin() + (found - tensor.transforms.begin()));
  const bool others = std::any_of(result.transforms.begin(), result.transforms.end(), [](const Transform& t) {
    return t.kind == TransformKind::column_order || t.kind == TransformKind::transpose;
  });
  result.scheme.order = Order::permutation;
  if (others || tensor.scheme.flat != 0 || !is_valid(result.scheme)) return tensor;
  const std::size_t planes = tensor.plane_specs().size();
  result.planes = std::make_shared<OrderedPlanes>(tensor.planes, planes, planes, order);
  return result;
}

/// Element k is element from[k] of a plain vector.
Tensor gathered(const Tensor& vector, const std::vector<std::uint32_t>& from) {
  const std::uint64_t element_bytes = tensor::bits(vector.scheme.codes.type) / 8;
  std::vector<std::byte> source(vector.elements() * element_bytes), moved(source.size());
  std::vector<std::byte*> planes = {source.data()};
  if (const auto view = vector.planes->view(0))
    std::copy(view->begin(), view->end(), source.begin());
  else
    vector.planes->read_units(0, 1, planes);
  for (std::size_t k = 0; k < from.size(); ++k)
    std::memcpy(moved.data() + k * element_bytes, source.data() + from[k] * element_bytes, element_bytes);
  Tensor result = vector;
  result.packing = tensor::Packing::rows;
  result.planes = tensor::planes_in_memory({std::move(moved)}, result.shape, result.scheme, result.packing);
  return result;
}

bool is_plain_vector(const Tensor& tensor) {
  return tensor.shape.size() == 1 && tensor.scheme.is_plain() && tensor::bits(tensor.scheme.codes.type) % 8 == 0;
}

/// Rows are read from where they are stored.
Tensor with_rows_in_order(const Tensor& tensor) {
  std::vector<Transform> rest = tensor.transforms;
  std::erase_if(rest, [](const Transform& t) { return t.kind == TransformKind::row_order; });
  if (rest.size() == tensor.transforms.size()) return tensor;
  if (is_plain_vector(tensor) && rest.empty() && tensor.transforms.size() == 1) {
    Tensor result = gathered(tensor, tensor::inverse_of(*tensor.transforms[0].order));
    result.transforms.clear();
    return result;
  }
  Recoded recoded = recode(tensor, {tensor.scheme, rest}, ProofClass::exact);
  return recoded.proof == ProofClass::exact ? std::move(recoded.tensor) : tensor;
}

/// The same tensor with its groups one after the other and a permutation; nothing where that is not possible.
std::optional<Tensor> in_order_of_groups(const Tensor& tensor) {
  if (tensor.scheme.order == Order::permutation) return tensor;
  if (tensor.scheme.order == Order::identity) return std::nullopt;
  tensor::Scheme wanted = tensor.scheme;
  wanted.order = Order::permutation;
  Recoded recoded = recode(tensor, {wanted, tensor.transforms}, ProofClass::exact);
  if (recoded.proof != ProofClass::exact) return std::nullopt;
  return std::move(recoded.tensor);
}

std::vector<std::uint32_t> order_plane(const Tensor& tensor) {
  const Bytes bytes = tensor.planes->whole(tensor.plane_specs().size() - 1);  // the last role that it can have
  std::vector<std::uint32_t> order(bytes.size() / sizeof(std::uint32_t));
  for (std::size_t i = 0; i < order.size(); ++i)
    order[i] = load_le<std::uint32_t>(bytes.data() + i * sizeof(std::uint32_t));
  return order;
}

}  // namespace

bool is_ordered(const Tensor& tensor) noexcept {
  return std::any_of(tensor.transforms.begin(), tensor.transforms.end(), orders);
}

Tensor in_logical_order(const Tensor& tensor) {
  return is_ordered(tensor) ? with_rows_in_order(with_order_in_scheme(tensor)) : tensor;
}

Tensor with_rows_moved(const Tensor& tensor, const Permutation& order) {
  if (is_plain_vector(tensor) && tensor.transforms.empty()) {
    Tensor result = gathered(tensor, *order);
    result.fingerprint.reset();
    return result;
  }
  Tensor moved = tensor;
  moved.fingerprint.reset();
  moved.transforms.insert(
      moved.transforms.begin(),
      {TransformKind::row_order, 0, std::make_shared<const std::vector<std::uint32_t>>(tensor::inverse_of(*order))});
  return with_rows_in_order(moved);
}

Permutation act_order(const Tensor& tensor) {
  if (tensor.shape.size() != 2 || tensor.scheme.order == Order::identity || !tensor.transforms.empty()) return nullptr;
  const std::optional<Tensor> grouped = in_order_of_groups(tensor);
  if (!grouped) return nullptr;
  std::vector<std::uint32_t> order = order_plane(*grouped);
  if (!tensor::is_permutation(order) || std::is_sorted(order.begin(), order.end())) return nullptr;
  return std::make_shared<const std::vector<std::uint32_t>>(std::move(order));
}

Tensor with_groups_in_order(const Tensor& tensor) {
  Tensor result = in_order_of_groups(tensor).value();
  const std::size_t planes = result.plane_specs().size();
  result.scheme.order = Order::identity;
  result.fingerprint.reset();
  result.planes = std::make_shared<OrderedPlanes>(result.planes, planes, planes - 1, nullptr);
  return result;
}

}  // namespace ingot::convert

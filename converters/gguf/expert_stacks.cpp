// Stacks of matrices, read from where the matrices are.
#include "converters/gguf/expert_stacks.h"

#include <algorithm>

namespace ingot::convert::gguf {
namespace {

using tensor::Tensor;

/// Planes of equal matrices, one after the other. All of them are sliced.
class StackedPlanes final : public tensor::PlaneSource {
 public:
  explicit StackedPlanes(const std::vector<const Tensor*>& matrices)
      : units_(matrices[0]->geometry().units), specs_(matrices[0]->plane_specs()) {
    for (const Tensor* matrix : matrices) planes_.push_back(matrix->planes);
  }
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  [[nodiscard]] Bytes whole(std::size_t) const override { return {}; }
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const override {
    for_matrices(unit_begin, unit_end,
                 [&](const tensor::PlaneSource& planes, std::uint64_t begin, std::uint64_t end, std::uint64_t done) {
                   std::vector<std::byte*> wanted(specs_.size(), nullptr);
                   for (std::size_t i = 0; i < std::min(out.size(), specs_.size()); ++i)
                     if (out[i] != nullptr) wanted[i] = out[i] + done * specs_[i].unit_bytes;
                   planes.read_units(begin, end, wanted);
                 });
  }
  void done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const override {
    for_matrices(unit_begin, unit_end,
                 [](const tensor::PlaneSource& planes, std::uint64_t begin, std::uint64_t end, std::uint64_t) {
                   planes.done_with(begin, end);
                 });
  }

 private:
  /// visit(planes, first unit, last unit, units before) for every matrix in the range.
  template <class Visit>
  void for_matrices(std::uint64_t unit_begin, std::uint64_t unit_end, const Visit& visit) const {
    for (std::uint64_t unit = unit_begin; unit < unit_end;) {
      const std::uint64_t matrix = unit / units_, end = std::min(unit_end, (matrix + 1) * units_);
      visit(*planes_[matrix], unit - matrix * units_, end - matrix * units_, unit - unit_begin);
      unit = end;
    }
  }

  std::uint64_t units_;  // of one matrix
  std::vector<tensor::PlaneSpec> specs_;
  std::vector<std::shared_ptr<const tensor::PlaneSource>> planes_;
};

bool can_be_stacked(const std::vector<const Tensor*>& matrices) {
  const Tensor& first = *matrices[0];
  if (first.shape.size() != 2 || first.geometry().units == 0 || !first.transforms.empty()) return false;
  for (const tensor::PlaneSpec& spec : first.plane_specs())
    if (!spec.sliced) return false;
  return std::all_of(matrices.begin(), matrices.end(), [&](const Tensor* matrix) {
    return matrix != nullptr && matrix->shape == first.shape && matrix->scheme == first.scheme &&
           matrix->packing == first.packing && matrix->transforms.empty();
  });
}

Tensor stack_of(const std::string& name, const std::vector<const Tensor*>& matrices) {
  Tensor stack = *matrices[0];
  stack.name = name;
  stack.shape.insert(stack.shape.begin(), matrices.size());
  stack.fingerprint.reset();
  stack.planes = std::make_shared<StackedPlanes>(matrices);
  return stack;
}

}  // namespace

std::shared_ptr<const StackedModel> stack_experts(const tensor::Model& source, const Architecture* architecture) {
  if (architecture == nullptr || architecture->experts.empty()) return nullptr;
  auto result = std::make_shared<StackedModel>();
  for (const Tensor& tensor : source.tensors)
    if (const std::optional<ExpertPlace> place = expert_place(*architecture, tensor.name))
      result->experts[place->stack].push_back(nullptr);
  for (const Tensor& tensor : source.tensors) {
    const std::optional<ExpertPlace> place = expert_place(*architecture, tensor.name);
    if (!place) continue;
    std::vector<const Tensor*>& matrices = result->experts[place->stack];
    if (place->number < matrices.size()) matrices[place->number] = &tensor;  // else another one is missing
  }
  std::erase_if(result->experts,
                [](const auto& entry) { return entry.second[0] == nullptr || !can_be_stacked(entry.second); });
  if (result->experts.empty()) return nullptr;
  result->model = source;
  result->model.tensors.clear();
  for (const Tensor& tensor : source.tensors) {
    const std::optional<ExpertPlace> place = expert_place(*architecture, tensor.name);
    const auto stack = place ? result->experts.find(place->stack) : result->experts.end();
    if (stack == result->experts.end())
      result->model.tensors.push_back(tensor);
    else if (stack->second[0] == &tensor)
      result->model.tensors.push_back(stack_of(stack->first, stack->second));
  }
  return result;
}

}  // namespace ingot::convert::gguf

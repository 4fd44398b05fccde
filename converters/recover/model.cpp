// Recovery for a whole model, before a layout forecasts and writes it. Implements spec/recovery.md section 6.
#include <algorithm>

#include "converters/recover/recover.h"
#include "converters/registry.h"
#include "converters/requantize/rounded_values.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert {
namespace {

/// The files of the source held floats: their recipe would pack codes. Its attachments go with it.
void drop_recipe(tensor::Model& model) {
  model.source.reset();
  std::erase_if(model.attachments,
                [](const tensor::Attachment& attachment) { return attachment.name.starts_with("source/"); });
}

/// Are the bytes of the segment the elements of the tensor in their order?
bool is_raw(const tensor::Segment& segment, const tensor::Tensor& tensor) {
  return segment.part == "raw" && tensor.transforms.empty() && tensor.packing == tensor::Packing::rows &&
         segment.size == tensor.elements() * (tensor::bits(tensor.scheme.codes.type) / 8);
}

/// Lets the recipe pack the values of what was recovered, rounded as the floats were. False: that does not give all of
/// them back.
bool keep_recipe(const tensor::Model& source, Recovery& recovery) {
  tensor::Model& model = recovery.model;
  const Layout* packer = model.source ? find_layout(model.source->layout) : nullptr;
  if (packer == nullptr || packer->find_patches != nullptr) return false;  // would pack the planes and compare
  const tensor::TensorIndex before(source), after(model);
  std::map<std::string, std::string> parts;  // by tensor
  std::vector<tensor::Attachment> attachments;
  for (tensor::SourceFile& file : model.source->files) {
    for (tensor::Segment& segment : file.segments) {
      if (segment.kind != tensor::Segment::Kind::tensor || !recovery.tensors.contains(segment.tensor)) continue;
      const tensor::Tensor& floats = *before.find(segment.tensor);
      if (!is_raw(segment, floats)) return false;
      std::string& part = parts[segment.tensor];
      if (part.empty()) {
        std::optional<WayBack> way = way_back(*after.find(segment.tensor), floats);
        if (!way) return false;
        if (!way->signs.empty()) {
          way->part.signs = attachments.size();
          const auto signs = std::make_shared<const std::vector<std::byte>>(std::move(way->signs));
          attachments.push_back({way->part.attachment(), Bytes(*signs), signs});
        }
        part = way->part.text();
      }
      segment.part = part;
    }
  }
  model.attachments.insert(model.attachments.end(), attachments.begin(), attachments.end());
  return true;
}

}  // namespace

std::shared_ptr<const Recovery> recover_model(const tensor::Model& model, const Layout& layout,
                                              const WriteOptions& options) {
  auto recovery = std::make_shared<Recovery>();
  recovery->model = model;
  std::uint64_t done = 0, total = 0;
  for (const tensor::Tensor& tensor : model.tensors) total += tensor.stored_bytes();
  for (tensor::Tensor& tensor : recovery->model.tensors) {
    const tensor::DType from = tensor.scheme.codes.type;
    done += tensor.stored_bytes();
    if (std::optional<Recovered> found = recover(tensor)) {
      tensor = std::move(found->tensor);
      recovery->tensors[tensor.name] = {from, found->exact};
    }
    if (options.progress) options.progress("looking for grids", done, total);
  }
  if (recovery->tensors.empty()) return recovery;
  // What the layout would have to round, or to write as floats again, is better left as it is.
  for (const TensorOutcome& outcome : layout.forecast(recovery->model, options).tensors) {
    const tensor::Tensor* original = model.find(outcome.name);
    const bool gains =
        outcome.forecast <= ProofClass::codes && original != nullptr && outcome.target_bytes < original->stored_bytes();
    if (gains || recovery->tensors.erase(outcome.name) == 0) continue;
    for (tensor::Tensor& tensor : recovery->model.tensors)
      if (tensor.name == outcome.name) tensor = *original;
  }
  if (recovery->tensors.empty()) return recovery;
  if (!layout.keeps_source || !keep_recipe(model, *recovery)) drop_recipe(recovery->model);
  return recovery;
}

Forecast forecast_recovered(const Recovery& recovery, const tensor::Model& model, const Layout& layout,
                            const WriteOptions& options) {
  Forecast result = layout.forecast(recovery.model, options);
  for (TensorOutcome& outcome : result.tensors) {
    const auto found = recovery.tensors.find(outcome.name);
    if (found == recovery.tensors.end()) continue;
    const auto& [from, exact] = found->second;
    outcome.source_scheme = std::string(tensor::name(from)) + " -> recovered " + outcome.source_scheme;
    outcome.source_bytes = model.find(outcome.name)->stored_bytes();
    if (exact || outcome.forecast != ProofClass::exact) continue;
    outcome.forecast = ProofClass::codes;
    outcome.reason = "the floats are the codes' values rounded once more; the recovered values are those before it";
  }
  return result;
}

}  // namespace ingot::convert

#include "converters/layouts/linear_write.h"

#include <algorithm>

#include "converters/hf_names.h"
#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using tensor::DType;

constexpr std::string_view kWeight = ".weight";

}  // namespace

bool is_quantized_linear(const tensor::Tensor& tensor, const std::string& name, const tensor::Model& model) {
  const tensor::Scheme& scheme = tensor.scheme;
  const tensor::DTypeInfo& codes = tensor::info(scheme.codes.type);
  return name.ends_with(kWeight) && tensor.shape.size() == 2 && tensor.elements() > 0 &&
         scheme.codes.kind == tensor::CodeKind::number && !codes.is_float && codes.bits <= 8 &&
         !scheme.scales.empty() && scheme.flat == 0 && tensor.name != hf_embedding_name(model.config.architecture);
}

bool is_integer_coded(const tensor::Tensor& tensor) {
  return tensor.scheme.codes.kind == tensor::CodeKind::number && !tensor::info(tensor.scheme.codes.type).is_float &&
         !tensor.scheme.scales.empty();
}

std::string module_of(const std::string& weight_name) {
  return weight_name.substr(0, weight_name.size() - kWeight.size());
}

std::uint64_t inputs_per_scale(const tensor::Tensor& tensor) {
  const std::uint64_t inputs = tensor.shape.back();
  std::uint64_t size = inputs;
  for (const tensor::Level& level : tensor.scheme.scales)
    if (level.block.cols != 0) size = std::min<std::uint64_t>(size, level.block.cols);
  for (const tensor::Level& level : tensor.scheme.offset.levels)
    if (level.block.cols != 0) size = std::min<std::uint64_t>(size, level.block.cols);
  return size;
}

StoredForm linear_form(std::uint8_t bits, DType scale_type, std::uint32_t block_cols, bool bias) {
  constexpr DType kCodes[] = {DType::u8, DType::u8, DType::u2, DType::u3, DType::u4,
                              DType::u5, DType::u6, DType::u7, DType::u8};
  StoredForm form;
  const tensor::Block block{1, block_cols};
  form.scheme.codes.type = kCodes[bits];
  form.scheme.scales = {{.type = scale_type, .block = block}};
  form.scheme.offset.kind = bias ? tensor::OffsetKind::bias : tensor::OffsetKind::zero_points;
  form.scheme.offset.levels = {{.type = bias ? scale_type : DType::u8, .block = block}};
  return form;
}

std::uint64_t groups_of(std::uint64_t inputs, std::uint32_t block_cols) {
  return block_cols == 0 ? 1 : ceil_div(inputs, block_cols);
}

std::optional<std::string> setting(const WriteOptions& options, const std::string& key) {
  const auto found = options.settings.find(key);
  return found == options.settings.end() ? std::nullopt : std::optional(found->second);
}

DType scale_type_of(const WriteOptions& options, const std::string& layout) {
  const std::optional<std::string> word = setting(options, "scale_type");
  if (!word) return DType::f16;
  for (const DType type : {DType::f16, DType::bf16, DType::f32})
    if (tensor::name(type) == *word) return type;
  throw Error(ErrorKind::unsupported, "scale_type=" + *word + ": " + layout + " knows f16, bf16 and f32");
}

StoredForm symmetric_form(std::uint8_t bits, DType scale_type, std::uint32_t block_cols) {
  StoredForm form = linear_form(bits, scale_type, block_cols, false);
  form.scheme.offset = {.kind = tensor::OffsetKind::zero, .zero = 1 << (bits - 1), .levels = {}};
  return form;
}

std::string zero_points_problem(const tensor::Tensor& tensor) {
  if (tensor.scheme.offset.kind != tensor::OffsetKind::zero_points) return {};
  const std::uint8_t bits = tensor::bits(tensor.scheme.codes.type);
  const std::optional<AffineFacts> facts = affine_facts(tensor);
  if (facts && facts->least_zero >= 0 && facts->greatest_zero < 1 << bits) return {};
  const std::int32_t zero = !facts ? 0 : facts->least_zero < 0 ? facts->least_zero : facts->greatest_zero;
  return "zero point " + std::to_string(zero) + " does not fit " + std::to_string(bits) + " bits";
}

bool is_symmetric(const tensor::Tensor& tensor) {
  const std::optional<AffineFacts> facts = affine_facts(tensor);
  return facts && facts->zero == 1 << (facts->bits - 1);
}

}  // namespace ingot::convert

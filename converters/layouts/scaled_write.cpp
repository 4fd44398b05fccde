// FP8, MXFP4 experts and ModelOpt's NVFP4: written from tensors that are such already.
#include "converters/layouts/scaled_write.h"

#include <algorithm>

#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"
#include "format/base/checked_math.h"

namespace ingot::convert::scaled {
namespace {

using tensor::Block;
using tensor::DType;
using tensor::Scheme;
using tensor::Tensor;

constexpr std::string_view kWeight = ".weight";
using Extent = SchemeWord::Extent;

constexpr Block kDeepSeekBlock = {128, 128}, kRowBlock = {1, 0};
constexpr Block kMxBlock = {1, 32}, kNvBlock = {1, 16};

bool is_number(DType type) { return type == DType::f32 || type == DType::f16 || type == DType::bf16; }

bool is_matrix(const Tensor& source, const std::string& file_name) {
  return file_name.ends_with(kWeight) && source.shape.size() == 2 && source.elements() > 0;
}

Block block_of(const SchemeWord& word) {
  if (word.extent == Extent::block) return kDeepSeekBlock;
  if (word.extent == Extent::tensor) return {0, 0};
  if (word.extent == Extent::row) return kRowBlock;
  throw OptionError("--scheme fp8-g" + std::to_string(word.group) +
                    ": the fp8 layout has scales by -tensor, -row and -block (128 x 128)");
}

/// What values are rounded to where the user does not say: transformers loads blocks of whole extents only.
Block usual_block(const Tensor& source) {
  const bool whole = source.shape[0] % kDeepSeekBlock.rows == 0 && source.shape[1] % kDeepSeekBlock.cols == 0;
  return whole ? kDeepSeekBlock : kRowBlock;
}

StoredForm fp8_form(DType scale_type, Block block) {
  StoredForm form;
  form.scheme.codes.type = DType::e4m3;
  form.scheme.scales = {{.type = scale_type, .block = block}};
  return form;
}

/// The source's own form, or the word's where the user names one.
std::vector<StoredForm> fp8_forms(const Tensor& source, const SchemeWord& word) {
  const Scheme& scheme = source.scheme;
  if (scheme.codes.type != DType::e4m3 || scheme.scales.size() != 1 || !is_number(scheme.scales[0].type)) return {};
  const tensor::Level& level = scheme.scales[0];
  if (word.extent != Extent::unsaid) return {fp8_form(level.type, block_of(word))};
  if (level.block != kDeepSeekBlock && level.block != kRowBlock && level.block != Block{0, 0}) return {};
  return {fp8_form(level.type, level.block)};
}

/// The plan without items; none where the tensor cannot have this form.
std::optional<CodedPlan> planned(Recoded recoded, bool named, const WriteOptions& options, std::string_view layout) {
  if (!is_planned(recoded, named, options)) return std::nullopt;
  CodedPlan plan;
  plan.proof = recoded.proof;
  plan.reason = std::move(recoded.reason);
  plan.tensor = std::move(recoded.tensor);
  plan.scheme = std::string(layout) + " " + tensor::describe(plan.tensor.scheme);
  return plan;
}

bool any_coded(const std::vector<CodedOutput>& outputs) {
  return std::any_of(outputs.begin(), outputs.end(), [](const CodedOutput& output) { return output.plan != nullptr; });
}

Json method(std::string_view name) {
  Json json{JsonObject{}};
  json.set("quant_method", name);
  return json;
}

/// weight_block_size as transformers understands it: rows are blocks of 1 x at least all inputs, one scale for a tensor
/// is null. There is one for the whole model; where forms are mixed, blocks win over rows, because its loader on the
/// CPU looks at the scales alone.
Json block_size_of(const std::vector<CodedOutput>& outputs) {
  bool blocks = false;
  std::uint64_t inputs = 0;  // of the widest weight with scales by row
  for (const CodedOutput& output : outputs) {
    if (output.plan == nullptr) continue;
    const Block block = output.plan->tensor.scheme.scales[0].block;
    blocks |= block == kDeepSeekBlock;
    if (block == kRowBlock) inputs = std::max(inputs, output.plan->tensor.shape[1]);
  }
  if (blocks) return JsonArray{Json(kDeepSeekBlock.rows), Json(kDeepSeekBlock.cols)};
  return inputs > 0 ? Json(JsonArray{Json(1), Json(inputs)}) : Json();
}

}  // namespace

const std::vector<std::string_view>& fp8_schemes() noexcept {
  static const std::vector<std::string_view> words = {"fp8"};
  return words;
}

CodedPlan plan_fp8(const Tensor& source, const std::string& file_name, const tensor::Model& model,
                   const WriteOptions& options) {
  if (!is_matrix(source, file_name) || is_float_word(options.scheme)) return {};
  const SchemeWord word = scheme_word(options, fp8_schemes(), "fp8");
  Forms forms{.kept = fp8_forms(source, word)};
  if (may_round(source, file_name, model, options, word.named))
    forms.rounded = fp8_form(DType::f32, word.extent == Extent::unsaid ? usual_block(source) : block_of(word));
  if (forms.kept.empty() && !forms.rounded) return {};
  auto plan = planned(keep_or_round(source, forms, word.named, options), word.named, options, "fp8");
  if (!plan) return {};
  const tensor::Level& level = plan->tensor.scheme.scales[0];
  tensor::Shape scales;
  if (level.block == kDeepSeekBlock)
    scales = {ceil_div(source.shape[0], kDeepSeekBlock.rows), ceil_div(source.shape[1], kDeepSeekBlock.cols)};
  if (level.block == kRowBlock) scales = {source.shape[0], 1};
  plan->items = {{file_name, DType::e4m3, source.shape, "codes"},
                 {file_name + "_scale_inv", level.type, scales, "scales"}};
  return std::move(*plan);
}

void configure_fp8(const tensor::Model&, const std::vector<CodedOutput>& outputs, const WriteOptions&, Json& config,
                   std::map<std::string, std::string>&) {
  if (!any_coded(outputs)) return;
  Json json = method("fp8");
  json.set("fmt", "e4m3");
  json.set("activation_scheme", "dynamic");
  json.set("weight_block_size", block_size_of(outputs));
  json.set("modules_to_not_convert", plain_modules(outputs));
  config.set("quantization_config", std::move(json));
}

CodedPlan plan_mxfp4(const Tensor& source, const std::string& file_name, const tensor::Model&,
                     const WriteOptions& options) {
  const Scheme& scheme = source.scheme;
  const bool experts = source.shape.size() == 3 && source.elements() > 0 && file_name.ends_with(kWeight);
  if (!experts || !options.scheme.empty() || scheme.codes.type != DType::e2m1 || scheme.scales.size() != 1 ||
      scheme.scales[0].type != DType::e8m0 || scheme.scales[0].block != kMxBlock) {
    CodedPlan plan;
    if (source.shape.size() > 1) plan.reason = "written from stacks of experts in MXFP4 only";
    return plan;
  }
  StoredForm form;
  form.scheme.codes = scheme.codes;
  form.scheme.scales = scheme.scales;
  const tensor::Shape& stored = source.shape;
  if (stored[2] % kMxBlock.cols != 0) return {};
  auto plan = planned(recode(source, form), false, options, "mxfp4");
  if (!plan) return {};
  const tensor::Shape scales = {stored[0], stored[1], stored[2] / kMxBlock.cols};
  const std::string name = file_name.substr(0, file_name.size() - kWeight.size());
  plan->items = {{name + "_blocks", DType::u8, {scales[0], scales[1], scales[2], kMxBlock.cols / 2}, "codes"},
                 {name + "_scales", DType::u8, scales, "scales"}};
  return std::move(*plan);
}

void configure_mxfp4(const tensor::Model&, const std::vector<CodedOutput>& outputs, const WriteOptions&, Json& config,
                     std::map<std::string, std::string>&) {
  if (!any_coded(outputs)) return;
  Json json = method("mxfp4");
  json.set("modules_to_not_convert", plain_modules(outputs));
  config.set("quantization_config", std::move(json));
}

CodedPlan plan_nvfp4(const Tensor& source, const std::string& file_name, const tensor::Model&,
                     const WriteOptions& options) {
  const Scheme& scheme = source.scheme;
  if (!is_matrix(source, file_name) || !options.scheme.empty() || scheme.codes.type != DType::e2m1 ||
      scheme.scales.empty() || scheme.scales[0].type != DType::e4m3 || scheme.scales[0].block != kNvBlock ||
      source.shape[1] % kNvBlock.cols != 0) {
    CodedPlan plan;
    if (is_matrix(source, file_name)) plan.reason = "written from NVFP4 only, in blocks of 16 with scales in e4m3";
    return plan;
  }
  StoredForm form;
  form.scheme.codes = scheme.codes;
  form.scheme.scales = {scheme.scales[0], {.type = DType::f32, .block = {0, 0}}};
  form.scheme.rounded_scale = true;
  auto plan = planned(recode(source, form), false, options, "nvfp4");
  if (!plan) return {};
  const std::uint64_t rows = source.shape[0], cols = source.shape[1];
  plan->items = {{file_name, DType::u8, {rows, cols / 2}, "codes"},
                 {file_name + "_scale", DType::e4m3, {rows, cols / kNvBlock.cols}, "scales"},
                 {file_name + "_scale_2", DType::f32, {}, "global"}};
  return std::move(*plan);
}

void configure_nvfp4(const tensor::Model&, const std::vector<CodedOutput>& outputs, const WriteOptions&, Json& config,
                     std::map<std::string, std::string>&) {
  if (!any_coded(outputs)) return;
  Json json = method("modelopt");
  json.set("quant_algo", "NVFP4");
  json.set("ignore", plain_modules(outputs));
  config.set("quantization_config", std::move(json));
}

}  // namespace ingot::convert::scaled

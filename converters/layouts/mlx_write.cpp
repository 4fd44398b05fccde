#include "converters/layouts/mlx_write.h"

#include <algorithm>
#include <array>

#include "converters/layouts/mlx_read.h"
#include "converters/layouts/most_common.h"
#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"
#include "converters/requantize/by_library.h"

namespace ingot::convert::mlx {
namespace {

using tensor::DType;
using tensor::Scheme;
using tensor::Tensor;

constexpr std::string_view kWeight = ".weight";
constexpr std::array<std::uint32_t, 3> kGroupSizes = {128, 64, 32};
constexpr std::uint8_t kUsualWidth = 4;
constexpr std::uint32_t kUsualGroup = 64;

/// --set scale_type=...; nothing: the narrowest type that is exact.
std::optional<DType> wanted_scale_type(const WriteOptions& options) {
  const auto found = options.settings.find("scale_type");
  if (found == options.settings.end()) return std::nullopt;
  for (const DType type : {DType::f16, DType::bf16, DType::f32})
    if (tensor::name(type) == found->second) return type;
  throw Error(ErrorKind::unsupported, "scale_type=" + found->second + ": mlx knows f16, bf16 and f32");
}

std::vector<DType> scale_types(const Scheme& source, std::optional<DType> wanted) {
  if (wanted) return {*wanted};
  if (!source.scales.empty() && source.scales[0].type == DType::bf16) return {DType::bf16, DType::f16, DType::f32};
  return {DType::f16, DType::bf16, DType::f32};
}

/// The widest group of MLX that lies inside one of the source.
std::optional<std::uint32_t> group_size_for(const Scheme& source, std::uint64_t inputs) {
  const std::uint64_t group = source.scales[0].block.cols == 0 ? inputs : source.scales[0].block.cols;
  for (const std::uint32_t size : kGroupSizes)
    if (inputs % size == 0 && group % size == 0) return size;
  if (inputs % kGroupSizes.back() == 0) return kGroupSizes.back();  // groups whose scales are equal may merge
  return std::nullopt;
}

bool is_scale_type(DType type) { return type == DType::f32 || type == DType::f16 || type == DType::bf16; }

/// The narrowest unsigned codes of MLX that hold codes of this type.
std::optional<DType> codes_for(DType source) {
  for (std::uint64_t bits = tensor::bits(source); bits <= 8; ++bits)
    if (const auto type = code_type(bits)) return type;
  return std::nullopt;
}

StoredForm affine_form(DType codes, DType type, std::uint32_t group_size) {
  StoredForm form;
  const tensor::Block block{1, group_size};
  form.scheme.codes.type = codes;
  form.scheme.scales = {{.type = type, .block = block}};
  form.scheme.offset.kind = tensor::OffsetKind::bias;
  form.scheme.offset.levels = {{.type = type, .block = block}};
  return form;
}

/// "mxfp4", "mxfp8" and "nvfp4"; null for words of integers.
const FloatMode* float_mode(const SchemeWord& word) {
  for (const FloatMode& mode : float_modes())
    if (mode.mode == word.base) return &mode;
  return nullptr;
}

StoredForm float_form(const FloatMode& mode) {
  StoredForm form;
  form.scheme.codes.type = mode.code;
  form.scheme.scales = {{.type = mode.scale, .block = {1, static_cast<std::uint32_t>(mode.group_size)}}};
  return form;
}

SchemeWord word_of(const WriteOptions& options) {
  SchemeWord word = scheme_word(options, schemes(), "mlx");
  if (const FloatMode* mode = float_mode(word)) {
    if (word.extent != SchemeWord::Extent::unsaid && word.group != mode->group_size)
      throw Error(ErrorKind::unsupported, "--scheme " + options.scheme + ": " + word.base + " has groups of " +
                                              std::to_string(mode->group_size) + " inputs");
    return word;
  }
  const bool known = std::find(kGroupSizes.begin(), kGroupSizes.end(), word.group) != kGroupSizes.end();
  if (word.extent != SchemeWord::Extent::unsaid && !known)
    throw OptionError("--scheme " + options.scheme + ": mlx has groups of 32, 64 and 128 inputs");
  return word;
}

/// What values are rounded to: as mlx-lm does, with scales of the type of the weights.
void add_rounding(const Tensor& source, const SchemeWord& word, std::optional<DType> wanted, Forms& forms) {
  const Scheme& from = source.scheme;
  const std::uint64_t inputs = source.shape.back();
  if (const FloatMode* mode = float_mode(word)) {
    forms.why_not_rounded = uneven_groups(inputs, mode->group_size);
    if (forms.why_not_rounded.empty()) forms.rounded = float_form(*mode);
    return;
  }
  std::uint8_t bits = word.bits != 0 ? word.bits : kUsualWidth;
  const bool integers = from.codes.kind == tensor::CodeKind::number && !tensor::info(from.codes.type).is_float;
  if (word.bits == 0 && integers)
    if (const auto codes = codes_for(from.codes.type)) bits = tensor::bits(*codes);
  std::uint32_t group_size = word.group;
  if (word.extent == SchemeWord::Extent::unsaid) group_size = inputs % kUsualGroup == 0 ? kUsualGroup : 32;
  forms.why_not_rounded = uneven_groups(inputs, group_size);
  if (!forms.why_not_rounded.empty()) return;
  const DType type = wanted                                              ? *wanted
                     : from.is_plain() && is_scale_type(from.codes.type) ? from.codes.type
                                                                         : DType::f16;
  forms.rounded = affine_form(*code_type(bits), type, group_size);
}

/// Forms of the word, of any width and of groups that suit the source where it says nothing.
std::vector<StoredForm> forms_for(const Tensor& source, const SchemeWord& word, std::optional<DType> wanted) {
  std::vector<StoredForm> forms;
  const Scheme& from = source.scheme;
  if (from.codes.kind != tensor::CodeKind::number || from.scales.empty()) return forms;
  const std::uint64_t inputs = source.shape.back();
  const FloatMode* named_mode = float_mode(word);
  if (tensor::info(from.codes.type).is_float && (!word.named || named_mode != nullptr)) {
    for (const FloatMode& mode : float_modes()) {
      const bool wanted_mode = named_mode == nullptr || named_mode->mode == mode.mode;
      if (wanted_mode && mode.code == from.codes.type && inputs % mode.group_size == 0)
        forms.push_back(float_form(mode));
    }
    return forms;
  }
  if (tensor::info(from.codes.type).is_float || named_mode != nullptr) return forms;
  const auto codes = word.bits != 0 ? code_type(word.bits) : codes_for(from.codes.type);
  const auto group_size =
      word.extent != SchemeWord::Extent::unsaid ? std::optional(word.group) : group_size_for(from, inputs);
  if (!codes || !group_size || inputs % *group_size != 0) return forms;
  for (const DType type : scale_types(from, wanted)) forms.push_back(affine_form(*codes, type, *group_size));
  return forms;
}

Sizes sizes_of(const Scheme& scheme) {
  Sizes sizes;
  sizes.group_size = scheme.scales[0].block.cols;
  sizes.bits = tensor::bits(scheme.codes.type);
  for (const FloatMode& mode : float_modes())
    if (mode.code == scheme.codes.type && mode.scale == scheme.scales[0].type) sizes.mode = mode.mode;
  return sizes;
}

void add_items(CodedPlan& plan, const std::string& file_name) {
  const std::string module = file_name.substr(0, file_name.size() - kWeight.size());
  const Sizes sizes = sizes_of(plan.tensor.scheme);
  tensor::Shape codes = plan.tensor.shape, scales = codes;
  codes.back() = codes.back() * sizes.bits / 32;
  scales.back() /= sizes.group_size;
  plan.items.push_back({file_name, DType::u32, codes, "codes"});
  const DType scale_type = plan.tensor.scheme.scales[0].type;
  const bool affine = sizes.mode == "affine";
  plan.items.push_back({module + ".scales", affine ? scale_type : DType::u8, scales, "scales"});
  if (affine) plan.items.push_back({module + ".biases", plan.tensor.scheme.offset.levels[0].type, scales, "biases"});
  plan.scheme = "mlx " + sizes.mode + " " + std::to_string(sizes.bits) + "-bit g" + std::to_string(sizes.group_size) +
                " " + std::string(tensor::name(scale_type));
}

Json to_json(const Sizes& sizes) {
  Json json{JsonObject{}};
  json.set("bits", sizes.bits);
  json.set("group_size", sizes.group_size);
  json.set("mode", sizes.mode);
  return json;
}

}  // namespace

const std::vector<std::string_view>& schemes() noexcept {
  static const std::vector<std::string_view> words = {"2bit", "3bit",  "4bit",  "5bit", "6bit",
                                                      "8bit", "mxfp4", "mxfp8", "nvfp4"};
  return words;
}

CodedPlan plan(const Tensor& source, const std::string& file_name, const tensor::Model& model,
               const WriteOptions& options) {
  CodedPlan plan;
  const std::optional<DType> wanted = wanted_scale_type(options);
  // mlx-lm turns the matrices of GPT-2 over when it loads them: only plain ones bear that.
  const bool eligible = file_name.ends_with(kWeight) && source.shape.size() >= 2 && source.elements() > 0 &&
                        !is_float_word(options.scheme) && model.config.architecture != "gpt2";
  if (!eligible) return plan;
  const SchemeWord word = word_of(options);
  Forms forms{.kept = forms_for(source, word, wanted)};
  if (may_round(source, file_name, model, options, word.named, {.embedding = true, .head = true}))
    add_rounding(source, word, wanted, forms);
  forms.round = requantize_for_mlx;
  const bool named = word.named || wanted.has_value();
  Recoded recoded = keep_or_round(source, forms, word.named, options);
  plan.reason = std::move(recoded.reason);
  if (!is_planned(recoded, named, options)) return plan;
  plan.proof = recoded.proof;
  plan.tensor = std::move(recoded.tensor);
  add_items(plan, file_name);
  return plan;
}

void configure(const tensor::Model&, const std::vector<CodedOutput>& outputs, const WriteOptions&, Json& config,
               std::map<std::string, std::string>&) {
  std::vector<std::pair<std::string, Sizes>> modules;
  std::vector<Sizes> all;
  for (const CodedOutput& output : outputs) {
    if (output.plan == nullptr) continue;
    all.push_back(sizes_of(output.plan->tensor.scheme));
    modules.emplace_back(output.file_name.substr(0, output.file_name.size() - kWeight.size()), all.back());
  }
  if (modules.empty()) return;
  const Sizes common = most_common(all);
  Json settings = to_json(common);
  for (const auto& [module, sizes] : modules)
    if (!(sizes == common)) settings.object().emplace_back(module, to_json(sizes));
  config.set("quantization", settings);
  config.set("quantization_config", std::move(settings));
}

}  // namespace ingot::convert::mlx

#include "converters/layouts/gptq_write.h"

#include <algorithm>
#include <array>

#include "converters/hf_names.h"
#include "converters/layouts/gptq_planes.h"
#include "converters/layouts/linear_write.h"
#include "converters/layouts/module_patterns.h"
#include "converters/layouts/most_common.h"
#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"
#include "format/base/checked_math.h"

namespace ingot::convert::gptq {
namespace {

using tensor::DType;
using tensor::Tensor;

constexpr std::string_view kFormatKey = "checkpoint_format", kV1 = "gptq", kV2 = "gptq_v2";
constexpr std::array<std::uint8_t, 4> kWidths = {2, 3, 4, 8};
constexpr std::uint8_t kUsualWidth = 4;
constexpr std::uint32_t kUsualGroup = 128;
constexpr std::uint64_t kDivisor = 32;  // of inputs and outputs, in what GPTQModel quantizes
constexpr std::array<std::uint32_t, 7> kGroupSizes = {1024, 512, 256, 128, 64, 32, 16};  // that GPTQModel takes, and -1

/// The source's groups, or parts of them that GPTQModel takes.
std::uint32_t block_for(const Tensor& source) {
  const std::uint64_t inputs = source.shape.back(), size = inputs_per_scale(source);
  const bool known = std::find(kGroupSizes.begin(), kGroupSizes.end(), size) != kGroupSizes.end();
  if (size == inputs && (source.scheme.scales[0].block.cols == 0 || !known)) return 0;
  for (const std::uint32_t group : kGroupSizes)
    if (size % group == 0) return group;
  return static_cast<std::uint32_t>(size);
}

bool holds_width(std::uint8_t bits, const Tensor& source) {
  return bits != 3 || (source.shape[0] % 32 == 0 && source.shape[1] % 32 == 0);
}

/// Forms of the word, of any width and of the source's groups where it says nothing.
std::vector<StoredForm> forms_for(const Tensor& source, const SchemeWord& word, DType scale_type) {
  std::vector<StoredForm> forms;
  const bool sized = word.extent != SchemeWord::Extent::unsaid;
  for (const std::uint8_t bits : kWidths) {
    if (word.bits != 0 ? bits != word.bits : bits < tensor::bits(source.scheme.codes.type)) continue;
    if (!holds_width(bits, source)) continue;
    StoredForm form = linear_form(bits, scale_type, sized ? word.group : block_for(source), false);
    form.scheme.order = source.scheme.order;
    if (!sized && form.scheme.order != tensor::Order::identity) {  // groups are those of the order
      form.scheme.scales[0].block = source.scheme.scales[0].block;
      form.scheme.offset.levels[0].block = source.scheme.scales[0].block;
    }
    forms.push_back(std::move(form));
  }
  return forms;
}

/// What values are rounded to; the reason where GPTQModel leaves a matrix of this shape alone.
void add_rounding(const Tensor& source, const SchemeWord& word, DType scale_type, Forms& forms) {
  const std::uint64_t outputs = source.shape[0], inputs = source.shape[1];
  if (inputs % kDivisor != 0 || outputs % kDivisor != 0) {
    forms.why_not_rounded = std::to_string(kDivisor) + " does not divide both extents, " + std::to_string(outputs) +
                            " and " + std::to_string(inputs);
    return;
  }
  std::uint8_t bits = word.bits != 0 ? word.bits : kUsualWidth;
  if (word.bits == 0 && is_integer_coded(source)) bits = tensor::bits(source.scheme.codes.type) > 4 ? 8 : kUsualWidth;
  std::uint32_t group = word.group;
  if (word.extent == SchemeWord::Extent::unsaid)
    for (group = kUsualGroup; inputs % group != 0;) group /= 2;
  if (group != 0) forms.why_not_rounded = uneven_groups(inputs, group);
  if (!forms.why_not_rounded.empty()) return;
  const StoredForm stored = linear_form(bits, scale_type, group, false);
  forms.rounded = word.symmetric.value_or(true) ? symmetric_form(bits, scale_type, group) : stored;
  forms.stored = stored;
}

/// How GPTQ would hold the tensor: its codes, or its values rounded.
Recoded recoded_for(const Tensor& source, const std::string& name, const tensor::Model& model,
                    const WriteOptions& options, const SchemeWord& word) {
  const DType scale_type = scale_type_of(options, "gptq");
  Forms forms;
  forms.problem = zero_points_problem;
  if (is_quantized_linear(source, name, model) && (word.symmetric != true || is_symmetric(source)))
    forms.kept = forms_for(source, word, scale_type);
  if (may_round(source, name, model, options, word.named, {.linear_only = true, .conv1d = true}))
    add_rounding(source, word, scale_type, forms);
  return keep_or_round(source, forms, word.named, options);
}

std::int32_t least_zero(const Tensor& tensor) {
  const std::optional<AffineFacts> facts = affine_facts(tensor);
  return facts ? facts->least_zero : 0;
}

/// Could a zero point of the tensor, as GPTQ would store it, be 0? Looks at the data where the scheme does not tell.
bool has_zero_at_0(const Tensor& source, const std::string& name, const tensor::Model& model,
                   const WriteOptions& options, const SchemeWord& word) {
  const tensor::OffsetKind kind = source.scheme.offset.kind;
  const bool tells = kind != tensor::OffsetKind::bias && kind != tensor::OffsetKind::minimum;
  if (tells && !word.named && is_quantized_linear(source, name, model)) return least_zero(source) <= 0;
  if (source.scheme.is_plain() && word.symmetric.value_or(true)) return false;  // the middle, where it is rounded
  const Recoded recoded = recoded_for(source, name, model, options, word);
  return is_planned(recoded, word.named, options) && least_zero(recoded.tensor) <= 0;
}

void add_items(CodedPlan& plan, const std::string& module, bool v2) {
  const tensor::Scheme& scheme = plan.tensor.scheme;
  const std::uint64_t outputs = plan.tensor.shape[0], inputs = plan.tensor.shape[1];
  const std::uint8_t bits = tensor::bits(scheme.codes.type);
  const std::uint64_t groups = groups_of(inputs, scheme.scales[0].block.cols);
  plan.items.push_back({module + ".qweight", DType::i32, {lines_of(inputs, bits), outputs}, "qweight"});
  plan.items.push_back(
      {module + ".qzeros", DType::i32, {groups, lines_of(outputs, bits)}, v2 ? "qzeros.v2" : "qzeros.v1"});
  plan.items.push_back({module + ".scales", scheme.scales[0].type, {groups, outputs}, "scales"});
  plan.items.push_back({module + ".g_idx", DType::i32, {inputs}, "g_idx"});
  const std::uint32_t cols = scheme.scales[0].block.cols;
  plan.scheme = std::string(v2 ? kV2 : kV1) + " " + std::to_string(bits) + "-bit " +
                (cols == 0 ? "column" : "g" + std::to_string(cols)) +
                (scheme.order != tensor::Order::identity ? " act-order" : "");
}

/// Bits and group size as the config names them.
struct Sizes {
  std::uint64_t bits = 4;
  std::int64_t group_size = 128;
  bool operator==(const Sizes&) const = default;
};
Sizes sizes_of(const CodedPlan& plan) {
  const std::uint32_t cols = plan.tensor.scheme.scales[0].block.cols;
  return {tensor::bits(plan.tensor.scheme.codes.type), cols == 0 ? -1 : static_cast<std::int64_t>(cols)};
}

/// Overrides for modules of other sizes, and exclusions of linear layers that stay plain.
Json dynamic_rules(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const Sizes& common) {
  std::vector<std::pair<Sizes, std::vector<std::string>>> others;
  std::vector<std::string> plain;
  for (const CodedOutput& output : outputs) {
    if (output.plan != nullptr) {
      const Sizes sizes = sizes_of(*output.plan);
      if (sizes == common) continue;
      auto found = std::find_if(others.begin(), others.end(), [&](const auto& row) { return row.first == sizes; });
      if (found == others.end()) found = others.insert(others.end(), {sizes, {}});
      found->second.push_back(module_of(output.file_name));
      continue;
    }
    const Tensor* source = output.source;
    const bool linear = source != nullptr && source->shape.size() == 2 && output.file_name.ends_with(".weight") &&
                        output.tensor != hf_embedding_name(model.config.architecture) && output.tensor != kHfHeadName;
    if (linear) plain.push_back(module_of(output.file_name));
  }
  Json rules;
  for (const auto& [sizes, modules] : others) {
    Json changes{JsonObject{}};
    changes.set("bits", sizes.bits);
    changes.set("group_size", sizes.group_size);
    for (const std::string& pattern : module_patterns(modules)) rules.set("+:" + pattern, changes);
  }
  for (const std::string& pattern : module_patterns(plain)) rules.set("-:" + pattern, Json(JsonObject{}));
  return rules;
}

}  // namespace

const std::vector<std::string_view>& schemes() noexcept {
  static const std::vector<std::string_view> words = {"2bit", "3bit", "4bit", "8bit"};
  return words;
}

std::map<std::string, std::string> settle(const tensor::Model& model, const WriteOptions& options) {
  const std::optional<std::string> asked = setting(options, std::string(kFormatKey));
  if (asked && *asked != kV1 && *asked != kV2)
    throw OptionError("--set checkpoint_format=" + *asked + ": gptq writes gptq and gptq_v2");
  if (asked || is_float_word(options.scheme)) return {};
  const SchemeWord word = scheme_word(options, schemes(), "gptq");
  const bool v2 = std::any_of(model.tensors.begin(), model.tensors.end(), [&](const Tensor& tensor) {
    return has_zero_at_0(tensor, tensor.name, model, options, word);
  });
  return {{std::string(kFormatKey), std::string(v2 ? kV2 : kV1)}};
}

CodedPlan plan(const Tensor& source, const std::string& file_name, const tensor::Model& model,
               const WriteOptions& options) {
  CodedPlan plan;
  if (is_float_word(options.scheme)) return plan;
  const SchemeWord word = scheme_word(options, schemes(), "gptq");
  Recoded recoded = recoded_for(source, file_name, model, options, word);
  plan.reason = std::move(recoded.reason);
  if (!is_planned(recoded, word.named, options)) return plan;
  const bool v2 = setting(options, std::string(kFormatKey)) == kV2;
  plan.proof = recoded.proof;
  plan.tensor = std::move(recoded.tensor);
  if (!v2 && least_zero(plan.tensor) <= 0) {
    plan.proof = ProofClass::refused;
    plan.reason = "a zero point is 0, which checkpoint_format gptq cannot store unambiguously (gptq_v2 can)";
    return plan;
  }
  add_items(plan, module_of(file_name), v2);
  return plan;
}

void configure(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions&, Json& config,
               std::map<std::string, std::string>& files) {
  std::vector<const CodedPlan*> plans;
  bool head = false;
  for (const CodedOutput& output : outputs) {
    if (output.plan == nullptr) continue;
    plans.push_back(output.plan);
    head |= output.tensor == kHfHeadName;
  }
  if (plans.empty()) return;
  std::vector<Sizes> sizes;
  for (const CodedPlan* plan : plans) sizes.push_back(sizes_of(*plan));
  const Sizes common = most_common(sizes);
  const bool act_order = std::any_of(plans.begin(), plans.end(), [](const CodedPlan* plan) {
    return plan->tensor.scheme.order != tensor::Order::identity;
  });
  Json settings{JsonObject{}};
  settings.set("quant_method", "gptq");
  settings.set("bits", common.bits);
  settings.set("group_size", common.group_size);
  settings.set("desc_act", act_order);
  settings.set(
      "sym", std::all_of(plans.begin(), plans.end(), [](const CodedPlan* plan) { return is_symmetric(plan->tensor); }));
  settings.set("lm_head", head);
  settings.set("checkpoint_format", plans.front()->scheme.starts_with(kV2) ? kV2 : kV1);
  settings.set("pack_dtype", "int32");
  Json meta{JsonObject{}}, quantizer{JsonArray{}};
  quantizer.push_back("ingot");
  meta.set("quantizer", std::move(quantizer));
  settings.set("meta", std::move(meta));
  Json rules = dynamic_rules(model, outputs, common);
  if (!rules.is_null()) settings.set("dynamic", std::move(rules));
  files["quantize_config.json"] = pretty_json(settings);
  config.set("quantization_config", std::move(settings));
}

}  // namespace ingot::convert::gptq

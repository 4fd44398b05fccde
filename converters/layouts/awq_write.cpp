#include "converters/layouts/awq_write.h"

#include <algorithm>
#include <numeric>

#include "converters/hf_names.h"
#include "converters/layouts/awq_planes.h"
#include "converters/layouts/linear_write.h"
#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"

namespace ingot::convert::awq {
namespace {

using tensor::DType;
using tensor::Tensor;

enum class Form : std::uint8_t { gemm, gemv, fast };
constexpr std::uint32_t kUsualGroup = 128, kLeastGroup = 32;  // of AutoAWQ's kernels
constexpr std::uint32_t kLeastSplitGroup = 16;                // that groups are split into so that they divide a row
constexpr const char* kSettledGroup = "settled_group_size";   // follows from all tensors

Form wanted_form(const WriteOptions& options) {
  const std::string version = setting(options, "version").value_or("gemm");
  if (version == "gemm") return Form::gemm;
  if (version == "gemv") return Form::gemv;
  if (version == "gemv_fast") return Form::fast;
  throw OptionError("--set version=" + version + ": awq writes gemm, gemv and gemv_fast");
}
std::string_view version_of(Form form) {
  constexpr std::string_view kWords[] = {"gemm", "gemv", "gemv_fast"};
  return kWords[static_cast<std::size_t>(form)];
}

/// Inputs that share a scale; 0: the whole row.
std::uint32_t wanted_group_size(const SchemeWord& word, const WriteOptions& options) {
  if (word.extent != SchemeWord::Extent::unsaid) return word.group;
  return static_cast<std::uint32_t>(std::stoul(setting(options, kSettledGroup).value_or("0")));
}

/// AutoAWQ quantizes the linear layers of the blocks, never the head.
bool is_candidate(const Tensor& tensor, const std::string& name, const tensor::Model& model) {
  return is_quantized_linear(tensor, name, model) && tensor.name != kHfHeadName &&
         tensor::bits(tensor.scheme.codes.type) <= 4 && tensor.scheme.order == tensor::Order::identity;
}

/// What the form's packing demands of a matrix and does not find; empty: nothing.
std::string misfit(Form form, const Tensor& tensor, std::uint64_t group_size) {
  const std::uint64_t outputs = tensor.shape[0], inputs = tensor.shape[1];
  if (inputs % group_size != 0) return uneven_groups(inputs, group_size);
  if (outputs % 8 != 0) return "8 does not divide " + std::to_string(outputs) + " outputs";
  if (form == Form::gemm) return {};
  const std::string version(version_of(form));
  const std::uint64_t divisor = form == Form::gemv ? 8 : 64;
  if (inputs % divisor != 0)
    return version + ": " + std::to_string(divisor) + " does not divide " + std::to_string(inputs) + " inputs";
  return gemv_zeros_width(inputs, group_size) != 0
             ? std::string()
             : version + " has no groups of " + std::to_string(group_size) + " in rows of " + std::to_string(inputs);
}

void add_items(CodedPlan& plan, const std::string& module, Form form, std::uint64_t group_size) {
  const std::uint64_t outputs = plan.tensor.shape[0], inputs = plan.tensor.shape[1], groups = inputs / group_size;
  const DType scale_type = plan.tensor.scheme.scales[0].type;
  const std::uint64_t width = form == Form::gemm ? 0 : gemv_zeros_width(inputs, group_size);
  switch (form) {
    case Form::gemm:
      plan.items.push_back({module + ".qweight", DType::i32, {inputs, outputs / 8}, "qweight.gemm"});
      plan.items.push_back({module + ".qzeros", DType::i32, {groups, outputs / 8}, "qzeros.gemm"});
      plan.items.push_back({module + ".scales", scale_type, {groups, outputs}, "scales"});
      break;
    case Form::gemv:
      plan.items.push_back({module + ".qweight", DType::i32, {outputs, inputs / 8}, "qweight.gemv"});
      plan.items.push_back({module + ".qzeros", DType::i32, {outputs, width}, "qzeros.gemv"});
      plan.items.push_back({module + ".scales", scale_type, {outputs, width * 8}, "scales.gemv"});
      break;
    case Form::fast:
      plan.items.push_back({module + ".qweight", DType::i16, {outputs / 4, inputs}, "qweight.fast"});
      plan.items.push_back({module + ".qzeros", scale_type, {width * 8, outputs}, "qzeros.fast"});
      plan.items.push_back({module + ".scales", scale_type, {width * 8, outputs}, "scales.fast"});
      break;
  }
  plan.scheme = "awq " + std::string(version_of(form)) + " 4-bit g" + std::to_string(group_size);
}

/// Of matrices that are rounded: the usual size, or the largest part of it that divides the rows of all; those that no
/// part divides stay plain.
std::uint32_t usual_group(const tensor::Model& model, const WriteOptions& options) {
  std::uint32_t group = kUsualGroup;
  if (options.allow < ProofClass::requantized) return group;
  for (const Tensor& tensor : model.tensors) {
    if (!may_round(tensor, tensor.name, model, options, false, {.linear_only = true})) continue;
    const std::uint64_t inputs = tensor.shape[1];
    while (inputs % kLeastGroup == 0 && inputs % group != 0) group /= 2;
  }
  return group;
}

}  // namespace

const std::vector<std::string_view>& schemes() noexcept {
  static const std::vector<std::string_view> words = {"4bit"};
  return words;
}

std::map<std::string, std::string> settle(const tensor::Model& model, const WriteOptions& options) {
  if (scheme_word(options, schemes(), "awq").extent != SchemeWord::Extent::unsaid) return {};
  std::uint64_t common = 0;
  bool whole_rows = true;
  for (const Tensor& tensor : model.tensors) {
    if (!is_candidate(tensor, tensor.name, model)) continue;
    const std::uint64_t size = inputs_per_scale(tensor), group = std::gcd(size, tensor.shape[1]);
    if (group != size && group < kLeastSplitGroup) continue;  // stays plain rather than split the groups of all others
    common = std::gcd(common, group);
    whole_rows &= size == tensor.shape[1];
  }
  if (common == 0) return {{kSettledGroup, std::to_string(usual_group(model, options))}};
  return {{kSettledGroup, whole_rows ? "0" : std::to_string(common)}};
}

CodedPlan plan(const Tensor& source, const std::string& file_name, const tensor::Model& model,
               const WriteOptions& options) {
  CodedPlan plan;
  const Form form = wanted_form(options);
  const DType scale_type = scale_type_of(options, "awq");
  if (is_float_word(options.scheme)) return plan;
  const SchemeWord word = scheme_word(options, schemes(), "awq");
  const std::uint32_t wanted = wanted_group_size(word, options);
  const bool keeps = is_candidate(source, file_name, model) && (word.symmetric != true || is_symmetric(source));
  const bool rounds = may_round(source, file_name, model, options, word.named, {.linear_only = true});
  if (!keeps && !rounds) return plan;
  const std::uint64_t group_size = wanted == 0 ? source.shape[1] : wanted;
  if (plan.reason = misfit(form, source, group_size); !plan.reason.empty()) return plan;
  const StoredForm stored = linear_form(4, scale_type, wanted, form == Form::fast);
  Forms forms;
  forms.problem = zero_points_problem;
  if (keeps) forms.kept = {stored};
  if (rounds) {
    forms.rounded = word.symmetric.value_or(false) ? symmetric_form(4, scale_type, wanted)
                                                   : linear_form(4, scale_type, wanted, false);
    forms.stored = stored;
  }
  Recoded recoded = keep_or_round(source, forms, word.named, options);
  plan.reason = std::move(recoded.reason);
  if (!is_planned(recoded, word.named, options)) return plan;
  plan.proof = recoded.proof;
  plan.tensor = std::move(recoded.tensor);
  add_items(plan, module_of(file_name), form, group_size);
  return plan;
}

void configure(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions& options,
               Json& config, std::map<std::string, std::string>&) {
  std::int64_t group_size = 0;
  Json plain;
  for (const CodedOutput& output : outputs) {
    if (output.plan != nullptr) {
      const std::uint32_t cols = output.plan->tensor.scheme.scales[0].block.cols;
      group_size = cols == 0 ? -1 : static_cast<std::int64_t>(cols);
      continue;
    }
    const Tensor* source = output.source;
    if (source != nullptr && source->shape.size() == 2 && output.file_name.ends_with(".weight") &&
        output.tensor != hf_embedding_name(model.config.architecture) && output.tensor != kHfHeadName)
      plain.push_back(module_of(output.file_name));
  }
  if (group_size == 0) return;
  Json settings{JsonObject{}};
  settings.set("quant_method", "awq");
  settings.set("bits", 4);
  settings.set("group_size", group_size);
  settings.set("zero_point", true);
  settings.set("version", version_of(wanted_form(options)));
  settings.set("modules_to_not_convert", std::move(plain));
  config.set("quantization_config", std::move(settings));
}

}  // namespace ingot::convert::awq

// Which modules compressed-tensors holds, in which of its formats, and its quantization_config.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "converters/hf_names.h"
#include "converters/layouts/linear_write.h"
#include "converters/layouts/scaled_write.h"
#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"
#include "converters/requantize/by_library.h"
#include "format/base/checked_math.h"

namespace ingot::convert::scaled {
namespace {

using tensor::DType;
using tensor::Level;
using tensor::OffsetKind;
using tensor::Order;
using tensor::Scheme;
using tensor::Tensor;

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kVersion = "0.20.0";  // whose packing is written
constexpr DType kCodeTypes[] = {DType::u1, DType::u1, DType::u2, DType::u3, DType::u4,
                                DType::u5, DType::u6, DType::u7, DType::u8};

constexpr const char* kActOrder = "actorder";  // of --set: group, as the library had it before 0.20
constexpr std::uint8_t kUsualWidth = 4;
constexpr std::uint32_t kUsualGroup = 128;
constexpr std::uint32_t kLeastSplitGroup = 16;  // that groups are split into so that they divide a row
constexpr tensor::Block kFp8Block = {128, 128}, kMxBlock = {1, 32}, kNvBlock = {1, 16};
const Level kNvWhole = {.type = DType::f32, .block = {0, 0}, .divide = true};

using Extent = SchemeWord::Extent;

bool is_number(DType type) { return type == DType::f32 || type == DType::f16 || type == DType::bf16; }

/// One scale for a row, or for as many inputs as share all parameters of the source and divide a row; nothing where
/// those are too few.
std::optional<tensor::Block> block_for(const Tensor& source) {
  const std::uint64_t inputs = source.shape.back(), size = inputs_per_scale(source);
  if (size == inputs) return tensor::Block{1, 0};
  const std::uint64_t group = std::gcd(size, inputs);
  if (group != size && group < kLeastSplitGroup) return std::nullopt;
  return tensor::Block{1, static_cast<std::uint32_t>(group)};
}

std::vector<DType> scale_types(const Scheme& source) {
  const DType first = source.scales[0].type;
  std::vector<DType> types;
  if (is_number(first)) types.push_back(first);
  for (const DType type : {DType::f16, DType::bf16, DType::f32})
    if (type != first) types.push_back(type);
  return types;
}

/// The block of the word, else that of the source.
std::vector<StoredForm> integer_forms(const Tensor& source, const SchemeWord& word, bool keeps_order) {
  std::vector<StoredForm> forms;
  auto block = block_for(source);
  if (word.extent != Extent::unsaid) block = tensor::Block{1, word.group};
  if (!block || (block->cols != 0 && source.shape.back() % block->cols != 0)) return forms;
  const std::uint8_t bits = word.bits != 0 ? word.bits : tensor::bits(source.scheme.codes.type);
  const bool has_order = keeps_order && source.scheme.order != Order::identity;
  for (const DType type : scale_types(source.scheme)) {
    StoredForm form;
    form.scheme.scales = {{.type = type, .block = *block}};
    if (block->cols != 0 && has_order) form.scheme.order = Order::group_index;
    if (source.scheme.codes.type == DType::i8 && word.bits == 0) {
      StoredForm bytes = form;
      bytes.scheme.codes.type = DType::i8;
      forms.push_back(bytes);
      bytes.scheme.offset = {.kind = OffsetKind::zero_points, .levels = {{.type = DType::i8, .block = *block}}};
      if (source.scheme.offset.kind == OffsetKind::zero_points) forms.push_back(std::move(bytes));
    }
    if (word.base == "int8") continue;
    form.scheme.codes.type = kCodeTypes[bits];
    form.scheme.offset.kind = OffsetKind::zero;
    form.scheme.offset.zero = 1 << (bits - 1);
    forms.push_back(form);
    if (word.symmetric == true) continue;
    form.scheme.offset = {.kind = OffsetKind::zero_points, .levels = {{.type = DType::u8, .block = *block}}};
    forms.push_back(std::move(form));
  }
  return forms;
}

/// Why compressed-tensors cannot hold what the codes became; empty: it can.
std::string problem_of(const Tensor& tensor) {
  const bool is_packed = tensor.scheme.codes.type != DType::i8;  // zero points with as many bits as the codes
  std::string problem = is_packed ? zero_points_problem(tensor) : std::string();
  if (!problem.empty() || tensor.scheme.order != Order::group_index) return problem;
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  const auto spec = std::ranges::find(specs, "group_index", &tensor::PlaneSpec::role);
  const Bytes indexes = tensor.planes->whole(static_cast<std::size_t>(spec - specs.begin()));
  const std::uint32_t size = tensor.scheme.scales[0].block.cols;
  std::vector<std::uint32_t> inputs(tensor.shape.back() / size);
  for (std::size_t at = 0; at < indexes.size(); at += 4) ++inputs.at(load_le<std::uint32_t>(indexes.data() + at));
  const auto other = std::ranges::find_if(inputs, [&](std::uint32_t count) { return count != size; });
  if (other == inputs.end()) return {};
  return "group " + std::to_string(other - inputs.begin()) + " of its act-order has " + std::to_string(*other) +
         " inputs, not " + std::to_string(size);
}

/// Of FP8 and of bytes: by row unless the word says more.
tensor::Block fp8_block(const SchemeWord& word) {
  if (word.extent == Extent::tensor) return {0, 0};
  if (word.extent == Extent::block) return kFp8Block;
  return {1, word.group};
}

std::vector<StoredForm> float_forms(const Tensor& tensor) {
  const Scheme& source = tensor.scheme;
  const Level& finest = source.scales[0];
  StoredForm form;
  form.scheme.codes = source.codes;
  form.scheme.scales = {finest};
  if (source.codes.type == DType::e2m1 && finest.type == DType::e8m0) {
    form.scheme.scales[0].block = kMxBlock;
    return {form};
  }
  if (source.codes.type == DType::e2m1 && finest.type == DType::e4m3 && finest.block == kNvBlock) {
    form.scheme.scales.push_back(kNvWhole);
    form.scheme.rounded_scale = true;
    return {form};
  }
  if (source.codes.type != DType::e4m3 || source.scales.size() != 1) return {};
  const bool has_whole_groups =
      finest.block.rows != 1 || finest.block.cols == 0 || tensor.shape.back() % finest.block.cols == 0;
  if (is_number(finest.type)) return has_whole_groups ? std::vector<StoredForm>{form} : std::vector<StoredForm>{};
  return finest.type == DType::e8m0 && finest.block == tensor::Block{1, 32} ? std::vector<StoredForm>{form}
                                                                            : std::vector<StoredForm>{};
}

/// Throws OptionError for another group than the one that a word of small floats stands for.
void check_groups(const SchemeWord& word, const WriteOptions& options) {
  const bool is_mx = word.base == "mxfp4" || word.base == "mxfp8";
  if ((!is_mx && word.base != "nvfp4") || word.extent == Extent::unsaid) return;
  const std::uint32_t group = is_mx ? kMxBlock.cols : kNvBlock.cols;
  if (word.extent == Extent::group && word.group == group) return;
  throw OptionError("--scheme " + options.scheme + ": " + word.base + " has groups of " + std::to_string(group) +
                    " inputs");
}

void check_act_order(const WriteOptions& options) {
  const std::optional<std::string> word = setting(options, kActOrder);
  if (word && *word != "group") throw OptionError("--set actorder=" + *word + ": compressed-tensors has group");
}

/// Forms of the word that could hold the codes of the source.
std::vector<StoredForm> forms_for(const Tensor& source, const SchemeWord& word, bool keeps_order) {
  const bool wants_floats = word.base == "fp8" || word.base == "mxfp4" || word.base == "mxfp8" || word.base == "nvfp4";
  const bool is_float = tensor::info(source.scheme.codes.type).is_float;
  if (word.named && (is_float ? !wants_floats : wants_floats)) return {};
  if (!is_float) return integer_forms(source, word, keeps_order);
  const bool wants_bytes = word.base == "fp8" || word.base == "mxfp8";
  const bool wants_powers = word.base == "mxfp4" || word.base == "mxfp8";
  const bool has_powers = source.scheme.scales[0].type == DType::e8m0;
  if (word.named && (wants_bytes != (source.scheme.codes.type == DType::e4m3) || wants_powers != has_powers)) return {};
  std::vector<StoredForm> forms = float_forms(source);
  for (StoredForm& form : forms)
    if (word.base == "fp8" && word.extent != Extent::unsaid) form.scheme.scales[0].block = fp8_block(word);
  return forms;
}

/// What values are rounded to, with scales of the type of the weights, as llm-compressor does.
std::optional<StoredForm> rounding_for(const Tensor& source, const SchemeWord& word, std::string& why_not) {
  const Scheme& from = source.scheme;
  const DType type = from.is_plain() && is_number(from.codes.type) ? from.codes.type : DType::f16;
  const std::uint64_t inputs = source.shape.back();
  StoredForm form;
  if (word.base == "mxfp4" || word.base == "mxfp8") {
    if (why_not = uneven_groups(inputs, kMxBlock.cols); !why_not.empty()) return std::nullopt;
    form.scheme.codes.type = word.base == "mxfp4" ? DType::e2m1 : DType::e4m3;
    form.scheme.scales = {{.type = DType::e8m0, .block = kMxBlock}};
    return form;
  }
  if (word.base == "nvfp4") {
    if (why_not = uneven_groups(inputs, kNvBlock.cols); !why_not.empty()) return std::nullopt;
    form.scheme.codes.type = DType::e2m1;
    form.scheme.scales = {{.type = DType::e4m3, .block = kNvBlock}, kNvWhole};
    form.scheme.rounded_scale = true;
    return form;
  }
  if (word.base == "fp8" || word.base == "int8") {
    form.scheme.codes.type = word.base == "fp8" ? DType::e4m3 : DType::i8;
    form.scheme.scales = {{.type = type, .block = fp8_block(word)}};
    return form;
  }
  std::uint8_t bits = word.bits != 0 ? word.bits : kUsualWidth;
  if (word.bits == 0 && is_integer_coded(source) && tensor::bits(from.codes.type) > kUsualWidth) bits = 8;
  std::uint32_t group = word.group;
  if (word.extent == Extent::unsaid)
    for (group = kUsualGroup; group > kLeastSplitGroup && inputs % group != 0;) group /= 2;
  if (group != 0) why_not = uneven_groups(inputs, group);
  if (!why_not.empty()) return std::nullopt;
  return word.symmetric.value_or(true) ? symmetric_form(bits, type, group) : linear_form(bits, type, group, false);
}

bool is_eligible(const Tensor& source, const std::string& file_name, const tensor::Model& model) {
  return file_name.ends_with(kWeight) && source.shape.size() == 2 && source.elements() > 0 &&
         source.scheme.codes.kind == tensor::CodeKind::number && tensor::bits(source.scheme.codes.type) <= 8 &&
         !source.scheme.scales.empty() && source.scheme.flat == 0 &&
         source.name != hf_embedding_name(model.config.architecture) &&
         !is_hf_conv1d(source.name, model.config.architecture);
}

/// format and strategy of a scheme as planned.
struct Naming {
  std::string_view format;
  std::string_view strategy;
  bool is_float = false;
};
Naming naming_of(const Scheme& scheme) {
  const Level& finest = scheme.scales[0];
  if (scheme.codes.type == DType::e2m1)
    return finest.type == DType::e8m0 ? Naming{"mxfp4-pack-quantized", "group", true}
                                      : Naming{"nvfp4-pack-quantized", "tensor_group", true};
  const std::string_view strategy = finest.block == tensor::Block{0, 0}   ? "tensor"
                                    : finest.block == tensor::Block{1, 0} ? "channel"
                                    : finest.block.rows == 1              ? "group"
                                                                          : "block";
  if (scheme.codes.type == DType::e4m3)
    return {finest.type == DType::e8m0 ? "mxfp8-quantized" : "float-quantized", strategy, true};
  return {scheme.codes.type == DType::i8 ? "int-quantized" : "pack-quantized", strategy};
}

tensor::Shape scale_shape(const Tensor& tensor) {
  const tensor::Block block = tensor.scheme.scales[0].block;
  if (block == tensor::Block{0, 0}) return {1};
  const std::uint64_t rows = tensor.shape[0], cols = tensor.shape[1];
  return {block.rows == 0 ? 1 : ceil_div(rows, block.rows), block.cols == 0 ? 1 : ceil_div(cols, block.cols)};
}

std::vector<std::byte> bytes_of(const tensor::Shape& shape) {
  const Bytes bytes = std::as_bytes(std::span(shape));
  return {bytes.begin(), bytes.end()};
}

void add_items(CodedPlan& plan, const std::string& file_name) {
  const Tensor& tensor = plan.tensor;
  const Scheme& scheme = tensor.scheme;
  const std::uint64_t rows = tensor.shape[0], cols = tensor.shape[1], bits = tensor::bits(scheme.codes.type);
  const tensor::Shape scales = scale_shape(tensor);
  const Naming naming = naming_of(scheme);
  const DType scale = scheme.scales[0].type == DType::e8m0 ? DType::u8 : scheme.scales[0].type;
  if (naming.format == "pack-quantized") {
    plan.items.push_back({file_name + "_packed", DType::i32, {rows, ceil_div(cols * bits, 32)}, "words"});
    plan.items.push_back({file_name + "_shape", DType::i64, {2}, "", bytes_of(tensor.shape)});
    if (scheme.offset.kind == OffsetKind::zero_points)
      plan.items.push_back(
          {file_name + "_zero_point", DType::i32, {ceil_div(rows * bits, 32), scales.back()}, "zeros.words"});
  } else if (scheme.codes.type == DType::e2m1) {
    plan.items.push_back({file_name + "_packed", DType::u8, {rows, cols / 2}, "codes"});
    if (scheme.scales.size() > 1) plan.items.push_back({file_name + "_global_scale", DType::f32, {1}, "global"});
  } else {
    plan.items.push_back({file_name, scheme.codes.type, tensor.shape, "codes"});
    if (scheme.offset.kind == OffsetKind::zero_points)
      plan.items.push_back({file_name + "_zero_point", DType::i8, scales, "zeros"});
  }
  plan.items.push_back({file_name + "_scale", scale, scales, "scales"});
  if (scheme.order == Order::group_index) plan.items.push_back({file_name + "_g_idx", DType::i32, {cols}, "g_idx"});
  plan.scheme = std::string(naming.format) + " " + tensor::describe(scheme);
}

/// QuantizationArgs.
Json arguments_of(const Scheme& scheme) {
  const Naming naming = naming_of(scheme);
  const Level& finest = scheme.scales[0];
  Json json{JsonObject{}};
  json.set("num_bits", std::uint64_t{tensor::bits(scheme.codes.type)});
  json.set("type", naming.is_float ? "float" : "int");
  json.set("symmetric", scheme.offset.kind != OffsetKind::zero_points);
  json.set("strategy", std::string(naming.strategy));
  if (finest.block.rows == 1 && finest.block.cols != 0) json.set("group_size", std::uint64_t{finest.block.cols});
  if (naming.strategy == "block") {
    json.set("block_structure",
             Json(JsonArray{Json(std::uint64_t{finest.block.rows}), Json(std::uint64_t{finest.block.cols})}));
  }
  if (scheme.order == Order::group_index) json.set("actorder", "group");
  if (finest.type == DType::e8m0) json.set("scale_dtype", "torch.uint8");
  if (finest.type == DType::e4m3) json.set("scale_dtype", "torch.float8_e4m3fn");
  json.set("dynamic", false);
  return json;
}

struct ModuleGroup {
  Json arguments;
  std::string text, format;
  std::vector<std::string> modules;
};

std::vector<ModuleGroup> groups_of(const std::vector<CodedOutput>& outputs) {
  std::vector<ModuleGroup> groups;
  for (const CodedOutput& output : outputs) {
    if (output.plan == nullptr) continue;
    const Scheme& scheme = output.plan->tensor.scheme;
    const std::string format(naming_of(scheme).format);
    Json arguments = arguments_of(scheme);
    const std::string text = format + canonical_json(arguments);
    auto found =
        std::find_if(groups.begin(), groups.end(), [&](const ModuleGroup& group) { return group.text == text; });
    if (found == groups.end()) found = groups.insert(groups.end(), {std::move(arguments), text, format, {}});
    found->modules.push_back(output.file_name.substr(0, output.file_name.size() - kWeight.size()));
  }
  return groups;
}

}  // namespace

const std::vector<std::string_view>& compressed_schemes() noexcept {
  static const std::vector<std::string_view> words = {"4bit", "2bit", "3bit", "5bit",  "6bit",  "7bit",
                                                      "8bit", "int8", "fp8",  "mxfp4", "mxfp8", "nvfp4"};
  return words;
}

bool keeps_act_order(const WriteOptions& options) noexcept {
  const auto found = options.settings.find(kActOrder);
  return found != options.settings.end() && found->second == "group";
}

CodedPlan plan_compressed(const Tensor& source, const std::string& file_name, const tensor::Model& model,
                          const WriteOptions& options) {
  CodedPlan plan;
  if (is_float_word(options.scheme)) return plan;
  const SchemeWord word = scheme_word(options, compressed_schemes(), "compressed-tensors");
  check_groups(word, options);
  check_act_order(options);
  Forms forms;
  forms.problem = problem_of;
  forms.round = requantize_for_compressed_tensors;
  if (is_eligible(source, file_name, model)) forms.kept = forms_for(source, word, keeps_act_order(options));
  if (may_round(source, file_name, model, options, word.named))
    forms.rounded = rounding_for(source, word, forms.why_not_rounded);
  Recoded recoded = keep_or_round(source, forms, word.named, options);
  plan.reason = std::move(recoded.reason);
  if (!is_planned(recoded, word.named, options)) return plan;
  plan.proof = recoded.proof;
  plan.tensor = std::move(recoded.tensor);
  add_items(plan, file_name);
  return plan;
}

Json plain_modules(const std::vector<CodedOutput>& outputs) {
  JsonArray names;
  bool has_head = false;
  for (const CodedOutput& output : outputs) {
    has_head |= output.file_name == kHfHeadName;
    const Tensor* tensor = output.source;
    if (output.plan != nullptr || tensor == nullptr || tensor->shape.size() != 2 ||
        !output.file_name.ends_with(kWeight))
      continue;
    names.emplace_back(output.file_name.substr(0, output.file_name.size() - kWeight.size()));
  }
  if (!has_head) names.emplace_back("lm_head");
  return Json(std::move(names));
}

void configure_compressed(const tensor::Model&, const std::vector<CodedOutput>& outputs, const WriteOptions&,
                          Json& config, std::map<std::string, std::string>&) {
  const std::vector<ModuleGroup> groups = groups_of(outputs);
  if (groups.empty()) return;
  Json list{JsonObject{}};
  bool mixed = false;
  for (const ModuleGroup& group : groups) {
    mixed |= group.format != groups.front().format;
    JsonArray targets;
    if (groups.size() == 1) {
      targets.emplace_back("Linear");
    } else {
      for (const std::string& module : group.modules) targets.emplace_back(module);
    }
    Json entry{JsonObject{}};
    entry.set("targets", Json(std::move(targets)));
    entry.set("weights", group.arguments);
    entry.set("format", group.format);
    list.set("group_" + std::to_string(list.as_object("config_groups").size()), std::move(entry));
  }
  Json quantization{JsonObject{}};
  quantization.set("quant_method", "compressed-tensors");
  quantization.set("format", mixed ? std::string("mixed-precision") : groups.front().format);
  quantization.set("quantization_status", "compressed");
  quantization.set("config_groups", std::move(list));
  quantization.set("ignore", plain_modules(outputs));
  quantization.set("version", std::string(kVersion));
  config.set("quantization_config", std::move(quantization));
}

}  // namespace ingot::convert::scaled

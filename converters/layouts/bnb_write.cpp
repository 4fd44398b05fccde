#include "converters/layouts/bnb_write.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "converters/layouts/bnb_read.h"
#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"
#include "format/base/checked_math.h"
#include "format/tensor/json_fields.h"
#include "format/tensor/tables.h"

namespace ingot::convert::bnb {
namespace {

using tensor::CodeKind;
using tensor::DType;
using tensor::Scheme;
using tensor::Tensor;

constexpr std::string_view kWeight = ".weight";
constexpr std::array<std::string_view, 2> kTables = {"nf4", "fp4"};
constexpr std::uint32_t kLeastBlock = 32, kGreatestBlock = 4096, kUsualBlock = 64, kNestedBlock = 256;
constexpr std::string_view kRows = "int8";

std::string module_of(const std::string& file_name) { return file_name.substr(0, file_name.size() - kWeight.size()); }

bool is_table(const Scheme& scheme) { return scheme.codes.kind == CodeKind::table; }

/// bitsandbytes quantizes linear layers only.
bool is_eligible(const Tensor& source, const std::string& file_name) {
  if (!file_name.ends_with(kWeight) || source.shape.size() != 2 || source.elements() == 0) return false;
  const std::string module = module_of(file_name);
  return !module.ends_with("embed_tokens") && !module.ends_with("wte") && !module.ends_with("wpe");
}

/// One model is in 4 bits or in 8, not in both: as the word says, else as the first kind that the model has, else nf4.
std::string base_for(const SchemeWord& word, const tensor::Model& model) {
  if (!word.base.empty()) return word.base;
  const auto any = [&](auto condition) {
    return std::any_of(model.tensors.begin(), model.tensors.end(),
                       [&](const Tensor& tensor) { return condition(tensor.scheme); });
  };
  if (any(is_table)) return std::string(kTables[0]);
  const bool bytes = any([](const Scheme& scheme) {
    return scheme.codes.type == DType::i8 && !scheme.scales.empty() && scheme.scales[0].block.cols == 0;
  });
  return std::string(bytes ? kRows : kTables[0]);
}

/// Elements that share a scale, and scales that share one (0: none do); block 0: not in one of our forms.
struct Blocks {
  std::uint32_t size = 0, nested = 0;
};
Blocks blocks_of(const Tensor& tensor) {
  const Scheme& scheme = tensor.scheme;
  Blocks blocks;
  if (scheme.scales.empty()) return blocks;
  blocks.size = scheme.flat != 0 ? scheme.flat : scheme.scales[0].block.cols;
  if (scheme.scales.size() != 2 || !scheme.scales[0].custom_table || blocks.size == 0) return blocks;
  const tensor::Block& outer = scheme.scales[1].block;
  const std::uint64_t row_blocks = scheme.flat != 0 ? 1 : tensor.shape[1] / blocks.size;
  const std::uint64_t nested = outer.cols == 0 ? outer.rows * row_blocks : outer.cols / blocks.size;
  blocks.nested = nested < (1u << 24) ? static_cast<std::uint32_t>(nested) : 0;
  return blocks;
}

bool is_block_size(std::uint32_t size) {
  return size >= kLeastBlock && size <= kGreatestBlock && (size & (size - 1)) == 0;
}

std::vector<StoredForm> forms_for(const Tensor& source, const SchemeWord& word, const std::string& base) {
  std::vector<StoredForm> forms;
  if ((base == kRows) == is_table(source.scheme)) return forms;
  if (base == kRows) {
    if (source.scheme.codes.type == DType::i8 && !source.scheme.scales.empty()) forms.push_back({row_scheme(), {}});
    return forms;
  }
  const Blocks blocks = blocks_of(source);
  if (!is_block_size(blocks.size) || (word.group != 0 && word.group != blocks.size)) return forms;
  for (const std::string_view table : kTables) {
    const std::string name(table);
    if (!word.base.empty() && word.base != table) continue;
    if (source.scheme.codes.table != table && source.scheme.codes.table != tensor::kCustomTable) continue;
    if (blocks.nested != 0) forms.push_back({block_scheme(name, source.shape, blocks.size, blocks.nested), {}});
    if (!word.nested) forms.push_back({block_scheme(name, source.shape, blocks.size, 0), {}});
  }
  return forms;
}

std::string original_type(const tensor::Model& model) {
  const std::string& type = model.config.torch_dtype;
  return type == "float16" || type == "bfloat16" ? type : "float32";
}

/// The text of quant_state, as json.dumps spells it.
std::vector<std::byte> state_bytes(const Tensor& tensor, const Blocks& blocks, const std::string& type) {
  std::string text = "{\"quant_type\": \"" + tensor.scheme.codes.table +
                     "\", \"blocksize\": " + std::to_string(blocks.size) + ", \"dtype\": \"" + type +
                     "\", \"shape\": [" + std::to_string(tensor.shape[0]) + ", " + std::to_string(tensor.shape[1]) +
                     "]";
  if (blocks.nested != 0) {
    float offset = 0;
    std::memcpy(&offset, tensor.planes->whole(tensor.plane_specs().size() - 1).data(), sizeof offset);
    text += ", \"nested_blocksize\": " + std::to_string(blocks.nested) + ", \"nested_dtype\": \"float32\"" +
            ", \"nested_offset\": " + tensor::shortest_decimal(double{offset});
  }
  text += "}";
  const Bytes bytes = as_bytes_view(text);
  return {bytes.begin(), bytes.end()};
}

void add_block_items(CodedPlan& plan, const std::string& file_name, const tensor::Model& model) {
  const Tensor& tensor = plan.tensor;
  const Blocks blocks = blocks_of(tensor);
  const std::uint64_t count = ceil_div(tensor.elements(), blocks.size);
  plan.items.push_back({file_name, DType::u8, {ceil_div(tensor.elements(), 2), 1}, "codes"});
  plan.items.push_back({file_name + ".absmax", tensor.scheme.scales[0].type, {count}, "scales_0"});
  plan.items.push_back({file_name + ".quant_map", DType::f32, {16}, "map." + tensor.scheme.codes.table});
  if (blocks.nested != 0) {
    plan.items.push_back({file_name + ".nested_absmax", DType::f32, {ceil_div(count, blocks.nested)}, "scales_1"});
    plan.items.push_back({file_name + ".nested_quant_map", DType::f32, {256}, "scale_table"});
  }
  std::vector<std::byte> state = state_bytes(tensor, blocks, original_type(model));
  plan.items.push_back(
      {file_name + ".quant_state.bitsandbytes__" + tensor.scheme.codes.table, DType::u8, {state.size()}, "", state});
  plan.scheme = "bnb " + tensor.scheme.codes.table + " blocks of " + std::to_string(blocks.size) +
                (blocks.nested != 0 ? ", double quantization" : "");
}

void add_row_items(CodedPlan& plan, const std::string& file_name) {
  const std::string module = module_of(file_name);
  plan.items.push_back({file_name, DType::i8, plan.tensor.shape, "codes"});
  plan.items.push_back({module + ".SCB", DType::f32, {plan.tensor.shape[0]}, "scales_0"});
  plan.items.push_back({module + ".weight_format", DType::u8, {}, "", {std::byte{0}}});
  plan.scheme = "bnb int8 by row";
}

/// Modules that the loader must leave as they are: what is not coded, and heads that share another tensor's values.
JsonArray skipped_modules(const tensor::Model& model, const std::vector<CodedOutput>& outputs) {
  JsonArray skipped;
  for (const CodedOutput& output : outputs) {
    const Tensor* tensor = output.source;
    if (output.plan == nullptr && tensor != nullptr && tensor->shape.size() == 2 && output.file_name.ends_with(kWeight))
      skipped.emplace_back(module_of(output.file_name));
  }
  for (const auto& [alias, target] : model.aliases)
    if (alias.ends_with(kWeight)) skipped.emplace_back(module_of(alias));
  return skipped;
}

}  // namespace

const std::vector<std::string_view>& schemes() noexcept {
  static const std::vector<std::string_view> words = {"nf4", "fp4", "int8"};
  return words;
}

CodedPlan plan(const Tensor& source, const std::string& file_name, const tensor::Model& model,
               const WriteOptions& options) {
  CodedPlan plan;
  if (is_float_word(options.scheme) || !is_eligible(source, file_name)) return plan;
  const SchemeWord word = scheme_word(options, schemes(), "bnb");
  const std::uint32_t block = word.group != 0 ? word.group : kUsualBlock;
  if (!is_block_size(block)) {
    throw OptionError("--scheme " + options.scheme + ": bnb has blocks of 32 to 4096 elements, a power of two");
  }
  const std::string base = base_for(word, model);
  Forms forms{.kept = forms_for(source, word, base)};
  if (may_round(source, file_name, model, options, word.named, {.conv1d = true})) {
    const std::uint32_t nested = word.nested ? kNestedBlock : 0;
    forms.rounded = StoredForm{base == kRows ? row_scheme() : block_scheme(base, source.shape, block, nested), {}};
  }
  if (forms.kept.empty() && !forms.rounded) return plan;
  Recoded recoded = keep_or_round(source, forms, word.named, options);
  plan.reason = std::move(recoded.reason);
  if (!is_planned(recoded, word.named, options)) return plan;
  plan.proof = recoded.proof;
  plan.tensor = std::move(recoded.tensor);
  is_table(plan.tensor.scheme) ? add_block_items(plan, file_name, model) : add_row_items(plan, file_name);
  return plan;
}

void configure(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions&, Json& config,
               std::map<std::string, std::string>&) {
  const CodedPlan* first = nullptr;
  for (const CodedOutput& output : outputs)
    if (first == nullptr) first = output.plan;
  if (first == nullptr) return;
  const Scheme& scheme = first->tensor.scheme;
  const bool four_bit = is_table(scheme);
  Json settings{JsonObject{}};
  settings.set("quant_method", "bitsandbytes");
  settings.set("_load_in_4bit", four_bit);
  settings.set("_load_in_8bit", !four_bit);
  settings.set("load_in_4bit", four_bit);
  settings.set("load_in_8bit", !four_bit);
  settings.set("bnb_4bit_quant_type", four_bit ? scheme.codes.table : "fp4");
  settings.set("bnb_4bit_use_double_quant", four_bit && scheme.scales.size() == 2);
  settings.set("bnb_4bit_compute_dtype", original_type(model));
  settings.set("bnb_4bit_quant_storage", "uint8");
  settings.set("llm_int8_threshold", 6.0);
  settings.set("llm_int8_has_fp16_weight", false);
  settings.set("llm_int8_enable_fp32_cpu_offload", false);
  settings.set("llm_int8_skip_modules", Json(skipped_modules(model, outputs)));
  config.set("quantization_config", std::move(settings));
}

}  // namespace ingot::convert::bnb

#include "converters/layouts/linear_modules.h"

#include <algorithm>
#include <cctype>
#include <limits>

#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;

bool is_matrix(const Stored* stored) { return stored != nullptr && stored->shape().size() == 2; }
bool is_word(DType type) {
  return type == DType::i8 || type == DType::u8 || type == DType::i16 || type == DType::i32 || type == DType::i64;
}
bool is_scale(const Stored* stored) {
  return is_matrix(stored) &&
         (stored->type() == DType::f16 || stored->type() == DType::bf16 || stored->type() == DType::f32);
}

std::string lower(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  return word;
}

std::string word_of(const Json* config, std::string_view key) {
  const Json* found = config != nullptr ? config->find(key) : nullptr;
  return found != nullptr && found->is_string() ? lower(found->as_string(key)) : std::string();
}

/// What the config says; none where it says neither.
LinearFamily announced_family(const HfCheckpoint& checkpoint) {
  const Json* config = checkpoint.quantization();
  const std::string method = checkpoint.quant_method(), packing = word_of(config, "packing_format");
  for (const std::string_view key : {"checkpoint_format", "format"})
    if (word_of(config, key).starts_with("gem") || word_of(config, key) == "llm-awq") return LinearFamily::awq;
  if (method == "awq" || packing.find("awq") != std::string::npos) return LinearFamily::awq;
  if (method == "gptq" || method == "auto-round" || method == "marlin" || method == "bitblas" ||
      packing.find("gptq") != std::string::npos)
    return LinearFamily::gptq;
  if (method.empty() && !word_of(config, "version").empty()) return LinearFamily::awq;  // quant_config.json of AutoAWQ
  const Json* format = config != nullptr ? config->find("checkpoint_format") : nullptr;
  return method.empty() && (format != nullptr || (config != nullptr && config->find("desc_act") != nullptr))
             ? LinearFamily::gptq
             : LinearFamily::none;
}

bool fits_gemm(const LinearModule& module) {
  const auto &codes = module.codes->shape(), &scales = module.scales->shape();
  return module.codes->type() == DType::i32 && codes[1] == ceil_div(scales[1], 8) && scales[1] % 8 == 0 &&
         (module.zeros == nullptr || (is_matrix(module.zeros) && module.zeros->type() == DType::i32 &&
                                      module.zeros->shape() == tensor::Shape{scales[0], codes[1]}));
}
bool fits_gemv(const LinearModule& module) {
  const auto &codes = module.codes->shape(), &scales = module.scales->shape();
  return module.codes->type() == DType::i32 && codes[0] == scales[0] && is_matrix(module.zeros) &&
         module.zeros->type() == DType::i32 && module.zeros->shape()[0] == codes[0] &&
         module.zeros->shape()[1] == ceil_div(scales[1], 8) && scales[1] % 8 == 0;
}
bool fits_fast(const LinearModule& module) {
  const Stored* zeros = module.zeros != nullptr ? module.zeros : module.scaled_zeros;
  const auto &codes = module.codes->shape(), &scales = module.scales->shape();
  return module.codes->type() == DType::i16 && is_scale(zeros) && zeros->shape() == scales &&
         scales[1] / 4 == codes[0] && scales[1] % 4 == 0;
}
bool fits_awq_marlin(const LinearModule& module) {
  const auto &codes = module.codes->shape(), &scales = module.scales->shape();
  return module.codes->type() == DType::i32 && module.zeros == nullptr && codes[1] / 2 == scales[1] &&
         codes[1] % 2 == 0;
}

}  // namespace

std::vector<LinearModule> linear_modules(const HfCheckpoint& checkpoint) {
  std::vector<LinearModule> modules;
  for (const Stored& stored : checkpoint.tensors()) {
    const std::string& name = stored.name();
    LinearModule module;
    module.codes = &stored;
    if (name.ends_with(".qweight")) {
      module.name = name.substr(0, name.size() - std::string_view(".qweight").size());
      module.scales = checkpoint.find(module.name + ".scales");
      module.zeros = checkpoint.find(module.name + ".qzeros");
      module.scaled_zeros = checkpoint.find(module.name + ".scaled_zeros");
      module.group_index = checkpoint.find(module.name + ".g_idx");
    } else if (name.ends_with(".B") && checkpoint.find(name.substr(0, name.size() - 1) + "s") != nullptr) {
      module.name = name.substr(0, name.size() - std::string_view(".B").size());
      module.scales = checkpoint.find(module.name + ".s");
      module.marlin_names = true;
    } else {
      continue;
    }
    modules.push_back(std::move(module));
  }
  return modules;
}

bool fits_gptq(const LinearModule& module) {
  if (!is_matrix(module.codes) || !is_scale(module.scales) || !is_word(module.codes->type())) return false;
  const auto &codes = module.codes->shape(), &scales = module.scales->shape();
  if (module.marlin_names) return codes[1] / 2 == scales[1] && codes[1] % 2 == 0;
  return codes[1] == scales[1] && is_matrix(module.zeros) && module.zeros->type() == module.codes->type() &&
         module.zeros->shape()[0] == scales[0];
}

AwqForm awq_form(const LinearModule& module, std::string_view version) {
  if (module.marlin_names || !is_matrix(module.codes) || !is_scale(module.scales)) return AwqForm::none;
  const bool gemm = fits_gemm(module), gemv = fits_gemv(module);
  if (gemm && gemv) return version == "gemv" ? AwqForm::gemv : AwqForm::gemm;
  if (gemm) return AwqForm::gemm;
  if (gemv) return AwqForm::gemv;
  if (fits_fast(module)) return AwqForm::fast;
  return fits_awq_marlin(module) ? AwqForm::marlin : AwqForm::none;
}

LinearFamily linear_family(const HfCheckpoint& checkpoint) {
  const std::vector<LinearModule> modules = linear_modules(checkpoint);
  const LinearFamily announced = announced_family(checkpoint);
  if (modules.empty()) {
    const bool sparse = std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                                    [](const Stored& stored) { return stored.name().ends_with(".B_24"); });
    return sparse ? LinearFamily::gptq : LinearFamily::none;
  }
  bool gptq = true, awq = true, indexed = false, float_zeros = false;
  for (const LinearModule& module : modules) {
    gptq &= fits_gptq(module);
    awq &= awq_form(module, {}) != AwqForm::none;
    indexed |= module.group_index != nullptr || module.marlin_names;
    float_zeros |= module.zeros == nullptr && checkpoint.find(module.name + ".zeros") != nullptr;
  }
  if (gptq != awq) return gptq ? LinearFamily::gptq : LinearFamily::awq;
  if (announced == LinearFamily::none && float_zeros) return LinearFamily::gptq;  // whose reader says what they are
  if (announced != LinearFamily::none || !gptq) return announced;
  return indexed ? LinearFamily::gptq : LinearFamily::awq;
}

std::uint32_t group_block(std::uint64_t inputs, std::uint64_t groups, std::uint64_t group_size) {
  if (groups == 1 && group_size != inputs) return 0;
  if (group_size > std::numeric_limits<std::uint32_t>::max())
    throw Error(ErrorKind::limit_exceeded, "group size " + std::to_string(group_size) + ", limit 2^32 - 1");
  return static_cast<std::uint32_t>(group_size);
}

void FindingList::add(const std::string& sentence, const std::string& module) {
  const auto [place, added] = index_.emplace(sentence, rows_.size());
  if (added) {
    rows_.push_back({sentence, module, 1});
  } else {
    ++rows_[place->second].count;
  }
}

std::vector<std::string> FindingList::sentences() const {
  std::vector<std::string> texts;
  for (const Row& row : rows_) {
    std::string text = row.sentence;
    if (!row.first.empty()) {
      text += " (" + row.first;
      if (row.count > 1) text += " and " + std::to_string(row.count - 1) + " more";
      text += ")";
    }
    texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace ingot::convert

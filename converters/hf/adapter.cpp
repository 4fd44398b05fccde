#include "converters/hf/adapter.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "format/base/json.h"

namespace ingot::convert {
namespace {

constexpr std::string_view kConfig = "adapter_config.json";
constexpr std::string_view kWeights = "adapter_model";
constexpr std::string_view kWrapper = "base_model.model.";

enum class FactType : std::uint8_t { number, flag, text, any };
struct Fact {
  std::string_view key, metadata;
  FactType type;
};
constexpr std::array<Fact, 14> kFacts = {{
    {"r", "adapter.rank", FactType::number},
    {"lora_alpha", "adapter.alpha", FactType::number},
    {"rank_pattern", "adapter.rank_pattern", FactType::any},
    {"alpha_pattern", "adapter.alpha_pattern", FactType::any},
    {"use_rslora", "adapter.rank_stabilized", FactType::flag},
    {"use_dora", "adapter.dora", FactType::flag},
    {"fan_in_fan_out", "adapter.fan_in_fan_out", FactType::flag},
    {"bias", "adapter.bias", FactType::text},
    {"target_modules", "adapter.target_modules", FactType::any},
    {"exclude_modules", "adapter.exclude_modules", FactType::any},
    {"layers_to_transform", "adapter.layers", FactType::any},
    {"modules_to_save", "adapter.whole_modules", FactType::any},
    {"base_model_name_or_path", "adapter.base_model", FactType::text},
    {"task_type", "adapter.task", FactType::text},
}};

struct Ending {
  std::string_view file, neutral;
};
constexpr std::array<Ending, 8> kEndings = {{
    {".lora_A.weight", ".lora_a"},
    {".lora_B.weight", ".lora_b"},
    {".lora_A.bias", ".lora_a_bias"},
    {".lora_B.bias", ".lora_b_bias"},
    {".lora_embedding_A", ".lora_embedding_a"},
    {".lora_embedding_B", ".lora_embedding_b"},
    {".lora_magnitude_vector", ".lora_magnitude"},
    {".lora_magnitude_vector.weight", ".lora_magnitude"},
}};

bool says_nothing(const Json& value) {
  return value.is_null() || (value.is_object() && value.as_object("").empty()) ||
         (value.is_array() && value.as_array("").empty());
}

void check_type(const Json& value, const Fact& fact, const std::string& place) {
  const bool fits = fact.type == FactType::any || (fact.type == FactType::number && value.is_number()) ||
                    (fact.type == FactType::flag && value.is_bool()) ||
                    (fact.type == FactType::text && value.is_string());
  if (!fits) throw Error(ErrorKind::invalid_value, place + ": '" + std::string(fact.key) + "' has the wrong type");
}

}  // namespace

bool read_adapter_facts(tensor::Model& model, std::string_view weights, std::string_view where) {
  if (!weights.starts_with(kWeights)) return false;
  const tensor::Attachment* attachment = model.find_attachment("hf/" + std::string(kConfig));
  if (attachment == nullptr) return false;
  const std::string place = std::string(where) + "/" + std::string(kConfig);
  const Json config = parse_json(as_text(attachment->bytes), place);
  const Json* type = config.is_object() ? config.find("peft_type") : nullptr;
  if (type == nullptr || !type->is_string()) return false;
  std::string word = type->as_string(place);
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  model.metadata["adapter.type"] = word;
  for (const Fact& fact : kFacts) {
    const Json* value = config.find(fact.key);
    if (value == nullptr || says_nothing(*value)) continue;
    check_type(*value, fact, place);
    model.metadata[std::string(fact.metadata)] = value->is_string() ? value->as_string(place) : canonical_json(*value);
  }
  return true;
}

std::string neutral_adapter_name(std::string_view file_name) {
  if (file_name.starts_with(kWrapper)) file_name.remove_prefix(kWrapper.size());
  for (const Ending& ending : kEndings) {
    if (file_name.ends_with(ending.file))
      return std::string(file_name.substr(0, file_name.size() - ending.file.size())).append(ending.neutral);
  }
  return std::string(file_name);
}

}  // namespace ingot::convert

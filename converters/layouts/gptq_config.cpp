#include "converters/layouts/gptq_config.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace ingot::convert::gptq {
namespace {

constexpr std::size_t kMaxPatterns = 4096;  // each is tried on every module

const Json* first_of(const Json& json, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    const Json* found = json.find(key);
    if (found != nullptr && !found->is_null()) return found;
  }
  return nullptr;
}

/// Fills what `json` mentions; true where it mentions sym.
bool read_module(const Json& json, const std::string& where, ModuleConfig& module) {
  if (const Json* bits = first_of(json, {"bits", "w_bit", "wbits"})) module.bits = bits->as_u64(where + ": bits");
  if (const Json* size = first_of(json, {"group_size", "q_group_size"}))
    module.group_size = size->as_i64(where + ": group_size");
  const Json* sym = first_of(json, {"sym"});
  if (sym != nullptr) module.sym = module.says_sym = sym->as_bool(where + ": sym");
  return sym != nullptr;
}

/// "gptqmodel:5.6.0" with a version of at least 0.9.
bool is_gptqmodel_0_9(const Json& quantizer) {
  if (!quantizer.is_string()) return false;
  const std::string& word = quantizer.as_string("quantizer");
  constexpr std::string_view kName = "gptqmodel:";
  if (!word.starts_with(kName)) return false;
  unsigned major = 0, minor = 0;
  const char* const end = word.data() + word.size();
  const auto [dot, status] = std::from_chars(word.data() + kName.size(), end, major);
  if (status != std::errc() || dot == end || *dot != '.') return major > 0;
  std::from_chars(dot + 1, end, minor);
  return major > 0 || minor >= 9;
}

/// The module that "^model\\.layers\\.0\\.mlp\\.up_proj$" is for; nothing for a pattern that may match others.
std::optional<std::string> only_module_of(const std::string& pattern) {
  if (!pattern.ends_with('$')) return std::nullopt;
  std::string module;
  for (std::size_t i = pattern.starts_with('^'); i + 1 < pattern.size(); ++i) {
    const bool is_quoted = pattern[i] == '\\' && (pattern[i + 1] == '.' || pattern[i + 1] == '-');
    const char c = pattern[i += is_quoted];
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
    if (!is_quoted && !is_plain) return std::nullopt;
    module += c;
  }
  return module;
}

std::string text_of(const Json* json, const std::string& where) {
  std::string word = json != nullptr ? json->as_string(where) : std::string();
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  return word;
}

}  // namespace

Config::Config(const Json* json, const std::string& where) {
  if (json == nullptr) return;
  present_ = true;
  read_module(*json, where, defaults_);
  read_format(*json, where);
  read_rules(*json, where);
  read_exceptions(*json, where);
}

void Config::read_format(const Json& json, const std::string& where) {
  if (const Json* rotation = first_of(json, {"rotation"}); rotation != nullptr && rotation->is_string()) {
    throw Error(ErrorKind::unsupported,
                where + ": rotation \"" + rotation->as_string(where) + "\": the weights live in a rotated basis");
  }
  if (const Json* act_order = first_of(json, {"desc_act"}))
    denies_act_order_ = !act_order->as_bool(where + ": desc_act");
  label_word_ = text_of(first_of(json, {"checkpoint_format", "format"}), where + ": checkpoint_format");
  if (label_word_.empty()) read_packing(json, where);
  if (label_word_ == "bitblas" || label_word_ == "marlin_24" || label_word_ == "marlin-24") {
    throw Error(ErrorKind::unsupported,
                where + ": checkpoint_format " + label_word_ + " depends on the machine it was made for");
  }
  if (label_word_ == "gptq_v2") label_ = ZeroLabel::v2;
  if (label_word_ == "gptq_p") label_ = ZeroLabel::planar;
  const Json* packed = first_of(json, {"pack_dtype"});
  const std::string word_type = packed != nullptr && packed->is_string() ? text_of(packed, where) : std::string();
  for (const unsigned bits : {8u, 16u, 32u, 64u})
    if (word_type.ends_with("int" + std::to_string(bits))) word_bits_ = bits;
  const Json* meta = first_of(json, {"meta"});
  const Json* quantizer = meta != nullptr ? meta->find("quantizer") : nullptr;
  if (quantizer == nullptr) return;
  if (quantizer->is_array()) {
    const JsonArray& words = quantizer->as_array(where);
    subtracts_words_ = std::any_of(words.begin(), words.end(), is_gptqmodel_0_9);
  } else {
    subtracts_words_ = is_gptqmodel_0_9(*quantizer);
  }
}

/// AutoRound names no checkpoint_format: it stores zero points as they are under its own name and for gptqmodel, less
/// one for "auto_round:auto_gptq".
void Config::read_packing(const Json& json, const std::string& where) {
  label_word_ = "gptq";
  const Json* packing = first_of(json, {"packing_format"});
  const std::string word = packing != nullptr && packing->is_string() ? text_of(packing, where) : std::string();
  if (word != "auto_round" && word != "auto_round:gptqmodel") return;
  label_ = ZeroLabel::v2;
  label_word_ = word;
}

/// AutoRound's exceptions, by the modules' names.
void Config::read_exceptions(const Json& json, const std::string& where) {
  const Json* extra = first_of(json, {"extra_config"});
  if (extra == nullptr || !extra->is_object()) return;
  for (const auto& [module, changes] : extra->as_object(where)) {
    if (!changes.is_object()) continue;
    ModuleConfig own = defaults_;
    read_module(changes, where + ": extra_config \"" + module + "\"", own);
    exceptions_.insert_or_assign(module, own);
  }
}

void Config::read_rules(const Json& json, const std::string& where) {
  const Json* dynamic = first_of(json, {"dynamic"});
  if (dynamic == nullptr || !dynamic->is_object()) return;
  const JsonObject& rows = dynamic->as_object(where);
  std::size_t patterns = 0;
  for (const auto& [key, changes] : rows) {
    const bool prefixed = key.starts_with("+:") || key.starts_with("-:");
    const std::string pattern = prefixed ? key.substr(2) : key;
    try {
      Rule rule{std::nullopt, key.starts_with("-:"), {}, false};
      if (const std::optional<std::string> module = only_module_of(pattern)) {
        by_name_.emplace(*module, rules_.size());
      } else {
        if (++patterns > kMaxPatterns) {
          throw Error(ErrorKind::limit_exceeded, where + ": dynamic has more than " + std::to_string(kMaxPatterns) +
                                                     " patterns that match several modules each");
        }
        rule.pattern.emplace(pattern);
      }
      if (changes.is_object())
        rule.changes_sym = read_module(changes, where + ": dynamic \"" + key + "\"", rule.changes);
      rules_.push_back(std::move(rule));
    } catch (const PatternError&) {
      odd_patterns_.push_back(key);
    }
  }
}

const Config::Rule* Config::rule_of(const std::string& module) const {
  const auto named = by_name_.find(module);
  const std::size_t end = named != by_name_.end() ? named->second : rules_.size();
  for (std::size_t i = 0; i < end; ++i)
    if (rules_[i].pattern && rules_[i].pattern->begins(module)) return &rules_[i];
  return end < rules_.size() ? &rules_[end] : nullptr;
}

ModuleConfig Config::of(const std::string& module) const {
  if (const auto own = exceptions_.find(module); own != exceptions_.end()) return own->second;
  ModuleConfig result = defaults_;
  const Rule* rule = rule_of(module);
  if (rule == nullptr || rule->excludes) return result;
  if (rule->changes.bits) result.bits = rule->changes.bits;
  if (rule->changes.group_size) result.group_size = rule->changes.group_size;
  if (rule->changes_sym) {
    result.sym = rule->changes.sym;
    result.says_sym = rule->changes.says_sym;
  }
  return result;
}

}  // namespace ingot::convert::gptq

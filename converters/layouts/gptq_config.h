// The words of GPTQ's quantization config that decide how bytes are read. Sizes are taken from the tensors.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "converters/name_pattern.h"
#include "format/base/json.h"

namespace ingot::convert::gptq {

enum class ZeroLabel : std::uint8_t { v1, v2, planar };

/// What the config says about one module.
struct ModuleConfig {
  std::optional<std::uint64_t> bits;
  std::optional<std::int64_t> group_size;  // -1: one group
  bool sym = true, says_sym = false;       // says_sym: the config itself says that it is symmetric
};

class Config {
 public:
  /// `json` may be null: defaults. Throws invalid_value for values of a wrong type, unsupported for formats that cannot
  /// be read (bitblas, marlin_24, rotated weights).
  Config(const Json* json, const std::string& where);

  [[nodiscard]] bool is_present() const noexcept { return present_; }
  [[nodiscard]] ModuleConfig of(const std::string& module) const;
  [[nodiscard]] ZeroLabel label() const noexcept { return label_; }
  [[nodiscard]] const std::string& label_word() const noexcept { return label_word_; }
  /// Written by a program that takes 1 from whole words of zero points.
  [[nodiscard]] bool subtracts_words() const noexcept { return subtracts_words_; }
  [[nodiscard]] bool denies_act_order() const noexcept { return denies_act_order_; }
  /// Width of the words by pack_dtype ("int32", "torch.int32"); 0: it says none.
  [[nodiscard]] unsigned word_bits() const noexcept { return word_bits_; }
  /// Patterns of `dynamic` that are no regular expressions to us.
  [[nodiscard]] const std::vector<std::string>& odd_patterns() const noexcept { return odd_patterns_; }

 private:
  struct Rule {
    std::optional<NamePattern> pattern;  // nothing: for the module that by_name_ says
    bool excludes;
    ModuleConfig changes;
    bool changes_sym;
  };
  [[nodiscard]] const Rule* rule_of(const std::string& module) const;
  void read_format(const Json& json, const std::string& where);
  void read_packing(const Json& json, const std::string& where);
  void read_rules(const Json& json, const std::string& where);
  void read_exceptions(const Json& json, const std::string& where);

  ModuleConfig defaults_;
  ZeroLabel label_ = ZeroLabel::v1;
  std::string label_word_ = "gptq";
  bool present_ = false, subtracts_words_ = false, denies_act_order_ = false;
  unsigned word_bits_ = 0;
  std::vector<Rule> rules_;                     // the first that matches counts
  std::map<std::string, std::size_t> by_name_;  // of the rules for one module: all that lists of modules have
  std::map<std::string, ModuleConfig> exceptions_;
  std::vector<std::string> odd_patterns_;
};

}  // namespace ingot::convert::gptq

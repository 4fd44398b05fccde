// The pre-tokenizer regexes in use: neutral name, text, and the GGUF names that mean the same splitting in llama.cpp.
#include <array>

#include "converters/hf/tokenizer.h"

namespace ingot::convert {
namespace {

using tensor::PreTokenizer;
using tensor::TokenizerSpec;

// The first spelling of a name is the one that is written.
constexpr std::array<RegexFamily, 9> kFamilies = {{
    {"gpt2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {"gpt2", R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {"llama3",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"llama3",
     R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"},
    {"llama3",
     R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"qwen35",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"tekken",
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
     R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"gpt4o",
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
     R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
}};

struct GgufName {
  std::string_view gguf_pre;
  std::string_view family;
  bool digits_first;  // every digit is isolated before the regex
  bool ignore_merges;
};

// For each (family, digits_first, ignore_merges) the first row is the one that is written.
constexpr std::array<GgufName, 31> kGgufNames = {{
    {"llama-bpe", "llama3", false, true},
    {"llama3", "llama3", false, true},
    {"llama-v3", "llama3", false, true},
    {"falcon3", "llama3", false, true},
    {"falcon-h1", "llama3", false, true},
    {"pixtral", "llama3", false, true},
    {"lfm2", "llama3", false, true},
    {"dbrx", "llama3", false, false},
    {"smaug-bpe", "llama3", false, false},
    {"chatglm-bpe", "llama3", false, false},
    {"glm4", "llama3", false, false},
    {"qwen2", "qwen2", false, false},
    {"deepseek-r1-qwen", "qwen2", false, false},
    {"megrez", "qwen2", false, false},
    {"stablelm2", "qwen2", false, false},
    {"hunyuan", "qwen2", false, false},
    {"qwen35", "qwen35", false, false},
    {"gpt-2", "gpt2", false, false},
    {"phi-2", "gpt2", false, false},
    {"mpt", "gpt2", false, false},
    {"olmo", "gpt2", false, false},
    {"jais", "gpt2", false, false},
    {"exaone4", "gpt2", false, false},
    {"smollm", "gpt2", true, false},
    {"starcoder", "gpt2", true, false},
    {"refact", "gpt2", true, false},
    {"command-r", "gpt2", true, false},
    {"codeshell", "gpt2", true, false},
    {"tekken", "tekken", false, true},
    {"gpt-4o", "gpt4o", false, false},
    {"llama4", "gpt4o", false, false},
}};

}  // namespace

const RegexFamily* find_regex_family(std::string_view pattern) noexcept {
  for (const RegexFamily& row : kFamilies)
    if (row.pattern == pattern) return &row;
  return nullptr;
}

const RegexFamily* find_regex_family_by_name(std::string_view name) noexcept {
  for (const RegexFamily& row : kFamilies)
    if (row.name == name) return &row;
  return nullptr;
}

std::string gguf_pre_of(const TokenizerSpec& spec) {
  if (spec.kind != tensor::TokenizerKind::byte_bpe) return "";
  std::string_view family;
  bool digits_first = false;
  for (const PreTokenizer& step : spec.pre_tokenizers) {
    if (step.kind == "bytes_only") continue;
    if (step.kind == "digits" && step.individual_digits && family.empty()) {
      digits_first = true;
    } else if (step.kind == "regex" && family.empty()) {
      family = step.pattern;
    } else {
      return "";
    }
  }
  for (const GgufName& row : kGgufNames) {
    if (row.family == family && row.digits_first == digits_first && row.ignore_merges == spec.ignore_merges)
      return std::string(row.gguf_pre);
  }
  // Merges may be ignored or not: words that are tokens come out of merging too in almost every vocabulary.
  for (const GgufName& row : kGgufNames) {
    if (row.family == family && row.digits_first == digits_first) return std::string(row.gguf_pre);
  }
  return "";
}

std::vector<PreTokenizer> steps_of_gguf_pre(std::string_view gguf_pre) {
  std::vector<PreTokenizer> steps;
  for (const GgufName& row : kGgufNames) {
    if (row.gguf_pre != gguf_pre) continue;
    if (row.digits_first) {
      PreTokenizer digits;
      digits.kind = "digits";
      digits.individual_digits = true;
      steps.push_back(std::move(digits));
    }
    PreTokenizer regex;
    regex.kind = "regex";
    regex.pattern = row.family;
    regex.source_pattern = find_regex_family_by_name(row.family)->pattern;
    steps.push_back(std::move(regex));
    return steps;
  }
  return steps;
}

}  // namespace ingot::convert

// Reading of the tokenizer keys, and the table of pre-tokenizer names.
#include "converters/gguf/tokenizer.h"

#include <algorithm>
#include <array>

#include "converters/gguf/pre_tokenizers.h"

namespace ingot::convert::gguf {
namespace {

using tensor::PreTokenizer;
using tensor::TokenizerKind;
using tensor::TokenizerSpec;
using tensor::TokenType;

constexpr auto kPreRows = std::to_array<PreTokenizerRow>({
    {"llama-bpe", "llama3", false, true},
    {"llama3", "llama3", false, true},
    {"llama-v3", "llama3", false, true},
    {"falcon3", "llama3", false, true},
    {"falcon-h1", "llama3", false, true},
    {"pixtral", "llama3", false, true},
    {"midm-2.0", "llama3", false, true},
    {"lfm2", "llama3", false, true},
    {"jina-v5-nano", "llama3", false, true},
    {"smaug-bpe", "llama3", false, false},
    {"dbrx", "llama3", false, false},
    {"chatglm-bpe", "llama3", false, false},
    {"glm4", "llama3", false, false},
    {"qwen2", "qwen2", false, false},
    {"deepseek-r1-qwen", "qwen2", false, false},
    {"kormo", "qwen2", false, false},
    {"f2llmv2", "qwen2", false, false},
    {"megrez", "qwen2", false, false},
    {"stablelm2", "qwen2", false, false},
    {"hunyuan", "qwen2", false, false},
    {"solar-open", "qwen2", false, false},
    {"qwen35", "qwen35", false, false},
    {"gpt-2", "gpt2", false, false},
    {"phi-2", "gpt2", false, false},
    {"mpt", "gpt2", false, false},
    {"olmo", "gpt2", false, false},
    {"jais", "gpt2", false, false},
    {"trillion", "gpt2", false, false},
    {"granite-docling", "gpt2", false, false},
    {"exaone4", "gpt2", false, false},
    {"smollm", "gpt2", true, false},
    {"starcoder", "gpt2", true, false},
    {"refact", "gpt2", true, false},
    {"command-r", "gpt2", true, false},
    {"codeshell", "gpt2", true, false},
    {"exaone", "gpt2", true, false},
    {"minerva-7b", "gpt2", true, false},
    {"mellum2", "gpt2", true, false},
    {"tekken", "tekken", false, true},
    {"gpt-4o", "gpt4o", false, false},
    {"llama4", "gpt4o", false, false},
    {"kanana2", "gpt4o", false, false},
});

/// Texts that end a reply in whatever vocabulary they are tokens of, of whatever type: as in llama.cpp.
constexpr auto kEndTexts = std::to_array<std::string_view>({"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",
                                                            "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<EOT>"});

class TokenizerReader {
 public:
  explicit TokenizerReader(const GgufFile& file) : file_(file) {}
  TokenizerSpec read(TokenizerKind kind);

 private:
  [[noreturn]] void reject(const KeyValue& entry, const std::string& why) const {
    throw Error(ErrorKind::invalid_value,
                file_.where + ": metadata key '" + std::string(entry.key) + "' " + why + " (at byte " +
                    std::to_string(entry.offset) + ")",
                entry.offset);
  }
  std::vector<std::string> strings(std::string_view key, std::uint64_t limit) const;
  std::vector<float> scores() const;
  std::vector<TokenType> types() const;
  std::optional<std::uint32_t> id(std::string_view key) const;
  void read_ids();
  void read_byte_bpe();
  void read_unigram();
  void read_added();
  void read_ends();

  const GgufFile& file_;
  TokenizerSpec spec_;
};

std::vector<std::string> TokenizerReader::strings(std::string_view key, std::uint64_t limit) const {
  std::vector<std::string> result;
  const KeyValue* entry = file_.find(key);
  if (entry == nullptr) return result;
  if (!entry->is_array_of(ValueType::string)) reject(*entry, "is no array of strings");
  if (entry->count > limit) {
    throw Error(ErrorKind::limit_exceeded,
                file_.where + ": metadata key '" + std::string(key) + "' has " + std::to_string(entry->count) +
                    " elements, at most " + std::to_string(limit),
                entry->offset);
  }
  result.reserve(entry->count);
  entry->for_each_string([&](std::string_view text) { result.emplace_back(text); });
  return result;
}

std::vector<float> TokenizerReader::scores() const {
  const KeyValue* entry = file_.find("tokenizer.ggml.scores");
  if (entry == nullptr) return {};
  if (!entry->is_array_of(ValueType::f32)) reject(*entry, "is no array of f32");
  if (entry->count < spec_.tokens.size())
    reject(*entry,
           "has " + std::to_string(entry->count) + " elements for " + std::to_string(spec_.tokens.size()) + " tokens");
  std::vector<float> result;
  for (std::size_t i = 0; i < spec_.tokens.size(); ++i) result.push_back(static_cast<float>(entry->element_number(i)));
  return result;
}

std::vector<TokenType> TokenizerReader::types() const {
  const KeyValue* entry = file_.find("tokenizer.ggml.token_type");
  if (entry == nullptr) return {};
  if (!entry->is_array_of(ValueType::i32) && !entry->is_array_of(ValueType::u32)) reject(*entry, "is no array of i32");
  if (entry->count < spec_.tokens.size())
    reject(*entry,
           "has " + std::to_string(entry->count) + " elements for " + std::to_string(spec_.tokens.size()) + " tokens");
  std::vector<TokenType> result;
  for (std::size_t i = 0; i < spec_.tokens.size(); ++i) {
    const double value = entry->element_number(i);
    result.push_back(value >= 1 && value <= 6 ? static_cast<TokenType>(value) : TokenType::normal);
  }
  return result;
}

/// An id outside the vocabulary is passed over, as llama.cpp does.
std::optional<std::uint32_t> TokenizerReader::id(std::string_view key) const {
  const auto value = file_.unsigned_integer("tokenizer.ggml." + std::string(key));
  if (!value || *value >= spec_.tokens.size()) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

void TokenizerReader::read_ids() {
  spec_.bos = id("bos_token_id");
  spec_.eos = id("eos_token_id");
  spec_.unknown = id("unknown_token_id");
  spec_.padding = id("padding_token_id");
  const bool sentencepiece = spec_.kind == TokenizerKind::spm_bpe;
  if (sentencepiece) {  // what readers assume where the keys are missing
    if (!spec_.unknown && !spec_.tokens.empty()) spec_.unknown = 0;
    if (!spec_.bos && spec_.tokens.size() > 1) spec_.bos = 1;
    if (!spec_.eos && spec_.tokens.size() > 2) spec_.eos = 2;
  }
  const bool unigram = spec_.kind == TokenizerKind::unigram;
  if (unigram && !spec_.eos && spec_.tokens.size() > 1) spec_.eos = 1;
  if (unigram && !spec_.unknown && spec_.tokens.size() > 2) spec_.unknown = 2;
  const PreTokenizerRow* pre = find_pre_tokenizer(spec_.gguf_pre);
  const bool bos_by_default = sentencepiece || (pre != nullptr && pre->ignore_merges);
  spec_.add_bos = file_.boolean("tokenizer.ggml.add_bos_token").value_or(bos_by_default);
  spec_.add_eos = file_.boolean("tokenizer.ggml.add_eos_token").value_or(unigram);
}

void TokenizerReader::read_byte_bpe() {
  spec_.merges = strings("tokenizer.ggml.merges", kMaxMerges);
  spec_.gguf_pre = std::string(file_.text("tokenizer.ggml.pre").value_or("default"));
  const PreTokenizerRow* row = find_pre_tokenizer(spec_.gguf_pre);
  if (row != nullptr && row->single_digits) {
    PreTokenizer digits;
    digits.kind = "digits";
    digits.individual_digits = true;
    spec_.pre_tokenizers.push_back(digits);
  }
  PreTokenizer regex;
  regex.kind = "regex";
  regex.pattern = row != nullptr ? std::string(row->pattern)
                                 : spec_.gguf_pre;  // an unknown family is named when the tokenizer is used
  spec_.pre_tokenizers.push_back(regex);
  spec_.ignore_merges = row != nullptr && row->ignore_merges;
}

/// A character map is named and not applied: texts are refused where the step would be needed.
void TokenizerReader::read_unigram() {
  spec_.scores = scores();
  spec_.fuse_unknown = true;
  const KeyValue* map = file_.find("tokenizer.ggml.precompiled_charsmap");
  if (map != nullptr && map->count > 0) spec_.normalizer.push_back({"precompiled", "", ""});
  if (file_.boolean("tokenizer.ggml.remove_extra_whitespaces").value_or(false))
    spec_.normalizer.push_back({"remove_extra_whitespaces", "", ""});
  PreTokenizer metaspace;
  metaspace.kind = "metaspace";
  spec_.add_space_prefix = file_.boolean("tokenizer.ggml.add_space_prefix").value_or(false);
  metaspace.prepend_scheme = spec_.add_space_prefix ? "always" : "never";
  spec_.strip_one_leading_space = spec_.add_space_prefix;
  spec_.pre_tokenizers.push_back(metaspace);
}

void TokenizerReader::read_added() {
  for (std::size_t i = 0; i < spec_.types.size(); ++i) {
    if (spec_.types[i] != TokenType::control && spec_.types[i] != TokenType::user_defined) continue;
    tensor::AddedToken token;
    token.id = static_cast<std::uint32_t>(i);
    token.text = spec_.tokens[i];
    token.special = spec_.types[i] == TokenType::control;
    if (!token.text.empty()) spec_.added.push_back(std::move(token));
  }
}

void TokenizerReader::read_ends() {
  const auto add = [&](std::optional<std::uint32_t> token) {
    if (token && std::find(spec_.end_of_generation.begin(), spec_.end_of_generation.end(), *token) ==
                     spec_.end_of_generation.end()) {
      spec_.end_of_generation.push_back(*token);
    }
  };
  add(spec_.eos);
  add(id("eot_token_id"));
  add(id("eom_token_id"));
  for (std::size_t i = 0; i < spec_.tokens.size(); ++i) {
    if (std::find(kEndTexts.begin(), kEndTexts.end(), spec_.tokens[i]) != kEndTexts.end())
      add(static_cast<std::uint32_t>(i));
  }
}

TokenizerSpec TokenizerReader::read(TokenizerKind kind) {
  spec_.kind = kind;
  spec_.tokens = strings("tokenizer.ggml.tokens", kMaxTokens);
  spec_.types = types();
  if (kind == TokenizerKind::byte_bpe) {
    read_byte_bpe();
  } else if (kind == TokenizerKind::unigram) {
    read_unigram();
  } else {
    spec_.scores = scores();
    spec_.byte_fallback = true;
    spec_.add_space_prefix = file_.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
    spec_.strip_one_leading_space = spec_.add_space_prefix;
  }
  read_ids();
  read_added();
  read_ends();
  spec_.chat_template = std::string(file_.text("tokenizer.chat_template").value_or(""));
  return std::move(spec_);
}

}  // namespace

const PreTokenizerRow* find_pre_tokenizer(std::string_view name) noexcept {
  for (const PreTokenizerRow& row : kPreRows)
    if (row.name == name) return &row;
  return nullptr;
}

const PreTokenizerRow* find_pre_tokenizer(std::string_view pattern, bool single_digits, bool ignore_merges) noexcept {
  for (const PreTokenizerRow& row : kPreRows)
    if (row.pattern == pattern && row.single_digits == single_digits && row.ignore_merges == ignore_merges) return &row;
  return nullptr;
}

std::optional<TokenizerSpec> read_tokenizer(const GgufFile& file) {
  const auto model = file.text("tokenizer.ggml.model");
  if (!model || file.find("tokenizer.ggml.tokens") == nullptr) return std::nullopt;
  if (*model == "llama") return TokenizerReader(file).read(TokenizerKind::spm_bpe);
  if (*model == "gpt2") return TokenizerReader(file).read(TokenizerKind::byte_bpe);
  if (*model == "t5") return TokenizerReader(file).read(TokenizerKind::unigram);
  return std::nullopt;
}

std::vector<std::string> unknown_special_tokens(const GgufFile& file, const TokenizerSpec& spec) {
  constexpr std::uint64_t kNone = 0xFFFFFFFF;
  std::vector<std::string> findings;
  for (const std::string_view key : {"bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id"}) {
    const std::string name = "tokenizer.ggml." + std::string(key);
    const auto value = file.unsigned_integer(name);
    if (!value || *value == kNone || *value < spec.tokens.size()) continue;
    findings.push_back("metadata key '" + name + "' is " + std::to_string(*value) + ", the vocabulary has " +
                       std::to_string(spec.tokens.size()) + " tokens: it is passed over");
  }
  return findings;
}

}  // namespace ingot::convert::gguf

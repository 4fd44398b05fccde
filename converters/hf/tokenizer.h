// Tokenizer files of a Hugging Face checkpoint <-> TokenizerSpec.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/json.h"
#include "format/tensor/tokenizer_spec.h"

namespace ingot::convert {

/// Bytes of a file of the checkpoint by name; empty optional when there is none.
using FileLookup = std::function<std::optional<Bytes>(std::string_view name)>;

struct HfTokenizerResult {
  std::optional<tensor::TokenizerSpec> spec;
  std::string note;                   // why there is none although files exist
  std::vector<std::string> findings;  // special tokens that it does not have
};

/// From tokenizer.json, else tokenizer.model, else vocab.json + merges.txt; with tokenizer_config.json,
/// special_tokens_map.json, config.json, generation_config.json and chat_template.jinja. Throws Error for malformed
/// files; a tokenizer of another kind (WordPiece, ...) gives a note.
[[nodiscard]] HfTokenizerResult read_hf_tokenizer(const FileLookup& files, std::string_view where);

/// The parts, for tests: the model and its steps from one file alone.
[[nodiscard]] tensor::TokenizerSpec read_tokenizer_json(const Json& json, std::string_view where);
[[nodiscard]] tensor::TokenizerSpec read_sentencepiece_model(Bytes bytes, std::string_view where);

/// One pre-tokenizer regex: the name that the neutral spec uses, the text in tokenizer.json, the names that GGUF gives
/// it.
struct RegexFamily {
  std::string_view name;     // "gpt2", "llama3", ...
  std::string_view pattern;  // as tokenizer.json spells it
};
/// The family of a pattern text (several spellings of one family are known); null when unknown.
[[nodiscard]] const RegexFamily* find_regex_family(std::string_view pattern) noexcept;
[[nodiscard]] const RegexFamily* find_regex_family_by_name(std::string_view name) noexcept;
/// tokenizer.ggml.pre that makes llama.cpp split as this spec does; empty when there is none.
[[nodiscard]] std::string gguf_pre_of(const tensor::TokenizerSpec& spec);
/// The reverse: pre-tokenizer steps for a GGUF name; empty when unknown.
[[nodiscard]] std::vector<tensor::PreTokenizer> steps_of_gguf_pre(std::string_view gguf_pre);

/// tokenizer.json and tokenizer_config.json that transformers loads. Throws unsupported for steps it cannot spell.
[[nodiscard]] Json write_tokenizer_json(const tensor::TokenizerSpec& spec);
[[nodiscard]] Json write_tokenizer_config(const tensor::TokenizerSpec& spec, std::uint64_t context_length);

}  // namespace ingot::convert

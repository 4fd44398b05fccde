// A tokenizer as data. Converters build it from tokenizer.json, tokenizer.model or GGUF keys; runtime/ executes it; the
// GGUF writer emits it. Implements spec/tokenizer.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/base/json.h"

namespace ingot::tensor {

enum class TokenizerKind : std::uint8_t {
  byte_bpe,  ///< byte-level BPE: ranks from merges, byte <-> unicode alphabet (GPT-2, Llama 3, Qwen)
  char_bpe,  ///< BPE over characters with ranked merges and byte fallback (tokenizer.json of SentencePiece models)
  spm_bpe,   ///< SentencePiece BPE by scores (GGUF "llama", tokenizer.model)
  unigram,   ///< Viterbi over log probabilities
};

enum class TokenType : std::uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct AddedToken {
  std::uint32_t id = 0;
  std::string text;
  bool special = false, single_word = false, lstrip = false, rstrip = false, normalized = false;
  bool operator==(const AddedToken&) const = default;
};

/// One step that cuts text into words before BPE; applied in order to the pieces left by the one before.
struct PreTokenizer {
  // "regex" (pattern is one of the known families by name), "digits", "metaspace", "bytes_only", "split_space"
  std::string kind;
  // regex family: "gpt2", "llama3", "qwen2", "tekken", "gpt4o", ... ; original text in `source_pattern`
  std::string pattern;
  std::string source_pattern;
  bool individual_digits = false;
  bool add_prefix_space = false;
  std::string prepend_scheme;  // metaspace: "always", "first", "never"
  bool operator==(const PreTokenizer&) const = default;
};

struct NormalizerStep {
  std::string kind;      // "prepend", "replace", "nfc", "nfkc", "lowercase", "strip"
  std::string from, to;  // prepend: to; replace: from -> to
  bool operator==(const NormalizerStep&) const = default;
};

struct TokenizerSpec {
  TokenizerKind kind = TokenizerKind::byte_bpe;
  std::vector<std::string>
      tokens;                 // by id; raw bytes as the source spells them (byte alphabet for byte_bpe, U+2581 for SPM)
  std::vector<float> scores;  // by id; spm_bpe and unigram, else empty
  std::vector<TokenType> types;     // by id; empty: all normal
  std::vector<std::string> merges;  // "left right" in rank order; byte_bpe and char_bpe
  std::vector<AddedToken> added;    // matched before everything else
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizer> pre_tokenizers;
  bool byte_fallback = false, fuse_unknown = false, ignore_merges = false;
  bool add_space_prefix = false;         // spm_bpe
  bool strip_one_leading_space = false;  // decoder
  std::optional<std::uint32_t> bos, eos, unknown, padding;
  std::vector<std::uint32_t> end_of_generation;  // every id that ends a reply (eos included)
  bool add_bos = false, add_eos = false;
  std::string chat_template;  // Jinja source; empty: none
  std::string gguf_pre;       // tokenizer.ggml.pre when known ("gpt-2", "llama-bpe", ...)
  bool operator==(const TokenizerSpec&) const = default;
};

/// Stored as the attachment "ingot/tokenizer.json". Token texts that are not valid UTF-8 are written as {"hex": "..."}.
[[nodiscard]] Json to_json(const TokenizerSpec& spec);
[[nodiscard]] TokenizerSpec tokenizer_spec_from_json(const Json& json, std::string_view where);

}  // namespace ingot::tensor

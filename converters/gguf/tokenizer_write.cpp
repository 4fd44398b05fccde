// Writing of the tokenizer keys.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "converters/gguf/pre_tokenizers.h"
#include "converters/gguf/tokenizer.h"

namespace ingot::convert::gguf {
namespace {

using tensor::TokenizerKind;
using tensor::TokenizerSpec;
using tensor::TokenType;

constexpr std::string_view kLowBlock = "\xE2\x96\x81";  // U+2581, a space in SentencePiece vocabularies
constexpr float kNeverMerged = -1e9f;
constexpr float kPaddingScore = -10000.0f;

[[noreturn]] void refuse(const std::string& why) { throw Error(ErrorKind::unsupported, "tokenizer: " + why); }

std::string pre_tokenizer_name(const TokenizerSpec& spec) {
  if (!spec.gguf_pre.empty()) return spec.gguf_pre;
  std::string pattern;
  bool single_digits = false;
  for (const tensor::PreTokenizer& step : spec.pre_tokenizers) {
    if (step.kind == "bytes_only") continue;
    if (step.kind == "digits" && step.individual_digits && pattern.empty()) {
      single_digits = true;
    } else if (step.kind == "regex" && pattern.empty()) {
      pattern = step.pattern;
    } else {
      refuse("GGUF has no name for this sequence of pre-tokenizers (step '" + step.kind + "')");
    }
  }
  const PreTokenizerRow* row = find_pre_tokenizer(pattern, single_digits, spec.ignore_merges);
  if (row == nullptr) refuse("GGUF has no name for the pre-tokenizer '" + pattern + "'");
  return std::string(row->name);
}

void check_normalizer(const TokenizerSpec& spec) {
  for (const tensor::NormalizerStep& step : spec.normalizer) {
    // NFC is skipped by readers of byte-level BPE; text that is composed already, which is nearly all text, is the
    // same.
    const bool skipped = spec.kind == TokenizerKind::byte_bpe && step.kind == "nfc";
    const bool space =
        spec.kind != TokenizerKind::byte_bpe && step.kind == "replace" && step.from == " " && step.to == kLowBlock;
    const bool prefix = spec.kind != TokenizerKind::byte_bpe && step.kind == "prepend" && step.to == kLowBlock;
    const bool trimmed = spec.kind == TokenizerKind::unigram && step.kind == "remove_extra_whitespaces";
    if (!skipped && !space && !prefix && !trimmed) refuse("GGUF has no normalizer step '" + step.kind + "'");
  }
}

/// Readers run a Unigram model over the whole text at once: what depends on words or on bytes would come out otherwise.
/// Like those of `llama` vocabularies they put a mark before the first word even where the text begins with a space, as
/// SentencePiece does; the metaspace step of tokenizer.json does not, so that such texts get one mark more.
void check_unigram(const TokenizerSpec& spec) {
  if (spec.byte_fallback)
    refuse("GGUF readers do not spell unknown characters in bytes in a Unigram model (byte_fallback)");
  if (!spec.unknown) refuse("GGUF readers need the unknown token of a Unigram model");
  if (spec.scores.size() > spec.tokens.size())
    refuse(std::to_string(spec.scores.size()) + " scores for " + std::to_string(spec.tokens.size()) + " tokens");
  bool cut_at_marks = false;
  for (const tensor::PreTokenizer& step : spec.pre_tokenizers) {
    if (step.kind != "metaspace")
      refuse("GGUF readers have no pre-tokenizer '" + step.kind + "' before a Unigram model");
    cut_at_marks |= step.pattern == "split";
  }
  for (std::size_t id = 0; cut_at_marks && id < spec.tokens.size(); ++id) {
    const bool normal = id >= spec.types.size() || spec.types[id] == TokenType::normal;
    if (normal && spec.tokens[id].find(kLowBlock, 1) != std::string::npos) {
      refuse("token " + std::to_string(id) +
             " goes across a space, where the pre-tokenizer cuts and GGUF readers do not");
    }
  }
}

bool adds_space_prefix(const TokenizerSpec& spec) {
  const bool own_flag = spec.kind == TokenizerKind::unigram && spec.pre_tokenizers.empty();
  if (spec.kind == TokenizerKind::spm_bpe || (own_flag && spec.add_space_prefix)) return spec.add_space_prefix;
  for (const tensor::NormalizerStep& step : spec.normalizer)
    if (step.kind == "prepend") return true;
  for (const tensor::PreTokenizer& step : spec.pre_tokenizers)
    if (step.kind == "metaspace")
      return step.prepend_scheme == "always" || step.prepend_scheme == "first" || step.add_prefix_space;
  return false;
}

std::size_t character_count(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool is_byte_token(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  return text.size() == 6 && text.starts_with("<0x") && text.back() == '>' && kHex.find(text[3]) != kHex.npos &&
         kHex.find(text[4]) != kHex.npos;
}

/// The lists of one length, by id.
struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<TokenType> types;
  std::vector<float> scores;  // empty for byte-level BPE
};

/// SentencePiece merges by score, tokenizer.json by rank: the score of a token is minus the smallest rank of a merge
/// that makes it.
std::vector<float> scores_from_merges(const TokenizerSpec& spec, const Vocabulary& vocabulary) {
  std::unordered_map<std::string, std::size_t> rank_of;
  for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const std::string& merge = spec.merges[rank];
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string::npos) continue;
    rank_of.try_emplace(merge.substr(0, space) + merge.substr(space + 1), rank);
  }
  std::vector<float> scores;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const auto found = rank_of.find(vocabulary.tokens[i]);
    if (found != rank_of.end()) {
      scores.push_back(-static_cast<float>(found->second));
    } else {
      const bool made_of_parts = vocabulary.types[i] == TokenType::normal && character_count(vocabulary.tokens[i]) > 1;
      scores.push_back(made_of_parts ? kNeverMerged : 0.0f);
    }
  }
  return scores;
}

std::vector<TokenType> token_types(const TokenizerSpec& spec) {
  std::vector<TokenType> types(spec.tokens.size(), TokenType::normal);
  if (!spec.types.empty()) std::copy_n(spec.types.begin(), std::min(spec.types.size(), types.size()), types.begin());
  const bool sentencepiece = spec.kind != TokenizerKind::byte_bpe;
  for (const tensor::AddedToken& token : spec.added) {
    if (token.id < types.size() && types[token.id] == TokenType::normal)
      types[token.id] = token.special ? TokenType::control : TokenType::user_defined;
  }
  if (!sentencepiece) return types;
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (spec.byte_fallback && types[i] == TokenType::normal && is_byte_token(spec.tokens[i]))
      types[i] = TokenType::byte;
  }
  if (spec.unknown && *spec.unknown < types.size()) types[*spec.unknown] = TokenType::unknown;
  return types;
}

void pad(Vocabulary& vocabulary, std::uint64_t rows) {
  if (vocabulary.tokens.size() > rows) {
    throw Error(ErrorKind::invalid_value, "tokenizer has " + std::to_string(vocabulary.tokens.size()) +
                                              " tokens, the embedding only " + std::to_string(rows) +
                                              " rows; GGUF readers demand equal numbers");
  }
  for (std::uint64_t id = vocabulary.tokens.size(); id < rows; ++id) {
    vocabulary.tokens.push_back("[PAD" + std::to_string(id) + "]");
    vocabulary.types.push_back(TokenType::unused);
    if (!vocabulary.scores.empty()) vocabulary.scores.push_back(kPaddingScore);
  }
}

void check_unique(const std::vector<std::string>& tokens) {
  std::unordered_set<std::string_view> seen;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty() && !seen.insert(tokens[id]).second) {
      throw Error(ErrorKind::invalid_value, "tokenizer: token " + std::to_string(id) +
                                                " has the text of an earlier one; GGUF readers demand unique texts");
    }
  }
}

Vocabulary build_vocabulary(const TokenizerSpec& spec, std::uint64_t embedding_rows) {
  Vocabulary vocabulary;
  vocabulary.tokens = spec.tokens;
  vocabulary.types = token_types(spec);
  if (spec.kind == TokenizerKind::char_bpe) vocabulary.scores = scores_from_merges(spec, vocabulary);
  if (spec.kind == TokenizerKind::spm_bpe || spec.kind == TokenizerKind::unigram) {
    vocabulary.scores = spec.scores;
    vocabulary.scores.resize(vocabulary.tokens.size());
  }
  if (spec.kind != TokenizerKind::byte_bpe) {
    for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      std::string& text = vocabulary.tokens[id];
      if (vocabulary.types[id] != TokenType::user_defined) continue;
      for (std::size_t at = 0; (at = text.find(kLowBlock, at)) != std::string::npos;)
        text.replace(at, kLowBlock.size(), 1, ' ');
    }
  }
  if (embedding_rows > 0) pad(vocabulary, embedding_rows);
  check_unique(vocabulary.tokens);
  return vocabulary;
}

void write_ids(HeaderBuilder& header, const TokenizerSpec& spec) {
  const auto id = [&](std::string_view key, std::optional<std::uint32_t> value) {
    if (value) header.add_u32("tokenizer.ggml." + std::string(key), *value);
  };
  id("bos_token_id", spec.bos);
  id("eos_token_id", spec.eos);
  id("unknown_token_id", spec.unknown);
  id("padding_token_id", spec.padding);
  std::vector<std::uint32_t> other_ends;
  for (const std::uint32_t end : spec.end_of_generation)
    if (end != spec.eos) other_ends.push_back(end);
  if (!other_ends.empty()) id("eot_token_id", other_ends[0]);
  if (other_ends.size() > 1) id("eom_token_id", other_ends[1]);
  header.add_bool("tokenizer.ggml.add_bos_token", spec.add_bos);
  header.add_bool("tokenizer.ggml.add_eos_token", spec.add_eos);
}

}  // namespace

void write_tokenizer(HeaderBuilder& header, const TokenizerSpec& spec, std::uint64_t embedding_rows) {
  const bool unigram = spec.kind == TokenizerKind::unigram;
  if (unigram) check_unigram(spec);
  check_normalizer(spec);
  const bool byte_level = spec.kind == TokenizerKind::byte_bpe;
  const Vocabulary vocabulary = build_vocabulary(spec, embedding_rows);
  header.add_string("tokenizer.ggml.model", byte_level ? "gpt2" : unigram ? "t5" : "llama");
  header.add_string("tokenizer.ggml.pre", byte_level ? pre_tokenizer_name(spec) : "default");
  header.add_strings("tokenizer.ggml.tokens", vocabulary.tokens);
  if (!byte_level) header.add_f32s("tokenizer.ggml.scores", vocabulary.scores);
  std::vector<std::int32_t> types;
  for (const TokenType type : vocabulary.types) types.push_back(static_cast<std::int32_t>(type));
  header.add_i32s("tokenizer.ggml.token_type", types);
  if (byte_level) header.add_strings("tokenizer.ggml.merges", spec.merges);
  write_ids(header, spec);
  if (!byte_level) {
    header.add_bool("tokenizer.ggml.add_space_prefix", adds_space_prefix(spec));
    const auto trims = [](const tensor::NormalizerStep& step) { return step.kind == "remove_extra_whitespaces"; };
    header.add_bool("tokenizer.ggml.remove_extra_whitespaces",
                    std::any_of(spec.normalizer.begin(), spec.normalizer.end(), trims));
  }
  if (!spec.chat_template.empty()) header.add_string("tokenizer.chat_template", spec.chat_template);
}

}  // namespace ingot::convert::gguf

// TokenizerSpec -> tokenizer.json and tokenizer_config.json.
#include <algorithm>
#include <unordered_map>

#include "converters/hf/tokenizer.h"

namespace ingot::convert {
namespace {

using tensor::AddedToken;
using tensor::NormalizerStep;
using tensor::PreTokenizer;
using tensor::TokenizerKind;
using tensor::TokenizerSpec;
using tensor::TokenType;

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorKind::unsupported, "tokenizer: " + what + " cannot be written as tokenizer.json");
}

Json object(std::initializer_list<JsonMember> members) { return Json(JsonObject(members)); }

TokenType type_of(const TokenizerSpec& spec, std::size_t id) {
  return id < spec.types.size() ? spec.types[id] : TokenType::normal;
}

/// Ids without a token have an empty text.
bool is_hole(const TokenizerSpec& spec, std::size_t id) { return spec.tokens[id].empty(); }

// --- Added tokens ----------------------------------------------------------------------------------------------------
std::vector<AddedToken> added_tokens(const TokenizerSpec& spec) {
  std::vector<AddedToken> added = spec.added;
  if (added.empty()) {
    for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
      const TokenType type = type_of(spec, id);
      if (is_hole(spec, id) ||
          (type != TokenType::control && type != TokenType::user_defined && type != TokenType::unknown))
        continue;
      AddedToken token;
      token.id = static_cast<std::uint32_t>(id);
      token.text = spec.tokens[id];
      token.special = type != TokenType::user_defined;
      added.push_back(std::move(token));
    }
  }
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return added;
}

Json added_json(const TokenizerSpec& spec) {
  JsonArray list;
  for (const AddedToken& token : added_tokens(spec)) {
    list.push_back(object({{"id", Json(token.id)},
                           {"content", Json(token.text)},
                           {"single_word", Json(token.single_word)},
                           {"lstrip", Json(token.lstrip)},
                           {"rstrip", Json(token.rstrip)},
                           {"normalized", Json(token.normalized)},
                           {"special", Json(token.special)}}));
  }
  return Json(std::move(list));
}

// --- Steps -----------------------------------------------------------------------------------------------------------
Json sequence(std::string_view list_name, JsonArray steps) {
  if (steps.empty()) return Json();
  if (steps.size() == 1) return std::move(steps.front());
  return object({{"type", Json("Sequence")}, {std::string(list_name), Json(std::move(steps))}});
}

Json replace_step(std::string_view from, std::string_view to) {
  return object({{"type", Json("Replace")}, {"pattern", object({{"String", Json(from)}})}, {"content", Json(to)}});
}

Json prepend_step(std::string_view text) { return object({{"type", Json("Prepend")}, {"prepend", Json(text)}}); }

Json normalizer_step(const NormalizerStep& step) {
  struct Simple {
    std::string_view kind, type;
  };
  constexpr Simple kSimple[] = {
      {"nfc", "NFC"}, {"nfd", "NFD"}, {"nfkc", "NFKC"}, {"nfkd", "NFKD"}, {"lowercase", "Lowercase"}};
  for (const Simple& row : kSimple)
    if (step.kind == row.kind) return object({{"type", Json(row.type)}});
  if (step.kind == "prepend") return prepend_step(step.to);
  if (step.kind == "replace") return replace_step(step.from, step.to);
  if (step.kind == "strip" || step.kind == "strip_left" || step.kind == "strip_right") {
    return object({{"type", Json("Strip")},
                   {"strip_left", Json(step.kind != "strip_right")},
                   {"strip_right", Json(step.kind != "strip_left")}});
  }
  refuse("normalizer '" + step.kind + "'");
}

Json normalizer_json(const TokenizerSpec& spec) {
  JsonArray steps;
  if (spec.kind == TokenizerKind::spm_bpe) {
    if (spec.add_space_prefix) steps.push_back(prepend_step(kSpaceMark));
    steps.push_back(replace_step(" ", kSpaceMark));
  }
  for (const NormalizerStep& step : spec.normalizer) steps.push_back(normalizer_step(step));
  return sequence("normalizers", std::move(steps));
}

Json byte_level(bool add_prefix_space, bool use_regex) {
  return object({{"type", Json("ByteLevel")},
                 {"add_prefix_space", Json(add_prefix_space)},
                 {"trim_offsets", Json(true)},
                 {"use_regex", Json(use_regex)}});
}

Json split_step(std::string_view kind, std::string_view pattern, std::string_view behavior) {
  return object({{"type", Json("Split")},
                 {"pattern", object({{std::string(kind), Json(pattern)}})},
                 {"behavior", Json(behavior)},
                 {"invert", Json(false)}});
}

std::string regex_text(const PreTokenizer& step) {
  if (!step.source_pattern.empty()) return step.source_pattern;
  const RegexFamily* family = find_regex_family_by_name(step.pattern);
  if (family == nullptr) refuse("pre-tokenizer '" + step.pattern + "'");
  return std::string(family->pattern);
}

Json pre_tokenizer_step(const PreTokenizer& step) {
  if (step.kind == "regex") return split_step("Regex", regex_text(step), "Isolated");
  if (step.kind == "digits")
    return object({{"type", Json("Digits")}, {"individual_digits", Json(step.individual_digits)}});
  if (step.kind == "split_space") return split_step("String", " ", "MergedWithPrevious");
  if (step.kind == "metaspace") {
    return object({{"type", Json("Metaspace")},
                   {"replacement", Json(kSpaceMark)},
                   {"prepend_scheme", Json(step.prepend_scheme.empty() ? "always" : step.prepend_scheme)},
                   {"split", Json(step.pattern == "split")}});
  }
  refuse("pre-tokenizer '" + step.kind + "'");
}

Json pre_tokenizer_json(const TokenizerSpec& spec) {
  std::vector<PreTokenizer> steps = spec.pre_tokenizers;
  if (steps.empty() && spec.kind == TokenizerKind::byte_bpe) {
    steps = steps_of_gguf_pre(spec.gguf_pre);
    if (steps.empty() && !spec.gguf_pre.empty()) refuse("pre-tokenizer '" + spec.gguf_pre + "'");
  }
  JsonArray list;
  bool mapped_to_bytes = false;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const PreTokenizer& step = steps[i];
    if (step.kind == "bytes_only") {
      list.push_back(byte_level(step.add_prefix_space, false));
      mapped_to_bytes = true;
    } else if (step.kind == "regex" && step.pattern == "gpt2" && i + 1 == steps.size() &&
               spec.kind == TokenizerKind::byte_bpe) {
      list.push_back(byte_level(step.add_prefix_space, true));  // the regex is built in
      mapped_to_bytes = true;
    } else {
      list.push_back(pre_tokenizer_step(step));
    }
  }
  if (spec.kind == TokenizerKind::byte_bpe && !mapped_to_bytes) list.push_back(byte_level(false, false));
  if (spec.kind == TokenizerKind::unigram && list.empty()) {
    PreTokenizer metaspace;
    metaspace.kind = "metaspace";
    metaspace.pattern = "split";
    metaspace.prepend_scheme = spec.add_space_prefix ? "always" : "never";
    list.push_back(pre_tokenizer_step(metaspace));
  }
  return sequence("pretokenizers", std::move(list));
}

Json post_processor_json(const TokenizerSpec& spec) {
  const bool bos = spec.add_bos && spec.bos, eos = spec.add_eos && spec.eos;
  if (!bos && !eos) return Json();
  JsonArray single, pair;
  Json special{JsonObject{}};
  const auto token = [&](std::uint32_t id, int sequence_id) {
    const std::string& text = spec.tokens.at(id);
    if (special.find(text) == nullptr) {
      special.set(
          text,
          object({{"id", Json(text)}, {"ids", Json(JsonArray{Json(id)})}, {"tokens", Json(JsonArray{Json(text)})}}));
    }
    return object({{"SpecialToken", object({{"id", Json(text)}, {"type_id", Json(sequence_id)}})}});
  };
  const auto add = [&](JsonArray& list, std::string_view name, int sequence_id) {
    if (bos) list.push_back(token(*spec.bos, sequence_id));
    list.push_back(object({{"Sequence", object({{"id", Json(name)}, {"type_id", Json(sequence_id)}})}}));
    if (eos) list.push_back(token(*spec.eos, sequence_id));
  };
  add(single, "A", 0);
  add(pair, "A", 0);
  add(pair, "B", 1);
  return object({{"type", Json("TemplateProcessing")},
                 {"single", Json(std::move(single))},
                 {"pair", Json(std::move(pair))},
                 {"special_tokens", std::move(special)}});
}

Json decoder_json(const TokenizerSpec& spec) {
  if (spec.kind == TokenizerKind::byte_bpe) return byte_level(true, true);
  JsonArray steps = {replace_step(kSpaceMark, " "), object({{"type", Json("ByteFallback")}}),
                     object({{"type", Json("Fuse")}})};
  if (spec.strip_one_leading_space) {
    steps.push_back(object({{"type", Json("Strip")}, {"content", Json(" ")}, {"start", Json(1)}, {"stop", Json(0)}}));
  }
  return sequence("decoders", std::move(steps));
}

// --- Model -----------------------------------------------------------------------------------------------------------
Json vocabulary_json(const TokenizerSpec& spec) {
  JsonObject vocabulary;
  vocabulary.reserve(spec.tokens.size());
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    if (!is_hole(spec, id)) vocabulary.emplace_back(spec.tokens[id], Json(static_cast<std::uint64_t>(id)));
  }
  return Json(std::move(vocabulary));
}

std::uint64_t characters(std::string_view text) {
  return static_cast<std::uint64_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// Scores -> ranked merges, as transformers does for SentencePiece models: every split of a piece into two pieces, best
/// score first, then the longer left, then the longer right part.
std::vector<std::string> merges_from_scores(const TokenizerSpec& spec) {
  std::unordered_map<std::string_view, std::uint32_t> ids(spec.tokens.size());
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) ids.emplace(spec.tokens[id], static_cast<std::uint32_t>(id));
  struct Merge {
    std::string_view left, right;
    float score;
    std::uint32_t left_id, right_id;
    std::uint64_t left_length, right_length;
  };
  std::vector<Merge> merges;
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    if (type_of(spec, id) != TokenType::normal) continue;
    const std::string_view piece = spec.tokens[id];
    const std::size_t first = merges.size();
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      if ((static_cast<unsigned char>(piece[cut]) & 0xC0) == 0x80) continue;
      const auto left = ids.find(piece.substr(0, cut));
      if (left == ids.end()) continue;
      const auto right = ids.find(piece.substr(cut));
      if (right == ids.end()) continue;
      merges.push_back({left->first, right->first, id < spec.scores.size() ? spec.scores[id] : 0.0F, left->second,
                        right->second, characters(left->first), characters(right->first)});
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(), [](const Merge& a, const Merge& b) {
      return a.left_id != b.left_id ? a.left_id < b.left_id : a.right_id < b.right_id;
    });
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.left_length != b.left_length ? a.left_length > b.left_length : a.right_length > b.right_length;
  });
  std::vector<std::string> lines;
  lines.reserve(merges.size());
  for (const Merge& merge : merges) lines.push_back(std::string(merge.left) + " " + std::string(merge.right));
  return lines;
}

Json bpe_json(const TokenizerSpec& spec) {
  const bool by_scores = spec.kind == TokenizerKind::spm_bpe;
  const bool unknown_token = spec.unknown && spec.kind != TokenizerKind::byte_bpe;
  JsonArray merges;
  for (const std::string& line : by_scores ? merges_from_scores(spec) : spec.merges) {
    const std::size_t space = line.find(' ', 1);
    if (space == std::string::npos)
      throw Error(ErrorKind::invalid_value, "tokenizer: merge '" + line + "' has no two parts");
    merges.emplace_back(JsonArray{Json(line.substr(0, space)), Json(line.substr(space + 1))});
  }
  const bool has_bytes = std::find(spec.types.begin(), spec.types.end(), TokenType::byte) != spec.types.end();
  return object({{"type", Json("BPE")},
                 {"dropout", Json()},
                 {"unk_token", unknown_token ? Json(spec.tokens.at(*spec.unknown)) : Json()},
                 {"continuing_subword_prefix", Json()},
                 {"end_of_word_suffix", Json()},
                 {"fuse_unk", Json(by_scores || spec.fuse_unknown)},
                 {"byte_fallback", Json(by_scores ? has_bytes : spec.byte_fallback)},
                 {"ignore_merges", Json(spec.ignore_merges)},
                 {"vocab", vocabulary_json(spec)},
                 {"merges", Json(std::move(merges))}});
}

Json unigram_json(const TokenizerSpec& spec) {
  JsonArray vocabulary;
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    vocabulary.emplace_back(
        JsonArray{Json(spec.tokens[id]), Json(id < spec.scores.size() ? static_cast<double>(spec.scores[id]) : 0.0)});
  }
  return object({{"type", Json("Unigram")},
                 {"unk_id", spec.unknown ? Json(*spec.unknown) : Json()},
                 {"vocab", Json(std::move(vocabulary))},
                 {"byte_fallback", Json(spec.byte_fallback)}});
}

}  // namespace

Json write_tokenizer_json(const TokenizerSpec& spec) {
  return object({{"version", Json("1.0")},
                 {"truncation", Json()},
                 {"padding", Json()},
                 {"added_tokens", added_json(spec)},
                 {"normalizer", normalizer_json(spec)},
                 {"pre_tokenizer", pre_tokenizer_json(spec)},
                 {"post_processor", post_processor_json(spec)},
                 {"decoder", decoder_json(spec)},
                 {"model", spec.kind == TokenizerKind::unigram ? unigram_json(spec) : bpe_json(spec)}});
}

Json write_tokenizer_config(const TokenizerSpec& spec, std::uint64_t context_length) {
  Json json{JsonObject{}};
  json.set("tokenizer_class", Json("PreTrainedTokenizerFast"));
  const auto set = [&](std::string_view key, const std::optional<std::uint32_t>& id) {
    if (id) json.set(key, Json(spec.tokens.at(*id)));
  };
  set("bos_token", spec.bos);
  set("eos_token", spec.eos);
  set("unk_token", spec.kind == TokenizerKind::byte_bpe ? std::nullopt : spec.unknown);
  set("pad_token", spec.padding);
  if (context_length != 0) json.set("model_max_length", Json(context_length));
  json.set("clean_up_tokenization_spaces", Json(false));
  if (!spec.chat_template.empty()) json.set("chat_template", Json(spec.chat_template));
  return json;
}

}  // namespace ingot::convert

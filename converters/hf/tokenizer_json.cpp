// tokenizer.json (the `tokenizers` library) -> TokenizerSpec. Steps that the neutral spec does not name are kept under
// their own lower-case type name, so that a runtime can say what it lacks.
#include <algorithm>
#include <cctype>

#include "converters/hf/tokenizer.h"

namespace ingot::convert {
namespace {

using tensor::AddedToken;
using tensor::NormalizerStep;
using tensor::PreTokenizer;
using tensor::TokenizerKind;
using tensor::TokenizerSpec;
using tensor::TokenType;

constexpr std::uint64_t kMaxTokens = std::uint64_t{1} << 23;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

std::string type_of(const Json& json, const std::string& where) {
  return json.at("type", where).as_string(where + ": type");
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool flag(const Json& json, std::string_view name, bool otherwise, const std::string& where) {
  const Json* value = json.find(name);
  return value == nullptr || value->is_null() ? otherwise : value->as_bool(where + ": " + std::string(name));
}

std::string text(const Json& json, std::string_view name, const std::string& where) {
  const Json* value = json.find(name);
  return value == nullptr || value->is_null() ? "" : value->as_string(where + ": " + std::string(name));
}

/// The steps of an optional member: null, one step, or a Sequence of steps (possibly nested).
template <class Visit>
void for_each_step(const Json* json, std::string_view list_name, const std::string& where, const Visit& visit) {
  if (json == nullptr || json->is_null()) return;
  if (type_of(*json, where) != "Sequence") {
    visit(*json);
    return;
  }
  for (const Json& step : json->at(list_name, where).as_array(where)) for_each_step(&step, list_name, where, visit);
}

/// A pattern is {"String": s} or {"Regex": r}.
struct Pattern {
  std::string text;
  bool is_regex = false;
};
Pattern read_pattern(const Json& step, const std::string& where) {
  const Json& pattern = step.at("pattern", where);
  if (pattern.is_string()) return {pattern.as_string(where), false};
  if (const Json* regex = pattern.find("Regex")) return {regex->as_string(where + ": pattern"), true};
  return {pattern.at("String", where + ": pattern").as_string(where + ": pattern"), false};
}

// --- Steps -----------------------------------------------------------------------------------------------------------
NormalizerStep read_normalizer(const Json& json, const std::string& where) {
  const std::string type = type_of(json, where);
  NormalizerStep step;
  step.kind = lower(type);
  if (type == "Prepend") step.to = text(json, "prepend", where);
  if (type == "Replace") {
    const Pattern pattern = read_pattern(json, where);
    if (pattern.is_regex) step.kind = "replace_regex";
    step.from = pattern.text;
    step.to = text(json, "content", where);
  }
  if (type == "Strip") {
    const bool left = flag(json, "strip_left", true, where), right = flag(json, "strip_right", true, where);
    if (!left) step.kind = "strip_right";
    if (!right) step.kind = "strip_left";
  }
  return step;
}

PreTokenizer read_split(const Json& json, const std::string& where) {
  const Pattern pattern = read_pattern(json, where);
  const std::string behavior = text(json, "behavior", where);
  const bool invert = flag(json, "invert", false, where);
  PreTokenizer step;
  step.source_pattern = pattern.text;
  // The known families match every character, so "remove what does not match" is the same as isolating the matches.
  const bool isolates = (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
  const RegexFamily* family = find_regex_family(pattern.text);
  if (pattern.is_regex && isolates && family != nullptr) {
    step.kind = "regex";
    step.pattern = family->name;
  } else if (pattern.is_regex && behavior == "Isolated" && !invert &&
             (pattern.text == R"(\p{N})" || pattern.text == R"(\d)")) {
    step.kind = "digits";
    step.individual_digits = true;
  } else if (pattern.is_regex && isolates) {
    step.kind = "regex";
  } else if (!pattern.is_regex && pattern.text == " " && behavior == "MergedWithPrevious" && !invert) {
    step.kind = "split_space";
  } else {
    step.kind = "split_" + lower(behavior);
  }
  return step;
}

PreTokenizer read_pre_tokenizer(const Json& json, const std::string& where) {
  const std::string type = type_of(json, where);
  if (type == "Split") return read_split(json, where);
  PreTokenizer step;
  if (type == "ByteLevel") {
    step.add_prefix_space = flag(json, "add_prefix_space", true, where);
    if (flag(json, "use_regex", true, where)) {
      step.kind = "regex";
      step.pattern = "gpt2";
      step.source_pattern = find_regex_family_by_name("gpt2")->pattern;
    } else {
      step.kind = "bytes_only";
    }
  } else if (type == "Digits") {
    step.kind = "digits";
    step.individual_digits = flag(json, "individual_digits", false, where);
  } else if (type == "Metaspace") {
    step.kind = "metaspace";
    step.prepend_scheme = text(json, "prepend_scheme", where);
    if (step.prepend_scheme.empty())
      step.prepend_scheme = flag(json, "add_prefix_space", true, where) ? "always" : "never";
    if (flag(json, "split", true, where)) step.pattern = "split";
    const std::string replacement = text(json, "replacement", where);
    if (!replacement.empty() && replacement != kSpaceMark) step.kind = "metaspace_" + replacement;
  } else {
    step.kind = lower(type);
  }
  return step;
}

void read_decoder(const Json& json, TokenizerSpec& spec, const std::string& where) {
  for_each_step(json.find("decoder"), "decoders", where + ": decoder", [&](const Json& step) {
    const std::string type = type_of(step, where);
    if (type == "Strip" && text(step, "content", where) == " ") {
      const Json* start = step.find("start");
      spec.strip_one_leading_space = start != nullptr && start->is_integer() && start->as_i64(where) == 1;
    }
    if (type == "Metaspace") {
      std::string scheme = text(step, "prepend_scheme", where);
      if (scheme.empty()) scheme = flag(step, "add_prefix_space", true, where) ? "always" : "never";
      spec.strip_one_leading_space = scheme != "never";
    }
  });
}

// --- Vocabulary ------------------------------------------------------------------------------------------------------
/// Room for ids up to `highest`. Ids may have holes, but not so many that a small file asks for a large table.
void reserve_ids(TokenizerSpec& spec, std::uint64_t highest, std::uint64_t known, const std::string& where) {
  if (highest >= kMaxTokens || highest > 64 * known + 65'536) {
    throw Error(ErrorKind::limit_exceeded,
                where + ": token id " + std::to_string(highest) + " with " + std::to_string(known) + " tokens in all");
  }
  if (spec.tokens.size() <= highest) {
    spec.tokens.resize(highest + 1);
    spec.types.resize(highest + 1, TokenType::unused);
  }
}

void read_vocabulary(const Json& vocabulary, TokenizerSpec& spec, const std::string& where) {
  const JsonObject& members = vocabulary.as_object(where);
  std::uint64_t highest = 0;
  for (const auto& [token, id] : members) highest = std::max(highest, id.as_u64(where));
  if (members.empty()) return;
  reserve_ids(spec, highest, members.size(), where);
  for (const auto& [token, id] : members) {
    const std::uint64_t index = id.as_u64(where);
    if (spec.types[index] != TokenType::unused) {
      throw Error(ErrorKind::invalid_value, where + ": id " + std::to_string(index) + " is given to '" +
                                                spec.tokens[index] + "' and '" + token + "'");
    }
    spec.tokens[index] = token;
    spec.types[index] = TokenType::normal;
  }
}

void read_merges(const Json& merges, TokenizerSpec& spec, const std::string& where) {
  for (const Json& merge : merges.as_array(where)) {
    if (merge.is_string()) {
      spec.merges.push_back(merge.as_string(where));
    } else {
      const JsonArray& pair = merge.as_array(where);
      if (pair.size() != 2)
        throw Error(ErrorKind::invalid_value, where + ": a merge of " + std::to_string(pair.size()) + " parts");
      const std::string& left = pair[0].as_string(where);
      if (left.find(' ', 1) != std::string::npos) {
        throw Error(ErrorKind::unsupported, where + ": a merge whose left part '" + left + "' holds a space");
      }
      spec.merges.push_back(left + " " + pair[1].as_string(where));
    }
    const std::string& line = spec.merges.back();
    if (line.size() < 3 || line.find(' ', 1) == std::string::npos) {
      throw Error(ErrorKind::invalid_value, where + ": merge '" + line + "' has no two parts");
    }
  }
}

/// "<0x0A>": the spelling of byte tokens.
bool is_byte_token(std::string_view token) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>' && is_hex(token[3]) && is_hex(token[4]);
}

void read_bpe(const Json& model, TokenizerSpec& spec, const std::string& where) {
  for (const std::string_view name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!text(model, name, where).empty())
      throw Error(ErrorKind::unsupported, where + ": BPE with " + std::string(name));
  }
  read_vocabulary(model.at("vocab", where), spec, where + ": vocab");
  read_merges(model.at("merges", where), spec, where + ": merges");
  spec.byte_fallback = flag(model, "byte_fallback", false, where);
  spec.fuse_unknown = flag(model, "fuse_unk", false, where);
  spec.ignore_merges = flag(model, "ignore_merges", false, where);
  const std::string unknown = text(model, "unk_token", where);
  if (unknown.empty()) return;
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), unknown);
  if (found != spec.tokens.end()) spec.unknown = static_cast<std::uint32_t>(found - spec.tokens.begin());
}

void read_unigram(const Json& model, TokenizerSpec& spec, const std::string& where) {
  for (const Json& entry : model.at("vocab", where).as_array(where + ": vocab")) {
    const JsonArray& pair = entry.as_array(where + ": vocab");
    if (pair.size() != 2)
      throw Error(ErrorKind::invalid_value, where + ": vocab: an entry of " + std::to_string(pair.size()) + " parts");
    spec.tokens.push_back(pair[0].as_string(where + ": vocab"));
    spec.scores.push_back(static_cast<float>(pair[1].as_double(where + ": vocab")));
  }
  spec.types.assign(spec.tokens.size(), TokenType::normal);
  spec.byte_fallback = flag(model, "byte_fallback", false, where);
  spec.fuse_unknown = true;  // consecutive unknown characters make one token
  const Json* unknown = model.find("unk_id");
  if (unknown == nullptr || unknown->is_null()) return;
  const std::uint64_t id = unknown->as_u64(where + ": unk_id");
  if (id >= spec.tokens.size())
    throw Error(ErrorKind::invalid_value, where + ": unk_id " + std::to_string(id) + " is no token");
  spec.unknown = static_cast<std::uint32_t>(id);
}

void read_added_tokens(const Json* list, TokenizerSpec& spec, const std::string& where) {
  if (list == nullptr || list->is_null()) return;
  const JsonArray& tokens = list->as_array(where);
  for (const Json& json : tokens) {
    AddedToken added;
    const std::uint64_t id = json.at("id", where).as_u64(where + ": id");
    reserve_ids(spec, id, spec.tokens.size() + tokens.size(), where);
    added.id = static_cast<std::uint32_t>(id);
    added.text = json.at("content", where).as_string(where + ": content");
    added.special = flag(json, "special", false, where);
    added.single_word = flag(json, "single_word", false, where);
    added.lstrip = flag(json, "lstrip", false, where);
    added.rstrip = flag(json, "rstrip", false, where);
    added.normalized = flag(json, "normalized", !added.special, where);
    spec.tokens[id] = added.text;
    spec.types[id] = added.special ? TokenType::control : TokenType::user_defined;
    spec.added.push_back(std::move(added));
  }
  if (!spec.scores.empty()) spec.scores.resize(spec.tokens.size(), 0.0F);
}

/// BOS and EOS of a TemplateProcessing: special tokens before and after sequence A.
void read_template(const Json& processor, TokenizerSpec& spec, const std::string& where) {
  bool before = true;
  for (const Json& piece : processor.at("single", where).as_array(where + ": single")) {
    if (piece.find("Sequence") != nullptr) {
      before = false;
      continue;
    }
    const std::string name = piece.at("SpecialToken", where).at("id", where).as_string(where);
    const auto token = std::find(spec.tokens.begin(), spec.tokens.end(), name);
    if (token == spec.tokens.end()) continue;
    const auto id = static_cast<std::uint32_t>(token - spec.tokens.begin());
    (before ? spec.bos : spec.eos) = id;
    (before ? spec.add_bos : spec.add_eos) = true;
  }
}

}  // namespace

TokenizerSpec read_tokenizer_json(const Json& json, std::string_view file) {
  const std::string where(file);
  TokenizerSpec spec;
  const Json& model = json.at("model", where);
  std::string type = text(model, "type", where);
  if (type.empty()) type = model.find("merges") != nullptr ? "BPE" : "untyped";  // very old files
  if (type == "BPE") {
    read_bpe(model, spec, where + ": model");
  } else if (type == "Unigram") {
    spec.kind = TokenizerKind::unigram;
    read_unigram(model, spec, where + ": model");
  } else {
    throw Error(ErrorKind::unsupported, where + ": tokenizer model '" + type + "'");
  }
  read_added_tokens(json.find("added_tokens"), spec, where + ": added_tokens");
  for_each_step(json.find("normalizer"), "normalizers", where + ": normalizer",
                [&](const Json& step) { spec.normalizer.push_back(read_normalizer(step, where + ": normalizer")); });
  bool byte_level = false;
  for_each_step(json.find("pre_tokenizer"), "pretokenizers", where + ": pre_tokenizer", [&](const Json& step) {
    byte_level |= type_of(step, where) == "ByteLevel";
    spec.pre_tokenizers.push_back(read_pre_tokenizer(step, where + ": pre_tokenizer"));
  });
  if (type == "BPE") spec.kind = byte_level ? TokenizerKind::byte_bpe : TokenizerKind::char_bpe;
  read_decoder(json, spec, where);
  for_each_step(json.find("post_processor"), "processors", where + ": post_processor", [&](const Json& step) {
    if (type_of(step, where) == "TemplateProcessing") read_template(step, spec, where + ": post_processor");
  });
  if (spec.byte_fallback) {
    for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
      if (spec.types[i] == TokenType::normal && is_byte_token(spec.tokens[i])) spec.types[i] = TokenType::byte;
    }
  }
  if (spec.unknown) spec.types[*spec.unknown] = TokenType::unknown;
  spec.gguf_pre = gguf_pre_of(spec);
  return spec;
}

}  // namespace ingot::convert

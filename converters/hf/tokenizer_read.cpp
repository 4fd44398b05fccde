// The tokenizer files of a directory together: model, special tokens, what is added to a text, which tokens end a
// reply, chat template.
#include <algorithm>
#include <set>

#include "converters/hf/tokenizer.h"

namespace ingot::convert {
namespace {

using tensor::TokenizerKind;
using tensor::TokenizerSpec;
using tensor::TokenType;

constexpr std::uint64_t kMaxAddedId = std::uint64_t{1} << 23;

/// Parsed members of an optional JSON file; null when it does not exist.
Json parse_optional(const FileLookup& files, std::string_view name, const std::string& where) {
  const std::optional<Bytes> bytes = files(name);
  if (!bytes) return Json();
  Json json = parse_json(as_text(*bytes), where + "/" + std::string(name));
  (void)json.as_object(where + "/" + std::string(name));
  return json;
}

/// GPT-2's original files: vocab.json and merges.txt, as the tokenizer.json that they stand for.
Json bpe_files_as_json(Bytes vocabulary, Bytes merges, const std::string& where) {
  Json model{JsonObject{}};
  model.set("type", Json("BPE"));
  model.set("vocab", parse_json(as_text(vocabulary), where + "/vocab.json"));
  JsonArray lines;
  std::string_view text = as_text(merges);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) lines.emplace_back(line);
  }
  model.set("merges", Json(std::move(lines)));
  Json byte_level{JsonObject{}};
  byte_level.set("type", Json("ByteLevel"));
  byte_level.set("add_prefix_space", Json(false));
  Json json{JsonObject{}};
  json.set("pre_tokenizer", std::move(byte_level));
  json.set("model", std::move(model));
  return json;
}

/// `has_post_processor`: tokenizer.json itself says what is put around a text.
std::optional<TokenizerSpec> read_model(const FileLookup& files, const std::string& where, bool& has_post_processor) {
  if (const std::optional<Bytes> bytes = files("tokenizer.json")) {
    const std::string place = where + "/tokenizer.json";
    const Json json = parse_json(as_text(*bytes), place);
    const Json* processor = json.find("post_processor");
    has_post_processor = processor != nullptr && !processor->is_null();
    return read_tokenizer_json(json, place);
  }
  if (const std::optional<Bytes> bytes = files("tokenizer.model"))
    return read_sentencepiece_model(*bytes, where + "/tokenizer.model");
  const std::optional<Bytes> vocabulary = files("vocab.json"), merges = files("merges.txt");
  if (vocabulary && merges)
    return read_tokenizer_json(bpe_files_as_json(*vocabulary, *merges, where), where + "/vocab.json");
  return std::nullopt;
}

std::optional<std::uint32_t> id_of(const TokenizerSpec& spec, std::string_view text) {
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  if (found == spec.tokens.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - spec.tokens.begin());
}

/// A token in a config is a string or an object with `content`.
std::optional<std::uint32_t> named_token(const TokenizerSpec& spec, const Json& config, std::string_view key) {
  const Json* value = config.find(key);
  if (value == nullptr) return std::nullopt;
  const Json* content = value->is_object() ? value->find("content") : value;
  if (content == nullptr || !content->is_string()) return std::nullopt;
  return id_of(spec, content->as_string(key));
}

/// Ids under a key that holds a number, a list of numbers or null; ids outside the vocabulary are passed over.
std::vector<std::uint32_t> token_ids(const TokenizerSpec& spec, const Json& config, std::string_view key) {
  std::vector<std::uint32_t> ids;
  const auto add = [&](const Json& value) {
    if (!value.is_integer()) return;
    const std::int64_t id = value.as_i64(key);
    if (id >= 0 && static_cast<std::uint64_t>(id) < spec.tokens.size()) ids.push_back(static_cast<std::uint32_t>(id));
  };
  const Json* value = config.find(key);
  if (value == nullptr) return ids;
  if (value->is_array()) {
    for (const Json& item : value->as_array(key)) add(item);
  } else {
    add(*value);
  }
  return ids;
}

/// added_tokens_decoder {"id": {content, special, ...}}: what a SentencePiece model has on top of its pieces.
void add_decoder_tokens(TokenizerSpec& spec, const Json& tokenizer_config, const std::string& where) {
  const Json* decoder = tokenizer_config.find("added_tokens_decoder");
  if (decoder == nullptr || !decoder->is_object()) return;
  const JsonObject& members = decoder->as_object(where);
  for (const JsonMember& member : members) {
    const std::string& key = member.first;
    const Json& value = member.second;
    if (key.empty() || key.size() > 8 || key.find_first_not_of("0123456789") != std::string::npos) {
      throw Error(ErrorKind::invalid_value, where + ": added_tokens_decoder: '" + key + "' is no token id");
    }
    tensor::AddedToken added;
    const std::uint64_t id = std::stoull(key);
    if (id >= kMaxAddedId || id > 64 * (spec.tokens.size() + members.size()) + 65'536) {
      throw Error(ErrorKind::limit_exceeded, where + ": added_tokens_decoder: id " + key);
    }
    const auto flag = [&](std::string_view name) {
      const Json* set = value.find(name);
      return set != nullptr && set->is_bool() && set->as_bool(where);
    };
    added.id = static_cast<std::uint32_t>(id);
    added.text = value.at("content", where + ": added_tokens_decoder").as_string(where);
    added.special = flag("special");
    added.single_word = flag("single_word");
    added.lstrip = flag("lstrip");
    added.rstrip = flag("rstrip");
    added.normalized = flag("normalized");
    if (spec.tokens.size() <= id) {
      spec.tokens.resize(id + 1);
      spec.types.resize(id + 1, TokenType::unused);
      spec.scores.resize(id + 1, 0.0F);
    }
    spec.tokens[id] = added.text;
    if (spec.types[id] != TokenType::unknown)
      spec.types[id] = added.special ? TokenType::control : TokenType::user_defined;
    spec.added.push_back(std::move(added));
  }
}

/// The classes that put BOS before a text although nothing says so.
bool class_adds_bos(const Json& tokenizer_config) {
  const Json* name = tokenizer_config.find("tokenizer_class");
  if (name == nullptr || !name->is_string()) return false;
  const std::string& text = name->as_string("tokenizer_class");
  return text.starts_with("LlamaTokenizer") || text.starts_with("GemmaTokenizer") ||
         text.starts_with("CodeLlamaTokenizer");
}

void read_added_ends(TokenizerSpec& spec, const Json& tokenizer_config, bool has_post_processor) {
  const Json* bos = tokenizer_config.find("add_bos_token");
  const Json* eos = tokenizer_config.find("add_eos_token");
  const bool bos_stated = bos != nullptr && bos->is_bool(), eos_stated = eos != nullptr && eos->is_bool();
  if (bos_stated || eos_stated) {  // one of the two replaces the post-processor, as in transformers
    const bool default_bos = class_adds_bos(tokenizer_config);
    spec.add_bos = bos_stated ? bos->as_bool("add_bos_token") : default_bos;
    spec.add_eos = eos_stated && eos->as_bool("add_eos_token");
  } else if (!has_post_processor) {
    spec.add_bos = class_adds_bos(tokenizer_config);
  }
  spec.add_bos = spec.add_bos && spec.bos.has_value();
  spec.add_eos = spec.add_eos && spec.eos.has_value();
}

void read_special_tokens(TokenizerSpec& spec, const Json& tokenizer_config, const Json& map, const Json& config,
                         const Json& generation) {
  struct Special {
    std::string_view key, id_key;
    std::optional<std::uint32_t>& id;
  };
  for (const Special& special :
       {Special{"bos_token", "bos_token_id", spec.bos}, Special{"eos_token", "eos_token_id", spec.eos},
        Special{"pad_token", "pad_token_id", spec.padding}, Special{"unk_token", "", spec.unknown}}) {
    std::optional<std::uint32_t> found = named_token(spec, tokenizer_config, special.key);
    if (!found) found = named_token(spec, map, special.key);
    if (found) special.id = found;
    if (special.id || special.id_key.empty()) continue;
    for (const Json* source : {&generation, &config}) {
      const std::vector<std::uint32_t> ids = token_ids(spec, *source, special.id_key);
      if (!ids.empty() && !special.id) special.id = ids.front();
    }
  }
  std::set<std::uint32_t> ends;
  if (spec.eos) ends.insert(*spec.eos);
  for (const Json* source : {&generation, &config}) {
    for (const std::uint32_t id : token_ids(spec, *source, "eos_token_id")) ends.insert(id);
  }
  spec.end_of_generation.assign(ends.begin(), ends.end());
}

/// Ids that token_ids() passed over. Negative ones mean none.
std::vector<std::string> unknown_special_tokens(const TokenizerSpec& spec, const Json& config, std::string_view file) {
  std::vector<std::string> findings;
  for (const std::string_view key : {"bos_token_id", "eos_token_id"}) {
    const Json* value = config.find(key);
    if (value == nullptr) continue;
    const JsonArray alone(1, *value);
    for (const Json& id : value->is_array() ? value->as_array(key) : alone) {
      if (!id.is_integer() || id.as_i64(key) < 0) continue;
      if (static_cast<std::uint64_t>(id.as_i64(key)) < spec.tokens.size()) continue;
      findings.push_back(std::string(file) + " says " + std::string(key) + " " + std::to_string(id.as_i64(key)) +
                         ", the tokenizer has " + std::to_string(spec.tokens.size()) + " tokens: it is passed over");
    }
  }
  return findings;
}

std::string read_chat_template(const FileLookup& files, const Json& tokenizer_config, const std::string& where) {
  if (const std::optional<Bytes> bytes = files("chat_template.jinja")) return std::string(as_text(*bytes));
  const Json json = parse_optional(files, "chat_template.json", where);
  for (const Json* source : {&json, &tokenizer_config}) {
    const Json* value = source->find("chat_template");
    if (value == nullptr || value->is_null()) continue;
    if (value->is_string()) return value->as_string(where);
    if (!value->is_array()) continue;
    for (const Json& named : value->as_array(where)) {  // [{name, template}]
      const Json* name = named.find("name");
      if (name != nullptr && name->is_string() && name->as_string(where) == "default")
        return named.at("template", where).as_string(where);
    }
  }
  return "";
}

}  // namespace

HfTokenizerResult read_hf_tokenizer(const FileLookup& files, std::string_view directory) {
  const std::string where(directory);
  HfTokenizerResult result;
  bool has_post_processor = false;
  try {
    result.spec = read_model(files, where, has_post_processor);
  } catch (const Error& error) {
    if (error.kind != ErrorKind::unsupported) throw;
    result.note = error.what();
    return result;
  }
  if (!result.spec) return result;
  TokenizerSpec& spec = *result.spec;
  const Json tokenizer_config = parse_optional(files, "tokenizer_config.json", where);
  const Json map = parse_optional(files, "special_tokens_map.json", where);
  const Json config = parse_optional(files, "config.json", where);
  const Json generation = parse_optional(files, "generation_config.json", where);
  if (!files("tokenizer.json")) add_decoder_tokens(spec, tokenizer_config, where + "/tokenizer_config.json");
  read_special_tokens(spec, tokenizer_config, map, config, generation);
  result.findings = unknown_special_tokens(spec, config, "config.json");
  for (std::string& finding : unknown_special_tokens(spec, generation, "generation_config.json"))
    result.findings.push_back(std::move(finding));
  read_added_ends(spec, tokenizer_config, has_post_processor);
  spec.chat_template = read_chat_template(files, tokenizer_config, where);
  return result;
}

}  // namespace ingot::convert

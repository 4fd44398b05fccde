// JSON form of a tokenizer. Implements spec/tokenizer.md.
#include "format/tensor/tokenizer_spec.h"

#include <algorithm>
#include <array>

#include "format/base/utf8.h"
#include "format/tensor/json_fields.h"

namespace ingot::tensor {
namespace {

constexpr std::array<std::string_view, 4> kKinds = {"byte_bpe", "char_bpe", "spm_bpe", "unigram"};
constexpr std::uint64_t kLastTokenType = static_cast<std::uint64_t>(TokenType::byte);
constexpr std::string_view kHexDigits = "0123456789abcdef";

Json text_to_json(const std::string& text) {
  if (is_utf8(text)) return text;
  std::string hex;
  for (const char character : text) {
    hex += kHexDigits[static_cast<unsigned char>(character) >> 4];
    hex += kHexDigits[static_cast<unsigned char>(character) & 15];
  }
  Json json;
  json.set("hex", hex);
  return json;
}

std::string text_from_json(const Json& json, const std::string& where) {
  if (json.is_string()) return json.as_string(where);
  const std::string& hex = json.at("hex", where).as_string(where + ".hex");
  std::string text;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    const std::size_t high = kHexDigits.find(hex[i]);
    const std::size_t low = kHexDigits.find(hex[i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) break;
    text += static_cast<char>(high << 4 | low);
  }
  if (2 * text.size() != hex.size())
    throw Error(ErrorKind::invalid_value, where + ".hex: expected pairs of lower-case hexadecimal digits");
  return text;
}

Json texts_to_json(const std::vector<std::string>& texts) {
  JsonArray array;
  array.reserve(texts.size());
  for (const std::string& text : texts) array.push_back(text_to_json(text));
  return array;
}

std::vector<std::string> texts_from_json(const Json& json, const std::string& where) {
  const JsonArray& array = json.as_array(where);
  std::vector<std::string> texts;
  texts.reserve(array.size());
  for (std::size_t i = 0; i < array.size(); ++i)
    texts.push_back(text_from_json(array[i], where + "[" + std::to_string(i) + "]"));
  return texts;
}

template <class Record, class Visitor>
void visit_added(Record& record, Visitor& visitor) {
  const AddedToken none;
  visitor("id", record.id, none.id);
  visitor("special", record.special, none.special);
  visitor("single_word", record.single_word, none.single_word);
  visitor("lstrip", record.lstrip, none.lstrip);
  visitor("rstrip", record.rstrip, none.rstrip);
  visitor("normalized", record.normalized, none.normalized);
}

template <class Record, class Visitor>
void visit_pre_tokenizer(Record& record, Visitor& visitor) {
  const PreTokenizer none;
  visitor("kind", record.kind, none.kind);
  visitor("pattern", record.pattern, none.pattern);
  visitor("source_pattern", record.source_pattern, none.source_pattern);
  visitor("individual_digits", record.individual_digits, none.individual_digits);
  visitor("add_prefix_space", record.add_prefix_space, none.add_prefix_space);
  visitor("prepend_scheme", record.prepend_scheme, none.prepend_scheme);
}

template <class Record, class Visitor>
void visit_normalizer(Record& record, Visitor& visitor) {
  const NormalizerStep none;
  visitor("kind", record.kind, none.kind);
  visitor("from", record.from, none.from);
  visitor("to", record.to, none.to);
}

}  // namespace

// Found by FieldWriter and FieldReader through the argument type.
static Json to_json(const AddedToken& token) {
  FieldWriter writer;
  visit_added(token, writer);
  Json json = writer.take();
  json.set("text", text_to_json(token.text));
  return json;
}
static void from_json(const Json& json, const std::string& where, AddedToken& token) {
  FieldReader reader(json, where);
  visit_added(token, reader);
  token.text = text_from_json(json.at("text", where), where + ".text");
  reader.finish(1);
}
static Json to_json(const PreTokenizer& step) {
  FieldWriter writer;
  visit_pre_tokenizer(step, writer);
  return writer.take();
}
static void from_json(const Json& json, const std::string& where, PreTokenizer& step) {
  FieldReader reader(json, where);
  visit_pre_tokenizer(step, reader);
  reader.finish();
}
static Json to_json(const NormalizerStep& step) {
  FieldWriter writer;
  visit_normalizer(step, writer);
  return writer.take();
}
static void from_json(const Json& json, const std::string& where, NormalizerStep& step) {
  FieldReader reader(json, where);
  visit_normalizer(step, reader);
  reader.finish();
}

namespace {

/// Every field but kind, tokens, scores, types and merges, which have forms of their own.
template <class Record, class Visitor>
void visit_fields(Record& record, Visitor& visitor) {
  const TokenizerSpec none;
  visitor("added", record.added, none.added);
  visitor("normalizer", record.normalizer, none.normalizer);
  visitor("pre_tokenizers", record.pre_tokenizers, none.pre_tokenizers);
  visitor("byte_fallback", record.byte_fallback, none.byte_fallback);
  visitor("fuse_unknown", record.fuse_unknown, none.fuse_unknown);
  visitor("ignore_merges", record.ignore_merges, none.ignore_merges);
  visitor("add_space_prefix", record.add_space_prefix, none.add_space_prefix);
  visitor("strip_one_leading_space", record.strip_one_leading_space, none.strip_one_leading_space);
  visitor("bos", record.bos, none.bos);
  visitor("eos", record.eos, none.eos);
  visitor("unknown", record.unknown, none.unknown);
  visitor("padding", record.padding, none.padding);
  visitor("end_of_generation", record.end_of_generation, none.end_of_generation);
  visitor("add_bos", record.add_bos, none.add_bos);
  visitor("add_eos", record.add_eos, none.add_eos);
  visitor("chat_template", record.chat_template, none.chat_template);
  visitor("gguf_pre", record.gguf_pre, none.gguf_pre);
}

TokenType type_from_json(const Json& json, const std::string& where) {
  const std::uint64_t value = json.as_u64(where);
  if (value < 1 || value > kLastTokenType)
    throw Error(ErrorKind::invalid_value, where + ": token type " + std::to_string(value));
  return static_cast<TokenType>(value);
}

TokenizerKind kind_from_json(const Json& json, const std::string& where) {
  const std::string& text = json.as_string(where);
  const auto found = std::find(kKinds.begin(), kKinds.end(), text);
  if (found == kKinds.end()) throw Error(ErrorKind::invalid_value, where + ": unknown tokenizer kind \"" + text + "\"");
  return static_cast<TokenizerKind>(found - kKinds.begin());
}

}  // namespace

Json to_json(const TokenizerSpec& spec) {
  FieldWriter writer;
  visit_fields(spec, writer);
  Json json = writer.take();
  json.set("kind", kKinds[static_cast<std::size_t>(spec.kind)]);
  json.set("tokens", texts_to_json(spec.tokens));
  if (!spec.merges.empty()) json.set("merges", texts_to_json(spec.merges));
  if (!spec.scores.empty()) {
    JsonArray scores;
    for (const float score : spec.scores) scores.push_back(shortest_decimal(score));
    json.set("scores", std::move(scores));
  }
  if (!spec.types.empty()) {
    JsonArray types;
    for (const TokenType type : spec.types) types.push_back(static_cast<int>(type));
    json.set("types", std::move(types));
  }
  return json;
}

TokenizerSpec tokenizer_spec_from_json(const Json& json, std::string_view where) {
  const std::string at(where);
  TokenizerSpec spec;
  FieldReader reader(json, at);
  visit_fields(spec, reader);
  spec.kind = kind_from_json(json.at("kind", at), at + ".kind");
  spec.tokens = texts_from_json(json.at("tokens", at), at + ".tokens");
  std::size_t claimed = 2;
  if (const Json* merges = json.find("merges")) {
    spec.merges = texts_from_json(*merges, at + ".merges");
    ++claimed;
  }
  if (const Json* scores = json.find("scores")) {
    for (const Json& score : scores->as_array(at + ".scores"))
      spec.scores.push_back(float_from_json<float>(score, at + ".scores"));
    ++claimed;
  }
  if (const Json* types = json.find("types")) {
    for (const Json& type : types->as_array(at + ".types")) spec.types.push_back(type_from_json(type, at + ".types"));
    ++claimed;
  }
  reader.finish(claimed);
  if (!spec.scores.empty() && spec.scores.size() != spec.tokens.size())
    throw Error(ErrorKind::invalid_value, at + ".scores: one per token");
  if (!spec.types.empty() && spec.types.size() != spec.tokens.size())
    throw Error(ErrorKind::invalid_value, at + ".types: one per token");
  return spec;
}

}  // namespace ingot::tensor

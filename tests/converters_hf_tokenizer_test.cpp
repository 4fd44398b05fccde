// Tokenizer files -> TokenizerSpec. The files under tests/golden/foreign/hf/tokenizers were made by the packages that
// own them (make_tokenizers.py), expected.json holds what those packages report.
#include <doctest/doctest.h>

#include <filesystem>

#include "converters/hf/tokenizer.h"
#include "format/base/mapped_file.h"

using namespace ingot;
using namespace ingot::convert;
using tensor::TokenizerKind;
using tensor::TokenizerSpec;
using tensor::TokenType;

namespace {

const std::string kFolder = std::string(INGOT_TEST_DATA) + "/golden/foreign/hf/tokenizers/";

/// The files of one folder, kept in memory.
class Folder {
 public:
  explicit Folder(const std::string& path) : path_(path) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      texts_[entry.path().filename().string()] = read_text_file(entry.path(), 1 << 24);
    }
  }
  [[nodiscard]] HfTokenizerResult read() const {
    return read_hf_tokenizer(
        [this](std::string_view name) -> std::optional<Bytes> {
          const auto found = texts_.find(std::string(name));
          if (found == texts_.end()) return std::nullopt;
          return as_bytes_view(found->second);
        },
        path_);
  }
  [[nodiscard]] Json expected() const { return parse_json(texts_.at("expected.json"), "expected.json"); }
  void set(const std::string& name, const std::string& text) { texts_[name] = text; }
  void remove(const std::string& name) { texts_.erase(name); }
  [[nodiscard]] const std::string& text(const std::string& name) const { return texts_.at(name); }

 private:
  std::string path_;
  std::map<std::string, std::string> texts_;
};

TokenizerSpec read(const std::string& name) {
  HfTokenizerResult result = Folder(kFolder + name).read();
  REQUIRE_MESSAGE(result.spec.has_value(), result.note);
  return *result.spec;
}

std::vector<std::string> strings(const Json& json) {
  std::vector<std::string> result;
  for (const Json& item : json.as_array("strings")) result.push_back(item.as_string("strings"));
  return result;
}

std::vector<std::uint32_t> ids_of_type(const TokenizerSpec& spec, std::initializer_list<TokenType> wanted) {
  std::vector<std::uint32_t> ids;
  for (std::uint32_t id = 0; id < spec.types.size(); ++id) {
    for (const TokenType type : wanted)
      if (spec.types[id] == type) ids.push_back(id);
  }
  return ids;
}

std::vector<std::uint32_t> numbers(const Json& json) {
  std::vector<std::uint32_t> result;
  for (const Json& item : json.as_array("numbers"))
    result.push_back(static_cast<std::uint32_t>(item.as_u64("numbers")));
  return result;
}

constexpr const char* kKinds[] = {"byte_bpe", "char_bpe", "spm_bpe", "unigram"};

ErrorKind sentencepiece_error(const std::string& bytes) {
  try {
    (void)read_sentencepiece_model(as_bytes_view(bytes), "tokenizer.model");
  } catch (const Error& error) {
    return error.kind;
  }
  return ErrorKind::mismatch;  // accepted
}

}  // namespace

TEST_CASE("hf_tokenizer_json_has_the_packages_vocabulary_merges_and_steps") {
  for (const char* name : {"gpt2", "llama3", "qwen2", "smollm", "llama2", "gemma", "metaspace", "unigram"}) {
    INFO(name);
    const Folder folder(kFolder + name);
    const Json expected = folder.expected();
    const TokenizerSpec spec = read(name);
    CHECK(kKinds[static_cast<int>(spec.kind)] == expected.at("kind", name).as_string(name));
    CHECK(spec.tokens == strings(expected.at("tokens", name)));
    if (expected.find("merges") != nullptr) CHECK(spec.merges == strings(expected.at("merges", name)));
    CHECK(ids_of_type(spec, {TokenType::control, TokenType::unknown}) == numbers(expected.at("special_ids", name)));
    CHECK(spec.gguf_pre == expected.at("gguf_pre", name).as_string(name));
    std::vector<std::string> steps;
    for (const tensor::PreTokenizer& step : spec.pre_tokenizers) steps.push_back(step.kind + " " + step.pattern);
    CHECK(steps == strings(expected.at("steps", name)));
    std::vector<std::string> normalizer;
    for (const tensor::NormalizerStep& step : spec.normalizer) normalizer.push_back(step.kind);
    if (expected.find("normalizer") != nullptr) CHECK(normalizer == strings(expected.at("normalizer", name)));
    if (const Json* scores = expected.find("scores")) {
      for (std::size_t i = 0; i < spec.scores.size(); ++i)
        CHECK(spec.scores[i] == static_cast<float>(scores->as_array(name)[i].as_double(name)));
    }
  }
}

TEST_CASE("hf_tokenizer_knows_what_is_put_around_a_text") {
  CHECK_FALSE(read("gpt2").add_bos);
  CHECK(read("gpt2").bos == 0);
  CHECK(read("gpt2").eos == 0);
  const TokenizerSpec llama3 = read("llama3");
  CHECK(llama3.add_bos);
  CHECK(llama3.ignore_merges);
  CHECK(llama3.bos == 0);
  CHECK(llama3.eos == 1);
  CHECK(llama3.end_of_generation == std::vector<std::uint32_t>{1, 2});
  CHECK(llama3.chat_template == "from the file");
  const TokenizerSpec qwen2 = read("qwen2");
  CHECK_FALSE(qwen2.add_bos);
  CHECK_FALSE(qwen2.bos.has_value());
  CHECK(qwen2.tokens.at(*qwen2.eos) == "<|im_end|>");
  CHECK(qwen2.chat_template == "yes");
  CHECK(qwen2.added.back().text == "<think>");
  CHECK(qwen2.added.back().lstrip);
  CHECK(qwen2.types[qwen2.added.back().id] == TokenType::user_defined);
  const TokenizerSpec llama2 = read("llama2");
  CHECK(llama2.add_bos);
  CHECK(llama2.byte_fallback);
  CHECK(llama2.fuse_unknown);
  CHECK(llama2.strip_one_leading_space);
  CHECK(llama2.padding == llama2.eos);
  CHECK(ids_of_type(llama2, {TokenType::byte}).size() == 256);
  CHECK(ids_of_type(llama2, {TokenType::unknown}) == std::vector<std::uint32_t>{0});
  CHECK_FALSE(read("gemma").strip_one_leading_space);
  CHECK(read("metaspace").pre_tokenizers.front().prepend_scheme == "first");
  CHECK(read("metaspace").add_eos);  // the config's flags replace the post-processor
}

TEST_CASE("hf_tokenizer_json_round_trips_through_our_writer") {
  for (const char* name : {"gpt2", "llama3", "qwen2", "smollm", "llama2", "gemma", "metaspace", "unigram"}) {
    INFO(name);
    const TokenizerSpec spec = read(name);
    Folder folder(kFolder + name);
    folder.set("tokenizer.json", pretty_json(write_tokenizer_json(spec)));
    folder.set("tokenizer_config.json", pretty_json(write_tokenizer_config(spec, 64)));
    folder.remove("special_tokens_map.json");
    const HfTokenizerResult again = folder.read();
    REQUIRE(again.spec.has_value());
    CHECK(canonical_json(tensor::to_json(*again.spec)) == canonical_json(tensor::to_json(spec)));
  }
}

TEST_CASE("hf_sentencepiece_model_has_the_packages_pieces") {
  for (const char* name : {"spm_bpe", "spm_unigram"}) {
    INFO(name);
    const Json expected = Folder(kFolder + name).expected();
    const TokenizerSpec spec = read(name);
    CHECK(kKinds[static_cast<int>(spec.kind)] == expected.at("kind", name).as_string(name));
    CHECK(spec.tokens == strings(expected.at("tokens", name)));
    const JsonArray& scores = expected.at("scores", name).as_array(name);
    REQUIRE(spec.scores.size() == scores.size());
    for (std::size_t i = 0; i < scores.size(); ++i)
      CHECK(spec.scores[i] == static_cast<float>(scores[i].as_double(name)));
    CHECK(ids_of_type(spec, {TokenType::byte}) == numbers(expected.at("byte_ids", name)));
    CHECK(ids_of_type(spec, {TokenType::control}) == numbers(expected.at("control_ids", name)));
    CHECK(ids_of_type(spec, {TokenType::unknown}) == numbers(expected.at("unknown_ids", name)));
    CHECK(spec.bos == expected.at("bos", name).as_u64(name));
    CHECK(spec.eos == expected.at("eos", name).as_u64(name));
    CHECK(spec.add_space_prefix);
    CHECK(spec.byte_fallback);
    CHECK(spec.normalizer.empty());
    CHECK(spec.add_bos);  // LlamaTokenizer does without saying so
  }
}

TEST_CASE("hf_sentencepiece_special_ids_come_from_the_trainer_spec") {
  // Five pieces "a".."e"; trainer_spec {model_type BPE, unk_id 4, bos_id 3, eos_id -1, pad_id 2}; normalizer_spec
  // {add_dummy_prefix false}.
  std::string model;
  for (const char piece : std::string("abcde")) model += std::string("\x0a\x03\x0a\x01", 4) + piece;
  const std::string trainer =
      std::string("\x18\x02\xc0\x02\x04\xc8\x02\x03\xd0\x02", 10) + std::string(9, '\xff') + "\x01\xd8\x02\x02";
  model += std::string("\x12") + static_cast<char>(trainer.size()) + trainer + std::string("\x1a\x02\x18\x00", 4);
  const TokenizerSpec spec = read_sentencepiece_model(as_bytes_view(model), "tokenizer.model");
  CHECK(spec.kind == TokenizerKind::spm_bpe);
  CHECK(spec.unknown == 4);
  CHECK(spec.bos == 3);
  CHECK_FALSE(spec.eos.has_value());
  CHECK(spec.padding == 2);
  CHECK_FALSE(spec.add_space_prefix);
}

TEST_CASE("hf_sentencepiece_model_rejects_broken_messages") {
  const std::string whole = Folder(kFolder + "spm_bpe").text("tokenizer.model");
  CHECK(sentencepiece_error(whole) == ErrorKind::mismatch);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string exact = whole.substr(0, size);
    try {
      (void)read_sentencepiece_model(as_bytes_view(exact),
                                     "tokenizer.model");  // cut between two fields: a smaller valid message
    } catch (const Error&) {
    }
  }
  CHECK(sentencepiece_error("") == ErrorKind::invalid_value);
  CHECK(sentencepiece_error("\x0a\x05"
                            "abc") == ErrorKind::truncated);
  CHECK(sentencepiece_error(std::string("\x0a\x02\x18\x09", 4)) == ErrorKind::invalid_value);  // piece type 9
  CHECK(sentencepiece_error("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") ==
        ErrorKind::invalid_value);                                 // endless varint
  CHECK(sentencepiece_error("\x0b") == ErrorKind::invalid_value);  // wire type 3
}

TEST_CASE("hf_tokenizer_json_rejects_what_it_cannot_hold") {
  const auto kind_of = [](const std::string& model) -> std::optional<ErrorKind> {
    try {
      (void)read_tokenizer_json(parse_json("{\"model\":" + model + "}", "t"), "t");
      return std::nullopt;
    } catch (const Error& error) {
      return error.kind;
    }
  };
  CHECK_FALSE(kind_of(R"({"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]})").has_value());
  CHECK_FALSE(kind_of(R"({"vocab":{"a":0},"merges":[]})").has_value());
  CHECK(kind_of(R"({"type":"WordPiece","vocab":{}})") == ErrorKind::unsupported);
  CHECK(kind_of(R"({"type":"BPE","vocab":{"a":4000000},"merges":[]})") == ErrorKind::limit_exceeded);
  CHECK(kind_of(R"({"type":"BPE","vocab":{"a":0,"b":0},"merges":[]})") == ErrorKind::invalid_value);
  CHECK(kind_of(R"({"type":"BPE","vocab":{"a":0},"merges":["ab"]})") == ErrorKind::invalid_value);
  CHECK(kind_of(R"({"type":"BPE","vocab":{"a":0},"merges":[["a b","c"]]})") == ErrorKind::unsupported);
  CHECK(kind_of(R"({"type":"BPE","vocab":{"a":-1},"merges":[]})") == ErrorKind::invalid_value);
}

TEST_CASE("hf_tokenizer_of_another_kind_is_a_note") {
  Folder folder(kFolder + "gpt2");
  folder.set("tokenizer.json", R"({"model":{"type":"WordPiece","vocab":{"a":0}}})");
  const HfTokenizerResult result = folder.read();
  CHECK_FALSE(result.spec.has_value());
  CHECK(result.note.find("WordPiece") != std::string::npos);
}

TEST_CASE("hf_tokenizer_from_vocab_and_merges_files") {
  Folder folder(kFolder + "gpt2");
  const TokenizerSpec whole = *folder.read().spec;
  Json vocabulary{JsonObject{}};
  for (std::size_t id = 0; id < whole.tokens.size(); ++id)
    vocabulary.set(whole.tokens[id], Json(static_cast<std::uint64_t>(id)));
  std::string merges = "#version: 0.2\n";
  for (const std::string& merge : whole.merges) merges += merge + "\n";
  folder.remove("tokenizer.json");
  folder.set("vocab.json", canonical_json(vocabulary));
  folder.set("merges.txt", merges);
  const HfTokenizerResult result = folder.read();
  REQUIRE(result.spec.has_value());
  CHECK(result.spec->tokens == whole.tokens);
  CHECK(result.spec->merges == whole.merges);
  CHECK(result.spec->pre_tokenizers == whole.pre_tokenizers);
}

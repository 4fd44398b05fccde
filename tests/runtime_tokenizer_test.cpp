// Tokenizers against the `tokenizers` library (tests/data/tokenizers, tests/data/tiny-llama) and llama.cpp (../shared
// vocabularies).
#include <doctest/doctest.h>

#include <random>

#include "converters/hf/tokenizer.h"
#include "converters/registry.h"
#include "format/base/utf8.h"
#include "runtime/runtime.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/word_cuts.h"
#include "tests/expect_error.h"
#include "tests/runtime_fixtures.h"
#include "tests/skip.h"

using namespace ingot::test;
using ingot::ErrorKind;
using ingot::Json;
using ingot::runtime::Tokenizer;
namespace convert = ingot::convert;
namespace tensor = ingot::tensor;

namespace {

Tokenizer load_json(const std::filesystem::path& path) {
  return Tokenizer(convert::read_tokenizer_json(read_json(path), path.string()));
}

std::string shown(const std::vector<std::uint32_t>& ids) {
  std::string text;
  for (const std::uint32_t id : ids) text += " " + std::to_string(id);
  return text;
}

void check_rows(const std::string& name, const Tokenizer& tokenizer, const Json& rows) {
  std::size_t cases = 0;
  for (const Json& row : rows.as_array(name)) {
    const std::string& text = row.at("text", name).as_string(name);
    const std::vector<std::uint32_t> ids = ids_of(row.at("ids", name));
    const char* with_special = row.find("ids_special") != nullptr ? "ids_special" : "ids_bos";
    INFO(name << ": " << ingot::canonical_json(Json(text)));
    CHECK_MESSAGE(tokenizer.encode(text, false, true) == ids,
                  "got" << shown(tokenizer.encode(text, false, true)) << ", expected" << shown(ids));
    CHECK(tokenizer.encode(text, true, true) == ids_of(row.at(with_special, name)));
    CHECK(tokenizer.decode(ids, true) == row.at("decoded", name).as_string(name));
    if (const Json* plain = row.find("decoded_plain")) CHECK(tokenizer.decode(ids, false) == plain->as_string(name));
    ++cases;
  }
  CHECK(cases > 30);
}

void check_fixture(const std::string& name) {
  const auto directory = data_directory() / "tokenizers";
  check_rows(name, load_json(directory / (name + ".json")), read_json(directory / "expected.json").at(name, name));
}

tensor::TokenizerSpec byte_spec() {
  tensor::TokenizerSpec spec;
  spec.tokens = {"a", "b", "ab"};
  spec.merges = {"a b"};
  tensor::PreTokenizer step;
  step.kind = "regex";
  step.pattern = "gpt2";
  spec.pre_tokenizers = {step};
  return spec;
}

// The strings of a .inp file: each is followed by a separator line. The .out file has one line of ids for each.
void check_vocabulary(const std::string& name) {
  const auto directory = shared_directory() / "models" / "vocabs";
  const auto path = directory / ("ggml-vocab-" + name + ".gguf");
  if (!std::filesystem::exists(path)) return skip(path.string() + " is absent");
  const tensor::Model model = convert::read_model(path);
  REQUIRE(model.tokenizer);
  const Tokenizer tokenizer(*model.tokenizer);
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string input = ingot::read_text_file(path.string() + ".inp", 1u << 20),
                    output = ingot::read_text_file(path.string() + ".out", 1u << 20);
  std::size_t at = 0, line = 0, cases = 0;
  for (std::size_t end = input.find(separator); end != std::string::npos; end = input.find(separator, at)) {
    const std::string text = input.substr(at, end - at);
    const std::size_t line_end = output.find('\n', line);
    const std::string expected = output.substr(line, line_end - line);
    INFO(name << ": " << ingot::canonical_json(Json(text)));
    CHECK(shown(tokenizer.encode(text, false, false)) == expected);
    at = end + separator.size();
    line = line_end + 1;
    ++cases;
  }
  CHECK(cases >= 40);
}

}  // namespace

TEST_CASE("byte-level BPE with the gpt2 pattern equals tokenizers") { check_fixture("gpt2"); }
TEST_CASE("the gpt2 pattern as a Split step equals tokenizers") { check_fixture("gpt2_split"); }
TEST_CASE("isolated digits before the gpt2 pattern equal tokenizers") { check_fixture("smollm"); }
TEST_CASE("the llama3 pattern with ignore_merges equals tokenizers") { check_fixture("llama3"); }
TEST_CASE("the qwen2 pattern with NFC equals tokenizers") { check_fixture("qwen2"); }
TEST_CASE("the qwen35 pattern equals tokenizers") { check_fixture("qwen35"); }
TEST_CASE("the tekken pattern equals tokenizers") { check_fixture("tekken"); }
TEST_CASE("the gpt4o pattern equals tokenizers") { check_fixture("gpt4o"); }
TEST_CASE("character BPE with byte fallback and a prepending normalizer equals tokenizers") {
  check_fixture("char_legacy");
}
TEST_CASE("character BPE with a metaspace step at the start only equals tokenizers") { check_fixture("char_first"); }
TEST_CASE("character BPE without a prefix, split after spaces, equals tokenizers") { check_fixture("gemma"); }
TEST_CASE("byte-level BPE with an incomplete alphabet and a prefix space equals tokenizers") {
  check_fixture("unknown");
}
TEST_CASE("unigram equals tokenizers") { check_fixture("unigram"); }
TEST_CASE("unigram with byte fallback equals tokenizers") { check_fixture("unigram_bytes"); }

TEST_CASE("every committed tokenizer has a test case above") {
  CHECK(read_json(data_directory() / "tokenizers" / "expected.json").as_object("expected").size() == 14);
}

TEST_CASE("the patterns cut text as in tokenizers") {
  const Json splits = read_json(data_directory() / "tokenizers" / "splits.json");
  const ingot::JsonArray& texts = splits.at("texts", "").as_array("");
  for (const auto& [family, rows] : splits.at("splits", "").as_object("")) {
    tensor::PreTokenizer step;
    step.kind = "regex";
    step.pattern = family;
    const ingot::runtime::PreTokenizer splitter({step});
    REQUIRE(rows.as_array("").size() == texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Json pieces{ingot::JsonArray()};
      for (const auto& piece : splitter.split(texts[i].as_string(""), true)) pieces.push_back(piece.text);
      INFO(family << ": " << ingot::canonical_json(texts[i]));
      CHECK(ingot::canonical_json(pieces) == ingot::canonical_json(rows.as_array("")[i]));
    }
  }
}

TEST_CASE("normalization form C equals tokenizers") {
  const Json pairs = read_json(data_directory() / "tokenizers" / "splits.json").at("nfc", "");
  for (const Json& pair : pairs.as_array("")) {
    const std::string& text = pair.as_array("")[0].as_string("");
    INFO(ingot::canonical_json(Json(text)));
    CHECK(ingot::runtime::unicode::nfc(text) == pair.as_array("")[1].as_string(""));
  }
}

TEST_CASE("the tiny llama tokenizer equals transformers") {
  const auto directory = data_directory() / "tiny-llama";
  const tensor::Model model = convert::read_model(directory);
  REQUIRE(model.tokenizer);
  check_rows("tiny-llama", Tokenizer(*model.tokenizer),
             read_json(directory / "expected.json").at("tokenizer", "expected.json"));
}

TEST_CASE("the gpt-2 vocabulary of llama.cpp encodes its cases") { check_vocabulary("gpt-2"); }
TEST_CASE("the llama-spm vocabulary of llama.cpp encodes its cases") { check_vocabulary("llama-spm"); }

TEST_CASE("special tokens in the text count only with parse_special") {
  const Tokenizer tokenizer = load_json(data_directory() / "tokenizers" / "gpt2.json");
  const std::string text = "a<|end|>tool";
  const auto with = tokenizer.encode(text, false, true), without = tokenizer.encode(text, false, false);
  CHECK(with.size() == 3);
  CHECK(without.size() > 3);
  CHECK(without.back() == with.back());  // "tool" is no special token: it is always matched
  CHECK(tokenizer.decode(with, true) == text);
  CHECK(tokenizer.decode(without, true) == text);
  CHECK(tokenizer.decode(with, false) == "atool");
}

TEST_CASE("bytes that are not UTF-8 are encoded as U+FFFD") {
  const Tokenizer tokenizer = load_json(data_directory() / "tokenizers" / "gpt2.json");
  const std::string text = "a\xF0\x9F\x98 b\xFF\xC0\x80";
  CHECK(tokenizer.decode(tokenizer.encode(text, false, false), false) == "a\uFFFD b\uFFFD\uFFFD\uFFFD");
}

TEST_CASE("what the runtime cannot reproduce is refused by name") {
  tensor::TokenizerSpec spec = byte_spec();
  CHECK_NOTHROW(Tokenizer{spec});
  spec.pre_tokenizers[0].pattern = "";
  spec.pre_tokenizers[0].source_pattern = "[a-z]+";
  CHECK(throws_kind(ErrorKind::unsupported, [&] { Tokenizer{spec}; }));
  spec = byte_spec();
  spec.pre_tokenizers[0].kind = "bertpretokenizer";
  CHECK(throws_kind(ErrorKind::unsupported, [&] { Tokenizer{spec}; }));
  spec = byte_spec();
  spec.normalizer.push_back({"nfkc", "", ""});
  CHECK(throws_kind(ErrorKind::unsupported, [&] { Tokenizer{spec}; }));
}

TEST_CASE("a byte without a token is dropped unless the model itself has an unknown token") {
  tensor::TokenizerSpec spec = byte_spec();
  spec.tokens.push_back("<unk>");
  spec.unknown = 3;
  spec.types.assign(4, tensor::TokenType::normal);
  spec.types[3] = tensor::TokenType::control;  // SmolLM2 in GGUF
  CHECK(Tokenizer(spec).encode("abxa", false, false) == std::vector<std::uint32_t>{2, 0});
  spec.types[3] = tensor::TokenType::unknown;
  CHECK(Tokenizer(spec).encode("abxa", false, false) == std::vector<std::uint32_t>{2, 3, 0});
}

TEST_CASE("text is cut at the mark of words only where no token reaches across") {
  tensor::TokenizerSpec spec = byte_spec();
  spec.kind = tensor::TokenizerKind::spm_bpe;
  spec.tokens = {"a", "b", "\u2581", "a\u2581", "\u2581b", "\u2581\u2581"};
  spec.scores = {0, 0, 0, -1, -2, -3};
  spec.merges.clear();
  spec.pre_tokenizers.clear();
  const ingot::runtime::WordCuts cuts(spec);
  CHECK(cuts.first_piece("b\u2581a") == 1);
  CHECK(cuts.first_piece("a\u2581b") == 5);             // "a\u2581" is a token
  CHECK(cuts.first_piece("\u2581\u2581b\u2581") == 7);  // marks stay together
  CHECK(Tokenizer(spec).encode("b b  b a b", false, false) == std::vector<std::uint32_t>{1, 4, 2, 4, 2, 3, 1});
  CHECK(Tokenizer(spec).encode("b b  b a b b  b a b", false, false) ==
        std::vector<std::uint32_t>{1, 4, 2, 4, 2, 3, 1, 4, 2, 4, 2, 3, 1});
}

TEST_CASE("contradicting tokenizers are refused") {
  tensor::TokenizerSpec spec = byte_spec();
  spec.merges.push_back("a c");
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { Tokenizer{spec}; }));
  spec = byte_spec();
  spec.bos = 3;
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { Tokenizer{spec}; }));
  spec = byte_spec();
  spec.types = {tensor::TokenType::normal};
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { Tokenizer{spec}; }));
  spec = byte_spec();
  spec.added.push_back({7, "x"});
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { Tokenizer{spec}; }));
  spec = byte_spec();
  spec.kind = tensor::TokenizerKind::unigram;
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { Tokenizer{spec}; }));
  spec = byte_spec();
  spec.tokens.clear();
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { Tokenizer{spec}; }));
}

TEST_CASE("long words are merged in reasonable time and decode to themselves") {
  const Tokenizer tokenizer = load_json(data_directory() / "tokenizers" / "gemma.json");
  std::string text(200'000, 'a');
  for (std::size_t i = 0; i < text.size(); i += 3) text[i] = "the quick"[i % 9];
  CHECK(tokenizer.decode(tokenizer.encode(text, false, false), false) == text);
}

TEST_CASE("random bytes encode and decode to valid UTF-8 with every tokenizer") {
  std::mt19937 random(5);
  for (const char* name :
       {"gpt2", "llama3", "qwen2", "tekken", "gpt4o", "char_legacy", "char_first", "unigram_bytes", "unknown"}) {
    const Tokenizer tokenizer = load_json(data_directory() / "tokenizers" / (std::string(name) + ".json"));
    for (int i = 0; i < 200; ++i) {
      std::string bytes(random() % 40, ' ');
      for (char& c : bytes) c = static_cast<char>(random() % 4 == 0 ? random() : 32 + random() % 96);
      const std::string text = tokenizer.decode(tokenizer.encode(bytes, true, true), true);
      CHECK(ingot::to_valid_utf8(text) == text);
    }
  }
}

TEST_CASE("the streamer holds back incomplete characters and replaces invalid ones") {
  ingot::runtime::Utf8Streamer streamer;
  CHECK(streamer.push("a\xF0\x9F") == "a");
  CHECK(streamer.push("\x98") == "");
  CHECK(streamer.push("\x80z") == "\U0001F600z");
  CHECK(streamer.push("\xE2\x82") == "");
  CHECK(streamer.push("x") == "\uFFFDx");
  CHECK(streamer.push("\xFF\xC3") == "\uFFFD");
  CHECK(streamer.flush() == "\uFFFD");
  CHECK(streamer.flush() == "");
}

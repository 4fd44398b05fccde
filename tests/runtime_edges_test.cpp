// Rules that could be off by one step: ties of segmentations, borders of sampling, default ids. The libraries that own
// them decided (tests/data/edges/make.py).
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "converters/hf/tokenizer.h"
#include "converters/registry.h"
#include "runtime/runtime.h"
#include "tests/runtime_fixtures.h"

using namespace ingot::test;
using ingot::Json;
using ingot::runtime::Sampler;
using ingot::runtime::Sampling;
using ingot::runtime::Tokenizer;

namespace {

Json edges(const char* part) { return read_json(data_directory() / "edges" / "expected.json").at(part, part); }

std::set<std::uint32_t> drawn(const std::vector<float>& logits, const Sampling& options) {
  Sampler sampler(options);
  std::set<std::uint32_t> ids;
  for (int i = 0; i < 4000; ++i) ids.insert(sampler.sample(logits));
  return ids;
}

}  // namespace

TEST_CASE("unigram chooses among segmentations of equal score, and ends with eos, as tokenizers does") {
  const Json unigram = edges("unigram");
  const Tokenizer tokenizer(ingot::convert::read_tokenizer_json(unigram.at("tokenizer", ""), "edges"));
  for (const Json& row : unigram.at("rows", "").as_array("rows")) {
    const std::string& text = row.at("text", "").as_string("");
    INFO(text);
    CHECK(tokenizer.encode(text, false, false) == ids_of(row.at("ids", "")));
    CHECK(tokenizer.encode(text, true, false) == ids_of(row.at("ids_special", "")));
  }
}

TEST_CASE("min-p, top-p and top-k keep what the warpers of transformers keep") {
  const Json rows = edges("sampling");
  for (const Json& row : rows.as_array("sampling")) {
    INFO(ingot::canonical_json(row));
    std::vector<float> logits, kept;
    for (const Json& logit : row.at("logits", "").as_array(""))
      logits.push_back(static_cast<float>(logit.as_double("")));
    Sampling options;
    options.temperature = 1;
    options.seed = 11;
    if (const Json* value = row.find("min_p")) options.min_p = value->as_double("");
    if (const Json* value = row.find("top_p")) options.top_p = value->as_double("");
    if (const Json* value = row.find("top_k")) options.top_k = static_cast<std::uint32_t>(value->as_u64(""));
    for (const std::uint32_t id : drawn(logits, options)) kept.push_back(logits[id]);
    std::sort(kept.begin(), kept.end());
    std::vector<float> expected;
    for (const Json& logit : row.at("kept", "").as_array(""))
      expected.push_back(static_cast<float>(logit.as_double("")));
    CHECK(kept == expected);
  }
}

TEST_CASE("among equal logits top-k keeps the lower ids") {
  Sampling options;
  options.temperature = 1;
  options.top_k = 2;
  CHECK(drawn({1, 4, 2, 4, 4, 4}, options) == std::set<std::uint32_t>{1, 3});
}

TEST_CASE("a SentencePiece vocabulary in GGUF without special-id keys is what llama.cpp makes of it") {
  const Json expected = edges("gguf_defaults");
  const ingot::tensor::Model model = ingot::convert::read_model(data_directory() / "edges" / "spm_defaults.gguf");
  REQUIRE(model.tokenizer);
  CHECK(model.tokenizer->bos == expected.at("bos", "").as_u64(""));
  CHECK(model.tokenizer->eos == expected.at("eos", "").as_u64(""));
  std::vector<std::uint32_t> ends = model.tokenizer->end_of_generation;
  std::sort(ends.begin(), ends.end());
  CHECK(ends == ids_of(expected.at("ends", "")));
  const Tokenizer tokenizer(*model.tokenizer);
  for (const Json& row : expected.at("ids", "").as_array(""))
    CHECK(tokenizer.encode(row.at("text", "").as_string(""), true, false) == ids_of(row.at("ids", "")));
  CHECK(model.config.rope_scaling.type == "linear");  // llama.rope.scale_linear
  CHECK(model.config.rope_scaling.factor == 4);
  CHECK(model.config.norm_epsilon == 1e-5);  // binary32 in the file: the decimal that was meant
}

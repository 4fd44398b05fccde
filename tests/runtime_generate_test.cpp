// Sampling and the generation loop.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "converters/registry.h"
#include "runtime/rope.h"
#include "runtime/runtime.h"
#include "tests/expect_error.h"
#include "tests/runtime_fixtures.h"

using namespace ingot::test;
using ingot::Json;
using ingot::runtime::GenerateOptions;
using ingot::runtime::GenerateResult;
using ingot::runtime::Sampler;
using ingot::runtime::Sampling;
using ingot::runtime::Session;
using ingot::runtime::Tokenizer;

namespace {

// Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625 in an order that is not sorted.
const std::vector<float> kLogits = {std::log(0.125f), std::log(0.5f), std::log(0.0625f), std::log(0.25f),
                                    std::log(0.0625f)};
constexpr int kDraws = 40000;

std::array<int, 5> counts(const Sampling& options) {
  Sampler sampler(options);
  std::array<int, 5> result{};
  for (int i = 0; i < kDraws; ++i) ++result[sampler.sample(kLogits)];
  return result;
}

void check_shares(const Sampling& options, const std::array<double, 5>& expected) {
  const std::array<int, 5> got = counts(options);
  for (std::size_t i = 0; i < 5; ++i) {
    // Five standard deviations of a binomial count.
    const double bound = 5 * std::sqrt(kDraws * expected[i] * (1 - expected[i]));
    CHECK(std::abs(got[i] - kDraws * expected[i]) <= bound);
  }
}

Sampling sampling(double temperature, std::uint32_t top_k = 0, double top_p = 1, double min_p = 0) {
  Sampling options;
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  options.min_p = min_p;
  options.seed = 42;
  return options;
}

struct TinyLlama {
  ingot::tensor::Model model = ingot::convert::read_model(data_directory() / "tiny-llama");
  Session session{model, 0};
  Tokenizer tokenizer{*model.tokenizer};
  std::vector<std::uint32_t> prompt = tokenizer.encode("Once upon a time", true, false);

  GenerateResult run(const GenerateOptions& options) {
    session.reset();
    return generate(session, tokenizer, prompt, options);
  }
};

}  // namespace

TEST_CASE("temperature 0 takes the greatest logit, the first among equals, never NaN") {
  Sampler sampler(Sampling{});
  CHECK(sampler.sample(kLogits) == 1);
  CHECK(sampler.sample(std::vector<float>{1, 3, 3, 2}) == 1);
  CHECK(sampler.sample(std::vector<float>{NAN, 1, 2}) == 2);
  CHECK(sampler.sample(std::vector<float>{-INFINITY, -INFINITY}) == 0);
}

TEST_CASE("draws follow the probabilities under temperature, top-k, top-p and min-p") {
  check_shares(sampling(1), {0.125, 0.5, 0.0625, 0.25, 0.0625});
  const double square = 0.25 + 0.0625 + 0.015625 + 2 * 0.00390625;
  check_shares(sampling(0.5),
               {0.015625 / square, 0.25 / square, 0.00390625 / square, 0.0625 / square, 0.00390625 / square});
  check_shares(sampling(1, 2), {0, 2.0 / 3, 0, 1.0 / 3, 0});
  check_shares(sampling(1, 1), {0, 1, 0, 0, 0});
  check_shares(sampling(1, 0, 0.7), {0, 2.0 / 3, 0, 1.0 / 3, 0});
  check_shares(sampling(1, 0, 0.8), {1.0 / 7, 4.0 / 7, 0, 2.0 / 7, 0});
  check_shares(sampling(1, 0, 0.0), {0, 1, 0, 0, 0});
  check_shares(sampling(1, 0, 1, 0.2), {1.0 / 7, 4.0 / 7, 0, 2.0 / 7, 0});
  check_shares(sampling(1, 0, 1, 1.0), {0, 1, 0, 0, 0});
}

TEST_CASE("a seed gives the same draws, another seed others") {
  Sampling options = sampling(1);
  Sampler a(options), b(options);
  options.seed = 43;
  Sampler c(options);
  int same = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t token = a.sample(kLogits);
    CHECK(token == b.sample(kLogits));
    same += token == c.sample(kLogits);
  }
  CHECK(same < 600);
}

TEST_CASE("odd logits draw without trouble") {
  Sampler sampler(sampling(1, 3, 0.9, 0.1));
  CHECK(sampler.sample(std::vector<float>{NAN, NAN}) < 2);
  CHECK(sampler.sample(std::vector<float>{INFINITY, 0}) == 0);
  CHECK(sampler.sample(std::vector<float>{-INFINITY, 1, -INFINITY}) == 1);
  CHECK(sampler.sample(std::vector<float>{5}) == 0);
}

TEST_CASE("generate streams what it returns and stops for each reason") {
  TinyLlama tiny;
  GenerateOptions options;
  options.max_tokens = 20;
  options.ignore_end = true;
  std::string streamed;
  options.on_text = [&](std::string_view piece) {
    streamed += piece;
    return true;
  };
  const GenerateResult all = tiny.run(options);
  CHECK(all.stop_reason == "length");
  CHECK(all.tokens.size() == 20);
  CHECK(all.decode_steps == 19);  // the prompt's pass gives the first
  CHECK(streamed == all.text);
  CHECK(all.text == tiny.tokenizer.decode(all.tokens));

  const std::string word = all.text.substr(10, 6);
  options.stop = {"never to be seen", word};
  streamed.clear();
  const GenerateResult stopped = tiny.run(options);
  CHECK(stopped.stop_reason == "stop");
  CHECK(stopped.text == all.text.substr(0, all.text.find(word)));
  CHECK(streamed == stopped.text);

  options.stop.clear();
  options.on_text = [](std::string_view) { return false; };
  CHECK(tiny.run(options).stop_reason == "interrupted");

  options.on_text = nullptr;
  options.max_tokens = 100000;
  const GenerateResult full = tiny.run(options);
  CHECK(full.stop_reason == "context");
  CHECK(full.tokens.size() + tiny.prompt.size() ==
        tiny.session.context() + 1);  // the last one is drawn but no longer read

  options.max_tokens = 0;
  CHECK(tiny.run(options).tokens.empty());
}

TEST_CASE("a token that ends a reply ends it, unless ignored") {
  TinyLlama tiny;
  GenerateOptions options;
  options.max_tokens = 8;
  options.ignore_end = true;
  const GenerateResult all = tiny.run(options);
  ingot::tensor::TokenizerSpec spec = tiny.tokenizer.spec();
  spec.end_of_generation.push_back(all.tokens[3]);
  const Tokenizer ending(spec);
  options.ignore_end = false;
  tiny.session.reset();
  const GenerateResult ended = generate(tiny.session, ending, tiny.prompt, options);
  CHECK(ended.stop_reason == "end");
  CHECK(ended.tokens.size() == 3);
  CHECK(ended.decode_steps == 3);
}

TEST_CASE("rows of the head beyond the vocabulary are never drawn") {
  TinyLlama tiny;
  GenerateOptions options;
  options.max_tokens = 30;
  options.ignore_end = true;
  const std::vector<std::uint32_t> all = tiny.run(options).tokens;
  constexpr std::size_t kFewer = 300;
  REQUIRE(*std::max_element(all.begin(), all.end()) >= kFewer);
  ingot::tensor::TokenizerSpec spec = tiny.tokenizer.spec();
  spec.tokens.resize(kFewer);
  spec.types.resize(spec.types.empty() ? 0 : kFewer);
  spec.scores.resize(spec.scores.empty() ? 0 : kFewer);
  spec.merges.clear();
  std::erase_if(spec.added, [](const auto& token) { return token.id >= kFewer; });
  const Tokenizer smaller(spec);
  tiny.session.reset();
  const GenerateResult result = generate(tiny.session, smaller, std::vector<std::uint32_t>{5, 6, 7}, options);
  REQUIRE(result.tokens.size() == 30);
  CHECK(*std::max_element(result.tokens.begin(), result.tokens.end()) < kFewer);
}

TEST_CASE("a model whose logits are no numbers is called broken") {
  TinyLlama tiny;
  for (ingot::tensor::Tensor& tensor : tiny.model.tensors) {
    if (tensor.name != "model.norm.weight") continue;
    std::vector<std::byte> ones(tensor.stored_bytes(), std::byte{0xFF});  // NaN
    tensor.planes = ingot::tensor::planes_in_memory({ones}, tensor.shape, tensor.scheme, tensor.packing);
  }
  Session session(tiny.model, 0);
  for (const double temperature : {0.0, 0.8}) {
    GenerateOptions options;
    options.sampling = sampling(temperature);
    session.reset();
    const auto error = error_of([&] { (void)generate(session, tiny.tokenizer, tiny.prompt, options); });
    REQUIRE(error.has_value());
    CHECK(error->kind == ingot::ErrorKind::invalid_value);
  }
}

TEST_CASE("sampled generation is the same for a seed") {
  TinyLlama tiny;
  GenerateOptions options;
  options.max_tokens = 30;
  options.sampling = sampling(0.9, 40, 0.95);
  const GenerateResult a = tiny.run(options), b = tiny.run(options);
  CHECK(a.tokens == b.tokens);
  options.sampling.seed = 7;
  CHECK(tiny.run(options).tokens != a.tokens);
}

TEST_CASE("the repetition penalty is that of transformers") {
  const Json rows = read_json(data_directory() / "tiny-llama" / "expected_repetition.json");
  TinyLlama tiny;
  for (const Json& row : rows.as_array("rows")) {
    GenerateOptions options;
    options.ignore_end = true;
    options.sampling.repetition_penalty = row.at("repetition_penalty", "").as_double("");
    const std::vector<std::uint32_t> wanted = ids_of(row.at("tokens", ""));
    options.max_tokens = wanted.size();
    const std::vector<std::uint32_t> prompt = ids_of(row.at("prompt", ""));
    INFO(options.sampling.repetition_penalty);
    tiny.session.reset();
    CHECK(generate(tiny.session, tiny.tokenizer, prompt, options).tokens == wanted);
    if (prompt.size() < 2) continue;  // the part of a prompt that was read before counts too
    tiny.session.reset();
    (void)tiny.session.forward(std::span(prompt).first(1));
    CHECK(generate(tiny.session, tiny.tokenizer, std::span(prompt).subspan(1), options).tokens == wanted);
  }
  CHECK(rows.as_array("rows").size() >= 4);
}

TEST_CASE("a penalized token counts once, and the penalty comes before the other rules") {
  Sampling options;
  options.repetition_penalty = 2;
  const std::vector<float> logits = {3, 2, -1};
  const std::vector<std::uint32_t> before = {0, 0, 0, 7};  // 7: beyond the vocabulary
  CHECK(Sampler(options).sample(logits, before) == 1);     // 1.5 < 2; thrice would be 0.375
  const std::vector<float> close = {3, 1.4f, -1};
  CHECK(Sampler(options).sample(close, before) == 0);
  const std::vector<float> negative = {-1, -1.5f, -9};
  CHECK(Sampler(options).sample(negative, before) == 1);
  options.temperature = 1;
  options.top_k = 1;
  CHECK(Sampler(options).sample(logits, before) == 1);
}

TEST_CASE("rope frequencies are those of transformers") {
  ingot::tensor::ModelConfig config;
  config.rope_theta = 10000;
  const std::vector<float> plain = ingot::runtime::rope_frequencies(config, 8);
  const std::vector<float> expected = {1.0f, 0.1f, 0.01f, 0.001f};
  for (std::size_t i = 0; i < 4; ++i) CHECK(plain[i] == doctest::Approx(expected[i]).epsilon(1e-6));
  config.rope_scaling.type = "linear";
  config.rope_scaling.factor = 4;
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(ingot::runtime::rope_frequencies(config, 8)[i] == doctest::Approx(expected[i] / 4).epsilon(1e-6));
  }
  const Json table = read_json(data_directory() / "rope" / "expected.json");
  for (const Json& row : table.as_array("")) {
    const auto number = [&](const char* name) { return row.at(name, "").as_double(name); };
    config.rope_theta = number("theta");
    config.rope_scaling.type = row.at("type", "").as_string("");
    config.rope_scaling.factor = number("factor");
    config.rope_scaling.low_freq_factor = number("low");
    config.rope_scaling.high_freq_factor = number("high");
    config.rope_scaling.original_context_length = row.at("original", "").as_u64("");
    const Json *beyond = row.find("beyond"), *truncate = row.find("truncate");
    config.rope_scaling.truncate = truncate == nullptr || truncate->as_bool("");
    for (const char* name : {"short_factor", "long_factor"}) {
      std::vector<double>& factors = *name == 's' ? config.rope_scaling.short_factor : config.rope_scaling.long_factor;
      factors.clear();
      if (row.find(name) == nullptr) continue;
      for (const Json& factor : row.at(name, "").as_array(name)) factors.push_back(factor.as_double(name));
    }
    CHECK(ingot::runtime::rope_magnitude(config) == doctest::Approx(number("magnitude")).epsilon(1e-12));
    const std::vector<float> got = ingot::runtime::rope_frequencies(config, row.at("dim", "").as_u64(""),
                                                                    beyond != nullptr && beyond->as_bool(""));
    const ingot::JsonArray& wanted = row.at("frequencies", "").as_array("");
    REQUIRE(got.size() == wanted.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      CHECK(got[i] == doctest::Approx(wanted[i].as_double("")).epsilon(3e-7));
  }
}

TEST_CASE("the greedy token is the first of the greatest logits, whatever is no number") {
  std::mt19937_64 random(5);
  for (std::size_t size = 1; size < 40; ++size) {
    for (int round = 0; round < 50; ++round) {
      std::vector<float> logits(size);
      for (float& logit : logits)  // few values, so that many are alike
        logit = random() % 4 == 0 ? NAN : random() % 8 == 0 ? -INFINITY : static_cast<float>(random() % 5) - 3;
      std::size_t expected = 0;
      for (std::size_t i = 1; i < size; ++i) {
        if (logits[i] > logits[expected] || (std::isnan(logits[expected]) && !std::isnan(logits[i]))) expected = i;
      }
      Sampler sampler({.temperature = 0});
      CHECK(sampler.sample(logits, {}) == expected);
    }
  }
}

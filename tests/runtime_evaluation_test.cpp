// Evaluation: the perplexity that transformers computes, divergences against sums made here, baselines that are whole
// or refused.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <random>

#include "converters/registry.h"
#include "format/base/mapped_file.h"
#include "runtime/baseline.h"
#include "runtime/evaluation.h"
#include "tests/expect_error.h"
#include "tests/runtime_fixtures.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::runtime;
using test::TemporaryDirectory;
using test::throws_kind;

namespace {

std::vector<float> random_logits(std::mt19937& random, std::size_t count) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::vector<double> probabilities(const std::vector<float>& logits) {
  double total = 0;
  std::vector<double> result;
  for (const float logit : logits) total += result.emplace_back(std::exp(static_cast<double>(logit)));
  for (double& value : result) value /= total;
  return result;
}

struct TinyLlama {
  std::filesystem::path directory = test::data_directory() / "tiny-llama";
  tensor::Model model = convert::read_model(directory);
  Tokenizer tokenizer{*model.tokenizer};
  std::string sample = read_text_file(directory / "sample.txt", 1 << 20);
};

Evaluation evaluate(const TinyLlama& tiny, const EvaluationText& text, Reference* reference) {
  Session session(tiny.model, text.window);
  Evaluation evaluation;
  for (std::uint64_t i = 0; i < text.windows; ++i) evaluate_window(session, text, i, reference, evaluation);
  return evaluation;
}

std::vector<char> bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::filesystem::path& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

TEST_CASE("perplexity and its error are those of transformers over the same windows") {
  const TinyLlama tiny;
  const Json expected = parse_json(
      read_text_file(test::data_directory() / "evaluation" / "expected_perplexity.json", 1 << 20), "expected");
  const EvaluationText text = evaluation_text(tiny.tokenizer, tiny.sample, 64, 0);
  CHECK(text.tokens.size() == expected.at("tokens", "").as_u64(""));
  CHECK(text.windows == expected.at("windows", "").as_u64(""));
  const Evaluation evaluation = evaluate(tiny, text, nullptr);
  CHECK(evaluation.surprise.count == expected.at("scored", "").as_u64(""));
  CHECK(evaluation.perplexity() == doctest::Approx(expected.at("perplexity", "").as_double("")).epsilon(1e-5));
  CHECK(evaluation.perplexity_error() ==
        doctest::Approx(expected.at("perplexity_error", "").as_double("")).epsilon(1e-4));
}

TEST_CASE("a text without a whole window is refused") {
  const TinyLlama tiny;
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)evaluation_text(tiny.tokenizer, "Too short.", 512, 0); }));
}

TEST_CASE("scoring many tokens gives the logits of reading one after the other") {
  const TinyLlama tiny;
  const std::vector<std::uint32_t> tokens = tiny.tokenizer.encode(tiny.sample.substr(0, 600), true, false);
  REQUIRE(tokens.size() > 100);
  Session one(tiny.model, 0), many(tiny.model, 0);
  std::uint64_t next = 70;
  double worst = 0;
  for (std::uint64_t i = 0; i < next; ++i) (void)one.forward(std::span(tokens).subspan(i, 1));
  many.score(tokens, next, [&](std::uint64_t index, std::span<const float> logits) {
    REQUIRE(index == next);
    for (std::uint64_t row = 0; row < logits.size() / many.vocab_size(); ++row, ++next) {
      const std::span<const float> expected = one.forward(std::span(tokens).subspan(next, 1));
      for (std::uint64_t i = 0; i < many.vocab_size(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(expected[i]) - logits[row * many.vocab_size() + i]));
    }
  });
  CHECK(next == tokens.size());
  CHECK(worst < 1e-3);
  CHECK(many.position() == tokens.size());
}

TEST_CASE("the divergence from a whole prediction is the sum over all tokens") {
  std::mt19937 random(1);
  const std::vector<float> a = random_logits(random, 300), b = random_logits(random, 300);
  const std::vector<double> p = probabilities(a), q = probabilities(b);
  double expected = 0, squared = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    expected += p[i] * std::log(p[i] / q[i]);
    squared += std::pow(std::log(p[i]) - std::log(q[i]), 2) / 300;
  }
  const Divergence got = diverge(predict(a, a.size()), b);
  CHECK(got.least == doctest::Approx(expected).epsilon(1e-5));
  CHECK(got.most == doctest::Approx(expected).epsilon(1e-5));
  CHECK(got.squared_error == doctest::Approx(squared).epsilon(1e-5));
  CHECK_FALSE(got.same_likeliest);
  CHECK(diverge(predict(a, a.size()), a).same_likeliest);
  CHECK(std::abs(diverge(predict(a, a.size()), a).least) < 1e-6);
}

TEST_CASE("the bounds of a cut prediction hold the divergence between them") {
  std::mt19937 random(2);
  for (const std::uint64_t listed : {1, 8, 100, 299}) {
    const std::vector<float> a = random_logits(random, 300);
    std::vector<float> b = a;
    for (float& logit : b) logit += static_cast<float>(random() % 1000) / 1000;
    const double truth = diverge(predict(a, a.size()), b).least;
    const Prediction cut = predict(a, listed);
    CHECK(cut.tokens.size() == listed);
    CHECK(std::is_sorted(cut.log_probabilities.rbegin(), cut.log_probabilities.rend()));
    const Divergence got = diverge(cut, b);
    INFO("listed " << listed << ": " << got.least << " <= " << truth << " <= " << got.most);
    CHECK(got.least <= truth + 1e-6);
    CHECK(got.most >= truth - 1e-6);
  }
}

TEST_CASE("an evaluation continues from its document as if it had not stopped") {
  const TinyLlama tiny;
  const EvaluationText text = evaluation_text(tiny.tokenizer, tiny.sample, 64, 6);
  Session session(tiny.model, text.window), other(tiny.model, text.window);
  const auto reference = model_reference(other, text, 0);
  Evaluation whole, stopped;
  for (std::uint64_t i = 0; i < 6; ++i) evaluate_window(session, text, i, reference.get(), whole);
  for (std::uint64_t i = 0; i < 3; ++i) evaluate_window(session, text, i, reference.get(), stopped);
  Evaluation continued = evaluation_from_json(parse_json(canonical_json(to_json(stopped)), "state"), "state");
  for (std::uint64_t i = continued.windows; i < 6; ++i) evaluate_window(session, text, i, reference.get(), continued);
  CHECK(canonical_json(to_json(continued)) == canonical_json(to_json(whole)));
  CHECK(whole.agreement.mean() == 1);
  CHECK(whole.perplexity() == doctest::Approx(std::exp(whole.reference_surprise.mean())).epsilon(1e-9));
}

TEST_CASE("a baseline judges as the model that wrote it, and is refused when it is not whole or of another text") {
  const TemporaryDirectory directory;
  const TinyLlama tiny;
  const EvaluationText text = evaluation_text(tiny.tokenizer, tiny.sample, 64, 4);
  const std::filesystem::path path = directory.path() / "tiny.baseline";
  Session source(tiny.model, text.window);
  const std::uint64_t vocab = source.vocab_size(), listed = usual_listed(vocab);
  const auto model = model_reference(source, text, listed);
  {
    BaselineWriter writer(path, *model, listed);
    const Evaluation own = evaluate(tiny, text, &writer);
    CHECK_FALSE(std::filesystem::exists(path));
    writer.finish(text, vocab, own.perplexity(), "tiny");
  }
  CHECK(std::filesystem::file_size(path) == 16 + 1008 + 4 * 31 * (8 + 8 * listed) + 16);
  const Evaluation same = evaluate(tiny, text, read_baseline(path, text, vocab).get());
  CHECK(same.agreement.mean() == 1);
  CHECK(std::abs(same.least_divergence.mean()) < 1e-6);
  CHECK(same.most_divergence.mean() >= same.least_divergence.mean());

  const std::vector<char> good = bytes_of(path);
  const std::filesystem::path bad = directory.path() / "bad.baseline";
  const auto refuses = [&](const std::vector<char>& bytes) {
    write_bytes(bad, bytes);
    try {
      (void)read_baseline(bad, text, vocab);
    } catch (const Error&) {
      return true;
    }
    return false;
  };
  for (std::size_t at = 0; at < good.size(); at += at < 1100 ? 1 : 97) {
    std::vector<char> bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    if (!refuses(bytes)) FAIL_CHECK("byte " << at << " may change");
    bytes = good;
    bytes.resize(at);
    if (!refuses(bytes)) FAIL_CHECK("the file may end after " << at);
  }
  const EvaluationText other = evaluation_text(tiny.tokenizer, "Once. " + tiny.sample, 64, 4);
  CHECK(throws_kind(ErrorKind::mismatch, [&] { (void)read_baseline(path, other, vocab); }));
  CHECK(throws_kind(ErrorKind::mismatch, [&] { (void)read_baseline(path, text, vocab + 1); }));
}

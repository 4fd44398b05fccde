// Logits and greedy tokens against transformers in float32: the trained tiny Llama, a random tiny GPT-2, a real 656K
// Llama, SmolLM2-135M.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "converters/registry.h"
#include "runtime/runtime.h"
#include "tests/expect_error.h"
#include "tests/runtime_fixtures.h"
#include "tests/skip.h"

using namespace ingot::test;
using ingot::ErrorKind;
using ingot::Json;
using ingot::runtime::KvType;
using ingot::runtime::Numerics;
using ingot::runtime::Session;
using ingot::runtime::Tokenizer;
namespace convert = ingot::convert;
namespace tensor = ingot::tensor;

namespace {

std::uint32_t greatest(std::span<const float> logits) {
  return static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// `expected` has every `stride`-th of the logits.
double worst_difference(std::span<const float> got, const std::vector<float>& expected, std::size_t stride = 1) {
  REQUIRE((got.size() + stride - 1) / stride == expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i * stride]) - expected[i]);
    worst = std::max(worst, std::isnan(difference) ? HUGE_VAL : difference);
  }
  return worst;
}

// A token other than the reference's counts where the reference's two best logits are further apart than this.
constexpr double kDecisiveMargin = 1e-3;
constexpr std::size_t kMostSingleTokens = 100;  // longer prompts are read in one piece only

// The reference's greedy continuation of what `session` has just read: at every step ours must be the same token. The
// reference's token is what goes on, so that a step that is no fault does not end the comparison.
void check_greedy(Session& session, std::span<const float> logits, const Json& row) {
  const std::vector<std::uint32_t> expected = ids_of(row.at("greedy_ids", ""));
  const ingot::JsonArray& margins = row.at("margins", "").as_array("margins");
  REQUIRE(margins.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::uint32_t token = greatest(logits);
    const double margin = margins[i].as_double("margin");
    if (token != expected[i] && margin <= kDecisiveMargin) {
      MESSAGE("token " << i << " is " << token << ", of the reference " << expected[i] << " by a margin of " << margin);
    } else {
      REQUIRE_MESSAGE(token == expected[i], "token " << i << ", margin of the reference " << margin);
    }
    if (i + 1 < expected.size()) logits = session.forward(std::span(&expected[i], 1));
  }
}

// expected.json (generation: prompt_ids, greedy_ids, margins, logits) and expected_logits.safetensors, made by
// transformers in float32.
void check_model(const tensor::Model& model, const std::filesystem::path& expected_directory, double tolerance) {
  const Json expected = read_json(expected_directory / "expected.json");
  const auto logits_file = read_f32_tensors(expected_directory / "expected_logits.safetensors");
  const Json* stride_entry = expected.find("logits_stride");
  const std::size_t stride = stride_entry == nullptr ? 1 : stride_entry->as_u64("logits_stride");
  Session session(model, 0);
  double worst = 0;
  for (const Json& row : expected.at("generation", "").as_array("")) {
    const std::string& name = row.at("logits", "").as_string("");
    INFO(name);
    const std::vector<std::uint32_t> prompt = ids_of(row.at("prompt_ids", ""));
    session.reset();
    const std::span<const float> logits = session.forward(prompt);
    worst = std::max(worst, worst_difference(logits, logits_file.at(name), stride));
    check_greedy(session, logits, row);

    // Token by token gives the same as in one piece, up to the order of sums.
    if (prompt.size() > kMostSingleTokens) continue;
    session.reset();
    std::span<const float> single;
    for (const std::uint32_t token : prompt) single = session.forward(std::span(&token, 1));
    CHECK(worst_difference(single, logits_file.at(name), stride) <= tolerance);
  }
  std::printf("worst logit difference %.3g (tolerance %.3g)\n", worst, tolerance);
  CHECK(worst <= tolerance);
}

// A model that is not part of the repository.
void check_real_model(const std::string& file, const std::filesystem::path& expected_directory) {
  const char* models = std::getenv("INGOT_TEST_MODELS");
  if (models == nullptr) return skip("INGOT_TEST_MODELS is not set (a directory with " + file + ")");
  const std::filesystem::path path = std::filesystem::path(models) / file;
  if (!std::filesystem::exists(path)) return skip(path.string() + " is absent");
  check_model(convert::read_model(path), expected_directory, 1e-3);
}

// A two-layer model whose every tensor is random float32 in memory.
tensor::Tensor float_tensor(const std::string& name, const tensor::Shape& shape) {
  tensor::Tensor result;
  result.name = name;
  result.shape = shape;
  result.scheme = tensor::Scheme::plain(tensor::DType::f32);
  std::vector<std::byte> bytes(result.elements() * sizeof(float));
  for (std::size_t i = 0; i < bytes.size() / 4; ++i)
    ingot::store_le(bytes.data() + 4 * i, std::sin(static_cast<float>(i + name.size())));
  result.planes = tensor::planes_in_memory({std::move(bytes)}, shape, result.scheme, result.packing);
  return result;
}

// The same matrix stored as GGUF does: stored row h*d + 2*i + j is logical row h*d + j*(d/2) + i (spec/transforms.md).
tensor::Tensor interleaved(const tensor::Tensor& plain, std::uint64_t heads) {
  const std::uint64_t rows = plain.shape[0], row_bytes = plain.shape[1] * sizeof(float), d = rows / heads;
  const ingot::Bytes source = *plain.planes->view(0);
  std::vector<std::byte> bytes(source.size());
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::uint64_t i = row % d / 2, j = row % d % 2, from = row / d * d + j * (d / 2) + i;
    std::copy_n(source.data() + from * row_bytes, row_bytes, bytes.data() + row * row_bytes);
  }
  tensor::Tensor result = plain;
  result.planes = tensor::planes_in_memory({std::move(bytes)}, plain.shape, plain.scheme, plain.packing);
  result.transforms = {{tensor::TransformKind::rope_interleave, heads}};
  return result;
}

tensor::Model small_llama() {
  tensor::Model model;
  model.path = "small";
  tensor::ModelConfig& c = model.config;
  c.architecture = "llama";
  c.vocab_size = 19, c.hidden_size = 8, c.intermediate_size = 12, c.layer_count = 2, c.head_count = 4,
  c.kv_head_count = 2, c.head_dim = 4;
  c.context_length = 32, c.norm_epsilon = 1e-5, c.rope_theta = 10000, c.tied_embeddings = true;
  model.tensors.push_back(float_tensor("model.embed_tokens.weight", {19, 8}));
  model.tensors.push_back(float_tensor("model.norm.weight", {8}));
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    model.tensors.push_back(float_tensor(layer + "self_attn.q_proj.weight", {16, 8}));
    model.tensors.push_back(float_tensor(layer + "self_attn.k_proj.weight", {8, 8}));
    model.tensors.push_back(float_tensor(layer + "self_attn.v_proj.weight", {8, 8}));
    model.tensors.push_back(float_tensor(layer + "self_attn.o_proj.weight", {8, 16}));
    model.tensors.push_back(float_tensor(layer + "mlp.gate_proj.weight", {12, 8}));
    model.tensors.push_back(float_tensor(layer + "mlp.up_proj.weight", {12, 8}));
    model.tensors.push_back(float_tensor(layer + "mlp.down_proj.weight", {8, 12}));
    model.tensors.push_back(float_tensor(layer + "input_layernorm.weight", {8}));
    model.tensors.push_back(float_tensor(layer + "post_attention_layernorm.weight", {8}));
  }
  return model;
}

}  // namespace

TEST_CASE("the tiny llama gives the logits and greedy tokens of transformers") {
  const auto directory = data_directory() / "tiny-llama";
  check_model(convert::read_model(directory), directory, 1e-4);
}

TEST_CASE("the tiny gpt2 gives the logits and greedy tokens of transformers") {
  const auto directory = data_directory() / "tiny-gpt2";
  check_model(convert::read_model(directory), directory, 1e-4);
}

TEST_CASE("every architecture and its variants give the logits and greedy tokens of transformers") {
  std::set<std::string> tested;
  for (const auto& entry : std::filesystem::directory_iterator(data_directory() / "tiny-variants")) {
    if (!entry.is_directory()) continue;
    const std::string name = entry.path().filename().string();
    INFO(name);
    std::printf("%s: ", name.c_str());
    const tensor::Model model = convert::read_model(entry.path());
    check_model(model, entry.path(), 1e-4);
    tested.insert(model.config.architecture);
  }
  for (const std::string_view name : ingot::runtime::architectures()) {
    INFO(name);
    CHECK(tested.contains(std::string(name)));
  }
}

TEST_CASE("tinystories-656k gives the logits and greedy tokens of transformers") {
  const auto directory = shared_directory() / "models" / "tinystories-656k";
  if (!std::filesystem::exists(directory)) return skip(directory.string() + " is absent");
  const tensor::Model model = convert::read_model(directory);
  check_model(model, data_directory() / "tinystories-656k", 1e-4);
  const Tokenizer tokenizer(*model.tokenizer);
  const Json expected = read_json(data_directory() / "tinystories-656k" / "expected.json");
  for (const Json& row : expected.at("texts", "").as_array(""))
    CHECK(tokenizer.encode(row.at("text", "").as_string(""), true, false) == ids_of(row.at("ids", "")));
}

TEST_CASE("SmolLM2-135M gives the logits and greedy tokens of transformers") {
  check_real_model(kSmolLm2, data_directory() / "smollm2");
}

TEST_CASE("Gemma-3-270M gives the logits and greedy tokens of transformers") {
  check_real_model(kGemma3, data_directory() / "gemma3-270m");
}

TEST_CASE("missing and misshapen tensors are named") {
  CHECK_NOTHROW(Session(small_llama(), 0));
  for (std::size_t i = 0; i < small_llama().tensors.size(); ++i) {
    tensor::Model model = small_llama();
    const std::string name = model.tensors[i].name;
    model.tensors.erase(model.tensors.begin() + static_cast<std::ptrdiff_t>(i));
    const auto missing = error_of([&] { Session(model, 0); });
    REQUIRE(missing);
    CHECK(missing->kind == ErrorKind::mismatch);
    CHECK(std::string_view(missing->what()).find(name) != std::string_view::npos);

    model = small_llama();
    tensor::Shape shape = model.tensors[i].shape;
    ++shape[0];
    model.tensors[i] = float_tensor(name, shape);
    const auto misshapen = error_of([&] { Session(model, 0); });
    REQUIRE(misshapen);
    CHECK(misshapen->kind == ErrorKind::mismatch);
    CHECK(std::string_view(misshapen->what()).find(name) != std::string_view::npos);
  }
}

TEST_CASE("hostile configurations are refused before memory is asked for") {
  const auto refused = [](auto change) {
    tensor::Model model = small_llama();
    change(model.config);
    return error_of([&] { Session(model, 0); }).has_value();
  };
  CHECK(refused([](tensor::ModelConfig& c) { c.architecture = "unheard_of"; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.layer_count = 1u << 15; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.layer_count = ~std::uint64_t{0}; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.layer_count = 0; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.head_count = 0; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.kv_head_count = 3; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.head_dim = std::uint64_t{1} << 40; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.head_dim = 3; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.rotary_dim = 3; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.vocab_size = std::uint64_t{1} << 60; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.hidden_size = 0; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.rope_scaling.type = "magic"; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.activation = "relu"; }));
  CHECK(refused([](tensor::ModelConfig& c) { c.tied_embeddings = false; }));
}

TEST_CASE("rotary pairs stored as neighbours give the same logits") {
  const std::uint32_t tokens[] = {3, 1, 4, 1, 5};
  tensor::Model plain = small_llama();
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    plain.tensors.push_back(float_tensor(layer + "self_attn.q_proj.bias", {16}));
    plain.tensors.push_back(float_tensor(layer + "self_attn.k_proj.bias", {8}));
  }
  Session expected_session(plain, 0);
  const std::span<const float> expected_view = expected_session.forward(tokens);
  const std::vector<float> expected(expected_view.begin(), expected_view.end());
  // q and k both, then q alone (which must be put back in order).
  for (const bool with_k : {true, false}) {
    tensor::Model model = plain;
    for (tensor::Tensor& one : model.tensors) {
      const bool is_q = one.name.ends_with("q_proj.weight"), is_k = one.name.ends_with("k_proj.weight");
      if (is_q || (is_k && with_k)) one = interleaved(one, is_q ? 4 : 2);
    }
    Session session(model, 0);
    CHECK(worst_difference(session.forward(tokens), expected) <= 1e-5);
  }
}

TEST_CASE("the context has an end and reset starts anew") {
  const tensor::Model model = small_llama();
  Session session(model, 5);
  const std::uint32_t tokens[] = {1, 2, 3, 4};
  const std::span<const float> view = session.forward(tokens);
  const std::vector<float> first(view.begin(), view.end());
  CHECK(session.position() == 4);
  CHECK(session.context() == 5);
  CHECK(throws_kind(ErrorKind::limit_exceeded, [&] { (void)session.forward(tokens); }));
  CHECK(session.position() == 4);
  session.reset();
  const std::span<const float> again = session.forward(tokens);
  CHECK(std::equal(first.begin(), first.end(), again.begin(), again.end()));
  const std::uint32_t unknown[] = {19};
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)session.forward(unknown); }));
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)session.forward({}); }));
  CHECK(throws_kind(ErrorKind::limit_exceeded, [&] { Session(model, 33); }));
}

TEST_CASE("a sliding window hides what lies before it, however keys and values are kept") {
  tensor::Model model = small_llama();
  model.config.layer_count = 1;
  using Logits = std::vector<float>;
  const auto logits = [&](std::uint64_t window, KvType kv, std::span<const std::uint32_t> tokens, bool one_by_one) {
    model.config.sliding_window = window;
    Session session(model, 0, Numerics::exact, kv);
    std::span<const float> view;
    for (std::size_t i = 0; one_by_one && i + 1 < tokens.size(); ++i) view = session.forward(tokens.subspan(i, 1));
    view = session.forward(one_by_one ? tokens.last(1) : tokens);
    return Logits(view.begin(), view.end());
  };
  const std::uint32_t a[] = {3, 7, 5, 6}, b[] = {9, 1, 5, 6};
  const std::uint32_t c[] = {3, 7, 8, 6};  // differs in the position before the last, which is inside the window
  for (const KvType kv : {KvType::f32, KvType::f16, KvType::q8}) {
    CAPTURE(std::string(name(kv)));
    for (const bool one_by_one : {false, true}) {
      const Logits windowed = logits(2, kv, a, one_by_one);
      CHECK(windowed == logits(2, kv, b, one_by_one));  // one layer sees two positions only
      CHECK(windowed != logits(2, kv, c, one_by_one));
      CHECK(windowed != logits(0, kv, a, one_by_one));
    }
  }
}

TEST_CASE("only the layers of the list slide") {
  tensor::Model model = small_llama();
  const std::uint32_t tokens[] = {3, 7, 5, 6, 2};
  const auto logits = [&](std::uint64_t window, const std::vector<bool>& layers) {
    model.config.sliding_window = window;
    model.config.sliding_layers = layers;
    Session session(model, 0);
    const std::span<const float> view = session.forward(tokens);
    return std::vector<float>(view.begin(), view.end());
  };
  CHECK(logits(2, {false, false}) == logits(0, {}));
  CHECK(logits(2, {true, true}) == logits(2, {}));
  CHECK(logits(2, {true, false}) != logits(2, {}));
  CHECK(logits(2, {true, false}) != logits(0, {}));
  CHECK(logits(2, {true, false}) != logits(2, {false, true}));
}

TEST_CASE("a head that is stored beside the embedding is used whatever the flag says") {
  const std::uint32_t tokens[] = {3, 7, 5};
  tensor::Model model = small_llama();
  model.tensors.push_back(float_tensor("lm_head.weight", {19, 8}));
  const auto logits = [&](bool tied) {
    model.config.tied_embeddings = tied;
    Session session(model, 0);
    const std::span<const float> view = session.forward(tokens);
    return std::vector<float>(view.begin(), view.end());
  };
  const std::vector<float> with_head = logits(false);
  CHECK(logits(true) == with_head);
  model.tensors.pop_back();
  CHECK(logits(true) != with_head);
}

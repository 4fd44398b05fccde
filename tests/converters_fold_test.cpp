// Act-order folded into the layers before: declared, exact, undone on the way back, and the stored model computes the
// same function.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "coded_checkpoints.h"
#include "converters/conversion/fold.h"
#include "converters/conversion/logical_order.h"
#include "converters/declared_transforms.h"
#include "expect_error.h"
#include "format/tensor/fingerprint.h"

namespace ingot::convert {
namespace {

using tensor::Tensor;
using Order = std::vector<std::uint32_t>;

constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";
constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";
constexpr const char* kGate = "model.layers.0.mlp.gate_proj.weight";
constexpr const char* kOut = "model.layers.0.self_attn.o_proj.weight";
constexpr const char* kValues = "model.layers.0.self_attn.v_proj.weight";
constexpr const char* kQueries = "model.layers.0.self_attn.q_proj.weight";

Tensor& at(tensor::Model& model, std::string_view name) {
  for (Tensor& tensor : model.tensors)
    if (tensor.name == name) return tensor;
  FAIL("no tensor " << name);
  std::abort();
}

Order shuffled(std::size_t count, unsigned seed) {
  Order order(count);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  return order;
}

/// The same planes, their columns meant to be those of `order`, as act-order has it.
void permute_columns(Tensor& tensor, const Order& order) {
  tensor = with_views(tensor);
  std::vector<std::vector<std::byte>> planes;
  for (std::size_t i = 0; i < tensor.plane_specs().size(); ++i) {
    const Bytes bytes = *tensor.planes->view(i);
    planes.emplace_back(bytes.begin(), bytes.end());
  }
  planes.emplace_back(order.size() * sizeof(std::uint32_t));
  std::memcpy(planes.back().data(), order.data(), planes.back().size());
  tensor.scheme.order = tensor::Order::permutation;
  tensor.fingerprint.reset();
  tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.stored_shape(), tensor.scheme, tensor.packing);
}

ConversionReport written(const tensor::Model& model, const std::filesystem::path& path, const std::string& layout,
                         ProofClass allow = ProofClass::exact) {
  ConvertOptions options;
  options.to = layout;
  options.allow = allow;
  options.write.sync = false;
  if (layout == "mlx") options.write.settings["scale_type"] = "f32";
  return convert(model, path, options);
}

/// tests/data/tiny-llama as GPTQ with groups of 32.
class Fixture {
 public:
  Fixture() {
    ConvertOptions options;
    options.to = "gptq";
    options.write.scheme = "4bit-g32";
    options.write.sync = false;
    options.allow = ProofClass::requantized;
    (void)convert(read_model(INGOT_TEST_DATA "/data/tiny-llama"), scratch / "gptq", options);
    model = read_model(scratch / "gptq");
  }
  test::TemporaryDirectory scratch;
  tensor::Model model;
};

const TensorOutcome& outcome_of(const Forecast& forecast, std::string_view name) {
  for (const TensorOutcome& outcome : forecast.tensors)
    if (outcome.name == name) return outcome;
  FAIL("no outcome of " << name);
  std::abort();
}

void check_equal_values(const tensor::Model& a, const tensor::Model& b) {
  for (const Tensor& tensor : a.tensors) {
    CAPTURE(tensor.name);
    const Tensor* other = b.find(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(tensor::fingerprint(tensor) == tensor::fingerprint(*other));
  }
}

std::vector<double> product(const Tensor& matrix, const std::vector<double>& x) {
  const std::vector<float> values = test::logical_values(matrix);
  std::vector<double> y(matrix.shape[0]);
  for (std::size_t r = 0; r < y.size(); ++r)
    for (std::size_t c = 0; c < x.size(); ++c) y[r] += static_cast<double>(values[r * x.size() + c]) * x[c];
  return y;
}

/// What a program computes that does not know the declaration.
Tensor as_stored(const tensor::Model& model, std::string_view name) {
  Tensor tensor = *model.find(name);
  std::erase_if(tensor.transforms, [](const tensor::Transform& transform) { return transform.order != nullptr; });
  return tensor;
}

void check_same_function(const tensor::Model& logical, const tensor::Model& stored) {
  std::vector<double> x(logical.find(kUp)->shape[1]);
  std::mt19937 random(3);
  for (double& value : x) value = std::uniform_real_distribution<double>(-1, 1)(random);
  std::vector<double> results[2];
  for (const bool raw : {false, true}) {
    const auto of = [&](const char* name) { return raw ? as_stored(stored, name) : *logical.find(name); };
    std::vector<double> gate = product(of(kGate), x), up = product(of(kUp), x);
    for (std::size_t i = 0; i < up.size(); ++i) up[i] *= gate[i] / (1 + std::exp(-gate[i]));
    results[raw] = product(of(kDown), up);
  }
  for (std::size_t i = 0; i < results[0].size(); ++i)
    CHECK(results[1][i] == doctest::Approx(results[0][i]).epsilon(1e-9));
}

TEST_CASE_FIXTURE(Fixture, "act_order_of_down_proj_folds_into_up_and_gate_and_comes_home") {
  permute_columns(at(model, kDown), shuffled(at(model, kDown).shape[1], 1));
  const tensor::Tensor before = *model.find(kDown);
  for (const std::string layout : {"awq", "mlx", "gguf"}) {
    CAPTURE(layout);
    const std::filesystem::path there = scratch.path() / layout, back = scratch.path() / (layout + "-gptq");
    const ConversionReport report = written(model, there, layout);
    CHECK(report.model_before == report.model_after);
    CHECK(outcome_of(report.forecast, kDown).note.find("folded into") != std::string::npos);
    CHECK(outcome_of(report.forecast, kUp).note.find("act-order of") != std::string::npos);
    const tensor::Model folded = read_model(there);
    const Tensor& down = *folded.find(kDown);
    CHECK(down.scheme.order == tensor::Order::identity);
    CHECK(tensor::bits(down.scheme.codes.type) <= 5);
    REQUIRE(down.transforms.size() == 1);
    CHECK(down.transforms[0].kind == tensor::TransformKind::column_order);
    CHECK(folded.find(kGate)->transforms[0].kind == tensor::TransformKind::row_order);
    check_equal_values(model, folded);
    check_same_function(model, folded);
    (void)written(folded, back, "gptq");
    const tensor::Model home = read_model(back);
    CHECK(home.find_attachment(kDeclarationAttachment) == nullptr);
    CHECK(home.find(kDown)->scheme.order != tensor::Order::identity);
    CHECK(home.find(kDown)->transforms.empty());
    check_equal_values(model, home);
  }
}

TEST_CASE_FIXTURE(Fixture, "a_folded_checkpoint_is_folded_again_and_kept_whole_in_an_ingot") {
  permute_columns(at(model, kDown), shuffled(at(model, kDown).shape[1], 2));
  (void)written(model, scratch / "mlx", "mlx");
  const tensor::Model mlx = read_model(scratch / "mlx");
  (void)written(mlx, scratch / "again.gguf", "gguf");
  const tensor::Model gguf = read_model(scratch / "again.gguf");
  check_equal_values(model, gguf);
  check_same_function(model, gguf);
  (void)written(gguf, scratch / "other.gguf", "gguf");
  check_equal_values(model, read_model(scratch / "other.gguf"));
  CHECK(test::file_text(scratch / "again.gguf").size() == test::file_text(scratch / "other.gguf").size());
  (void)written(mlx, scratch / "model.ingot", "ingot");
  const tensor::Model ingot = read_model(scratch / "model.ingot");
  check_equal_values(model, ingot);
  for (const Tensor& tensor : ingot.tensors)  // as recorded while it was written
    CHECK(tensor.fingerprint.value() == tensor::fingerprint(*model.find(tensor.name)));
  (void)restore(ingot, scratch / "restored", false, {});
  for (const auto& entry : std::filesystem::directory_iterator(scratch / "mlx"))
    CHECK(test::file_text(entry.path()) == test::file_text(scratch / "restored" / entry.path().filename().string()));
}

TEST_CASE_FIXTURE(Fixture, "act_order_inside_heads_folds_into_the_values") {
  model.config.head_count = 2;  // heads of 64 columns, two groups each
  model.config.kv_head_count = 1;
  const std::uint64_t heads = model.config.head_count, kv_heads = model.config.kv_head_count;
  const std::uint64_t columns = at(model, kOut).shape[1], head_dim = columns / heads;
  REQUIRE(heads > kv_heads);
  Order order(columns);
  for (std::uint64_t kv = 0; kv < kv_heads; ++kv) {
    const Order in_head = shuffled(head_dim, static_cast<unsigned>(kv));
    for (std::uint64_t head = kv * heads / kv_heads; head < (kv + 1) * heads / kv_heads; ++head)
      for (std::uint64_t i = 0; i < head_dim; ++i)
        order[head * head_dim + i] = static_cast<std::uint32_t>(head * head_dim + in_head[i]);
  }
  const tensor::Model plain = model;
  permute_columns(at(model, kOut), order);
  const FoldSurvey survey = find_folds(model);
  REQUIRE(survey.folds.size() == 1);
  CHECK(survey.folds[0].rows.size() == 1);
  const ConversionReport report = written(model, scratch / "mlx", "mlx");
  CHECK(outcome_of(report.forecast, kOut).note.find("v_proj") != std::string::npos);
  const tensor::Model folded = read_model(scratch / "mlx");
  check_equal_values(model, folded);
  // Column c of o_proj takes what the row of v_proj makes that was meant for it.
  const std::vector<float> values = test::logical_values(as_stored(folded, kValues)),
                           wanted = test::logical_values(*model.find(kValues));
  const std::uint64_t width = at(model, kValues).shape[1];
  for (std::uint64_t kv = 0; kv < kv_heads; ++kv) {
    for (std::uint64_t i = 0; i < head_dim; ++i) {
      const std::uint64_t head = kv * heads / kv_heads;
      const std::uint64_t from = kv * head_dim + order[head * head_dim + i] % head_dim;
      CHECK(values[(kv * head_dim + i) * width] == wanted[from * width]);
    }
  }

  std::swap(order[0], order[1]);  // the heads that share values no longer agree
  model = plain;
  permute_columns(at(model, kOut), order);
  CHECK(find_folds(model).folds.empty());
  CHECK(find_folds(model).obstacles.at(kOut).find("heads that share values") != std::string::npos);
  std::swap(order[0], order[head_dim]);
  model = plain;
  permute_columns(at(model, kOut), order);
  CHECK(find_folds(model).obstacles.at(kOut).find("leaves the attention heads") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "gpt2_folds_into_c_fc_and_the_values_of_c_attn") {
  const std::uint64_t columns = at(model, kOut).shape[1];
  const Order inside = shuffled(columns / 2, 6);
  Order order(columns);  // the same in both heads
  for (std::uint64_t i = 0; i < columns; ++i)
    order[i] = static_cast<std::uint32_t>(i / (columns / 2) * (columns / 2) + inside[i % (columns / 2)]);
  permute_columns(at(model, kDown), shuffled(at(model, kDown).shape[1], 5));
  permute_columns(at(model, kOut), order);
  Tensor fused = at(model, kOut);  // only its shape counts
  fused.shape[0] = 3 * columns;
  fused.scheme = tensor::Scheme::plain(tensor::DType::f32);
  fused.packing = tensor::Packing::rows;
  fused.planes = tensor::planes_in_memory({std::vector<std::byte>(fused.elements() * 4)}, fused.shape, fused.scheme,
                                          fused.packing);
  tensor::Model gpt2;
  gpt2.config.architecture = "gpt2";
  gpt2.config.head_count = 2;
  const std::pair<Tensor, std::string> parts[] = {{at(model, kDown), "mlp.c_proj.weight"},
                                                  {at(model, kUp), "mlp.c_fc.weight"},
                                                  {at(model, kOut), "attn.c_proj.weight"},
                                                  {fused, "attn.c_attn.weight"}};
  for (const auto& [tensor, name] : parts) {
    gpt2.tensors.push_back(tensor);
    gpt2.tensors.back().name = "transformer.h.0." + name;
  }
  const FoldSurvey survey = find_folds(gpt2);
  CHECK(survey.obstacles.empty());
  REQUIRE(survey.folds.size() == 2);
  CHECK(survey.folds[0].rows.contains("transformer.h.0.mlp.c_fc.weight"));
  const Order& rows = *survey.folds[1].rows.at("transformer.h.0.attn.c_attn.weight");
  for (std::uint64_t i = 0; i < 2 * columns; ++i) CHECK(rows[i] == i);
  for (std::uint64_t i = 0; i < columns; ++i) CHECK(rows[2 * columns + i] == 2 * columns + order[i]);
}

TEST_CASE_FIXTURE(Fixture, "a_folded_checkpoint_without_its_declaration_is_another_model") {
  permute_columns(at(model, kDown), shuffled(at(model, kDown).shape[1], 7));
  (void)written(model, scratch / "mlx", "mlx");
  std::filesystem::remove(scratch / "mlx" / std::string(kDeclarationFile));
  const tensor::Model undeclared = read_model(scratch / "mlx");
  for (const char* name : {kDown, kUp, kGate})
    CHECK(tensor::fingerprint(*undeclared.find(name)) != tensor::fingerprint(*model.find(name)));
}

TEST_CASE_FIXTURE(Fixture, "what_cannot_be_folded_says_why") {
  permute_columns(at(model, kQueries), shuffled(at(model, kQueries).shape[1], 4));
  ConvertOptions options;
  options.to = "mlx";
  options.allow = ProofClass::requantized;
  const TensorOutcome outcome = outcome_of(forecast(model, options), kQueries);
  CHECK(outcome.forecast == ProofClass::requantized);
  CHECK(outcome.reason.find("other matrices share") != std::string::npos);
  CHECK(outcome.note.empty());
  model.config.architecture = "something else";
  permute_columns(at(model, kDown), shuffled(at(model, kDown).shape[1], 4));
  CHECK(find_folds(model).folds.empty());
  CHECK(find_folds(model).obstacles.at(kDown).find("something else") != std::string::npos);
  model.config.architecture = "llama";
  CHECK(find_folds(model).folds.size() == 1);
  model.aliases["twin"] = kGate;
  CHECK(find_folds(model).folds.empty());
}

TEST_CASE_FIXTURE(Fixture, "declarations_that_do_not_fit_are_refused") {
  const auto apply = [&](const std::string& orders, const std::string& transform, const std::string& name = kDown) {
    tensor::Model copy = model;
    apply_declaration(
        R"({"ingot_transforms":1,"orders":[)" + orders + R"(],"tensors":{")" + name + R"(":[)" + transform + "]}}",
        "test", copy);
    return *copy.find(name);
  };
  const std::uint64_t columns = at(model, kDown).shape[1];
  std::string all = "[";
  for (std::uint64_t i = 0; i < columns; ++i) all += (i == 0 ? "" : ",") + std::to_string(columns - 1 - i);
  all += "]";
  CHECK(apply(all, R"({"kind":"column_order","order":0})").transforms.size() == 1);
  const auto refuses = [&](const std::string& orders, const std::string& transform, const std::string& name = kDown) {
    return test::throws_kind(ErrorKind::invalid_value, [&] { (void)apply(orders, transform, name); });
  };
  CHECK(refuses(all, R"({"kind":"row_order","order":0})"));
  CHECK(refuses(all, R"({"kind":"column_order","order":1})"));
  CHECK(refuses(all, R"({"kind":"transpose","order":0})"));
  CHECK(refuses("[1,0,1]", R"({"kind":"column_order","order":0})"));
  CHECK(refuses("[1,0]", R"({"kind":"column_order","order":0})"));
  CHECK(refuses(all, R"({"kind":"column_order","order":0})", "missing.weight"));
}

}  // namespace
}  // namespace ingot::convert

// The smoke test of models: sound ones are good in every form, and what conversions have broken in the past is bad.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "container_models.h"
#include "format/tensor/decode.h"
#include "inspect/model_check.h"
#include "temporary_directory.h"

namespace ingot::inspect {
namespace {

using runtime::Numerics;
using tensor::Model;
using tensor::Tensor;

Model tiny_llama() { return convert::read_model(std::filesystem::path(INGOT_TEST_DATA) / "data" / "tiny-llama"); }

/// The tiny model in another layout; the directory must outlive it.
Model converted(const test::TemporaryDirectory& directory, const char* layout, const char* scheme) {
  convert::ConvertOptions options;
  options.to = layout;
  options.allow = options.write.allow = convert::ProofClass::requantized;
  options.write.scheme = scheme;
  options.write.sync = false;
  (void)convert::convert(tiny_llama(), directory / "converted", options);
  return convert::read_model(directory / "converted");
}

Tensor& tensor_of(Model& model, const std::string& name) {
  for (Tensor& tensor : model.tensors)
    if (tensor.name == name) return tensor;
  FAIL("no tensor " << name);
  return model.tensors.front();
}

/// Calls change(role, bytes) for every plane of the tensor.
void change_planes(Tensor& tensor, const std::function<void(const std::string&, std::vector<std::byte>&)>& change) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  const std::uint64_t units = tensor.geometry().units;
  std::vector<std::vector<std::byte>> planes(specs.size());
  std::vector<std::byte*> sliced(specs.size(), nullptr);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    planes[i].resize(specs[i].total_bytes);
    if (specs[i].sliced) sliced[i] = planes[i].data();
  }
  tensor.planes->read_units(0, units, sliced);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (!specs[i].sliced) {
      const Bytes whole = tensor.planes->whole(i);
      planes[i].assign(whole.begin(), whole.end());
    }
    change(specs[i].role, planes[i]);
  }
  tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.stored_shape(), tensor.scheme, tensor.packing);
}

/// Replaces the values, as F32.
void change_values(Tensor& tensor, const std::function<void(std::vector<float>&)>& change) {
  std::vector<float> values(tensor.elements());
  tensor::decode_logical(tensor, values);
  change(values);
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  tensor.scheme = tensor::Scheme::plain(tensor::DType::f32);
  tensor.packing = tensor::Packing::rows;
  tensor.transforms.clear();
  std::vector<std::vector<std::byte>> planes;
  planes.push_back(std::move(bytes));
  tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
}

std::string layer(int index, const char* part) { return "model.layers." + std::to_string(index) + "." + part; }

/// Rows of a head as another convention has them: halves side by side instead of one after the other.
void permute_heads(Tensor& tensor, std::uint64_t head_dim) {
  change_values(tensor, [&](std::vector<float>& values) {
    const std::vector<float> before = values;
    const std::uint64_t cols = tensor.shape[1];
    for (std::uint64_t row = 0; row < tensor.shape[0]; ++row) {
      const std::uint64_t within = row % head_dim, from = row - within + within % 2 * (head_dim / 2) + within / 2;
      std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(from * cols), cols,
                  values.begin() + static_cast<std::ptrdiff_t>(row * cols));
    }
  });
}

void scale_f16(std::vector<std::byte>& bytes, float factor) {
  for (std::size_t at = 0; at + 2 <= bytes.size(); at += 2) {
    _Float16 scale;
    std::memcpy(&scale, bytes.data() + at, 2);
    scale = static_cast<_Float16>(static_cast<float>(scale) * factor);
    std::memcpy(bytes.data() + at, &scale, 2);
  }
}

void swap_nibbles(Tensor& tensor) {
  change_planes(tensor, [](const std::string& role, std::vector<std::byte>& bytes) {
    if (role != "codes") return;
    for (std::byte& byte : bytes) byte = byte >> 4 | byte << 4;
  });
}

ModelCheck check(const Model& model, const Model* against = nullptr) {
  return check_model(model, against, Numerics::fast, {});
}

/// One of the bad findings has all of these words.
bool blames(const ModelCheck& check, const std::vector<std::string>& words) {
  std::string all;
  for (const Finding& finding : check.findings) {
    if (finding.severity != Severity::bad) continue;
    all += finding.text + "\n";
    if (std::all_of(words.begin(), words.end(),
                    [&](const std::string& word) { return finding.text.find(word) != std::string::npos; })) {
      return true;
    }
  }
  MESSAGE("bad findings: " << all);
  return false;
}

std::string figures(const ModelCheck& check) {
  if (!check.text) return "not run";
  return "perplexity " + std::to_string(check.text->seen.perplexity()) + ", context gain " +
         std::to_string(check.text->context_gain()) + ", KL " +
         std::to_string(check.text->seen.least_divergence.mean()) + ", same " +
         std::to_string(check.text->seen.agreement.mean());
}

constexpr const char* kQuery = "self_attn.q_proj.weight";
constexpr const char* kUp = "mlp.up_proj.weight";

}  // namespace

TEST_CASE("a sound model is good, alone and against what it was made of, down to two bits") {
  const Model source = tiny_llama();
  const ModelCheck alone = check(source);
  INFO(figures(alone));
  CHECK(alone.good());
  REQUIRE(alone.text);
  CHECK(alone.text->context_gain() > 1.5 * kLeastContextGain);
  CHECK(alone.text->continuations.size() == 5);
  for (const auto& [layout, scheme] : {std::pair{"gguf", "q4_0"}, {"gguf", "q8_0"}, {"mlx", "4bit"}, {"bnb", "nf4"}}) {
    const test::TemporaryDirectory directory;
    const ModelCheck got = check(converted(directory, layout, scheme), &source);
    INFO(scheme << ": " << figures(got) << "\n" << check_text(got, {}));
    CHECK(got.good());
    CHECK(got.text->seen.agreement.mean() > 0.7);
  }
}

TEST_CASE("one value that is no number is bad and named") {
  for (const float odd : {NAN, INFINITY}) {
    Model model = tiny_llama();
    change_values(tensor_of(model, layer(2, kUp)), [&](std::vector<float>& values) { values[777] = odd; });
    CHECK(blames(check(model), {layer(2, kUp), std::isnan(odd) ? "1 NaN and 0 infinite" : "0 NaN and 1 infinite"}));
  }
}

TEST_CASE(
    "scales a thousand times too large are bad, of one matrix, of one matrix in all layers, with and without a "
    "reference") {
  const Model source = tiny_llama();
  const test::TemporaryDirectory directory;
  const Model sound = converted(directory, "gguf", "q4_0");
  const auto louder = [](const std::string& role, std::vector<std::byte>& bytes) {
    if (role == "scales_0") scale_f16(bytes, 1000);
  };
  Model one = sound;
  change_planes(tensor_of(one, layer(1, kUp)), louder);
  CHECK(blames(check(one), {layer(1, kUp), "root mean square"}));
  CHECK(blames(check(one, &source), {layer(1, kUp), "differs from the reference"}));
  Model all = sound;
  for (int i = 0; i < 4; ++i) change_planes(tensor_of(all, layer(i, kQuery)), louder);
  const ModelCheck alone = check(all);
  INFO(figures(alone));
  CHECK(blames(alone, {"context does not help"}));
  CHECK(blames(check(all, &source), {layer(3, kQuery), "differs from the reference"}));
}

TEST_CASE("queries and keys in the rows of another RoPE convention are bad") {
  const Model source = tiny_llama();
  Model all = source, one = source;
  for (int i = 0; i < 4; ++i) permute_heads(tensor_of(all, layer(i, kQuery)), 16);
  const ModelCheck alone = check(all);
  INFO(figures(alone));
  CHECK(blames(alone, {"context does not help"}));
  permute_heads(tensor_of(one, layer(2, kQuery)), 16);
  CHECK(blames(check(one, &source), {layer(2, kQuery), "differs from the reference"}));
}

TEST_CASE("swapped nibbles are bad") {
  const Model source = tiny_llama();
  const test::TemporaryDirectory directory;
  Model all = converted(directory, "gguf", "q4_0"), one = all;
  for (Tensor& tensor : all.tensors)
    if (!tensor.scheme.is_plain() && tensor.name.find("layers") != std::string::npos) swap_nibbles(tensor);
  const ModelCheck alone = check(all);
  INFO(figures(alone));
  CHECK(blames(alone, {"more than a model that knows nothing has"}));
  swap_nibbles(tensor_of(one, layer(0, kUp)));
  CHECK(blames(check(one, &source), {layer(0, kUp), "differs from the reference"}));
}

TEST_CASE("groups whose scales were lost are dead, and rows of zeros are counted") {
  const test::TemporaryDirectory directory;
  const Model sound = converted(directory, "gguf", "q4_0");
  Model model = sound;
  change_planes(tensor_of(model, layer(1, kUp)), [](const std::string& role, std::vector<std::byte>& bytes) {
    if (role == "scales_0")
      std::fill(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / 2), std::byte{});
  });
  CHECK(blames(check(model), {layer(1, kUp), "groups are dead"}));
  Model rows = tiny_llama();
  change_values(tensor_of(rows, layer(1, kUp)),
                [](std::vector<float>& values) { std::fill(values.begin(), values.begin() + 128 * 50, 0.0f); });
  CHECK(blames(check(rows), {layer(1, kUp), "50 of 384 rows are zero"}));
  Model few = tiny_llama();
  change_values(tensor_of(few, layer(1, kUp)),
                [](std::vector<float>& values) { std::fill(values.begin(), values.begin() + 128 * 2, 0.0f); });
  CHECK(check(few).good());
}

TEST_CASE(
    "a reference of other tensors or another vocabulary is bad, and a model that cannot run is checked without text") {
  const Model source = tiny_llama();
  Model less = source;
  std::erase_if(less.tensors, [](const Tensor& tensor) { return tensor.name == layer(1, kUp); });
  CHECK(blames(check(less), {"does not run", layer(1, kUp)}));
  CHECK(blames(check(source, &less), {layer(1, kUp), "the reference does not have it"}));
  Model silent = source;
  silent.tokenizer.reset();
  const ModelCheck got = check(silent);
  CHECK(got.good());
  CHECK_FALSE(got.text);
  CHECK(check_text(got, {}).find("not run: the model carries no tokenizer") != std::string::npos);
  Model foreign = source;
  foreign.config.architecture = "mamba";
  CHECK(check(foreign).good());
}

TEST_CASE("every scheme is read whole, in the order of its groups") {
  const Model model = test::make_model_of_all_schemes(test::SourceKind::streamed);
  std::uint64_t groups = 0;
  for (const Tensor& tensor : model.tensors) {
    INFO(tensor.name);
    const TensorHealth health = tensor_health(tensor);
    CHECK(health.elements == tensor.elements());
    if (tensor.scheme.codes.kind == tensor::CodeKind::opaque) continue;
    std::vector<float> values(tensor.elements());
    tensor::decode_logical(tensor, values);
    std::uint64_t nans = 0, infinities = 0, finite = 0;
    double squares = 0;
    for (const float value : values) {
      nans += std::isnan(value);
      infinities += std::isinf(value);
      if (!std::isfinite(value)) continue;
      ++finite;
      squares += static_cast<double>(value) * value;
    }
    CHECK(health.nans == nans);
    CHECK(health.infinities == infinities);
    if (finite != 0)
      CHECK(health.rms == doctest::Approx(std::sqrt(squares / static_cast<double>(finite))).epsilon(1e-9));
    groups += health.groups;
  }
  CHECK(groups > 0);
}

TEST_CASE("groups of permuted columns are found") {
  for (const tensor::Order order : {tensor::Order::permutation, tensor::Order::group_index}) {
    tensor::Scheme scheme;
    scheme.codes = {tensor::CodeKind::number, tensor::DType::u4, ""};
    scheme.scales = {{tensor::DType::f32, {1, 32}}};
    scheme.order = order;
    Tensor tensor;
    tensor.shape = {16, 64};
    tensor.scheme = scheme;
    tensor.packing = tensor::Packing::rows;
    const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
    std::vector<std::vector<std::byte>> planes;
    for (const tensor::PlaneSpec& spec : specs) {
      std::vector<std::byte>& plane = planes.emplace_back(spec.total_bytes);
      for (std::size_t i = 0; i < plane.size(); ++i) plane[i] = static_cast<std::byte>(i * 37 + i / 7);
      std::vector<std::uint32_t> numbers(64);
      for (std::uint32_t c = 0; c < 64; ++c) numbers[c] = order == tensor::Order::permutation ? c * 5 % 64 : c % 2;
      std::vector<float> scales(32, 0.5f);  // row 3: the second group is dead
      scales[3 * 2 + 1] = 0;
      if (spec.role == "scales_0") std::memcpy(plane.data(), scales.data(), plane.size());
      if (spec.role == "permutation" || spec.role == "group_index")
        std::memcpy(plane.data(), numbers.data(), plane.size());
    }
    tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
    const TensorHealth health = tensor_health(tensor);
    CHECK(health.groups == 32);
    CHECK(health.dead_groups == 1);
  }
}

}  // namespace ingot::inspect

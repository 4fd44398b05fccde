// What targets take beside codes that fit at once: an act-order that the user asks for, groups that must be split,
// scales for activations. The expected bytes are those of the libraries' fixtures (make.py beside them).
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "converters/dropped_tensors.h"
#include "converters/files/safetensors.h"
#include "converters/option_error.h"
#include "format/base/mapped_file.h"
#include "format/tensor/fingerprint.h"
#include "tests/coded_checkpoints.h"
#include "tests/expect_error.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::TemporaryDirectory;
using tensor::DType;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(INGOT_TEST_DATA) / "golden/foreign";

/// The bytes of a tensor of a file, as its library keeps them; empty: the file has no such tensor.
std::string stored(const fs::path& directory, const std::string& name) {
  const std::string file = read_text_file(directory / "model.safetensors", std::uint64_t{1} << 28);
  for (const SafetensorsEntry& entry : parse_safetensors(as_bytes_view(file), directory.string()).entries)
    if (entry.name == name) return file.substr(entry.begin, entry.size());
  return {};
}

/// Writes `out` below `scratch`.
ConversionReport convert_to(const std::string& layout, const fs::path& source, const TemporaryDirectory& scratch,
                            ConvertOptions options = {}) {
  options.to = layout;
  options.write.sync = false;
  options.overwrite = true;
  tensor::Model model = read_model(source);
  drop_tensors(model, options);
  return ingot::convert::convert(model, scratch / "out", options);
}

const TensorOutcome& outcome_of(const Forecast& forecast, const std::string& tensor) {
  const auto found = std::ranges::find(forecast.tensors, tensor, &TensorOutcome::name);
  REQUIRE(found != forecast.tensors.end());
  return *found;
}

constexpr const char* kDivisor = "model.layers.0.mlp.act.scales";

/// A file of the items with bytes that differ, and 32 x 96 for its i64 extents.
void write_layer(const fs::path& directory, const std::vector<SafetensorsItem>& items, const std::string& config) {
  const SafetensorsPlan plan = plan_safetensors(items, {});
  std::string file(plan.file_bytes, '\0');
  file.replace(0, plan.header.size(), plan.header);
  for (std::size_t at = plan.header.size(); at < file.size(); ++at) file[at] = static_cast<char>(0x20 + at % 32);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].type != DType::i64) continue;
    std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(plan.begin[i]), 16, '\0');
    file[plan.begin[i]] = 32;
    file[plan.begin[i] + 8] = 96;
  }
  fs::create_directories(directory);
  std::ofstream(directory / "model.safetensors", std::ios::binary) << file;
  std::ofstream(directory / "config.json")
      << R"({"quantization_config": {"quant_method": "compressed-tensors", "format": ")" << config
      << R"(", "config_groups": {"g": {"targets": ["a"], "weights": {"num_bits": )"
      << (config == "pack-quantized" ? "4" : "8, \"type\": \"float\"")
      << R"(, "strategy": "group", "group_size": 64}}}}})";
}

/// 96 inputs in groups of 64, which is not half of a row.
void write_integers(const fs::path& directory) {
  write_layer(directory,
              {{"a.weight_packed", DType::i32, {32, 12}},
               {"a.weight_scale", DType::f16, {32, 2}},
               {"a.weight_shape", DType::i64, {2}}},
              "pack-quantized");
}
void write_floats(const fs::path& directory) {
  write_layer(directory, {{"a.weight", DType::e4m3, {32, 96}}, {"a.weight_scale", DType::f16, {32, 2}}},
              "float-quantized");
}

ConvertOptions with_act_order(const char* word = "group") {
  ConvertOptions options;
  options.write.settings = {{"actorder", word}};
  return options;
}

}  // namespace

TEST_CASE("compressed_tensors_keeps_an_act_order_where_it_is_asked_to") {
  const TemporaryDirectory scratch;
  const fs::path source = kFolder / "compressed_tensors/pack_early";
  REQUIRE(!stored(source, "act_order.weight_g_idx").empty());
  convert_to("compressed-tensors", source, scratch);
  CHECK(stored(scratch / "out", "act_order.weight_g_idx").empty());
  convert_to("compressed-tensors", source, scratch, with_act_order());
  for (const char* part : {"packed", "scale", "shape", "g_idx"}) {
    const std::string name = std::string("act_order.weight_") + part;
    INFO(name);
    CHECK(stored(scratch / "out", name) == stored(source, name));
  }
  const std::string config = read_text_file(scratch / "out/config.json", 1 << 20);
  CHECK(config.find("\"actorder\": \"group\"") != std::string::npos);
  CHECK_THROWS_AS(convert_to("compressed-tensors", source, scratch, with_act_order("weight")), OptionError);
}

TEST_CASE("compressed_tensors_takes_the_act_order_of_gptq_unless_groups_differ_in_size") {
  const TemporaryDirectory scratch;
  const fs::path source = kFolder / "gptq/act_order";
  const ConversionReport report = convert_to("compressed-tensors", source, scratch, with_act_order());
  CHECK(report.model_before == report.model_after);
  CHECK(stored(scratch / "out", "a.weight_g_idx") == stored(source, "a.g_idx"));
  CHECK(stored(scratch / "out", "b.weight_g_idx").empty());  // 40 inputs in groups of 16
  CHECK(outcome_of(report.forecast, "a.weight").target_scheme.ends_with("_gidx"));
  CHECK(outcome_of(report.forecast, "b.weight").target_scheme == "F32");
}

TEST_CASE("groups_that_do_not_divide_a_row_are_split") {
  const TemporaryDirectory scratch;
  write_integers(scratch / "in");
  const tensor::Model model = read_model(scratch / "in");
  REQUIRE(model.find("a.weight")->scheme.scales[0].block.cols == 64);
  const std::string scales = stored(scratch / "in", "a.weight_scale");
  std::string repeated;  // of 32 inputs: the first of 64 twice, that of the rest once
  for (std::size_t row = 0; row < 32; ++row) {
    const std::string first = scales.substr(row * 4, 2);
    repeated += first + first + scales.substr(row * 4 + 2, 2);
  }
  convert_to("compressed-tensors", scratch / "in", scratch);
  CHECK(stored(scratch / "out", "a.weight_scale") == repeated);
  CHECK(stored(scratch / "out", "a.weight_packed") == stored(scratch / "in", "a.weight_packed"));
  for (const char* layout : {"compressed-tensors", "awq", "mlx"}) {
    INFO(layout);
    const ConversionReport report = convert_to(layout, scratch / "in", scratch);
    CHECK(report.model_before == report.model_after);
    CHECK(outcome_of(report.forecast, "a.weight").target_scheme.find("g32") != std::string::npos);
  }
}

TEST_CASE("compressed_tensors_has_no_float_groups_that_do_not_divide_a_row") {
  const TemporaryDirectory scratch;
  write_floats(scratch / "in");
  write_integers(scratch / "other");
  tensor::Model model = read_model(scratch / "in");
  REQUIRE(model.find("a.weight")->scheme.scales[0].block.cols == 64);
  model.tensors.push_back(*read_model(scratch / "other").find("a.weight"));  // without codes there is no checkpoint
  model.tensors.back().name = "b.weight";
  ConvertOptions options;
  options.to = "compressed-tensors";
  CHECK(outcome_of(forecast(model, options), "a.weight").target_scheme == "F32");
}

TEST_CASE("activation_divisors_stay_with_awq") {
  const TemporaryDirectory scratch;
  const fs::path source = kFolder / "awq/gemm";
  REQUIRE(!stored(source, kDivisor).empty());
  convert_to("awq", source, scratch);
  CHECK(stored(scratch / "out", kDivisor) == stored(source, kDivisor));
  for (const char* layout : {"hf", "gptq", "compressed-tensors", "mlx"}) {
    INFO(layout);
    const std::optional<Error> error = test::error_of([&] { convert_to(layout, source, scratch); });
    REQUIRE(error);
    CHECK(std::string(error->what()).find(kDivisor) != std::string::npos);
  }
}

TEST_CASE("scales_for_activations_stay_out_of_directories_that_would_not_load") {
  const TemporaryDirectory scratch;
  const fs::path source = kFolder / "fp8/modelopt_fp8";
  ConvertOptions options;
  options.allow = ProofClass::requantized;
  options.write.scheme = "f32";
  const std::optional<Error> error = test::error_of([&] { convert_to("mlx", source, scratch, options); });
  REQUIRE(error);
  CHECK(std::string(error->what()).find("channel.input_scale") != std::string::npos);
  CHECK(std::string(error->what()).find("--drop") != std::string::npos);
}

TEST_CASE("dropped_tensors_are_left_out_and_named") {
  const TemporaryDirectory scratch;
  const fs::path source = kFolder / "fp8/modelopt_fp8";
  ConvertOptions options;
  options.drop = "(input|k)_scale$";
  const ConversionReport report = convert_to("hf", source, scratch, options);
  CHECK(report.proven);
  CHECK(report.dropped.size() == 5);
  CHECK(std::ranges::find(report.dropped, "tensor.k_scale") != report.dropped.end());
  CHECK(stored(scratch / "out", "tensor.k_scale").empty());
  CHECK(!stored(scratch / "out", "norm.weight").empty());
  CHECK(report.proofs.size() == read_model(source).tensors.size() - 5);

  options.drop = "weight|scale";
  CHECK_THROWS_AS(convert_to("hf", source, scratch, options), OptionError);
  options.drop = "(";
  CHECK_THROWS_AS(convert_to("hf", source, scratch, options), OptionError);
  options.drop = "k_scale";
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { convert_to("ingot", source, scratch, options); }));
}

TEST_CASE("gptq_without_a_config_is_read_only_where_zero_points_tell_their_coding") {
  const TemporaryDirectory scratch;
  for (const char* name : {"sym_v1", "asym_v1", "asym_v2"}) {
    fs::create_directories(scratch / name);
    fs::copy_file(kFolder / "gptq" / name / "model.safetensors", scratch / name / "model.safetensors");
  }
  const tensor::Model labelled = read_model(kFolder / "gptq/sym_v1"), bare = read_model(scratch / "sym_v1");
  CHECK(tensor::fingerprint(*bare.find("a.weight")) == tensor::fingerprint(*labelled.find("a.weight")));
  for (const char* name : {"asym_v1", "asym_v2"}) {
    INFO(name);
    CHECK(test::throws_kind(ErrorKind::mismatch, [&] { (void)read_model(scratch / name); }));
    CHECK_NOTHROW((void)read_model(scratch / name, "gptq", {{}, true}));
  }
}

TEST_CASE("a_config_that_names_another_layout_is_called_out") {
  const TemporaryDirectory scratch;
  const fs::path directory = scratch / "lie";
  fs::create_directories(directory);
  fs::copy_file(kFolder / "fp8/deepseek/model.safetensors", directory / "model.safetensors");
  std::ofstream(directory / "config.json") << R"({"quantization_config": {"quant_method": "awq", "bits": 4}})";
  const tensor::Model model = read_model(directory);
  CHECK(model.layout == "fp8");
  REQUIRE(model.findings.size() == 1);
  CHECK(model.findings[0].find("quant_method awq") != std::string::npos);
}

TEST_CASE("a_damaged_weight_file_is_named_where_no_layout_recognises_the_directory") {
  const TemporaryDirectory scratch;
  fs::create_directories(scratch / "cut");
  const std::string file = read_text_file(kFolder / "fp8/deepseek/model.safetensors", 1 << 20);
  std::ofstream(scratch / "cut/model.safetensors", std::ios::binary) << file.substr(0, 100);
  const std::optional<Error> error = test::error_of([&] { (void)read_model(scratch / "cut"); });
  REQUIRE(error);
  CHECK(std::string(error->what()).find("model.safetensors: safetensors header") != std::string::npos);
}

TEST_CASE("compressed_tensors_keeps_signed_zero_points_beside_bytes") {
  const TemporaryDirectory scratch;
  const fs::path source = kFolder / "compressed_tensors/naive";
  std::size_t compared = 0;
  convert_to("compressed-tensors", source, scratch);
  const tensor::Model model = read_model(source);
  for (const tensor::Tensor& tensor : model.tensors) {
    const std::string name = tensor.name + "_zero_point";
    if (tensor.scheme.codes.type != DType::i8 || stored(source, name).empty()) continue;
    if (tensor.scheme.scales[0].block.rows != 1) continue;  // one for the tensor becomes one for every row
    INFO(name);
    CHECK(stored(scratch / "out", name) == stored(source, name));
    CHECK(stored(scratch / "out", tensor.name) == stored(source, tensor.name));
    ++compared;
  }
  CHECK(compared > 0);
}

TEST_CASE("conv1d_matrices_of_gpt2_are_rounded_where_their_libraries_do") {
  const TemporaryDirectory scratch;
  const fs::path source = fs::path(INGOT_TEST_DATA) / "data/tiny-gpt2";
  const tensor::Model model = read_model(source);
  ConvertOptions options;
  options.allow = options.write.allow = ProofClass::requantized;
  for (const char* layout : {"gptq", "bnb"}) {  // gptqmodel and transformers turn them, then take them as linear layers
    INFO(layout);
    const ConversionReport report = convert_to(layout, source, scratch, options);
    const tensor::Model written = read_model(scratch / "out");
    std::size_t matrices = 0;
    for (const tensor::Tensor& tensor : model.tensors) {
      if (tensor.transforms.empty() || !tensor.name.ends_with(".weight") || tensor.shape.size() != 2) continue;
      INFO(tensor.name);
      ++matrices;
      const tensor::Tensor* got = written.find(tensor.name);
      REQUIRE(got != nullptr);
      CHECK(got->shape == tensor.shape);  // [out, in]
      CHECK(!got->scheme.is_plain());
      CHECK(got->transforms.empty());
      const auto proof = std::ranges::find(report.proofs, tensor.name, &TensorProof::name);
      REQUIRE(proof != report.proofs.end());
      CHECK(proof->reached == ProofClass::requantized);
      CHECK(proof->worst_error_steps < 2);  // of a table: in units of its smallest one
    }
    CHECK(matrices > 0);
  }
  for (const char* layout : {"awq", "mlx", "compressed-tensors", "fp8"}) {
    INFO(layout);
    const auto error = test::error_of([&] { (void)convert_to(layout, source, scratch, options); });
    REQUIRE(error);
    CHECK(error->kind == ErrorKind::unsupported);
    CHECK(std::string(error->what()).find("a Conv1D, which this layout has in floating point only") !=
          std::string::npos);
  }
}

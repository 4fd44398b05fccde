// Writing GPTQ and AWQ checkpoints: from each other and from themselves, compared with what the owning libraries
// packed.
#include "converters/files/safetensors.h"
#include "format/base/json.h"
#include "format/tensor/fingerprint.h"
#include "tests/coded_checkpoints.h"
#include "tests/expect_error.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

const fs::path kGptq = fs::path(INGOT_TEST_DATA) / "golden/foreign/gptq";
const fs::path kAwq = fs::path(INGOT_TEST_DATA) / "golden/foreign/awq";
using Settings = std::map<std::string, std::string>;

WriteOptions options_with(Settings settings, ProofClass allow) {
  WriteOptions options;
  options.sync = false;
  options.allow = allow;
  options.settings = std::move(settings);
  return options;
}

/// Converts with the engine, which proves what it wrote, and reads the result.
tensor::Model converted(const fs::path& source, const fs::path& target, const char* layout, Settings settings = {},
                        ProofClass allow = ProofClass::exact) {
  ConvertOptions options;
  options.to = layout;
  options.allow = allow;
  options.write = options_with(std::move(settings), allow);
  const ConversionReport report = convert::convert(read_model(source), target, options);
  if (allow == ProofClass::exact) CHECK(report.model_before == report.model_after);
  return read_model(target);
}

Json config_of(const fs::path& directory) {
  return parse_json(test::file_text(directory / "config.json"), "config.json").at("quantization_config", "config.json");
}

/// The tensors of a weight file, by name: type, shape and bytes.
std::map<std::string, std::string> stored_tensors(const fs::path& directory) {
  const std::string bytes = test::file_text(directory / "model.safetensors");
  std::map<std::string, std::string> tensors;
  for (const SafetensorsEntry& entry : parse_safetensors(std::as_bytes(std::span(bytes)), "test").entries) {
    std::string text(tensor::name(entry.type->type));
    for (const std::uint64_t extent : entry.shape) text += "," + std::to_string(extent);
    tensors[entry.name] = text + ":" + bytes.substr(entry.begin, entry.size());
  }
  return tensors;
}

std::vector<std::byte> plane_bytes(const tensor::Tensor& tensor) {
  const tensor::Tensor viewed = with_views(tensor);
  std::vector<std::byte> bytes;
  const auto specs = viewed.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Bytes plane = specs[i].sliced ? viewed.planes->view(i).value() : viewed.planes->whole(i);
    bytes.insert(bytes.end(), plane.begin(), plane.end());
  }
  return bytes;
}

}  // namespace

TEST_CASE("gptq_written_again_has_the_tensors_of_gptqmodel") {
  for (const char* name : {"sym_v1", "asym_v1", "asym_v2", "bits2", "bits2_v1", "bits3", "bits3_v1", "bits8",
                           "bits8_v1", "act_order", "act_order3", "act_order8", "uneven_g_idx", "dynamic"}) {
    INFO(name);
    const TemporaryDirectory scratch;
    const bool v1 = std::string_view(name).find("v1") != std::string_view::npos;
    (void)converted(kGptq / name, scratch / "out", "gptq", {{"checkpoint_format", v1 ? "gptq" : "gptq_v2"}});
    CHECK(stored_tensors(scratch / "out") == stored_tensors(kGptq / name));
    const Json source = config_of(kGptq / name), written = config_of(scratch / "out");
    for (const char* key : {"quant_method", "checkpoint_format", "sym", "desc_act", "lm_head"})
      if (const Json* value = source.find(key)) CHECK(*value == written.at(key, "config"));
  }
}

TEST_CASE("gptq_label_follows_from_the_zero_points") {
  const TemporaryDirectory scratch;
  (void)converted(kGptq / "sym_mislabelled", scratch / "sym", "gptq");
  CHECK(config_of(scratch / "sym").at("checkpoint_format", "").as_string("") == "gptq");
  CHECK(read_model(scratch / "sym").findings.empty());
  (void)converted(kGptq / "asym_v2", scratch / "asym", "gptq");
  CHECK(config_of(scratch / "asym").at("checkpoint_format", "").as_string("") == "gptq_v2");
  CHECK(test::file_text(scratch / "asym/quantize_config.json").find("gptq_v2") != std::string::npos);

  const Forecast forecast = gptq_layout().forecast(read_model(kGptq / "asym_v2"),
                                                   options_with({{"checkpoint_format", "gptq"}}, ProofClass::codes));
  CHECK(std::any_of(forecast.tensors.begin(), forecast.tensors.end(),
                    [](const TensorOutcome& outcome) { return outcome.forecast == ProofClass::refused; }));
  CHECK(test::throws_kind(ErrorKind::unsupported, [] {
    (void)gptq_layout().forecast(read_model(kGptq / "asym_v2"),
                                 options_with({{"checkpoint_format", "gptq_v3"}}, ProofClass::codes));
  }));
}

TEST_CASE("gptq_and_awq_have_identical_planes_and_come_home") {
  const TemporaryDirectory scratch;
  const tensor::Model gptq = read_model(kGptq / "sym_v1");
  const tensor::Model awq = converted(kGptq / "sym_v1", scratch / "awq", "awq");
  CHECK(awq.layout == "awq");
  for (const char* name : {"a.weight", "b.weight"}) {
    REQUIRE(awq.find(name) != nullptr);
    CHECK(awq.find(name)->scheme == gptq.find(name)->scheme);
    CHECK(plane_bytes(*awq.find(name)) == plane_bytes(*gptq.find(name)));
  }
  CHECK(config_of(scratch / "awq").at("group_size", "").as_i64("") == 32);
  (void)converted(scratch / "awq", scratch / "gemv", "awq", {{"version", "gemv"}});
  (void)converted(scratch / "gemv", scratch / "home", "gptq");
  CHECK(stored_tensors(scratch / "home") == stored_tensors(kGptq / "sym_v1"));
}

TEST_CASE("awq_written_again_has_the_tensors_of_autoawq") {
  const std::pair<const char*, const char*> rows[] = {
      {"gemm", "gemm"},      {"gemm_column", "gemm"},   {"gemv_g32", "gemv"},      {"gemv_g64", "gemv"},
      {"gemv_g128", "gemv"}, {"fast_g32", "gemv_fast"}, {"fast_g128", "gemv_fast"}};
  for (const auto& [name, version] : rows) {
    INFO(name);
    const TemporaryDirectory scratch;
    const std::string group_size = std::to_string(config_of(kAwq / name).at("group_size", "").as_i64(""));
    (void)converted(kAwq / name, scratch / "out", "awq", {{"version", version}, {"group_size", group_size}});
    CHECK(stored_tensors(scratch / "out") == stored_tensors(kAwq / name));
    CHECK(config_of(scratch / "out").at("version", "").as_string("") == version);
  }
}

TEST_CASE("awq_gemv_becomes_gemm_and_back") {
  const TemporaryDirectory scratch;
  (void)converted(kAwq / "gemv_g32", scratch / "gemm", "awq");
  (void)converted(scratch / "gemm", scratch / "gemv", "awq", {{"version", "gemv"}});
  CHECK(stored_tensors(scratch / "gemv") == stored_tensors(kAwq / "gemv_g32"));
}

TEST_CASE("awq_refuses_a_model_of_nothing_but_act_order") {
  const TemporaryDirectory scratch;
  CHECK_THROWS_AS((void)converted(kGptq / "act_order", scratch / "out", "awq"), Error);
  CHECK(!fs::exists(scratch / "out"));
}

TEST_CASE("gptq_takes_eight_bits_that_awq_leaves_plain") {
  const TemporaryDirectory scratch;
  const tensor::Model model = converted(kGptq / "dynamic", scratch / "out", "awq");
  CHECK(model.find("model.layers.0.up.weight")->scheme.is_plain());
  CHECK(tensor::describe(model.find("model.layers.1.up.weight")->scheme) == "u4_g32_f16_zp");
  const Json plain = config_of(scratch / "out").at("modules_to_not_convert", "");
  REQUIRE(plain.is_array());
  CHECK(plain.as_array("")[0].as_string("") == "model.layers.0.up");
  (void)converted(scratch / "out", scratch / "gptq", "gptq");
  const Json rules = config_of(scratch / "gptq").at("dynamic", "");
  CHECK(rules.find("-:^model\\.layers\\.0\\.up$") != nullptr);
}

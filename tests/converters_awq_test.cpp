// AWQ checkpoints packed by AutoAWQ (tests/golden/foreign/awq, make.py beside them): values, packing, the way back.
#include "converters/files/safetensors.h"
#include "tests/coded_checkpoints.h"
#include "tests/expect_error.h"
#include "tests/skip.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(INGOT_TEST_DATA) / "golden/foreign/awq";
const fs::path kRealModel = fs::path(INGOT_TEST_DATA) / "../../shared/models/quantized/awq-gemm-w4-g128";

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder))
    if (entry.is_directory() && entry.path().filename() != "__pycache__")
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

tensor::Model read(const fs::path& path) { return awq_layout().read(path, {}); }

bool speaks_of(const tensor::Model& model, std::string_view words) {
  return std::any_of(model.findings.begin(), model.findings.end(),
                     [&](const std::string& finding) { return finding.find(words) != std::string::npos; });
}

void set_config(const fs::path& directory, std::string_view members) {
  fs::permissions(directory / "config.json", fs::perms::owner_all);
  std::ofstream(directory / "config.json", std::ios::trunc) << "{\"quantization_config\":{" << members << "}}";
}

/// Fills the bytes of one tensor of a weight file.
void fill_tensor(std::string& bytes, std::string_view name, std::uint64_t skip, char value) {
  const SafetensorsHeader header = parse_safetensors(std::as_bytes(std::span(bytes)), "test");
  for (const SafetensorsEntry& entry : header.entries)
    if (entry.name == name)
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(entry.begin + skip), entry.size() - skip, value);
}

}  // namespace

TEST_CASE("awq_values_equal_those_of_autoawq") {
  CHECK(cases().size() >= 9);
  for (const std::string& name : cases()) {
    INFO(name);
    CHECK(&detect_layout(kFolder / name) == find_layout("awq"));
    const tensor::Model model = read(kFolder / name);
    CHECK(model.findings.empty());
    test::check_f16_values(model, kFolder / (name + ".expected.safetensors"));
  }
}

TEST_CASE("awq_parts_pack_to_the_bytes_that_were_read") {
  for (const std::string& name : cases()) {
    INFO(name);
    CHECK(test::restored_weights(read(kFolder / name), awq_layout()) ==
          test::file_text(kFolder / name / "model.safetensors"));
  }
}

TEST_CASE("awq_directories_are_restored_from_ingot") {
  for (const std::string& name : cases()) {
    INFO(name);
    test::check_restored_directory(kFolder / name);
  }
}

TEST_CASE("awq_padded_groups_are_restored_whatever_they_hold") {
  const TemporaryDirectory scratch;
  // Two groups of 128 inputs, six padded ones behind them.
  test::copy_changed(kFolder / "gemv_g128", scratch / "gemv",
                     [](std::string& bytes) { fill_tensor(bytes, "a.scales", 244, '\x11'); });
  test::copy_changed(kFolder / "fast_g128", scratch / "fast",
                     [](std::string& bytes) { fill_tensor(bytes, "a.qzeros", 24 * 2 * 3, '\x22'); });
  test::check_restored_directory(scratch / "gemv");
  test::check_restored_directory(scratch / "fast");
}

TEST_CASE("awq_activation_divisors_stay_plain_tensors") {
  const tensor::Model model = read(kFolder / "gemm");
  const tensor::Tensor* divisor = model.find("model.layers.0.mlp.act.scales");
  REQUIRE(divisor != nullptr);
  CHECK(divisor->scheme.is_plain());
  CHECK(divisor->shape == tensor::Shape{8});
  CHECK(model.find("b.bias") != nullptr);
}

TEST_CASE("awq_schemes_say_what_the_file_holds") {
  const auto scheme = [](const char* name) { return tensor::describe(read(kFolder / name).find("a.weight")->scheme); };
  CHECK(scheme("gemm") == "u4_g32_f16_zp");
  CHECK(scheme("gemm_column") == "u4_row_f16_zp");
  CHECK(scheme("gemv_g64") == "u4_g64_f16_zp");
  CHECK(scheme("fast_g128") == "u4_g128_f16_bias");
  CHECK(scheme("marlin") == "u4_g128_f16_z8");
}

TEST_CASE("awq_sizes_come_from_the_tensors") {
  const TemporaryDirectory scratch;
  fs::copy(kFolder / "gemm", scratch / "lies");
  set_config(scratch / "lies", R"("quant_method":"awq","bits":4,"group_size":128,"version":"gemv","zero_point":false)");
  const tensor::Model model = read(scratch / "lies");
  test::check_f16_values(model, kFolder / "gemm.expected.safetensors");
  CHECK(speaks_of(model, "group size 128"));
  CHECK(speaks_of(model, "version gemv"));
  CHECK(speaks_of(model, "zero_point false"));

  fs::copy(kFolder / "gemm", scratch / "method");
  set_config(scratch / "method", R"("quant_method":"gptq","bits":4,"group_size":32)");
  CHECK(&detect_layout(scratch / "method") == find_layout("awq"));
}

TEST_CASE("awq_refuses_contradictions") {
  const TemporaryDirectory scratch;
  int number = 0;
  const auto kind_after = [&](std::string_view from, std::string_view to) {
    const fs::path directory = scratch.path() / std::to_string(number++);
    test::copy_changed(kFolder / "gemm", directory, [&](std::string& bytes) {
      const std::size_t at = bytes.find(from);
      REQUIRE(at != std::string::npos);
      bytes.replace(at, from.size(), to);
    });
    const auto error = test::error_of([&] { (void)read(directory); });
    return error ? std::optional(error->kind) : std::nullopt;
  };
  CHECK(kind_after("a.scales", "a.scolos") == ErrorKind::invalid_value);
  CHECK(kind_after(R"("dtype":"I32","shape":[64,8])", R"("dtype":"F32","shape":[64,8])") == ErrorKind::invalid_value);
  CHECK(kind_after(R"("shape":[64,8])", R"("shape":[8,64])") == ErrorKind::invalid_value);
  CHECK(kind_after(R"("shape":[2,64])", R"("shape":[64,2])") == ErrorKind::invalid_value);

  fs::copy(kFolder / "gemv_g32", scratch / "config");
  for (const char* members : {R"("quant_method":"awq","group_size":"x")", R"("quant_method":"awq","version":7)"}) {
    set_config(scratch / "config", members);
    CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { (void)read(scratch / "config"); }));
  }
  set_config(scratch / "config", R"("quant_method":"awq","group_size":9223372036854775807)");
  (void)test::error_of([&] { (void)read(scratch / "config"); });
}

TEST_CASE("awq_truncations_fail_cleanly") {
  const TemporaryDirectory scratch;
  const std::string whole = test::file_text(kFolder / "fast_g32/model.safetensors");
  fs::copy(kFolder / "fast_g32", scratch / "cut");
  fs::permissions(scratch / "cut/model.safetensors", fs::perms::owner_all);
  for (std::size_t size = 0; size < whole.size(); size += 61) {
    std::ofstream(scratch / "cut/model.safetensors", std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    CHECK(test::error_of([&] { (void)read(scratch / "cut"); }).has_value());
  }
}

TEST_CASE("awq_real_checkpoint_decodes_as_its_tools_do") {
  if (!fs::exists(kRealModel)) return test::skip("../shared/models/quantized is absent");
  const TemporaryDirectory scratch;
  for (const char* file : {"config.json", "model.safetensors"}) fs::copy(kRealModel / file, scratch / file);
  const tensor::Model model = read_model(scratch.path());
  CHECK(model.layout == "awq");
  CHECK(model.findings.empty());
  const tensor::Model expected = hf_layout().read(kRealModel / "expected_dequant.safetensors", {});
  for (const tensor::Tensor& wanted : expected.tensors) {
    INFO(wanted.name);
    REQUIRE(model.find(wanted.name) != nullptr);
    CHECK(test::logical_values(*model.find(wanted.name)) == test::logical_values(wanted));
  }
}

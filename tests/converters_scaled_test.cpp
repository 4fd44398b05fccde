// Checkpoints of compressed-tensors, FP8, MXFP4 and NVFP4. tests/golden/foreign/compressed_tensors and fp8 hold tensors
// and the values that the libraries decode (make.py beside them).
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>

#include "converters/dropped_tensors.h"
#include "converters/files/safetensors.h"
#include "converters/registry.h"
#include "converters/with_views.h"
#include "format/base/mapped_file.h"
#include "format/tensor/decode.h"
#include "format/tensor/float_codes.h"
#include "tests/coded_checkpoints.h"
#include "tests/expect_error.h"
#include "tests/skip.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::TemporaryDirectory;
using ingot::test::throws_kind;
using tensor::DType;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(INGOT_TEST_DATA) / "golden/foreign";
const fs::path kReal = fs::path(INGOT_TEST_DATA).parent_path().parent_path() / "shared/models/quantized";

std::vector<float> values_of(const tensor::Tensor& tensor) {
  std::vector<float> values(tensor.elements());
  tensor::decode_logical(tensor, values);
  return values;
}

/// As the library rounds last.
void round_to(DType type, std::vector<float>& values) {
  for (float& value : values) {
    if (type == DType::bf16) {
      const auto bits = std::bit_cast<std::uint32_t>(value);
      value = std::bit_cast<float>((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
    } else if (type == DType::f16) {
      std::uint16_t half = 0;
      tensor::f32_to_f16(&value, &half, 1);
      tensor::f16_to_f32(&half, &value, 1);
    }
  }
}

std::string read_all(const fs::path& path) { return read_text_file(path, std::uint64_t{1} << 28); }

void check_values(const fs::path& directory, const fs::path& expected_file, std::string_view layout,
                  std::size_t findings = 0) {
  const tensor::Model model = read_model(directory);
  CHECK(model.layout == layout);
  CHECK(model.findings.size() == findings);
  const tensor::Model expected = read_model(expected_file);
  CHECK(!expected.tensors.empty());
  for (const tensor::Tensor& wanted : expected.tensors) {
    INFO(wanted.name);
    const tensor::Tensor* got = model.find(wanted.name);
    REQUIRE(got != nullptr);
    REQUIRE(got->shape == wanted.shape);
    std::vector<float> a = values_of(*got);
    const std::vector<float> b = values_of(wanted);
    round_to(wanted.scheme.codes.type, a);
    std::size_t differing = 0;
    for (std::size_t i = 0; i < a.size(); ++i) differing += a[i] != b[i] && !(a[i] != a[i] && b[i] != b[i]);
    CHECK(differing == 0);
  }
}
void check_fixture(const std::string& name, std::string_view layout, std::size_t findings = 0) {
  check_values(kFolder / name, kFolder / (name + ".expected.safetensors"), layout, findings);
}

/// layout -> .ingot -> restore gives every file back.
void check_restore(const fs::path& directory) {
  const TemporaryDirectory scratch;
  ConvertOptions options;
  options.to = "ingot";
  options.write.sync = false;
  const ConversionReport report = ingot::convert::convert(read_model(directory), scratch / "model.ingot", options);
  CHECK(report.model_before == report.model_after);
  (void)restore(read_model(scratch / "model.ingot"), scratch / "back", false, {});
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    INFO(entry.path().filename().string());
    CHECK((read_all(entry.path()) == read_all(scratch / "back" / entry.path().filename())));
    ++files;
  }
  CHECK(files >= 2);
}

/// Written in the layout, proven there, and each of `formats` used at least once.
void check_written(const fs::path& directory, const std::string& layout, const std::vector<std::string>& formats) {
  INFO(directory.filename().string() << " -> " << layout);
  const TemporaryDirectory scratch;
  ConvertOptions options;
  options.to = layout;
  options.write.sync = false;
  options.drop = "act.scales$";  // of awq, which no other layout has
  tensor::Model model = read_model(directory);
  drop_tensors(model, options);
  const ConversionReport report = ingot::convert::convert(model, scratch / "out", options);
  CHECK(report.proven);
  CHECK(report.model_before == report.model_after);
  for (const std::string& format : formats) {
    INFO(format);
    CHECK(std::any_of(report.forecast.tensors.begin(), report.forecast.tensors.end(),
                      [&](const TensorOutcome& tensor) { return tensor.target_scheme.starts_with(format + " "); }));
  }
  if (formats.empty()) return;
  const tensor::Model written = read_model(scratch / "out");
  CHECK(written.layout == layout);
  CHECK(written.findings.empty());
}

// --- Small checkpoints made by hand ----------------------------------------------------------------------------------
struct FilePart {
  std::string name;
  DType type;
  std::vector<std::uint64_t> shape;
  std::string bytes{};  // empty: zeros
};

fs::path make_checkpoint(const TemporaryDirectory& directory, const std::vector<FilePart>& parts,
                         const std::string& config) {
  std::vector<SafetensorsItem> items;
  for (const FilePart& part : parts) items.push_back({part.name, part.type, part.shape});
  const SafetensorsPlan plan = plan_safetensors(items, {});
  std::string file(plan.file_bytes, '\0');
  file.replace(0, plan.header.size(), plan.header);
  for (std::size_t i = 0; i < parts.size(); ++i) file.replace(plan.begin[i], parts[i].bytes.size(), parts[i].bytes);
  fs::create_directories(directory / "checkpoint");
  std::ofstream(directory.path() / "checkpoint" / "model.safetensors", std::ios::binary) << file;
  std::ofstream(directory.path() / "checkpoint" / "config.json", std::ios::binary) << config;
  return directory / "checkpoint";
}

std::string i64s(const std::vector<std::int64_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof values[0]};
}
std::string i32s(const std::vector<std::int32_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof values[0]};
}

bool refuses(ErrorKind kind, const std::vector<FilePart>& parts, const std::string& config = "{}",
             const std::string& layout = "compressed-tensors") {
  const TemporaryDirectory directory;
  const fs::path path = make_checkpoint(directory, parts, config);
  return throws_kind(kind, [&] { (void)read_model(path, layout); });
}

/// 4 bits, [32, 64], groups of 16, with zero points.
std::vector<FilePart> packed_layer() {
  return {{"a.weight_packed", DType::i32, {32, 8}},
          {"a.weight_scale", DType::f16, {32, 4}},
          {"a.weight_shape", DType::i64, {2}, i64s({32, 64})},
          {"a.weight_zero_point", DType::i32, {4, 4}}};
}
std::vector<FilePart> packed_with(std::size_t index, FilePart part) {
  std::vector<FilePart> parts = packed_layer();
  parts.at(index) = std::move(part);
  return parts;
}

}  // namespace

TEST_CASE("compressed_tensors_values_equal_those_of_the_library") {
  for (const char* name : {"pack", "pack_old", "pack_early", "pack_symmetric_zeros", "naive", "floats"})
    check_fixture("compressed_tensors/" + std::string(name), "compressed-tensors");
}

TEST_CASE("compressed_tensors_packs_and_restores_the_files") {
  for (const char* name : {"pack", "pack_old", "pack_early", "pack_symmetric_zeros", "naive", "floats"}) {
    INFO(name);
    test::check_packing(kFolder / "compressed_tensors" / name);
    check_restore(kFolder / "compressed_tensors" / name);
  }
}

TEST_CASE("fp8_mxfp4_and_nvfp4_values_equal_those_of_their_definitions") {
  check_fixture("fp8/deepseek", "fp8");
  check_fixture("fp8/modelopt_fp8", "fp8");
  check_fixture("fp8/modelopt_nvfp4", "nvfp4");
  check_fixture("fp8/gpt_oss", "mxfp4");
}

TEST_CASE("fp8_mxfp4_and_nvfp4_pack_and_restore_the_files") {
  for (const char* name : {"deepseek", "modelopt_fp8", "modelopt_nvfp4", "gpt_oss"}) {
    INFO(name);
    test::check_packing(kFolder / "fp8" / name);
    check_restore(kFolder / "fp8" / name);
  }
}

TEST_CASE("compressed_tensors_restores_padding_that_means_nothing") {
  const TemporaryDirectory directory;
  const std::vector<FilePart> parts = {{"a.weight_packed", DType::i32, {17, 5}, std::string(17 * 5 * 4, '\xff')},
                                       {"a.weight_scale", DType::bf16, {17, 1}},
                                       {"a.weight_shape", DType::i64, {2}, i64s({17, 45})},
                                       {"a.weight_zero_point", DType::i32, {2, 1}, std::string(8, '\xff')}};
  const std::string config =
      R"({"quantization_config": {"quant_method": "compressed-tensors", "version": "0.19.1", "config_groups": {"g": {"weights":
      {"num_bits": 3, "symmetric": false, "strategy": "channel"}}}}})";
  check_restore(make_checkpoint(directory, parts, config));
  // The same words in 0.17's packing.
  std::string old = config;
  old.replace(old.find("0.19"), 4, "0.17");
  check_restore(make_checkpoint(directory, parts, old));
}

TEST_CASE("compressed_tensors_refuses_what_contradicts_itself") {
  const ErrorKind mismatch = ErrorKind::mismatch;
  CHECK(!refuses(mismatch, packed_layer()));
  for (std::size_t missing : {1, 2}) {
    std::vector<FilePart> parts = packed_layer();
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(missing));
    CHECK(refuses(mismatch, parts));
  }
  CHECK(refuses(mismatch, packed_with(0, {"a.weight_packed", DType::i32, {32}})));
  CHECK(refuses(mismatch, packed_with(0, {"a.weight_packed", DType::i32, {31, 8}})));
  CHECK(refuses(mismatch, packed_with(0, {"a.weight_packed", DType::i32, {32, 9}})));
  CHECK(refuses(mismatch, packed_with(0, {"a.weight_packed", DType::i32, {0, 8}})));
  CHECK(refuses(mismatch, packed_with(0, {"a.weight_packed", DType::u8, {32, 8}})));
  CHECK(refuses(mismatch, packed_with(1, {"a.weight_scale", DType::i32, {32, 4}})));
  CHECK(refuses(mismatch, packed_with(1, {"a.weight_scale", DType::f16, {31, 4}})));
  CHECK(refuses(mismatch, packed_with(1, {"a.weight_scale", DType::f16, {32, 5}})));
  CHECK(refuses(mismatch, packed_with(1, {"a.weight_scale", DType::f16, {32, 0}})));
  CHECK(refuses(mismatch, packed_with(1, {"a.weight_scale", DType::f16, {32, 4, 1}})));
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
           {32, 0}, {32, -64}, {31, 64}, {32, 257}, {std::int64_t{1} << 62, 64}, {32, std::int64_t{1} << 62}})
    CHECK(refuses(mismatch, packed_with(2, {"a.weight_shape", DType::i64, {2}, i64s(shape)})));
  CHECK(refuses(mismatch, packed_with(2, {"a.weight_shape", DType::i64, {3}})));
  CHECK(refuses(mismatch, packed_with(2, {"a.weight_shape", DType::f32, {2}})));
  CHECK(refuses(mismatch, packed_with(3, {"a.weight_zero_point", DType::i32, {32, 4}})));
  CHECK(refuses(mismatch, packed_with(3, {"a.weight_zero_point", DType::i8, {4, 4}})));
  CHECK(refuses(mismatch, packed_with(3, {"a.weight_zero_point", DType::i8, {32, 4}, std::string(1, '\x08')})));
  CHECK(refuses(mismatch, packed_with(3, {"a.weight_zero_point", DType::f16, {32, 4}})));
  const auto indexed = [&](std::uint64_t count, std::int32_t last) {
    std::vector<std::int32_t> groups(count, 0);
    groups.back() = last;
    std::vector<FilePart> parts = packed_layer();
    parts.push_back({"a.weight_g_idx", DType::i32, {count}, i32s(groups)});
    return parts;
  };
  CHECK(!refuses(mismatch, indexed(64, 3)));
  CHECK(!refuses(mismatch, indexed(64, -1)));
  CHECK(refuses(mismatch, indexed(64, 4)));
  CHECK(refuses(mismatch, indexed(63, 0)));
}

TEST_CASE("compressed_tensors_refuses_what_it_cannot_mean") {
  const std::string quantization = R"({"quantization_config": {"quant_method": "compressed-tensors", )";
  CHECK(
      refuses(ErrorKind::unsupported, packed_layer(), quantization + R"("transform_config": {"config_groups": {}}}})"));
  CHECK(!refuses(ErrorKind::unsupported, packed_layer(), quantization + R"("transform_config": {}}})"));
  CHECK(refuses(ErrorKind::unsupported, {{"a.bitmask", DType::u8, {4, 1}}}));
  std::vector<FilePart> parts = packed_layer();
  parts.pop_back();
  const std::string asymmetric = R"("config_groups": {"g": {"weights": {"num_bits": 4, "symmetric": false}}}}})";
  CHECK(refuses(ErrorKind::mismatch, parts, quantization + asymmetric));
  // 3 bits, 20 inputs: two words before and since 0.18.
  const std::vector<FilePart> odd = {{"a.weight_packed", DType::i32, {16, 2}},
                                     {"a.weight_scale", DType::f16, {16, 1}},
                                     {"a.weight_shape", DType::i64, {2}, i64s({16, 20})}};
  const std::string three = R"("config_groups": {"g": {"weights": {"num_bits": 3}}})";
  CHECK(refuses(ErrorKind::mismatch, odd, quantization + three + "}}"));
  CHECK(!refuses(ErrorKind::mismatch, odd, quantization + three + R"(, "version": "0.17.0"}})"));
  CHECK(refuses(ErrorKind::mismatch, odd));  // 2 or 3 bits
}

TEST_CASE("fp8_refuses_scales_that_fit_no_block") {
  const FilePart weight{"a.weight", DType::e4m3, {130, 200}};
  const auto with = [&](const char* name, DType type, std::vector<std::uint64_t> shape) {
    return std::vector<FilePart>{weight, {name, type, std::move(shape)}};
  };
  CHECK(!refuses(ErrorKind::mismatch, with("a.weight_scale_inv", DType::f32, {2, 2}), "{}", "fp8"));
  CHECK(refuses(ErrorKind::mismatch, with("a.weight_scale_inv", DType::f32, {2, 3}), "{}", "fp8"));
  CHECK(refuses(ErrorKind::mismatch, with("a.weight_scale_inv", DType::f32, {3, 2}), "{}", "fp8"));
  CHECK(refuses(ErrorKind::mismatch, with("a.weight_scale_inv", DType::i32, {2, 2}), "{}", "fp8"));
  CHECK(refuses(ErrorKind::mismatch, with("a.weight_scale", DType::f32, {2}), "{}", "fp8"));
  CHECK(refuses(ErrorKind::mismatch, with("a.weight_scale", DType::f32, {0}), "{}", "fp8"));
  const TemporaryDirectory directory;
  const fs::path small = make_checkpoint(
      directory, {{"a.weight", DType::e4m3, {20, 40}}, {"a.weight_scale_inv", DType::f32, {1, 1}}}, "{}");
  CHECK(read_model(small).tensors.at(0).scheme.scales.at(0).block == tensor::Block{128, 128});
  const std::string blocks = R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 100]}})";
  CHECK(!refuses(ErrorKind::mismatch, with("a.weight_scale_inv", DType::f32, {3, 2}), blocks, "fp8"));
}

TEST_CASE("one_fp8_scale_tells_no_block_size") {
  const TemporaryDirectory directory;
  const fs::path path = make_checkpoint(  // 4096 is the only square that makes one scale of them
      directory, {{"a.weight", DType::e4m3, {2304, 16}}, {"a.weight_scale_inv", DType::f32, {1, 1}}},
      R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}})");
  const tensor::Model model = read_model(path);
  CHECK(model.tensors.at(0).scheme.scales.at(0).block == tensor::Block{0, 0});
  CHECK(model.findings.empty());
}

TEST_CASE("fp8_blocks_that_the_config_denies_are_read_by_the_shape_of_the_scales") {
  const TemporaryDirectory directory;
  const std::vector<FilePart> parts = {{"a.weight", DType::e4m3, {130, 200}},
                                       {"a.weight_scale_inv", DType::f32, {3, 4}}};  // 64 x 64 alone cuts them so
  const fs::path path = make_checkpoint(
      directory, parts, R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}})");
  const tensor::Model model = read_model(path);
  CHECK(model.tensors.at(0).scheme.scales.at(0).block == tensor::Block{64, 64});
  REQUIRE(model.findings.size() == 1);
  CHECK(model.findings[0].find("the config gives blocks of [128, 128], the shape of the scales says [64, 64]") == 0);
  const auto error = test::error_of([&] { (void)read_model(path, {}, {.progress = {}, .trust_config = true}); });
  REQUIRE(error);
  CHECK(error->kind == ErrorKind::mismatch);
  CHECK(std::string(error->what()).find("the config gives blocks of [128, 128]") != std::string::npos);
  CHECK(refuses(ErrorKind::mismatch, {parts[0], {"a.weight_scale_inv", DType::f32, {1, 3}}}, "{}", "fp8"));
}

TEST_CASE("four_bit_floats_refuse_scales_that_do_not_fit") {
  const ErrorKind mismatch = ErrorKind::mismatch;
  const FilePart codes{"a.weight", DType::u8, {16, 24}}, scale{"a.weight_scale", DType::e4m3, {16, 3}};
  const FilePart second{"a.weight_scale_2", DType::f32, {}};
  CHECK(!refuses(mismatch, {codes, scale, second}, "{}", "nvfp4"));
  CHECK(refuses(mismatch, {codes, scale}, "{}", "nvfp4"));
  CHECK(refuses(mismatch, {codes, {"a.weight_scale", DType::e4m3, {16, 2}}, second}, "{}", "nvfp4"));
  CHECK(refuses(mismatch, {codes, scale, {"a.weight_scale_2", DType::f32, {2}}}, "{}", "nvfp4"));
  CHECK(refuses(mismatch, {codes, scale, {"a.weight_scale_2", DType::f16, {}}}, "{}", "nvfp4"));
  const FilePart blocks{"e_blocks", DType::u8, {2, 4, 3, 16}}, scales{"e_scales", DType::u8, {2, 4, 3}};
  CHECK(!refuses(mismatch, {blocks, scales}, "{}", "mxfp4"));
  CHECK(refuses(mismatch, {blocks, {"e_scales", DType::u8, {2, 4, 2}}}, "{}", "mxfp4"));
  CHECK(refuses(mismatch, {{"e_blocks", DType::u8, {2, 4, 3, 8}}, scales}, "{}", "mxfp4"));
}

TEST_CASE("other_layouts_become_compressed_tensors_with_the_same_values") {
  // act_order and floats of another kind stay plain; everything must keep its values.
  check_written(kFolder / "gptq/sym_v1", "compressed-tensors", {"pack-quantized"});
  check_written(kFolder / "gptq/asym_v1", "compressed-tensors", {"pack-quantized"});
  check_written(kFolder / "gptq/bits3", "compressed-tensors", {"pack-quantized"});
  check_written(kFolder / "awq/gemm", "compressed-tensors", {"pack-quantized"});
  check_written(kFolder / "mlx/affine", "compressed-tensors", {});
  check_written(kFolder / "fp8/deepseek", "compressed-tensors", {"float-quantized"});
  check_written(kFolder / "fp8/modelopt_fp8", "compressed-tensors", {"float-quantized"});
}

TEST_CASE("compressed_tensors_is_written_as_it_was_read") {
  check_written(kFolder / "compressed_tensors/pack", "compressed-tensors", {"pack-quantized"});
  check_written(kFolder / "compressed_tensors/pack_old", "compressed-tensors", {"pack-quantized"});
  check_written(kFolder / "compressed_tensors/pack_early", "compressed-tensors", {"pack-quantized"});
  check_written(kFolder / "compressed_tensors/naive", "compressed-tensors", {"int-quantized", "float-quantized"});
  check_written(kFolder / "compressed_tensors/floats", "compressed-tensors",
                {"nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized"});
}

TEST_CASE("fp8_mxfp4_and_nvfp4_are_written_from_the_same") {
  check_written(kFolder / "fp8/deepseek", "fp8", {"fp8"});
  check_written(kFolder / "fp8/modelopt_fp8", "fp8", {"fp8"});
  check_written(kFolder / "fp8/modelopt_nvfp4", "nvfp4", {"nvfp4"});
  check_written(kFolder / "fp8/gpt_oss", "mxfp4", {"mxfp4"});
  check_written(kFolder / "compressed_tensors/naive", "fp8", {"fp8"});
}

TEST_CASE("fp8_is_written_as_transformers_loads_it") {
  // Its FP8 linear layer (5.23): one scale without block size, else as many scales as blocks of that size fit.
  const TemporaryDirectory directory, scratch;
  const std::vector<FilePart> parts = {{"a.weight", DType::f32, {20, 40}}, {"b.weight", DType::f32, {30, 50}}};
  const tensor::Model source = read_model(make_checkpoint(directory, parts, "{}"));
  for (const auto& [scheme, size, shape] : {std::tuple{"fp8-tensor", "null", tensor::Shape{}},
                                            {"fp8-row", "[1,50]", {20, 1}},
                                            {"fp8-block", "[128,128]", {1, 1}}}) {
    INFO(scheme);
    ConvertOptions options;
    options.to = "fp8";
    options.write.scheme = scheme;
    options.allow = ProofClass::requantized;
    options.write.sync = false;
    (void)ingot::convert::convert(source, scratch / scheme, options);
    const fs::path written = scratch / scheme;
    const Json config = parse_json(test::file_text(written / "config.json"), "config.json");
    CHECK(canonical_json(config.at("quantization_config", "").at("weight_block_size", "")) == size);
    const HfDirectory files = open_hf_directory(written);
    const auto& entries = files.weights.at(0).entries;
    const auto scale = std::find_if(entries.begin(), entries.end(),
                                    [](const WeightEntry& entry) { return entry.name == "a.weight_scale_inv"; });
    REQUIRE(scale != entries.end());
    CHECK(scale->shape == shape);
    CHECK(read_model(written).findings.empty());
  }
}

TEST_CASE("a_real_compressed_tensors_checkpoint_decodes_and_restores") {
  const fs::path directory = kReal / "ct-w4a16-g128-sym";
  if (!fs::exists(directory)) return test::skip("no real checkpoints beside the repository");
  const TemporaryDirectory scratch;
  fs::create_directories(scratch / "checkpoint");
  for (const char* name : {"config.json", "model.safetensors"})
    fs::copy_file(directory / name, scratch.path() / "checkpoint" / name);
  check_values(scratch / "checkpoint", directory / "expected_dequant.safetensors", "compressed-tensors");
  check_restore(scratch / "checkpoint");
}

// Checkpoints of MLX and bitsandbytes. tests/golden/foreign/mlx and bnb hold tensors quantized by these libraries and
// the values that they decode (make.py beside them).
#include <doctest/doctest.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "converters/files/safetensors.h"
#include "converters/registry.h"
#include "converters/with_views.h"
#include "format/base/mapped_file.h"
#include "format/tensor/decode.h"
#include "tests/coded_checkpoints.h"
#include "tests/expect_error.h"
#include "tests/skip.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::TemporaryDirectory;
using ingot::test::throws_kind;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(INGOT_TEST_DATA) / "golden/foreign";
const fs::path kReal = fs::path(INGOT_TEST_DATA).parent_path().parent_path() / "shared/models/quantized";

std::vector<float> values_of(const tensor::Tensor& tensor) {
  std::vector<float> values(tensor.elements());
  tensor::decode_logical(tensor, values);
  return values;
}

std::string read_all(const fs::path& path) { return read_text_file(path, std::uint64_t{1} << 28); }
void write_all(const fs::path& path, std::string_view bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Every value equals the library's; values that the library rounds to bfloat16 are rounded here, too.
void check_values(const fs::path& folder, const std::string& name, std::string_view layout) {
  const tensor::Model model = read_model(folder / name);
  CHECK(model.layout == layout);
  CHECK(model.findings.empty());
  const tensor::Model expected = read_model(folder / (name + ".expected.safetensors"));
  CHECK(expected.tensors.size() == model.tensors.size());
  for (const tensor::Tensor& wanted : expected.tensors) {
    INFO(wanted.name);
    const tensor::Tensor* got = model.find(wanted.name);
    REQUIRE(got != nullptr);
    CHECK(got->shape == wanted.shape);
    std::vector<float> a = values_of(*got);
    const std::vector<float> b = values_of(wanted);
    REQUIRE(a.size() == b.size());
    if (wanted.scheme.codes.type == tensor::DType::bf16) {
      for (float& value : a) {
        const auto bits = std::bit_cast<std::uint32_t>(value);
        value = std::bit_cast<float>((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
      }
    }
    std::size_t differing = 0;
    for (std::size_t i = 0; i < a.size(); ++i) differing += a[i] != b[i];
    CHECK(differing == 0);
  }
}

/// layout -> .ingot -> restore gives every file back.
void check_restore(const fs::path& directory) {
  TemporaryDirectory scratch;
  ConvertOptions options;
  options.to = "ingot";
  options.write.sync = false;
  const ConversionReport report = ingot::convert::convert(read_model(directory), scratch / "model.ingot", options);
  CHECK(report.model_before == report.model_after);
  (void)restore(read_model(scratch / "model.ingot"), scratch / "back", false, {});
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    INFO(entry.path().filename().string());
    CHECK(read_all(entry.path()) == read_all(scratch / "back" / entry.path().filename()));
    ++files;
  }
  CHECK(files >= 2);
}

// --- Writing ---------------------------------------------------------------------------------------------------------
using FileTensors = std::map<std::string, std::string>;  // "a.weight U32 [4, 8]" -> bytes

FileTensors file_tensors(const fs::path& directory) {
  const std::string file = read_all(directory / "model.safetensors");
  FileTensors tensors;
  for (const SafetensorsEntry& entry : parse_safetensors(as_bytes_view(file), "model.safetensors").entries) {
    std::string name = entry.name + " " + std::string(entry.type->name);
    for (const std::uint64_t extent : entry.shape) name += " " + std::to_string(extent);
    tensors[name] = file.substr(entry.begin, entry.size());
  }
  return tensors;
}

ConversionReport write_as(const std::string& layout, const fs::path& source, const fs::path& target,
                          const std::map<std::string, std::string>& settings = {},
                          ProofClass allow = ProofClass::exact) {
  ConvertOptions options;
  options.to = layout;
  options.allow = allow;
  options.write.sync = false;
  options.write.settings = settings;
  return ingot::convert::convert(read_model(source), target, options);
}

/// Everything that `directory` holds is written again as it is, also after a detour through .ingot.
void check_copies(const fs::path& directory, const std::string& layout) {
  const TemporaryDirectory scratch;
  (void)write_as("ingot", directory, scratch / "model.ingot");
  for (const fs::path& source : {directory, scratch / "model.ingot"}) {
    const fs::path target = scratch / (source == directory ? "copy" : "copy_of_ingot");
    const ConversionReport report = write_as(layout, source, target);
    CHECK(report.model_before == report.model_after);
    const FileTensors before = file_tensors(directory), after = file_tensors(target);
    CHECK(before.size() == after.size());
    for (const auto& [name, bytes] : before) {
      INFO(name);
      REQUIRE(after.contains(name));
      const bool state = name.find("quant_state") != std::string::npos;  // its dtype is the model's
      if (!state) CHECK((after.at(name) == bytes));
    }
  }
}

std::string setting(const fs::path& directory, std::string_view section, std::string_view key) {
  const Json config = parse_json(read_all(directory / "config.json"), "config.json");
  const Json* found = config.find(section) != nullptr ? config.find(section)->find(key) : nullptr;
  return found != nullptr ? canonical_json(*found) : "absent";
}

// --- Small checkpoints made by hand ----------------------------------------------------------------------------------
struct FilePart {
  std::string name;
  tensor::DType type;
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
  write_all(directory / "checkpoint" / "model.safetensors", file);
  write_all(directory / "checkpoint" / "config.json", config);
  return directory / "checkpoint";
}

constexpr auto kWords = tensor::DType::u32;
constexpr auto kHalf = tensor::DType::f16;
constexpr auto kByte = tensor::DType::u8;
constexpr auto kFloat = tensor::DType::f32;

bool mlx_refuses(ErrorKind kind, const std::vector<FilePart>& parts, const std::string& config = "{}") {
  const TemporaryDirectory directory;
  const fs::path path = make_checkpoint(directory, parts, config);
  return throws_kind(kind, [&] { (void)read_model(path, "mlx"); });
}

std::vector<FilePart> four_bit(const std::string& state, std::vector<std::uint64_t> codes = {1024, 1},
                               std::uint64_t blocks = 32, const std::string& suffix = "nf4") {
  return {{"a.weight", kByte, std::move(codes)},
          {"a.weight.absmax", kFloat, {blocks}},
          {"a.weight.quant_map", kFloat, {16}},
          {"a.weight.quant_state.bitsandbytes__" + suffix, kByte, {state.size()}, state}};
}
constexpr std::string_view kState = R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [32, 64]})";

bool bnb_refuses(ErrorKind kind, const std::vector<FilePart>& parts) {
  const TemporaryDirectory directory;
  const fs::path path = make_checkpoint(directory, parts, "{}");
  return throws_kind(kind, [&] { (void)read_model(path, "bnb"); });
}

}  // namespace

TEST_CASE("mlx_values_equal_those_of_the_library") {
  check_values(kFolder / "mlx", "affine", "mlx");
  check_values(kFolder / "mlx", "float", "mlx");
}

TEST_CASE("mlx_packs_and_restores_the_files") {
  for (const char* name : {"affine", "float"}) {
    test::check_packing(kFolder / "mlx" / name);
    check_restore(kFolder / "mlx" / name);
  }
}

TEST_CASE("mlx_group_sizes_come_from_the_shapes") {
  const std::vector<FilePart> parts = {
      {"a.weight", kWords, {32, 32}}, {"a.scales", kHalf, {32, 4}}, {"a.biases", kHalf, {32, 4}}};
  const TemporaryDirectory directory;
  const auto shape_with = [&](const std::string& config) {
    const tensor::Model model = read_model(make_checkpoint(directory, parts, config));
    return std::pair(model.tensors.at(0).shape[1], model.findings.size());
  };
  // 256 bits in a group: 64 x 4, 32 x 8 or 128 x 2. Nothing tells which, unless the config does or one fits its sizes.
  CHECK(mlx_refuses(ErrorKind::mismatch, parts, "{}"));
  CHECK(shape_with(R"({"hidden_size": 128})") == std::pair<std::uint64_t, std::size_t>(128, 0));
  CHECK(mlx_refuses(ErrorKind::mismatch, parts, R"({"hidden_size": 128, "intermediate_size": 256})"));
  const tensor::Model usual = read_model(make_checkpoint(directory, parts, "{}"), "mlx", {nullptr, true});
  CHECK(usual.tensors.at(0).shape[1] == 256);
  CHECK(shape_with(R"({"quantization": {"group_size": 32, "bits": 8}})") ==
        std::pair<std::uint64_t, std::size_t>(128, 0));
  CHECK(shape_with(R"({"quantization": {"group_size": 64, "bits": 4, "a": {"group_size": 128, "bits": 2}}})") ==
        std::pair<std::uint64_t, std::size_t>(512, 0));
  CHECK(shape_with(R"({"hidden_size": 512, "quantization": {"group_size": 64, "bits": 8}})") ==
        std::pair<std::uint64_t, std::size_t>(512, 1));
  CHECK(shape_with(R"({"quantization": {"group_size": 64, "bits": 4, "a": false}})") ==
        std::pair<std::uint64_t, std::size_t>(256, 1));
  CHECK(mlx_refuses(ErrorKind::mismatch, parts, R"({"quantization": {"group_size": 64, "bits": 8}})"));
}

TEST_CASE("mlx_config_whose_product_alone_is_right_gives_way_to_the_width_of_the_model") {
  const auto parts_of = [](const std::string& name) {
    return std::vector<FilePart>{
        {name + ".weight", kWords, {32, 32}}, {name + ".scales", kHalf, {32, 4}}, {name + ".biases", kHalf, {32, 4}}};
  };
  const TemporaryDirectory directory;
  const auto read = [&](const std::string& name, const std::string& config, bool trust = false) {
    const tensor::Model model = read_model(make_checkpoint(directory, parts_of(name), config), "mlx", {nullptr, trust});
    return std::pair(model.tensors.at(0).shape[1], model.findings.size());
  };
  using Seen = std::pair<std::uint64_t, std::size_t>;
  const std::string lie = R"({"hidden_size": 128, "quantization": {"group_size": 64, "bits": 4}})";
  CHECK(read("model.layers.0.self_attn.q_proj", lie) == Seen(128, 1));
  CHECK(read("model.layers.0.self_attn.q_proj", lie, true) == Seen(256, 0));
  CHECK(read("model.layers.0.mlp.down_proj", lie) == Seen(256, 0));  // of any width
  CHECK(read("vision.q_proj", R"({"hidden_size": 128, "quantization": {"group_size": 64, "bits": 4},
                                  "vision_config": {"hidden_size": 256}})") == Seen(256, 0));
  CHECK(read("q.q_proj", R"({"hidden_size": 128, "quantization": {"q.q_proj": {"group_size": 64, "bits": 4}}})") ==
        Seen(256, 0));
}

TEST_CASE("mlx_refuses_parts_that_contradict_each_other") {
  const FilePart weight{"a.weight", kWords, {32, 32}}, scales{"a.scales", kHalf, {32, 4}};
  const FilePart biases{"a.biases", kHalf, {32, 4}};
  CHECK(mlx_refuses(ErrorKind::mismatch, {weight, scales}));
  CHECK(mlx_refuses(ErrorKind::mismatch, {weight, scales, {"a.biases", kHalf, {32, 2}}}));
  CHECK(mlx_refuses(ErrorKind::mismatch, {weight, scales, {"a.biases", kWords, {32, 4}}}));
  CHECK(mlx_refuses(ErrorKind::mismatch, {weight, {"a.scales", kHalf, {31, 4}}, biases}));
  CHECK(mlx_refuses(ErrorKind::mismatch, {weight, {"a.scales", kHalf, {32, 5}}, {"a.biases", kHalf, {32, 5}}}));
  CHECK(mlx_refuses(ErrorKind::mismatch, {weight, {"a.scales", kWords, {32, 4}}, biases}));
  CHECK(mlx_refuses(ErrorKind::mismatch, {weight, {"a.scales", kByte, {32, 3}}}));
  CHECK(mlx_refuses(ErrorKind::mismatch, {weight, {"a.scales", kByte, {32, 4}}, biases}));
  CHECK(mlx_refuses(ErrorKind::mismatch,
                    {{"a.weight", kWords, {32}}, {"a.scales", kHalf, {32}}, {"a.biases", kHalf, {32}}}));
  CHECK(mlx_refuses(ErrorKind::mismatch,
                    {{"a.weight", kWords, {0, 32}}, {"a.scales", kHalf, {0, 4}}, {"a.biases", kHalf, {0, 4}}}));
  CHECK(mlx_refuses(ErrorKind::mismatch,
                    {{"a.weight", kWords, {32, 7}}, {"a.scales", kHalf, {32, 1}}, {"a.biases", kHalf, {32, 1}}},
                    R"({"quantization": {"group_size": 18446744073709551615, "bits": -4}})"));
}

TEST_CASE("bnb_four_bit_values_equal_those_of_the_library") { check_values(kFolder / "bnb", "four_bit", "bnb"); }
TEST_CASE("bnb_eight_bit_values_equal_those_of_the_library") { check_values(kFolder / "bnb", "eight_bit", "bnb"); }

TEST_CASE("bnb_packs_and_restores_the_files") {
  for (const char* name : {"four_bit", "eight_bit"}) {
    test::check_packing(kFolder / "bnb" / name);
    check_restore(kFolder / "bnb" / name);
  }
}

TEST_CASE("bnb_restores_padding_that_means_nothing") {
  const TemporaryDirectory directory;
  std::string codes(12, '\x7b');  // 21 elements: half a byte and one byte of padding
  const std::string state = R"({"shape": [3, 7], "blocksize": 64, "quant_type": "nf4", "dtype": "float16"})";
  std::vector<FilePart> parts = four_bit(state, {6, 1}, 1);
  parts[0].type = tensor::DType::bf16;
  parts[0].bytes = codes;
  const fs::path path = make_checkpoint(directory, parts, "{}");
  CHECK(read_model(path).findings.size() == 1);  // a quant_map of zeros
  check_restore(path);
}

TEST_CASE("bnb_refuses_states_and_shapes_that_contradict_each_other") {
  const std::string state(kState);
  CHECK(!bnb_refuses(ErrorKind::mismatch, four_bit(state)));
  CHECK(bnb_refuses(ErrorKind::mismatch, four_bit(state, {1023, 1})));
  CHECK(bnb_refuses(ErrorKind::mismatch, four_bit(state, {1025, 1})));
  CHECK(bnb_refuses(ErrorKind::unsupported, four_bit(state, {32, 32})));
  CHECK(bnb_refuses(ErrorKind::unsupported, four_bit(state, {1, 1024})));
  CHECK(bnb_refuses(ErrorKind::mismatch, four_bit(state, {1024, 1}, 31)));
  CHECK(bnb_refuses(ErrorKind::mismatch, four_bit(state, {1024, 1}, 32, "fp4")));
  CHECK(bnb_refuses(ErrorKind::invalid_value, four_bit("{}")));
  CHECK(bnb_refuses(ErrorKind::invalid_value, four_bit("nonsense")));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = state;
    return four_bit(text.replace(text.find(from), from.size(), to));
  };
  CHECK(bnb_refuses(ErrorKind::mismatch, with("64,", "0,")));
  CHECK(bnb_refuses(ErrorKind::mismatch, with("64,", "63,")));
  CHECK(bnb_refuses(ErrorKind::mismatch, with("64,", "1099511627776,")));
  CHECK(bnb_refuses(ErrorKind::unsupported, with("[32, 64]", "null")));
  CHECK(bnb_refuses(ErrorKind::limit_exceeded, with("[32, 64]", "[4294967296, 4294967296, 16]")));
  CHECK(bnb_refuses(ErrorKind::mismatch, with("[32, 64]", "[0, 64]")));
  CHECK(
      bnb_refuses(ErrorKind::mismatch, with("[32, 64]", R"([32, 64], "nested_blocksize": 256, "nested_offset": 0.5)")));
  CHECK(bnb_refuses(ErrorKind::mismatch, {{"a.weight", tensor::DType::i8, {4, 8}}, {"a.SCB", kFloat, {5}}}));
  CHECK(bnb_refuses(ErrorKind::mismatch, {{"a.weight", tensor::DType::i8, {4, 8}}, {"a.SCB", kHalf, {4}}}));
  CHECK(bnb_refuses(ErrorKind::unsupported, {{"a.weight", tensor::DType::i8, {4, 8}},
                                             {"a.SCB", kFloat, {4}},
                                             {"a.weight_format", kByte, {}, std::string(1, '\x02')}}));
}

TEST_CASE("mlx_writes_its_own_forms_as_they_were") {
  check_copies(kFolder / "mlx/affine", "mlx");
  check_copies(kFolder / "mlx/float", "mlx");
}

TEST_CASE("mlx_takes_the_codes_of_other_layouts") {
  const TemporaryDirectory scratch;
  const std::map<std::string, std::string> scale_types = {
      {"gptq/asym_v1", "F32"}, {"gptq/bits3", "F32"}, {"gptq/marlin", "F16"}, {"awq/gemv_g64", "F32"}};
  for (const auto& [name, type] : scale_types) {
    INFO(name);
    const fs::path target = scratch / "mlx";
    fs::remove_all(target);
    const ConversionReport report = write_as("mlx", kFolder / name, target);
    CHECK(report.model_before == report.model_after);
    CHECK(read_model(target).layout == "mlx");
    CHECK(setting(target, "quantization", "mode") == "\"affine\"");
    CHECK(setting(target, "quantization_config", "bits") == setting(target, "quantization", "bits"));
    std::size_t scales = 0;
    for (const auto& [tensor, bytes] : file_tensors(target))
      scales += tensor.find(".scales " + type) != std::string::npos;
    CHECK(scales > 0);
  }
}

TEST_CASE("mlx_scale_type_can_be_forced") {
  const TemporaryDirectory scratch;
  const fs::path source = kFolder / "gptq/asym_v1";
  CHECK(throws_kind(ErrorKind::mismatch, [&] {
    (void)write_as("mlx", source, scratch / "refused", {{"scale_type", "f16"}});
  }));
  CHECK(throws_kind(ErrorKind::unsupported, [&] {
    (void)write_as("mlx", source, scratch / "unknown", {{"scale_type", "f8"}});
  }));
  const ConversionReport report = write_as("mlx", source, scratch / "f16", {{"scale_type", "f16"}}, ProofClass::codes);
  for (const TensorProof& proof : report.proofs) CHECK(proof.worst_error_steps < 0.05);
  for (const auto& [tensor, bytes] : file_tensors(scratch / "f16"))
    CHECK(tensor.find(".biases F32") == std::string::npos);
}

TEST_CASE("bnb_writes_its_own_forms_as_they_were") {
  const TemporaryDirectory scratch;
  check_copies(kFolder / "bnb/eight_bit", "bnb");
  // Storage types other than bytes are not kept, nor the unused half of the last byte: compared by values.
  const ConversionReport report = write_as("bnb", kFolder / "bnb/four_bit", scratch / "copy");
  CHECK(report.model_before == report.model_after);
  const FileTensors before = file_tensors(kFolder / "bnb/four_bit"), after = file_tensors(scratch / "copy");
  CHECK(before.size() == after.size());
  for (const auto& [name, bytes] : before) {
    INFO(name);
    const bool changes = name.find("quant_state") != std::string::npos || name.starts_with("in_") ||
                         name.starts_with("odd_short.weight U8");
    CHECK((changes || (after.contains(name) && after.at(name) == bytes)));
  }
  CHECK(setting(scratch / "copy", "quantization_config", "load_in_4bit") == "true");
  CHECK(setting(scratch / "copy", "quantization_config", "llm_int8_skip_modules") == "[]");
}

TEST_CASE("bnb_refuses_a_model_without_a_tensor_that_it_can_keep") {
  const TemporaryDirectory scratch;
  CHECK_THROWS_AS((void)write_as("bnb", kFolder / "mlx/affine", scratch / "none"), Error);
  CHECK(!fs::exists(scratch / "none"));
}

TEST_CASE("real_checkpoints_of_mlx_and_bitsandbytes") {
  if (!fs::exists(kReal)) return test::skip("no real quantized checkpoints beside the repository");
  for (const auto& [name, tolerance] : std::map<std::string, double>{
           {"bnb-nf4", 0}, {"bnb-int8", 0}, {"mlx-affine-4bit-g64", 1e-3}, {"mlx-affine-8bit-g64", 1e-3}}) {
    const tensor::Model model = read_model(kReal / name);
    const tensor::Model expected = read_model(kReal / name / "expected_dequant.safetensors");
    std::size_t compared = 0;
    for (const tensor::Tensor& wanted : expected.tensors) {
      INFO(name << " " << wanted.name);
      const tensor::Tensor* got = model.find(wanted.name);
      REQUIRE(got != nullptr);
      const std::vector<float> a = values_of(*got), b = values_of(wanted);
      REQUIRE(a.size() == b.size());
      double worst = 0, greatest = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        worst = std::max(worst, std::abs(double{a[i]} - double{b[i]}));
        greatest = std::max(greatest, std::abs(double{b[i]}));
      }
      CHECK(worst <= tolerance * greatest);
      ++compared;
    }
    CHECK(compared > 0);
  }
}

// GPTQ checkpoints packed by GPTQModel (tests/golden/foreign/gptq, make.py beside them): values, packing, evidence, the
// way back.
#include <functional>

#include "converters/files/safetensors.h"
#include "converters/layouts/gptq_config.h"
#include "tests/coded_checkpoints.h"
#include "tests/expect_error.h"
#include "tests/skip.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(INGOT_TEST_DATA) / "golden/foreign/gptq";
const fs::path kForLlama = fs::path(INGOT_TEST_DATA) / "golden/foreign/gptq_for_llama";
const fs::path kRealModels = fs::path(INGOT_TEST_DATA) / "../../shared/models/quantized";

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder))
    if (entry.is_directory() && entry.path().filename() != "__pycache__")
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

tensor::Model read(const fs::path& path, bool trust_config = false) {
  return gptq_layout().read(path, {.progress = {}, .trust_config = trust_config});
}

bool speaks_of(const tensor::Model& model, std::string_view words) {
  return std::any_of(model.findings.begin(), model.findings.end(),
                     [&](const std::string& finding) { return finding.find(words) != std::string::npos; });
}

void set_config(const fs::path& directory, std::string_view members) {
  fs::permissions(directory / "config.json", fs::perms::owner_all);
  std::ofstream(directory / "config.json", std::ios::trunc) << "{\"quantization_config\":{" << members << "}}";
}

void replace(std::string& text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  text.replace(at, from.size(), to);
}

std::uint64_t data_begin(const std::string& file) {
  return 8 + load_le<std::uint64_t>(std::as_bytes(std::span(file)).data());
}

}  // namespace

TEST_CASE("gptq_values_equal_those_of_gptqmodel") {
  CHECK(cases().size() >= 25);
  for (const std::string& name : cases()) {
    INFO(name);
    CHECK(&detect_layout(kFolder / name) == find_layout("gptq"));
    test::check_f16_values(read(kFolder / name), kFolder / (name + ".expected.safetensors"));
  }
}

TEST_CASE("gptq_parts_pack_to_the_bytes_that_were_read") {
  for (const std::string& name : cases()) {
    INFO(name);
    CHECK(test::restored_weights(read(kFolder / name), gptq_layout()) ==
          test::file_text(kFolder / name / "model.safetensors"));
  }
}

TEST_CASE("gptq_directories_are_restored_from_ingot") {
  for (const std::string& name : cases()) {
    INFO(name);
    test::check_restored_directory(kFolder / name);
  }
}

TEST_CASE("gptq_padding_bits_are_restored") {
  const TemporaryDirectory scratch;
  // 36 inputs and 20 outputs of 4 bits: the last word of a column holds 4 codes, the last word of a row of qzeros 4
  // zero points.
  test::copy_changed(kFolder / "padding", scratch / "garbage", [](std::string& bytes) {
    const SafetensorsHeader header = parse_safetensors(std::as_bytes(std::span(bytes)), "test");
    for (const SafetensorsEntry& entry : header.entries)
      if (entry.name == "a.qweight" || entry.name == "a.qzeros") bytes[entry.end - 1] = '\x5a';
  });
  test::check_restored_directory(scratch / "garbage");
  test::check_f16_values(read(scratch / "garbage"), kFolder / "padding.expected.safetensors");
}

TEST_CASE("gptq_schemes_say_what_the_file_holds") {
  const auto scheme = [](const char* name, const char* tensor) {
    return tensor::describe(read(kFolder / name).find(tensor)->scheme);
  };
  CHECK(scheme("sym_v1", "a.weight") == "u4_g32_f16_zp");
  CHECK(scheme("act_order", "a.weight") == "u4_g32_f16_zp_perm");
  CHECK(scheme("act_order", "b.weight") == "u4_g16_f16_zp_perm");
  CHECK(scheme("uneven_g_idx", "a.weight") == "u4_g32_f16_zp_gidx");
  CHECK(scheme("planar6", "a.weight") == "u6_g16_f16_zp");
  CHECK(scheme("bits3", "b.weight") == "u3_row_f16_zp");
  CHECK(scheme("marlin", "a.weight") == "u4_g128_f16_z8");
  CHECK(scheme("dynamic", "model.layers.0.up.weight") == "u8_g16_f16_zp");
  CHECK(scheme("dynamic", "model.layers.1.q.weight") == "u2_g32_f16_zp");
}

TEST_CASE("gptq_evidence_beats_labels") {
  CHECK(read(kFolder / "sym_v1").findings.empty());
  CHECK(read(kFolder / "bits3").findings.empty());
  CHECK(read(kFolder / "dynamic").findings.empty());
  CHECK(speaks_of(read(kFolder / "sym_mislabelled"), "all qzeros are 8"));
  CHECK(speaks_of(read(kFolder / "zero_v1_words"), "spoil their neighbours"));
  CHECK(speaks_of(read(kFolder / "zero_v1_top"), "stored as -1"));
  CHECK(speaks_of(read(kFolder / "zero_g_idx"), "g_idx is zero everywhere"));

  const tensor::Model trusted = read(kFolder / "sym_mislabelled", true);
  CHECK(speaks_of(trusted, "--trust-config"));
  const std::vector<float> a = test::logical_values(*trusted.find("a.weight"));
  const std::vector<float> b = test::logical_values(*read(kFolder / "sym_mislabelled").find("a.weight"));
  CHECK(a != b);
}

TEST_CASE("gptq_sizes_come_from_the_tensors") {
  const TemporaryDirectory scratch;
  fs::copy(kFolder / "asym_v2", scratch / "lies");
  set_config(
      scratch / "lies",
      R"("quant_method":"gptq","bits":8,"group_size":64,"sym":false,"desc_act":false,"checkpoint_format":"gptq_v2")");
  const tensor::Model model = read(scratch / "lies");
  test::check_f16_values(model, kFolder / "asym_v2.expected.safetensors");
  CHECK(speaks_of(model, "the config says 8 bits"));
  CHECK(speaks_of(model, "the config says group size 64, g_idx says 32"));

  fs::copy(kFolder / "act_order", scratch / "order");
  set_config(
      scratch / "order",
      R"("quant_method":"gptq","bits":4,"group_size":32,"sym":false,"desc_act":false,"checkpoint_format":"gptq_v2")");
  CHECK(speaks_of(read(scratch / "order"), "g_idx is in activation order"));
}

TEST_CASE("gptq_for_llama_is_read_by_what_its_codes_show") {
  for (const char* name : {"old_cuda", "cuda_act_order", "without_g_idx"}) {
    INFO(name);
    CHECK(&detect_layout(kForLlama / name) == find_layout("gptq"));
    const tensor::Model model = read(kForLlama / name);
    CHECK(model.findings.size() == 1);  // and none about a config that is not there
    CHECK(speaks_of(model, "no quantization config says"));
    CHECK(speaks_of(model, "as weights around zero do in gptq (stored as zero - 1)"));
    test::check_f16_values(model, kForLlama / (std::string(name) + ".expected.safetensors"));
    test::check_restored_directory(kForLlama / name);
  }
  CHECK(tensor::describe(read(kForLlama / "cuda_act_order").find("layers.0.weight")->scheme) == "u4_g32_f16_zp_perm");
  CHECK(tensor::describe(read(kForLlama / "without_g_idx").find("layers.0.weight")->scheme) == "u4_g32_f32_zp");
}

TEST_CASE("gptq_codes_tell_how_asymmetric_zero_points_are_stored") {
  const TemporaryDirectory scratch;
  const auto with_config = [&](const char* name, std::string_view format) {
    set_config(scratch / name, R"("quant_method":"gptq","bits":4,"group_size":32,"sym":false,"checkpoint_format":")" +
                                   std::string(format) + "\"");
    return read(scratch / name);
  };
  const auto make = [&](const char* name, const std::function<void(std::string&)>& change) {
    test::copy_changed(kForLlama / "cuda_act_order", scratch / name, change, "llama7b-4bit-32g.safetensors");
    std::ofstream(scratch / name / "config.json") << "{}";
  };
  const fs::path expected = kForLlama / "cuda_act_order.expected.safetensors";
  const auto each_byte_of = [](std::string& bytes, std::string_view tensor, auto change) {
    const SafetensorsHeader header = parse_safetensors(std::as_bytes(std::span(bytes)), "test");
    for (const SafetensorsEntry& entry : header.entries)
      if (entry.name == tensor)
        for (std::uint64_t i = entry.begin; i < entry.end; ++i) bytes[i] = change(bytes[i]);
  };
  make("v1", [](std::string&) {});
  CHECK(!speaks_of(with_config("v1", "gptq"), "codes lie"));
  const tensor::Model lying = with_config("v1", "gptq_v2");
  CHECK(speaks_of(lying, "checkpoint_format is gptq_v2, but codes lie"));
  test::check_f16_values(lying, expected);
  const tensor::Model trusted = read(scratch / "v1", true);
  CHECK(speaks_of(trusted, "read as labelled, because --trust-config was given"));
  CHECK(test::logical_values(*trusted.find("layers.0.weight")) != test::logical_values(*lying.find("layers.0.weight")));

  // The same zero points as gptq_v2 stores them: one is added to both nibbles, none of which is 15.
  make("v2", [&](std::string& bytes) {
    each_byte_of(bytes, "layers.0.qzeros", [](char byte) { return static_cast<char>(byte + 0x11); });
  });
  const tensor::Model unlabelled = read(scratch / "v2");
  CHECK(speaks_of(unlabelled, "as weights around zero do in gptq_v2 (stored as it is)"));
  test::check_f16_values(unlabelled, expected);

  // Codes that follow no zero point decide nothing: without a config that is an error, with one it is believed.
  make("random", [&](std::string& bytes) {
    each_byte_of(bytes, "layers.0.qweight", [state = 1u](char) mutable {
      state = state * 1664525u + 1013904223u;
      return static_cast<char>(state >> 24);
    });
  });
  CHECK(test::throws_kind(ErrorKind::mismatch, [&] { (void)read(scratch / "random"); }));
  CHECK(!speaks_of(with_config("random", "gptq"), "codes lie"));
  CHECK(!speaks_of(with_config("random", "gptq_v2"), "codes lie"));
}

TEST_CASE("gptq_packings_of_auto_round_are_told_by_its_config") {
  const TemporaryDirectory scratch;
  const auto read_as = [&](const char* name, std::string_view packing, const char* target) {
    fs::copy(kFolder / name, scratch / target);
    set_config(scratch / target,
               R"("quant_method":"auto-round","bits":4,"group_size":32,"sym":false,"packing_format":")" +
                   std::string(packing) + R"(","extra_config":{"b":{"group_size":16},"lm_head":{"group_size":-1},)" +
                   R"("model.layers.0.up":{"bits":8,"group_size":16},"model.layers.1.q":{"bits":2}})");
    CHECK(&detect_layout(scratch / target) == find_layout("gptq"));
    const tensor::Model model = read(scratch / target);
    CHECK(model.findings.empty());
    test::check_f16_values(model, kFolder / (std::string(name) + ".expected.safetensors"));
  };
  read_as("asym_v1", "auto_round:auto_gptq", "minus_one");
  read_as("asym_v2", "auto_round", "plain");
  read_as("asym_v2", "auto_round:gptqmodel", "gptqmodel");
  read_as("dynamic", "auto_round", "exceptions");
}

TEST_CASE("gptq_accepts_wide_g_idx_and_calls_out_a_pack_dtype_that_lies") {
  const TemporaryDirectory scratch;
  test::copy_changed(kFolder / "act_order", scratch / "wide", [](std::string& bytes) {
    const SafetensorsHeader header = parse_safetensors(std::as_bytes(std::span(bytes)), "test");
    std::vector<SafetensorsItem> items;
    std::vector<std::string> contents;
    for (const SafetensorsEntry& entry : header.entries) {
      const bool index = entry.name.ends_with("g_idx");
      items.push_back({entry.name, index ? tensor::DType::i64 : entry.type->type, entry.shape});
      std::string content = bytes.substr(entry.begin, entry.size());
      if (index) {
        std::string wide;
        for (std::size_t i = 0; i < content.size(); i += 4) wide += content.substr(i, 4) + std::string(4, '\0');
        content = wide;
      }
      contents.push_back(content);
    }
    const SafetensorsPlan plan = plan_safetensors(items, header.metadata);
    bytes = plan.header;
    for (const std::size_t index : plan.order) bytes += contents[index];
  });
  test::check_f16_values(read(scratch / "wide"), kFolder / "act_order.expected.safetensors");
  test::check_restored_directory(scratch / "wide");

  CHECK(!speaks_of(read(kFolder / "pack16"), "pack_dtype"));
  fs::copy(kFolder / "pack16", scratch / "lies");
  set_config(scratch / "lies", R"("quant_method":"gptq","bits":4,"group_size":32,"sym":false,"pack_dtype":"int32",)"
                               R"("checkpoint_format":"gptq_v2")");
  const tensor::Model model = read(scratch / "lies");
  CHECK(speaks_of(model, "the config says pack_dtype int32, the words of qweight are i16"));
  test::check_f16_values(model, kFolder / "pack16.expected.safetensors");
}

TEST_CASE("gptq_mixed_evidence_is_refused_when_it_decides_nothing") {
  const TemporaryDirectory scratch;
  // Module a holds 8s, module b 7s; lm_head's zero points vary.
  fs::copy(kFolder / "asym_v2", scratch / "mixed");
  std::string bytes = test::file_text(scratch / "mixed/model.safetensors");
  const SafetensorsHeader header = parse_safetensors(std::as_bytes(std::span(bytes)), "mixed");
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.name == "a.qzeros")
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(entry.begin), entry.size(), '\x88');
    if (entry.name == "b.qzeros")
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(entry.begin), entry.size(), '\x77');
  }
  std::ofstream(scratch / "mixed/model.safetensors", std::ios::binary | std::ios::trunc) << bytes;
  set_config(scratch / "mixed", R"("quant_method":"gptq","bits":4,"group_size":32,"sym":true)");
  CHECK(test::throws_kind(ErrorKind::mismatch, [&] { (void)read(scratch / "mixed"); }));
  CHECK(speaks_of(read(scratch / "mixed", true), "read as labelled"));
}

TEST_CASE("gptq_refuses_contradictions") {
  const TemporaryDirectory scratch;
  int number = 0;
  const auto error_after = [&](const char* name, std::string_view from, std::string_view to) {
    const fs::path directory = scratch.path() / std::to_string(number++);
    test::copy_changed(kFolder / name, directory, [&](std::string& bytes) { replace(bytes, from, to); });
    return test::error_of([&] { (void)read(directory); });
  };
  const auto is_invalid = [](const std::optional<Error>& error) {
    return error && error->kind == ErrorKind::invalid_value;
  };
  CHECK(is_invalid(error_after("sym_v1", "a.scales", "a.scolos")));
  CHECK(is_invalid(error_after("sym_v1", "a.qzeros", "a.qzoros")));
  CHECK(is_invalid(error_after("asym_v2", R"("shape":[8,32])", R"("shape":[32,8])")));  // a.qweight
  CHECK(is_invalid(error_after("asym_v2", R"("shape":[2,4])", R"("shape":[4,2])")));    // a.qzeros
  CHECK(is_invalid(error_after("asym_v2", R"("dtype":"I32","shape":[64])", R"("dtype":"F32","shape":[64])")));  // g_idx
  // g_idx with entries beyond the groups.
  const fs::path wild = scratch / "wild";
  test::copy_changed(kFolder / "asym_v2", wild, [](std::string& bytes) {
    const SafetensorsHeader header = parse_safetensors(std::as_bytes(std::span(bytes)), "wild");
    for (const SafetensorsEntry& entry : header.entries)
      if (entry.name == "a.g_idx") bytes[entry.begin + 3] = '\x7f';
  });
  const std::optional<Error> error = test::error_of([&] { (void)read(wild); });
  CHECK(is_invalid(error));
  CHECK(std::string(error->what()).find("a.g_idx") != std::string::npos);

  for (const char* format : {"bitblas", "marlin_24"}) {
    const fs::path directory = scratch.path() / format;
    fs::copy(kFolder / "sym_v1", directory);
    set_config(directory, std::string(R"("quant_method":"gptq","bits":4,"checkpoint_format":")") + format + "\"");
    CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)read(directory); }));
  }
}

TEST_CASE("gptq_takes_the_first_rule_that_matches_a_module_of_many_thousands") {
  constexpr int kModules = 20'000;
  std::string rules = R"("+:.*\\.7\\..*":{"bits":2})";
  for (int i = 0; i < kModules; ++i) {
    const std::string module = "layers\\\\." + std::to_string(i) + "\\\\.up_proj$";
    rules += ",\"" + std::string(i % 2 == 0 ? "+:^" : "-:^") + module + "\":{\"bits\":8}";
  }
  rules += R"(,".*":{"bits":3})";
  const Json json = parse_json("{\"bits\":4,\"dynamic\":{" + rules + "}}", "test");
  const gptq::Config config(&json, "test");
  CHECK(config.odd_patterns().empty());
  const auto bits_of = [&](const std::string& module) { return config.of(module).bits; };
  CHECK(bits_of("layers.8.up_proj") == 8);
  CHECK(bits_of("layers.19998.up_proj") == 8);
  CHECK(bits_of("layers.9.up_proj") == 4);    // left out
  CHECK(bits_of("layers.7.up_proj") == 2);    // the pattern comes first
  CHECK(bits_of("layers.8.up_proj.x") == 3);  // only the last one
  CHECK(bits_of("layers.20000.up_proj") == 3);
}

TEST_CASE("gptq_refuses_more_patterns_than_can_be_tried") {
  std::string rules;
  for (int i = 0; i < 5000; ++i) rules += (i > 0 ? "," : "") + ("\"x" + std::to_string(i)) + ".*\":{}";
  const Json json = parse_json("{\"dynamic\":{" + rules + "}}", "test");
  CHECK(test::throws_kind(ErrorKind::limit_exceeded, [&] { (void)gptq::Config(&json, "test"); }));
}

TEST_CASE("gptq_survives_hostile_configs") {
  const TemporaryDirectory scratch;
  fs::copy(kFolder / "asym_v2", scratch / "config");
  const auto kind_of = [&](std::string_view members) {
    set_config(scratch / "config", members);
    const auto error = test::error_of([&] { (void)read(scratch / "config"); });
    return error ? std::optional(error->kind) : std::nullopt;
  };
  CHECK(!kind_of(R"("quant_method":"gptq","checkpoint_format":"gptq_v2","group_size":1000000000000000000,"bits":99)"));
  CHECK(!kind_of(R"("quant_method":"gptq","dynamic":{"(a+)+$":{"bits":2},"+:[":{},"(x{1000}){1000}":{}})"));
  CHECK(kind_of(R"("quant_method":"gptq","group_size":"many")") == ErrorKind::invalid_value);
  CHECK(kind_of(R"("quant_method":"gptq","bits":-4)") == ErrorKind::invalid_value);
  CHECK(kind_of(R"("quant_method":"gptq","rotation":"hadamard")") == ErrorKind::unsupported);
}

TEST_CASE("gptq_truncations_fail_cleanly") {
  const TemporaryDirectory scratch;
  const std::string whole = test::file_text(kFolder / "asym_v1/model.safetensors");
  fs::copy(kFolder / "asym_v1", scratch / "cut");
  for (std::size_t size = 0; size < whole.size(); size += 61) {
    fs::permissions(scratch / "cut/model.safetensors", fs::perms::owner_all);
    std::ofstream(scratch / "cut/model.safetensors", std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    CHECK(test::error_of([&] { (void)read(scratch / "cut"); }).has_value());
  }
}

TEST_CASE("gptq_flipped_header_bits_fail_or_read") {
  const TemporaryDirectory scratch;
  const std::string whole = test::file_text(kFolder / "sym_v1/model.safetensors");
  fs::copy(kFolder / "sym_v1", scratch / "flip");
  fs::permissions(scratch / "flip/model.safetensors", fs::perms::owner_all);
  for (std::uint64_t bit = 0; bit < data_begin(whole) * 8; bit += 5) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    std::ofstream(scratch / "flip/model.safetensors", std::ios::binary | std::ios::trunc) << bytes;
    (void)test::error_of([&] {
      const tensor::Model model = read(scratch / "flip");
      for (const tensor::Tensor& tensor : model.tensors)
        if (tensor.scheme.codes.kind == tensor::CodeKind::number) (void)test::logical_values(tensor);
    });
  }
}

TEST_CASE("gptq_real_checkpoints_decode_as_their_tools_do") {
  if (!fs::exists(kRealModels)) return test::skip("../shared/models/quantized is absent");
  for (const char* name : {"gptq-w4-g128-sym", "gptq-w8-gm1-sym"}) {
    INFO(name);
    const TemporaryDirectory scratch;
    for (const char* file : {"config.json", "model.safetensors"}) fs::copy(kRealModels / name / file, scratch / file);
    const tensor::Model model = read_model(scratch.path());
    CHECK(model.layout == "gptq");
    CHECK(model.findings.empty());
    const tensor::Model expected = hf_layout().read(kRealModels / name / "expected_dequant.safetensors", {});
    for (const tensor::Tensor& wanted : expected.tensors) {
      INFO(wanted.name);
      REQUIRE(model.find(wanted.name) != nullptr);
      CHECK(test::logical_values(*model.find(wanted.name)) == test::logical_values(wanted));
    }
  }
}

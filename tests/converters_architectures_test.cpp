// Every architecture that GGUF has names for: the tensors, bytes and hyperparameters that convert_hf_to_gguf.py writes
// (tests/golden/foreign/gguf/make_architectures.py), and the way home.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

#include "coded_checkpoints.h"
#include "converters/gguf/file.h"
#include "converters/gguf/names.h"
#include "converters/hf/config.h"
#include "format/base/hash.h"
#include "format/base/json.h"
#include "format/tensor/fingerprint.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

/// The formula of make_architectures.py.
std::string weights(std::string_view name, std::uint64_t count) {
  std::uint64_t seed = 0xCBF29CE484222325u;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  std::string bytes;
  for (std::uint64_t i = 1; i <= count; ++i) {
    std::uint64_t z = seed + i * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    const std::uint64_t bits = (z & 0x80FF) | ((124 + (z >> 32) % 4) << 7);
    bytes += static_cast<char>(bits & 0xFF);
    bytes += static_cast<char>(bits >> 8);
  }
  return bytes;
}

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

/// config.json and the weights in BF16, in the order of their names.
void write_checkpoint(const Json& entry, const fs::path& directory) {
  fs::create_directories(directory);
  write_file(directory / "config.json", pretty_json(entry.at("config", "case")));
  Json header{JsonObject{}};
  std::string data;
  for (const auto& [name, shape] : entry.at("shapes", "case").as_object("shapes")) {
    std::uint64_t count = 1;
    for (const Json& extent : shape.as_array("shape")) count *= extent.as_u64("extent");
    const std::uint64_t begin = data.size();
    data += weights(name, count);
    Json info;
    info.set("dtype", "BF16");
    info.set("shape", shape);
    info.set("data_offsets", JsonArray{Json(begin), Json(static_cast<std::uint64_t>(data.size()))});
    header.set(name, std::move(info));
  }
  std::string text = canonical_json(header);
  while (text.size() % 8 != 0) text += ' ';
  std::string size(8, '\0');
  for (int i = 0; i < 8; ++i) size[static_cast<std::size_t>(i)] = static_cast<char>(text.size() >> (8 * i) & 0xFF);
  write_file(directory / "model.safetensors", size + text + data);
}

void check_keys(const gguf::GgufFile& file, const Json& expected) {
  for (const auto& [key, value] : expected.as_object("keys")) {
    CAPTURE(key);
    const gguf::KeyValue* entry = file.find(key);
    REQUIRE(entry != nullptr);
    if (value.is_string())
      CHECK(*entry->text() == value.as_string(key));
    else
      CHECK(*entry->number() == value.as_double(key));
  }
}

void check_tensors(const gguf::GgufFile& file, const Json& expected) {
  CHECK(file.tensors.size() == expected.as_object("tensors").size());
  for (const gguf::TensorInfo& info : file.tensors) {
    CAPTURE(info.name);
    const Json* wanted = expected.find(info.name);
    REQUIRE(wanted != nullptr);
    const JsonArray& facts = wanted->as_array("facts");
    CHECK(std::string(info.type->name) == facts[0].as_string("type"));
    JsonArray shape;
    for (const std::uint64_t extent : info.shape()) shape.emplace_back(extent);
    CHECK(Json(shape) == facts[1]);
    CHECK(hash128(file.bytes.subspan(info.offset, info.size)).hex() == facts[2].as_string("hash"));
  }
}

/// HF -> GGUF -> HF: the same tensors (GGUF keeps vectors, routers and positions as F32) and the same hyperparameters.
void check_home(const fs::path& source, const fs::path& back) {
  const tensor::Model before = read_model(source), after = read_model(back);
  std::size_t count = 0;
  for (const tensor::Tensor& tensor : before.tensors) {
    CAPTURE(tensor.name);
    const tensor::Tensor* other = after.find(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(tensor::fingerprint(tensor) == tensor::fingerprint(*other));
    const bool is_f32 =
        tensor.name.ends_with(".block_sparse_moe.gate.weight") || tensor.name == "transformer.wpe.weight";
    if (tensor.shape.size() > 1 && !is_f32) CHECK(other->scheme == tensor.scheme);
    ++count;
  }
  CHECK(after.tensors.size() == count);
  const Json was = to_json(before.config), is = to_json(after.config);
  CHECK(canonical_json(is) == canonical_json(was));
  CHECK(parse_json(test::file_text(back / "config.json"), "config").at("model_type", "config") ==
        parse_json(test::file_text(source / "config.json"), "config").at("model_type", "config"));
}

const Json& cases() {
  static const Json json =
      parse_json(test::file_text(INGOT_TEST_DATA "/golden/foreign/gguf/architectures.json"), "architectures.json");
  return json;
}

TEST_CASE("gguf_of_every_architecture_is_that_of_convert_hf_to_gguf_and_comes_home") {
  for (const auto& [name, entry] : cases().as_object("cases")) {
    CAPTURE(name);
    const test::TemporaryDirectory scratch;
    const fs::path source = scratch / "source", target = scratch / "model.gguf", back = scratch / "back";
    write_checkpoint(entry, source);
    ConvertOptions options;
    options.write.sync = false;
    options.to = "gguf";
    (void)convert(read_model(source), target, options);
    const gguf::GgufFile file = gguf::parse_file(target);
    check_keys(file, entry.at("keys", name));
    check_tensors(file, entry.at("tensors", name));
    options.to = "hf";
    (void)convert(read_model(target), back, options);
    check_home(source, back);
    // The GGUF file itself comes back from an .ingot, experts and all.
    options.to = "ingot";
    (void)convert(read_model(target), scratch / "model.ingot", options);
    (void)restore(read_model(scratch / "model.ingot"), scratch / "restored", false, {});
    CHECK(test::file_text(scratch / "restored" / "model.gguf") == test::file_text(target));
  }
}

TEST_CASE("experts_are_stacked_only_when_all_are_there") {
  const test::TemporaryDirectory scratch;
  write_checkpoint(cases().at("mixtral", "cases"), scratch / "source");
  tensor::Model model = read_model(scratch / "source");
  ConvertOptions options;
  options.to = "gguf";
  options.write.scheme = "q8_0";
  options.allow = ProofClass::requantized;
  options.write.sync = false;
  const ConversionReport report = convert(model, scratch / "rounded.gguf", options);
  CHECK(report.proven);
  std::erase_if(model.tensors, [](const tensor::Tensor& tensor) {
    return tensor.name == "model.layers.0.block_sparse_moe.experts.1.w2.weight";
  });
  CHECK_THROWS_AS((void)convert(model, scratch / "never.gguf", options), Error);
}

TEST_CASE("experts_of_gpt_oss_are_float_stacks_of_transposed_matrices") {
  const test::TemporaryDirectory scratch;
  const fs::path fixtures = fs::path(INGOT_TEST_DATA) / "golden/foreign/fp8";
  fs::copy(fixtures / "gpt_oss", scratch / "source", fs::copy_options::recursive);
  Json config = parse_json(test::file_text(scratch / "source" / "config.json"), "config.json");
  config.set("model_type", "gpt_oss");
  write_file(scratch / "source" / "config.json", pretty_json(config));
  ConvertOptions options;
  options.to = "hf";
  options.write.sync = false;
  const ConversionReport report = convert(read_model(scratch / "source"), scratch / "out", options);
  CHECK(report.model_before == report.model_after);
  // transformers' own values, [experts, in, out] under the names of its class.
  const tensor::Model expected = find_layout("hf")->read(fixtures / "gpt_oss.expected.safetensors", {});
  const tensor::Model again = read_model(scratch / "out");
  const std::string header = test::file_text(scratch / "out" / "model.safetensors").substr(0, 4096);
  for (const std::string name : {"gate_up_proj", "down_proj"}) {
    CAPTURE(name);
    const std::string path = "model.layers.0.mlp.experts." + name;
    CHECK(header.find('"' + path + '"') != std::string::npos);
    const tensor::Tensor &wanted = *expected.find(path + ".weight"), &got = *again.find(path + ".weight");
    CHECK(got.scheme == tensor::Scheme::plain(tensor::DType::bf16));
    CHECK(got.stored_shape() == tensor::Shape{wanted.shape[0], wanted.shape[2], wanted.shape[1]});
    CHECK(tensor::fingerprint(got) == tensor::fingerprint(wanted));
  }
}

TEST_CASE("names_of_experts") {
  const gguf::Architecture& mixtral = *gguf::find_architecture("mixtral");
  const auto place = gguf::expert_place(mixtral, "model.layers.11.block_sparse_moe.experts.7.w2.weight");
  REQUIRE(place);
  CHECK(place->stack == "blk.11.ffn_down_exps.weight");
  CHECK(place->number == 7);
  CHECK(*gguf::expert_name(mixtral, place->stack, 7) == "model.layers.11.block_sparse_moe.experts.7.w2.weight");
  for (const char* wrong :
       {"model.layers.1.block_sparse_moe.experts.07.w2.weight", "model.layers.1.block_sparse_moe.experts..w2.weight",
        "model.layers.1.block_sparse_moe.experts.x.w2.weight", "model.layers.1.block_sparse_moe.experts.7.w4.weight",
        "model.layers.1.block_sparse_moe.experts.7.w2.bias", "experts.7.weight",
        "model.experts.99999999999999999999.w2.weight"})
    CHECK(!gguf::expert_place(mixtral, wrong));
  CHECK(gguf::find_gguf_architecture("llama")->neutral == "llama");
  CHECK(gguf::find_gguf_architecture("llama", "", true)->neutral == "mixtral");
  CHECK(gguf::find_gguf_architecture("llama", "mistral")->neutral == "mistral");
  CHECK(gguf::find_gguf_architecture("qwen2", "mistral")->neutral == "qwen2");
}

}  // namespace
}  // namespace ingot::convert

// Configs that contradict the tensors beside them are called out.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "converters/registry.h"
#include "format/base/mapped_file.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

const fs::path kData = INGOT_TEST_DATA;

/// What is found in a copy of a checkpoint whose config has `to` in all places of `from`, one line each.
std::string findings_with(const fs::path& checkpoint, const std::string& from, const std::string& to) {
  const TemporaryDirectory scratch;
  const fs::path copy = scratch / "copy";
  fs::copy(checkpoint, copy, fs::copy_options::recursive);
  std::string config = read_text_file(copy / "config.json", 1u << 20);
  REQUIRE(config.find(from) != std::string::npos);
  for (std::size_t at = 0; (at = config.find(from, at)) != std::string::npos; at += to.size())
    config.replace(at, from.size(), to);
  std::ofstream(copy / "config.json", std::ios::binary) << config;
  std::string lines;
  for (const std::string& finding : read_model(copy).findings) lines += finding + "\n";
  return lines;
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("dimensions_of_a_config_that_tensors_contradict_are_named") {
  const fs::path tiny = kData / "data/tiny-llama";
  const auto with = [&](const std::string& key, const std::string& from, const std::string& to) {
    return findings_with(tiny, "\"" + key + "\": " + from, "\"" + key + "\": " + to);
  };
  CHECK(read_model(tiny).findings.empty());
  CHECK(with("hidden_size", "128", "4096") ==
        "config.json says hidden_size 4096, model.embed_tokens.weight is [1536, 128]\n");
  CHECK(with("intermediate_size", "384", "1") ==
        "config.json says intermediate_size 1, model.layers.0.mlp.down_proj.weight is [128, 384]\n");
  CHECK(with("num_hidden_layers", "4", "2") == "config.json says num_hidden_layers 2, tensors of 4 layers are there\n");
  CHECK(contains(with("vocab_size", "1536", "77"), "vocab_size 77"));
  CHECK(contains(with("num_attention_heads", "8", "4"), "num_attention_heads times head_dim 64"));
  CHECK(with("model_type", "\"llama\"", "\"other\"") == "");  // nobody knows what its names mean
}

TEST_CASE("formats_of_a_config_that_tensors_contradict_are_named") {
  const fs::path foreign = kData / "golden/foreign";
  const std::string format =
      findings_with(foreign / "compressed_tensors/pack_symmetric_zeros", "pack-quantized", "float-quantized");
  CHECK(contains(format, "the config says format float-quantized, the tensors are pack-quantized"));
  const std::string sizes = findings_with(foreign / "gptq/sym_v1", "\"group_size\": 32", "\"group_size\": 0");
  CHECK(contains(sizes, "the config says group size 0"));
}

// Reading and writing checkpoint directories. tests/golden/foreign/hf holds checkpoints saved by transformers and their
// values (make_checkpoints.py).
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "converters/files/safetensors.h"
#include "converters/hf/directory.h"
#include "converters/hf/planes.h"
#include "converters/hf_names.h"
#include "converters/layout_rows.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(INGOT_TEST_DATA) / "golden/foreign/hf";

tensor::Model read(const fs::path& path) { return hf_layout().read(path, {}); }

std::vector<float> values_of(const tensor::Tensor& tensor) {
  std::vector<float> values(tensor.elements());
  tensor::decode_logical(tensor, values);
  return values;
}

void write_text(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string read_all(const fs::path& path) { return read_text_file(path, 1 << 26); }

/// Every logical value equals the one that torch had when the checkpoint was saved.
void check_values(const tensor::Model& model, const std::string& name) {
  const tensor::Model expected = read(kFolder / (name + ".expected.safetensors"));
  CHECK(expected.tensors.size() == model.tensors.size());
  for (const tensor::Tensor& wanted : expected.tensors) {
    INFO(wanted.name);
    const tensor::Tensor* got = model.find(wanted.name);
    REQUIRE(got != nullptr);
    CHECK(got->shape == wanted.shape);
    const std::vector<float> a = values_of(*got), b = values_of(wanted);
    REQUIRE(a.size() == b.size());
    CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
  }
}

/// The bytes that the recipe gives for one file.
std::string restored(const tensor::Model& model, const tensor::SourceFile& file) {
  std::string bytes;
  for (const tensor::Segment& segment : file.segments) {
    if (segment.kind == tensor::Segment::Kind::literal) {
      const Bytes all = model.find_attachment(segment.attachment)->bytes;
      bytes += as_text(all.subspan(segment.begin, segment.size));
    } else {
      std::vector<std::byte> piece(segment.size);
      const std::size_t half = piece.size() / 2;  // in two pieces: a segment may be asked for in any cut
      hf_layout().pack_segment(*model.find(segment.tensor), segment.part, 0, std::span(piece).first(half));
      hf_layout().pack_segment(*model.find(segment.tensor), segment.part, half, std::span(piece).subspan(half));
      bytes += as_text(piece);
    }
  }
  return bytes;
}

void check_recipe(const fs::path& directory) {
  tensor::Model model = read(directory);
  REQUIRE(model.source.has_value());
  std::set<std::string> paths;
  for (const tensor::SourceFile& file : model.source->files) {
    INFO(file.path);
    const std::string original = read_all(directory / file.path);
    CHECK(file.size == original.size());
    REQUIRE(file.content != nullptr);
    CHECK(as_text(file.content->bytes()) == original);
    CHECK(restored(model, file) == original);
    paths.insert(file.path);
  }
  std::set<std::string> on_disk;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) on_disk.insert(entry.path().lexically_relative(directory).generic_string());
  }
  CHECK(paths == on_disk);
}

std::optional<Error> error_of(const fs::path& path) {
  try {
    (void)read(path);
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  }
}

/// All tensors of both, by name, have the same fingerprint.
void check_equal(const tensor::Model& a, const tensor::Model& b) {
  CHECK(a.tensors.size() == b.tensors.size());
  for (const tensor::Tensor& tensor : a.tensors) {
    INFO(tensor.name);
    const tensor::Tensor* other = b.find(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(tensor::fingerprint(tensor) == tensor::fingerprint(*other));
  }
}

}  // namespace

TEST_CASE("hf_directory_has_the_values_that_were_saved") {
  for (const char* name : {"gpt2", "sharded", "tied_head"}) {
    INFO(name);
    CHECK(hf_layout().detect(kFolder / name));
    check_values(read(kFolder / name), name);
  }
}

TEST_CASE("hf_gpt2_conv1d_weights_are_declared_transposed") {
  const tensor::Model model = read(kFolder / "gpt2");
  const tensor::Tensor* fused = model.find("transformer.h.0.attn.c_attn.weight");
  REQUIRE(fused != nullptr);
  CHECK(fused->shape == tensor::Shape{48, 16});
  CHECK(fused->stored_shape() == tensor::Shape{16, 48});
  CHECK(fused->transforms == std::vector<tensor::Transform>{{tensor::TransformKind::transpose}});
  CHECK(model.find("transformer.wte.weight")->transforms.empty());
  CHECK(model.aliases.at("lm_head.weight") == "transformer.wte.weight");
  check_equal(model, read(kFolder / "gpt2_base"));  // names without the prefix
}

TEST_CASE("hf_names_have_one_spelling") {
  CHECK(neutral_hf_name("h.3.ln_1.weight", "gpt2") == "transformer.h.3.ln_1.weight");
  CHECK(neutral_hf_name("transformer.wte.weight", "gpt2") == "transformer.wte.weight");
  CHECK(neutral_hf_name("layers.0.mlp.up_proj.weight", "llama") == "model.layers.0.mlp.up_proj.weight");
  CHECK(neutral_hf_name("language_model.model.norm.weight", "gemma3") == "model.norm.weight");
  CHECK(neutral_hf_name("vision_tower.x.weight", "gemma3") == "vision_tower.x.weight");
  CHECK(neutral_hf_name("layers.0.w", "unknown") == "layers.0.w");
  CHECK(is_hf_buffer("transformer.h.0.attn.bias", "gpt2"));
  CHECK_FALSE(is_hf_buffer("transformer.h.0.attn.c_attn.bias", "gpt2"));
  CHECK(is_hf_buffer("model.layers.0.self_attn.rotary_emb.inv_freq", "llama"));
}

TEST_CASE("hf_tied_head_stored_alone_becomes_the_embedding") {
  const tensor::Model model = read(kFolder / "tied_head");
  CHECK(model.aliases == std::map<std::string, std::string>{{"lm_head.weight", "model.embed_tokens.weight"}});
  CHECK(model.find("lm_head.weight") == model.find("model.embed_tokens.weight"));
  CHECK(model.find("model.embed_tokens.weight")->shape == tensor::Shape{32, 16});
}

TEST_CASE("hf_recipe_gives_back_every_file") {
  for (const char* name : {"gpt2", "gpt2_base", "sharded", "tied_head"}) {
    INFO(name);
    check_recipe(kFolder / name);
  }
  check_recipe(fs::path(INGOT_TEST_DATA) / "data/tiny-llama");
}

TEST_CASE("hf_single_file_is_read_without_a_directory") {
  const fs::path path = fs::path(INGOT_TEST_DATA) / "golden/foreign/safetensors/types.safetensors";
  CHECK(hf_layout().detect(path));
  tensor::Model model = read(path);
  REQUIRE(model.source->files.size() == 1);
  CHECK(restored(model, model.source->files[0]) == read_all(path));
  const Json expected = parse_json(read_all(path.parent_path() / "types.json"), "types.json");
  for (const tensor::Tensor& tensor : model.tensors) {
    INFO(tensor.name);
    const std::string hex = expected.at(tensor.name, "types").at("f32", "types").as_string("f32");
    if (tensor.scheme.codes.kind == tensor::CodeKind::opaque) continue;  // complex
    const std::vector<float> values = values_of(tensor);
    REQUIRE(hex.size() == 8 * values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint32_t wanted = 0;
      for (int byte = 3; byte >= 0; --byte) {
        wanted = wanted << 8 | static_cast<std::uint32_t>(
                                   std::stoul(hex.substr(8 * i + 2 * static_cast<std::size_t>(byte), 2), nullptr, 16));
      }
      float wanted_value = 0;
      std::memcpy(&wanted_value, &wanted, sizeof wanted);
      const bool same = values[i] == wanted_value || (values[i] != values[i] && wanted_value != wanted_value);
      CHECK_MESSAGE(same, i << ": " << values[i] << " for " << wanted_value);
    }
  }
}

TEST_CASE("hf_sub_byte_rows_are_realigned_and_packed_back") {
  TemporaryDirectory directory;
  const SafetensorsPlan plan =
      plan_safetensors({{"w", tensor::DType::e2m1, {2, 3}}, {"v", tensor::DType::e3m2, {2, 2}}}, {});
  write_text(directory.path() / "model.safetensors", plan.header + "\xA1\x43\x65" + "\x12\x34\x56");
  const tensor::Model model = read(directory.path());
  CHECK(restored(model, model.source->files[0]) == read_all(directory.path() / "model.safetensors"));
  const tensor::Tensor* four_bits = model.find("w");
  REQUIRE(four_bits != nullptr);
  // F4 sorts last: bytes 12 34 56 hold the elements 2 1 4 | 3 6 5.
  CHECK(values_of(*four_bits) == std::vector<float>{1.0F, 0.5F, 2.0F, 1.5F, 4.0F, 3.0F});
}

TEST_CASE("hf_sharded_checkpoints_must_be_complete_and_consistent") {
  const auto copy = [](const TemporaryDirectory& directory) {
    fs::copy(kFolder / "sharded", directory.path(), fs::copy_options::recursive);
    return directory.path();
  };
  const auto kind = [](const fs::path& path) {
    const std::optional<Error> error = error_of(path);
    return error ? std::optional(error->kind) : std::nullopt;
  };
  const auto edit_index = [](const fs::path& path, const std::string& from, const std::string& to) {
    std::string text = read_all(path / kSafetensorsIndex);
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    write_text(path / kSafetensorsIndex, text.replace(at, from.size(), to));
  };
  SUBCASE("missing shard") {
    TemporaryDirectory directory;
    const fs::path path = copy(directory);
    fs::remove(path / "model-00002-of-00003.safetensors");
    CHECK(kind(path) == ErrorKind::io);
    CHECK(std::string(error_of(path)->what()).find("model-00002-of-00003.safetensors") != std::string::npos);
  }
  SUBCASE("tensor in another shard than the index says") {
    TemporaryDirectory directory;
    const fs::path path = copy(directory);
    edit_index(path, "\"model.norm.weight\": \"model-00003", "\"model.norm.weight\": \"model-00001");
    CHECK(kind(path) == ErrorKind::mismatch);
  }
  SUBCASE("tensor that is nowhere") {
    TemporaryDirectory directory;
    const fs::path path = copy(directory);
    edit_index(path, "\"model.norm.weight\"", "\"model.other.weight\"");
    CHECK(kind(path) == ErrorKind::mismatch);
  }
  SUBCASE("name that leaves the directory") {
    for (const char* name : {"../x", "/etc/passwd", "a/../../x", "a\\\\b", "./x", ""}) {
      TemporaryDirectory directory;
      const fs::path path = copy(directory);
      edit_index(path, "\"model-00003-of-00003.safetensors\"", "\"" + std::string(name) + "\"");
      CHECK_MESSAGE(kind(path) == ErrorKind::invalid_value, name);
    }
  }
  SUBCASE("tensor in two shards") {
    TemporaryDirectory directory;
    const fs::path path = copy(directory);
    fs::copy_file(path / "model-00001-of-00003.safetensors", path / "twice.safetensors");
    edit_index(path, "\"weight_map\": {", "\"weight_map\": {\"nobody\": \"twice.safetensors\",");
    CHECK(kind(path) == ErrorKind::mismatch);
  }
  SUBCASE("without an index the numbered set is complete") {
    TemporaryDirectory directory;
    const fs::path path = copy(directory);
    fs::remove(path / kSafetensorsIndex);
    check_values(read(path), "sharded");
    fs::remove(path / "model-00003-of-00003.safetensors");
    CHECK_FALSE(hf_layout().detect(path));
    CHECK(kind(path) == ErrorKind::unsupported);
  }
}

TEST_CASE("hf_detect_never_throws_on_foreign_content") {
  TemporaryDirectory directory;
  write_text(directory.path() / "a", "");
  write_text(directory.path() / "b", "GGUF\x03");
  write_text(directory.path() / "c", std::string(200, '\xff'));
  for (const char* name : {"a", "b", "c", "missing", ""}) CHECK_FALSE(hf_layout().detect(directory.path() / name));
}

TEST_CASE("hf_writer_keeps_values_files_and_names") {
  for (const char* name : {"gpt2", "sharded", "tied_head"}) {
    for (const std::uint64_t shard_bytes : {std::uint64_t{0}, std::uint64_t{4000}}) {
      INFO(name << " " << shard_bytes);
      TemporaryDirectory directory;
      const tensor::Model model = read(kFolder / name);
      WriteOptions options;
      options.shard_bytes = shard_bytes;
      options.sync = false;
      const Forecast forecast = hf_layout().forecast(model, options);
      for (const TensorOutcome& outcome : forecast.tensors) CHECK(outcome.forecast == ProofClass::exact);
      hf_layout().write(model, directory.path() / "out", options);
      CHECK(fs::exists(directory.path() / "out" / kSafetensorsIndex) == (shard_bytes != 0));
      CHECK(read_all(directory.path() / "out/config.json") == read_all(kFolder / name / "config.json"));
      const tensor::Model again = read(directory.path() / "out");
      check_equal(model, again);
      CHECK(again.aliases == model.aliases);
      std::uint64_t written = 0;
      for (const auto& entry : fs::recursive_directory_iterator(directory.path() / "out")) {
        if (entry.is_regular_file() && entry.path().filename() != kSafetensorsIndex) written += entry.file_size();
      }
      CHECK(written == forecast.output_bytes);
      std::vector<std::string> copied = open_hf_directory(directory.path() / "out").others;
      std::vector<std::string> originals = open_hf_directory(kFolder / name).others;
      std::erase(copied, kSafetensorsIndex);
      std::erase(originals, kSafetensorsIndex);
      CHECK(copied == originals);
      CHECK(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()) ==
            1);  // no temporary directory left
    }
  }
}

TEST_CASE("hf_writer_narrows_on_request_and_says_so") {
  TemporaryDirectory directory;
  const tensor::Model model = read(kFolder / "gpt2");
  WriteOptions options;
  options.scheme = "bf16";
  options.sync = false;
  std::map<std::string, ProofClass> classes;
  for (const TensorOutcome& outcome : hf_layout().forecast(model, options).tensors)
    classes[outcome.name] = outcome.forecast;
  CHECK(classes.at("transformer.wte.weight") == ProofClass::requantized);
  CHECK(classes.at("transformer.h.0.ln_1.weight") == ProofClass::exact);  // ones
  hf_layout().write(model, directory.path() / "out", options);
  const tensor::Model again = read(directory.path() / "out");
  CHECK(again.config.torch_dtype == "bfloat16");
  const tensor::Tensor* fused = again.find("transformer.h.0.attn.c_attn.weight");
  CHECK(fused->shape == tensor::Shape{48, 16});
  CHECK(fused->scheme.codes.type == tensor::DType::bf16);
  const std::vector<float> wide = values_of(*model.find(fused->name)), narrow = values_of(*fused);
  for (std::size_t i = 0; i < wide.size(); ++i) CHECK(std::abs(wide[i] - narrow[i]) <= std::abs(wide[i]) / 256);
  options.scheme = "q4_0";
  CHECK_THROWS_AS((void)hf_layout().forecast(model, options), Error);
}

TEST_CASE("hf_writer_undoes_transforms_of_other_layouts") {
  // The same GPT-2 weights held in logical orientation, as GGUF has them: the file is in Conv1D orientation again.
  tensor::Model model = read(kFolder / "gpt2");
  model.attachments.clear();
  for (tensor::Tensor& tensor : model.tensors) {
    if (tensor.transforms.empty()) continue;
    std::vector<float> values = values_of(tensor);
    std::vector<std::byte> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    tensor.transforms.clear();
    tensor.planes = tensor::planes_in_memory({std::move(bytes)}, tensor.shape, tensor.scheme, tensor.packing);
  }
  TemporaryDirectory directory;
  WriteOptions options;
  options.sync = false;
  hf_layout().write(model, directory.path() / "out", options);
  check_equal(read(kFolder / "gpt2"), read(directory.path() / "out"));
  const tensor::Model again = read(directory.path() / "out");
  CHECK(again.config.hidden_size == 16);
  CHECK(again.find("transformer.h.0.mlp.c_fc.weight")->stored_shape() == tensor::Shape{16, 64});
}

TEST_CASE("hf_writer_leaves_what_exists_alone") {
  TemporaryDirectory directory;
  write_text(directory.path() / "out/keep", "x");
  const tensor::Model model = read(kFolder / "tied_head");
  CHECK_THROWS_AS(hf_layout().write(model, directory.path() / "out", {}), Error);
  CHECK(read_all(directory.path() / "out/keep") == "x");
}

// Whole models: the way back byte for byte, values unchanged by writing, names, shards, refusals.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>

#include "converters/gguf/config.h"
#include "converters/gguf/file.h"
#include "converters/gguf/names.h"
#include "converters/gguf/read.h"
#include "converters/gguf/write.h"
#include "converters/registry.h"
#include "format/base/mapped_file.h"
#include "format/base/output_file.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "tests/converters_gguf_bytes.h"
#include "tests/expect_error.h"
#include "tests/skip.h"
#include "tests/temporary_directory.h"

namespace ingot::test {
namespace {

using tensor::Model;
using tensor::Segment;
using tensor::Tensor;

std::filesystem::path data(const char* name) { return std::filesystem::path(INGOT_TEST_DATA) / name; }

/// The file as its recipe gives it back.
std::vector<std::byte> rebuilt(const Model& model, std::size_t file_index) {
  const tensor::SourceFile& file = model.source->files[file_index];
  std::vector<std::byte> bytes;
  for (const Segment& segment : file.segments) {
    const std::size_t at = bytes.size();
    bytes.resize(at + segment.size);
    const std::span<std::byte> out = std::span(bytes).subspan(at);
    if (segment.kind == Segment::Kind::literal) {
      const Bytes from = model.find_attachment(segment.attachment)->bytes.subspan(segment.begin, segment.size);
      std::copy(from.begin(), from.end(), out.begin());
    } else if (segment.kind == Segment::Kind::tensor) {
      convert::gguf::pack_segment(*model.find(segment.tensor), segment.part, 0, out);
    }
  }
  for (const tensor::SourceFile::Patch& patch : file.patches) {
    const Bytes from = model.find_attachment(patch.attachment)->bytes.subspan(patch.begin, patch.size);
    std::copy(from.begin(), from.end(), bytes.begin() + static_cast<std::ptrdiff_t>(patch.offset));
  }
  return bytes;
}

void check_way_back(const std::filesystem::path& path, std::size_t expected_patches) {
  Model model = convert::gguf::read_model(path, {});
  CHECK(model.source->files[0].hash == Hash128{});
  convert::gguf::find_patches(model);
  const MappedFile original(path);
  REQUIRE(model.source->files[0].content != nullptr);
  CHECK(hash128_tree(model.source->files[0].content->bytes()) == hash128_tree(original.bytes()));
  CHECK(model.source->files[0].patches.size() == expected_patches);
  const std::vector<std::byte> bytes = rebuilt(model, 0);
  REQUIRE(bytes.size() == original.size());
  CHECK(std::equal(bytes.begin(), bytes.end(), original.bytes().begin()));
}

std::map<std::string, Hash128> fingerprints(const Model& model) {
  std::map<std::string, Hash128> result;
  for (const Tensor& tensor : model.tensors)
    if (!tensor.derived) result[tensor.name] = tensor::fingerprint(tensor);
  return result;
}

std::string type_of(const std::filesystem::path& path, std::string_view tensor_name) {
  for (const auto& info : convert::gguf::parse_file(path).tensors)
    if (info.name == tensor_name) return std::string(info.type->name);
  return "absent";
}

convert::WriteOptions with_scheme(const char* scheme) {
  convert::WriteOptions options;
  options.scheme = scheme;
  return options;
}

}  // namespace

TEST_CASE("gguf_files_come_back_byte_for_byte") { check_way_back(data("golden/foreign/gguf/blocks.gguf"), 2); }

TEST_CASE("real_gguf_files_come_back_byte_for_byte") {
  const char* models = std::getenv("INGOT_TEST_MODELS");
  if (models == nullptr) return skip("INGOT_TEST_MODELS does not name a directory with .gguf files");
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(models)) {
    if (entry.path().extension() != ".gguf") continue;
    CAPTURE(entry.path());
    check_way_back(entry.path(), 0);
    ++found;
  }
  if (found == 0) skip("INGOT_TEST_MODELS holds no .gguf file");
}

TEST_CASE("odd_bytes_between_and_behind_tensors_come_back") {
  const TemporaryDirectory directory;
  GgufBytes file;
  file.head(2, 0).info("a", {3}, 0, 0).info("b", {256}, 34, 32).align();
  file.put(1.0f).put(2.0f).put(3.0f).put<std::uint32_t>(0xDEADBEEF).align();  // padding that is not zero
  std::mt19937_64 random(5);
  const std::vector<std::byte> blocks = random_bytes(54, random);  // TQ1_0 bytes that no digits give
  file.bytes.insert(file.bytes.end(), blocks.begin(), blocks.end());
  file.align().put<std::uint64_t>(0x1122334455667788);  // bytes behind the last padding
  write_file_atomically(directory / "odd.gguf", file.bytes);
  Model model = convert::gguf::read_model(directory / "odd.gguf", {});
  convert::gguf::find_patches(model);
  CHECK(!model.source->files[0].patches.empty());
  CHECK(rebuilt(model, 0) == file.bytes);
}

TEST_CASE("hugging_face_to_gguf_keeps_every_value") {
  const TemporaryDirectory directory;
  const Model source = convert::read_model(data("data/tiny-llama"));
  const auto before = fingerprints(source);
  for (const char* scheme : {"", "f32", "bf16"}) {
    CAPTURE(scheme);
    const auto forecast = convert::gguf::forecast_model(source, with_scheme(scheme));
    for (const auto& outcome : forecast.tensors) {
      CAPTURE(outcome.name);
      CHECK(outcome.forecast == convert::ProofClass::exact);
    }
    convert::gguf::write_model(source, directory / "m.gguf", with_scheme(scheme));
    const Model written = convert::gguf::read_model(directory / "m.gguf", {});
    CHECK(fingerprints(written) == before);
    CHECK(written.config.tied_embeddings);
    CHECK(written.aliases.at("lm_head.weight") == "model.embed_tokens.weight");
    CHECK(type_of(directory / "m.gguf", "blk.0.attn_norm.weight") == "F32");
    CHECK(type_of(directory / "m.gguf", "blk.0.attn_q.weight") == (std::string(scheme) == "f32" ? "F32" : "BF16"));
  }
}

TEST_CASE("lossy_schemes_are_forecast_as_such") {
  const Model source = convert::read_model(data("data/tiny-llama"));
  const auto q8 = convert::gguf::forecast_model(source, with_scheme("q8_0"));
  bool some_exact = false, some_requantized = false;
  for (const auto& outcome : q8.tensors) {
    some_exact |= outcome.forecast == convert::ProofClass::exact && outcome.target_scheme == "F32";
    some_requantized |= outcome.forecast == convert::ProofClass::requantized && outcome.target_scheme == "Q8_0" &&
                        !outcome.reason.empty();
    CHECK(outcome.forecast != convert::ProofClass::refused);
  }
  CHECK(some_exact);
  CHECK(some_requantized);
  const auto q4_k =
      convert::gguf::forecast_model(source, with_scheme("q4_k"));  // there is no search for its scales yet
  CHECK(std::any_of(q4_k.tensors.begin(), q4_k.tensors.end(), [](const auto& outcome) {
    return outcome.forecast == convert::ProofClass::refused && outcome.reason.find("Q4_K") != std::string::npos;
  }));
}

TEST_CASE("infinities_and_nan_among_16_bits_are_found_wherever_they_are") {
  Model model = convert::read_model(data("data/tiny-llama"));
  Tensor& tensor = *std::max_element(model.tensors.begin(), model.tensors.end(),
                                     [](const Tensor& a, const Tensor& b) { return a.elements() < b.elements(); });
  const std::uint64_t elements = tensor.elements();
  REQUIRE(elements > 65537);
  const auto forecast_of = [&](tensor::DType type, std::uint16_t odd, std::uint64_t at) {
    tensor.scheme = tensor::Scheme::plain(type);
    std::vector<std::vector<std::byte>> planes(1, std::vector<std::byte>(2 * elements, std::byte{0x3A}));
    std::memcpy(planes[0].data() + 2 * at, &odd, sizeof odd);
    tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
    REQUIRE(tensor.planes->view(0).has_value());
    for (const auto& outcome : convert::gguf::forecast_model(model, with_scheme("q8_0")).tensors)
      if (outcome.name == tensor.name) return outcome.forecast;
    return convert::ProofClass::exact;
  };
  using convert::ProofClass;
  for (const std::uint64_t at : {std::uint64_t{0}, std::uint64_t{65535}, std::uint64_t{65536}, elements - 1}) {
    CAPTURE(at);
    for (const int sign : {0x0000, 0x8000}) {
      const auto signed_half = [&](int bits) { return static_cast<std::uint16_t>(bits | sign); };
      for (const int bits : {0x7C00, 0x7C01, 0x7FFF})
        CHECK(forecast_of(tensor::DType::f16, signed_half(bits), at) == ProofClass::refused);
      CHECK(forecast_of(tensor::DType::f16, signed_half(0x7BFF), at) == ProofClass::requantized);
      for (const int bits : {0x7F80, 0x7F81, 0x7FFF})
        CHECK(forecast_of(tensor::DType::bf16, signed_half(bits), at) == ProofClass::refused);
      CHECK(forecast_of(tensor::DType::bf16, signed_half(0x7C01), at) == ProofClass::requantized);
    }
  }
}

TEST_CASE("gguf_written_from_gguf_keeps_blocks_and_keys") {
  const TemporaryDirectory directory;
  Model source = convert::gguf::read_model(data("golden/foreign/gguf/blocks.gguf"), {});
  std::erase_if(source.tensors, [](const Tensor& tensor) {
    return tensor.name.starts_with("TQ1_0");
  });  // becomes TQ2_0: not the same type
  convert::gguf::write_model(source, directory / "m.gguf", {});
  const Model written = convert::gguf::read_model(directory / "m.gguf", {});
  CHECK(fingerprints(written) == fingerprints(source));
  for (const Tensor& tensor : source.tensors) {
    if (tensor.name.ends_with(".expected")) continue;
    CHECK(type_of(directory / "m.gguf", tensor.name) == tensor.name);
  }
  CHECK(convert::gguf::parse_file(directory / "m.gguf").text("general.architecture") == "blocks");
}

TEST_CASE("shards_are_written_and_read_as_one_model") {
  const TemporaryDirectory directory;
  const Model source = convert::read_model(data("data/tiny-llama"));
  convert::WriteOptions options;
  options.shard_bytes = 500 << 10;
  convert::gguf::write_model(source, directory / "m.gguf", options);
  std::size_t files = 0;
  std::filesystem::path some;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    ++files;
    some = entry.path();
    CHECK(entry.file_size() <= options.shard_bytes);
  }
  CHECK(files > 2);
  for (const std::filesystem::path& path : {some, directory.path()}) {
    Model written = convert::gguf::read_model(path, {});
    CHECK(fingerprints(written) == fingerprints(source));
    CHECK(written.source->files.size() == files);
    convert::gguf::find_patches(written);
    for (std::size_t i = 0; i < files; ++i) {
      const MappedFile original(directory.path() / written.source->files[i].path);
      CHECK(hash128_tree(rebuilt(written, i)) == hash128_tree(original.bytes()));
    }
  }
}

TEST_CASE("a_sharded_set_with_a_wrong_number_is_refused") {
  const TemporaryDirectory directory;
  const Model source = convert::read_model(data("data/tiny-llama"));
  convert::WriteOptions options;
  options.shard_bytes = 1500 << 10;
  convert::gguf::write_model(source, directory / "m.gguf", options);
  const std::filesystem::path first = directory / "m-00001-of-00002.gguf", second = directory / "m-00002-of-00002.gguf";
  REQUIRE(std::filesystem::exists(second));
  std::filesystem::copy_file(first, second, std::filesystem::copy_options::overwrite_existing);
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)convert::gguf::read_model(first, {}); }));
}

TEST_CASE("names_translate_both_ways") {
  struct Case {
    const char* architecture;
    const char* gguf;
    const char* neutral;
  };
  constexpr auto kCases = std::to_array<Case>({
      {"llama", "blk.11.ffn_norm.weight", "model.layers.11.post_attention_layernorm.weight"},
      {"gemma3", "blk.11.post_attention_norm.weight", "model.layers.11.post_attention_layernorm.weight"},
      {"gemma3", "blk.0.ffn_norm.weight", "model.layers.0.pre_feedforward_layernorm.weight"},
      {"olmo2", "blk.3.post_ffw_norm.weight", "model.layers.3.post_feedforward_layernorm.weight"},
      {"qwen2", "blk.3.attn_q.bias", "model.layers.3.self_attn.q_proj.bias"},
      {"qwen3", "blk.3.attn_q_norm.weight", "model.layers.3.self_attn.q_norm.weight"},
      {"phi3", "blk.3.ffn_up.weight", "model.layers.3.mlp.gate_up_proj.weight"},
      {"phi3", "blk.3.attn_qkv.weight", "model.layers.3.self_attn.qkv_proj.weight"},
      {"gpt2", "blk.3.attn_qkv.bias", "transformer.h.3.attn.c_attn.bias"},
      {"gpt2", "position_embd.weight", "transformer.wpe.weight"},
  });
  for (const Case& row : kCases) {
    CAPTURE(row.gguf);
    const auto* architecture = convert::gguf::find_architecture(row.architecture);
    REQUIRE(architecture != nullptr);
    CHECK(convert::gguf::neutral_name(*architecture, row.gguf) == row.neutral);
    CHECK(convert::gguf::gguf_name(*architecture, row.neutral) == row.gguf);
  }
  const auto* llama = convert::gguf::find_architecture("llama");
  for (const char* unknown : {"blk.x.ffn_norm.weight", "blk.01.ffn_norm.weight", "blk..ffn_norm.weight",
                              "blk.1.other.weight", "token_embd"}) {
    CHECK(!convert::gguf::neutral_name(*llama, unknown));
  }
  CHECK(convert::gguf::gguf_name(*convert::gguf::find_architecture("gpt2"), "h.3.ln_1.weight") ==
        "blk.3.attn_norm.weight");
}

TEST_CASE("llama3_divisors_are_those_of_the_published_models") {
  tensor::ModelConfig config;
  config.head_dim = 64;
  config.rope_theta = 500000;
  config.rope_scaling.type = "llama3";
  config.rope_scaling.factor = 32;
  config.rope_scaling.low_freq_factor = 1;
  config.rope_scaling.high_freq_factor = 4;
  config.rope_scaling.original_context_length = 8192;
  const std::vector<float> divisors = convert::gguf::llama3_rope_divisors(config);
  REQUIRE(divisors.size() == 32);
  for (std::size_t i = 0; i < 15; ++i) CHECK(divisors[i] == 1);
  CHECK(divisors[15] == doctest::Approx(1.651329).epsilon(1e-5));
  CHECK(divisors[16] == doctest::Approx(3.292262).epsilon(1e-5));
  CHECK(divisors[17] == doctest::Approx(9.666729).epsilon(1e-5));
  for (std::size_t i = 18; i < 32; ++i) CHECK(divisors[i] == 32);
  tensor::ModelConfig plain = config;
  plain.rope_scaling = {};
  const auto recognised = convert::gguf::recognise_llama3_divisors(plain, divisors);
  REQUIRE(recognised);
  CHECK(*recognised == config.rope_scaling);
}

TEST_CASE("llama3_divisors_of_transformers_are_ours_and_tell_the_scaling") {
  const std::string where = "golden/foreign/gguf/llama3_divisors.json";
  const Json rows = parse_json(read_text_file(data(where.c_str()), 1u << 20), where);
  for (const Json& row : rows.as_array(where)) {
    const auto number = [&](std::string_view name) { return row.at(name, where).as_double(where); };
    tensor::ModelConfig config;
    config.head_dim = row.at("head_dim", where).as_u64(where);
    config.rope_theta = number("rope_theta");
    tensor::RopeScaling scaling;
    scaling.type = "llama3";
    scaling.factor = number("factor");
    scaling.low_freq_factor = number("low_freq_factor");
    scaling.high_freq_factor = number("high_freq_factor");
    scaling.original_context_length = row.at("original_context_length", where).as_u64(where);
    std::vector<float> divisors;
    for (const Json& value : row.at("divisors", where).as_array(where))
      divisors.push_back(static_cast<float>(value.as_double(where)));
    CAPTURE(scaling.original_context_length);
    const auto found = convert::gguf::recognise_llama3_divisors(config, divisors);
    REQUIRE(found);
    CHECK(*found == scaling);
    config.rope_scaling = scaling;
    const std::vector<float> ours = convert::gguf::llama3_rope_divisors(config);
    REQUIRE(ours.size() == divisors.size());
    for (std::size_t i = 0; i < ours.size(); ++i) CHECK(ours[i] == doctest::Approx(divisors[i]).epsilon(1e-6));
  }
}

TEST_CASE("llama3_scaling_with_unusual_numbers_is_found_by_its_divisors") {
  tensor::ModelConfig config;
  config.head_dim = 64;
  config.rope_theta = 10000;
  struct Numbers {
    double factor, low, high;
    std::uint64_t original;
  };
  for (const auto& [factor, low, high, original] : {Numbers{5.5, 1.5, 7, 1234},
                                                    {3.3, 1, 4, 8191},
                                                    {4, 1, 4, 32},
                                                    {10, 2, 2.5, 20'000},
                                                    {10, 2, 2.25, 20'000},
                                                    {16, 0.5, 32, 4096}}) {
    CAPTURE(original);
    config.rope_scaling = {};
    config.rope_scaling.type = "llama3";
    config.rope_scaling.factor = factor;
    config.rope_scaling.low_freq_factor = low;
    config.rope_scaling.high_freq_factor = high;
    config.rope_scaling.original_context_length = original;
    const std::vector<float> divisors = convert::gguf::llama3_rope_divisors(config);
    tensor::ModelConfig found = config;
    found.rope_scaling = {};
    found.rope_scaling = convert::gguf::recognise_llama3_divisors(found, divisors).value();
    CHECK(convert::gguf::are_llama3_divisors(found, divisors));
    CHECK(found.rope_scaling.factor == factor);
    std::vector<float> others = divisors;  // of no scaling
    others[others.size() / 2] *= 1.01f;
    config.rope_scaling = {};
    CHECK(!convert::gguf::recognise_llama3_divisors(config, others));
  }
}

TEST_CASE("rope_scaling_that_gguf_cannot_say_comes_home_and_is_called_out") {
  const TemporaryDirectory directory;
  Model model = convert::read_model(data("data/tiny-llama"));
  const auto home = [&](const tensor::RopeScaling& scaling, std::size_t findings) {
    model.config.rope_scaling = scaling;
    CHECK(convert::gguf::forecast_model(model, {}).findings.size() == findings);
    convert::gguf::write_model(model, directory / "m.gguf", {});
    const Model read = convert::gguf::read_model(directory / "m.gguf", {});
    CHECK(read.config.rope_scaling == scaling);
    return convert::gguf::parse_file(directory / "m.gguf").text("ingot.config").has_value();
  };
  tensor::RopeScaling scaling;
  CHECK(!home(scaling, 0));
  scaling.type = "dynamic";
  scaling.factor = 4;
  CHECK(home(scaling, 1));
  scaling.type = "llama3";
  scaling.original_context_length = 8192;
  CHECK(!home(scaling, 0));
  scaling.factor = 5.37;
  scaling.low_freq_factor = 1.3;
  scaling.high_freq_factor = 7.1;
  scaling.original_context_length = 1234;
  CHECK(home(scaling, 0));
}

TEST_CASE("a_window_in_some_layers_that_gguf_cannot_say_comes_home_and_is_called_out") {
  const TemporaryDirectory directory;
  const Model model = convert::read_model(data("data/tiny-variants/qwen2"));
  CHECK(model.config.sliding_layers == std::vector<bool>{false, true});
  CHECK(convert::gguf::forecast_model(model, {}).findings.size() == 1);
  convert::gguf::write_model(model, directory / "m.gguf", {});
  const Model read = convert::gguf::read_model(directory / "m.gguf", {});
  CHECK(read.config.sliding_window == model.config.sliding_window);
  CHECK(read.config.sliding_layers == model.config.sliding_layers);
}

TEST_CASE("models_that_readers_would_run_wrongly_are_refused") {
  const Model source = convert::read_model(data("data/tiny-llama"));
  const auto refused = [&](const std::function<void(tensor::ModelConfig&)>& change) {
    Model model = source;
    change(model.config);
    return throws_kind(ErrorKind::unsupported, [&] { (void)convert::gguf::forecast_model(model, {}); });
  };
  CHECK(!refused([](tensor::ModelConfig&) {}));
  CHECK(refused([](tensor::ModelConfig& config) { config.activation = "gelu"; }));
  CHECK(refused([](tensor::ModelConfig& config) { config.attention_scale = 0.5; }));
  CHECK(refused([](tensor::ModelConfig& config) { config.rope_layers = {true, true, true, false}; }));
  CHECK(refused([](tensor::ModelConfig& config) { config.rope_scaling.type = "spiral"; }));
  CHECK(refused([](tensor::ModelConfig& config) { config.rope_scaling.truncate = false; }));
  CHECK(refused([](tensor::ModelConfig& config) { config.attention_scale_by_layer = true; }));
  CHECK(refused([](tensor::ModelConfig& config) { config.bidirectional_attention = true; }));
  CHECK(refused([](tensor::ModelConfig& config) { config.architecture = "mamba"; }));
}

TEST_CASE("a_tokenizer_that_gguf_cannot_name_is_refused") {
  Model model = convert::read_model(data("data/tiny-llama"));
  model.tokenizer->gguf_pre.clear();
  tensor::PreTokenizer regex;
  regex.kind = "regex";
  regex.pattern = "unheard-of";
  model.tokenizer->pre_tokenizers = {regex};
  CHECK(throws_kind(ErrorKind::unsupported, [&] { (void)convert::gguf::forecast_model(model, {}); }));
  model.tokenizer->pre_tokenizers[0].pattern = "gpt2";
  (void)convert::gguf::forecast_model(model, {});
  model.tokenizer->normalizer.resize(1);
  model.tokenizer->normalizer[0].kind = "lowercase";
  CHECK(throws_kind(ErrorKind::unsupported, [&] { (void)convert::gguf::forecast_model(model, {}); }));
}

TEST_CASE("a_unigram_tokenizer_comes_back_and_what_readers_would_split_otherwise_is_refused") {
  const TemporaryDirectory directory;
  Model model = convert::read_model(data("data/tiny-llama"));
  tensor::TokenizerSpec spec;
  spec.kind = tensor::TokenizerKind::unigram;
  spec.tokens = {"<unk>", "</s>", "\xE2\x96\x81", "\xE2\x96\x81the", "e"};
  spec.scores = {0, 0, -2.125f, -2.875f, -3.0f};
  spec.types = {tensor::TokenType::unknown, tensor::TokenType::control, tensor::TokenType::normal,
                tensor::TokenType::normal, tensor::TokenType::normal};
  spec.unknown = 0;
  spec.eos = 1;
  tensor::PreTokenizer metaspace;
  metaspace.kind = "metaspace";
  metaspace.pattern = "split";
  metaspace.prepend_scheme = "always";
  spec.pre_tokenizers = {metaspace};
  model.tokenizer = spec;
  convert::gguf::write_model(model, directory / "m.gguf", {});
  const auto file = convert::gguf::parse_file(directory / "m.gguf");
  CHECK(file.text("tokenizer.ggml.model") == "t5");
  CHECK(file.boolean("tokenizer.ggml.add_space_prefix") == true);
  CHECK(file.boolean("tokenizer.ggml.remove_extra_whitespaces") == false);
  const tensor::TokenizerSpec read = convert::gguf::read_model(directory / "m.gguf", {}).tokenizer.value();
  CHECK(read.kind == tensor::TokenizerKind::unigram);
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    CHECK(read.tokens[id] == spec.tokens[id]);
    CHECK(read.scores[id] == spec.scores[id]);
    CHECK(read.types[id] == spec.types[id]);
  }
  CHECK(read.unknown == spec.unknown);
  CHECK(read.eos == spec.eos);
  CHECK(!read.add_eos);
  CHECK(read.pre_tokenizers.at(0).prepend_scheme == "always");

  const auto refused = [&](const std::function<void(tensor::TokenizerSpec&)>& change) {
    model.tokenizer = spec;
    change(*model.tokenizer);
    return throws_kind(ErrorKind::unsupported, [&] { (void)convert::gguf::forecast_model(model, {}); });
  };
  CHECK(!refused([](tensor::TokenizerSpec&) {}));
  CHECK(!refused([](tensor::TokenizerSpec& changed) { changed.normalizer = {{"remove_extra_whitespaces", "", ""}}; }));
  CHECK(refused([](tensor::TokenizerSpec& changed) { changed.byte_fallback = true; }));
  CHECK(refused([](tensor::TokenizerSpec& changed) { changed.unknown.reset(); }));
  CHECK(refused([](tensor::TokenizerSpec& changed) { changed.tokens[4] = "e\xE2\x96\x81the"; }));
  CHECK(refused([](tensor::TokenizerSpec& changed) { changed.normalizer = {{"nfkc", "", ""}}; }));
  CHECK(refused([](tensor::TokenizerSpec& changed) { changed.normalizer = {{"precompiled", "", ""}}; }));
  CHECK(refused([](tensor::TokenizerSpec& changed) { changed.pre_tokenizers[0].kind = "digits"; }));
}

TEST_CASE("gemma_norms_are_stored_plus_one_and_read_back") {
  const TemporaryDirectory directory;
  Model source;
  source.config.architecture = "gemma3";
  source.config.layer_count = 1;
  source.config.hidden_size = 32;
  source.config.head_count = 1;
  source.config.head_dim = 32;
  const auto add = [&](const char* name, std::vector<float> values) {
    Tensor tensor;
    tensor.name = name;
    tensor.shape = {values.size()};
    tensor.scheme = tensor::Scheme::plain(tensor::DType::f32);
    const Bytes bytes = std::as_bytes(std::span(values));
    tensor.planes =
        tensor::planes_in_memory({{bytes.begin(), bytes.end()}}, tensor.shape, tensor.scheme, tensor.packing);
    source.tensors.push_back(std::move(tensor));
  };
  add("model.norm.weight", {0.5f, -0.25f, 0.0f, 3.0f});
  add("model.layers.0.input_layernorm.weight", {1e-9f, 0.0f, 0.0f, 0.0f});  // 1 + 1e-9 is 1
  const auto forecast = convert::gguf::forecast_model(source, {});
  CHECK(forecast.tensors[0].forecast == convert::ProofClass::exact);
  CHECK(forecast.tensors[1].forecast == convert::ProofClass::requantized);
  convert::gguf::write_model(source, directory / "m.gguf", {});
  const auto file = convert::gguf::parse_file(directory / "m.gguf");
  CHECK(load_le<float>(file.bytes.data() + file.tensors[0].offset) == 1.5f);
  const Model written = convert::gguf::read_model(directory / "m.gguf", {});
  CHECK(tensor::fingerprint(*written.find("model.norm.weight")) == tensor::fingerprint(source.tensors[0]));
}

}  // namespace ingot::test

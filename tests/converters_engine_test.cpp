// The engine on synthetic models: consent, staging, proof, overwrite refusal.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>

#include "container_models.h"
#include "converters/conversion/proof.h"
#include "converters/registry.h"
#include "expect_error.h"
#include "format/base/parallel.h"
#include "format/container/container.h"
#include "format/tensor/fingerprint.h"
#include "temporary_directory.h"

using namespace ingot;
using test::throws_kind;

namespace {

namespace fs = std::filesystem;

std::shared_ptr<const tensor::PlaneSource> float_planes(const std::vector<float>& values,
                                                        const tensor::Tensor& tensor) {
  std::vector<std::vector<std::byte>> planes(1);
  planes[0].resize(values.size() * sizeof(float));
  std::memcpy(planes[0].data(), values.data(), planes[0].size());
  return tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
}

tensor::Tensor float_tensor(const std::string& name, const tensor::Shape& shape, float step) {
  tensor::Tensor tensor;
  tensor.name = name;
  tensor.shape = shape;
  tensor.scheme = tensor::Scheme::plain(tensor::DType::f32);
  std::vector<float> values(tensor.elements());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = step * static_cast<float>(i % 1000) - 3.0f;
  tensor.planes = float_planes(values, tensor);
  return tensor;
}

/// A tied two-tensor Llama without layers: enough for the writers.
tensor::Model float_model(float step) {
  tensor::Model model;
  model.config.architecture = "llama";
  model.config.vocab_size = 64;
  model.config.hidden_size = 32;
  model.config.intermediate_size = 32;
  model.config.head_count = model.config.kv_head_count = 2;
  model.config.head_dim = 16;
  model.config.context_length = 128;
  model.config.norm_epsilon = 1e-5;
  model.config.rope_theta = 10000;
  model.config.tied_embeddings = true;
  model.tensors.push_back(float_tensor("model.embed_tokens.weight", {64, 32}, step));
  model.tensors.push_back(float_tensor("model.norm.weight", {32}, 0.125f));
  return model;
}

convert::ConvertOptions options_to(const std::string& layout) {
  convert::ConvertOptions options;
  options.to = layout;
  options.write.sync = false;
  return options;
}

std::size_t entries(const fs::path& directory) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

/// Gives other bytes at every reading: what a failing disk or a writer that disagrees with the reader looks
/// like to the proof.
class FickleSource final : public tensor::PlaneSource {
 public:
  explicit FickleSource(std::shared_ptr<const tensor::PlaneSource> inner) : inner_(std::move(inner)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    inner_->read_units(begin, end, out);
    if (begin == 0 && out[0] != nullptr) out[0][3] ^= std::byte{static_cast<unsigned char>(count_++)};
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return inner_->whole(index); }

 private:
  std::shared_ptr<const tensor::PlaneSource> inner_;
  mutable std::atomic<unsigned> count_{0};
};

}  // namespace

TEST_CASE("convert_proves_every_scheme_exact_in_an_ingot") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = test::make_model_of_all_schemes();
  for (const bool compress : {false, true}) {
    convert::ConvertOptions options = options_to("ingot");
    options.write.compress = compress;
    options.overwrite = true;
    const convert::ConversionReport report = convert::convert(model, directory / "all.ingot", options);
    REQUIRE(report.proven);
    CHECK(report.model_before == report.model_after);
    REQUIRE(report.proofs.size() == model.tensors.size());
    for (std::size_t i = 0; i < model.tensors.size(); ++i) {
      CAPTURE(model.tensors[i].name);
      CHECK(report.proofs[i].reached == convert::ProofClass::exact);
      CHECK(report.proofs[i].after == tensor::fingerprint(model.tensors[i]));
    }
    CHECK(report.written_bytes == fs::file_size(directory / "all.ingot"));
    CHECK(entries(directory.path()) == 1);  // no staging left
  }
}

TEST_CASE("convert_asks_for_consent_and_writes_nothing_without_it") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = float_model(0.001f);  // more bits than float16 has
  convert::ConvertOptions options = options_to("gguf");
  options.write.scheme = "f16";
  bool shown = false;
  options.on_forecast = [&](const convert::Forecast& forecast) { shown = forecast.tensors.size() == 2; };
  const std::optional<Error> error =
      test::error_of([&] { (void)convert::convert(model, directory / "out.gguf", options); });
  REQUIRE(error.has_value());
  CHECK(error->kind == ErrorKind::mismatch);
  CHECK(std::string(error->what()).find("model.embed_tokens.weight") != std::string::npos);
  CHECK(std::string(error->what()).find("--allow requantize") != std::string::npos);
  CHECK(shown);
  CHECK(entries(directory.path()) == 0);

  options.allow = convert::ProofClass::codes;  // not enough
  CHECK(throws_kind(ErrorKind::mismatch, [&] { (void)convert::convert(model, directory / "out.gguf", options); }));

  options.allow = convert::ProofClass::requantized;
  const convert::ConversionReport report = convert::convert(model, directory / "out.gguf", options);
  CHECK(report.proofs[0].reached == convert::ProofClass::requantized);
  CHECK(report.proofs[0].worst_error > 0);
  CHECK(report.proofs[0].worst_error_steps > 0);
  CHECK(report.proofs[0].worst_error_steps <= 0.5);  // correctly rounded
  CHECK(report.proofs[1].reached == convert::ProofClass::exact);
  CHECK(report.model_before != report.model_after);
}

TEST_CASE("convert_to_a_narrower_type_is_exact_where_the_values_fit") {
  const test::TemporaryDirectory directory;
  convert::ConvertOptions options = options_to("gguf");
  options.write.scheme = "f16";
  const convert::ConversionReport report = convert::convert(float_model(0.25f), directory / "out.gguf", options);
  CHECK(report.proofs[0].reached == convert::ProofClass::exact);
  CHECK(report.model_before == report.model_after);
}

TEST_CASE("fingerprints_that_the_writer_took_are_not_believed") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = float_model(0.5f);
  const convert::ConvertOptions options = options_to("ingot");
  convert::ConversionReport report = convert::convert(model, directory / "out.ingot", options);
  const tensor::Model written = convert::read_model(directory / "out.ingot");
  for (const bool of_written_bytes : {false, true}) {
    std::vector<tensor::TakenFingerprint> taken;
    for (const tensor::Tensor& tensor : model.tensors) taken.push_back({tensor::fingerprint(tensor), of_written_bytes});
    CHECK_NOTHROW(convert::prove(model, written, {taken, {}}, {}, options, report));
    taken[0].hash.bytes[0] ^= std::byte{1};
    CHECK(throws_kind(ErrorKind::mismatch, [&] { convert::prove(model, written, {taken, {}}, {}, options, report); }));
  }
}

TEST_CASE("a_wrong_fingerprint_in_the_written_file_fails_the_proof") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = float_model(0.5f);
  const convert::ConvertOptions options = options_to("ingot");
  convert::ConversionReport report = convert::convert(model, directory / "out.ingot", options);
  tensor::Model written = convert::read_model(directory / "out.ingot");
  written.tensors[0].fingerprint->bytes[0] ^= std::byte{1};
  for (const bool of_written_bytes : {false, true}) {
    std::vector<tensor::TakenFingerprint> taken;
    for (const tensor::Tensor& tensor : model.tensors) taken.push_back({tensor::fingerprint(tensor), of_written_bytes});
    CHECK(throws_kind(ErrorKind::mismatch, [&] { convert::prove(model, written, {taken, {}}, {}, options, report); }));
  }
}

TEST_CASE("planes_found_in_the_wrong_place_fail_the_proof_though_all_bytes_are_right") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = float_model(0.5f), other = float_model(0.25f);
  const convert::ConvertOptions options = options_to("ingot");
  convert::ConversionReport report = convert::convert(model, directory / "out.ingot", options);
  tensor::Model written = convert::read_model(directory / "out.ingot");
  std::vector<tensor::TakenFingerprint> taken;
  for (const tensor::Tensor& tensor : model.tensors) taken.push_back({tensor::fingerprint(tensor), true});
  written.tensors[0].planes = other.tensors[0].planes;
  CHECK(throws_kind(ErrorKind::mismatch, [&] { convert::prove(model, written, {taken, {}}, {}, options, report); }));
}

/// What happens between the hash of a chunk and its way to the disk, and what happens on the disk.
TEST_CASE("bytes_that_change_on_their_way_into_the_file_fail_the_proof") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = float_model(0.5f);
  const Bytes weights = *model.tensors[0].planes->view(0);
  auto* flipped = const_cast<std::byte*>(weights.data()) + weights.size() / 2;  // the model's own vector
  const int threads = thread_count();
  set_thread_count(1);  // the first write is then that of the first chunk
  container::set_write_fault_hook([&](std::uint64_t step) {
    if (step == 0) *flipped ^= std::byte{16};
    return true;
  });
  const std::optional<Error> error =
      test::error_of([&] { (void)convert::convert(model, directory / "out", options_to("ingot")); });
  container::set_write_fault_hook(nullptr);
  set_thread_count(threads);
  REQUIRE(error.has_value());
  CHECK(error->kind == ErrorKind::bad_checksum);
  CHECK(entries(directory.path()) == 0);
}

TEST_CASE("convert_leaves_nothing_when_the_proof_fails") {
  const test::TemporaryDirectory directory;
  SUBCASE("the source contradicts its recorded fingerprint") {
    tensor::Model model = float_model(0.5f);
    model.tensors[0].fingerprint = Hash128::from_hex("000102030405060708090a0b0c0d0e0f");
    for (const char* layout : {"ingot", "gguf", "hf"}) {
      CAPTURE(layout);
      CHECK(throws_kind(ErrorKind::mismatch,
                        [&] { (void)convert::convert(model, directory / "out", options_to(layout)); }));
      CHECK(entries(directory.path()) == 0);
    }
  }
  SUBCASE("the written values differ from the source") {
    tensor::Model model = float_model(0.5f);
    model.tensors[0].planes = std::make_shared<FickleSource>(model.tensors[0].planes);
    const std::optional<Error> error =
        test::error_of([&] { (void)convert::convert(model, directory / "out", options_to("hf")); });
    REQUIRE(error.has_value());
    CHECK(error->kind == ErrorKind::mismatch);
    CHECK(std::string(error->what()).find("model.embed_tokens.weight") != std::string::npos);
    CHECK(entries(directory.path()) == 0);
  }
}

TEST_CASE("convert_refuses_an_existing_output_unless_told_to_replace_it") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = float_model(0.5f);
  std::ofstream(directory / "out.gguf") << "precious";
  CHECK(throws_kind(ErrorKind::io, [&] { (void)convert::convert(model, directory / "out.gguf", options_to("gguf")); }));
  CHECK(fs::file_size(directory / "out.gguf") == 8);
  convert::ConvertOptions options = options_to("gguf");
  options.overwrite = true;
  CHECK(convert::convert(model, directory / "out.gguf", options).proven);
  CHECK(convert::read_model(directory / "out.gguf").tensors.size() == 2);

  options.to = "hf";
  CHECK(convert::convert(model, directory / "out", options).proven);
  std::ofstream(directory / "out" / "old_config.json") << "kept until the proof has passed";
  CHECK(throws_kind(ErrorKind::io, [&] { (void)convert::convert(model, directory / "out", options_to("hf")); }));
  CHECK(fs::exists(directory / "out" / "old_config.json"));
  CHECK(convert::convert(model, directory / "out", options).proven);
  CHECK(!fs::exists(directory / "out" / "old_config.json"));
  CHECK(entries(directory.path()) == 2);
}

TEST_CASE("convert_replaces_models_only") {
  const test::TemporaryDirectory directory;
  convert::ConvertOptions options = options_to("hf");
  options.overwrite = true;
  fs::create_directory(directory / "notes");
  std::ofstream(directory / "notes" / "precious") << "no model";
  REQUIRE(::mkfifo((directory / "pipe").c_str(), 0600) == 0);
  for (const char* name : {"notes", "pipe"})
    CHECK(throws_kind(ErrorKind::io, [&] { (void)convert::convert(float_model(0.5f), directory / name, options); }));
  CHECK(fs::file_size(directory / "notes" / "precious") == 8);
  CHECK(fs::is_fifo(directory / "pipe"));
  CHECK(entries(directory.path()) == 2);
  CHECK(fs::create_directory(directory / "empty"));
  CHECK(convert::convert(float_model(0.5f), directory / "empty", options).proven);
}

TEST_CASE("what_becomes_infinite_by_rounding_fails_the_conversion") {
  tensor::Model model = float_model(0.5f);
  std::vector<float> values(model.tensors[0].elements(), 0.25f);
  values[100] = 3e38f;  // its scale is too large for binary16
  model.tensors[0].planes = float_planes(values, model.tensors[0]);
  for (const auto& [layout, scheme] : {std::pair{"gguf", "q4_0"}, {"gguf", "q8_0"}, {"hf", "f16"}}) {
    CAPTURE(std::string(scheme));
    const test::TemporaryDirectory directory;
    convert::ConvertOptions options = options_to(layout);
    options.write.scheme = scheme;
    options.allow = convert::ProofClass::requantized;
    const auto error = test::error_of([&] { (void)convert::convert(model, directory / "out", options); });
    REQUIRE(error.has_value());
    CHECK(error->kind == ErrorKind::mismatch);
    CHECK(std::string(error->what()).find("model.embed_tokens.weight: element ") != std::string::npos);
    CHECK(entries(directory.path()) == 0);
    convert::ConvertOptions kept = options;
    kept.write.keep = "embed_tokens";
    CHECK(convert::convert(model, directory / "kept", kept).proven);
    values[100] = 0.75f;
    tensor::Model usual = model;
    usual.tensors[0].planes = float_planes(values, usual.tensors[0]);
    CHECK(convert::convert(usual, directory / "out", options).proven);
    values[100] = 3e38f;
  }
}

TEST_CASE("convert_replaces_a_checkpoint_and_no_other_file_beside_it") {
  const test::TemporaryDirectory directory;
  convert::ConvertOptions options = options_to("hf");
  (void)convert::convert(float_model(0.5f), directory / "out", options);
  options.overwrite = true;
  for (const char* name : {"README.md", "tokenizer.json", "old.safetensors", "LICENSE"})
    std::ofstream(directory / "out" / name) << "old";
  CHECK(convert::convert(float_model(0.25f), directory / "out", options).proven);
  CHECK(!fs::exists(directory / "out/old.safetensors"));
  for (const char* name : {"notes.txt", "sub/config.json", "results.json"}) {
    CAPTURE(std::string(name));
    fs::create_directories((directory / "out" / name).parent_path());
    std::ofstream(directory / "out" / name) << "precious";
    const auto error = test::error_of([&] { (void)convert::convert(float_model(0.5f), directory / "out", options); });
    REQUIRE(error.has_value());
    CHECK(error->kind == ErrorKind::io);
    CHECK(std::string(error->what()).find(std::string("holds ") + name) != std::string::npos);
    CHECK(fs::file_size(directory / "out" / name) == 8);
    tensor::Model model = float_model(0.5f);  // one that brings the file along
    model.attachments.push_back({std::string("hf/") + name, {}, nullptr});
    CHECK(convert::convert(model, directory / "out", options).proven);
    fs::remove(directory / "out" / name);
  }
}

TEST_CASE("convert_refuses_to_replace_its_own_input") {
  const test::TemporaryDirectory directory;
  (void)convert::convert(float_model(0.5f), directory / "model.ingot", options_to("ingot"));
  convert::ConvertOptions options = options_to("ingot");
  options.overwrite = true;
  const tensor::Model model = convert::read_model(directory / "model.ingot");
  CHECK(throws_kind(ErrorKind::invalid_value,
                    [&] { (void)convert::convert(model, directory / "model.ingot", options); }));
}

TEST_CASE("convert_refuses_to_replace_the_directory_that_its_input_lies_in") {
  const test::TemporaryDirectory directory;
  fs::create_directory(directory / "checkpoint");
  (void)convert::convert(float_model(0.5f), directory / "checkpoint" / "model.ingot", options_to("ingot"));
  convert::ConvertOptions options = options_to("hf");
  options.overwrite = true;
  const tensor::Model model = convert::read_model(directory / "checkpoint" / "model.ingot");
  CHECK(
      throws_kind(ErrorKind::invalid_value, [&] { (void)convert::convert(model, directory / "checkpoint", options); }));
  CHECK(fs::exists(directory / "checkpoint" / "model.ingot"));
}

TEST_CASE("convert_without_proof_says_so") {
  const test::TemporaryDirectory directory;
  convert::ConvertOptions options = options_to("ingot");
  options.prove = false;
  const convert::ConversionReport report = convert::convert(float_model(0.5f), directory / "model.ingot", options);
  CHECK(!report.proven);
  CHECK(report.proofs.empty());
  CHECK(fs::exists(directory / "model.ingot"));
}

TEST_CASE("convert_names_what_an_ingot_cannot_do") {
  const test::TemporaryDirectory directory;
  convert::ConvertOptions options = options_to("ingot");
  options.write.scheme = "q8_0";
  CHECK(throws_kind(ErrorKind::unsupported, [&] { (void)convert::forecast(float_model(0.5f), options); }));
  options = options_to("gguf");
  options.write.compress = true;
  CHECK(throws_kind(ErrorKind::unsupported, [&] { (void)convert::forecast(float_model(0.5f), options); }));
  CHECK(
      throws_kind(ErrorKind::unsupported, [&] { (void)convert::forecast(float_model(0.5f), options_to("nothing")); }));
}

TEST_CASE("every_layout_has_a_unique_name_and_detection_agrees_with_writing") {
  const test::TemporaryDirectory directory;
  for (const convert::Layout& layout : convert::layouts()) {
    CAPTURE(layout.name);
    CHECK(convert::find_layout(layout.name) == &layout);
    CHECK(!layout.description.empty());
    if (layout.write == nullptr) continue;
    const fs::path path = directory / std::string(layout.name).c_str();
    const auto write = [&] { (void)convert::convert(float_model(0.5f), path, options_to(std::string(layout.name))); };
    if (layout.packs_from_views) {  // layouts of quantized tensors: a model without one is not in that layout
      CHECK(throws_kind(ErrorKind::unsupported, write));
      CHECK(!fs::exists(path));
      continue;
    }
    write();
    CHECK(&convert::detect_layout(path) == &layout);
    CHECK(fs::is_directory(path) == layout.is_directory);
  }
  CHECK(throws_kind(ErrorKind::io, [&] { (void)convert::detect_layout(directory / "absent"); }));
  std::ofstream(directory / "text") << "not a model";
  CHECK(throws_kind(ErrorKind::unsupported, [&] { (void)convert::detect_layout(directory / "text"); }));
}

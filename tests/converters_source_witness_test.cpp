// What a writer read of its source stands for the source in the proof, and whatever is written differently is seen.
#include "converters/conversion/source_witness.h"

#include <fstream>

#include "converters/conversion/equal_codes.h"
#include "converters/conversion/proof.h"
#include "converters/files/safetensors.h"
#include "converters/registry.h"
#include "expect_error.h"
#include "format/base/mapped_file.h"
#include "format/tensor/unit_fingerprint.h"
#include "gptq_source.h"
#include "recode_checks.h"
#include "temporary_directory.h"

namespace ingot::convert::recoding {
namespace {

constexpr Shape::value_type kRows = 200, kCols = 2048;  // 13 tiles, two of which are a block of the fingerprint

PlainTensor any_matrix(std::mt19937_64& random) {
  const Scheme scheme = numbers(DType::u4, {level(DType::f16, group(128))}, zero_points(DType::u8, group(128)));
  PlainTensor plain = test::random_tensor({kRows, kCols}, scheme, Packing::tiles, true, random);
  for (std::uint64_t& zero : plain.levels[1]) zero = random() % 17;
  return plain;
}

tensor::Model model_of(const Tensor& tensor) {
  tensor::Model model;
  model.tensors.push_back(tensor);
  model.tensors[0].name = "matrix";
  return model;
}

Forecast forecast_as(ProofClass proof) {
  Forecast forecast;
  forecast.tensors.emplace_back();
  forecast.tensors[0].name = "matrix";
  forecast.tensors[0].forecast = proof;
  return forecast;
}

enum class Wanted { codes, all };

/// As a writer reads: units between the borders, one after the other.
void read(const Tensor& tensor, const std::vector<std::uint64_t>& borders, Wanted wanted) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    std::vector<std::vector<std::byte>> planes(specs.size());
    std::vector<std::byte*> out(specs.size(), nullptr);
    for (std::size_t p = 0; p < (wanted == Wanted::all ? specs.size() : 1); ++p) {
      planes[p].resize((borders[i + 1] - borders[i]) * specs[p].unit_bytes);
      out[p] = planes[p].data();
    }
    tensor.planes->read_units(borders[i], borders[i + 1], out);
  }
}

std::optional<SeenUnits> seen_of(const tensor::Model& model, const std::vector<std::uint64_t>& borders, Wanted wanted,
                                 ProofClass forecast = ProofClass::exact) {
  const std::shared_ptr<SourceWitness> witness = SourceWitness::of(model);
  REQUIRE(witness != nullptr);
  witness->start(forecast_as(forecast));
  read(witness->model().tensors[0], borders, wanted);
  return witness->finish().at(0);
}

}  // namespace

TEST_CASE("what_was_read_has_the_fingerprint_of_the_source_and_equal_codes") {
  std::mt19937_64 random(21);
  const PlainTensor plain = any_matrix(random);
  const Tensor source = test::as_tensor(plain);
  const tensor::Model model = model_of(streamed(source));
  const std::string expected = tensor::fingerprint(source).hex();
  const std::vector<std::vector<std::vector<std::uint64_t>>> ways = {
      {{0, 13}}, {{0, 4, 8, 13}}, {{8, 13}, {0, 8}}, {{0, 13}, {0, 13}}, {{0, 7, 13}}, {{0, 6, 13}, {2, 4}}};
  for (const Wanted wanted : {Wanted::codes, Wanted::all}) {
    for (const auto& way : ways) {
      const std::shared_ptr<SourceWitness> witness = SourceWitness::of(model);
      REQUIRE(witness != nullptr);
      witness->start(forecast_as(ProofClass::exact));
      for (const std::vector<std::uint64_t>& borders : way) read(witness->model().tensors[0], borders, wanted);
      const std::optional<SeenUnits> seen = witness->finish().at(0);
      REQUIRE(seen.has_value());
      CHECK(seen->values.hex() == expected);
      CHECK(has_equal_codes(source, seen->codes, test::as_tensor(plain)));
    }
  }
}

TEST_CASE("what_was_read_in_part_or_tile_by_tile_or_is_to_be_rounded_is_not_taken") {
  std::mt19937_64 random(22);
  const tensor::Model model = model_of(streamed(test::as_tensor(any_matrix(random))));
  CHECK_FALSE(seen_of(model, {0, 12}, Wanted::all).has_value());
  CHECK_FALSE(seen_of(model, {2, 13}, Wanted::codes).has_value());
  CHECK_FALSE(seen_of(model, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, Wanted::all).has_value());
  CHECK_FALSE(seen_of(model, {0, 13}, Wanted::all, ProofClass::codes).has_value());
  CHECK(SourceWitness::of(model_of(test::as_tensor(any_matrix(random)))) == nullptr);  // its bytes are at hand
  tensor::Model claims = model;
  claims.tensors[0].fingerprint = Hash128{};
  CHECK(SourceWitness::of(claims) == nullptr);
}

TEST_CASE("one_code_scale_or_zero_point_written_differently_is_seen_without_the_codes_of_the_source") {
  std::mt19937_64 random(23);
  const PlainTensor plain = any_matrix(random);
  const tensor::Model model = model_of(streamed(test::as_tensor(plain)));
  const SeenUnits seen = seen_of(model, {0, 6, 13}, Wanted::codes).value();
  ConvertOptions options;
  options.write.sync = false;
  TakenValues taken;
  taken.units = {seen};
  for (int i = 0; i < 12; ++i) {
    PlainTensor other = plain;
    const std::uint64_t at = random();
    if (i % 3 == 0) other.codes[at % other.codes.size()] ^= 1u << at % 4;
    if (i % 3 == 1) other.levels[0][at % other.levels[0].size()] ^= 1;
    if (i % 3 == 2) other.levels[1][at % other.levels[1].size()] ^= 1;
    CAPTURE(i);
    const tensor::Model written = model_of(test::as_tensor(other));
    CHECK_FALSE(has_equal_codes(model.tensors[0], seen.codes, written.tensors[0]));
    ConversionReport report;
    report.forecast = forecast_as(ProofClass::exact);
    const auto error = test::error_of([&] { prove(model, written, taken, {}, options, report); });
    REQUIRE(error.has_value());
    CHECK(error->kind == ErrorKind::mismatch);
    CHECK(std::string(error->what()).find("matrix: the values differ") != std::string::npos);
  }
  ConversionReport report;
  report.forecast = forecast_as(ProofClass::exact);
  CHECK_NOTHROW(prove(model, model_of(test::as_tensor(plain)), taken, {}, options, report));
  REQUIRE(report.proofs.size() == 1);
  CHECK(report.proofs[0].reached == ProofClass::exact);
  CHECK(report.proofs[0].after == tensor::fingerprint(test::as_tensor(plain)));
}

/// Wrong fingerprints of the source are found where the written codes are not its codes, and only there are they looked
/// for: what was seen stands for the source.
TEST_CASE("values_seen_that_are_not_those_written_fail_the_proof") {
  std::mt19937_64 random(24);
  const PlainTensor plain = any_matrix(random);
  const tensor::Model model = model_of(streamed(test::as_tensor(plain)));
  SeenUnits seen = seen_of(model, {0, 13}, Wanted::all).value();
  seen.values.bytes[0] ^= std::byte{1};
  seen.codes.bytes[0] ^= std::byte{1};
  TakenValues taken;
  taken.units = {seen};
  ConversionReport report;
  report.forecast = forecast_as(ProofClass::exact);
  CHECK(test::throws_kind(ErrorKind::mismatch,
                          [&] { prove(model, model_of(test::as_tensor(plain)), taken, {}, {}, report); }));
}

/// Flips a bit in the middle of the first tensor whose name ends so, in the safetensors file below `directory`, which
/// has not its final name yet. Returns how many files it found.
int flip_in_file(const std::filesystem::path& directory, std::string_view ending) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.path().filename().string().find("model.safetensors") == std::string::npos) continue;
    ++files;
    std::uint64_t at = 0;
    {
      const MappedFile mapped(entry.path());
      for (const SafetensorsEntry& tensor : parse_safetensors(mapped.bytes(), entry.path().string()).entries)
        if (tensor.name.ends_with(ending)) at = (tensor.begin + tensor.end) / 2;
    }
    REQUIRE(at != 0);
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 4);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }
  return files;
}

TEST_CASE("a_code_or_parameter_changed_in_the_written_file_fails_the_conversion") {
  const test::GptqSource source;
  const tensor::Model model = source.model();
  const std::pair<const char*, const char*> places[] = {
      {"awq", nullptr},         {"awq", "down_proj.qweight"}, {"awq", "up_proj.scales"},
      {"awq", "q_proj.qzeros"}, {"mlx", "down_proj.weight"},  {"mlx", "up_proj.scales"},
      {"mlx", "q_proj.biases"}};
  for (const auto& [layout, ending] : places) {
    INFO(std::string(layout), std::string(ending == nullptr ? "" : ending));
    const test::TemporaryDirectory directory;
    ConvertOptions options;
    options.to = layout;
    options.write.sync = false;
    int flipped = 0;
    options.write.progress = [&, ending = ending](std::string_view phase, std::uint64_t done, std::uint64_t total) {
      if (phase == "writing" && done == total && ending != nullptr) flipped += flip_in_file(directory.path(), ending);
    };
    const auto error = test::error_of([&] { (void)convert::convert(model, directory / "out", options); });
    CHECK(error.has_value() == (ending != nullptr));
    CHECK(flipped == (ending != nullptr ? 1 : 0));
    CHECK(std::filesystem::exists(directory / "out") == (ending == nullptr));
    if (!error) continue;
    CHECK(error->kind == ErrorKind::mismatch);
    CHECK(std::string(error->what()).find("the values differ") != std::string::npos);
  }
}

}  // namespace ingot::convert::recoding

// Checkpoints whose floats were recovered as codes come back byte for byte, and parts of recipes that say so.
#include <doctest/doctest.h>

#include <algorithm>

#include "coded_checkpoints.h"
#include "converters/recover/recover.h"
#include "converters/registry.h"
#include "converters/requantize/rounded_values.h"
#include "expect_error.h"
#include "recode_checks.h"
#include "recover_cases.h"

namespace ingot::convert {
namespace {

using namespace recoding;
using test::plain_tensor;
using test::RecoverCases;

/// As many times one below the other as fill several blocks of signs, with every third zero negative.
Tensor tall(const Tensor& tensor, std::uint64_t copies, const std::string& name) {
  const std::vector<float> once = values(tensor);
  std::vector<float> all;
  for (std::uint64_t i = 0; i < copies; ++i) all.insert(all.end(), once.begin(), once.end());
  std::size_t zeros = 0;
  for (float& value : all)
    if (value == 0) value = zeros++ % 3 == 0 ? -0.0f : 0.0f;
  REQUIRE(zeros > 100);
  Shape shape = tensor.shape;
  shape[0] *= copies;
  Tensor made = plain_tensor(shape, all, tensor.scheme.codes.type);
  made.name = name;
  return made;
}

ConversionReport recovered(const std::filesystem::path& source, const std::filesystem::path& output) {
  ConvertOptions options;
  options.to = "ingot";
  options.recover = true;
  options.allow = ProofClass::codes;
  options.write.sync = false;
  return convert(read_model(source), output, options);
}

void write_floats(const tensor::Model& model, const std::filesystem::path& path) {
  ConvertOptions options;
  options.to = "hf";
  options.write.sync = false;
  (void)convert(model, path, options);
}

}  // namespace

TEST_CASE("recovered_checkpoints_come_back_byte_for_byte") {
  const RecoverCases cases;
  const test::TemporaryDirectory scratch;
  tensor::Model model;
  for (const char* name : {"q4_0.f32", "q4_0.bf16", "mxfp4.bf16", "nf4_64.bf16", "ct4_64_asym.bf16", "awq_128.f16"})
    model.tensors.push_back(cases.tensor(name));
  model.tensors.push_back(tall(cases.tensor("q4_0.bf16"), 20, "tall"));
  model.tensors.push_back(tall(cases.tensor("mxfp4.bf16"), 20, "tall e2m1"));
  const Tensor narrow = tall(cases.tensor("awq_128.f16"), 20, "wide");
  model.tensors.push_back(plain_tensor(narrow.shape, values(narrow)));  // F32 elements that are float16 numbers
  model.tensors.back().name = "wide";
  model.tensors.push_back(plain_tensor({3}, {1, -0.0f, 3}));
  write_floats(model, scratch / "floats");
  CHECK(recovered(scratch / "floats", scratch / "codes.ingot").recovery->tensors.size() == model.tensors.size() - 1);
  const tensor::Model codes = read_model(scratch / "codes.ingot");
  REQUIRE(codes.source);
  CHECK_FALSE(codes.find("tall")->scheme.is_plain());
  CHECK(codes.find_attachment("source/signs/0") != nullptr);
  CHECK(std::filesystem::file_size(scratch / "codes.ingot") <
        std::filesystem::file_size(scratch / "floats/model.safetensors") / 2);
  (void)restore(codes, scratch / "restored", false, {});
  CHECK(test::file_text(scratch / "restored/model.safetensors") ==
        test::file_text(scratch / "floats/model.safetensors"));
}

TEST_CASE("a_recipe_that_would_give_other_floats_is_left_out") {
  const RecoverCases cases;
  const test::TemporaryDirectory scratch;
  tensor::Model model;
  model.tensors.push_back(cases.tensor("mlx4_64.f16"));  // rounded twice
  write_floats(model, scratch / "floats");
  CHECK(recovered(scratch / "floats", scratch / "codes.ingot").recovery->tensors.size() == 1);
  const tensor::Model codes = read_model(scratch / "codes.ingot");
  CHECK_FALSE(codes.source);
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)restore(codes, scratch / "restored", false, {}); }));
}

TEST_CASE("parts_of_rounded_values_are_read_as_they_are_written") {
  for (const char* text : {"rounded f32", "rounded bf16 f32", "rounded f16 signs 0", "rounded f16 f32 signs 12"})
    CHECK(parse_rounded_part(text, "test").text() == text);
  for (const char* text :
       {"rounded ", "rounded e4m3", "rounded f16 f16 f16", "rounded f16 signs", "rounded f16 signs x",
        "rounded f16  f32", "rounded f16 signs 01", "rounded signs 1", "rounded f16 signs 1 1"}) {
    CAPTURE(std::string(text));
    CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { (void)parse_rounded_part(text, "test"); }));
  }
}

TEST_CASE("signs_that_are_cut_off_are_refused") {
  const Tensor zeros = plain_tensor({2, 40'000}, std::vector<float>(80'000, 0.0f));
  std::vector<std::byte> signs(16 + 10'000, std::byte{0xFF});
  for (std::size_t i = 0; i < 16; ++i) signs[i] = std::byte{0};
  signs[0] = std::byte{16};  // the second block has none
  std::vector<std::byte> out(80'000 * 2);
  const RoundedValues values(zeros, {DType::f16}, signs);
  REQUIRE(values.bytes() == out.size());
  values.pack(0, out);
  CHECK(out[1] == std::byte{0x80});
  CHECK(out[65'535 * 2 + 1] == std::byte{0x80});
  CHECK(out[65'536 * 2 + 1] == std::byte{0});
  std::vector<std::byte> part(5);
  values.pack(65'534 * 2 + 1, part);
  CHECK(std::equal(part.begin(), part.end(), out.begin() + 65'534 * 2 + 1));
  const Bytes all(signs);
  CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { (void)RoundedValues(zeros, {DType::f16}, all.first(15)); }));
  const RoundedValues cut(zeros, {DType::f16}, all.first(16 + 8191));
  CHECK(test::throws_kind(ErrorKind::invalid_value, [&] { cut.pack(0, out); }));
}

}  // namespace ingot::convert

// recover() against what the libraries that own the schemes dequantize (tests/golden/foreign/recover/make.py).
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "converters/recover/recover.h"
#include "converters/registry.h"
#include "expect_error.h"
#include "format/tensor/fingerprint.h"
#include "recode_checks.h"
#include "recover_cases.h"
#include "temporary_directory.h"

namespace ingot::convert {
namespace {

using namespace recoding;
using test::plain_tensor;
using test::RecoverCases;

/// The same tensor with a plain scheme of one number per element: codes, one byte each, or parameters.
std::vector<std::uint8_t> codes_of(const Tensor& made) {
  const tensor::Geometry view = made.geometry();
  const auto specs = made.plane_specs();
  const auto planes = plane_bytes(made);
  std::vector<std::uint8_t> all, unit_codes(view.rows_per_unit * view.cols);
  for (std::uint64_t unit = 0; unit < view.units; ++unit) {
    const std::byte* slices[3] = {};
    for (std::size_t i = 0; i < 3 && i < specs.size() && specs[i].role.starts_with("codes"); ++i)
      slices[i] = planes[i].data() + unit * specs[i].unit_bytes;
    tensor::unpack_unit(view, tensor::bits(made.scheme.codes.type), slices, unit_codes.data());
    const std::uint64_t rows = std::min(view.rows_per_unit, view.rows - unit * view.rows_per_unit);
    all.insert(all.end(), unit_codes.begin(), unit_codes.begin() + static_cast<std::ptrdiff_t>(rows * view.cols));
  }
  return all;
}

struct Wanted {
  const char* name;
  const char* scheme;  // as described
  bool exact;
  double same_codes;  // share of the elements whose code is the library's
};

// Where a block uses no odd code, or one of its extremes only, another step fits as well: not all codes can be equal.
const Wanted kWanted[] = {
    {"q8_0.f32", "i8_g32_f16", true, 0.95},
    {"q4_0.f32", "u4_g32_f16_z8", true, 0.95},
    {"q4_0.bf16", "u4_g32_f16_z8", false, 0.95},
    {"q4_1.f32", "u4_g32_f16_bias", true, 0.9},
    {"mxfp4.f32", "e2m1_g32_e8m0", true, 0.95},
    {"mxfp4.bf16", "e2m1_g32_e8m0", true, 0.95},
    {"nf4_64.f32", "nf4_g64_f32", true, 0.95},
    {"nf4_64.bf16", "nf4_g64_f32", false, 0.95},
    {"fp4_128.f16", "fp4_g128_f32", false, 0.95},
    {"mlx4_64.f16", "u4_g64_f16_bias", false, 0.9},
    {"mlx4_32.bf16", "u4_g32_bf16_bias", false, 0.9},
    {"mlx8_64.f32", "u8_g64_f32_bias", false, 0.9},
    {"ct4_128_sym.f16", "u4_g128_f16_z8", false, 0.95},
    {"ct4_64_asym.bf16", "u4_g64_bf16_zp", false, 0.9},
    {"ct8_row.f32", "i8_row_f32", true, 0.95},
    {"ct8_row.bf16", "i8_row_bf16", false, 0.95},
    {"fp8_row.bf16", "e4m3_row_f32", false, 0.9},
    {"fp8_tensor.f32", "e4m3_tensor_f32", true, 0.99},
    {"awq_128.f16", "u4_g128_f16_zp", false, 0.9},
};

}  // namespace

TEST_CASE("Recovery: what the libraries dequantize") {
  const RecoverCases cases;
  for (const Wanted& wanted : kWanted) {
    CAPTURE(std::string(wanted.name));
    const Tensor source = cases.tensor(wanted.name);
    const std::optional<Recovered> found = recover(source);
    CHECK(found.has_value());
    if (!found) continue;
    CHECK(tensor::describe(found->tensor.scheme) == wanted.scheme);
    CHECK(found->exact == wanted.exact);
    CHECK((tensor::fingerprint(found->tensor) == tensor::fingerprint(source)) == wanted.exact);
    const bool in_two_steps = std::string(wanted.name).starts_with("mlx");
    CHECK((rounds_to(found->tensor, source) || in_two_steps));
    const std::vector<std::uint8_t> codes = codes_of(found->tensor);
    const std::vector<std::uint8_t> library = cases.get<std::uint8_t>(std::string(wanted.name) + ".codes");
    REQUIRE(codes.size() == library.size());
    std::size_t same = 0;
    for (std::size_t i = 0; i < codes.size(); ++i) same += codes[i] == library[i] ? 1 : 0;
    CHECK(static_cast<double>(same) >= wanted.same_codes * static_cast<double>(codes.size()));
  }
}

TEST_CASE("Recovery: one unit of the last place beside the grid") {
  const RecoverCases cases;
  for (const Wanted& wanted : kWanted) {
    CAPTURE(std::string(wanted.name));
    Tensor source = cases.tensor(wanted.name);
    const std::size_t size = tensor::bits(source.scheme.codes.type) / 8;
    std::vector<std::byte> bytes = plane_bytes(source)[0];
    // The value must be one that no other step explains: of middling magnitude, beside larger ones.
    std::vector<float> all = values(source);
    float largest = 0;
    for (std::size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(all[i]));
    std::size_t at = 0;
    for (std::size_t i = 0; i < 32; ++i)
      if (std::fabs(all[i]) < 0.4f * largest && std::fabs(all[i]) > 0.1f * largest) at = i;
    bytes[at * size] ^= std::byte{1};
    source.planes = tensor::planes_in_memory({bytes}, source.shape, source.scheme, source.packing);
    const std::optional<Recovered> found = recover(source);
    // Another grid may hold the changed value as well; what is claimed must be true in any case.
    if (found) {
      CHECK((rounds_to(found->tensor, source) || !found->exact));
      CHECK((tensor::fingerprint(found->tensor) == tensor::fingerprint(source)) == found->exact);
      CHECK(tensor::describe(found->tensor.scheme) != wanted.scheme);
    }
  }
}

TEST_CASE("Recovery: values that were rounded to float16 in an F32 file") {
  const RecoverCases cases;
  for (const char* name : {"fp4_128.f16", "ct4_128_sym.f16"}) {
    CAPTURE(std::string(name));
    const Tensor narrow = cases.tensor(name), source = plain_tensor(narrow.shape, values(narrow));
    const std::optional<Recovered> found = recover(source);
    REQUIRE(found);
    CHECK(found->tensor.scheme == recover(narrow)->tensor.scheme);
    CHECK_FALSE(found->exact);
    CHECK(rounds_to(found->tensor, source));
  }
}

TEST_CASE("Recovery: ordinary floats stay floats") {
  const tensor::Model model = read_model(INGOT_TEST_DATA "/data/tiny-llama");
  for (const Tensor& tensor : model.tensors) {
    CAPTURE(tensor.name);
    CHECK_FALSE(recover(tensor));
  }
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal(0, 0.02f);
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    for (const Shape& shape : {Shape{64, 128}, Shape{1024, 16}, Shape{3, 40, 64}, Shape{16, 4096}}) {
      std::uint64_t count = 1;
      for (const std::uint64_t extent : shape) count *= extent;
      std::vector<float> noise(count);
      for (float& value : noise) value = normal(random);
      CAPTURE(tensor::name(type));
      CAPTURE(shape.back());
      CHECK_FALSE(recover(plain_tensor(shape, noise, type)));
    }
  }
}

TEST_CASE("Recovery: constants, norms and values without a number are no evidence") {
  const auto filled = [](float value) { return std::vector<float>(64 * 128, value); };
  for (const float value : {0.0f, -0.0f, 1.0f, 0.02f, std::numeric_limits<float>::denorm_min()})
    CHECK_FALSE(recover(plain_tensor({64, 128}, filled(value))));
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> ternary = filled(0.5f);
    for (std::size_t i = 0; i < ternary.size(); i += 3) ternary[i] = -0.5f;
    REQUIRE(recover(plain_tensor({64, 128}, ternary)));
    CHECK_FALSE(recover(plain_tensor({8192}, ternary)));
    ternary[5000] = value;
    CHECK_FALSE(recover(plain_tensor({64, 128}, ternary)));
  }
  CHECK_FALSE(recover(plain_tensor({0, 128}, {})));
  CHECK_FALSE(recover(plain_tensor({64, 0}, {})));
  std::vector<float> tiny(64 * 128);  // multiples of the least denormal: any number there is one
  for (std::size_t i = 0; i < tiny.size(); ++i)
    tiny[i] = static_cast<float>(i % 15) * std::numeric_limits<float>::denorm_min();
  CHECK_FALSE(recover(plain_tensor({64, 128}, tiny)));
}

TEST_CASE("Recovery: ternary weights of one scale are exact in bfloat16") {
  std::mt19937_64 random(6);
  std::vector<float> ternary(64 * 160);
  for (float& value : ternary) value = static_cast<float>(static_cast<int>(random() % 3) - 1) * 0.0173f;
  const Tensor source = plain_tensor({64, 160}, ternary, DType::bf16);
  const std::optional<Recovered> found = recover(source);
  REQUIRE(found);
  CHECK(tensor::describe(found->tensor.scheme) == "u2_tensor_bf16_z2");
  CHECK(found->exact);
  CHECK(equal_values(found->tensor, source));
}

TEST_CASE("Recovery: blocks of e4m3 and of several experts") {
  std::mt19937_64 random(7);
  std::vector<float> all;
  float scale = 0;
  const Shape shape{2, 130, 256};
  std::vector<float> scales(2 * 2 * 2);
  for (float& one : scales) one = std::ldexp(1.0f + static_cast<float>(random() % 1000) / 1000, -12);
  for (std::size_t e = 0; e < shape[0]; ++e) {
    for (std::size_t r = 0; r < shape[1]; ++r) {
      for (std::size_t c = 0; c < shape[2]; ++c) {
        scale = scales[e * 4 + r / 128 * 2 + c / 128];
        const std::uint8_t code = c % 128 == 0 ? 0x7E : static_cast<std::uint8_t>(random() % 0x7F);
        all.push_back(scale * tensor::e4m3_to_f32(code) * (random() % 2 != 0 ? 1.0f : -1.0f));
      }
    }
  }
  const Tensor source = plain_tensor(shape, all);
  const std::optional<Recovered> found = recover(source);
  REQUIRE(found);
  CHECK(tensor::describe(found->tensor.scheme) == "e4m3_128x128_f32");
  CHECK(found->exact);
  CHECK(equal_values(found->tensor, source));
  CHECK(equal_values(in_memory(found->tensor), source));
}

TEST_CASE("Recovery: conversion, consent and proof") {
  const RecoverCases cases;
  const test::TemporaryDirectory directory;
  tensor::Model model;
  for (const char* name : {"q4_0.f32", "mxfp4.bf16", "nf4_64.bf16"}) model.tensors.push_back(cases.tensor(name));
  model.source = tensor::Source{"gguf", {}};
  model.attachments.push_back({"source/0/header", {}, nullptr});
  ConvertOptions options;
  options.to = "ingot";
  options.recover = true;
  options.write.sync = false;
  CHECK(test::throws_kind(ErrorKind::mismatch, [&] { convert(model, directory / "refused.ingot", options); }));
  options.allow = ProofClass::codes;
  const ConversionReport report = convert(model, directory / "a.ingot", options);
  REQUIRE(report.proofs.size() == 3);
  CHECK(report.proofs[0].reached == ProofClass::exact);
  CHECK(report.proofs[1].reached == ProofClass::exact);
  CHECK(report.proofs[2].reached == ProofClass::codes);
  CHECK(report.forecast.tensors[0].source_scheme == "f32 -> recovered u4_g32_f16_z8");
  const tensor::Model written = read_model(directory / "a.ingot");
  CHECK_FALSE(written.source);
  CHECK(written.find_attachment("source/0/header") == nullptr);
  CHECK(tensor::describe(written.find("mxfp4.bf16")->scheme) == "e2m1_g32_e8m0");
  CHECK(rounds_to(*written.find("nf4_64.bf16"), *model.find("nf4_64.bf16")));
}

}  // namespace ingot::convert

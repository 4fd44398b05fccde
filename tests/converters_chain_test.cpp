// Chains of conversions: the fingerprint of the model is the same at every hop, and codes are still codes at the end.
#include <doctest/doctest.h>

#include <algorithm>

#include "converters/registry.h"
#include "format/tensor/fingerprint.h"
#include "temporary_directory.h"

namespace ingot::convert {
namespace {

struct Hop {
  std::string layout;
  std::map<std::string, std::string> settings = {};
  std::string scheme = {};
};
const std::vector<Hop> kLinearChain = {
    {"awq"}, {"compressed-tensors"}, {"mlx", {{"scale_type", "f32"}}}, {"gptq", {{"checkpoint_format", "gptq_v2"}}}};

std::size_t coded(const tensor::Model& model) {
  std::size_t count = 0;
  for (const tensor::Tensor& tensor : model.tensors) count += !tensor.scheme.is_plain();
  return count;
}

/// Converts along the chain; every hop must be exact by its own proof and by fingerprints taken here.
void follow(const std::filesystem::path& source, const std::vector<Hop>& chain, bool keeps_codes) {
  const test::TemporaryDirectory scratch;
  std::filesystem::path from = source;
  const tensor::Model first = read_model(source);
  for (std::size_t i = 0; i < chain.size(); ++i) {
    CAPTURE(source.string());
    CAPTURE(chain[i].layout);
    const tensor::Model model = read_model(from);
    ConvertOptions options;
    options.to = chain[i].layout;
    options.write.settings = chain[i].settings;
    options.write.scheme = chain[i].scheme;
    options.write.sync = false;
    const std::filesystem::path to = scratch.path() / ("hop" + std::to_string(i));
    const ConversionReport report = convert(model, to, options);
    CHECK(report.model_before == report.model_after);
    const tensor::Model written = read_model(to);
    if (keeps_codes) CHECK(coded(written) == coded(first));
    for (const tensor::Tensor& tensor : first.tensors) {
      CAPTURE(tensor.name);
      const tensor::Tensor* after = written.find(tensor.name);
      REQUIRE(after != nullptr);
      CHECK(tensor::fingerprint(tensor) == tensor::fingerprint(*after));
    }
    from = to;
  }
}

/// tests/data/tiny-llama rounded to a scheme of a layout.
std::filesystem::path rounded(const test::TemporaryDirectory& scratch, const std::string& layout,
                              const std::string& scheme) {
  ConvertOptions options;
  options.to = layout;
  options.write.scheme = scheme;
  options.write.sync = false;
  options.allow = ProofClass::requantized;
  const std::filesystem::path path = scratch.path() / (layout + "-" + scheme);
  const ConversionReport report = convert(read_model(INGOT_TEST_DATA "/data/tiny-llama"), path, options);
  CHECK(report.proven);
  return path;
}

TEST_CASE("gptq_to_awq_to_compressed_tensors_to_mlx_to_gptq_v2_keeps_fingerprints") {
  const test::TemporaryDirectory scratch;
  for (const char* scheme : {"4bit", "4bit-g64-asym", "4bit-g32-asym"})
    follow(rounded(scratch, "gptq", scheme), kLinearChain, true);
  follow(INGOT_TEST_DATA "/golden/foreign/gptq/sym_v1", {kLinearChain.begin() + 1, kLinearChain.end()}, false);
}

TEST_CASE("four_and_eight_bit_blocks_of_gguf_go_through_the_other_layouts") {
  const test::TemporaryDirectory scratch;
  for (const char* scheme : {"q4_0", "q8_0"}) {
    const std::filesystem::path source = rounded(scratch, "gguf", scheme);
    follow(source, {{"mlx"}, {"gptq"}}, false);
    follow(source, {{"compressed-tensors"}, {"gptq"}, {"mlx"}}, false);
  }
  follow(rounded(scratch, "gguf", "q4_1"), {{"mlx"}, {"ingot"}}, false);
  follow(rounded(scratch, "gptq", "4bit-g32"), {{"gguf"}, {"mlx"}, {"gguf"}, {"gptq"}}, true);
}

TEST_CASE("mxfp4_goes_between_gguf_compressed_tensors_and_mlx") {
  const test::TemporaryDirectory scratch;
  follow(rounded(scratch, "compressed-tensors", "mxfp4"), {{"gguf"}, {"mlx"}, {"compressed-tensors"}}, true);
}

TEST_CASE("fp8_by_tensor_becomes_rows_and_blocks") {
  const test::TemporaryDirectory scratch;
  const std::filesystem::path source = rounded(scratch, "fp8", "fp8-tensor");
  follow(source, {{"compressed-tensors", {}, "fp8-row"}, {"fp8", {}, "fp8-block"}}, true);
}

TEST_CASE("double_quantization_and_small_floats_are_words_of_their_layouts") {
  const test::TemporaryDirectory scratch;
  const auto nested = [](const tensor::Model& model) {
    return std::count_if(model.tensors.begin(), model.tensors.end(),
                         [](const tensor::Tensor& tensor) { return tensor.scheme.scale_offset; });
  };
  for (const char* scheme : {"nf4-dq", "fp4-dq-g128"}) {
    const std::filesystem::path source = rounded(scratch, "bnb", scheme);
    CHECK(nested(read_model(source)) > 0);
    follow(source, {{"bnb"}, {"ingot"}}, true);
    CHECK(nested(read_model(source)) == static_cast<std::ptrdiff_t>(coded(read_model(source))));
  }
  for (const char* scheme : {"mxfp4", "mxfp8", "nvfp4"})
    follow(rounded(scratch, "mlx", scheme), {{"ingot"}, {"mlx"}}, true);
  for (const char* scheme : {"mxfp4", "mxfp8", "nvfp4"})
    follow(rounded(scratch, "compressed-tensors", scheme), {{"ingot"}, {"compressed-tensors"}}, true);
  follow(scratch / "mlx-mxfp4", {{"gguf"}, {"compressed-tensors"}}, false);  // where embeddings are plain
  const tensor::Model model = read_model(INGOT_TEST_DATA "/data/tiny-llama");
  for (const auto& [layout, scheme] : std::map<std::string, std::string>{
           {"mlx", "nvfp4-g32"}, {"compressed-tensors", "mxfp8-g64"}, {"gptq", "4bit-dq"}}) {
    ConvertOptions options;
    options.to = layout;
    options.write.scheme = scheme;
    CHECK_THROWS_AS((void)forecast(model, options), Error);
  }
}

TEST_CASE("nvfp4_global_scales_that_divide_become_ones_that_multiply") {
  const test::TemporaryDirectory scratch;
  ConvertOptions options;
  options.allow = ProofClass::codes;
  options.write.sync = false;
  const std::filesystem::path modelopt = INGOT_TEST_DATA "/golden/foreign/fp8/modelopt_nvfp4";
  options.to = "compressed-tensors";
  const ConversionReport there = convert(read_model(modelopt), scratch / "there", options);
  options.to = "nvfp4";
  const ConversionReport back = convert(read_model(scratch / "there"), scratch / "back", options);
  for (const ConversionReport* report : {&there, &back}) {
    std::size_t codes = 0;
    for (const TensorOutcome& outcome : report->forecast.tensors) {
      CHECK(outcome.forecast <= ProofClass::codes);
      codes += outcome.target_scheme.find("nvfp4") != std::string::npos;
    }
    CHECK(codes == 2);
    for (const TensorProof& proof : report->proofs) CHECK(proof.worst_error_steps < 1e-5);
  }
}

TEST_CASE("codes_without_a_gguf_type_are_rounded_to_q8_0_by_consent") {
  const test::TemporaryDirectory scratch;
  for (const auto& [layout, scheme] :
       std::map<std::string, std::string>{{"bnb", "nf4"}, {"fp8", "fp8-row"}, {"mlx", "mxfp8"}}) {
    CAPTURE(layout);
    const tensor::Model model = read_model(rounded(scratch, layout, scheme));
    ConvertOptions options;
    options.to = "gguf";
    options.write.sync = false;
    std::size_t lossy = 0;
    for (const TensorOutcome& outcome : forecast(model, options).tensors) {
      if (outcome.forecast != ProofClass::requantized) continue;
      ++lossy;
      CHECK(outcome.target_scheme == "Q8_0");
      CHECK(outcome.reason.find("no GGUF type holds") != std::string::npos);
    }
    CHECK(lossy == coded(model));
    CHECK_THROWS_AS((void)convert(model, scratch / "never.gguf", options), Error);
    options.allow = ProofClass::requantized;
    CHECK(convert(model, scratch.path() / (layout + ".gguf"), options).proven);
  }
}

TEST_CASE("wide_sub_scales_of_iq4_xs_keep_their_codes_in_iq4_nl") {
  const test::TemporaryDirectory scratch;
  tensor::Model model;
  model.config.architecture = "llama";
  model.layout = "gguf";
  tensor::Tensor tensor;
  tensor.name = "model.layers.0.mlp.up_proj.weight";
  tensor.shape = {16, 256};
  tensor.scheme.codes = {tensor::CodeKind::table, tensor::DType::u4, "iq4nl"};
  tensor.scheme.scales = {{.type = tensor::DType::i8, .block = {1, 32}},
                          {.type = tensor::DType::f16, .block = {1, 256}}};
  tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);
  std::vector<std::vector<std::byte>> planes;
  for (const tensor::PlaneSpec& spec : tensor.plane_specs()) {
    std::vector<std::byte>& plane = planes.emplace_back();
    for (std::uint64_t i = 0; i < spec.total_bytes; ++i)  // scales of 0x3555 or so: eleven bits, times up to six
      plane.push_back(static_cast<std::byte>(spec.role == "scales_1" ? (i % 2 == 0 ? 0x55 : 0x35) : i * 37 + 11));
  }
  tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
  model.tensors.push_back(tensor);
  ConvertOptions options;
  options.to = "gguf";
  options.write.scheme = "iq4_nl";
  options.write.sync = false;
  options.allow = ProofClass::codes;
  const ConversionReport report = convert(model, scratch / "out.gguf", options);
  REQUIRE(report.proofs.size() == 1);
  CHECK(report.forecast.tensors[0].forecast == ProofClass::codes);
  CHECK(report.proofs[0].reached == ProofClass::codes);
  CHECK(report.proofs[0].worst_error_steps > 0);
}

TEST_CASE("a_named_scheme_wins_over_kept_codes_and_needs_consent") {
  const test::TemporaryDirectory scratch;
  const tensor::Model model = read_model(rounded(scratch, "gptq", "4bit"));
  ConvertOptions options;
  options.to = "gptq";
  options.allow = ProofClass::requantized;
  for (const TensorOutcome& outcome : forecast(model, options).tensors) CHECK(outcome.forecast == ProofClass::exact);
  options.write.scheme = "8bit";  // wider codes hold the narrower ones
  for (const TensorOutcome& outcome : forecast(model, options).tensors) CHECK(outcome.forecast == ProofClass::exact);
  options.write.scheme = "4bit-g32";  // groups are split
  for (const TensorOutcome& outcome : forecast(model, options).tensors) CHECK(outcome.forecast == ProofClass::exact);
  options.write.scheme = "2bit";
  std::size_t lossy = 0;
  for (const TensorOutcome& outcome : forecast(model, options).tensors)
    lossy += outcome.forecast == ProofClass::requantized;
  CHECK(lossy == coded(model));
  options.allow = ProofClass::codes;
  CHECK_THROWS_AS((void)convert(model, scratch / "never", options), Error);
  options.write.keep = "down_proj";
  lossy = 0;
  for (const TensorOutcome& outcome : forecast(model, options).tensors) lossy += outcome.forecast != ProofClass::exact;
  CHECK(lossy == coded(model) - 4);
}

TEST_CASE("exact_forms_win_over_smaller_ones_whatever_is_allowed") {
  const test::TemporaryDirectory scratch;
  const tensor::Model model = read_model(rounded(scratch, "gptq", "4bit-g32-asym"));
  ConvertOptions options;
  options.to = "gguf";
  for (const ProofClass allow : {ProofClass::exact, ProofClass::codes, ProofClass::requantized}) {
    options.allow = allow;
    for (const TensorOutcome& outcome : forecast(model, options).tensors) CHECK(outcome.forecast == ProofClass::exact);
  }
}

}  // namespace
}  // namespace ingot::convert

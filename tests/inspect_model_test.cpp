// Overview, tensor detail and comparison of synthetic models.
#include <doctest/doctest.h>

#include <algorithm>

#include "container_models.h"
#include "inspect/conversion_text.h"
#include "inspect/model_diff.h"
#include "inspect/overview.h"
#include "inspect/tensor_detail.h"

namespace ingot::inspect {

TEST_CASE("overview_shows_every_scheme_and_is_valid_json") {
  const tensor::Model model = test::make_model_of_all_schemes();
  const std::string text = overview_text(model, {"ingot", {}, {}}, false, {});
  const Json json = parse_json(pretty_json(overview_json(model, {"ingot", {}, {}})), "overview");
  REQUIRE(json.at("tensors", "").as_array("").size() == model.tensors.size());
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    const tensor::Tensor& tensor = model.tensors[i];
    CAPTURE(tensor.name);
    CHECK(text.find(tensor.name) != std::string::npos);
    CHECK(text.find(tensor::describe(tensor.scheme)) != std::string::npos);
    const Json& entry = json.at("tensors", "").as_array("")[i];
    CHECK(entry.at("name", "").as_string("") == tensor.name);
    CHECK(tensor::scheme_from_json(entry.at("scheme", ""), "") == tensor.scheme);
    bytes += entry.at("bytes", "").as_u64("");
  }
  std::uint64_t total = 0;
  for (const Json& entry : json.at("totals", "").as_array("")) total += entry.at("bytes", "").as_u64("");
  CHECK(total == bytes);
}

TEST_CASE("overview_names_the_types_of_the_source") {
  tensor::Model model = test::make_model_of_all_schemes();
  model.source.reset();
  tensor::Source source;
  source.layout = "gguf";
  source.files.resize(1);
  for (const auto& [tensor, part] : {std::pair{0, "IQ2_XXS"}, std::pair{1, "raw"}}) {
    tensor::Segment segment;
    segment.kind = tensor::Segment::Kind::tensor;
    segment.tensor = model.tensors[static_cast<std::size_t>(tensor)].name;
    segment.part = part;
    source.files[0].segments.push_back(segment);
  }
  CHECK(overview_text(model, {"ingot", {}, {}}, true, {}).find("IQ2_XXS") == std::string::npos);
  model.source = source;
  const std::string text = overview_text(model, {"ingot", {}, {}}, true, {});
  CHECK(text.find("IN THE SOURCE") != std::string::npos);
  CHECK(text.find("IQ2_XXS") != std::string::npos);
  CHECK(text.find("raw") == std::string::npos);
  std::size_t named = 0;
  for (const SchemeTotal& total : totals_by_scheme(model)) named += total.source_types.size();
  CHECK(named == 1);
}

TEST_CASE("overview_fits_the_width") {
  const tensor::Model model = test::make_model_of_all_schemes();
  for (const std::uint32_t width : {80u, 120u}) {
    const std::string text = overview_text(model, {"ingot", {}, {}}, true, {width, false});
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = text.find('\n', begin);
      CHECK(display_width(text.substr(begin, end - begin)) <= width);
      begin = end + 1;
    }
  }
}

TEST_CASE("overview_does_not_let_names_control_the_terminal") {
  tensor::Model model = test::make_small_model();
  model.tensors[0].name = "evil\033[2J";
  model.metadata["key\n"] = "\033]0;title\a";
  const std::string text = overview_text(model, {"ingot", {}, {}}, true, {80, false});
  CHECK(text.find('\033') == std::string::npos);
  CHECK(text.find('\a') == std::string::npos);
}

TEST_CASE("tensor_detail_works_for_every_scheme") {
  for (const test::SourceKind kind : {test::SourceKind::views, test::SourceKind::streamed}) {
    const tensor::Model model = test::make_model_of_all_schemes(kind);
    for (const tensor::Tensor& tensor : model.tensors) {
      CAPTURE(tensor.name);
      const TensorDetail detail = tensor_detail(tensor);
      CHECK(detail.planes.size() == tensor.plane_specs().size());
      CHECK(!tensor_detail_text(detail, {80, false}).empty());
      CHECK(parse_json(pretty_json(tensor_detail_json(detail)), "detail").at("planes", "").as_array("").size() ==
            detail.planes.size());
    }
  }
}

TEST_CASE("tensor_detail_shows_the_stored_numbers") {
  tensor::Tensor tensor;
  tensor.name = "w";
  tensor.shape = {16, 8};
  tensor.scheme.codes = {tensor::CodeKind::number, tensor::DType::u4, {}};
  tensor.scheme.scales.push_back({tensor::DType::f16, {1, 4}});
  tensor.scheme.offset = {tensor::OffsetKind::zero_points, 0, {{tensor::DType::u4, {1, 4}}}};
  tensor.packing = tensor::Packing::tiles;
  // Row 0: codes 0..7, scales 1 and 0.5 (float16 0x3C00, 0x3800), zero points 2 and 3; the other rows are zero.
  std::vector<std::vector<std::byte>> planes(3);
  planes[0].resize(64);
  const std::byte word[] = {std::byte{0x10}, std::byte{0x32}, std::byte{0x54}, std::byte{0x76}};
  std::copy(std::begin(word), std::end(word), planes[0].begin());
  planes[1].resize(2 * 16 * 2);
  planes[1][1] = std::byte{0x3C};
  planes[1][32 + 1] = std::byte{0x38};
  planes[2].resize(2 * 8);
  planes[2][0] = std::byte{2};
  planes[2][8] = std::byte{3};
  tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
  const TensorDetail detail = tensor_detail(tensor);
  REQUIRE(detail.planes.size() == 3);
  CHECK(detail.planes[0].first == std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(detail.planes[1].first == std::vector<double>{1, 0.5});
  CHECK(detail.planes[2].first == std::vector<double>{2, 3});
  CHECK(detail.first_values == std::vector<float>{-2, -1, 0, 1, 0.5f, 1, 1.5f, 2});
  CHECK(detail.statistics.minimum == -2);
  CHECK(detail.statistics.maximum == 2);
}

TEST_CASE("compare_models_names_every_kind_of_difference") {
  const tensor::Model a = test::make_model_of_all_schemes();
  tensor::Model b = a;
  CHECK(compare_models(a, b, Depth::values, {}).identical());
  CHECK(compare_models(a, b, Depth::fingerprints, {}).values_equal());

  b.tensors.erase(b.tensors.begin() + 2);  // only in a
  tensor::Tensor extra = b.tensors[0];
  extra.name = "extra";
  b.tensors.push_back(extra);  // only in b
  b.tensors[0] =
      test::make_tensor(a.tensors[0].name, a.tensors[0].shape, a.tensors[0].scheme, a.tensors[0].packing, 99);
  b.tensors[1].name = "renamed";
  tensor::Tensor reshaped =
      test::make_tensor(a.tensors[1].name, {1}, tensor::Scheme::plain(tensor::DType::f32), tensor::Packing::rows, 1);
  b.tensors.push_back(reshaped);
  b.metadata["new"] = "value";
  b.config.layer_count = 77;
  for (const Depth depth : {Depth::fingerprints, Depth::values}) {
    const ModelDifference difference = compare_models(a, b, depth, {});
    CHECK(!difference.values_equal());
    CHECK(difference.count(Relation::different) == 1);
    CHECK(difference.count(Relation::other_shape) == 1);
    CHECK(difference.count(Relation::only_in_a) == 1);
    CHECK(difference.count(Relation::only_in_b) == 2);
    REQUIRE(difference.metadata.size() == 1);
    CHECK(difference.metadata[0].key == "new");
    REQUIRE(difference.config.size() == 1);
    CHECK(difference.config[0].key == "layer_count");
    CHECK(difference_text(difference, true, {80, false}).find("extra") != std::string::npos);
    CHECK(equality_text(difference, {80, false}).find("not equal") == 0);
    CHECK(!parse_json(pretty_json(difference_json(difference, depth)), "diff").at("values_equal", "").as_bool(""));
  }
}

TEST_CASE("settings_that_say_the_same_as_their_absence_are_no_difference") {
  tensor::Model a = test::make_small_model();
  a.config.layer_count = 2;
  a.config.head_dim = 64;
  tensor::Model b = a;
  b.config.torch_dtype = "float16";
  b.config.rope_layers = {true, true};
  b.config.sliding_layers = {true, true};
  b.config.rotary_dim = 64;
  b.config.attention_scale = 0.125;
  CHECK(compare_models(a, b, Depth::fingerprints, {}).config.empty());
  b.config.rope_layers = {true, false};
  b.config.sliding_layers = {false, true};
  b.config.sliding_window = 8;
  b.config.rotary_dim = 32;
  b.config.attention_scale = 0.25;
  b.config.activation = "gelu";
  CHECK(compare_models(a, b, Depth::fingerprints, {}).config.size() == 6);
}

TEST_CASE("order_of_the_tokens_that_end_a_text_is_no_difference") {
  tensor::Model a = test::make_small_model();
  if (!a.tokenizer) a.tokenizer.emplace();
  a.tokenizer->end_of_generation = {0, 2};
  tensor::Model b = a;
  b.tokenizer->end_of_generation = {2, 0};
  CHECK(compare_models(a, b, Depth::fingerprints, {}).tokenizer.empty());
  b.tokenizer->end_of_generation = {2};
  CHECK(compare_models(a, b, Depth::fingerprints, {}).tokenizer.size() == 1);
}

TEST_CASE("derived_tensors_may_be_missing_on_one_side") {
  const tensor::Model a = test::make_small_model();
  tensor::Model b = a;
  tensor::Tensor derived = a.tensors[0];
  derived.name = "rope_freqs.weight";
  derived.derived = true;
  b.tensors.push_back(derived);
  CHECK(compare_models(a, b, Depth::fingerprints, {}).values_equal());
  CHECK(compare_models(b, a, Depth::fingerprints, {}).values_equal());
}

TEST_CASE("forecast_is_grouped_and_gives_reasons") {
  convert::Forecast forecast;
  for (int i = 0; i < 3; ++i) {
    convert::TensorOutcome outcome;
    outcome.name = "w" + std::to_string(i);
    outcome.forecast = i == 2 ? convert::ProofClass::requantized : convert::ProofClass::exact;
    outcome.source_scheme = "bf16";
    outcome.target_scheme = i == 2 ? "Q8_0" : "F32";
    outcome.source_bytes = 1000;
    outcome.target_bytes = 2000;
    if (i == 2) outcome.reason = "because";
    forecast.tensors.push_back(outcome);
  }
  const std::string text = forecast_text(forecast, {});
  CHECK(text.find("bf16  F32   exact              2   2.00 kB    4.00 kB") != std::string::npos);
  CHECK(text.find("requantized: w2: because") != std::string::npos);
  CHECK(parse_json(pretty_json(forecast_json(forecast, 0)), "forecast").at("tensors", "").as_array("").size() == 3);
}

TEST_CASE("forecast_of_many_tensors_stays_short") {
  convert::Forecast forecast;
  const auto add = [&](const std::string& name, convert::ProofClass proof, const std::string& reason) {
    convert::TensorOutcome outcome;
    outcome.name = name;
    outcome.forecast = proof;
    outcome.source_scheme = "u4_g128_f16_zp";
    outcome.target_scheme = "Q4_1";
    outcome.reason = reason;
    forecast.tensors.push_back(std::move(outcome));
  };
  using enum convert::ProofClass;
  for (int i = 0; i < 300; ++i) {
    const std::string name = "layers." + std::to_string(i) + ".q_proj.weight", number = std::to_string(i);
    add(name, codes, "zero point -" + number + ".25 in columns 0 to 127 of row " + number + " is not whole");
    add(name + "_2", requantized, "another tensor has its name " + name + "_2");
    add(name + "_3", codes, "the same for all: q4_0");
    if (i < 10) add(name + "_4", codes, std::string(static_cast<std::size_t>(i) + 1, 'x'));
  }
  const std::string text = forecast_text(forecast, {});
  CHECK(std::count(text.begin(), text.end(), '\n') == 5 + 6 + 1);  // table, reasons, those beyond
  CHECK(text.find("Q4_1  codes            610 ") != std::string::npos);
  CHECK(text.find("requantized: layers.0.q_proj.weight_2 and 299 more, for example: another tensor has its name "
                  "layers.0.q_proj.weight_2\n") != std::string::npos);
  CHECK(
      text.find("codes: layers.0.q_proj.weight and 299 more, for example: zero point -0.25 in columns 0 to 127 of row "
                "0 is not whole\n") != std::string::npos);
  CHECK(text.find("codes: layers.0.q_proj.weight_3 and 299 more: the same for all: q4_0\n") != std::string::npos);
  CHECK(text.find("and 7 other reasons for 7 tensors (--json lists every tensor)\n") != std::string::npos);
  const Json json = forecast_json(forecast, 0);
  CHECK(json.at("tensors", "").as_array("").size() == 910);
  CHECK(json.at("tensors", "").as_array("")[898].at("reason", "").as_string("").find("row 296") != std::string::npos);
}

}  // namespace ingot::inspect

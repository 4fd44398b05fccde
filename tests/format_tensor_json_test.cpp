// JSON forms, printed forms and validation of schemes, transforms, configurations and tokenizers.
#include <doctest/doctest.h>

#include "expect_error.h"
#include "format/tensor/dtype.h"
#include "format/tensor/model.h"
#include "format/tensor/tables.h"

namespace ingot::tensor {
namespace {

Scheme parse(std::string_view text) { return scheme_from_json(parse_json(text, "test"), "test"); }

bool rejects(std::string_view text, ErrorKind kind = ErrorKind::invalid_value) {
  return test::throws_kind(kind, [&] { (void)parse(text); });
}

struct Example {
  std::string_view json;  // canonical
  std::string_view described;
  std::string_view family;
};

constexpr Example kExamples[] = {
    {R"({"codes":{"kind":"number","type":"bf16"}})", "bf16", "float"},
    {R"({"codes":{"kind":"opaque","type":"c64"}})", "c64", "float"},
    {R"({"codes":{"kind":"number","type":"u4"},"offset":{"kind":"zero","zero":8},"scales":[{"block":[1,128],"type":"f16"}]})",
     "u4_g128_f16_z8", "affine"},
    {R"({"codes":{"kind":"number","type":"u4"},"offset":{"kind":"minimum","levels":[{"block":[1,32],"type":"u8"},{"block":[1,256],"type":"f16"}]},)"
     R"("scales":[{"block":[1,32],"type":"u8"},{"block":[1,256],"type":"f16"}]})",
     "u4_g32_u8xf16_min", "two_level"},
    {R"({"codes":{"kind":"table","table":"nf4","type":"u4"},"flat":64,"scales":[{"block":[1,0],"type":"f32"}]})",
     "nf4_flat64_f32", "table"},
    {R"({"codes":{"kind":"table","table":"nf4","type":"u4"},"flat":64,"rounded_scale":true,"scale_offset":true,)"
     R"("scales":[{"block":[1,0],"custom_table":true,"type":"u8"},{"block":[256,0],"type":"f32"}]})",
     "nf4_flat64_u8xf32", "table"},
    {R"({"codes":{"kind":"number","type":"e4m3"},"scales":[{"block":[128,128],"type":"f32"}]})", "e4m3_128x128_f32",
     "microscaling"},
    {R"({"codes":{"kind":"number","type":"e2m1"},"scales":[{"block":[1,16],"type":"e4m3"},{"block":[0,0],"type":"f32"}]})",
     "e2m1_g16_e4m3xf32", "microscaling"},
    {R"({"codes":{"kind":"number","type":"u4"},"offset":{"kind":"zero_points","levels":[{"add":1,"block":[1,64],"type":"u4"}]},)"
     R"("order":"group_index","scales":[{"block":[1,64],"type":"f16"}]})",
     "u4_g64_f16_zp_gidx", "affine"},
    {R"({"codes":{"kind":"number","type":"u8"},"offset":{"kind":"bias","levels":[{"block":[1,64],"type":"bf16"}]},"order":"permutation",)"
     R"("scales":[{"block":[1,64],"type":"bf16"}]})",
     "u8_g64_bf16_bias_perm", "affine"},
    {R"({"codes":{"kind":"number","type":"i8"},"scales":[{"block":[1,0],"type":"f32"}]})", "i8_row_f32", "affine"},
    {R"({"codes":{"kind":"number","type":"i8"},"scales":[{"block":[0,0],"type":"f32"}]})", "i8_tensor_f32", "affine"},
    {R"({"codes":{"kind":"table","table":"iq4nl","type":"u4"},"scales":[{"block":[1,32],"type":"i8"},{"block":[1,256],"type":"f16"}]})",
     "iq4nl_g32_i8xf16", "two_level"},
    {R"({"codes":{"kind":"table","table":"custom","type":"u3"},"scales":[{"block":[1,32],"type":"f16"}]})",
     "custom_u3_g32_f16", "table"},
    {R"({"codes":{"kind":"grid","table":"iq2_xxs","type":"u8"},"scales":[{"add":1,"block":[1,32],"multiply":2,"type":"u4"},)"
     R"({"block":[1,256],"type":"f16"}],"shift":-3})",
     "iq2_xxs_g32_u4xf16", "grid"},
    {R"({"codes":{"kind":"grid","table":"iq1_s","type":"u11"},"offset":{"kind":"zero_points","levels":[{"add":-1,"block":[1,8],)"
     R"("multiply":2,"type":"u1"}]},"scales":[{"add":1,"block":[1,16],"multiply":2,"type":"u3"},{"block":[1,256],"type":"f16"}],"shift":-3})",
     "iq1_s_g16_u3xf16_zp", "grid"},
    {R"({"codes":{"kind":"number","type":"e2m1"},"rounded_scale":true,)"
     R"("scales":[{"block":[1,16],"type":"e4m3"},{"block":[0,0],"divide":true,"type":"f32"}]})",
     "e2m1_g16_e4m3/f32", "microscaling"},
    {R"({"codes":{"kind":"number","type":"i8"},"rounded_scale":true,"scales":[{"block":[1,0],"divide":true,"type":"f32"}]})",
     "i8_row_1/f32", "affine"},
    {R"({"codes":{"kind":"number","type":"i8"},"rounded_steps":true,"scales":[{"block":[1,0],"type":"f32"},{"block":[0,0],"type":"f32"}]})",
     "i8_row_f32xf32_steps", "stepped"},
    {R"({"codes":{"kind":"number","type":"u4"},"offset":{"kind":"zero_points","levels":[{"block":[1,64],"type":"bf16"}]},)"
     R"("scales":[{"block":[1,64],"type":"bf16"}]})",
     "u4_g64_bf16_fzp", "affine"},
};

}  // namespace

TEST_CASE("schemes_survive_json_and_print_as_documented") {
  for (const Example& example : kExamples) {
    CAPTURE(example.json);
    const Scheme scheme = parse(example.json);
    CHECK(canonical_json(to_json(scheme)) == example.json);
    CHECK(parse(canonical_json(to_json(scheme))) == scheme);
    CHECK(describe(scheme) == example.described);
    REQUIRE(family(scheme) != nullptr);
    CHECK(family(scheme)->name == example.family);
  }
}

TEST_CASE("defaults_may_be_spelled_out") {
  CHECK(
      parse(
          R"({"codes":{"kind":"number","type":"f16"},"scales":[],"rounded_scale":false,"scale_offset":false,"shift":0,"flat":0})") ==
      Scheme::plain(DType::f16));
}

TEST_CASE("every_family_has_a_page_and_a_unique_name") {
  for (std::size_t i = 0; i < families().size(); ++i) {
    CHECK(families()[i]->spec_page == "spec/schemes/" + std::string(families()[i]->name) + ".md");
    for (std::size_t j = 0; j < i; ++j) CHECK(families()[j]->name != families()[i]->name);
  }
  CHECK(families().size() == 7);
}

TEST_CASE("forbidden_schemes_are_refused") {
  const auto with = [](std::string_view rest, std::string_view type = "u4") {
    return R"({"codes":{"kind":"number","type":")" + std::string(type) + R"("},)" + std::string(rest) + "}";
  };
  const std::string scale = R"("scales":[{"block":[1,32],"type":"f16"}])";
  CHECK_FALSE(rejects(with(scale)));
  CHECK(rejects(R"({})"));
  CHECK(rejects(R"([])"));
  CHECK(rejects(R"({"codes":{"kind":"number","type":"u9"}})"));
  CHECK(rejects(R"({"codes":{"kind":"digit","type":"u4"}})"));
  CHECK(rejects(R"({"codes":{"kind":"number","type":"u4","table":"nf4"}})"));
  CHECK(rejects(R"({"codes":{"kind":"number","type":"c64"}})"));
  CHECK(rejects(R"({"codes":{"kind":"table","type":"u4"}})"));
  CHECK(rejects(R"({"codes":{"kind":"table","type":"u16","table":"custom"}})"));
  CHECK(rejects(R"({"codes":{"kind":"table","type":"i8","table":"custom"}})"));
  CHECK(rejects(R"({"codes":{"kind":"table","type":"u3","table":"nf4"}})"));
  CHECK(rejects(R"({"codes":{"kind":"table","type":"u4","table":"nf5"}})"));
  CHECK(rejects(R"({"codes":{"kind":"grid","type":"u4","table":"iq2_xxs"}})"));
  CHECK(rejects(R"({"codes":{"kind":"grid","type":"u16","table":"iq2_xs"}})"));
  CHECK(rejects(R"({"codes":{"kind":"table","type":"u9","table":"custom"}})"));
  CHECK(rejects(R"({"codes":{"kind":"opaque","type":"u9"}})"));
  CHECK(rejects(with(R"("scales":[{"block":[1,32],"type":"u9"}])")));
  CHECK(rejects(R"({"codes":{"kind":"opaque","type":"c64"},"scales":[{"block":[1,0],"type":"f32"}]})"));
  CHECK(rejects(with(R"("unknown":1)")));
  CHECK(rejects(with(R"("scales":[{"block":[1],"type":"f16"}])")));
  CHECK(rejects(with(R"("scales":[{"block":[1,-1],"type":"f16"}])")));
  CHECK(rejects(with(R"("scales":[{"block":[1,4294967296],"type":"f16"}])")));
  CHECK(rejects(with(R"("scales":[{"block":[1,32],"type":"f64"}])")));
  CHECK(rejects(with(R"("scales":[{"block":[1,32],"type":"f16","custom_table":true}])")));
  CHECK(rejects(with(R"("scales":[{"block":[1,32],"type":"u8","multiply":0}])")));
  CHECK(rejects(with(R"("scales":[{"block":[1,32],"type":"f16","multiply":2}])")));
  CHECK(rejects(with(R"("scales":[{"block":[1,32],"type":"f16","add":1}])")));
  CHECK(rejects(with(R"("scales":[{"block":[1,32],"type":"u8","add":100000}])")));
  CHECK(rejects(with(R"("rounded_scale":true)")));
  CHECK(rejects(with(scale + R"(,"scale_offset":true)")));
  CHECK(rejects(with(scale + R"(,"shift":65)")));
  CHECK(rejects(with(scale + R"(,"offset":{"kind":"zero","zero":129})")));
  CHECK(rejects(with(scale + R"(,"offset":{"kind":"zero"})")));
  CHECK(rejects(with(scale + R"(,"offset":{"kind":"bias"})")));
  CHECK(rejects(with(scale + R"(,"offset":{"kind":"bias","levels":[{"block":[1,32],"type":"u8"}]})")));
  for (const std::string type : {"f16", "bf16", "f32", "i32"})
    CHECK_FALSE(rejects(
        with(scale + R"(,"offset":{"kind":"zero_points","levels":[{"block":[1,32],"type":")" + type + R"("}]})")));
  for (const std::string type : {"e4m3", "e2m1", "e8m0", "f64"})
    CHECK(rejects(
        with(scale + R"(,"offset":{"kind":"zero_points","levels":[{"block":[1,32],"type":")" + type + R"("}]})")));
  CHECK(rejects(with(R"("rounded_steps":true)")));
  CHECK(rejects(with(scale + R"(,"rounded_steps":true,"rounded_scale":true)")));
  CHECK(rejects(with(scale + R"(,"rounded_steps":true,"scale_offset":true)")));
  CHECK(rejects(with(scale + R"(,"rounded_steps":true,"shift":1)")));
  CHECK(rejects(with(scale + R"(,"rounded_steps":1)")));
  const std::string divisor = R"("scales":[{"block":[1,32],"divide":true,"type":"f32"}])";
  CHECK_FALSE(rejects(with(divisor + R"(,"rounded_scale":true)")));
  CHECK(rejects(with(divisor)));
  CHECK(rejects(with(divisor + R"(,"rounded_steps":true)")));
  CHECK(rejects(with(R"("rounded_scale":true,"scales":[{"block":[1,32],"divide":true,"type":"u8"}])")));
  CHECK(rejects(
      with(R"("rounded_scale":true,"scales":[{"block":[1,32],"custom_table":true,"divide":true,"type":"u8"}])")));
  CHECK(rejects(with(
      scale +
      R"(,"rounded_scale":true,"offset":{"kind":"bias","levels":[{"block":[1,32],"divide":true,"type":"f32"}]})")));
  CHECK(rejects(with(scale + R"(,"offset":{"kind":"minimum","zero":3,"levels":[{"block":[1,32],"type":"f16"}]})")));
  CHECK(rejects(with(scale + R"(,"order":"reversed")")));
  CHECK(rejects(with(scale + R"(,"flat":64)")));
  CHECK(rejects(with(R"("flat":64,"order":"permutation")")));
  CHECK(rejects(with(scale, "f64")));
  const std::string four = R"({"block":[1,32],"type":"u8"})";
  CHECK(rejects(with(R"("scales":[)" + four + "," + four + "," + four + "," + four + "]"), ErrorKind::limit_exceeded));
  CHECK(rejects(with(scale + R"(,"offset":{"kind":"minimum","levels":[)" + four + "," + four + "," + four + "]}"),
                ErrorKind::limit_exceeded));
}

TEST_CASE("transforms_survive_json") {
  const std::vector<Transform> transforms = {
      {TransformKind::rope_interleave, 9}, {TransformKind::transpose, 0}, {TransformKind::add_one, 0}};
  const std::string text = canonical_json(to_json(transforms));
  CHECK(text == R"([{"heads":9,"kind":"rope_interleave"},{"kind":"transpose"},{"kind":"add_one"}])");
  CHECK(transforms_from_json(parse_json(text, "test"), "test") == transforms);
  for (const std::string_view bad : {R"([{"kind":"mirror"}])", R"([{"kind":"rope_interleave"}])",
                                     R"([{"kind":"transpose","heads":2}])", R"({})", R"([3])"}) {
    CHECK(test::throws_kind(ErrorKind::invalid_value,
                            [&] { (void)transforms_from_json(parse_json(bad, "test"), "test"); }));
  }
  const std::string five =
      R"([{"kind":"add_one"},{"kind":"add_one"},{"kind":"add_one"},{"kind":"add_one"},{"kind":"add_one"}])";
  CHECK(test::throws_kind(ErrorKind::limit_exceeded,
                          [&] { (void)transforms_from_json(parse_json(five, "test"), "test"); }));
}

TEST_CASE("model_configurations_survive_json") {
  ModelConfig config;
  CHECK(canonical_json(to_json(config)) == "{}");
  config.architecture = "gemma3";
  config.vocab_size = 262144;
  config.norm_epsilon = 1e-6;
  config.rope_theta = 1000000.1;
  config.rope_scaling.type = "longrope";
  config.rope_scaling.long_factor = {1.5, 1.0 / 3};
  config.sliding_layers = {true, false, true};
  config.tied_embeddings = true;
  const std::string text = canonical_json(to_json(config));
  CHECK(text.find(R"("norm_epsilon":"1e-06")") != std::string::npos);
  CHECK(model_config_from_json(parse_json(text, "test"), "test") == config);
  for (const std::string_view bad :
       {R"({"norm_epsilon":"x"})", R"({"norm_epsilon":"1e999"})", R"({"norm_epsilon":"nan"})", R"({"norm_epsilon":""})",
        R"({"norm_epsilon":1})", R"({"vocab_size":"3"})", R"({"colour":"red"})", R"({"rope_scaling":{"odd":1}})"}) {
    CAPTURE(bad);
    CHECK(test::throws_kind(ErrorKind::invalid_value,
                            [&] { (void)model_config_from_json(parse_json(bad, "test"), "test"); }));
  }
}

TEST_CASE("tokenizers_survive_json_with_texts_that_are_no_utf8") {
  TokenizerSpec spec;
  spec.kind = TokenizerKind::spm_bpe;
  spec.tokens = {"<unk>", "\xE2\x96\x81the", "\xFF\xFE", "", "\xC0\x80", "\xED\xA0\x80"};
  spec.scores = {0, -1.5f, 3.4e38f, 1e-45f, 0.1f, -0.0f};
  spec.types = {TokenType::unknown, TokenType::normal,  TokenType::byte,
                TokenType::unused,  TokenType::control, TokenType::user_defined};
  spec.merges = {"a b", "\xFF c"};
  spec.added = {{4, "\xC0\x80", true, false, true, false, true}};
  spec.normalizer = {{"replace", " ", "\xE2\x96\x81"}};
  spec.pre_tokenizers = {{"regex", "llama3", "(?i:'s)", false, true, "first"}};
  spec.byte_fallback = true;
  spec.bos = 0;
  spec.end_of_generation = {3, 4};
  spec.chat_template = "{{ bos_token }}";
  const std::string text = canonical_json(to_json(spec));
  CHECK(text.find(R"({"hex":"fffe"})") != std::string::npos);
  CHECK(text.find(R"({"hex":"eda080"})") != std::string::npos);
  CHECK(tokenizer_spec_from_json(parse_json(text, "test"), "test") == spec);
  CHECK(canonical_json(to_json(TokenizerSpec{})) == R"({"kind":"byte_bpe","tokens":[]})");
  for (const std::string_view bad :
       {R"({"kind":"word","tokens":[]})", R"({"tokens":[]})", R"({"kind":"unigram","tokens":[{"hex":"0"}]})",
        R"({"kind":"unigram","tokens":[{"hex":"0G"}]})", R"({"kind":"unigram","tokens":["a"],"scores":["x"]})",
        R"({"kind":"unigram","tokens":["a"],"scores":["1","2"]})", R"({"kind":"unigram","tokens":["a"],"types":[7]})",
        R"({"kind":"unigram","tokens":["a"],"colour":1})", R"({"kind":"unigram","tokens":["a"],"bos":4294967296})",
        R"({"kind":"unigram","tokens":["a"],"added":[{"id":0}]})"}) {
    CAPTURE(bad);
    CHECK(test::throws_kind(ErrorKind::invalid_value,
                            [&] { (void)tokenizer_spec_from_json(parse_json(bad, "test"), "test"); }));
  }
}

TEST_CASE("models_find_tensors_through_aliases") {
  Model model;
  model.tensors.resize(2);
  model.tensors[0].name = "a";
  model.tensors[1].name = "b";
  model.aliases["head"] = "b";
  model.aliases["dangling"] = "c";
  model.attachments.push_back({"hf/config.json", {}, nullptr});
  CHECK(model.find("a") == &model.tensors[0]);
  CHECK(model.find("head") == &model.tensors[1]);
  CHECK(model.find("dangling") == nullptr);
  CHECK(model.find("") == nullptr);
  CHECK(model.find_attachment("hf/config.json") == &model.attachments[0]);
  CHECK(model.find_attachment("x") == nullptr);
}

TEST_CASE("element_type_names_lead_back_to_their_types") {
  for (int i = 0; i <= static_cast<int>(DType::c64); ++i) {
    const auto type = static_cast<DType>(i);
    CHECK(dtype_from_name(name(type)) == type);
  }
  CHECK_FALSE(dtype_from_name("F32"));
  CHECK(dense_bytes(DType::u3, 3) == 2);
  CHECK(dense_bytes(DType::u7, 8) == 7);
  CHECK(dense_bytes(DType::f64, 3) == 24);
  CHECK(test::throws_kind(ErrorKind::limit_exceeded, [] { (void)dense_bytes(DType::f64, ~std::uint64_t{0} / 4); }));
}

}  // namespace ingot::tensor

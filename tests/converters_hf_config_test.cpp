// config.json <-> ModelConfig. tests/golden/foreign/hf/configs.json holds what the configuration classes of
// transformers make of each text (make_configs.py beside it).
#include <doctest/doctest.h>

#include <cmath>

#include "converters/hf/config.h"
#include "converters/hf/model_card.h"
#include "format/base/mapped_file.h"

using namespace ingot;
using namespace ingot::convert;

namespace {

Json load(const std::string& file) {
  return parse_json(read_text_file(std::string(INGOT_TEST_DATA) + "/golden/foreign/hf/" + file, 1 << 24), file);
}

std::vector<bool> flags(const Json& json) {
  std::vector<bool> result;
  for (const Json& item : json.as_array("flags")) result.push_back(item.as_bool("flags"));
  return result;
}

std::vector<double> numbers(const Json& json) {
  std::vector<double> result;
  for (const Json& item : json.as_array("numbers")) result.push_back(item.as_double("numbers"));
  return result;
}

void check_fields(const tensor::ModelConfig& config, const Json& expected, const std::string& name) {
  INFO(name);
  const auto count = [&](std::string_view key) { return expected.at(key, name).as_u64(key); };
  const auto number = [&](std::string_view key) { return expected.at(key, name).as_double(key); };
  CHECK(config.architecture == expected.at("architecture", name).as_string(name));
  CHECK(config.vocab_size == count("vocab_size"));
  CHECK(config.hidden_size == count("hidden_size"));
  CHECK(config.intermediate_size == count("intermediate_size"));
  CHECK(config.layer_count == count("layer_count"));
  CHECK(config.head_count == count("head_count"));
  CHECK(config.kv_head_count == count("kv_head_count"));
  CHECK(config.head_dim == count("head_dim"));
  CHECK(config.context_length == count("context_length"));
  CHECK(config.norm_epsilon == number("norm_epsilon"));
  CHECK(config.rope_theta == number("rope_theta"));
  CHECK(config.rope_theta_local == number("rope_theta_local"));
  CHECK(config.rotary_dim == count("rotary_dim"));
  CHECK(config.rope_scaling.type == expected.at("rope_type", name).as_string(name));
  CHECK(config.rope_scaling.factor == number("rope_factor"));
  CHECK(config.rope_scaling.original_context_length == count("rope_original"));
  CHECK(config.rope_scaling.low_freq_factor == number("low_freq_factor"));
  CHECK(config.rope_scaling.high_freq_factor == number("high_freq_factor"));
  CHECK(config.rope_scaling.truncate == expected.at("truncate", name).as_bool(name));
  CHECK(config.rope_scaling.short_factor == numbers(expected.at("short_factor", name)));
  CHECK(config.sliding_window == count("sliding_window"));
  CHECK(config.sliding_layers == flags(expected.at("sliding_layers", name)));
  CHECK(config.rope_layers == flags(expected.at("rope_layers", name)));
  CHECK(std::abs(config.attention_scale - number("attention_scale")) < 1e-15);
  CHECK(config.attention_softcap == number("attention_softcap"));
  CHECK(config.final_softcap == number("final_softcap"));
  CHECK(config.attention_scale_by_layer == expected.at("attention_scale_by_layer", name).as_bool(name));
  CHECK(config.bidirectional_attention == expected.at("bidirectional_attention", name).as_bool(name));
  CHECK(config.activation == expected.at("activation", name).as_string(name));
  CHECK(config.tied_embeddings == expected.at("tied_embeddings", name).as_bool(name));
  CHECK(config.torch_dtype == expected.at("torch_dtype", name).as_string(name));
}

std::optional<ErrorKind> kind_of(const std::string& text) {
  try {
    (void)read_hf_config(parse_json(text, "config.json"), "config.json");
    return std::nullopt;
  } catch (const Error& error) {
    return error.kind;
  }
}

}  // namespace

TEST_CASE("an_absent_activation_is_the_one_of_the_class") {
  const auto activation = [](const std::string& type) {
    return read_hf_config(parse_json("{\"model_type\":\"" + type + "\"}", "config.json"), "config.json").activation;
  };
  CHECK(activation("llama") == "silu");
  CHECK(activation("gpt2") == "gelu_tanh");
  CHECK(activation("gemma3_text") == "gelu_tanh");
  CHECK(activation("unheard-of").empty());
}

TEST_CASE("hf_config_reads_what_transformers_reads") {
  const Json rows = load("configs.json");
  CHECK(rows.as_array("rows").size() >= 36);
  for (const Json& row : rows.as_array("rows")) {
    const std::string name = row.at("name", "row").as_string("name");
    check_fields(read_hf_config(row.at("config", name), name), row.at("expected", name), name);
  }
}

TEST_CASE("hf_config_survives_writing_and_reading") {
  const Json rows = load("configs.json");
  for (const Json& row : rows.as_array("rows")) {
    const std::string name = row.at("name", "row").as_string("name");
    INFO(name);
    tensor::Model model;
    model.config = read_hf_config(row.at("config", name), name);
    model.config.torch_dtype = "bfloat16";
    const Json written = parse_json(pretty_json(write_hf_config(model, "bfloat16")), name);
    const tensor::ModelConfig again = read_hf_config(written, name);
    CHECK(canonical_json(tensor::to_json(again)) == canonical_json(tensor::to_json(model.config)));
  }
}

TEST_CASE("hf_config_takes_biases_from_the_tensors") {
  tensor::Model model;
  model.config.architecture = "llama";
  CHECK_FALSE(write_hf_config(model, "float32").at("attention_bias", "config").as_bool("bias"));
  tensor::Tensor bias;
  bias.name = "model.layers.0.self_attn.q_proj.bias";
  model.tensors.push_back(bias);
  CHECK(write_hf_config(model, "float32").at("attention_bias", "config").as_bool("bias"));
}

TEST_CASE("hf_config_rejects_wrong_types_and_absurd_counts") {
  CHECK(kind_of(R"({"model_type":"llama","hidden_size":"64"})") == ErrorKind::invalid_value);
  CHECK(kind_of(R"({"model_type":"llama","hidden_size":-1})") == ErrorKind::invalid_value);
  CHECK(kind_of(R"({"model_type":"llama","num_hidden_layers":1000000})") == ErrorKind::limit_exceeded);
  CHECK(
      kind_of(
          R"({"model_type":"qwen2","num_hidden_layers":2,"use_sliding_window":true,"sliding_window":4,"layer_types":["full_attention"]})") ==
      ErrorKind::invalid_value);
  CHECK(kind_of("[]") == ErrorKind::invalid_value);
  CHECK_FALSE(kind_of(R"({"model_type":"somebody_elses","hidden_size":[1,2]})").has_value());
  CHECK_FALSE(kind_of("{}").has_value());
}

TEST_CASE("hf_config_names_the_quantization_method") {
  const auto method = [](const std::string& text) { return hf_quantization_method(parse_json(text, "config.json")); };
  CHECK(method("{}") == "");
  CHECK(method(R"({"quantization_config":null})") == "");
  CHECK(method(R"({"quantization_config":{"quant_method":"gptq","bits":4}})") == "gptq");
  CHECK(method(R"({"quantization":{"group_size":64,"bits":4}})") == "mlx");
  CHECK(method(R"({"quantization":{"bits":4},"quantization_config":{"bits":4}})") == "mlx");
  CHECK(method(R"({"quantization_config":{"bits":4}})") == "unnamed");
}

TEST_CASE("model_cards_carry_the_names_and_the_licence") {
  tensor::Model model;
  CHECK(write_model_card(model).empty());
  model.metadata = {
      {"general.name", "A \"quoted\" name: # one"}, {"general.license.name", "own"}, {"general.type", "model"}};
  const std::string card = write_model_card(model);
  CHECK(card == "---\nname: \"A \\\"quoted\\\" name: # one\"\nlicense_name: \"own\"\n---\n");
  tensor::Model home;
  read_model_card(card, home);
  model.metadata.erase("general.type");  // no word of a card
  CHECK(home.metadata == model.metadata);
}

/// Of what tests/golden/foreign/hf/model_cards/make_cards.py made with PyYAML.
TEST_CASE("model_cards_are_read_as_yaml_or_passed_over_and_written_as_yaml") {
  const Json expected = load("model_cards/expected.json");
  int names = 0, licences = 0;
  for (const Json& one : expected.at("read", "").as_array("")) {
    const std::string card = one.at("card", "").as_string("");
    CAPTURE(card);
    const Json& facts = one.at("facts", "");
    tensor::Model model;
    read_model_card(card, model);
    for (const auto& [key, word] : {std::pair{"general.name", "name"}, {"general.license", "license"}}) {
      const auto found = model.metadata.find(key);
      if (found == model.metadata.end()) continue;
      REQUIRE(facts.find(word) != nullptr);
      CHECK(found->second == facts.find(word)->as_string(""));
      ++(std::string(word) == "name" ? names : licences);
    }
  }
  CHECK(names == 13);  // not those that go on, are folded, quoted with a comment, anchors or tags
  CHECK(licences == 4);
  for (const Json& one : expected.at("written", "").as_array("")) {
    tensor::Model model, home;
    model.metadata["general.name"] = one.at("name", "").as_string("");
    const std::string card = write_model_card(model);
    CHECK(card == one.at("card", "").as_string(""));
    read_model_card(card, home);
    CHECK(home.metadata == model.metadata);
  }
}

TEST_CASE("model_cards_of_a_source_say_what_was_edited_and_are_else_left_alone") {
  const std::string card =
      "---\n\"license\" : mit\nlicense: [\n  mit\n]\ntags:\n- a\nname: own\nversion: >\n  folded\n---\n# "
      "Text\n---\nmore\n";
  tensor::Model model;
  read_model_card(card, model);
  CHECK(!update_model_card(card, model));
  model.metadata["general.name"] = "new";
  model.metadata["general.author"] = "Ann";
  model.metadata["general.license"] = "apache-2.0";  // the head has one in a form that is not understood
  model.metadata["general.version"] = "folded";      // the same
  model.metadata["general.url"] = "no word of a card";
  model.metadata["general.basename"] = "no text \xFF";
  CHECK(update_model_card(card, model) ==
        "---\n\"license\" : mit\nlicense: [\n  mit\n]\ntags:\n- a\nversion: >\n  folded\nauthor: \"Ann\"\nname: "
        "\"new\"\n---\n"
        "# Text\n---\nmore\n");
  model.metadata = {{"general.name", "new"}};
  CHECK(update_model_card("# Text\n", model) == "---\nname: \"new\"\n---\n# Text\n");
  CHECK(update_model_card("---\nname: a # one\nother: b\n---\n", model) == "---\nother: b\nname: \"new\"\n---\n");
  for (const char* other :
       {"\n---\nname: a\n---\n", "\xEF\xBB\xBF---\nname: a\n---\n", "--- \nname: a\n---\n", "---\nname: a\n"})
    CHECK(!update_model_card(other, model));
  model.metadata.clear();
  CHECK(!update_model_card(card, model));  // nothing is taken away
}

TEST_CASE("model_cards_of_others_are_read_as_far_as_they_are_plain") {
  tensor::Model model;
  model.metadata["general.author"] = "known";
  read_model_card(
      "---\r\nlicense: apache-2.0\r\nauthor: other\nlanguage: en\n  name: nested\ndescription: >\n  folded\n"
      "version: [1]\nurl: https://example.org/a\nfinetune: null\nbasename: \"open\norganization: a: b\nversion: "
      "1\xE9\n---\nname: "
      "below\n",
      model);
  const std::map<std::string, std::string> expected = {
      {"general.license", "apache-2.0"}, {"general.author", "known"}, {"general.source.url", "https://example.org/a"}};
  CHECK(model.metadata == expected);
  for (const char* card : {"", "---", "---\nlicense: mit\n", "license: mit\n---\n", "# ---\nlicense: mit\n---\n"}) {
    tensor::Model other;  // no head, or one without an end
    read_model_card(card, other);
    CHECK(other.metadata.empty());
  }
}

// Chat templates against transformers (tests/data/chat/make.py), and what the interpreter must refuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "converters/registry.h"
#include "runtime/runtime.h"
#include "runtime/tokenizer/unicode.h"
#include "tests/expect_error.h"
#include "tests/runtime_fixtures.h"
#include "tests/skip.h"

using namespace ingot::test;
using ingot::ErrorKind;
using ingot::Json;
using ingot::runtime::Message;
using ingot::runtime::render_chat;
namespace tensor = ingot::tensor;

namespace {

std::vector<Message> messages_of(const Json& json) {
  std::vector<Message> messages;
  for (const Json& m : json.as_array("messages")) {
    messages.push_back({m.at("role", "message").as_string("role"), m.at("content", "message").as_string("content")});
  }
  return messages;
}

std::string rendered(const std::string& source) {
  tensor::TokenizerSpec spec;
  spec.chat_template = source;
  const Message messages[] = {{"user", "Hi"}};
  return render_chat(spec, messages, false);
}

std::string hex(std::uint64_t value) {
  char text[17];
  return {text, static_cast<std::size_t>(
                    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value)))};
}

bool refuses(ErrorKind kind, const std::string& source) {
  INFO(source);
  return throws_kind(kind, [&] { (void)rendered(source); });
}

}  // namespace

TEST_CASE("templates of the common families render as in transformers") {
  const Json expected = read_json(data_directory() / "chat" / "expected.json");
  tensor::TokenizerSpec spec;
  spec.tokens = {expected.at("bos", "").as_string(""), expected.at("eos", "").as_string("")};
  spec.bos = 0;
  spec.eos = 1;
  std::size_t cases = 0;
  for (const Json& row : expected.at("cases", "").as_array("cases")) {
    const std::string& family = row.at("family", "").as_string("");
    spec.chat_template = expected.at("templates", "").at(family, "").as_string(family);
    const std::vector<Message> messages = messages_of(row.at("messages", family));
    const bool generation = row.at("add_generation_prompt", family).as_bool(family);
    INFO(family << ", " << row.at("dialog", family).as_string(family) << ", generation " << generation);
    if (const Json* text = row.find("text")) {
      CHECK(render_chat(spec, messages, generation) == text->as_string(family));
    } else {
      CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)render_chat(spec, messages, generation); }));
    }
    ++cases;
  }
  CHECK(cases >= 150);
}

TEST_CASE("every character changes its case as in Python") {
  const Json digests = read_json(data_directory() / "chat" / "expected.json").at("case_digests", "");
  std::uint64_t upper = 0xcbf29ce484222325, lower = upper;
  const auto add = [](std::uint64_t& value, const std::string& text) {
    for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  };
  for (char32_t code = 0; code < 0x110000; ++code) {
    if ((code >= 0xD800 && code < 0xE000) || code == 0x3A3) continue;
    std::string text;
    ingot::runtime::unicode::append_utf8(text, code);
    add(upper, ingot::runtime::unicode::upper_case(text));
    add(lower, ingot::runtime::unicode::lower_case(text));
  }
  CHECK(hex(upper) == digests.at("upper", "").as_string(""));
  CHECK(hex(lower) == digests.at("lower", "").as_string(""));
  CHECK(ingot::runtime::unicode::lower_case("A\xFF\xC3") == "a\xFF\xC3");
}

TEST_CASE("templates know the date") {
  const std::time_t before = std::time(nullptr);
  const std::string got = rendered("{{ strftime_now('%d %b %Y, %B, %A %H:%M, 100 %%') if strftime_now is defined }}");
  std::vector<std::string> possible;  // the minute may have changed
  for (const std::time_t time : {before, std::time(nullptr)}) {
    std::tm parts = {};
    char text[100];
    possible.emplace_back(
        text, std::strftime(text, sizeof text, "%d %b %Y, %B, %A %H:%M, 100 %%", ::localtime_r(&time, &parts)));
  }
  CHECK(std::find(possible.begin(), possible.end(), got) != possible.end());
}

TEST_CASE("the tiny llama template renders as in transformers") {
  const auto directory = data_directory() / "tiny-llama";
  const tensor::Model model = ingot::convert::read_model(directory);
  REQUIRE(model.tokenizer);
  const ingot::runtime::Tokenizer tokenizer(*model.tokenizer);
  const Json expected = read_json(directory / "expected.json").at("chat", "");
  for (const bool generation : {false, true}) {
    const Json& wanted = expected.at(generation ? "with_generation_prompt" : "without_generation_prompt", "");
    const std::string text = render_chat(*model.tokenizer, messages_of(expected.at("messages", "")), generation);
    CHECK(text == wanted.at("text", "").as_string(""));
    CHECK(tokenizer.encode(text, false, true) == ids_of(wanted.at("ids", "")));
  }
}

TEST_CASE("the template of SmolLM2 renders as in transformers") {
  const Json chat = read_json(data_directory() / "smollm2" / "expected.json").at("chat", "");
  tensor::TokenizerSpec spec;
  spec.tokens = {chat.at("bos", "").as_string(""), chat.at("eos", "").as_string("")};
  spec.bos = 0;
  spec.eos = 1;
  spec.chat_template = chat.at("template", "").as_string("");
  const ingot::JsonArray& cases = chat.at("cases", "").as_array("");
  CHECK(cases.size() >= 14);
  for (const Json& row : cases) {
    const bool generation = row.at("add_generation_prompt", "").as_bool("");
    INFO(row.at("dialog", "").as_string("") << ", generation " << generation);
    CHECK(render_chat(spec, messages_of(row.at("messages", "")), generation) == row.at("text", "").as_string(""));
  }
}

TEST_CASE("chats with SmolLM2 become the token ids of transformers") {
  const char* models = std::getenv("INGOT_TEST_MODELS");
  if (models == nullptr) return skip("INGOT_TEST_MODELS is not set (a directory with " + std::string(kSmolLm2) + ")");
  const std::filesystem::path path = std::filesystem::path(models) / kSmolLm2;
  if (!std::filesystem::exists(path)) return skip(path.string() + " is absent");
  const tensor::Model model = ingot::convert::read_model(path);
  const ingot::runtime::Tokenizer tokenizer(*model.tokenizer);
  const Json chat = read_json(data_directory() / "smollm2" / "expected.json").at("chat", "");
  for (const Json& row : chat.at("cases", "").as_array("")) {
    const bool generation = row.at("add_generation_prompt", "").as_bool("");
    INFO(row.at("dialog", "").as_string("") << ", generation " << generation);
    const std::string text = render_chat(tokenizer.spec(), messages_of(row.at("messages", "")), generation);
    CHECK(text == row.at("text", "").as_string(""));
    CHECK(tokenizer.encode(text, false, true) == ids_of(row.at("ids", "")));
  }
}

TEST_CASE("contents that are not UTF-8 pass through every string operation") {
  tensor::TokenizerSpec spec;
  spec.chat_template =
      "{% set c = messages[0].content %}{{ c | trim }}{{ c[::-1] | length }}{{ c.split() | join }}{{ c | tojson }}";
  for (const char* content : {"\xF0", "a\xE2\x82", " \xC3 ", "\xFF\xFE"}) {
    const Message messages[] = {{"user", content}};
    CHECK_FALSE(render_chat(spec, messages, false).empty());
  }
}

TEST_CASE("a model without a template and constructs outside the subset are unsupported") {
  CHECK(refuses(ErrorKind::unsupported, ""));
  CHECK(refuses(ErrorKind::unsupported, "{% include 'x' %}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ strftime_now('%Q') }}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ strftime_now('%') }}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ 'x' | wordcount }}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ 'x' is sameas 'x' }}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ cycler(1, 2) }}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ '\u03A3' | lower }}"));  // of two lower cases, by what follows
  CHECK(refuses(ErrorKind::unsupported, "{{ '\u00E9' | title }}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ '{:>5}'.format(1) }}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ '{!r}'.format(1) }}"));
  CHECK(refuses(ErrorKind::unsupported, "{{ {[1]: 2} }}"));
  CHECK(refuses(ErrorKind::unsupported, "{% for x in messages recursive %}{% endfor %}"));
}

TEST_CASE("broken templates are invalid") {
  for (const char* source : {"{% if %}{% endif %}",
                             "{% if true %}",
                             "{% endif %}",
                             "{{ }}",
                             "{{ 'x }}",
                             "{{ (1 }}",
                             "{{ 1 + }}",
                             "{% for in x %}{% endfor %}",
                             "{{ [1, }}",
                             "{{ x..y }}",
                             "{% %}",
                             "{{ missing.name }}",
                             "{{ 1 + 'a' }}",
                             "{{ 1 / 0 }}",
                             "{{ 5 % 0 }}",
                             "{{ '\\u12' }}",
                             "{% set a, b = [1] %}",
                             "{{ 99999999999999999999 }}",
                             "{% raw",
                             "{{ raise_exception('no') }}",
                             "{% else %}",
                             "{{ 1 | length }}",
                             "{{ missing + 1 }}",
                             "{{ {1: 2 }}",
                             "{{ '{}'.format() }}",
                             "{{ '{99}'.format(1) }}",
                             "{{ '{x}'.format(1) }}",
                             "{{ '{'.format(1) }}",
                             "{{ '}'.format(1) }}",
                             "{{ {1: 2, 'a': 3} | dictsort }}",
                             "{% macro m( %}{% endmacro %}"}) {
    CHECK(refuses(ErrorKind::invalid_value, source));
  }
}

TEST_CASE("hostile templates end with an error instead of exhausting the machine") {
  CHECK(refuses(ErrorKind::limit_exceeded, "{{ range(1000000000) }}"));
  CHECK(refuses(ErrorKind::limit_exceeded, "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"));
  CHECK(refuses(ErrorKind::limit_exceeded,
                "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}"));
  std::string nested;
  for (int i = 0; i < 5000; ++i) nested += "(";
  CHECK(refuses(ErrorKind::invalid_value, "{{ " + nested));
  std::string blocks;
  for (int i = 0; i < 5000; ++i) blocks += "{% if true %}";
  CHECK(refuses(ErrorKind::invalid_value, blocks));
  CHECK(refuses(ErrorKind::limit_exceeded, "{{ 'abc' * 9223372036854775807 }}"));
  std::string doubled = "{% set s = 'xxxxxxxxxxxxxxxx' %}";
  for (int i = 0; i < 40; ++i) doubled += "{% set s = s + s %}";
  CHECK(refuses(ErrorKind::limit_exceeded, doubled));
}

TEST_CASE("every prefix of a template renders or is refused") {
  const Json expected = read_json(data_directory() / "chat" / "expected.json");
  for (const auto& [family, source] : expected.at("templates", "").as_object("")) {
    const std::string& text = source.as_string(family);
    for (std::size_t size = 1; size < text.size(); size += 3) {
      try {
        (void)rendered(text.substr(0, size));
      } catch (const ingot::Error&) {
      }
    }
  }
}

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "format/base/json.h"
#include "format/base/json_fault.h"
#include "tests/expect_error.h"

using namespace ingot;
using test::throws_kind;

namespace {

Json parse(std::string_view text) { return parse_json(text, "test"); }

std::string random_string(std::mt19937& random) {
  static const std::string_view kPieces[] = {"a",
                                             "Z",
                                             "0",
                                             "\"",
                                             "\\",
                                             "/",
                                             "\b",
                                             "\f",
                                             "\n",
                                             "\r",
                                             "\t",
                                             "\x01",
                                             "\x1f",
                                             "\x7f",
                                             "\u00e9",
                                             "\u20ac",
                                             "\U0001F600",
                                             " ",
                                             std::string_view("\0", 1)};
  std::string text;
  for (std::size_t length = random() % 6; length > 0; --length) text += kPieces[random() % std::size(kPieces)];
  return text;
}

Json random_json(std::mt19937& random, int depth) {
  const std::uint64_t bits = std::uint64_t{random()} << 32 | random();
  switch (random() % (depth > 0 ? 8 : 6)) {
    case 0: return Json();
    case 1: return Json(bits % 2 == 0);
    case 2: return Json(static_cast<std::int64_t>(bits >> (bits % 64)));
    case 3: return Json(bits);
    case 4: return Json(std::ldexp(static_cast<double>(bits) - 9e18, static_cast<int>(random() % 600) - 300));
    case 5: return Json(random_string(random));
    case 6: {
      JsonArray values;
      for (std::size_t length = random() % 5; length > 0; --length) values.push_back(random_json(random, depth - 1));
      return Json(std::move(values));
    }
    default: {
      Json value{JsonObject{}};
      for (std::size_t length = random() % 5; length > 0; --length)
        value.set(random_string(random), random_json(random, depth - 1));
      return value;
    }
  }
}

/// The same value with all members in another order.
Json shuffled(const Json& value, std::mt19937& random) {
  if (value.is_array()) {
    JsonArray values;
    for (const Json& element : value.as_array("")) values.push_back(shuffled(element, random));
    return Json(std::move(values));
  }
  if (!value.is_object()) return value;
  JsonObject members;
  for (const JsonMember& member : value.as_object(""))
    members.emplace_back(member.first, shuffled(member.second, random));
  std::shuffle(members.begin(), members.end(), random);
  return Json(std::move(members));
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("json_canonical_form_by_example") {
  const Json value = parse(
      R"( { "b" : [1, -2, 18446744073709551615, 1.0, 1e30, -0.0] , "a":{"x":"\u00e9\n\u0001\/\ud83d\ude00"}, "c":null,
                                 "B":true, "":false, "\u00e9":[], "z":{} } )");
  CHECK(canonical_json(value) ==
        "{\"\":false,\"B\":true,\"a\":{\"x\":\"\u00e9\\n\\u0001/"
        "\U0001F600\"},\"b\":[1,-2,18446744073709551615,1.0,1e+30,-0.0],\"c\":null,"
        "\"z\":{},\"\u00e9\":[]}");
  CHECK(canonical_json(Json(std::string("\"\\\b\f\n\r\t\x00\x1f\x7f/", 11))) ==
        "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\x7f/\"");
}

TEST_CASE("json_pretty_form_by_example") {
  CHECK(pretty_json(parse(R"({"b":[1,{"x":[]}],"a":{}})")) ==
        "{\n  \"b\": [\n    1,\n    {\n      \"x\": []\n    }\n  ],\n  \"a\": {}\n}\n");
  CHECK(pretty_json(Json(7)) == "7\n");
}

TEST_CASE("json_written_in_either_form_reads_back_equal") {
  std::mt19937 random(42);
  for (int round = 0; round < 3000; ++round) {
    const Json value = random_json(random, 4);
    const std::string canonical = canonical_json(value);
    CAPTURE(canonical);
    REQUIRE(parse(pretty_json(value)) == value);
    REQUIRE(canonical_json(parse(canonical)) == canonical);
    REQUIRE(canonical_json(shuffled(value, random)) == canonical);  // depends on the value alone
  }
}

TEST_CASE("json_rejects_what_rfc_8259_rejects") {
  const std::string_view bad[] = {"",
                                  " ",
                                  "{",
                                  "}",
                                  "[",
                                  "]",
                                  "[1",
                                  "[1,",
                                  "[1,]",
                                  "[,1]",
                                  "[1 2]",
                                  "[1}",
                                  "{\"a\"}",
                                  "{\"a\":}",
                                  "{\"a\":1,}",
                                  "{,}",
                                  "{1:2}",
                                  "{a:1}",
                                  "{\"a\":1 \"b\":2}",
                                  "{\"a\" 1}",
                                  "tru",
                                  "True",
                                  "nulll",
                                  "NaN",
                                  "Infinity",
                                  "-Infinity",
                                  "-",
                                  "+1",
                                  "01",
                                  "-01",
                                  "1.",
                                  ".5",
                                  "1e",
                                  "1e+",
                                  "0x10",
                                  "1 2",
                                  "[1] x",
                                  "\"",
                                  "\"a",
                                  "\"\\\"",
                                  "\"\\x\"",
                                  "\"\\u12\"",
                                  "\"\\u12g4\"",
                                  "\"\\ud800\"",
                                  "\"\\udc00\"",
                                  "\"\\ud800\\u0041\"",
                                  "\"\n\"",
                                  "\"\t\"",
                                  "'a'",
                                  "[1]]",
                                  "{}{}",
                                  "// c\n1",
                                  "[1,/**/2]",
                                  "1e400",
                                  "\xff",
                                  "\"\xc3\"",
                                  "\"\xc0\xaf\"",
                                  "\"\xed\xa0\x80\"",
                                  "\"\xf4\x90\x80\x80\"",
                                  "\xef\xbb\xbf{}",
                                  "00000000000000000000000001",
                                  "-00000000000000000000000001",
                                  "1000000000000000000000000.",
                                  "[1000000000000000000000000,]",
                                  "-"};
  for (const std::string_view text : bad) {
    CAPTURE(text);
    CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)parse(text); }));
  }
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)parse(std::string_view("[1\0]", 4)); }));
}

TEST_CASE("json_errors_say_where_the_text_stops_being_json") {
  const std::pair<std::string_view, std::uint64_t> faults[] = {
      {"", 0},           {"[1,2", 4},           {"[1,,2]", 3}, {"{\"a\" 1}", 5},
      {"{\"a\":1,}", 7}, {"[1]]", 3},           {"[01]", 2},   {"[1.]", 3},
      {"[\"\\x\"]", 3},  {"[\"\\ud800x\"]", 8}, {"[tru]", 4},  {"[\"\xc3\"]", 2},
      {"{\"a\":[{}", 8}, {"{\"a\":\"b", 7},     {"[1}", 2},    {" nulll", 5}};
  for (const auto& fault : faults) {
    const std::string_view text = fault.first;
    CAPTURE(text);
    const auto error = test::error_of([&] { (void)parse(text); });
    REQUIRE(error);
    CHECK(error->offset == fault.second);
  }
}

TEST_CASE("json_fault_finder_agrees_with_simdjson_on_damaged_texts") {
  std::mt19937 random(7);
  static const std::string_view kAlphabet = "{}[]\",:\\u0123456789abefnrtdE+-. \n\x01\x80\xc3\xa9\xed";
  for (int round = 0; round < 20000; ++round) {
    std::string text = round % 2 == 0 ? canonical_json(random_json(random, 3)) : pretty_json(random_json(random, 3));
    for (std::size_t edits = random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % (text.size() + 1);
      const char byte = kAlphabet[random() % kAlphabet.size()];
      switch (random() % 3) {
        case 0: text.insert(at, 1, byte); break;
        case 1: text.erase(at, 1); break;
        default: text.replace(at, 1, 1, byte); break;
      }
    }
    CAPTURE(text);
    const auto error = test::error_of([&] { (void)parse(text); });
    const std::optional<std::uint64_t> fault = find_json_fault(text);
    if (fault) {
      REQUIRE(error);
      CHECK(error->offset == *fault);
    } else if (error) {  // valid grammar that is refused all the same
      CHECK((std::string_view(error->what()).find("twice") != std::string_view::npos ||
             text.find('e') != std::string::npos || text.find('E') != std::string::npos));
    }
  }
}

TEST_CASE("json_rejects_every_truncation") {
  const std::string_view text = R"({"name":"x\u00e9\"","shape":[4096,-1,2.5e3],"nested":{"a":[true,false,null]}})";
  CHECK(parse(text).is_object());
  for (std::size_t length = 0; length < text.size(); ++length) {
    const std::string prefix(text.substr(0, length));
    CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)parse(prefix); }));
  }
}

TEST_CASE("json_survives_every_single_byte_change") {
  const std::string text = R"({"a":[1,-2.5,"\u0041"],"b":{"c":null}})";
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[at] = static_cast<char>(byte);
      const auto error = test::error_of([&] {
        const Json value = parse(changed);
        CHECK(parse(canonical_json(value)) == parse(pretty_json(parse(canonical_json(value)))));
      });
      if (error) CHECK(error->kind == ErrorKind::invalid_value);
    }
  }
}

TEST_CASE("json_rejects_repeated_member_names") {
  CHECK(throws_kind(ErrorKind::invalid_value, [] { (void)parse(R"({"a":1,"b":2,"a":3})"); }));
  CHECK(throws_kind(ErrorKind::invalid_value, [] { (void)parse(R"([{"x":{"a":1,"\u0061":2}}])"); }));
  CHECK(parse(R"({"a":1,"A":2})").as_object("").size() == 2);
}

TEST_CASE("json_depth_limit_is_exact") {
  CHECK(parse_json(nested(64), "test").is_array());
  CHECK(throws_kind(ErrorKind::limit_exceeded, [] { (void)parse_json(nested(65), "test"); }));
  CHECK(throws_kind(ErrorKind::limit_exceeded, [] { (void)parse_json(nested(1000000), "test"); }));
  CHECK(
      throws_kind(ErrorKind::limit_exceeded, [] { (void)parse_json(R"({"a":{"b":{}}})", "test", {.max_depth = 2}); }));
  CHECK(parse_json(R"({"a":{"b":1}})", "test", {.max_depth = 2}).is_object());
  CHECK(parse_json("1", "test", {.max_depth = 0}).is_integer());
  CHECK(throws_kind(ErrorKind::limit_exceeded, [] { (void)parse_json("[]", "test", {.max_depth = 0}); }));
}

TEST_CASE("json_size_limit_is_exact") {
  CHECK(parse_json("[1,2]", "test", {.max_bytes = 5}).is_array());
  CHECK(throws_kind(ErrorKind::limit_exceeded, [] { (void)parse_json("[1,2]", "test", {.max_bytes = 4}); }));
}

TEST_CASE("json_integers_are_exact_to_64_bits") {
  CHECK(parse("9223372036854775807").as_i64("") == std::numeric_limits<std::int64_t>::max());
  CHECK(parse("-9223372036854775808").as_i64("") == std::numeric_limits<std::int64_t>::min());
  CHECK(parse("9223372036854775808").as_u64("") == std::uint64_t{1} << 63);
  CHECK(parse("18446744073709551615").as_u64("") == std::numeric_limits<std::uint64_t>::max());
  CHECK(parse("5") == Json(std::uint64_t{5}));
  CHECK(parse("5") == Json(5u));
  CHECK_FALSE(parse("5") == Json(5.0));
}

TEST_CASE("json_integers_beyond_64_bits_become_doubles") {
  const Json value = parse(
      R"({"model_max_length": 1000000000000000019884624838656, "low":-9223372036854775809,"high":[18446744073709551616],
                               "s": "\\\"1000000000000000019884624838656", "f":1.5e3})");
  CHECK(value.at("model_max_length", "test").as_double("test") == 1e30);
  CHECK(value.at("low", "test").as_double("test") == -9223372036854775808.0);
  CHECK(value.at("high", "test").as_array("test")[0].as_double("test") == 18446744073709551616.0);
  CHECK(value.at("s", "test").as_string("test") == "\\\"1000000000000000019884624838656");
  CHECK(value.at("f", "test").as_double("test") == 1500.0);
  CHECK_FALSE(value.at("high", "test").as_array("test")[0].is_integer());
}

TEST_CASE("json_typed_access_refuses_other_types") {
  const Json value = parse(R"({"n":-1,"u":18446744073709551615,"d":2.0,"s":"x","b":true,"z":null,"a":[],"o":{}})");
  const auto refuses = [&](const char* name, auto access) {
    return throws_kind(ErrorKind::invalid_value, [&] { (void)access(value.at(name, "test")); });
  };
  for (const char* name : {"d", "s", "b", "z", "a", "o"}) {
    CHECK(refuses(name, [](const Json& json) { return json.as_i64("where"); }));
    CHECK(refuses(name, [](const Json& json) { return json.as_u64("where"); }));
  }
  CHECK(refuses("n", [](const Json& json) { return json.as_u64("where"); }));
  CHECK(refuses("u", [](const Json& json) { return json.as_i64("where"); }));
  for (const char* name : {"n", "u", "d", "b", "z", "a", "o"})
    CHECK(refuses(name, [](const Json& json) { return json.as_string("where"); }));
  for (const char* name : {"n", "s", "z", "o"})
    CHECK(refuses(name, [](const Json& json) { return json.as_array("where").size(); }));
  for (const char* name : {"n", "s", "z", "a"})
    CHECK(refuses(name, [](const Json& json) { return json.as_object("where").size(); }));
  for (const char* name : {"n", "s", "z", "a"})
    CHECK(refuses(name, [](const Json& json) { return json.as_bool("where"); }));
  for (const char* name : {"s", "b", "z", "a"})
    CHECK(refuses(name, [](const Json& json) { return json.as_double("where"); }));
  CHECK(value.at("n", "test").as_double("test") == -1.0);
  CHECK(value.at("u", "test").as_double("test") == 18446744073709551615.0);
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)value.at("absent", "test"); }));
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)value.at("a", "test").at("x", "test"); }));
  CHECK(value.find("absent") == nullptr);
  CHECK(value.at("s", "test").find("x") == nullptr);
}

TEST_CASE("json_set_replaces_and_adds_in_order") {
  Json value;
  value.set("b", 1);
  value.set("a", "x");
  value.set("b", false);
  CHECK(pretty_json(value) == "{\n  \"b\": false,\n  \"a\": \"x\"\n}\n");
  Json list;
  list.push_back(1);
  list.push_back(Json());
  CHECK(canonical_json(list) == "[1,null]");
}

TEST_CASE("json_writers_refuse_what_json_cannot_hold") {
  JsonObject repeated;
  repeated.emplace_back("a", 1);
  repeated.emplace_back("a", 1);
  const Json bad[] = {Json(std::nan("")), Json(HUGE_VAL), Json("\xff"), Json(std::move(repeated))};
  for (const Json& value : bad) {
    CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)canonical_json(value); }));
    CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)pretty_json(value); }));
  }
}

TEST_CASE("json_doubles_are_shortest_and_exact") {
  for (const double value : {0.1, 1.0 / 3.0, 5e-324, 1.7976931348623157e308, 123456789.0, 1e16, 1e22, 0.00001}) {
    const std::string text = canonical_json(Json(value));
    CHECK(parse(text).as_double("") == value);
    CHECK_FALSE(parse(text).is_integer());
  }
  CHECK(canonical_json(Json(0.1)) == "0.1");
}

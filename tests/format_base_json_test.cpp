#include <doctest/doctest.h>

#include "format/base/json.h"

using namespace ingot;

TEST_CASE("json_round_trips_in_canonical_form") {
  const Json value = parse_json(R"({"b":[1,-2,18446744073709551615,1.0,1e30],"a":{"x":"\u00e9\n\u0001"},"c":null})", "test");
  CHECK(canonical_json(value) == "{\"a\":{\"x\":\"\u00e9\\n\\u0001\"},\"b\":[1,-2,18446744073709551615,1.0,1e+30],\"c\":null}");
}

TEST_CASE("json_reads_integers_beyond_64_bits_as_doubles") {
  const Json value = parse_json(R"({"model_max_length": 1000000000000000019884624838656, "s": "123456789012345678901234"})", "test");
  CHECK(value.at("model_max_length", "test").as_double("test") == 1e30);
  CHECK(value.at("s", "test").as_string("test") == "123456789012345678901234");
}

// The safetensors container against the package that owns it: verdicts, values and headers in
// tests/golden/foreign/safetensors were made by make_safetensors.py beside them.
#include <doctest/doctest.h>

#include <memory>

#include "converters/files/safetensors.h"
#include "format/base/json.h"
#include "format/base/mapped_file.h"

using namespace ingot;
using namespace ingot::convert;

namespace {

const std::string kFolder = std::string(INGOT_TEST_DATA) + "/golden/foreign/safetensors/";

Json load_json(const std::string& name) { return parse_json(read_text_file(kFolder + name, 1 << 24), name); }

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

/// Parses in a heap block of exactly the right size, so that a sanitizer sees the first byte too far. Empty optional:
/// accepted.
std::optional<Error> rejection(Bytes bytes) {
  const auto exact = std::make_unique<std::byte[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), exact.get());
  try {
    (void)parse_safetensors(Bytes(exact.get(), bytes.size()), "test");
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  }
}

std::vector<std::byte> case_bytes(const std::string& name) {
  const Json cases = load_json("cases.json");
  for (const Json& entry : cases.as_array("cases")) {
    if (entry.at("name", "case").as_string("name") == name) return from_hex(entry.at("hex", "case").as_string("hex"));
  }
  throw std::runtime_error("no case " + name);
}

/// The generator of make_safetensors.py.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t below(std::uint64_t bound) {
    state_ += 0x9E3779B97F4A7C15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return (z ^ (z >> 31)) % bound;
  }

 private:
  std::uint64_t state_;
};

constexpr std::string_view kAlphabet("0123456789{}[]:,\"\\-+.eE tfnu\x00\xff", 30);

/// mutate() of make_safetensors.py.
std::vector<std::byte> mutate(std::vector<std::byte> data, Random& random) {
  const std::uint64_t edits = 1 + random.below(3);
  for (std::uint64_t edit = 0; edit < edits; ++edit) {
    const std::uint64_t length = load_le<std::uint64_t>(data.data());
    const bool fits = length <= data.size() - 8;
    const std::uint64_t header_end = fits ? 8 + length : data.size();
    const std::uint64_t kind = random.below(4);
    if (kind == 0) {
      const std::uint64_t at = random.below(header_end);
      data[at] ^= static_cast<std::byte>(1 << random.below(8));
    } else if (kind == 1) {
      const std::uint64_t at = random.below(header_end);
      data[at] = static_cast<std::byte>(kAlphabet[random.below(kAlphabet.size())]);
    } else if (header_end > 8 && length > 0 && fits) {
      const auto at = data.begin() + static_cast<std::ptrdiff_t>(8 + random.below(header_end - 8));
      if (kind == 2) {
        data.erase(at);
        store_le<std::uint64_t>(data.data(), length - 1);
      } else {
        data.insert(at, static_cast<std::byte>(kAlphabet[random.below(kAlphabet.size())]));
        store_le<std::uint64_t>(data.data(), length + 1);
      }
    }
  }
  return data;
}

const SafetensorsType* type_of_torch(const std::string& torch_name) {
  const std::pair<std::string_view, std::string_view> names[] = {{"bool", "BOOL"},
                                                                 {"uint8", "U8"},
                                                                 {"int8", "I8"},
                                                                 {"float8_e5m2", "F8_E5M2"},
                                                                 {"float8_e4m3fn", "F8_E4M3"},
                                                                 {"float8_e8m0fnu", "F8_E8M0"},
                                                                 {"float8_e4m3fnuz", "F8_E4M3FNUZ"},
                                                                 {"float8_e5m2fnuz", "F8_E5M2FNUZ"},
                                                                 {"int16", "I16"},
                                                                 {"uint16", "U16"},
                                                                 {"float16", "F16"},
                                                                 {"bfloat16", "BF16"},
                                                                 {"int32", "I32"},
                                                                 {"uint32", "U32"},
                                                                 {"float32", "F32"},
                                                                 {"complex64", "C64"},
                                                                 {"float64", "F64"},
                                                                 {"int64", "I64"},
                                                                 {"uint64", "U64"}};
  for (const auto& [torch, ours] : names)
    if (torch == torch_name) return find_safetensors_type(ours);
  return nullptr;
}

std::vector<std::uint64_t> shape_of(const Json& json) {
  std::vector<std::uint64_t> shape;
  for (const Json& extent : json.at("shape", "shape").as_array("shape")) shape.push_back(extent.as_u64("shape"));
  return shape;
}

}  // namespace

TEST_CASE("safetensors_accepts_and_rejects_what_the_package_does") {
  const Json cases = load_json("cases.json");
  CHECK(cases.as_array("cases").size() > 60);
  for (const Json& entry : cases.as_array("cases")) {
    const std::string name = entry.at("name", "case").as_string("name");
    bool accepted = entry.at("error", "case").as_string("error").empty();
    if (name == "repeated_name_same_range") accepted = false;  // the package keeps the last and does not notice
    const std::optional<Error> error = rejection(from_hex(entry.at("hex", "case").as_string("hex")));
    CHECK_MESSAGE(error.has_value() == !accepted, name << ": " << std::string(error ? error->what() : "accepted"));
  }
}

TEST_CASE("safetensors_errors_have_a_kind") {
  const std::pair<std::string, ErrorKind> kinds[] = {
      {"seven_bytes", ErrorKind::truncated},          {"length_beyond_end", ErrorKind::truncated},
      {"missing_byte", ErrorKind::truncated},         {"length_above_limit", ErrorKind::limit_exceeded},
      {"shape_overflows", ErrorKind::limit_exceeded}, {"trailing_byte", ErrorKind::invalid_value},
      {"overlap", ErrorKind::invalid_value},          {"repeated_name_same_range", ErrorKind::invalid_value},
      {"unknown_type", ErrorKind::unsupported},       {"f4_misaligned", ErrorKind::invalid_value}};
  for (const auto& [name, kind] : kinds) {
    const std::optional<Error> error = rejection(case_bytes(name));
    REQUIRE_MESSAGE(error.has_value(), name);
    CHECK_MESSAGE(error->kind == kind, name << ": " << std::string(error->what()));
  }
}

TEST_CASE("safetensors_agrees_with_the_package_on_10000_mutations") {
  const Json record = load_json("mutations.json");
  std::vector<std::vector<std::byte>> bases;
  for (const Json& name : record.at("bases", "record").as_array("bases"))
    bases.push_back(case_bytes(name.as_string("base")));
  const std::string bits =
      record.at("bits", "record").as_string("bits");  // hexadecimal, a leading 1, then one bit per mutation
  std::string binary;
  for (const char digit : bits) {
    const int value = std::stoi(std::string(1, digit), nullptr, 16);
    for (int bit = 3; bit >= 0; --bit) binary += static_cast<char>('0' + (value >> bit & 1));
  }
  const std::string verdicts = binary.substr(binary.find('1') + 1);
  REQUIRE(verdicts.size() == 10'000);
  Random random(record.at("seed", "record").as_u64("seed"));
  int accepted = 0, disagreements = 0;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const std::vector<std::byte> bytes = mutate(bases[i % bases.size()], random);
    const std::optional<Error> error = rejection(bytes);
    accepted += !error.has_value();
    if (error.has_value() == (verdicts[i] == '0')) continue;
    ++disagreements;
    MESSAGE("mutation " << i << ": " << std::string(error ? error->what() : "accepted") << ", the package says "
                        << std::string(1, verdicts[i]) << ": " << std::string(as_text(bytes)));
  }
  CHECK(accepted > 0);
  CHECK(disagreements == 0);
}

TEST_CASE("safetensors_rejects_every_prefix") {
  const std::string text = read_text_file(kFolder + "types.safetensors", 1 << 20);
  const Bytes whole = as_bytes_view(text);
  CHECK_FALSE(rejection(whole).has_value());
  for (std::size_t size = 0; size < whole.size(); ++size) CHECK_MESSAGE(rejection(whole.first(size)).has_value(), size);
}

TEST_CASE("safetensors_reads_every_type_of_torch") {
  const MappedFile file(kFolder + "types.safetensors");
  const SafetensorsHeader header = parse_safetensors(file.bytes(), "types");
  CHECK(header.metadata == std::map<std::string, std::string>{{"format", "pt"}});
  const Json expected = load_json("types.json");
  CHECK(header.entries.size() == expected.as_object("types").size());
  for (const SafetensorsEntry& entry : header.entries) {
    const Json& facts = expected.at(entry.name, "types");
    CHECK_MESSAGE(entry.type == type_of_torch(facts.at("dtype", "types").as_string("dtype")), entry.name);
    CHECK_MESSAGE(entry.shape == shape_of(facts), entry.name);
  }
}

TEST_CASE("safetensors_headers_equal_those_of_the_package") {
  const Json files = load_json("planned.json");
  for (const Json& file : files.as_array("planned")) {
    std::vector<SafetensorsItem> items;
    for (const Json& item : file.at("items", "planned").as_array("items")) {
      items.push_back({item.at("name", "item").as_string("name"),
                       type_of_torch(item.at("dtype", "item").as_string("dtype"))->type, shape_of(item)});
    }
    const SafetensorsPlan plan = plan_safetensors(items, {{"format", "pt"}});
    CHECK(plan.header == as_text(from_hex(file.at("header_hex", "planned").as_string("header"))));
  }
}

TEST_CASE("safetensors_planning_refuses_names_and_types_that_cannot_be_read_back") {
  const auto kind_of = [](const std::vector<SafetensorsItem>& items) -> std::optional<ErrorKind> {
    try {
      (void)plan_safetensors(items, {});
      return std::nullopt;
    } catch (const Error& error) {
      return error.kind;
    }
  };
  using tensor::DType;
  CHECK(kind_of({{"__metadata__", DType::f32, {1}}}) == ErrorKind::invalid_value);
  CHECK(kind_of({{"a", DType::f32, {1}}, {"a", DType::u8, {1}}}) == ErrorKind::invalid_value);
  CHECK(kind_of({{"\xff", DType::f32, {1}}}) == ErrorKind::invalid_value);
  CHECK(kind_of({{"a", DType::u3, {8}}}) == ErrorKind::unsupported);
  CHECK(kind_of({{"a", DType::e2m1, {3}}}) == ErrorKind::invalid_value);
  CHECK_FALSE(kind_of({{"a", DType::e2m1, {2, 3, 4}}}).has_value());
}

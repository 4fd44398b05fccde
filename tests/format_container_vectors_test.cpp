// The vectors of spec/vectors, written and decoded by the independent reader of spec/reference: valid ones give the
// recorded values, invalid ones the error kind in their name.
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>

#include "container_models.h"
#include "expect_error.h"
#include "format/base/mapped_file.h"
#include "format/container/container.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "temporary_directory.h"

namespace ingot::test {
namespace {

std::vector<std::filesystem::path> vectors(const char* folder) {
  std::vector<std::filesystem::path> paths;
  const std::filesystem::path directory =
      std::filesystem::path(INGOT_TEST_DATA).parent_path() / "spec" / "vectors" / folder;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().extension() == ".ingot") paths.push_back(entry.path());
  return paths;
}

/// Canonical binary32 bits of all logical values, as eight hexadecimal digits each.
std::string value_bits(const tensor::Tensor& tensor) {
  std::vector<float> values(tensor.elements());
  tensor::decode_logical(tensor, values);
  std::string text;
  for (const float value : values) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7FFFFFFF) == 0) bits = 0;
    if ((bits & 0x7FFFFFFF) > 0x7F800000) bits = 0x7FC00000;
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", bits);
    text += digits;
  }
  return text;
}

/// The kind of what opening, verifying or decoding a file finds wrong; nothing for an intact file.
std::optional<ErrorKind> fault_of(const std::filesystem::path& path) {
  const std::optional<Error> error = error_of([&] { (void)container::open(path); });
  if (error) return error->kind;
  const container::VerifyResult result = container::verify(path, true, {});
  if (!result.findings.empty()) return result.findings[0].kind;
  return std::nullopt;
}

}  // namespace

TEST_CASE("valid vectors decode to the recorded values") {
  std::size_t tensors = 0;
  for (const std::filesystem::path& path : vectors("valid")) {
    INFO(path.filename().string());
    const container::VerifyResult verified = container::verify(path, true, {});
    for (const container::Finding& finding : verified.findings) FAIL_CHECK(finding.message);
    const tensor::Model model = container::open(path);
    std::filesystem::path json_path = path;
    const Json expected = parse_json(read_text_file(json_path.replace_extension(".json"), 16 << 20), "vector");
    REQUIRE(expected.as_object("").size() == model.tensors.size());
    for (std::size_t i = 0; i < model.tensors.size(); ++i)
      CHECK(expected.as_object("")[i].first == model.tensors[i].name);  // in model order
    for (const tensor::Tensor& tensor : model.tensors) {
      INFO(tensor.name);
      const Json& want = expected.at(tensor.name, "");
      CHECK(tensor.fingerprint->hex() == want.at("fingerprint", "").as_string(""));
      CHECK(tensor::fingerprint(tensor) == *tensor.fingerprint);
      const std::string& bits = want.at("bits", "").as_string("");
      if (!bits.empty()) CHECK(value_bits(tensor) == bits);
      ++tensors;
    }
  }
  CHECK(tensors >= 20);
}

TEST_CASE("invalid vectors are rejected with the kind in their name") {
  std::size_t files = 0;
  for (const std::filesystem::path& path : vectors("invalid")) {
    const std::string name = path.filename().string();
    INFO(name);
    const std::optional<ErrorKind> kind = fault_of(path);
    REQUIRE(kind.has_value());
    CHECK(error_kind_name(*kind) == name.substr(0, name.find("__")));
    const std::vector<container::Finding> findings = container::verify(path, true, {}).findings;
    REQUIRE(!findings.empty());
    CHECK(findings[0].kind == *kind);
    ++files;
  }
  CHECK(files >= 80);
}

TEST_CASE("valid vectors written again have the same values, and edited ones stay readable") {
  const TemporaryDirectory directory;
  for (const std::filesystem::path& path : vectors("valid")) {
    INFO(path.filename().string());
    const std::filesystem::path copy = directory / "copy.ingot";
    const tensor::Model model = container::open(path);
    (void)container::write(model, copy, fast(container::Compression::zstd));
    container::edit_metadata(copy, {{"note", "edited"}});
    (void)container::compact(copy, fast());
    CHECK(!fault_of(copy).has_value());
    const tensor::Model again = container::open(copy);
    REQUIRE(again.tensors.size() == model.tensors.size());
    for (std::size_t i = 0; i < model.tensors.size(); ++i)
      CHECK(again.tensors[i].fingerprint == model.tensors[i].fingerprint);
  }
}

}  // namespace ingot::test

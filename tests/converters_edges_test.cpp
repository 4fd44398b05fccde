// What other programs leave out of a file and what follows from its other fields (tests/data/edges/make.py).
#include <doctest/doctest.h>

#include "converters/gguf/blocks.h"
#include "converters/gguf/planes.h"
#include "converters/gguf/read.h"
#include "converters/hf/tokenizer.h"
#include "format/base/json.h"
#include "format/base/mapped_file.h"

namespace ingot::test {
namespace {

Json edges(std::string_view part) {
  const auto path = std::filesystem::path(INGOT_TEST_DATA) / "data/edges/expected.json";
  return parse_json(read_text_file(path, 1u << 20), path.string()).at(part, part);
}

std::vector<std::byte> from_hex(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(digit(text[i]) * 16 + digit(text[i + 1])));
  return bytes;
}

}  // namespace

TEST_CASE("q8_1_blocks_get_the_sum_that_ggml_stores") {
  const convert::gguf::BlockType& type = *convert::gguf::find_block_type("Q8_1");
  const Json blocks = edges("q8_1");
  CHECK(blocks.as_array("q8_1").size() == 6);
  for (const Json& block : blocks.as_array("q8_1")) {
    const std::vector<std::byte> bytes = from_hex(block.as_string("block"));
    tensor::Tensor tensor;
    tensor.name = "test";
    tensor.scheme = type.scheme();
    tensor.shape = {1, 32};
    tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);
    tensor.planes = convert::gguf::block_planes(nullptr, bytes, type, tensor.shape);
    std::vector<std::byte> packed(bytes.size());
    convert::gguf::pack_segment(tensor, "Q8_1", 0, packed);
    CHECK(packed == bytes);
  }
}

TEST_CASE("a_sentencepiece_model_without_special_ids_has_those_of_the_package") {
  const Json expected = edges("sentencepiece");
  const std::vector<std::byte> model = from_hex(expected.at("model", "").as_string(""));
  const tensor::TokenizerSpec spec = convert::read_sentencepiece_model(model, "tokenizer.model");
  CHECK(spec.unknown == expected.at("unknown", "").as_u64(""));
  CHECK(spec.bos == expected.at("bos", "").as_u64(""));
  CHECK(spec.eos == expected.at("eos", "").as_u64(""));
}

}  // namespace ingot::test

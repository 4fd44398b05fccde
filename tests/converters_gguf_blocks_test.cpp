// Every block type: decoded values against the package that owns the layout, and the exact way back.
#include <doctest/doctest.h>

#include <bit>
#include <cctype>
#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "converters/gguf/encode.h"
#include "converters/gguf/file.h"
#include "converters/gguf/planes.h"
#include "converters/gguf/read.h"
#include "format/base/checked_math.h"
#include "format/tensor/decode.h"
#include "tests/converters_gguf_bytes.h"
#include "tests/expect_error.h"
#include "tests/skip.h"

namespace ingot::test {
namespace {

using convert::gguf::BlockKind;
using convert::gguf::BlockType;
using tensor::Tensor;

Tensor tensor_over(const BlockType& type, const std::vector<std::byte>& bytes, tensor::Shape shape) {
  Tensor tensor;
  tensor.name = "test";
  tensor.scheme = type.scheme();
  tensor.shape = std::move(shape);
  tensor.packing =
      type.kind == BlockKind::coded ? tensor::canonical_packing(tensor.shape, tensor.scheme) : tensor::Packing::rows;
  tensor.planes = convert::gguf::block_planes(nullptr, bytes, type, tensor.shape);
  return tensor;
}

std::vector<float> decoded(const Tensor& tensor) {
  std::vector<float> values(tensor.elements());
  tensor::decode_logical(tensor, values);
  return values;
}

/// Equal as canonical values.
bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

std::vector<std::byte> from_hex(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(digit(text[i]) * 16 + digit(text[i + 1])));
  return bytes;
}

}  // namespace

TEST_CASE("decode_equals_the_gguf_package_for_random_and_adversarial_blocks") {
  const auto path = std::filesystem::path(INGOT_TEST_DATA) / "golden/foreign/gguf/blocks.gguf";
  const tensor::Model model = convert::gguf::read_model(path, {});
  int compared = 0;
  for (const Tensor& tensor : model.tensors) {
    const Tensor* expected = model.find(tensor.name + ".expected");
    if (expected == nullptr) continue;
    CAPTURE(tensor.name);
    const std::vector<float> got = decoded(tensor), wanted = decoded(*expected);
    REQUIRE(got.size() == wanted.size());
    std::size_t different = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (same(got[i], wanted[i])) continue;
      if (different++ == 0) {
        CAPTURE(i);
        CAPTURE(got[i]);
        CAPTURE(wanted[i]);
        CHECK(same(got[i], wanted[i]));
      }
    }
    CHECK(different == 0);
    ++compared;
  }
  CHECK(compared == 27);
}

TEST_CASE("every_type_that_ggml_knows_has_a_row_and_blocks_to_prove_it") {
  const auto path = std::filesystem::path(INGOT_TEST_DATA) / "golden/foreign/gguf/blocks.gguf";
  const convert::gguf::GgufFile file = convert::gguf::parse_file(path);
  const tensor::Model model = convert::gguf::read_model(path, {});
  const auto* names = file.find("ggml.names");
  const auto* elems = file.find("ggml.block_elems");
  const auto* bytes = file.find("ggml.block_bytes");
  REQUIRE((names != nullptr && elems != nullptr && bytes != nullptr));
  REQUIRE(names->count == 43);
  std::uint32_t id = 0;
  std::size_t known = 0;
  names->for_each_string([&](std::string_view ggml_name) {
    CAPTURE(id);
    const BlockType* type = convert::gguf::find_block_type(id);
    CHECK((type != nullptr) == (elems->element_number(id) != 0));  // withdrawn types have no blocks
    if (type != nullptr) {
      CAPTURE(type->name);
      ++known;
      std::string lower(type->name);
      for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      std::string theirs(ggml_name);
      for (char& c : theirs) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      CHECK(lower == theirs);
      CHECK(type->block_elems == elems->element_number(id));
      CHECK(type->block_bytes == bytes->element_number(id));
      // Activations are never weights: ggml has no function that decodes them.
      const bool activation = type->name == "Q8_1" || type->name == "Q8_K";
      if (type->kind == BlockKind::coded && !activation)
        CHECK(model.find(std::string(type->name) + ".expected") != nullptr);
    }
    ++id;
  });
  CHECK(known == convert::gguf::block_types().size());
}

TEST_CASE("planes_of_grid_types_take_no_more_bytes_than_their_blocks") {
  for (const BlockType& type : convert::gguf::block_types()) {
    const tensor::Scheme scheme = type.scheme();
    if (scheme.codes.kind != tensor::CodeKind::grid) continue;
    CAPTURE(type.name);
    std::uint64_t bytes = 0;
    for (const tensor::PlaneSpec& spec : tensor::plane_specs({3, 1024}, scheme, tensor::Packing::rows))
      bytes += spec.total_bytes;
    CHECK(bytes == 12 * type.block_bytes);
    CHECK(type.one_encoding);
  }
}

TEST_CASE("decode_gives_the_published_vectors_of_types_that_the_package_lacks") {
  struct Vector {
    const char* type;
    const char* block;
    std::array<float, 4> first;
    float seventeenth, last;
  };
  constexpr float d = 0.0999755859375f;
  const auto vectors = std::to_array<Vector>({
      {"Q1_0", "662e557a9fc4e90e33587da2c7ec11365b80", {d, -d, d, -d}, d, d},
      {"Q2_0", "662e557a9fc4e90e33587da2c7ec11365b80", {0, 0, 0, 0}, d, d},
  });
  for (const Vector& vector : vectors) {
    CAPTURE(vector.type);
    const BlockType& type = *convert::gguf::find_block_type(vector.type);
    const std::vector<std::byte> block = from_hex(vector.block);
    const std::vector<float> values = decoded(tensor_over(type, block, {1, type.block_elems}));
    for (std::size_t i = 0; i < 4; ++i) CHECK(values[i] == vector.first[i]);
    CHECK(values[17] == vector.seventeenth);
    CHECK(values.back() == vector.last);
  }
}

TEST_CASE("decode_of_activation_types_is_scale_times_code") {
  std::mt19937_64 random(7);
  for (const char* name : {"Q8_1", "Q8_K"}) {
    CAPTURE(name);
    const BlockType& type = *convert::gguf::find_block_type(name);
    std::vector<std::byte> block = random_bytes(type.block_bytes, random);
    const bool wide = type.block_elems == 256;
    if (wide)
      store_le(block.data(), 0.37f);
    else
      store_le(block.data(), std::uint16_t{0x2E66});
    const float scale = wide ? 0.37f : 0.0999755859375f;
    const std::vector<float> values = decoded(tensor_over(type, block, {1, type.block_elems}));
    for (std::size_t i = 0; i < values.size(); ++i)
      CHECK(values[i] == scale * static_cast<float>(static_cast<std::int8_t>(block[4 + i])));
  }
}

TEST_CASE("mxfp4_scale_255_is_nan") {  // ggml's own validation rejects it
  const BlockType& type = *convert::gguf::find_block_type("MXFP4");
  std::vector<std::byte> block(type.block_bytes, std::byte{0x11});
  block[0] = std::byte{255};
  for (const float value : decoded(tensor_over(type, block, {1, 32}))) CHECK(std::isnan(value));
}

TEST_CASE("join_inverts_split_for_every_type_with_one_encoding") {
  std::mt19937_64 random(1);
  for (const BlockType& type : convert::gguf::block_types()) {
    CAPTURE(type.name);
    // One row; a whole tile; a padded tile with several blocks per row; matrices whose rows are no multiple of a tile.
    for (const tensor::Shape& shape :
         {tensor::Shape{type.block_elems}, tensor::Shape{16, type.block_elems},
          tensor::Shape{37, 3ull * type.block_elems}, tensor::Shape{3, 18, 2ull * type.block_elems}}) {
      std::uint64_t elements = 1;
      for (const std::uint64_t extent : shape) elements *= extent;
      std::vector<std::byte> bytes = random_bytes(elements / type.block_elems * type.block_bytes, random);
      Tensor tensor = tensor_over(type, bytes, shape);
      std::vector<std::byte> packed(bytes.size());
      convert::gguf::pack_segment(tensor, std::string(type.name), 0, packed);
      if (!type.one_encoding) {  // what was packed is canonical: it must survive
        bytes = packed;
        tensor = tensor_over(type, bytes, shape);
        convert::gguf::pack_segment(tensor, std::string(type.name), 0, packed);
      }
      CHECK(packed == bytes);
      // Any byte range of the segment, as restore asks for it.
      for (int i = 0; i < 20; ++i) {
        const std::uint64_t begin = random() % bytes.size(), size = random() % (bytes.size() - begin) + 1;
        std::vector<std::byte> part(size);
        convert::gguf::pack_segment(tensor, std::string(type.name), begin, part);
        CHECK(std::equal(part.begin(), part.end(), bytes.begin() + static_cast<std::ptrdiff_t>(begin)));
      }
    }
  }
}

TEST_CASE("parameters_that_are_read_alone_are_those_that_are_read_with_codes") {
  std::mt19937_64 random(4);
  int apart = 0;
  for (const BlockType& type : convert::gguf::block_types()) {
    if (type.kind != BlockKind::coded) continue;
    CAPTURE(type.name);
    const tensor::Shape shape = {37, 3ull * type.block_elems};
    const std::vector<std::byte> bytes = random_bytes(37 * 3 * type.block_bytes, random);
    const Tensor tensor = tensor_over(type, bytes, shape);
    const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
    const std::uint64_t units = tensor.geometry().units;
    std::vector<std::vector<std::byte>> all, alone;
    std::vector<std::byte*> into_all, into_alone;
    for (const tensor::PlaneSpec& spec : specs) {
      all.emplace_back(units * spec.unit_bytes);
      alone.emplace_back(units * spec.unit_bytes);
      into_all.push_back(spec.sliced ? all.back().data() : nullptr);
      into_alone.push_back(spec.sliced && !spec.role.starts_with("codes") ? alone.back().data() : nullptr);
    }
    tensor.planes->read_units(0, units, into_all);
    tensor.planes->read_units(0, units, into_alone);
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (into_alone[i] == nullptr) continue;
      CHECK(alone[i] == all[i]);
      apart += type.codec->has_codes_apart ? 1 : 0;
    }
  }
  CHECK(apart >= 6);  // Q4_0, Q5_0, Q8_0, IQ4_NL; Q4_1 and Q5_1 have two each
}

TEST_CASE("pack_segment_refuses_what_the_tensor_does_not_hold") {
  std::mt19937_64 random(2);
  const BlockType& type = *convert::gguf::find_block_type("Q4_0");
  const std::vector<std::byte> bytes = random_bytes(18, random);
  const Tensor tensor = tensor_over(type, bytes, {1, 32});
  std::vector<std::byte> out(18);
  CHECK(throws_kind(ErrorKind::mismatch, [&] { convert::gguf::pack_segment(tensor, "Q4_1", 0, out); }));
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { convert::gguf::pack_segment(tensor, "Q4_7", 0, out); }));
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { convert::gguf::pack_segment(tensor, "Q4_0", 1, out); }));
}

TEST_CASE("q8_0_is_quantized_as_ggml_does") {
  // Vectors of the reference quantizer: input A x[j] = (((73 j + 19) mod 257) - 128) / 64, input B a linear
  // congruence; first block.
  std::vector<float> a(32), b(32);
  for (std::uint32_t j = 0; j < 32; ++j) a[j] = (static_cast<float>((73 * j + 19) % 257) - 128) / 64;
  std::uint32_t state = 12345;
  for (float& value : b) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 8388608.0f - 1;
  }
  const convert::gguf::Encoder& encoder = *convert::gguf::find_encoder("Q8_0");
  std::vector<std::byte> block(34);
  encoder.encode(a.data(), 32, block.data());
  CHECK(block == from_hex("9f238eda2773b2ff4c8ad72470affc4887d4216dacf94584d11d6aa9f64281ce1a67"));
  encoder.encode(b.data(), 32, block.data());
  CHECK(block == from_hex("f61f85840b23699cff0c19498a3f789233f6e576e8747f2aec00c9ec2da7965bd081"));
}

}  // namespace ingot::test

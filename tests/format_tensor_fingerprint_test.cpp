// Small floats against torch and ml_dtypes, fingerprints against an independent computation
// (tests/data/tensor/make_vectors.py).
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

#include "format/tensor/bulk.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/grids.h"
#include "tensor_oracle.h"

namespace ingot::tensor {
namespace {

/// "kind name" -> hash.
const std::map<std::string, std::string>& vectors() {
  static const std::map<std::string, std::string> all = [] {
    std::map<std::string, std::string> rows;
    std::ifstream file(INGOT_TEST_DATA "/data/tensor/vectors.txt");
    std::string kind, name, hash;
    while (file >> kind >> name >> hash) rows[kind + " " + name] = hash;
    return rows;
  }();
  return all;
}

template <class T>
std::string hex_of(const std::vector<T>& values) {
  return hash128(std::as_bytes(std::span(values))).hex();
}

std::uint32_t with_one_nan(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return (bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC00000u : bits;
}

template <class Convert>
std::string hash_of_table(std::size_t count, Convert convert) {
  std::vector<std::uint32_t> table;
  for (std::size_t code = 0; code < count; ++code) table.push_back(with_one_nan(convert(code)));
  return hex_of(table);
}

std::vector<float> conversion_inputs() {
  std::vector<std::uint32_t> bits;
  for (std::uint64_t i = 0; i < 1u << 20; ++i) bits.push_back(static_cast<std::uint32_t>(i * 2654435761u + 12345));
  for (const std::uint32_t step : {0u, 0x0FFFu, 0x1000u, 0x1001u}) {
    for (std::uint32_t code = 0; code < 65536; ++code)
      bits.push_back(with_one_nan(f16_to_f32(static_cast<std::uint16_t>(code))) + step);
  }
  for (const std::uint32_t step : {0u, 0x7FFFu, 0x8000u, 0x8001u}) {
    for (std::uint32_t code = 0; code < 65536; ++code) bits.push_back((code << 16) + step);
  }
  std::vector<float> inputs(bits.size());
  std::memcpy(inputs.data(), bits.data(), 4 * bits.size());
  return inputs;
}

std::string hash_with_one_nan(std::vector<std::uint16_t> codes, std::uint16_t infinity, std::uint16_t nan) {
  for (std::uint16_t& code : codes) code = (code & 0x7FFF) > infinity ? nan : code;
  return hex_of(codes);
}

template <class T>
Tensor plain_tensor(Shape shape, DType type, const std::vector<T>& elements) {
  Tensor tensor;
  tensor.shape = std::move(shape);
  tensor.scheme = Scheme::plain(type);
  std::vector<std::byte> bytes(elements.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), elements.data(), bytes.size());
  tensor.planes = planes_in_memory({std::move(bytes)}, tensor.shape, tensor.scheme, tensor.packing);
  return tensor;
}

std::vector<std::uint16_t> codes16(std::size_t count) {
  std::vector<std::uint16_t> codes;
  for (std::uint64_t i = 0; i < count; ++i) codes.push_back(static_cast<std::uint16_t>(i * 40503));
  return codes;
}

/// The tensors of make_vectors.py, in its order.
std::map<std::string, Tensor> example_tensors() {
  std::map<std::string, Tensor> tensors;
  std::vector<std::uint32_t> f32;
  for (std::uint64_t i = 0; i < 150003; ++i) {
    f32.push_back(i % 1001 == 0   ? 0xFF800001u
                  : i % 1000 == 0 ? 0x80000000u
                                  : static_cast<std::uint32_t>(i * 2654435761u));
  }
  tensors["f32_3x50001"] = plain_tensor({3, 50001}, DType::f32, f32);
  tensors["f16_70000"] = plain_tensor({70000}, DType::f16, codes16(70000));
  tensors["bf16_1000x131"] = plain_tensor({1000, 131}, DType::bf16, codes16(131000));
  tensors["f32_scalar"] = plain_tensor({}, DType::f32, std::vector<float>{-0.0f});
  tensors["f32_0x5"] = plain_tensor({0, 5}, DType::f32, std::vector<float>{});
  std::vector<std::uint8_t> bytes;
  for (unsigned i = 0; i < 800; ++i) bytes.push_back(static_cast<std::uint8_t>(7 * i));
  tensors["c64_100"] = plain_tensor({100}, DType::c64, bytes);
  test::PlainTensor u4{{37, 64}, {}, Packing::tiles, 1, 37, 64};
  u4.scheme.codes.type = DType::u4;
  u4.scheme.scales = {{DType::f16, {1, 32}, 1, 0, false}};
  u4.scheme.offset = {OffsetKind::zero, 8, {}};
  for (std::uint64_t i = 0; i < 37 * 64; ++i) u4.codes.push_back(i * 7 % 16);
  u4.levels.emplace_back();
  for (std::uint64_t i = 0; i < 74; ++i) u4.levels[0].push_back(0x2C00 + i * 37);
  tensors["u4_37x64"] = test::as_tensor(u4);
  return tensors;
}

}  // namespace

TEST_CASE("every_code_of_every_small_float_is_what_its_owner_says") {
  CHECK(hash_of_table(65536, [](std::size_t c) { return f16_to_f32(static_cast<std::uint16_t>(c)); }) ==
        vectors().at("float_table f16"));
  CHECK(hash_of_table(65536, [](std::size_t c) { return bf16_to_f32(static_cast<std::uint16_t>(c)); }) ==
        vectors().at("float_table bf16"));
  const std::map<std::string, float (*)(std::uint8_t) noexcept> small = {
      {"e4m3", e4m3_to_f32}, {"e5m2", e5m2_to_f32}, {"e4m3fnuz", e4m3fnuz_to_f32}, {"e5m2fnuz", e5m2fnuz_to_f32},
      {"e8m0", e8m0_to_f32}, {"e3m2", e3m2_to_f32}, {"e2m3", e2m3_to_f32},         {"e2m1", e2m1_to_f32}};
  for (const auto& row : small) {
    const std::string& type = row.first;
    const auto convert = row.second;
    CAPTURE(type);
    const std::size_t count = std::size_t{1} << bits(*dtype_from_name(type));
    CHECK(hash_of_table(count, [&](std::size_t c) { return convert(static_cast<std::uint8_t>(c)); }) ==
          vectors().at("float_table " + type));
  }
}

TEST_CASE("grids_are_ggmls") {
  for (const Grid& grid : grids()) {
    CAPTURE(grid.name);
    const std::vector<std::int8_t> entries = expand(grid);
    CHECK(entries.size() == std::size_t{grid.entries} * grid.width);
    CHECK(hex_of(entries) == vectors().at("grid " + std::string(grid.name)));
  }
}

TEST_CASE("rounding_to_16_bits_is_torchs_in_every_build") {
  const std::vector<float> inputs = conversion_inputs();
  for (const BulkLoops* loops : {&bulk(), &bulk_baseline()}) {
    std::vector<std::uint16_t> codes(inputs.size());
    loops->f32_to_f16(inputs.data(), codes.data(), inputs.size());
    CHECK(hash_with_one_nan(codes, 0x7C00, 0x7E00) == vectors().at("f32_to f16"));
    CHECK(f32_to_f16(inputs[777]) == codes[777]);
    loops->f32_to_bf16(inputs.data(), codes.data(), inputs.size());
    CHECK(hash_with_one_nan(codes, 0x7F80, 0x7FC0) == vectors().at("f32_to bf16"));
    CHECK(f32_to_bf16(inputs[777]) == codes[777]);
  }
  CHECK(f32_to_f16(-NAN) == 0xFE00);
  CHECK(f32_to_f16(65519.996f) == 0x7BFF);
  CHECK(f32_to_f16(65520.0f) == 0x7C00);
}

TEST_CASE("the_builds_of_the_hot_loops_agree_bit_for_bit") {
  std::mt19937_64 random(11);
  const std::size_t count = 1003;
  std::vector<std::uint8_t> codes(count);
  std::vector<std::uint16_t> halves(count);
  std::vector<float> floats(count), table(256);
  for (std::size_t i = 0; i < count; ++i) {
    codes[i] = static_cast<std::uint8_t>(random());
    halves[i] = static_cast<std::uint16_t>(random());
    const auto pattern = static_cast<std::uint32_t>(random());
    std::memcpy(&floats[i], &pattern, 4);
  }
  for (float& entry : table) entry = static_cast<float>(random() % 1000) - 500;
  std::vector<float> small_floats(256);
  for (std::size_t i = 0; i < 256; ++i) small_floats[i] = e4m3_to_f32(static_cast<std::uint8_t>(i));
  std::vector<Run> runs(count);
  for (Run& run : runs)
    run = {static_cast<float>(random() % 1000) / 7, static_cast<float>(random() % 16),
           static_cast<float>(random() % 99) / 3};
  for (const std::uint64_t run_cols : {1, 7, 16, 32, 100, 2000}) {
    std::vector<std::vector<float>> results;
    for (const BulkLoops* loops : {&bulk(), &bulk_baseline()}) {
      std::vector<float> out(6 * count);
      std::vector<std::uint8_t> nibbles = codes;
      for (std::uint8_t& code : nibbles) code &= 15;
      loops->decode_integers(codes.data(), 0x80, count, run_cols, runs.data(), out.data());
      loops->decode_table16(nibbles.data(), table.data(), count, run_cols, runs.data(), out.data() + count);
      loops->decode_table256(codes.data(), table.data(), count, run_cols, runs.data(), out.data() + 2 * count);
      loops->f16_to_f32(halves.data(), out.data() + 3 * count, count);
      loops->bf16_to_f32(halves.data(), out.data() + 4 * count, count);
      loops->decode_e4m3(codes.data(), small_floats.data(), count, run_cols, runs.data(), out.data() + 5 * count);
      results.push_back(out);
    }
    CHECK(std::memcmp(results[0].data(), results[1].data(), 6 * count * sizeof(float)) == 0);
  }
  // Sums whose lower half decides: numbers near a rounding boundary of binary32 plus something far below.
  std::vector<double> numbers(count);
  for (double& number : numbers) number = static_cast<double>(random() % 4096);
  for (int trial = 0; trial < 200; ++trial) {
    const auto scale = static_cast<double>((random() & 0xFFFFFF) | 0x800000);
    const WideRun run{
        scale, static_cast<double>(random() % 16),
        std::ldexp(static_cast<double>(random() % 0xFFFFFF) - 0x800000, static_cast<int>(random() % 120) - 90)};
    std::vector<float> a(2 * count), b(2 * count);
    for (auto& [loops, out] : {std::pair{&bulk(), &a}, std::pair{&bulk_baseline(), &b}}) {
      loops->round_sums(numbers.data(), count, run, out->data());
      loops->round_products(numbers.data(), count, run, out->data() + count);
    }
    REQUIRE(std::memcmp(a.data(), b.data(), 2 * count * sizeof(float)) == 0);
  }
  for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{7}, std::uint64_t{8},
                                std::uint64_t{9}, std::uint64_t{count}}) {
    std::vector<std::uint32_t> a(3 * count), b(3 * count);
    for (auto& [loops, out] : {std::pair{&bulk(), &a}, std::pair{&bulk_baseline(), &b}}) {
      loops->canonical_f32(floats.data(), out->data(), n);
      loops->canonical_f16(halves.data(), out->data() + count, n);
      loops->canonical_bf16(halves.data(), out->data() + 2 * count, n);
    }
    CHECK(a == b);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(a[i] == test::canonical(floats[i]));
  }
}

TEST_CASE("fingerprints_are_those_of_the_independent_computation") {
  Model model;
  std::vector<Hash128> hashes;
  for (const auto& example : example_tensors()) {
    const std::string& name = example.first;
    Tensor tensor = example.second;
    CAPTURE(name);
    tensor.name = name;
    hashes.push_back(fingerprint(tensor));
    CHECK(hashes.back().hex() == vectors().at("fingerprint " + name));
    model.tensors.push_back(tensor);
  }
  // Order of the tensors, derived ones and a tied head do not matter.
  std::swap(model.tensors[0], model.tensors[3]);
  std::swap(hashes[0], hashes[3]);
  CHECK(model_fingerprint(model, hashes).hex() == vectors().at("fingerprint model"));
  model.tensors.push_back(model.tensors[0]);
  model.tensors.back().name = "extra";
  model.tensors.back().derived = true;
  hashes.push_back(hashes[0]);
  CHECK(model_fingerprint(model, hashes).hex() == vectors().at("fingerprint model"));
}

TEST_CASE("a_tied_head_with_the_embeddings_values_is_left_out") {
  Model model;
  for (const char* name : {"lm_head.weight", "model.embed_tokens.weight"}) {
    model.tensors.push_back(plain_tensor({2}, DType::f32, std::vector<float>{1, 2}));
    model.tensors.back().name = name;
  }
  const Hash128 a = fingerprint(model.tensors[0]);
  Hash128 b = a;
  b.bytes[0] ^= std::byte{1};
  const Hash128 untied = model_fingerprint(model, {a, a});
  model.config.tied_embeddings = true;
  const Hash128 tied = model_fingerprint(model, {a, a});
  CHECK(tied != untied);
  CHECK(model_fingerprint(model, {b, a}) != tied);
  Model embedding_only = model;
  embedding_only.tensors.erase(embedding_only.tensors.begin());
  CHECK(model_fingerprint(embedding_only, {a}) == tied);
}

TEST_CASE("the_builder_gives_the_same_fingerprint_in_any_order") {
  const Tensor tensor = example_tensors().at("f32_3x50001");
  std::vector<float> values(tensor.elements());
  decode_logical(tensor, values);
  FingerprintBuilder builder(tensor.shape);
  for (const std::uint64_t block : {2, 0, 1}) {
    const std::uint64_t begin = block * kFingerprintBlockElems;
    builder.add_block(block, std::span(values).subspan(
                                 begin, std::min<std::uint64_t>(kFingerprintBlockElems, values.size() - begin)));
  }
  CHECK(builder.finish() == fingerprint(tensor));
}

TEST_CASE("the_same_values_have_one_fingerprint_in_every_scheme") {
  // The values of u4_37x64 as binary32, as the same codes with zero points and with a bias, in both packings,
  // transposed.
  const Tensor tiles = example_tensors().at("u4_37x64");
  std::vector<float> values(tiles.elements());
  decode_logical(tiles, values);
  const Hash128 expected = fingerprint(tiles);
  CHECK(fingerprint(plain_tensor({37, 64}, DType::f32, values)) == expected);
  std::vector<float> transposed(values.size());
  for (std::size_t r = 0; r < 37; ++r) {
    for (std::size_t c = 0; c < 64; ++c) transposed[c * 37 + r] = values[r * 64 + c];
  }
  Tensor turned = plain_tensor({64, 37}, DType::f32, transposed);
  turned.shape = {37, 64};
  turned.transforms = {{TransformKind::transpose, 0}};
  CHECK(fingerprint(turned) == expected);
  CHECK(fingerprint(plain_tensor({64, 37}, DType::f32, values)) != expected);  // the shape counts
}

}  // namespace ingot::tensor

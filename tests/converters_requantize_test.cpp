// requantize() against what the libraries that own the schemes make of the same values
// (tests/golden/foreign/requantize/make.py).
#include <doctest/doctest.h>

#include <bit>
#include <cstring>
#include <map>
#include <random>

#include "converters/files/safetensors.h"
#include "converters/gguf/encode.h"
#include "converters/recode/recode.h"
#include "converters/requantize/by_library.h"
#include "expect_error.h"
#include "format/base/mapped_file.h"
#include "format/tensor/decode.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert {
namespace {

using tensor::Block;
using tensor::DType;
using tensor::Level;
using tensor::Offset;
using tensor::OffsetKind;
using tensor::Scheme;
using tensor::Shape;
using tensor::Tensor;

struct Cases {
  Cases() : file(INGOT_TEST_DATA "/golden/foreign/requantize/cases.safetensors") {
    for (const SafetensorsEntry& entry : parse_safetensors(file.bytes(), "cases").entries) entries[entry.name] = entry;
  }
  [[nodiscard]] bool has(const std::string& name) const { return entries.count(name) != 0; }
  template <class T>
  [[nodiscard]] std::vector<T> get(const std::string& name) const {
    const SafetensorsEntry& entry = entries.at(name);
    std::vector<T> values(entry.size() / sizeof(T));
    std::memcpy(values.data(), file.bytes().data() + entry.begin, entry.size());
    return values;
  }
  [[nodiscard]] Shape shape(const std::string& name) const { return entries.at(name).shape; }

  MappedFile file;
  std::map<std::string, SafetensorsEntry> entries;
};

Tensor plain(const Shape& shape, const std::vector<float>& values) {
  Tensor tensor;
  tensor.name = "t";
  tensor.shape = shape;
  tensor.scheme = Scheme::plain(DType::f32);
  std::vector<std::vector<std::byte>> planes(1);
  planes[0].resize(values.size() * sizeof(float));
  std::memcpy(planes[0].data(), values.data(), planes[0].size());
  tensor.planes = tensor::planes_in_memory(std::move(planes), shape, tensor.scheme, tensor.packing);
  return tensor;
}

Scheme numbers(DType type, Level scale, Offset offset = {}) {
  Scheme scheme;
  scheme.codes.type = type;
  scheme.scales = {scale};
  scheme.offset = std::move(offset);
  return scheme;
}
Offset zero(std::int32_t value) { return {OffsetKind::zero, value, {}}; }
Offset bias(Level level) { return {OffsetKind::bias, 0, {level}}; }
Offset zero_points(Level level) { return {OffsetKind::zero_points, 0, {level}}; }
Scheme table(const char* name, Block block, std::uint32_t flat = 0) {
  Scheme scheme = numbers(DType::u4, {DType::f32, block});
  scheme.codes.kind = tensor::CodeKind::table;
  scheme.codes.table = name;
  scheme.flat = flat;
  return scheme;
}
Level level(DType type, Block block) { return {type, block}; }

/// Codes of a tensor, one per byte, and the numbers of its levels, all in row-major order: through decoding tensors
/// whose other parts are trivial would test less, so the planes are unpacked.
struct Unpacked {
  std::vector<std::uint8_t> codes;
  std::vector<std::vector<std::byte>> levels;
};
Unpacked unpack(const Tensor& tensor) {
  const auto specs = tensor.plane_specs();
  const tensor::Geometry view = tensor.geometry();
  Unpacked result;
  std::vector<std::uint8_t> unit_codes(view.rows_per_unit * view.cols);
  for (std::uint64_t unit = 0; unit < view.units; ++unit) {
    std::vector<std::vector<std::byte>> bytes(specs.size());
    std::vector<std::byte*> out(specs.size(), nullptr);
    const std::byte* slices[3] = {};
    for (std::size_t i = 0; i < specs.size(); ++i) {
      bytes[i].resize(specs[i].unit_bytes);
      if (specs[i].sliced) out[i] = bytes[i].data();
    }
    tensor.planes->read_units(unit, unit + 1, out);
    const std::uint64_t rows = std::min(view.rows_per_unit, view.rows - unit * view.rows_per_unit);
    std::size_t codes = 0;
    for (; codes < specs.size() && specs[codes].role.starts_with("codes"); ++codes) slices[codes] = bytes[codes].data();
    tensor::unpack_unit(view, tensor::bits(tensor.scheme.codes.type), slices, unit_codes.data());
    result.codes.insert(result.codes.end(), unit_codes.begin(),
                        unit_codes.begin() + static_cast<std::ptrdiff_t>(rows * view.cols));
    result.levels.resize(specs.size() - codes);
    for (std::size_t i = codes; i < specs.size(); ++i) {
      std::vector<std::byte>& all = result.levels[i - codes];
      if (!specs[i].sliced) {
        const Bytes whole = tensor.planes->whole(i);
        all.assign(whole.begin(), whole.end());
        continue;
      }
      const std::size_t size = (tensor::bits(specs[i].type) + 7u) / 8u;
      std::vector<std::byte> elements(view.rows_per_unit * specs[i].cols * size);
      tensor::unpack_parameters(view, specs[i].type, specs[i].cols, bytes[i].data(), elements.data());
      all.insert(all.end(), elements.begin(),
                 elements.begin() + static_cast<std::ptrdiff_t>(rows * specs[i].cols * size));
    }
  }
  result.codes.resize(std::min<std::size_t>(result.codes.size(), tensor.elements()));
  return result;
}

float number_of(DType type, const std::byte* element) {
  // Values of a plain tensor of that type: the decoder's own conversion.
  const std::size_t size = (tensor::bits(type) + 7u) / 8u;
  Tensor one;
  one.shape = {1, 1};
  one.scheme.codes.type = type;
  one.planes = tensor::planes_in_memory({{element, element + size}}, one.shape, one.scheme, one.packing);
  float value = 0;
  tensor::decode_logical(one, {&value, 1});
  return value;
}

/// `made` against the codes and numbers of a case.
void check_made(const Cases& cases, const std::string& name, const Tensor& made) {
  CAPTURE(name);
  const Scheme& scheme = made.scheme;
  const Unpacked unpacked = unpack(made);
  const std::vector<std::uint8_t> codes = cases.get<std::uint8_t>(name + ".codes");
  REQUIRE(unpacked.codes.size() == codes.size());
  std::size_t differing = 0, first = codes.size();
  const std::uint8_t mask = static_cast<std::uint8_t>((1u << tensor::bits(scheme.codes.type)) - 1);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    if ((unpacked.codes[i] & mask) == (codes[i] & mask)) continue;
    if (differing++ == 0) first = i;
  }
  CAPTURE(first);
  CHECK(differing == 0);
  std::vector<Level> levels = scheme.scales;
  levels.insert(levels.end(), scheme.offset.levels.begin(), scheme.offset.levels.end());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const char* part = i == 0 ? ".scales" : i < scheme.scales.size() ? ".scales_1" : ".offsets";
    const std::vector<float> expected = cases.get<float>(name + part);
    const std::size_t size = (tensor::bits(levels[i].type) + 7u) / 8u;
    REQUIRE(unpacked.levels[i].size() == expected.size() * size);
    for (std::size_t j = 0; j < expected.size(); ++j) {
      CAPTURE(j);
      const float number = number_of(levels[i].type, unpacked.levels[i].data() + j * size);
      CHECK(std::bit_cast<std::uint32_t>(number) == std::bit_cast<std::uint32_t>(expected[j]));
    }
  }
}

void check_case(const Cases& cases, const std::string& name, const Scheme& scheme, const std::string& input) {
  CAPTURE(name);
  REQUIRE(can_requantize(scheme));
  const Shape shape = cases.shape(input);
  const Tensor made = requantize(plain(shape, cases.get<float>(input)), {scheme, {}});
  CHECK(made.packing == tensor::canonical_packing(shape, scheme));
  check_made(cases, name, made);
}

/// A tensor of binary32 in a narrower type.
Tensor cast(const Tensor& source, DType type) {
  if (type == DType::f32) return source;
  std::vector<float> values(source.elements());
  tensor::decode_logical(source, values);
  std::vector<std::vector<std::byte>> planes(1);
  for (const float value : values) {
    const std::uint16_t bits = type == DType::f16 ? tensor::f32_to_f16(value) : tensor::f32_to_bf16(value);
    planes[0].push_back(static_cast<std::byte>(bits & 255));
    planes[0].push_back(static_cast<std::byte>(bits >> 8));
  }
  Tensor tensor = source;
  tensor.scheme = Scheme::plain(type);
  tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
  return tensor;
}

DType type_named(const std::string& name) { return *tensor::dtype_from_name(name); }

}  // namespace

TEST_CASE("requantize_makes_the_blocks_of_the_gguf_package") {
  const Cases cases;
  const Level half{DType::f16, {1, 32}};
  check_case(cases, "Q8_0", numbers(DType::i8, half), "values");
  check_case(cases, "Q4_0", numbers(DType::u4, half, zero(8)), "values");
  check_case(cases, "Q5_0", numbers(DType::u5, half, zero(16)), "values");
  check_case(cases, "Q4_1", numbers(DType::u4, half, bias(half)), "values");
  check_case(cases, "Q5_1", numbers(DType::u5, half, bias(half)), "values");
}

/// Its rounding is GGUF's own (spec/quantizers.md section 2), so that only the encoder of blocks knows it.
TEST_CASE("the_encoder_of_gguf_makes_the_mxfp4_blocks_of_the_gguf_package") {
  const Cases cases;
  const std::vector<float> values = cases.get<float>("values");
  const std::vector<std::byte> expected = cases.get<std::byte>("MXFP4.blocks");
  const gguf::Encoder* encoder = gguf::find_encoder("MXFP4");
  REQUIRE(encoder != nullptr);
  std::vector<std::byte> blocks(values.size() / 32 * 17);
  REQUIRE(blocks.size() == expected.size());
  encoder->encode(values.data(), values.size(), blocks.data());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    CAPTURE(i);
    CHECK(blocks[i] == expected[i]);
  }
}

TEST_CASE("requantize_makes_the_groups_of_mlx") {
  const Cases cases;
  for (const auto& [codes, bits] : std::map<DType, int>{
           {DType::u2, 2}, {DType::u3, 3}, {DType::u4, 4}, {DType::u5, 5}, {DType::u6, 6}, {DType::u8, 8}}) {
    for (const char* kind : {"f32", "f16", "bf16"}) {
      const Level scale{type_named(kind), {1, std::string(kind) == "f32" ? 32u : 64u}};
      check_case(cases, "mlx_" + std::to_string(bits) + "_" + kind, numbers(codes, scale, bias(scale)), "values");
    }
  }
}

TEST_CASE("requantize_makes_the_blocks_of_bitsandbytes") {
  const Cases cases;
  for (const std::string kind : {"nf4", "fp4"}) {
    check_case(cases, "bnb_" + kind, table(kind.c_str(), {1, 64}), "values");
    check_case(cases, "bnb_" + kind, table(kind.c_str(), {1, 0}, 64), "values");
    check_case(cases, "bnb_" + kind + "_odd", table(kind.c_str(), {1, 0}, 64), "odd.values");
  }
  Scheme rows = numbers(DType::i8, level(DType::f32, {1, 0}));
  rows.scales.push_back(level(DType::f32, {0, 0}));
  rows.rounded_steps = true;
  check_case(cases, "bnb_int8", rows, "values");
}

namespace {

/// What bitsandbytes has for nested.<name>: values, or the rule that make.py computes them by.
std::vector<float> nested_values(const Cases& cases, const std::string& name, const Shape& shape) {
  if (cases.has("nested." + name + ".values")) return cases.get<float>("nested." + name + ".values");
  std::vector<float> values(shape[0] * shape[1]);
  for (std::uint32_t i = 0; i < values.size(); ++i)
    values[i] = (static_cast<float>((i * 2654435761u >> 7) % 65521u) - 32760) / 65536;
  return values;
}

void check_nested(const Cases& cases, const std::string& name, const std::string& kind, const Shape& shape,
                  const Scheme& scheme) {
  const std::string prefix = "nested." + name + "." + kind;
  CAPTURE(prefix);
  REQUIRE(can_requantize(scheme));
  const Tensor made = requantize(plain(shape, nested_values(cases, name, shape)), {scheme, {}});
  const Unpacked unpacked = unpack(made);
  if (cases.has(prefix + ".codes")) {
    const std::vector<std::uint8_t> packed = cases.get<std::uint8_t>(prefix + ".codes");
    REQUIRE(unpacked.codes.size() == 2 * packed.size());
    std::size_t differing = 0;
    for (std::size_t i = 0; i < unpacked.codes.size(); ++i)
      differing += unpacked.codes[i] != (i % 2 == 0 ? packed[i / 2] >> 4 : packed[i / 2] & 15);
    CHECK(differing == 0);
  }
  const std::vector<std::byte> scales = cases.get<std::byte>(prefix + ".scales_0");
  CHECK(std::equal(scales.begin(), scales.end(), unpacked.levels[0].begin(), unpacked.levels[0].end()));
  CHECK(unpacked.levels[1] == cases.get<std::byte>(prefix + ".scales_1"));
  CHECK(unpacked.levels[2] == cases.get<std::byte>("nested.table"));
  CHECK(unpacked.levels[3] == cases.get<std::byte>(prefix + ".offset"));
}

}  // namespace

TEST_CASE("requantize_makes_the_double_quantization_of_bitsandbytes") {
  const Cases cases;
  const auto scheme = [](const std::string& kind, std::uint32_t block, Block outer, std::uint32_t flat = 0) {
    Scheme result = table(kind.c_str(), {1, block}, flat);
    result.scales[0].type = DType::u8;
    result.scales[0].custom_table = true;
    result.scales.push_back(level(DType::f32, outer));
    result.rounded_scale = result.scale_offset = true;
    return result;
  };
  for (const std::string kind : {"nf4", "fp4"}) {
    check_nested(cases, "matrix", kind, {32, 512}, scheme(kind, 64, {32, 0}));
    check_nested(cases, "long", kind, {2, 16384}, scheme(kind, 32, {1, 8192}));
    check_nested(cases, "flat", kind, {37, 100}, scheme(kind, 0, {256, 0}, 64));
    check_nested(cases, "many", kind, {64, 5120}, scheme(kind, 0, {256, 0}, 32));
  }
  const Tensor source = plain({32, 512}, cases.get<float>("nested.matrix.values"));
  const StoredForm other{scheme("nf4", 64, {16, 0}), {}};  // 128 scales share one
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)requantize(source, other); }));
}

TEST_CASE("requantize_for_mlx_makes_its_groups_of_small_floats") {
  const Cases cases;
  struct Mode {
    const char* name;
    DType codes, scales;
    std::uint32_t group;
  };
  for (const Mode& mode : {Mode{"mxfp4", DType::e2m1, DType::e8m0, 32}, Mode{"mxfp8", DType::e4m3, DType::e8m0, 32},
                           Mode{"nvfp4", DType::e2m1, DType::e4m3, 16}}) {
    const Scheme scheme = numbers(mode.codes, {mode.scales, {1, mode.group}});
    for (const char* kind : {"f32", "f16", "bf16"}) {
      const std::string name = std::string("mlx_") + mode.name + "_" + kind;
      CAPTURE(name);
      const Tensor source = cast(plain(cases.shape("values"), cases.get<float>("values")), type_named(kind));
      check_made(cases, name, requantize_for_mlx(source, {scheme, {}}));
    }
  }
  const Tensor source = plain(cases.shape("values"), cases.get<float>("values"));
  const Level half{DType::f16, {1, 64}};
  check_made(cases, "mlx_4_f16", requantize_for_mlx(source, {numbers(DType::u4, half, bias(half)), {}}));
}

TEST_CASE("requantize_makes_the_integers_of_compressed_tensors") {
  const Cases cases;
  const auto block = [](std::uint32_t group) {
    return group == 0 ? Block{0, 0} : group == 128 ? Block{1, 0} : Block{1, group};
  };
  struct Row {
    int bits;
    const char* kind;
    std::uint32_t group;
    bool symmetric;
  };
  for (const Row& row : std::initializer_list<Row>{{4, "f32", 32, true},
                                                   {4, "bf16", 128, true},
                                                   {4, "f16", 64, true},
                                                   {8, "f32", 128, true},
                                                   {8, "bf16", 128, true},
                                                   {8, "f32", 0, true},
                                                   {4, "f32", 32, false},
                                                   {4, "bf16", 64, false},
                                                   {4, "f16", 32, false},
                                                   {8, "f32", 128, false},
                                                   {8, "bf16", 64, false}}) {
    const Level scale{type_named(row.kind), block(row.group)};
    const DType codes = row.bits == 4 ? DType::u4 : DType::u8;
    const std::string name = std::string(row.symmetric ? "ct_symmetric_" : "ct_asymmetric_") +
                             std::to_string(row.bits) + "_" + row.kind + "_" + std::to_string(row.group);
    const Offset offset = row.symmetric ? zero(1 << (row.bits - 1)) : zero_points({codes, scale.block});
    check_case(cases, name, numbers(codes, scale, offset), "values");
  }
}

TEST_CASE("requantize_makes_the_floats_of_compressed_tensors_and_torch") {
  const Cases cases;
  check_case(cases, "ct_e4m3_f32_0", numbers(DType::e4m3, level(DType::f32, {0, 0})), "values");
  check_case(cases, "ct_e4m3_f32_128", numbers(DType::e4m3, level(DType::f32, {1, 0})), "values");
  check_case(cases, "ct_e4m3_bf16_128", numbers(DType::e4m3, level(DType::bf16, {1, 0})), "values");
  check_case(cases, "ct_e4m3_f32_32", numbers(DType::e4m3, level(DType::f32, {1, 32})), "values");
  check_case(cases, "ct_mxfp4", numbers(DType::e2m1, level(DType::e8m0, {1, 32})), "values");
  check_case(cases, "cast_e4m3fn", Scheme::plain(DType::e4m3), "cast.values");
  check_case(cases, "cast_e5m2", Scheme::plain(DType::e5m2), "cast.values");
}

TEST_CASE("requantize_for_compressed_tensors_makes_its_mxfp8_and_nvfp4") {
  const Cases cases;
  Scheme nvfp4 = numbers(DType::e2m1, level(DType::e4m3, {1, 16}));
  nvfp4.scales.push_back({.type = DType::f32, .block = {0, 0}, .divide = true});
  nvfp4.rounded_scale = true;
  const Scheme mxfp8 = numbers(DType::e4m3, level(DType::e8m0, {1, 32}));
  for (const char* kind : {"f32", "bf16"}) {
    CAPTURE(kind);
    const Tensor source = cast(plain(cases.shape("values"), cases.get<float>("values")), type_named(kind));
    check_made(cases, std::string("ct_mxfp8_") + kind, requantize_for_compressed_tensors(source, {mxfp8, {}}));
    check_made(cases, std::string("ct_nvfp4_") + kind, requantize_for_compressed_tensors(source, {nvfp4, {}}));
  }
  check_case(cases, "ct_nvfp4_f32", nvfp4, "values");
  const std::vector<float> zeros(64);
  const Tensor empty = requantize(plain({2, 32}, zeros), {nvfp4, {}});
  std::vector<float> values(64, 1);
  tensor::decode_logical(empty, values);
  CHECK(values == zeros);
}

TEST_CASE("requantize_moves_rows_as_asked_and_refuses_the_rest") {
  const Cases cases;
  const std::vector<float> values = cases.get<float>("values");
  const Tensor source = plain(cases.shape("values"), values);
  const Scheme scheme = numbers(DType::i8, level(DType::f16, {1, 32}));
  const Tensor straight = requantize(source, {scheme, {}});
  const Tensor moved = requantize(source, {scheme, {{tensor::TransformKind::rope_interleave, 2}}});
  std::vector<float> a(values.size()), b(values.size());
  tensor::decode_logical(straight, a);
  tensor::decode_logical(moved, b);
  CHECK(a == b);
  const StoredForm transposed{scheme, {{tensor::TransformKind::transpose}}};
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)requantize(source, transposed); }));
  const StoredForm floats{Scheme::plain(DType::f32), {}};
  CHECK_FALSE(can_requantize(floats.scheme));
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)requantize(source, floats); }));
}

}  // namespace ingot::convert

// Every (from, to) pair of layouts: the class that is forecast is the class that is reached, judged by values that an
// independent reading of the specification computes (tensor_oracle.h). Prints the matrix of README.md and compares the
// two; INGOT_PRINT_MATRIX=1 prints it only (tests/print_matrix).
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <set>

#include "converters/gguf/blocks.h"
#include "converters/gguf/planes.h"
#include "converters/registry.h"
#include "recode_checks.h"
#include "temporary_directory.h"

namespace ingot::convert {
namespace {

using recoding::bias;
using recoding::checkpoint_like;
using recoding::flat;
using recoding::group;
using recoding::kAll;
using recoding::kRow;
using recoding::level;
using recoding::numbers;
using recoding::ordered;
using recoding::rounded;
using recoding::stepped;
using recoding::table;
using recoding::zero;
using recoding::zero_points;
using tensor::DType;
using tensor::Scheme;
using tensor::Shape;
using tensor::Tensor;

/// One row of the matrix: what checkpoints of a layout hold, made up from schemes or taken from fixtures.
struct From {
  std::string name;
  std::vector<Scheme> schemes;
  std::vector<Shape> shapes;
  std::string block_type = {};             // of blocks in golden/foreign/gguf/blocks.gguf
  std::vector<std::string> fixtures = {};  // directories of golden/foreign
};

const std::vector<Shape> kShapes = {{32, 128}, {64, 64}, {16, 96}, {7, 160}};
const std::vector<Shape> kWide = {{32, 256}, {5, 512}};
const std::vector<Shape> kExperts = {{3, 32, 64}, {2, 48, 96}};

Scheme ggml(std::string_view name) { return gguf::find_block_type(name)->scheme(); }
Scheme affine(DType code, DType scale, std::uint32_t cols) {
  return numbers(code, {level(scale, group(cols))}, zero_points(DType::u8, group(cols)));
}
Scheme symmetric(DType code, DType scale, std::uint32_t cols, std::int32_t middle) {
  return numbers(code, {level(scale, group(cols))}, zero(middle));
}
Scheme mlx(DType code, DType scale, std::uint32_t cols) {
  return numbers(code, {level(scale, group(cols))}, bias(scale, group(cols)));
}
Scheme nf4(std::uint32_t cols) { return table("nf4", DType::u4, {level(DType::f32, group(cols))}); }
Scheme fp4(std::uint32_t cols) { return table("fp4", DType::u4, {level(DType::f32, group(cols))}); }
Scheme llm_int8() { return stepped(numbers(DType::i8, {level(DType::f32, kRow), level(DType::f32, kAll)})); }
Scheme nvfp4(bool divides) {
  Scheme scheme = rounded(numbers(DType::e2m1, {level(DType::e4m3, group(16)), level(DType::f32, kAll)}));
  scheme.scales[1].divide = divides;
  return scheme;
}
Scheme fp8(DType scale, tensor::Block block) { return numbers(DType::e4m3, {level(scale, block)}); }
Scheme mxfp4() { return numbers(DType::e2m1, {level(DType::e8m0, group(32))}); }

void add_gguf_rows(std::vector<From>& rows) {
  for (const gguf::BlockType& type : gguf::block_types()) {
    if (type.kind != gguf::BlockKind::coded || type.file_type < 0) continue;  // the rest holds no weights
    From row{"gguf " + std::string(type.name), {}, {}};
    const bool made_up = type.scheme().codes.kind != tensor::CodeKind::grid && type.name != "TQ1_0";
    if (made_up) row.schemes = {type.scheme()};
    row.shapes = type.block_elems <= 32 ? kShapes : kWide;
    row.block_type = type.name;
    rows.push_back(std::move(row));
  }
}

void add_linear_rows(std::vector<From>& rows) {
  rows.push_back({"gptq 4-bit", {affine(DType::u4, DType::f16, 128), affine(DType::u4, DType::f16, 32)}, kWide});
  rows.push_back({"gptq 8-bit", {affine(DType::u8, DType::f16, 128)}, kWide});
  rows.push_back({"gptq 2-, 3-bit", {affine(DType::u2, DType::f16, 64), affine(DType::u3, DType::f16, 64)}, kWide});
  rows.push_back({"gptq act-order", {ordered(affine(DType::u4, DType::f16, 128), tensor::Order::group_index)}, kWide});
  rows.push_back({"awq", {affine(DType::u4, DType::f16, 128), affine(DType::u4, DType::f16, 64)}, kWide});
  for (const DType type : {DType::f16, DType::bf16, DType::f32}) {
    rows.push_back({"mlx affine " + std::string(tensor::name(type)),
                    {mlx(DType::u4, type, 64), mlx(DType::u8, type, 32), mlx(DType::u3, type, 128)},
                    kWide});
  }
  rows.push_back({"mlx mxfp4", {mxfp4()}, kShapes});
}

std::vector<From> rows() {
  std::vector<From> rows;
  rows.push_back({"hf f32", {Scheme::plain(DType::f32)}, kShapes});
  rows.push_back({"hf bf16", {Scheme::plain(DType::bf16)}, kShapes});
  rows.push_back({"hf f16", {Scheme::plain(DType::f16)}, kShapes});
  add_gguf_rows(rows);
  add_linear_rows(rows);
  rows.push_back({"bnb nf4, fp4",
                  {nf4(64), fp4(128), flat(table("nf4", DType::u4, {level(DType::f32, kRow)}), 64)},
                  kWide,
                  {},
                  {"bnb/four_bit"}});
  rows.push_back({"bnb int8", {llm_int8()}, kShapes});
  rows.push_back({"compressed-tensors w4a16", {symmetric(DType::u4, DType::bf16, 128, 8)}, kWide});
  rows.push_back({"compressed-tensors w4a16_asym", {affine(DType::u4, DType::bf16, 128)}, kWide});
  rows.push_back({"compressed-tensors int8", {numbers(DType::i8, {level(DType::bf16, kRow)})}, kShapes});
  rows.push_back({"compressed-tensors fp8", {fp8(DType::bf16, kRow)}, kShapes});
  rows.push_back({"compressed-tensors nvfp4", {nvfp4(true)}, kWide});
  rows.push_back({"compressed-tensors mxfp4", {mxfp4()}, kShapes});
  rows.push_back({"fp8 by tensor", {fp8(DType::f32, kAll)}, kShapes});
  rows.push_back({"fp8 by block", {fp8(DType::f32, {128, 128})}, {{128, 128}, {200, 256}}});
  rows.push_back({"nvfp4", {nvfp4(false)}, kWide});
  rows.push_back({"mxfp4 experts", {mxfp4()}, kExperts});
  rows.push_back({"hqq", {}, {}, {}, {"hqq/f16"}});
  rows.push_back({"quanto", {}, {}, {}, {"quanto/f16"}});
  rows.push_back({"torchao", {}, {}, {}, {"torchao/integers", "torchao/floats"}});
  rows.push_back({"exl2", {}, {}, {}, {"exl2/mixed"}});
  return rows;
}

/// A model, and the values of its tensors that something else than the decoder knows.
struct Case {
  tensor::Model model;
  std::map<std::string, std::vector<float>> values;

  void add(Tensor tensor, std::vector<float> its_values) {
    const bool experts = tensor.shape.size() == 3;
    tensor.name = "model.layers." + std::to_string(model.tensors.size()) +
                  (experts ? ".mlp.experts.gate_up_proj.weight" : ".mlp.up_proj.weight");
    tensor.fingerprint.reset();
    values[tensor.name] = std::move(its_values);
    model.tensors.push_back(std::move(tensor));
    model.config.layer_count = model.tensors.size();
  }
};

/// Scales and offsets that are equal throughout (merging), as checkpoints of small layers have them.
void equalize(test::PlainTensor& plain) {
  for (std::vector<std::uint64_t>& elements : plain.levels)
    std::fill(elements.begin(), elements.end(), elements.front());
}

/// What checkpoints hold: the factor of LLM.int8, finite codes of FP8, positive scales of NVFP4, few bits of sub-scales
/// in blocks.
void make_plausible(test::PlainTensor& plain, const From& from) {
  if (plain.scheme.rounded_steps) plain.levels[1].assign(1, 0x3C010204);  // 1/127
  if (plain.scheme.codes.type == DType::e4m3) {
    for (std::uint64_t& code : plain.codes)
      if ((code & 0x7F) == 0x7F) --code;  // no NaN
  }
  for (std::size_t i = 0; i < plain.scheme.scales.size(); ++i) {
    if (plain.scheme.scales[i].type != DType::e4m3) continue;
    for (std::uint64_t& element : plain.levels[i]) element %= 0x7F;
  }
  const gguf::BlockType* type = from.block_type.empty() ? nullptr : gguf::find_block_type(from.block_type);
  if (type == nullptr) return;
  const std::vector<tensor::Level> levels = [&] {
    std::vector<tensor::Level> all = plain.scheme.scales;
    all.insert(all.end(), plain.scheme.offset.levels.begin(), plain.scheme.offset.levels.end());
    return all;
  }();
  for (std::size_t i = 0; i < levels.size(); ++i) {
    for (std::uint64_t& element : plain.levels[i]) {
      if (type->sub_scale_bits == 0 || tensor::info(levels[i].type).is_float) continue;
      const std::uint64_t narrow = element & ((1u << type->sub_scale_bits) - 1);
      const bool negative = tensor::info(levels[i].type).is_signed && (narrow >> (type->sub_scale_bits - 1)) != 0;
      element = negative ? narrow | (0xFFu << type->sub_scale_bits & 0xFFu) : narrow;
    }
  }
  if (plain.scheme.codes.table == "custom") plain.table = {-1.0f, 1.0f};
}

/// As an independent reading of the specification has them.
std::vector<float> exact_values(const test::PlainTensor& plain) {
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : plain.shape) elements *= extent;
  std::vector<float> values;
  for (std::uint64_t r = 0; r < plain.matrices * plain.rows; ++r)
    for (std::uint64_t c = 0; c < plain.cols && values.size() < elements; ++c)
      values.push_back(test::exact_value(plain, r, c));
  return values;
}

void add_made_up(Case& result, const From& from, std::mt19937_64& random) {
  for (const Scheme& scheme : from.schemes) {
    for (const Shape& shape : from.shapes) {
      for (const bool equal : {false, true}) {
        test::PlainTensor plain = checkpoint_like(shape, scheme, true, random);
        make_plausible(plain, from);
        if (equal) equalize(plain);
        result.add(test::as_tensor(plain), exact_values(plain));
      }
    }
  }
}

/// Rows of a fixture whose blocks have ordinary scales, with the values that ggml gave.
void add_blocks(Case& result, const std::string& name) {
  constexpr std::uint64_t kSpecialBlocks = 16, kRows = 32;
  const tensor::Model model = read_model(INGOT_TEST_DATA "/golden/foreign/gguf/blocks.gguf");
  const gguf::BlockType& type = *gguf::find_block_type(name);
  const Tensor* tensor = model.find(name);
  const Tensor* expected = model.find(name + ".expected");
  REQUIRE(tensor != nullptr);
  REQUIRE(expected != nullptr);
  const std::uint64_t cols = tensor->shape[1], row_blocks = cols / type.block_elems;
  const std::uint64_t row_bytes = row_blocks * type.block_bytes;
  const std::uint64_t first = (kSpecialBlocks + row_blocks - 1) / row_blocks, count = tensor->shape[0] - first;
  std::vector<std::byte> blocks(count * row_bytes), bytes;
  gguf::pack_blocks(*tensor, type, first * row_bytes, blocks);
  const std::vector<float> theirs = recoding::values(*expected);
  std::vector<float> values;
  for (std::uint64_t row = 0; row < kRows; ++row) {  // the same rows again until there are enough for every layout
    const auto from = blocks.begin() + static_cast<std::ptrdiff_t>(row % count * row_bytes);
    const auto number = theirs.begin() + static_cast<std::ptrdiff_t>((first + row % count) * cols);
    bytes.insert(bytes.end(), from, from + static_cast<std::ptrdiff_t>(row_bytes));
    values.insert(values.end(), number, number + static_cast<std::ptrdiff_t>(cols));
  }
  Tensor rest;
  rest.shape = {kRows, cols};
  rest.scheme = type.scheme();
  rest.packing = tensor::canonical_packing(rest.shape, rest.scheme);
  rest.planes = gguf::block_planes(nullptr, bytes, type, rest.shape);
  rest = recoding::in_memory(rest);
  result.add(std::move(rest), std::move(values));
}

/// Quantized matrices of a fixture. Their values are compared with those of the owning library by the layout's own
/// test.
void add_fixture(Case& result, const std::string& path) {
  const tensor::Model model = read_model(INGOT_TEST_DATA "/golden/foreign/" + path);
  for (const Tensor& tensor : model.tensors)
    if (!tensor.scheme.is_plain() && tensor.shape.size() == 2) result.add(tensor, recoding::values(tensor));
}

Case make_case(const From& from, std::mt19937_64& random) {
  Case result;
  result.model.config.architecture = "llama";
  result.model.config.torch_dtype = "float16";
  add_made_up(result, from, random);
  if (from.schemes.empty() && !from.block_type.empty()) add_blocks(result, from.block_type);
  for (const std::string& path : from.fixtures) add_fixture(result, path);
  REQUIRE_FALSE(result.model.tensors.empty());
  return result;
}

/// What is told apart in a cell, best first.
enum class Reached : std::uint8_t { exact, codes, floats, rounded, refused };
constexpr const char* kWords[] = {"exact", "codes", "float", "rounded", "-"};

bool is_plain(const Tensor& tensor) { return tensor.scheme.is_plain() && tensor.scheme.codes.type != DType::e4m3; }

/// Half a step, and the rounding of the values that are compared.
constexpr double kMostSteps = 0.5;

/// The written tensor against the values of the source.
Reached judge(const Case& source, const Tensor& before, const Tensor& after, const TensorOutcome& outcome) {
  const std::vector<float>& wanted = source.values.at(before.name);
  const std::vector<float> got = recoding::values(after);
  REQUIRE(wanted.size() == got.size());
  bool equal = true;
  for (std::size_t i = 0; i < got.size(); ++i) equal &= test::canonical(wanted[i]) == test::canonical(got[i]);
  CAPTURE(before.name);
  CAPTURE(outcome.reason);
  CHECK((outcome.forecast == ProofClass::exact) == equal);
  CHECK((tensor::fingerprint(before) == tensor::fingerprint(after)) == equal);
  if (outcome.forecast != ProofClass::exact) CHECK_FALSE(outcome.reason.empty());
  if (outcome.forecast == ProofClass::codes) {
    const ValueComparison comparison = compare_values(before, after);
    CHECK(comparison.worst_error_steps > 0);
    CHECK(comparison.worst_error_steps <= kMostSteps);
    return Reached::codes;
  }
  if (outcome.forecast == ProofClass::requantized) return Reached::rounded;
  return is_plain(after) && !is_plain(before) ? Reached::floats : Reached::exact;
}

void run_pair(const Case& source, const Layout& to, std::set<Reached>& cell) {
  ConvertOptions options;
  options.to = to.name;
  options.allow = ProofClass::requantized;
  options.write.allow = options.allow;
  options.write.sync = false;
  tensor::Model model = source.model;
  Forecast expected;
  try {
    expected = forecast(model, options);
  } catch (const Error& error) {
    CHECK(error.kind == ErrorKind::unsupported);
    CHECK(std::string(error.what()).size() > 40);
    cell.insert(Reached::refused);
    return;
  }
  std::map<std::string, TensorOutcome> outcomes;
  for (const TensorOutcome& outcome : expected.tensors) {
    outcomes[outcome.name] = outcome;
    if (outcome.forecast != ProofClass::refused) continue;
    CHECK(outcome.reason.size() > 20);
    cell.insert(Reached::refused);
    std::erase_if(model.tensors, [&](const Tensor& tensor) { return tensor.name == outcome.name; });
  }
  if (model.tensors.empty()) return;
  const test::TemporaryDirectory scratch;
  ConversionReport report;
  try {
    report = convert(model, scratch / "out", options);
  } catch (const Error& error) {
    CAPTURE(std::string(error.what()));
    FAIL_CHECK("forecast, but not done");
    return;
  }
  const tensor::Model written = read_model(scratch / "out");
  for (const TensorProof& proof : report.proofs) CHECK(proof.reached == outcomes.at(proof.name).forecast);
  for (const Tensor& before : model.tensors) {
    const Tensor* after = written.find(before.name);
    REQUIRE(after != nullptr);
    cell.insert(judge(source, before, *after, outcomes.at(before.name)));
  }
}

std::string text_of(const std::set<Reached>& cell) {
  std::string text;
  for (const Reached reached : cell)
    text += (text.empty() ? "" : ", ") + std::string(kWords[static_cast<int>(reached)]);
  return text;
}

std::string matrix() {
  std::string head = "| from \\ to |", rule = "|---|";
  std::vector<const Layout*> targets;
  for (const Layout& layout : layouts()) {
    if (layout.write == nullptr) continue;
    targets.push_back(&layout);
    head += " " + std::string(layout.name) + " |";
    rule += "---|";
  }
  std::string text = head + "\n" + rule + "\n";
  std::mt19937_64 random(20261122);
  for (const From& from : rows()) {
    text += "| " + from.name + " |";
    const Case source = make_case(from, random);
    for (const Layout* to : targets) {
      CAPTURE(from.name);
      CAPTURE(to->name);
      std::set<Reached> cell;
      run_pair(source, *to, cell);
      text += " " + text_of(cell) + " |";
    }
    text += "\n";
  }
  return text;
}

std::string matrix_of_readme() {
  std::ifstream file(INGOT_TEST_DATA "/../README.md");
  std::string text, line;
  while (std::getline(file, line)) {
    if (line.starts_with("| from \\ to |"))
      text += line + "\n";
    else if (!text.empty() && line.starts_with("|"))
      text += line + "\n";
    else if (!text.empty())
      break;
  }
  return text;
}

TEST_CASE("every_pair_of_layouts_reaches_the_class_that_was_forecast") {
  const std::string computed = matrix();
  if (std::getenv("INGOT_PRINT_MATRIX") != nullptr) {
    std::cout << computed;
    return;
  }
  INFO("README.md shows another matrix; tests/print_matrix prints this one");
  CHECK(matrix_of_readme() == computed);
}

TEST_CASE("sub_scales_that_blocks_have_no_bits_for_are_not_put_into_them") {
  std::mt19937_64 random(1);
  for (const char* name : {"Q3_K", "Q4_K", "Q5_K", "IQ4_XS"}) {
    CAPTURE(name);
    const From from{name, {ggml(name)}, {{32, 256}}, name, {}};
    test::PlainTensor plain = checkpoint_like({32, 256}, ggml(name), true, random);
    make_plausible(plain, from);
    CHECK(gguf::holds(*gguf::find_block_type(name), test::as_tensor(plain)));
    plain.levels[0].back() = tensor::info(plain.scheme.scales[0].type).is_signed ? 32 : 64;
    CHECK_FALSE(gguf::holds(*gguf::find_block_type(name), test::as_tensor(plain)));
    if (plain.scheme.codes.kind == tensor::CodeKind::table) continue;
    Case source;
    source.model.config.architecture = "llama";
    source.add(test::as_tensor(plain), exact_values(plain));
    std::set<Reached> cell;
    run_pair(source, *find_layout("gguf"), cell);  // another type, or refused; never found out by the proof
    CHECK(cell.size() == 1);
  }
}

}  // namespace
}  // namespace ingot::convert

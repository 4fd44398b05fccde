// Products with weight matrices of every form against the decoder of format/tensor: rows bit by bit, sums within a
// derived bound.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <string>

#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "format/tensor/tables.h"
#include "runtime/affine_parameters.h"
#include "runtime/matrix.h"

namespace runtime = ingot::runtime;
namespace tensor = ingot::tensor;
using ingot::Bytes;
using runtime::Matrix;
using tensor::DType;
using tensor::Level;
using tensor::OffsetKind;
using tensor::Scheme;

namespace {

struct Case {
  const char* name;
  Scheme scheme;
  bool fused;  // the affine kernels take it
};

Level level(DType type, std::uint32_t group, std::uint32_t rows = 1) { return {type, {rows, group}}; }

Scheme affine(DType codes, std::vector<Level> scales) {
  Scheme scheme = Scheme::plain(codes);
  scheme.scales = std::move(scales);
  return scheme;
}

Scheme with_zero(Scheme scheme, std::int32_t zero) {
  scheme.offset.kind = OffsetKind::zero;
  scheme.offset.zero = zero;
  return scheme;
}

Scheme with_levels(Scheme scheme, OffsetKind kind, std::vector<Level> levels) {
  scheme.offset.kind = kind;
  scheme.offset.levels = std::move(levels);
  return scheme;
}

Scheme table_scheme(const char* name, std::vector<Level> scales) {
  Scheme scheme = affine(DType::u4, std::move(scales));
  scheme.codes.kind = tensor::CodeKind::table;
  scheme.codes.table = name;
  return scheme;
}

Scheme flat_scheme(Scheme scheme, std::uint32_t run) {
  scheme.flat = run;
  return scheme;
}

// bitsandbytes' double quantization.
Scheme nested_scheme(std::uint32_t block, tensor::Block shared) {
  Scheme scheme = table_scheme("nf4", {level(DType::u8, block), {DType::f32, shared}});
  scheme.scales[0].custom_table = true;
  scheme.rounded_scale = scheme.scale_offset = true;
  return scheme;
}

Scheme divided(Scheme scheme) {
  scheme.rounded_scale = true;
  scheme.scales.back().divide = true;
  return scheme;
}

Scheme shifted(Scheme scheme, int shift) {
  scheme.shift = shift;
  return scheme;
}

Scheme with_added(Scheme scheme, std::int32_t add) {
  scheme.scales[0].add = add;
  return scheme;
}

std::vector<Case> cases() {
  const Level f16_32 = level(DType::f16, 32), f32_row = level(DType::f32, 0);
  return {
      {"f32", Scheme::plain(DType::f32), false},
      {"f16", Scheme::plain(DType::f16), false},
      {"bf16", Scheme::plain(DType::bf16), false},
      {"e4m3 per tensor", affine(DType::e4m3, {level(DType::f32, 0, 0)}), false},
      {"nf4", table_scheme("nf4", {f16_32}), true},
      {"nf4 in a flat run", flat_scheme(table_scheme("nf4", {level(DType::f32, 0)}), 64), false},
      {"nf4 in a flat run, nested scales", flat_scheme(nested_scheme(0, {8, 0}), 32), false},
      {"nf4, nested scales by rows", nested_scheme(32, {4, 0}), false},
      {"nf4, nested scales by columns", nested_scheme(32, {1, 128}), false},
      {"fp4", table_scheme("fp4", {level(DType::f32, 64)}), true},
      {"iq4nl", table_scheme("iq4nl", {f16_32}), true},
      {"iq4nl, two levels", with_added(table_scheme("iq4nl", {level(DType::u6, 32), level(DType::f16, 256)}), -32),
       true},
      {"custom table", table_scheme("custom", {level(DType::bf16, 32)}), true},
      {"e2m1 e8m0", shifted(affine(DType::e2m1, {level(DType::e8m0, 32)}), -1), true},
      {"e2m1 e4m3", affine(DType::e2m1, {level(DType::e4m3, 16)}), true},
      {"e2m1 e4m3 over f32", divided(affine(DType::e2m1, {level(DType::e4m3, 16), level(DType::f32, 0, 0)})), true},
      {"e2m1 odd groups", affine(DType::e2m1, {level(DType::f16, 24)}), true},
      {"u4 bias", with_levels(affine(DType::u4, {f16_32}), OffsetKind::bias, {f16_32}), true},
      {"u8 bf16 bias",
       with_levels(affine(DType::u8, {level(DType::bf16, 64)}), OffsetKind::bias, {level(DType::bf16, 64)}), true},
      {"i8", affine(DType::i8, {f16_32}), true},
      {"i8 per row f32", affine(DType::i8, {f32_row}), true},
      {"u4 zero 8", with_zero(affine(DType::u4, {f16_32}), 8), true},
      {"u5 zero 16", with_zero(affine(DType::u5, {f16_32}), 16), true},
      {"u2 zero points",
       with_levels(affine(DType::u2, {level(DType::f16, 16)}), OffsetKind::zero_points, {level(DType::u2, 16)}), true},
      {"u3 zero points", with_levels(affine(DType::u3, {f16_32}), OffsetKind::zero_points, {level(DType::u3, 32)}),
       true},
      {"u4 f16 zero points u8",
       with_levels(affine(DType::u4, {level(DType::f16, 128)}), OffsetKind::zero_points, {level(DType::u8, 128)}),
       true},
      {"u4 f32 zero points u8",
       with_levels(affine(DType::u4, {level(DType::f32, 64)}), OffsetKind::zero_points, {level(DType::u8, 64)}), true},
      {"u7 odd groups",
       with_levels(affine(DType::u7, {level(DType::f16, 24)}), OffsetKind::zero_points, {level(DType::u7, 24)}), true},
      {"u1 per tensor", with_zero(affine(DType::u1, {level(DType::f32, 0, 0)}), 1), true},
      {"u4 coarse bias", with_levels(affine(DType::u4, {f16_32}), OffsetKind::bias, {level(DType::f16, 64)}), true},
      {"u6 two level", with_zero(affine(DType::u6, {level(DType::i8, 16), level(DType::f16, 256)}), 32), true},
      {"u4 two level minimum",
       with_levels(affine(DType::u4, {level(DType::u6, 32), level(DType::f16, 256)}), OffsetKind::minimum,
                   {level(DType::u6, 32), level(DType::f16, 256)}),
       true},
      {"u4 two float levels", affine(DType::u4, {level(DType::e4m3, 16), level(DType::f32, 0, 0)}), false},
  };
}

// Random plane bytes whose float parameters are finite and of moderate size.
std::vector<std::vector<std::byte>> random_planes(std::mt19937& random, const tensor::Tensor& shape_of) {
  std::vector<std::vector<std::byte>> planes;
  for (const tensor::PlaneSpec& spec : shape_of.plane_specs()) {
    std::vector<std::byte>& bytes = planes.emplace_back(spec.total_bytes);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    const std::uint64_t width = spec.type == DType::f32                               ? 4
                                : spec.type == DType::f16 || spec.type == DType::bf16 ? 2
                                                                                      : 0;
    for (std::uint64_t at = 0; width != 0 && at + width <= bytes.size(); at += width) {
      // The exponent lies in the top byte (and below): 0x2E.. as f16 is about 0.1, 0x3D.. as f32 and bf16 likewise.
      std::byte& top = bytes[at + width - 1];
      top = (top & std::byte{0x80}) | std::byte{spec.type == DType::f16 ? std::uint8_t{0x2E} : std::uint8_t{0x3D}};
    }
    for (std::byte& b : bytes) {
      if (spec.type == DType::e4m3) b &= std::byte{0xBF};  // no NaN
      if (spec.type == DType::e8m0) b = (b & std::byte{7}) | std::byte{0x78};
    }
  }
  return planes;
}

tensor::Tensor random_tensor(std::mt19937& random, const Scheme& scheme, std::uint64_t rows, std::uint64_t cols) {
  tensor::Tensor result;
  result.name = "w";
  result.shape = {rows, cols};
  result.scheme = scheme;
  result.packing = tensor::canonical_packing(result.shape, scheme);
  result.planes = tensor::planes_in_memory(random_planes(random, result), result.shape, scheme, result.packing);
  return result;
}

// The same planes without views, or with views at an odd address.
class OtherPlanes final : public tensor::PlaneSource {
 public:
  OtherPlanes(const tensor::Tensor& source, bool odd_views) : source_(source.planes), odd_views_(odd_views) {
    for (std::size_t i = 0; i < source.plane_specs().size(); ++i) {
      const Bytes bytes = *source.planes->view(i);
      std::vector<std::byte>& shifted = shifted_.emplace_back(bytes.size() + 1);
      std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);
    }
  }
  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (!odd_views_) return std::nullopt;
    return Bytes(shifted_[index]).subspan(1);
  }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    source_->read_units(begin, end, out);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return source_->whole(index); }

 private:
  std::shared_ptr<const tensor::PlaneSource> source_;
  bool odd_views_;
  std::vector<std::vector<std::byte>> shifted_;
};

// What rounding a table to integers can change in a product: half a step of 1/127 of the greatest entry for each input.
double table_rounding_of(const Scheme& scheme, const float* x, std::uint64_t cols) {
  const std::string& table = scheme.codes.table;
  if (table != "nf4" && table != "fp4" && table != "custom") return 0;
  constexpr double kGreatestScale = 0.15;  // times entry, of random_planes()
  double total = 0;
  for (std::uint64_t c = 0; c < cols; ++c) total += std::abs(static_cast<double>(x[c]));
  return total * kGreatestScale / 254;
}

// What rounding inputs to int8 can change in a product: half a step for each, times the weight.
double rounding_of(const Matrix& matrix, const float* weights, const float* x, std::uint64_t cols) {
  if (!matrix.integer_layout()) return 0;
  const std::uint64_t segment = matrix.integer_layout()->segment;
  double total = 0;
  for (std::uint64_t first = 0; first < cols; first += segment) {
    double greatest = 0, magnitude = 0;
    for (std::uint64_t c = first; c < first + segment; ++c) {
      greatest = std::max(greatest, static_cast<double>(std::abs(x[c])));
      magnitude += std::abs(weights[c]);
    }
    total += greatest / 254 * magnitude;
  }
  return total;
}

void check_products(const Matrix& matrix, const Scheme& scheme, const std::vector<float>& weights, std::uint64_t rows,
                    std::uint64_t cols) {
  std::vector<runtime::Scratch> scratch(static_cast<std::size_t>(ingot::thread_count()));
  for (runtime::Scratch& one : scratch) matrix.reserve(one);
  std::vector<float> row(cols);
  std::uint64_t wrong = 0;
  for (std::uint64_t r = 0; r < rows; ++r) {
    matrix.row(r, row.data(), scratch[0]);
    for (std::uint64_t c = 0; c < cols; ++c) {
      const float a = row[c] + 0.0f, b = weights[r * cols + c] + 0.0f;  // the sign of zero carries no meaning
      wrong += std::bit_cast<std::uint32_t>(a) != std::bit_cast<std::uint32_t>(b);
    }
  }
  CHECK(wrong == 0);

  for (const std::uint64_t vectors : {1, 2, 9, 18}) {  // one, few and many for every form
    const std::uint64_t x_stride = vectors == 9 ? 1024 : cols;
    std::vector<float> x(vectors * x_stride), bias(rows), out(vectors * (rows + 1), -7);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
    for (std::size_t i = 0; i < rows; ++i) bias[i] = static_cast<float>(i) / 8;
    const runtime::Product product = {&matrix,    x.data(), x_stride,
                                      out.data(), rows + 1, vectors == 2 ? nullptr : bias.data()};
    runtime::multiply({&product, 1}, vectors, scratch);
    double worst = 0;  // error in units of the bound: (n + 10) half ulps of the sum of absolute products
    for (std::uint64_t t = 0; t < vectors; ++t) {
      for (std::uint64_t r = 0; r < rows; ++r) {
        double expected = vectors == 2 ? 0 : bias[r], magnitude = std::abs(expected);
        for (std::uint64_t c = 0; c < cols; ++c) {
          const double term = static_cast<double>(weights[r * cols + c]) * x[t * x_stride + c];
          expected += term;
          magnitude += std::abs(term);
        }
        double rounding = rounding_of(matrix, weights.data() + r * cols, x.data() + t * x_stride, cols);
        if (matrix.integer_layout()) rounding += table_rounding_of(scheme, x.data() + t * x_stride, cols);
        const double bound = static_cast<double>(cols + 10) * 0x1p-24 * magnitude + 1.001 * rounding + 1e-30;
        worst = std::max(worst, std::abs(out[t * (rows + 1) + r] - expected) / bound);
      }
      CHECK(out[t * (rows + 1) + rows] == -7);
    }
    CHECK(worst <= 1);
  }
}

void check_tensor(const tensor::Tensor& one, Matrix::RowOrder order = Matrix::RowOrder::logical) {
  tensor::Tensor as_stored = one;
  if (order == Matrix::RowOrder::stored) as_stored.transforms.clear();
  std::vector<float> weights(one.elements());
  tensor::decode_logical(as_stored, weights);
  for (const runtime::Numerics numerics : {runtime::Numerics::exact, runtime::Numerics::fast})
    check_products(Matrix(one, order, numerics), one.scheme, weights, one.shape[0], one.shape[1]);
}

}  // namespace

TEST_CASE("products of every form equal the decoded weights times the vectors") {
  std::mt19937 random(11);
  for (const Case& one : cases()) {
    for (const std::uint64_t rows : {1, 16, 37}) {
      for (const std::uint64_t cols : {32, 96, 256, 520}) {
        INFO(std::string(one.name) << ", " << rows << " x " << cols);
        check_tensor(random_tensor(random, one.scheme, rows, cols));
      }
    }
  }
}

TEST_CASE("workers share out the blocks of all products, each once, for one vector as for several") {
  std::mt19937 random(17);
  const Scheme scheme = Scheme::plain(tensor::DType::f32);
  const int usual = ingot::thread_count();
  for (const int threads : {1, 2, 3, 7}) {
    ingot::set_thread_count(threads);
    for (const std::uint64_t rows : {1, 16, 100, 700, 1500}) {
      INFO(threads << " threads, " << rows << " rows");
      std::vector<Matrix> matrices;
      for (const std::uint64_t more : {0, 16, 37}) {
        const tensor::Tensor one = random_tensor(random, scheme, rows + more, 32);
        matrices.emplace_back(one, Matrix::RowOrder::logical, runtime::Numerics::fast);
      }
      std::vector<runtime::Scratch> scratch(static_cast<std::size_t>(threads));
      const std::vector<float> x(2 * 32, 0.75f), bias(rows + 37, 1);
      const std::uint64_t stride = rows + 37;
      std::vector<std::vector<float>> outs(2, std::vector<float>(3 * 2 * stride, -7));
      for (const std::uint64_t vectors : {1, 2}) {
        std::vector<runtime::Product> products;
        for (std::size_t i = 0; i < matrices.size(); ++i) {
          float* const out = outs[vectors - 1].data() + i * 2 * stride;
          products.push_back({&matrices[i], x.data(), 32, out, stride, bias.data()});
        }
        runtime::multiply(products, vectors, scratch);
      }
      std::uint64_t wrong = 0;
      for (std::size_t i = 0; i < matrices.size(); ++i) {
        for (std::uint64_t r = 0; r < matrices[i].rows(); ++r)
          wrong += outs[0][i * 2 * stride + r] != outs[1][i * 2 * stride + r] || outs[0][i * 2 * stride + r] == -7;
      }
      CHECK(wrong == 0);
    }
  }
  ingot::set_thread_count(usual);
}

TEST_CASE("one vector: what is read in long streams yields what block after block yields") {
  std::mt19937 random(18);
  const int usual = ingot::thread_count();
  for (const char* name : {"f16", "bf16", "u4 zero 8", "nf4", "i8"}) {
    const std::vector<Case> all = cases();
    const auto one = std::find_if(all.begin(), all.end(), [&](const Case& c) { return c.name == std::string(name); });
    REQUIRE(one != all.end());
    const std::uint64_t cols = one->scheme.is_plain() ? 101 : 96;  // beyond whole vectors where nothing forbids it
    for (const std::uint64_t rows : {37, 100, 150, 700}) {
      const Matrix matrix(random_tensor(random, one->scheme, rows, cols), Matrix::RowOrder::logical,
                          runtime::Numerics::fast);
      std::vector<float> x(cols), expected(rows), got(rows);
      for (float& value : x) value = static_cast<float>(random() % 2001) / 1000 - 1;
      std::vector<runtime::Scratch> scratch(2);
      for (runtime::Scratch& each : scratch) matrix.reserve(each);
      const auto& layout = matrix.integer_layout();
      if (layout) scratch[0].inputs.add(matrix.kernels(), x.data(), cols, 1, cols, *layout);
      for (std::uint64_t block = 0; block < matrix.blocks(); ++block) {
        if (layout) {
          const auto* const inputs = scratch[0].inputs.find(x.data(), *layout);
          matrix.multiply_codes(block, 1, 1, inputs, 1, expected.data(), rows, scratch[0]);
        } else {
          matrix.multiply_floats(block, 1, {x.data(), cols, nullptr, 1}, expected.data(), rows, scratch[0]);
        }
      }
      for (const int threads : {1, 2}) {
        INFO(std::string(name) << ", " << rows << " rows, " << threads << " threads");
        ingot::set_thread_count(threads);
        std::fill(got.begin(), got.end(), -7.0f);
        const runtime::Product product = {&matrix, x.data(), cols, got.data(), rows, nullptr};
        runtime::multiply({&product, 1}, 1, scratch);
        CHECK(got == expected);
      }
    }
  }
  ingot::set_thread_count(usual);
}

TEST_CASE("the affine kernels take the schemes they are meant for") {
  std::mt19937 random(12);
  for (const Case& one : cases()) {
    const tensor::Tensor weights = random_tensor(random, one.scheme, 32, 256);
    INFO(one.name);
    CHECK((runtime::AffineParameters::make(weights, ingot::kernels::best()) != nullptr) == one.fused);
  }
}

TEST_CASE("tables become integers: exactly, or within half a step of their greatest entry") {
  for (const tensor::CodeTable& table : tensor::code_tables()) {
    if (table.entries.size() != 16) continue;
    INFO(table.name);
    const auto found = runtime::code_entries(table.entries);
    REQUIRE(found.has_value());
    const bool exact = table.name == "iq4nl";
    double greatest = 0;
    for (const float entry : table.entries) greatest = std::max(greatest, static_cast<double>(std::abs(entry)));
    for (std::size_t c = 0; c < 16; ++c) {
      const int entry = found->table.entries[c];
      const double value = static_cast<double>(found->step) * (entry - static_cast<double>(found->origin));
      CHECK(entry >= (found->table.are_small ? 0 : 1));
      if (found->table.are_small) CHECK(entry < ingot::kernels::kSmallEntries);
      CHECK(std::abs(value - table.entries[c]) <= (exact ? 0 : greatest / 254 * 1.0001));
      if (table.entries[c] == 0) CHECK(value == 0);
    }
  }
  const float inf = INFINITY;
  for (const std::vector<float>& bad : {std::vector<float>(16, 0.0f), std::vector<float>(16, inf),
                                        std::vector<float>(16, 1e-38f), std::vector<float>(8, 1.0f)})
    CHECK_FALSE(runtime::code_entries(bad).has_value());
}

TEST_CASE("blocks of bitsandbytes are multiplied as codes") {
  std::mt19937 random(15);
  for (const Case& one : cases()) {
    if (std::string_view(one.name).find("nested") == std::string_view::npos && one.scheme.flat == 0) continue;
    INFO(one.name);
    const tensor::Tensor weights = random_tensor(random, one.scheme, 40, 256);
    CHECK(Matrix(weights, Matrix::RowOrder::logical, runtime::Numerics::fast).integer_layout().has_value());
  }
}

TEST_CASE("planes without views, or with views at odd addresses, give the same products") {
  std::mt19937 random(13);
  for (const Case& one : cases()) {
    for (const bool odd_views : {false, true}) {
      INFO(std::string(one.name) << ", odd views " << odd_views);
      tensor::Tensor weights = random_tensor(random, one.scheme, 21, 256);
      weights.planes = std::make_shared<OtherPlanes>(weights, odd_views);
      check_tensor(weights);
    }
  }
}

TEST_CASE("only weights that cannot be read where they lie are copied") {
  std::mt19937 random(16);
  for (const Case& one : cases()) {
    INFO(std::string(one.name));
    tensor::Tensor weights = random_tensor(random, one.scheme, 32, 256);
    const auto copied = [&] {
      return Matrix(weights, Matrix::RowOrder::stored, runtime::Numerics::fast).copied_bytes();
    };
    const bool flat = one.scheme.flat != 0, nested = one.scheme.scale_offset;
    const std::uint64_t block = flat ? one.scheme.flat : 32, scales = 32 * 256 / block * sizeof(float);
    CHECK(copied() == (flat ? 32 * 256 / 2 + scales : nested ? scales : 0));
    weights.planes = std::make_shared<OtherPlanes>(weights, false);
    CHECK(copied() == (flat || nested ? 32 * 256 / 2 + scales : weights.stored_bytes()));
    weights.transforms = {{tensor::TransformKind::rope_interleave, 2}};
    CHECK(Matrix(weights, Matrix::RowOrder::logical, runtime::Numerics::fast).copied_bytes() ==
          32 * 256 * sizeof(float));
  }
}

TEST_CASE("transforms are undone, or kept where the caller wants stored rows") {
  std::mt19937 random(14);
  for (const char* name : {"u4 bias", "bf16", "u6 two level"}) {
    for (const Case& one : cases()) {
      if (std::string_view(one.name) != name) continue;
      INFO(one.name);
      tensor::Tensor weights = random_tensor(random, one.scheme, 24, 256);
      weights.transforms = {{tensor::TransformKind::rope_interleave, 3}};
      check_tensor(weights, Matrix::RowOrder::logical);
      check_tensor(weights, Matrix::RowOrder::stored);
    }
  }
  tensor::Tensor transposed = random_tensor(random, Scheme::plain(DType::f32), 40, 24);
  transposed.shape = {24, 40};
  transposed.transforms = {{tensor::TransformKind::transpose, 0}};
  check_tensor(transposed);
}

// Copies that the runtime makes of what kernels cannot read where it lies: inputs packed for several
// products, codes of bitsandbytes in tiles. Which copy is whose, and what the originals keep.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "format/base/parallel.h"
#include "format/tensor/bulk.h"
#include "format/tensor/decode.h"
#include "kernels/kernel_table.h"
#include "runtime/matrix.h"
#include "runtime/packed_inputs.h"
#include "runtime/tiled_blocks.h"

namespace kernels = ingot::kernels;
namespace runtime = ingot::runtime;
namespace tensor = ingot::tensor;
using ingot::Bytes;
using runtime::PackedInputs;
using tensor::DType;

namespace {

std::vector<float> counted(std::size_t count) {
  std::vector<float> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 1.0f);
  return numbers;
}

/// The vectors (vectors, cols) of `x` in the kernels' own order.
std::vector<float> packed_at_once(const float* x, std::uint64_t stride, std::uint64_t vectors, std::uint64_t cols) {
  std::vector<float> packed(vectors * cols);
  kernels::best().floats.pack(x, stride, vectors, cols, 0, cols, packed.data());
  return packed;
}

bool holds(const PackedInputs& inputs, const float* x, std::uint64_t stride, std::uint64_t vectors,
           std::uint64_t cols) {
  const float* const packed = inputs.find(x, stride, cols);
  const std::vector<float> expected = packed_at_once(x, stride, vectors, cols);
  return packed != nullptr && std::ranges::equal(expected, std::span(packed, expected.size()));
}

tensor::Tensor plain_matrix(std::uint64_t rows, std::uint64_t cols, DType type = DType::f32) {
  tensor::Tensor result;
  result.name = "w";
  result.shape = {rows, cols};
  result.scheme = tensor::Scheme::plain(type);
  result.packing = tensor::canonical_packing(result.shape, result.scheme);
  const std::vector<float> numbers = counted(rows * cols);
  std::vector<std::uint16_t> halves(numbers.size());
  if (type == DType::bf16) tensor::bulk().f32_to_bf16(numbers.data(), halves.data(), halves.size());
  const auto bytes = type == DType::f32 ? std::as_bytes(std::span(numbers)) : std::as_bytes(std::span(halves));
  result.planes = tensor::planes_in_memory({{bytes.begin(), bytes.end()}}, result.shape, result.scheme, result.packing);
  return result;
}

/// Planes of another source that count how often each unit was given back.
class CountedPlanes final : public tensor::PlaneSource {
 public:
  CountedPlanes(const tensor::Tensor& source, bool has_views)
      : source_(source.planes), has_views_(has_views), released(source.geometry().units) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    return has_views_ ? source_->view(index) : std::nullopt;
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return source_->whole(index); }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    source_->read_units(begin, end, out);
  }
  void done_with(std::uint64_t begin, std::uint64_t end) const override {
    for (std::uint64_t unit = begin; unit < end; ++unit) std::atomic_ref(released[unit]).fetch_add(1);
  }

 private:
  std::shared_ptr<const tensor::PlaneSource> source_;
  bool has_views_;

 public:
  mutable std::vector<int> released;  // by unit
};

/// NF4 as bitsandbytes has it: one run of codes, a binary32 scale for every 64 of them.
tensor::Tensor flat_blocks(std::uint64_t rows, std::uint64_t cols) {
  tensor::Tensor result;
  result.name = "w";
  result.shape = {rows, cols};
  result.scheme = tensor::Scheme::plain(DType::u4);
  result.scheme.codes.kind = tensor::CodeKind::table;
  result.scheme.codes.table = "nf4";
  result.scheme.flat = 64;
  result.scheme.scales = {{.type = DType::f32, .block = {1, 0}}};
  result.packing = tensor::canonical_packing(result.shape, result.scheme);
  std::vector<std::vector<std::byte>> planes;
  for (const tensor::PlaneSpec& spec : result.plane_specs()) {
    std::vector<std::byte>& plane = planes.emplace_back(spec.total_bytes);
    for (std::size_t i = 0; i < plane.size(); ++i) plane[i] = static_cast<std::byte>(i * 37 % 61);
  }
  result.planes = tensor::planes_in_memory(std::move(planes), result.shape, result.scheme, result.packing);
  return result;
}

}  // namespace

TEST_CASE("inputs are packed, each extent for itself") {
  const std::vector<float> x = counted(6 * 2048);
  PackedInputs inputs;
  const auto add = [&](const float* begin, std::uint64_t stride, std::uint64_t vectors, std::uint64_t cols) {
    inputs.add(kernels::best(), begin, stride, vectors, cols);
  };
  add(x.data(), 1024, 6, 1024);
  add(x.data(), 1024, 6, 512);   // fewer inputs of the same vectors
  add(x.data(), 2048, 3, 1024);  // every second vector
  add(x.data() + 8, 1024, 6, 1000);
  CHECK(holds(inputs, x.data(), 1024, 6, 1024));
  CHECK(holds(inputs, x.data(), 1024, 6, 512));
  CHECK(holds(inputs, x.data(), 2048, 3, 1024));
  CHECK(holds(inputs, x.data() + 8, 1024, 6, 1000));
  for (const std::uint64_t cols : {100, 2048}) CHECK(inputs.find(x.data(), 1024, cols) == nullptr);
  CHECK(inputs.find(x.data() + 1, 1024, 1024) == nullptr);
  CHECK(inputs.find(x.data(), 3072, 1024) == nullptr);
}

TEST_CASE("packed inputs are made once, and forgotten") {
  const std::vector<float> x = counted(4 * 2048);
  PackedInputs inputs;
  inputs.add(kernels::best(), x.data(), 1024, 4, 1024);
  const float* const packed = inputs.find(x.data(), 1024, 1024);
  inputs.add(kernels::best(), x.data(), 1024, 4, 1024);
  CHECK(inputs.find(x.data(), 1024, 1024) == packed);
  inputs.clear();
  CHECK(inputs.find(x.data(), 1024, 1024) == nullptr);
  const std::vector<float> other(4 * 2048, -3);
  inputs.add(kernels::best(), other.data(), 1024, 4, 1024);
  CHECK(inputs.find(other.data(), 1024, 1024) == packed);  // the memory is used again
  CHECK(holds(inputs, other.data(), 1024, 4, 1024));
  CHECK(inputs.find(x.data(), 1024, 1024) == nullptr);
}

TEST_CASE("inputs are packed for products that read them so, and for no others") {
  constexpr std::uint64_t kCols = 64, kRows = 40;
  const std::vector<float> x = counted(20 * kCols);
  std::vector<runtime::Scratch> scratch(static_cast<std::size_t>(ingot::thread_count()));
  for (const auto& [type, fewest] :
       {std::pair{DType::f32, std::uint64_t{4}}, std::pair{DType::bf16, std::uint64_t{17}}}) {
    const runtime::Matrix matrix(plain_matrix(kRows, kCols, type), runtime::Matrix::RowOrder::logical,
                                 runtime::Numerics::exact);
    for (runtime::Scratch& one : scratch) matrix.reserve(one);
    for (const std::uint64_t vectors : {1, 3, 4, 16, 17, 20}) {
      CAPTURE(vectors);
      std::vector<float> together(vectors * kRows), alone(kRows);
      const runtime::Product all = {&matrix, x.data(), kCols, together.data(), kRows, nullptr};
      runtime::multiply({&all, 1}, vectors, scratch);
      CHECK((scratch[0].packed.find(x.data(), kCols, kCols) != nullptr) == (vectors >= fewest));
      const runtime::Product last = {&matrix, x.data() + (vectors - 1) * kCols, kCols, alone.data(), kRows, nullptr};
      runtime::multiply({&last, 1}, 1, scratch);
      for (std::uint64_t row = 0; row < kRows; ++row)
        CHECK(together[(vectors - 1) * kRows + row] == doctest::Approx(alone[row]).epsilon(kCols * 0x1p-24));
    }
  }
}

TEST_CASE("weights of other widths read their own part of the same inputs") {
  constexpr std::uint64_t kVectors = 9, kStride = 1024, kRows = 40;
  const std::vector<float> x = counted(kVectors * kStride);
  std::vector<runtime::Matrix> matrices;
  std::vector<runtime::Scratch> scratch(static_cast<std::size_t>(ingot::thread_count()));
  for (const std::uint64_t cols : {std::uint64_t{1024}, std::uint64_t{520}, std::uint64_t{64}})
    matrices.emplace_back(plain_matrix(kRows, cols), runtime::Matrix::RowOrder::logical, runtime::Numerics::exact);
  for (const runtime::Matrix& matrix : matrices)
    for (runtime::Scratch& one : scratch) matrix.reserve(one);
  std::vector<std::vector<float>> together(3, std::vector<float>(kVectors * kRows)), alone = together;
  std::vector<runtime::Product> products;
  for (std::size_t i = 0; i < matrices.size(); ++i)
    products.push_back({&matrices[i], x.data(), kStride, together[i].data(), kRows, nullptr});
  runtime::multiply(products, kVectors, scratch);
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const runtime::Product one = {&matrices[i], x.data(), kStride, alone[i].data(), kRows, nullptr};
    runtime::multiply({&one, 1}, kVectors, scratch);
    CHECK(together[i] == alone[i]);
    double expected = 0;  // of the last row and vector
    const std::uint64_t cols = matrices[i].cols();
    for (std::uint64_t c = 0; c < cols; ++c)
      expected += static_cast<double>((kRows - 1) * cols + c + 1) * x[(kVectors - 1) * kStride + c];
    CHECK(alone[i].back() == doctest::Approx(expected).epsilon(static_cast<double>(cols + 10) * 0x1p-24));
  }
}

TEST_CASE("what was copied into tiles is given back, every unit of it") {
  for (const bool has_views : {true, false}) {
    CAPTURE(has_views);
    tensor::Tensor source = flat_blocks(53, 256);
    std::vector<float> expected(source.elements()), got(source.elements());
    tensor::decode_logical(source, expected);
    const auto planes = std::make_shared<CountedPlanes>(source, has_views);
    source.planes = planes;
    const tensor::Tensor tiled = runtime::with_tiled_blocks(source);
    REQUIRE(tiled.scheme.flat == 0);
    CHECK(std::ranges::all_of(planes->released, [](int times) { return times > 0; }));
    tensor::decode_logical(tiled, got);
    CHECK(got == expected);
  }
}

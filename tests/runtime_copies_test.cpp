// Copies that the runtime makes of what kernels cannot read where it lies: inputs that share lines of the caches, codes of
// bitsandbytes in tiles. Which copy is whose, and what the originals keep.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "runtime/matrix.h"
#include "runtime/spread_inputs.h"
#include "runtime/tiled_blocks.h"

namespace runtime = ingot::runtime;
namespace tensor = ingot::tensor;
using ingot::Bytes;
using runtime::SpreadInputs;
using tensor::DType;

namespace {

std::vector<float> counted(std::size_t count) {
  std::vector<float> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 1.0f);
  return numbers;
}

/// Does a view hold the vectors (vectors, cols) of `x`?
bool holds(const SpreadInputs::View& view, const float* x, std::uint64_t stride, std::uint64_t vectors,
           std::uint64_t cols) {
  for (std::uint64_t v = 0; v < vectors; ++v)
    if (!std::equal(x + v * stride, x + v * stride + cols, view.x + v * view.stride)) return false;
  return true;
}

tensor::Tensor plain_matrix(std::uint64_t rows, std::uint64_t cols) {
  tensor::Tensor result;
  result.name = "w";
  result.shape = {rows, cols};
  result.scheme = tensor::Scheme::plain(DType::f32);
  result.packing = tensor::canonical_packing(result.shape, result.scheme);
  std::vector<float> numbers = counted(rows * cols);
  const auto bytes = std::as_bytes(std::span(numbers));
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

TEST_CASE("inputs a multiple of 4 KiB apart are copied, each extent for itself") {
  const std::vector<float> x = counted(6 * 2048);
  SpreadInputs inputs;
  inputs.add(x.data(), 1024, 6, 1024);
  inputs.add(x.data(), 1024, 6, 512);   // fewer inputs of the same vectors
  inputs.add(x.data(), 2048, 3, 1024);  // every second vector
  inputs.add(x.data() + 8, 1024, 6, 1000);
  const auto check = [&](const float* begin, std::uint64_t stride, std::uint64_t vectors, std::uint64_t cols) {
    const SpreadInputs::View view = inputs.find(begin, stride, cols);
    CHECK(view.x != begin);
    CHECK(view.stride * sizeof(float) % 4096 != 0);
    CHECK(view.stride >= cols);
    CHECK(holds(view, begin, stride, vectors, cols));
  };
  check(x.data(), 1024, 6, 1024);
  check(x.data(), 1024, 6, 512);
  check(x.data(), 2048, 3, 1024);
  check(x.data() + 8, 1024, 6, 1000);
  for (const std::uint64_t cols : {100, 2048}) CHECK(inputs.find(x.data(), 1024, cols).x == x.data());
  CHECK(inputs.find(x.data() + 1, 1024, 1024).x == x.data() + 1);
  CHECK(inputs.find(x.data(), 3072, 1024).stride == 3072);
}

TEST_CASE("inputs that lie well are not copied, and copies are forgotten") {
  const std::vector<float> x = counted(4 * 2048);
  SpreadInputs inputs;
  inputs.add(x.data(), 1000, 4, 1000);
  CHECK(inputs.find(x.data(), 1000, 1000).x == x.data());
  inputs.add(x.data(), 1024, 4, 1024);
  const float* const copy = inputs.find(x.data(), 1024, 1024).x;
  CHECK(copy != x.data());
  inputs.clear();
  CHECK(inputs.find(x.data(), 1024, 1024).x == x.data());
  const std::vector<float> other(4 * 2048, -3);
  inputs.add(other.data(), 1024, 4, 1024);
  CHECK(inputs.find(other.data(), 1024, 1024).x == copy);  // the memory is used again
  CHECK(holds(inputs.find(other.data(), 1024, 1024), other.data(), 1024, 4, 1024));
  CHECK(inputs.find(x.data(), 1024, 1024).x == x.data());
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

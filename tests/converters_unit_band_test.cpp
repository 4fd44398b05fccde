// Bands of a matrix: packed one after the other they are the whole matrix. Planes of large tensors, which lie
// elsewhere.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "converters/conversion/work_time.h"
#include "converters/hf/unit_band.h"
#include "converters/layouts/row_planes.h"
#include "converters/with_views.h"
#include "tests/skip.h"
#include "tests/streamed_planes.h"
#include "tests/temporary_directory.h"

namespace ingot::convert {
namespace {

tensor::Tensor random_matrix(tensor::DType codes, std::uint64_t rows) {
  std::mt19937 random(5);
  tensor::Tensor tensor;
  tensor.name = "matrix";
  tensor.shape = {rows, 96};
  tensor.scheme.codes.type = codes;
  tensor.scheme.scales = {{.type = tensor::DType::f16, .block = {1, 32}}};
  tensor.scheme.offset = {tensor::OffsetKind::bias, 0, {{.type = tensor::DType::f32, .block = {1, 32}}}};
  tensor.packing = tensor::Packing::tiles;
  std::vector<std::vector<std::byte>> planes;
  for (const tensor::PlaneSpec& spec : tensor.plane_specs()) {
    std::vector<std::byte>& plane = planes.emplace_back(spec.total_bytes);
    for (std::byte& byte : plane) byte = static_cast<std::byte>(random() & 255);
  }
  tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.shape, tensor.scheme, tensor.packing);
  return tensor;
}

std::vector<std::byte> packed(const tensor::Tensor& tensor, std::string_view role, std::uint64_t row_bytes) {
  std::vector<std::byte> bytes(tensor.shape[0] * row_bytes);
  const tensor::Tensor viewed = with_views(tensor);
  if (role == "codes") {
    pack_row_codes(viewed, Nibbles::low_first, 0, bytes);
  } else {
    pack_row_plane(viewed, role, 0, bytes);
  }
  return bytes;
}

std::vector<std::byte> packed_by_bands(const tensor::Tensor& tensor, std::uint64_t band_units, std::string_view role,
                                       std::uint64_t row_bytes) {
  std::vector<std::byte> bytes;
  const std::uint64_t units = tensor.geometry().units;
  for (std::uint64_t begin = 0; begin < units; begin += band_units) {
    const tensor::Tensor band = band_of(tensor, begin, std::min(units, begin + band_units));
    const std::vector<std::byte> more = packed(band, role, row_bytes);
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  return bytes;
}

}  // namespace

TEST_CASE("bands_of_a_matrix_packed_one_after_the_other_are_the_whole") {
  for (const tensor::DType codes : {tensor::DType::u4, tensor::DType::u6, tensor::DType::u8}) {
    for (const std::uint64_t rows : {16u, 53u, 80u}) {
      const tensor::Tensor matrix = random_matrix(codes, rows);
      REQUIRE(has_bands(matrix));
      const std::pair<std::string_view, std::uint64_t> parts[] = {
          {"codes", 96 * tensor::bits(codes) / 8}, {"scales_0", 3 * 2}, {"biases", 3 * 4}};
      for (const auto& [role, row_bytes] : parts) {
        const std::vector<std::byte> whole = packed(matrix, role, row_bytes);
        for (const std::uint64_t band_units : {1u, 2u, 3u, 100u}) {
          CHECK(packed_by_bands(matrix, band_units, role, row_bytes) == whole);
          CHECK(packed_by_bands(test::streamed(matrix), band_units, role, row_bytes) == whole);
        }
      }
    }
  }
}

TEST_CASE("large_planes_lie_in_a_file_without_a_name_and_are_the_same") {
  const test::TemporaryDirectory directory;
  const tensor::Tensor matrix = random_matrix(tensor::DType::u6, 80);
  PlaneBuffers buffers;
  buffers.scratch = directory.path();
  for (const bool is_large : {false, true, false}) {
    buffers.large_bytes = is_large ? 100 : matrix.stored_bytes() + 1000;
    const tensor::Tensor viewed = with_views(test::streamed(matrix), buffers);
    CAPTURE(is_large);
    for (std::size_t i = 0; i < matrix.plane_specs().size(); ++i)
      CHECK(std::ranges::equal(*viewed.planes->view(i), *matrix.planes->view(i)));
    if (ScratchBlock::create(directory.path(), 1)) CHECK(buffers.large.has_value() == is_large);
  }
  buffers.scratch = directory / "missing";
  buffers.large_bytes = 100;
  const tensor::Tensor in_memory = with_views(test::streamed(matrix), buffers);
  CHECK_FALSE(buffers.large.has_value());
  CHECK(std::ranges::equal(*in_memory.planes->view(0), *matrix.planes->view(0)));
}

TEST_CASE("large_planes_leave_the_output_its_room") {
  const test::TemporaryDirectory directory;
  if (!ScratchBlock::create(directory.path(), 1)) return test::skip("no files without a name in a temporary directory");
  const tensor::Tensor matrix = random_matrix(tensor::DType::u6, 80);
  PlaneBuffers buffers;
  buffers.scratch = directory.path();
  buffers.large_bytes = 100;
  const std::uint64_t available = std::filesystem::space(directory.path()).available;
  for (const std::uint64_t left_free : {available / 2, 2 * available, available / 2}) {
    buffers.left_free = left_free;
    const tensor::Tensor viewed = with_views(test::streamed(matrix), buffers);
    CAPTURE(left_free);
    CHECK(buffers.large.has_value() == (left_free == available / 2));
    for (std::size_t i = 0; i < matrix.plane_specs().size(); ++i)
      CHECK(std::ranges::equal(*viewed.planes->view(i), *matrix.planes->view(i)));
  }
}

/// Of such a parameter a band would take the row of another one.
TEST_CASE("parameters_that_some_rows_share_have_no_bands") {
  for (const std::uint32_t rows : {2u, 16u, 128u}) {
    tensor::Tensor matrix = random_matrix(tensor::DType::u4, 80);
    CAPTURE(rows);
    matrix.scheme.scales[0].block.rows = rows;
    CHECK_FALSE(has_bands(matrix));
    matrix.scheme.scales[0].block.rows = 1;
    matrix.scheme.offset.levels[0].block.rows = rows;
    CHECK_FALSE(has_bands(matrix));
    matrix.scheme.offset.levels[0].block.rows = 1;
    CHECK(has_bands(matrix));
    matrix.scheme.scales[0].block = {0, 0};  // one for all rows: every band has it
    CHECK(has_bands(matrix));
  }
}

TEST_CASE("rows_that_lie_elsewhere_have_no_bands") {
  tensor::Tensor matrix = random_matrix(tensor::DType::u4, 32);
  matrix.transforms = {{.kind = tensor::TransformKind::rope_interleave, .heads = 2}};
  CHECK_FALSE(has_bands(matrix));
  matrix.transforms.clear();
  matrix.shape = {2, 16, 96};
  CHECK_FALSE(has_bands(matrix));
}

TEST_CASE("large_planes_are_forecast_as_memory_where_no_disk_takes_them") {
  const test::TemporaryDirectory directory;
  if (!ScratchBlock::is_on_disk_in(directory.path())) return test::skip("temporary directories are not on a disk");
  const Layout& layout = *std::ranges::find_if(layouts(), [](const Layout& row) { return row.packs_from_views; });
  tensor::Model model;
  tensor::Tensor head;
  head.name = "head";
  head.shape = {1 << 16, 1 << 13};
  model.tensors.push_back(head);
  Forecast forecast;
  TensorOutcome outcome;
  outcome.name = head.name;
  outcome.target_bytes = head.elements() / 2;  // 256 MiB of 4-bit codes
  forecast.tensors.push_back(outcome);
  const auto with = [&](const std::filesystem::path& output) {
    return estimated_memory(model, layout, forecast, output);
  };
  const std::uint64_t without_planes = with({});
  CHECK(without_planes < outcome.target_bytes);
  CHECK(with(directory / "out") == without_planes);
  CHECK(with(directory / "made later" / "out") == without_planes);
  CHECK(with("/proc/out") == without_planes + outcome.target_bytes);  // no files without a name there
  if (std::filesystem::is_directory("/dev/shm") && !ScratchBlock::is_on_disk_in("/dev/shm"))
    CHECK(with("/dev/shm/out") == without_planes + outcome.target_bytes);
  forecast.output_bytes = 2 * std::filesystem::space(directory.path()).available;  // leaves no room
  CHECK(with(directory / "out") == without_planes + outcome.target_bytes);
  forecast.tensors[0].target_bytes = kLargePlanesBytes;  // small ones lie in memory anyway
  CHECK(with({}) == without_planes + kLargePlanesBytes);
}

}  // namespace ingot::convert

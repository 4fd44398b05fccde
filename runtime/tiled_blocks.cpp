// A scale of a block is round32(round32(table[code] * coarse scale) + offset) (spec/schemes/table.md); a table entry
// times that is rounded once, so nothing changes by storing it.
#include "runtime/tiled_blocks.h"

#include <algorithm>
#include <cstring>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/tensor/plane_block.h"

namespace ingot::runtime {
namespace {

using tensor::DType;
using tensor::PlaneSpec;

constexpr std::uint64_t kTileRows = tensor::kTileRows, kWordCodes = 8, kUnitsPerTurn = 64;

/// The planes of a tensor, found by role; copied where the source has no view.
class Planes {
 public:
  explicit Planes(const tensor::Tensor& tensor) : specs_(tensor.plane_specs()), planes_(specs_.size()) {
    std::vector<std::byte*> missing(specs_.size(), nullptr);
    bool copies = false;
    for (std::size_t i = 0; i < specs_.size(); ++i) {
      if (!specs_[i].sliced) {
        planes_[i] = tensor.planes->whole(i);
      } else if (const auto view = tensor.planes->view(i)) {
        planes_[i] = *view;
      } else {
        missing[i] = copies_.emplace_back(specs_[i].total_bytes).bytes().data();
        planes_[i] = copies_.back().bytes();
        copies = true;
      }
    }
    if (!copies) return;
    parallel_for(tensor.geometry().units, kUnitsPerTurn, [&](std::uint64_t begin, std::uint64_t end, int) {
      std::vector<std::byte*> out = missing;
      for (std::size_t i = 0; i < out.size(); ++i) {
        if (out[i] != nullptr) out[i] += begin * specs_[i].unit_bytes;
      }
      tensor.planes->read_units(begin, end, out);
      tensor.planes->done_with(begin, end);
    });
  }

  /// Null: there is none.
  [[nodiscard]] const std::byte* find(std::string_view role) const noexcept {
    for (std::size_t i = 0; i < specs_.size(); ++i) {
      if (specs_[i].role == role) return planes_[i].data();
    }
    return nullptr;
  }

 private:
  std::vector<PlaneSpec> specs_;
  std::vector<Bytes> planes_;
  std::vector<LargeBlock> copies_;
};

/// Where blocks and their parameters lie.
struct Blocks {
  const tensor::Scheme& scheme;
  std::uint64_t rows, cols, size;  // inputs of a block

  [[nodiscard]] std::uint64_t per_row() const noexcept { return cols / size; }
  [[nodiscard]] std::uint64_t tiles() const noexcept { return ceil_div(rows, kTileRows); }
  [[nodiscard]] std::uint64_t finest(std::uint64_t row, std::uint64_t block) const noexcept {
    if (scheme.flat != 0) return row * per_row() + block;
    return (row / kTileRows * per_row() + block) * kTileRows + row % kTileRows;
  }
  [[nodiscard]] std::uint64_t coarse(std::uint64_t row, std::uint64_t block) const noexcept {
    const tensor::Block& shared = scheme.scales[1].block;
    if (scheme.flat != 0) return (row * per_row() + block) / shared.rows;
    if (shared.rows != 1) return row / shared.rows;
    const std::uint64_t per_tile = ceil_div(cols, std::uint64_t{shared.cols});
    return (row / kTileRows * per_tile + block * size / shared.cols) * kTileRows + row % kTileRows;
  }
};

float scale_of(const Blocks& blocks, const Planes& planes, std::uint64_t row, std::uint64_t block) {
  const std::byte* const finest = planes.find("scales_0");
  const std::uint64_t at = blocks.finest(row, block);
  if (blocks.scheme.scales.size() == 1) return load_le<float>(finest + at * sizeof(float));
  const std::byte* const entry = planes.find("scale_table") + std::to_integer<std::size_t>(finest[at]) * sizeof(float);
  const float product =
      load_le<float>(entry) * load_le<float>(planes.find("scales_1") + blocks.coarse(row, block) * sizeof(float));
  return product + load_le<float>(planes.find("scale_offset"));
}

void fill_scales(const Blocks& blocks, const Planes& planes, std::span<std::byte> out) {
  parallel_for(blocks.rows, kTileRows, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t row = begin; row < end; ++row) {
      for (std::uint64_t block = 0; block < blocks.per_row(); ++block) {
        const float scale = scale_of(blocks, planes, row, block);
        const std::uint64_t at = (row / kTileRows * blocks.per_row() + block) * kTileRows + row % kTileRows;
        store_le(out.data() + at * sizeof scale, scale);
      }
    }
  });
}

// A row of a flat run of 4-bit codes is the words of that row in its tile.
void fill_codes(const Blocks& blocks, const std::byte* run, std::span<std::byte> out) {
  const std::uint64_t words = blocks.cols / kWordCodes;
  parallel_for(blocks.rows, kTileRows, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t row = begin; row < end; ++row) {
      for (std::uint64_t word = 0; word < words; ++word) {
        const std::uint64_t to = (row / kTileRows * words + word) * kTileRows + row % kTileRows;
        std::memcpy(out.data() + to * sizeof(std::uint32_t), run + (row * words + word) * sizeof(std::uint32_t),
                    sizeof(std::uint32_t));
      }
    }
  });
}

/// Scales in memory, everything else where the source has it.
class OwnScales final : public tensor::PlaneSource {
 public:
  OwnScales(const tensor::Tensor& source, LargeBlock scales, std::uint64_t unit_bytes)
      : source_(source.planes), specs_(source.plane_specs()), scales_(std::move(scales)), unit_bytes_(unit_bytes) {}

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    return index == kScales ? std::optional<Bytes>(scales_.bytes()) : source_->view(source_index(index));
  }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    std::vector<std::byte*> others(specs_.size(), nullptr);
    others[0] = out[0];
    source_->read_units(begin, end, others);
    if (out[kScales] != nullptr)
      std::copy_n(scales_.bytes().data() + begin * unit_bytes_, (end - begin) * unit_bytes_, out[kScales]);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return source_->whole(source_index(index)); }
  void done_with(std::uint64_t begin, std::uint64_t end) const override { source_->done_with(begin, end); }

 private:
  static constexpr std::size_t kScales = 1;
  // Behind the scales only the table of the codes is left.
  [[nodiscard]] std::size_t source_index(std::size_t index) const noexcept {
    if (index < kScales) return index;
    const auto table = std::find_if(specs_.begin(), specs_.end(), [](const PlaneSpec& s) { return s.role == "table"; });
    return static_cast<std::size_t>(table - specs_.begin());
  }

  std::shared_ptr<const tensor::PlaneSource> source_;
  std::vector<PlaneSpec> specs_;
  LargeBlock scales_;
  std::uint64_t unit_bytes_;
};

// The inputs of a block where the tensor is one that this file is for; else 0.
std::uint64_t block_size(const tensor::Tensor& tensor) {
  const tensor::Scheme& scheme = tensor.scheme;
  const std::vector<tensor::Level>& levels = scheme.scales;
  if (scheme.codes.kind != tensor::CodeKind::table || scheme.codes.type != DType::u4 || tensor.shape.size() != 2 ||
      scheme.offset.kind != tensor::OffsetKind::none || scheme.shift != 0 || scheme.rounded_steps ||
      scheme.order != tensor::Order::identity || tensor.shape[0] < kTileRows || !tensor.transforms.empty())
    return 0;
  const bool nested = levels.size() == 2 && levels[0].type == DType::u8 && levels[0].custom_table &&
                      levels[1].type == DType::f32 && !levels[1].custom_table && !levels[1].divide &&
                      scheme.rounded_scale && scheme.scale_offset;
  const bool plain = levels.size() == 1 && levels[0].type == DType::f32 && !scheme.scale_offset;
  if (scheme.flat == 0 && !(nested && tensor.packing == tensor::Packing::tiles)) return 0;
  if (!(nested || plain) || levels[0].block.rows != 1) return 0;
  const std::uint64_t size = scheme.flat != 0 ? scheme.flat : levels[0].block.cols;
  const bool whole_words = size != 0 && size % kWordCodes == 0 && tensor.shape[1] % size == 0;
  if (!whole_words || (scheme.flat != 0 && levels[0].block.cols != 0)) return 0;
  if (!nested) return size;
  const tensor::Block& shared = levels[1].block;
  const bool by_rows = shared.rows != 0 && shared.cols == 0 && (scheme.flat != 0 || shared.rows != 1);
  const bool by_cols = scheme.flat == 0 && shared.rows == 1 && shared.cols != 0 && shared.cols % size == 0;
  return by_rows || by_cols ? size : 0;
}

}  // namespace

tensor::Tensor with_tiled_blocks(tensor::Tensor tensor) {
  const std::uint64_t size = block_size(tensor);
  if (size == 0) return tensor;
  const Planes planes(tensor);
  const Blocks blocks = {tensor.scheme, tensor.shape[0], tensor.shape[1], size};
  tensor::Tensor result = tensor;
  result.packing = tensor::Packing::tiles;
  result.scheme.flat = 0;
  result.scheme.rounded_scale = result.scheme.scale_offset = false;
  result.scheme.scales = {{.type = DType::f32, .block = {1, static_cast<std::uint32_t>(size)}}};
  if (tensor.scheme.flat == 0) {
    const std::uint64_t unit_bytes = blocks.per_row() * kTileRows * sizeof(float);
    LargeBlock scales(checked_mul(blocks.tiles(), unit_bytes, "scales of " + tensor.name));
    fill_scales(blocks, planes, scales.bytes());
    result.planes = std::make_shared<OwnScales>(tensor, std::move(scales), unit_bytes);
    return result;
  }
  const auto own = std::make_shared<tensor::PlaneBlock>(result.stored_shape(), result.scheme, result.packing);
  fill_codes(blocks, planes.find("codes"), own->fill(0));
  fill_scales(blocks, planes, own->fill(1));
  if (const std::byte* const table = planes.find("table")) std::copy_n(table, own->fill(2).size(), own->fill(2).data());
  result.planes = own;
  tensor.planes->done_with(0, tensor.geometry().units);
  return result;
}

}  // namespace ingot::runtime

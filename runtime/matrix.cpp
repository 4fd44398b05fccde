// Choosing the form of a weight matrix at load, and the products.
#include "runtime/matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "format/tensor/plane_block.h"
#include "runtime/affine_parameters.h"
#include "runtime/tiled_blocks.h"

namespace ingot::runtime {
namespace {

using tensor::DType;

constexpr std::uint64_t kBlocksPerTurn = 4;  // work is handed out in pieces of this many blocks, or of a multiple
constexpr std::uint64_t kManyVectors = 4;    // from which on rows are put side by side first
constexpr std::uint64_t kManyOfHalves = 17;  // the same for rows of 16-bit numbers, whose widening is no second pass

bool has_usable_views(const tensor::Tensor& tensor) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::optional<Bytes> view = tensor.planes->view(i);
    if (!view) return false;
    const std::uint64_t alignment =
        tensor.packing == tensor::Packing::tiles ? 4 : std::max<std::uint64_t>(tensor::bits(specs[i].type) / 8, 1);
    if (reinterpret_cast<std::uintptr_t>(view->data()) % alignment != 0) return false;
  }
  return true;
}

// Bytes of the planes that are no view of `source`.
std::uint64_t bytes_beside(const tensor::PlaneSource& source, const tensor::Tensor& tensor) {
  const std::optional<Bytes> first = source.view(0), codes = tensor.planes->view(0);
  const bool in_place = first && codes && first->data() == codes->data();
  return tensor.stored_bytes() - (in_place ? tensor.plane_specs()[0].total_bytes : 0);
}

}  // namespace

Matrix::Matrix() = default;
Matrix::Matrix(Matrix&&) noexcept = default;
Matrix& Matrix::operator=(Matrix&&) noexcept = default;
Matrix::~Matrix() = default;

Matrix::Matrix(const tensor::Tensor& tensor, RowOrder order, Numerics numerics, const kernels::KernelTable& kernels)
    : kernels_(&kernels), rows_(tensor.shape[0]), cols_(tensor.shape[1]), stored_bytes_(tensor.stored_bytes()) {
  const bool in_place =
      tensor.transforms.empty() || (order == RowOrder::stored && tensor.transforms.size() == 1 &&
                                    tensor.transforms[0].kind == tensor::TransformKind::rope_interleave);
  in_place ? use_view_or_copy(tensor) : use_decoded_copy(tensor);
  if (numerics == Numerics::fast && affine_ != nullptr) integer_ = affine_->integer_layout();
}

void Matrix::use_view_or_copy(const tensor::Tensor& tensor) {
  tensor_ = tensor;
  tensor_.transforms.clear();  // the stored matrix is what is multiplied
  tensor_ = with_tiled_blocks(std::move(tensor_));
  if (tensor_.planes != tensor.planes) copied_bytes_ = bytes_beside(*tensor.planes, tensor_);
  if (!has_usable_views(tensor_)) {
    tensor_.planes = tensor::copied_planes(tensor_);
    copied_bytes_ = tensor_.stored_bytes();
  }
  choose_form();
}

void Matrix::use_decoded_copy(const tensor::Tensor& tensor) {
  const std::uint64_t elems = checked_mul(rows_, cols_, "elements of " + tensor.name);
  copied_bytes_ = checked_mul(elems, sizeof(float), "decoded bytes of " + tensor.name);
  copy_ = LargeBlock(copied_bytes_);
  tensor::decode_logical(tensor, copy_.as<float>());
  tensor.planes->done_with(0, tensor.geometry().units);
  elements_ = copy_.bytes().data();
  form_ = Form::f32_rows;
}

void Matrix::choose_form() {
  const tensor::Scheme& scheme = tensor_.scheme;
  const bool plain_rows = scheme.is_plain() && tensor_.packing == tensor::Packing::rows;
  const DType type = scheme.codes.type;
  if (plain_rows && (type == DType::f32 || type == DType::f16 || type == DType::bf16)) {
    form_ = type == DType::f32 ? Form::f32_rows : type == DType::f16 ? Form::f16_rows : Form::bf16_rows;
    elements_ = tensor_.planes->view(0)->data();
    return;
  }
  affine_ = AffineParameters::make(tensor_, *kernels_);
  form_ = affine_ != nullptr && affine_->is_exact() ? Form::affine_tiles : Form::decoded;
}

std::uint64_t Matrix::rows_in(std::uint64_t block) const noexcept {
  return std::min(kBlockRows, rows_ - block * kBlockRows);
}

void Matrix::reserve(Scratch& scratch) const {
  const std::uint64_t elems = checked_mul(kBlockRows, cols_, "elements of a block of " + tensor_.name);
  if (scratch.block.size() < elems) scratch.block.resize(elems);
  if (affine_ == nullptr) return;
  const std::uint64_t parameters = (integer_ ? kernels::kMaxIntegerTiles : 1) * affine_->scratch_elems();
  if (scratch.parameters.size() < parameters) scratch.parameters.resize(parameters);
}

const float* Matrix::float_rows(std::uint64_t block, Scratch& scratch) const {
  const std::uint64_t first = block * kBlockRows * cols_, count = rows_in(block) * cols_;
  if (form_ == Form::f32_rows) return static_cast<const float*>(elements_) + first;
  float* const out = scratch.block.data();
  if (form_ == Form::f16_rows) {
    kernels_->f16_to_f32(static_cast<const std::uint16_t*>(elements_) + first, out, count);
  } else if (form_ == Form::bf16_rows) {
    kernels_->bf16_to_f32(static_cast<const std::uint16_t*>(elements_) + first, out, count);
  } else if (tensor_.scheme.flat != 0) {  // its units are no rows of the matrix
    tensor::decode_logical_range(tensor_, first, std::span(out, count));
  } else {
    const bool tiles = tensor_.packing == tensor::Packing::tiles;
    const std::uint64_t unit = tiles ? block : block * kBlockRows;
    tensor::decode_units(tensor_, unit, tiles ? unit + 1 : unit + rows_in(block), std::span(out, count));
  }
  return out;
}

kernels::AffineTile Matrix::affine_tile(std::uint64_t block, Scratch& scratch) const {
  return affine_->fill(block, scratch.parameters.data());
}

void Matrix::multiply_affine(std::uint64_t block, const FloatInputs& inputs, float* out, std::uint64_t out_stride,
                             Scratch& scratch) const {
  const kernels::AffineTile tile = affine_tile(block, scratch);
  if (inputs.vectors == 1) {
    kernels_->tiles.dot(tile, inputs.x, scratch.sums);
  } else {
    kernels_->tiles.decode(tile, scratch.block.data());
    kernels_->floats.panel_dot(scratch.block.data(), cols_, inputs.packed, inputs.vectors, scratch.sums, kBlockRows);
  }
  for (std::uint64_t t = 0; t < inputs.vectors; ++t)
    std::copy_n(scratch.sums + t * kBlockRows, rows_in(block), out + t * out_stride + block * kBlockRows);
}

kernels::FloatRows Matrix::stored_rows(std::uint64_t first) const noexcept {
  const kernels::FloatType type = form_ == Form::f32_rows   ? kernels::FloatType::f32
                                  : form_ == Form::f16_rows ? kernels::FloatType::f16
                                                            : kernels::FloatType::bf16;
  const std::uint64_t bytes = first * cols_ * (form_ == Form::f32_rows ? sizeof(float) : sizeof(std::uint16_t));
  return {static_cast<const std::byte*>(elements_) + bytes, type, cols_, 0};
}

bool Matrix::reads_packed(std::uint64_t vectors) const noexcept {
  switch (form_) {
    case Form::f16_rows:
    case Form::bf16_rows: return vectors >= kManyOfHalves;
    case Form::affine_tiles: return vectors > 1;
    case Form::f32_rows:
    case Form::decoded: return vectors >= kManyVectors;
  }
  return false;
}

void Matrix::multiply_block(std::uint64_t block, const FloatInputs& inputs, float* out, std::uint64_t out_stride,
                            Scratch& scratch) const {
  const std::uint64_t first = block * kBlockRows, rows = rows_in(block);
  if (form_ == Form::affine_tiles) return multiply_affine(block, inputs, out, out_stride, scratch);
  const float* weights = float_rows(block, scratch);
  if (inputs.packed == nullptr)
    return kernels_->rows_dot(weights, cols_, rows, inputs.x, inputs.stride, inputs.vectors, cols_, out + first,
                              out_stride);
  kernels_->floats.multiply_rows({weights, kernels::FloatType::f32, cols_, rows}, inputs.packed, inputs.vectors, cols_,
                                 out + first, out_stride);
}

void Matrix::multiply_floats(std::uint64_t block, std::uint64_t count, const FloatInputs& inputs, float* out,
                             std::uint64_t out_stride, Scratch& scratch) const {
  const bool halves = form_ == Form::f16_rows || form_ == Form::bf16_rows, stored = halves || form_ == Form::f32_rows;
  const std::uint64_t end = (block + count - 1) * kBlockRows + rows_in(block + count - 1);
  if (halves && inputs.packed == nullptr) {
    const std::uint64_t first = block * kBlockRows;
    const auto* weights = static_cast<const std::uint16_t*>(elements_) + first * cols_;
    const auto products = form_ == Form::f16_rows ? kernels_->rows_f16 : kernels_->rows_bf16;
    return products(weights, cols_, end - first, inputs.x, inputs.stride, inputs.vectors, cols_, out + first,
                    out_stride);
  }
  if (!stored || inputs.packed == nullptr) {
    for (std::uint64_t at = block; at < block + count; ++at) multiply_block(at, inputs, out, out_stride, scratch);
    return;
  }
  for (std::uint64_t first = block * kBlockRows; first < end; first += kernels::kMaxFloatRows) {
    kernels::FloatRows rows = stored_rows(first);
    rows.count = std::min(kernels::kMaxFloatRows, end - first);
    kernels_->floats.multiply_rows(rows, inputs.packed, inputs.vectors, cols_, out + first, out_stride);
  }
}

void Matrix::multiply_codes(std::uint64_t block, std::uint64_t count, std::uint64_t apart,
                            const kernels::IntegerInput* inputs, std::uint64_t vectors, float* out,
                            std::uint64_t out_stride, Scratch& scratch) const {
  kernels::IntegerTile* const tiles = scratch.tiles;
  for (std::uint64_t i = 0; i < count; ++i)
    affine_->fill_integer_tile(block + i * apart, scratch.parameters.data() + i * affine_->scratch_elems(), tiles[i]);
  const auto multiply = tiles[0].table == nullptr ? kernels_->integer.multiply : kernels_->integer.multiply_table;
  const std::uint64_t stride = count * kBlockRows;
  // Sums are gathered first: the vectors of `out` are often a multiple of 4 KiB apart, which puts a column of them into
  // the same few lines of the first-level cache.
  multiply(tiles, static_cast<int>(count), *integer_, inputs, vectors, scratch.sums, stride);
  for (std::uint64_t t = 0; t < vectors; ++t) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t at = block + i * apart;
      std::copy_n(scratch.sums + t * stride + i * kBlockRows, rows_in(at), out + t * out_stride + at * kBlockRows);
    }
  }
}

void Matrix::row(std::uint64_t index, float* out, Scratch& scratch) const {
  const std::uint64_t block = index / kBlockRows, within = index % kBlockRows;
  if (form_ == Form::affine_tiles) {
    kernels_->tiles.decode(affine_tile(block, scratch), scratch.block.data());
    for (std::uint64_t col = 0; col < cols_; ++col) out[col] = scratch.block[col * kBlockRows + within];
    return;
  }
  std::copy_n(float_rows(block, scratch) + within * cols_, cols_, out);
}

namespace {

// How blocks are handed out. One vector: three quarters in one long piece for each worker, because memory yields most
// where it is read from end to end, and the rest in short ones, so that all come to an end together.
class Pieces {
 public:
  Pieces(std::uint64_t blocks, std::uint64_t vectors) noexcept : blocks_(blocks) {
    const auto workers = static_cast<std::uint64_t>(thread_count());
    if (vectors != 1) return;
    long_blocks_ = blocks * 3 / 4 / workers / kBlocksPerTurn * kBlocksPerTurn;
    if (long_blocks_ > 0) long_pieces_ = workers;
  }
  [[nodiscard]] std::uint64_t count() const noexcept {
    return long_pieces_ + ceil_div(blocks_ - long_pieces_ * long_blocks_, kBlocksPerTurn);
  }
  [[nodiscard]] std::uint64_t begin(std::uint64_t piece) const noexcept {
    if (piece < long_pieces_) return piece * long_blocks_;
    return std::min(long_pieces_ * long_blocks_ + (piece - long_pieces_) * kBlocksPerTurn, blocks_);
  }

 private:
  std::uint64_t blocks_, long_pieces_ = 0, long_blocks_ = 0;
};

// What a parallel region needs; the lambda captures one pointer, so that std::function allocates nothing.
struct Region {
  Pieces pieces;
  std::span<const Product> products;
  std::uint64_t vectors;
  std::vector<Scratch>& scratch;

  void run(std::uint64_t first_piece, std::uint64_t end_piece, int worker) const {
    const std::uint64_t begin = pieces.begin(first_piece), end = pieces.begin(end_piece);
    Scratch& mine = scratch[static_cast<std::size_t>(worker)];
    std::uint64_t offset = 0;
    for (const Product& product : products) {
      const std::uint64_t blocks = product.weights->blocks();
      const std::uint64_t from = std::max(begin, offset), to = std::min(end, offset + blocks);
      if (from < to) some_blocks(product, from - offset, to - offset, mine);
      offset += blocks;
    }
  }

  void some_blocks(const Product& product, std::uint64_t begin, std::uint64_t end, Scratch& mine) const {
    const Matrix& weights = *product.weights;
    if (const auto& layout = weights.integer_layout()) {
      const kernels::IntegerInput* inputs = scratch[0].inputs.find(product.x, *layout);
      // Tiles of a call are far apart: each of them continues one of a few long streams of codes.
      const std::uint64_t apart = ceil_div(end - begin, std::uint64_t{kernels::kMaxIntegerTiles});
      for (std::uint64_t at = begin; at < begin + apart; ++at)
        weights.multiply_codes(at, ceil_div(end - at, apart), apart, inputs, vectors, product.out, product.out_stride,
                               mine);
    } else {
      const float* const packed =
          weights.reads_packed(vectors) ? scratch[0].packed.find(product.x, product.x_stride, weights.cols()) : nullptr;
      weights.multiply_floats(begin, end - begin, {product.x, product.x_stride, packed, vectors}, product.out,
                              product.out_stride, mine);
    }
    if (product.bias == nullptr) return;
    const std::uint64_t last = std::min(end * kBlockRows, weights.rows());
    for (std::uint64_t t = 0; t < vectors; ++t) {
      for (std::uint64_t r = begin * kBlockRows; r < last; ++r)
        product.out[t * product.out_stride + r] += product.bias[r];
    }
  }
};

}  // namespace

void multiply(std::span<const Product> products, std::uint64_t vectors, std::vector<Scratch>& scratch) {
  RoundedInputs& inputs = scratch[0].inputs;
  inputs.clear();
  scratch[0].packed.clear();
  std::uint64_t blocks = 0;
  for (const Product& product : products) {
    blocks += product.weights->blocks();
    if (const auto& layout = product.weights->integer_layout()) {
      inputs.add(product.weights->kernels(), product.x, product.x_stride, vectors, product.weights->cols(), *layout);
    } else if (product.weights->reads_packed(vectors)) {
      scratch[0].packed.add(product.weights->kernels(), product.x, product.x_stride, vectors, product.weights->cols());
    }
  }
  const Region region = {Pieces(blocks, vectors), products, vectors, scratch};
  parallel_for(region.pieces.count(), 1,
               [&region](std::uint64_t begin, std::uint64_t end, int worker) { region.run(begin, end, worker); });
}

}  // namespace ingot::runtime

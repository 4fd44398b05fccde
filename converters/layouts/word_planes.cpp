// Word-wise rows <-> the dense rows of row_planes.h, and from there to canonical planes.
#include "converters/layouts/word_planes.h"

#include <algorithm>
#include <cstring>

#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using tensor::kTileRows;

std::uint64_t words_of(std::uint64_t count, std::uint8_t bits, bool spread) noexcept {
  return spread ? ceil_div(count, 32u / bits) : ceil_div(count * bits, 32);
}

/// Where field `index` of a row of words begins, in bits.
std::uint64_t field_bit(std::uint64_t index, std::uint8_t bits, bool spread) noexcept {
  const std::uint64_t per_word = 32u / bits;
  return spread ? index / per_word * 32 + index % per_word * bits : index * bits;
}

/// One row of the file as a dense stream whose padding is zero.
void dense_of_words(const std::byte* words, const WordRows& rows, std::byte* dense) noexcept {
  const std::uint64_t dense_bytes = ceil_div(rows.cols * rows.bits, 8), used = rows.cols * rows.bits % 8;
  if (!rows.spread) {
    std::memcpy(dense, words, dense_bytes);
    if (used != 0) dense[dense_bytes - 1] &= static_cast<std::byte>((1u << used) - 1);
    return;
  }
  const std::uint64_t per_word = 32u / rows.bits;
  const std::uint32_t mask = (1u << rows.bits) - 1;
  std::uint64_t pending = 0, pending_bits = 0;
  for (std::uint64_t first = 0; first < rows.cols; first += per_word) {
    std::uint32_t word = load_le<std::uint32_t>(words + first / per_word * 4);
    for (std::uint64_t i = first; i < std::min(first + per_word, rows.cols); ++i, word >>= rows.bits) {
      pending |= std::uint64_t{word & mask} << pending_bits;
      for (pending_bits += rows.bits; pending_bits >= 8; pending_bits -= 8, pending >>= 8)
        *dense++ = static_cast<std::byte>(pending);
    }
  }
  if (pending_bits != 0) *dense = static_cast<std::byte>(pending);
}

void words_of_dense(const std::byte* dense, const WordRows& rows, std::byte* words) noexcept {
  const std::uint64_t dense_bytes = ceil_div(rows.cols * rows.bits, 8);
  std::fill_n(words, rows.row_bytes(), std::byte{0});
  if (!rows.spread) {
    std::memcpy(words, dense, dense_bytes);
    return;
  }
  const std::uint64_t per_word = 32u / rows.bits;
  const std::uint32_t mask = (1u << rows.bits) - 1;
  std::uint64_t pending = 0, pending_bits = 0;
  for (std::uint64_t first = 0; first < rows.cols; first += per_word) {
    std::uint32_t word = 0;
    for (std::uint64_t field = 0; field < std::min(per_word, rows.cols - first); ++field) {
      for (; pending_bits < rows.bits; pending_bits += 8)
        pending |= std::to_integer<std::uint64_t>(*dense++) << pending_bits;
      word |= (static_cast<std::uint32_t>(pending) & mask) << (field * rows.bits);
      pending >>= rows.bits;
      pending_bits -= rows.bits;
    }
    store_le(words + first / per_word * 4, word);
  }
}

class WordPlanes final : public tensor::PlaneSource {
 public:
  WordPlanes(const tensor::Tensor& tensor, RowPart codes, const WordRows& rows, std::vector<RowPart> others)
      : geometry_(tensor.geometry()), specs_(tensor.plane_specs()), codes_(std::move(codes)), rows_(rows) {
    slices_ = specs_.size() - others.size();
    parameters_ = row_planes(tensor, {.codes = {}, .others = std::move(others)});
    // Codes of one unit, seen as a matrix of their own.
    unit_.scheme.codes = tensor.scheme.codes;
    unit_.scheme.scales = {{.type = tensor::DType::f32, .block = {0, 0}}};
    unit_.packing = tensor.packing;
  }

  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    if (index < slices_) return std::nullopt;
    return parameters_->view(index);
  }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    std::vector<std::byte*> parameters = out;
    bool wanted = false;
    for (std::size_t i = 0; i < slices_; ++i) {
      wanted |= out[i] != nullptr;
      parameters[i] = nullptr;
    }
    if (wanted) read_codes(begin, end, out);
    parameters_->read_units(begin, end, parameters);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return parameters_->whole(index); }
  void done_with(std::uint64_t begin, std::uint64_t end) const override {
    if (begin < end && codes_.file != nullptr) codes_.file->drop(code_bytes(begin, end));
  }
  [[nodiscard]] std::vector<Bytes> file_bytes(std::uint64_t begin, std::uint64_t end) const override {
    std::vector<Bytes> all = parameters_->file_bytes(begin, end);
    if (begin < end && codes_.file != nullptr) all.push_back(code_bytes(begin, end));
    return all;
  }

 private:
  [[nodiscard]] std::uint64_t first_row(std::uint64_t unit) const noexcept {
    return unit / geometry_.units_per_matrix * geometry_.rows +
           unit % geometry_.units_per_matrix * geometry_.rows_per_unit;
  }
  [[nodiscard]] std::uint64_t row_count(std::uint64_t unit) const noexcept {
    return std::min(geometry_.rows_per_unit,
                    geometry_.rows - unit % geometry_.units_per_matrix * geometry_.rows_per_unit);
  }
  [[nodiscard]] Bytes code_bytes(std::uint64_t begin, std::uint64_t end) const {
    const std::uint64_t first = first_row(begin) * rows_.row_bytes();
    return codes_.bytes.subspan(first, (first_row(end - 1) + row_count(end - 1)) * rows_.row_bytes() - first);
  }
  void read_codes(std::uint64_t begin, std::uint64_t end, const std::vector<std::byte*>& out) const {
    const std::uint64_t dense_bytes = ceil_div(rows_.cols * rows_.bits, 8);
    std::vector<std::byte> dense(geometry_.rows_per_unit * dense_bytes);
    tensor::Tensor unit_tensor = unit_;
    std::vector<std::byte*> slices(slices_ + 1, nullptr);
    for (std::uint64_t unit = begin; unit < end; ++unit) {
      const std::byte* from = codes_.bytes.data() + first_row(unit) * rows_.row_bytes();
      const std::uint64_t count = row_count(unit);
      for (std::uint64_t row = 0; row < count; ++row)
        dense_of_words(from + row * rows_.row_bytes(), rows_, dense.data() + row * dense_bytes);
      unit_tensor.shape = {count, rows_.cols};
      const auto codes = row_planes(
          unit_tensor, {.codes = {.bytes = Bytes(dense).first(count * dense_bytes), .file = nullptr}, .others = {{}}});
      for (std::size_t i = 0; i < slices_; ++i)
        slices[i] = out[i] != nullptr ? out[i] + (unit - begin) * specs_[i].unit_bytes : nullptr;
      codes->read_units(0, 1, slices);
    }
  }

  tensor::Geometry geometry_;
  std::vector<tensor::PlaneSpec> specs_;
  RowPart codes_;
  WordRows rows_;
  std::size_t slices_ = 1;
  std::shared_ptr<const tensor::PlaneSource> parameters_;
  tensor::Tensor unit_;
};

}  // namespace

std::uint64_t WordRows::row_bytes() const noexcept { return words_of(cols, bits, spread) * 4; }

std::shared_ptr<const tensor::PlaneSource> word_planes(const tensor::Tensor& tensor, RowPart codes,
                                                       const WordRows& rows, std::vector<RowPart> others) {
  return std::make_shared<WordPlanes>(tensor, std::move(codes), rows, std::move(others));
}

void pack_words(const tensor::Tensor& tensor, bool spread, std::uint64_t begin, std::span<std::byte> out) {
  const tensor::Geometry geometry = tensor.geometry();
  const WordRows rows{geometry.cols, tensor::bits(tensor.scheme.codes.type), spread};
  const std::uint64_t row_bytes = rows.row_bytes(), dense_bytes = ceil_div(rows.cols * rows.bits, 8);
  if (row_bytes == dense_bytes && !spread) return pack_row_codes(tensor, Nibbles::low_first, begin, out);
  const std::uint64_t end = begin + out.size(), total = geometry.matrices * geometry.rows;
  std::vector<std::byte> dense(kTileRows * dense_bytes), words(row_bytes);
  for (std::uint64_t first = begin / row_bytes / kTileRows * kTileRows; first < total && first * row_bytes < end;
       first += kTileRows) {
    const std::uint64_t count = std::min(kTileRows, total - first);
    pack_row_codes(tensor, Nibbles::low_first, first * dense_bytes, std::span(dense).first(count * dense_bytes));
    for (std::uint64_t row = 0; row < count; ++row) {
      const std::uint64_t at = (first + row) * row_bytes;
      if (at + row_bytes <= begin || at >= end) continue;
      words_of_dense(dense.data() + row * dense_bytes, rows, words.data());
      const std::uint64_t from = std::max(at, begin), to = std::min(at + row_bytes, end);
      std::memcpy(out.data() + (from - begin), words.data() + (from - at), to - from);
    }
  }
}

std::vector<std::byte> unpack_columns(Bytes words, std::uint64_t matrices, std::uint64_t cols, std::uint64_t rows,
                                      std::uint8_t bits, bool spread) {
  const std::uint64_t matrix_words = words_of(rows, bits, spread) * cols;
  const std::uint32_t mask = (1u << bits) - 1;
  std::vector<std::byte> fields(checked_mul(checked_mul(matrices, rows, "zero points"), cols, "zero points"));
  std::byte* to = fields.data();
  for (std::uint64_t matrix = 0; matrix < matrices; ++matrix) {
    const std::byte* from = words.data() + matrix * matrix_words * 4;
    for (std::uint64_t row = 0; row < rows; ++row) {
      const std::uint64_t bit = field_bit(row, bits, spread), word = bit / 32 * cols * 4;
      const bool straddles = bit % 32 + bits > 32;
      for (std::uint64_t col = 0; col < cols; ++col) {
        std::uint64_t pair = load_le<std::uint32_t>(from + word + col * 4);
        if (straddles) pair |= std::uint64_t{load_le<std::uint32_t>(from + word + (cols + col) * 4)} << 32;
        *to++ = static_cast<std::byte>(pair >> (bit % 32) & mask);
      }
    }
  }
  return fields;
}

std::vector<std::byte> pack_columns(Bytes fields, std::uint64_t matrices, std::uint64_t cols, std::uint64_t rows,
                                    std::uint8_t bits, bool spread) {
  const std::uint64_t matrix_words = words_of(rows, bits, spread) * cols;
  std::vector<std::uint32_t> words(matrices * matrix_words);
  const std::byte* from = fields.data();
  for (std::uint64_t matrix = 0; matrix < matrices; ++matrix) {
    std::uint32_t* to = words.data() + matrix * matrix_words;
    for (std::uint64_t row = 0; row < rows; ++row) {
      const std::uint64_t bit = field_bit(row, bits, spread), word = bit / 32 * cols;
      const bool straddles = bit % 32 + bits > 32;
      for (std::uint64_t col = 0; col < cols; ++col) {
        const std::uint64_t pair = std::to_integer<std::uint64_t>(*from++) << (bit % 32);
        to[word + col] |= static_cast<std::uint32_t>(pair);
        if (straddles) to[word + cols + col] |= static_cast<std::uint32_t>(pair >> 32);
      }
    }
  }
  const Bytes bytes = std::as_bytes(std::span(words));
  return {bytes.begin(), bytes.end()};
}

}  // namespace ingot::convert

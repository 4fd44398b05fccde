// The fingerprint's blocks of a matrix of 4-bit integer codes in tiles, without a detour through decoded rows: codes ->
// canonical binary32 -> XXH3, all in the first cache. Internal to format/tensor. Implements spec/fingerprint.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/base/hash.h"
#include "format/tensor/decoder.h"

namespace ingot::tensor {

/// Immutable and thread-safe; keeps the tensor's planes alive.
class CanonicalTiles {
 public:
  /// Buffers of one thread and one tensor.
  struct Scratch {
    DecodeScratch decoded;                       // of tiles whose parameters need care
    std::vector<std::vector<std::byte>> units;   // by plane, where the source has no views
    std::uint64_t unit_begin = 0, unit_end = 0;  // in `units`
    std::uint64_t tile = ~std::uint64_t{0};      // in the following
    bool is_ordinary = false;                    // its values are canonical as they are computed
    std::vector<std::uint32_t> words;            // (16, words of a row)
    std::vector<float> scales, zeros, adds;      // (runs, 16)
  };

  /// Is the tensor one of 4-bit integers in tiles, in logical order, with one scale per group and at most one zero point
  /// or bias, whose values the loops compute exactly?
  [[nodiscard]] static bool takes(const Tensor& tensor);
  explicit CanonicalTiles(const Tensor& tensor);

  /// Hashes of the blocks of `block_elems` elements from element `begin` on; the tensor's last one may be shorter. Both
  /// are multiples of 8.
  void hash(std::uint64_t begin, std::uint64_t block_elems, std::span<Hash128> hashes, Scratch& scratch) const;
  /// The tiles whose last element is in [begin, end).
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> units_ending_in(std::uint64_t begin,
                                                                        std::uint64_t end) const noexcept;

 private:
  [[nodiscard]] std::uint64_t unit_of(std::uint64_t row) const noexcept {
    return row / geometry_.rows * geometry_.units_per_matrix + row % geometry_.rows / kTileRows;
  }
  [[nodiscard]] const std::byte* plane(std::size_t index, std::uint64_t unit, const Scratch& scratch) const noexcept;
  void read_units(std::uint64_t begin, std::uint64_t end, Scratch& scratch) const;
  void load_tile(std::uint64_t unit, Scratch& scratch) const;
  void load_parameters(std::uint64_t unit, Scratch& scratch) const;
  void make_values(std::uint64_t row, std::uint64_t col_begin, std::uint64_t col_end, std::uint32_t* out,
                   Scratch& scratch) const;

  Scheme scheme_;
  Geometry geometry_;
  std::shared_ptr<const PlaneSource> source_;
  Decoder decoder_;
  std::vector<std::optional<Bytes>> views_;  // by plane
  std::vector<std::uint64_t> unit_bytes_;    // by plane
  std::size_t offset_plane_ = 0;             // 0: none
  std::uint64_t runs_ = 1, run_cols_ = 0;
  float constant_zero_ = 0;
};

}  // namespace ingot::tensor

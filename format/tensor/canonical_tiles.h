// The fingerprint's blocks of a matrix of codes in tiles, without a detour through decoded rows: codes -> canonical
// binary32 -> XXH3, all in the first cache. Internal to format/tensor. Implements spec/fingerprint.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/base/hash.h"
#include "format/tensor/logical_decoder.h"

namespace ingot::tensor {

/// Immutable and thread-safe; keeps the tensor's planes alive.
class CanonicalTiles {
 public:
  /// Units [begin, end) in memory, by plane; nothing for planes that are not sliced.
  struct Units {
    std::uint64_t begin = 0, end = 0;
    std::vector<Bytes> planes;
  };
  /// Buffers of one thread and one tensor.
  struct Scratch {
    DecodeScratch decoded;                       // of tiles whose numbers need care
    std::vector<std::vector<std::byte>> units;   // by plane, where the source has no views
    std::uint64_t unit_begin = 0, unit_end = 0;  // in `units`
    std::vector<const std::byte*> planes;        // by plane: of the tile, or all of a plane that is not sliced
    std::uint64_t tile = ~std::uint64_t{0};      // in the following
    bool is_ordinary = false;                    // the loops make its values
    std::vector<std::uint32_t> codes;            // 16 rows in the form of the loop
    TileRunBuffers runs;
  };

  /// Is the tensor one of codes in tiles whose values are one multiplication and one addition, rounded once, and whose
  /// rows are the logical ones, in any order?
  [[nodiscard]] static bool takes(const Tensor& tensor);
  explicit CanonicalTiles(const Tensor& tensor);

  /// Hashes of the blocks of `block_elems` elements from element `begin` on; the tensor's last one may be shorter. Both
  /// are multiples of 8. `units` (or null) holds all units of these blocks: else they are read.
  void hash(std::uint64_t begin, std::uint64_t block_elems, std::span<Hash128> hashes, const Units* units,
            Scratch& scratch) const;
  /// Canonical bits of elements from `begin`, a multiple of 8, on. Read forward: the units that were read last are
  /// kept.
  void read(std::uint64_t begin, std::span<std::uint32_t> out, Scratch& scratch) const;
  /// The tiles whose last element is in [begin, end).
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> units_ending_in(std::uint64_t begin,
                                                                        std::uint64_t end) const noexcept;

 private:
  [[nodiscard]] const Decoder& stored() const noexcept { return decoder_.stored(); }
  [[nodiscard]] std::uint64_t unit_of(std::uint64_t row) const noexcept {
    return row / geometry_.rows * geometry_.units_per_matrix + row % geometry_.rows / kTileRows;
  }
  [[nodiscard]] Units units_of_rows(std::uint64_t row_begin, std::uint64_t row_end, Scratch& scratch) const;
  void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, Scratch& scratch) const;
  void load_tile(std::uint64_t unit, const Units& units, Scratch& scratch) const;
  void load_codes(Scratch& scratch) const;
  [[nodiscard]] bool has_nan_codes(const Scratch& scratch) const noexcept;
  void make_values(std::uint64_t row, std::uint64_t col_begin, std::uint64_t col_end, std::uint32_t* out,
                   const Units& units, Scratch& scratch) const;
  void run_loop(std::uint64_t row_in_tile, std::uint64_t col_begin, std::uint64_t col_end, std::uint32_t* out,
                const Scratch& scratch) const noexcept;

  Geometry geometry_;
  std::shared_ptr<const PlaneSource> source_;
  LogicalDecoder decoder_;
  TileForm form_;
  std::uint8_t code_bits_;
  std::uint64_t row_code_bytes_;             // of a row in the form of the loop
  std::vector<std::optional<Bytes>> views_;  // by plane; whole planes have one
  std::vector<std::uint64_t> unit_bytes_;    // by plane; 0 for whole planes
};

}  // namespace ingot::tensor

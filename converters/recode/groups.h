// Integer codes that keep their scales, in tiles: zero points of groups become the one zero of the wanted scheme, so
// that every group moves by a constant, or they become biases. What happens is seen from the parameters of groups
// alone, a tile at a time; the general way (rows.h) gives the same tensor, and the words for what does not fit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "format/tensor/tensor.h"

namespace ingot::convert::recoding {

struct Conversion;

/// Code + zero - zero point, modulo 2^8.
struct GroupShifts {
  std::size_t plane;             // of the source's zero points: a byte each, [group][16] in every tile
  std::uint64_t run_cols;        // columns of a group
  std::uint64_t groups;          // of a row
  std::uint64_t tile_bytes;      // groups * 16
  std::int32_t zero;             // of the wanted scheme
  std::int32_t least, greatest;  // zero points whose codes all fit, whatever they are
};

/// Nothing where the conversion is another one. Scales must have their places already.
[[nodiscard]] std::optional<GroupShifts> group_shifts(const Conversion& conversion);
/// Looks at all zero points, in parallel. Throws what the planes throw.
[[nodiscard]] bool all_groups_fit(const tensor::Tensor& source, const GroupShifts& shifts);

/// 0 - scale * zero point, computed exactly and rounded to the type of the bias.
struct GroupBiases {
  std::size_t scale_plane;                // of the source: f16 or bf16
  std::optional<std::size_t> zero_plane;  // of the source, as in GroupShifts; none: `zero`
  float zero;
  tensor::DType scale_type, bias_type;
  std::uint64_t groups;  // of a row
  /// `count` elements each. `zero_points`: null where there is no plane.
  void make(const std::byte* scales, const std::byte* zero_points, std::uint64_t count,
            std::byte* biases) const noexcept;
};
/// Nothing where the conversion is another one. Scales must have their places already.
[[nodiscard]] std::optional<GroupBiases> group_biases(const Conversion& conversion);

struct BiasLoss {
  bool regular = true;                          // else the general way must look: infinite numbers
  double worst_steps = 0;                       // 0: every bias is exact
  std::uint64_t first_row = ~std::uint64_t{0};  // that is not exact
};
/// Looks at all groups, in parallel; only up to the first loss when `stop_at_loss`. Throws what the planes throw.
[[nodiscard]] BiasLoss look_at_biases(const tensor::Tensor& source, const GroupBiases& biases, bool stop_at_loss);

/// Codes of a recoded tensor as those of its source, for readers that unpack codes anyway: they add up what the planes
/// of the recoded tensor would have to pack first.
struct MovedCodes {
  const tensor::Tensor* source;  // of the same geometry; lives as long as the recoded tensor's planes
  GroupShifts shifts;
  /// What codes of row `row` of a tile move by: (groups). `zero_points`: the plane's bytes of that tile.
  void row(const std::byte* zero_points, std::uint64_t row, std::vector<std::uint8_t>& moves) const;
};
[[nodiscard]] std::optional<MovedCodes> moved_codes(const tensor::Tensor& recoded);  // planes.cpp

}  // namespace ingot::convert::recoding

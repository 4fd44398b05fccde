// Parts that GPTQ and AWQ checkpoints pack alike: scales by group, and Marlin's codes and scales.
#pragma once

#include <cstdint>
#include <span>

#include "converters/layouts/linear_planes.h"

namespace ingot::convert {

/// The bytes [begin, begin + out.size()) of a part, filled in pieces that may reach beyond them.
class PartRange {
 public:
  PartRange(std::uint64_t begin, std::span<std::byte> out) noexcept : begin_(begin), out_(out) {}
  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return begin_ + out_.size(); }
  /// Bytes [offset, offset + count) of the part; what lies outside the range is skipped.
  void put(std::uint64_t offset, const std::byte* bytes, std::uint64_t count) const noexcept;
  /// Where bytes [offset, offset + count) of the part go; null where some of them lie outside the range.
  [[nodiscard]] std::byte* place(std::uint64_t offset, std::uint64_t count) const noexcept {
    return offset >= begin_ && offset + count <= end() ? out_.data() + (offset - begin_) : nullptr;
  }

 private:
  std::uint64_t begin_;
  std::span<std::byte> out_;
};

/// A matrix of `rows` rows in the file; what a tile of 16 columns holds of the first `groups`: [groups][16] elements.
struct GroupRows {
  const std::byte* data = nullptr;
  std::uint64_t groups = 0, outputs = 0, element_bytes = 0;
  void load(std::uint64_t tile, std::byte* parameters) const noexcept;
};
/// Scales, or zero points and biases, as a matrix [groups, outputs]; rows beyond the groups are zero.
void store_scales(const LinearView& view, const PartRange& range);
void store_offsets(const LinearView& view, const PartRange& range);

// --- Marlin: 4 bits, [in / 16, 2 * out] words, blocks of 16 inputs x 64 outputs --------------------------------------
struct MarlinWords {
  const std::byte* data = nullptr;
  std::uint64_t inputs = 0, outputs = 0;
  void load(std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes) const noexcept;
};
void store_marlin(const LinearView& view, const PartRange& range);

struct MarlinScales {
  const std::byte* data = nullptr;
  std::uint64_t groups = 0, outputs = 0, element_bytes = 0;
  void load(std::uint64_t tile, std::byte* parameters) const noexcept;
};
void store_marlin_scales(const LinearView& view, const PartRange& range);

}  // namespace ingot::convert

// AWQ's tensors in bytes: GEMM, GEMV and GEMV_FAST packings of 4-bit codes and their parameters. No names, no config.
#pragma once

#include <cstdint>

#include "converters/layouts/linear_parts.h"

namespace ingot::convert::awq {

/// `qweight` of GEMM: u32 [inputs, outputs / 8], eight outputs of one input per word in the order 0 2 4 6 1 3 5 7.
struct GemmWords {
  const std::byte* data = nullptr;
  std::uint64_t inputs = 0, outputs = 0;
  void load(std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes) const noexcept;
};
void store_gemm(const LinearView& view, const PartRange& range);
/// `qzeros` of GEMM: u32 [groups, outputs / 8], the same order.
struct GemmZeros {
  const std::byte* data = nullptr;
  std::uint64_t groups = 0, outputs = 0;
  void load(std::uint64_t tile, std::byte* parameters) const noexcept;
};
void store_gemm_zeros(const LinearView& view, const PartRange& range);

/// `qweight` of GEMV: u32 [outputs, inputs / 8], natural order.
struct GemvWords {
  const std::byte* data = nullptr;
  std::uint64_t inputs = 0, outputs = 0;
  void load(std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes) const noexcept;
};
void store_gemv(const LinearView& view, const PartRange& range);
/// Words of padded groups that GEMV's kernels read: `qzeros` is u32 [outputs, width], `scales` [outputs, 8 * width].
/// Zero: the kernels know no such group size.
[[nodiscard]] std::uint64_t gemv_zeros_width(std::uint64_t inputs, std::uint64_t group_size) noexcept;
struct GemvParameters {
  const std::byte* data = nullptr;
  std::uint64_t groups = 0, outputs = 0, element_bytes = 0, row_bytes = 0;  // element_bytes 0: nibbles
  void load(std::uint64_t tile, std::byte* parameters) const noexcept;
};
void store_gemv_scales(const LinearView& view, const PartRange& range);
void store_gemv_zeros(const LinearView& view, const PartRange& range);

/// `qweight` of GEMV_FAST and of llm-awq: i16 [outputs / 4, inputs], blocks of 4 outputs x 64 inputs.
struct FastWords {
  const std::byte* data = nullptr;
  std::uint64_t inputs = 0, outputs = 0;
  void load(std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride_bytes) const noexcept;
};
void store_fast(const LinearView& view, const PartRange& range);

}  // namespace ingot::convert::awq

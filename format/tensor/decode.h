// Exact values: the real number that the scheme defines, rounded once to binary32. Implements spec/schemes/README.md section 3.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "format/tensor/tensor.h"

namespace ingot::tensor {

/// Decodes units [unit_begin, unit_end) in stored order: out is row-major (rows of those units that exist, cols); padding rows of the last
/// tile are not written. out.size() must be exactly rows_in_units(...) * cols. Not for opaque codes (throws unsupported).
void decode_units(const Tensor& tensor, std::uint64_t unit_begin, std::uint64_t unit_end, std::span<float> out);

/// Matrix rows covered by units [unit_begin, unit_end), which must not cross a matrix boundary unless packing is rows.
[[nodiscard]] std::uint64_t rows_in_units(const Geometry& geometry, std::uint64_t unit_begin,
                                          std::uint64_t unit_end) noexcept;

/// The whole logical tensor (transforms undone), row-major, out.size() == elements(). For small tensors and tests; parallel.
void decode_logical(const Tensor& tensor, std::span<float> out);

/// Streams the logical tensor in row-major order in pieces of at most `piece_elems` (the last may be shorter), bounded memory except for
/// `transpose` of a tensor without a direct view. Calls sink(first_element, values) in order from one thread.
void for_each_logical(const Tensor& tensor, std::uint64_t piece_elems,
                      const std::function<void(std::uint64_t, std::span<const float>)>& sink);

/// Random access for parallel work: logical elements [begin, begin + out.size()). Thread-safe.
void decode_logical_range(const Tensor& tensor, std::uint64_t begin, std::span<float> out);

}  // namespace ingot::tensor

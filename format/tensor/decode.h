// Exact values: the real number that the scheme defines, rounded once to binary32. Implements spec/schemes/README.md
// section 3.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "format/tensor/tensor.h"

namespace ingot::tensor {

/// Decodes units [unit_begin, unit_end) in stored order: out is row-major (rows of those units that exist, cols);
/// padding rows of the last tile are not written. out.size() must be exactly rows_in_units(...) * cols. Not for opaque
/// codes (throws unsupported).
void decode_units(const Tensor& tensor, std::uint64_t unit_begin, std::uint64_t unit_end, std::span<float> out);

/// Matrix rows covered by units [unit_begin, unit_end), which must not cross a matrix boundary unless packing is rows.
[[nodiscard]] std::uint64_t rows_in_units(const Geometry& geometry, std::uint64_t unit_begin,
                                          std::uint64_t unit_end) noexcept;

/// The whole logical tensor (transforms undone), row-major, out.size() == elements(). For small tensors and tests;
/// parallel.
void decode_logical(const Tensor& tensor, std::span<float> out);

/// Streams the logical tensor in row-major order in pieces of at most `piece_elems` (the last may be shorter), bounded
/// memory except for `transpose` of a tensor without a direct view. Calls sink(first_element, values) in order from one
/// thread.
void for_each_logical(const Tensor& tensor, std::uint64_t piece_elems,
                      const std::function<void(std::uint64_t, std::span<const float>)>& sink);

/// A few values: logical elements [begin, begin + out.size()). Thread-safe. Many pieces are cheaper through a
/// ValueReader.
void decode_logical_range(const Tensor& tensor, std::uint64_t begin, std::span<float> out);

/// Random access to the logical values for parallel work, set up once. Keeps the planes alive. A call may run beside
/// those of other workers (parallel_for); each worker reads forward best, because it remembers the unit that it has
/// read last.
class ValueReader {
 public:
  explicit ValueReader(const Tensor& tensor);
  ValueReader(const ValueReader&) = delete;
  ValueReader& operator=(const ValueReader&) = delete;
  ~ValueReader();

  [[nodiscard]] std::uint64_t elements() const noexcept;
  /// Logical elements [begin, begin + out.size()); throws invalid_value beyond the end, and what the planes throw.
  void read(std::uint64_t begin, std::span<float> out, int worker);
  /// Hint: these elements are not read again soon. Gives the pages of the units that end among them back to the system.
  void done_with(std::uint64_t begin, std::uint64_t end) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ingot::tensor

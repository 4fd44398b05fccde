// Values for those who compare and fingerprint them: read once, canonical already, by the shortest way that the tensor
// has.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "format/tensor/tensor.h"

namespace ingot::tensor {

/// As ValueReader, but that -0 is +0 and every NaN the canonical one: the bytes of a fingerprint (spec/fingerprint.md).
class CanonicalReader {
 public:
  explicit CanonicalReader(const Tensor& tensor);
  CanonicalReader(const CanonicalReader&) = delete;
  CanonicalReader& operator=(const CanonicalReader&) = delete;
  ~CanonicalReader();

  /// Do small pieces cost no more than large ones? Else read as much at once as there is room for.
  [[nodiscard]] bool reads_in_pieces() const noexcept;
  /// Logical elements [begin, begin + out.size()); `begin` is a multiple of 8. A call may run beside those of other
  /// workers (parallel_for); each worker reads forward best.
  void read(std::uint64_t begin, std::span<float> out, int worker);
  /// Hint: these elements are not read again soon.
  void done_with(std::uint64_t begin, std::uint64_t end) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ingot::tensor

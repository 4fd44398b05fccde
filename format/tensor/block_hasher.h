// The hash of one block of a fingerprint whose values come in pieces. Implements spec/fingerprint.md.
#pragma once

#include <span>

#include "format/base/hash.h"

namespace ingot::tensor {

/// For FingerprintBuilder::add_hash(). Of one thread.
class BlockHasher {
 public:
  /// The next logical elements of the block.
  void add(std::span<const float> values);
  /// The same of values that are canonical already (CanonicalReader).
  void add_canonical_values(std::span<const float> values) { hasher_.update(std::as_bytes(values)); }
  [[nodiscard]] Hash128 digest() const noexcept { return hasher_.digest(); }

 private:
  Hasher128 hasher_;
};

}  // namespace ingot::tensor

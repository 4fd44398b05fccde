// The fingerprint of values, not of bytes (promise P2). Implements spec/fingerprint.md.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "format/base/hash.h"
#include "format/tensor/model.h"

namespace ingot::tensor {

/// Elements per block hash; blocks are independent, so a tensor is hashed in parallel.
inline constexpr std::uint64_t kFingerprintBlockElems = 65536;

/// XXH3-128 over: "ingot-fp1" NUL, rank u32, extents u64 each, then the XXH3-128 of every block of canonical
/// little-endian binary32 (-0 -> +0, every NaN -> 0x7FC00000) of the logical tensor in row-major order. Opaque tensors
/// hash their raw bytes under "ingot-fp0". Parallel inside; bounded memory.
[[nodiscard]] Hash128 fingerprint(const Tensor& tensor);

/// What a writer took of the values of its source.
struct TakenFingerprint {
  Hash128 hash;
  /// Of the very bytes in memory whose hashes the written file records: where the file still has those bytes, it has
  /// the values.
  bool of_written_bytes = false;
};

/// Incremental form for writers that have the values in hand: blocks may be added from several threads in any order.
class FingerprintBuilder {
 public:
  explicit FingerprintBuilder(const Shape& logical_shape);
  /// values: logical elements [block*kFingerprintBlockElems, ...), the full block except for the last one.
  void add_block(std::uint64_t block, std::span<const float> values);
  /// The same from stored elements of a type that takes_bytes_of() (f32, f16, bf16), without a detour through floats.
  void add_block(std::uint64_t block, DType type, Bytes bytes);
  [[nodiscard]] static bool takes_bytes_of(DType type) noexcept;
  /// The same for a block whose values have been hashed.
  void add_hash(std::uint64_t block, const Hash128& hash);
  [[nodiscard]] Hash128 finish() const;

 private:
  /// `block`, or throws invalid_value.
  [[nodiscard]] std::uint64_t checked(std::uint64_t block, std::uint64_t count) const;

  Shape shape_;
  std::vector<Hash128> blocks_;
};

/// Of a whole model: XXH3-128 over the (name, fingerprint) pairs sorted by name bytes, without derived tensors and
/// without a tied head whose values equal the embedding's. `of_tensors` are the per-tensor fingerprints in model order.
[[nodiscard]] Hash128 model_fingerprint(const Model& model, const std::vector<Hash128>& of_tensors);

}  // namespace ingot::tensor

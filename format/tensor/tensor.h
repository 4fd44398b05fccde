// The neutral tensor: name, logical shape, scheme, packing, transforms, and a source of plane bytes. Implements
// spec/planes.md. Goals: opening a file costs nothing per element; a conversion streams unit by unit; a mapped file is
// used without a copy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/base/byte_reader.h"
#include "format/base/hash.h"
#include "format/tensor/geometry.h"
#include "format/tensor/transform.h"

namespace ingot::tensor {

/// Where the canonical plane bytes come from: a mapped .ingot, or a foreign file whose blocks are split into planes on
/// the fly. Implementations are immutable and thread-safe; they keep what they need (mappings) alive.
class PlaneSource {
 public:
  virtual ~PlaneSource() = default;

  /// Direct view of all bytes of plane `index` (order of plane_specs), when they exist in memory in canonical form;
  /// else empty optional.
  [[nodiscard]] virtual std::optional<Bytes> view(std::size_t index) const = 0;

  /// Fills out[i] with the bytes of units [unit_begin, unit_end) of sliced plane i (null where not wanted) for all
  /// planes in one go, which is how interleaved foreign blocks are split once. Throws Error when the source's bytes
  /// turn out bad (compressed chunk, checksum).
  virtual void read_units(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<std::byte*>& out) const = 0;

  /// All bytes of a plane that is not sliced (table, permutation, per-tensor scale, 2-D block scales).
  [[nodiscard]] virtual Bytes whole(std::size_t index) const = 0;

  /// Hint: bytes of these units are no longer needed (keeps the resident set small). Default: nothing.
  virtual void done_with(std::uint64_t unit_begin, std::uint64_t unit_end) const;

  /// Hint: the bytes of mapped files that read_units() of these units reads, so that who hashes the files can do it
  /// while they are at hand. Where the bytes of all units are intermingled, all are told with unit 0. Default: none.
  [[nodiscard]] virtual std::vector<Bytes> file_bytes(std::uint64_t unit_begin, std::uint64_t unit_end) const;
};

/// Regular struct; cheap to copy (planes are shared). `shape` is the logical shape; `stored_shape()` applies the
/// transforms.
struct Tensor {
  std::string name;
  Shape shape;
  Scheme scheme;
  Packing packing = Packing::rows;
  std::vector<Transform> transforms;   // applied in order to get from logical to stored
  bool derived = false;                // computable from the config (rope_freqs): outside the model fingerprint
  std::optional<Hash128> fingerprint;  // of the logical values, when already known (an .ingot records it)
  std::shared_ptr<const PlaneSource> planes;

  [[nodiscard]] Shape stored_shape() const;  // transpose swaps the last two extents
  [[nodiscard]] Geometry geometry() const;   // of the stored tensor
  [[nodiscard]] std::vector<PlaneSpec> plane_specs() const;
  [[nodiscard]] std::uint64_t elements() const;
  [[nodiscard]] std::uint64_t stored_bytes() const;  // sum of all plane sizes
};

/// A PlaneSource over bytes in memory, one vector per plane (tests, small tensors, results of re-quantization).
[[nodiscard]] std::shared_ptr<const PlaneSource> planes_in_memory(std::vector<std::vector<std::byte>> planes,
                                                                  const Shape& stored_shape, const Scheme& scheme,
                                                                  Packing packing);

}  // namespace ingot::tensor

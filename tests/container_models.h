// Hand-built models for the container's tests: every kind of scheme, deterministic bytes, and sources with and without
// direct views.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "format/base/parallel.h"
#include "format/container/container.h"
#include "format/tensor/model.h"

namespace ingot::test {

/// A small reproducible generator (splitmix64).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t limit) noexcept { return next() % limit; }

 private:
  std::uint64_t state_;
};

/// Sets the number of threads and restores it.
class WithThreads {
 public:
  explicit WithThreads(int count) : before_(thread_count()) { set_thread_count(count); }
  ~WithThreads() { set_thread_count(before_); }

 private:
  int before_;
};

enum class SourceKind : std::uint8_t { views, streamed };  // streamed: read_units() only

/// A tensor with pseudo-random planes (permutations are permutations, group indexes are in range).
[[nodiscard]] tensor::Tensor make_tensor(const std::string& name, const tensor::Shape& shape,
                                         const tensor::Scheme& scheme, tensor::Packing packing, std::uint64_t seed,
                                         SourceKind kind = SourceKind::views);

/// One tensor per kind of scheme, packing and transform; small shapes with sizes around tile and group borders.
[[nodiscard]] tensor::Model make_model_of_all_schemes(SourceKind kind = SourceKind::views);
/// One tensor, one attachment, metadata: a few hundred bytes of index.
[[nodiscard]] tensor::Model make_small_model();
/// Tensors of several chunks whose units straddle chunk borders.
[[nodiscard]] tensor::Model make_large_model(SourceKind kind);

[[nodiscard]] std::vector<std::byte> read_bytes(const std::filesystem::path& path);
void write_bytes(const std::filesystem::path& path, Bytes bytes);
/// Quick options: no fsync.
[[nodiscard]] container::WriteOptions fast(container::Compression compression = container::Compression::none);

/// All bytes of a plane, however the source gives them.
[[nodiscard]] std::vector<std::byte> plane_bytes(const tensor::Tensor& tensor, std::size_t plane);

}  // namespace ingot::test

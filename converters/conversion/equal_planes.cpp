#include "converters/conversion/equal_planes.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <vector>

#include "converters/conversion/stored_units.h"
#include "format/base/parallel.h"

namespace ingot::convert {
namespace {

using tensor::PlaneSpec;
using tensor::Tensor;

constexpr std::uint64_t kWindowBytes = std::uint64_t{1} << 19;  // of both tensors: they stay in the cache

bool same(Bytes a, Bytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

bool have_equal_whole_planes(const Tensor& a, const Tensor& b, const std::vector<PlaneSpec>& specs) {
  for (std::size_t i = 0; i < specs.size(); ++i)
    if (!specs[i].sliced && !same(a.planes->whole(i), b.planes->whole(i))) return false;
  return true;
}

std::uint64_t window_units(const std::vector<PlaneSpec>& specs) {
  std::uint64_t unit_bytes = 1;
  for (const PlaneSpec& spec : specs) unit_bytes += spec.sliced ? spec.unit_bytes : 0;
  return std::max<std::uint64_t>(kWindowBytes / unit_bytes, 1);
}

}  // namespace

bool have_one_form(const Tensor& a, const Tensor& b) {
  return a.shape == b.shape && a.scheme == b.scheme && a.packing == b.packing && a.transforms == b.transforms;
}

bool have_equal_planes(const Tensor& a, const Tensor& b) {
  if (!have_one_form(a, b)) return false;
  const std::vector<PlaneSpec> specs = a.plane_specs();
  if (!have_equal_whole_planes(a, b, specs)) return false;
  struct Worker {
    std::optional<StoredUnits> a, b;
  };
  std::vector<Worker> workers(static_cast<std::size_t>(thread_count()));
  std::atomic<bool> equal{true};
  parallel_for(a.geometry().units, window_units(specs), [&](std::uint64_t begin, std::uint64_t end, int worker) {
    if (!equal.load(std::memory_order_relaxed)) return;
    Worker& own = workers[static_cast<std::size_t>(worker)];
    if (!own.a) {
      own.a.emplace(a);
      own.b.emplace(b);
    }
    own.a->read(begin, end);
    own.b->read(begin, end);
    for (std::size_t i = 0; i < specs.size(); ++i)
      if (!same(own.a->planes()[i], own.b->planes()[i])) equal = false;
  });
  return equal;
}

}  // namespace ingot::convert

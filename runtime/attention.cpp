#include "runtime/attention.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "format/base/parallel.h"

namespace ingot::runtime {
namespace {

// What the parallel region needs; the lambda captures one pointer, so that std::function allocates nothing.
struct Region {
  const KvCache& cache;
  std::uint64_t layer;
  const AttentionShape& shape;
  std::uint64_t first;
  float* q;
  std::uint64_t stride;
  std::vector<std::vector<float>>& scratch;
  const kernels::KernelTable& kernels;

  void run(std::uint64_t begin, std::uint64_t end, int worker) const noexcept {
    for (std::uint64_t i = begin; i < end; ++i) {
      one(i / shape.query_heads, i % shape.query_heads, scratch[static_cast<std::size_t>(worker)].data());
    }
  }

  // Calls visit(position, row) for the rows of some positions.
  template <class Visit>
  void each_row(KvCache::Part part, std::uint64_t head, std::uint64_t begin, std::uint64_t end, float* decoded,
                const Visit& visit) const noexcept {
    for (std::uint64_t p = begin; p < end; p += KvCache::kRowsAtOnce) {
      const std::uint64_t count = std::min(KvCache::kRowsAtOnce, end - p);
      const float* const rows = cache.rows(part, layer, head, p, count, decoded);
      for (std::uint64_t i = 0; i < count; ++i) visit(p + i, rows + i * cache.head_dim());
    }
  }

  void one(std::uint64_t row, std::uint64_t head, float* weights) const noexcept {
    const std::uint64_t dim = cache.head_dim(), kv_head = head / (shape.query_heads / cache.heads());
    const std::uint64_t end = first + row + 1;
    const std::uint64_t begin = shape.window != 0 && end > shape.window ? end - shape.window : 0;
    float* const query = q + row * stride + head * dim;
    float* const decoded = weights + cache.positions();
    float greatest = -INFINITY;
    each_row(KvCache::Part::keys, kv_head, begin, end, decoded, [&](std::uint64_t p, const float* key) {
      float score = kernels.dot_f32(key, query, dim) * shape.scale;
      if (shape.softcap != 0) score = shape.softcap * std::tanh(score / shape.softcap);
      weights[p - begin] = score;
      greatest = std::max(greatest, score);
    });
    double sum = 0;
    for (std::uint64_t i = 0; i < end - begin; ++i) {
      weights[i] = std::exp(weights[i] - greatest);
      sum += weights[i];
    }
    const auto norm = static_cast<float>(sum);
    std::fill_n(query, dim, 0.0f);
    each_row(KvCache::Part::values, kv_head, begin, end, decoded, [&](std::uint64_t p, const float* value) {
      kernels.axpy_f32(weights[p - begin] / norm, value, query, dim);
    });
  }
};

}  // namespace

void attend(const KvCache& cache, std::uint64_t layer, const AttentionShape& shape, std::uint64_t first,
            std::uint64_t count, float* q, std::uint64_t stride, std::vector<std::vector<float>>& scratch) {
  const Region region = {cache, layer, shape, first, q, stride, scratch, kernels::best()};
  parallel_for(count * shape.query_heads, 1,
               [&region](std::uint64_t begin, std::uint64_t end, int worker) { region.run(begin, end, worker); });
}

}  // namespace ingot::runtime

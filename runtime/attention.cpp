#include "runtime/attention.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "format/base/checked_math.h"
#include "format/base/parallel.h"

namespace ingot::runtime {
namespace {

std::unique_ptr<float[]> allocate(std::uint64_t elems) {
  constexpr std::uint64_t kMaxElems = std::uint64_t{1} << 46;
  try {
    if (elems <= kMaxElems) return std::make_unique_for_overwrite<float[]>(elems);
  } catch (const std::bad_alloc&) {
  }
  throw Error(ErrorKind::limit_exceeded, "key/value cache of 2 x " + std::to_string(elems) +
                                             " numbers: not enough memory (use a smaller context)");
}

// What the parallel region needs; the lambda captures one pointer, so that std::function allocates nothing.
struct Region {
  KvCache& cache;
  std::uint64_t layer;
  const AttentionShape& shape;
  std::uint64_t first;
  float* q;
  std::uint64_t stride;
  std::vector<std::vector<float>>& scores;
  const kernels::KernelTable& kernels;

  void run(std::uint64_t begin, std::uint64_t end, int worker) const noexcept {
    for (std::uint64_t i = begin; i < end; ++i) {
      one(i / shape.query_heads, i % shape.query_heads, scores[static_cast<std::size_t>(worker)].data());
    }
  }

  void one(std::uint64_t row, std::uint64_t head, float* weights) const noexcept {
    const std::uint64_t dim = cache.head_dim(), kv_head = head / (shape.query_heads / cache.heads());
    const std::uint64_t last = first + row;
    const std::uint64_t begin = shape.window != 0 && last + 1 > shape.window ? last + 1 - shape.window : 0;
    float* const query = q + row * stride + head * dim;
    float greatest = -INFINITY;
    for (std::uint64_t p = begin; p <= last; ++p) {
      float score = kernels.dot_f32(cache.key(layer, kv_head, p), query, dim) * shape.scale;
      if (shape.softcap != 0) score = shape.softcap * std::tanh(score / shape.softcap);
      weights[p - begin] = score;
      greatest = std::max(greatest, score);
    }
    double sum = 0;
    for (std::uint64_t i = 0; i <= last - begin; ++i) {
      weights[i] = std::exp(weights[i] - greatest);
      sum += weights[i];
    }
    const auto norm = static_cast<float>(sum);
    std::fill_n(query, dim, 0.0f);
    for (std::uint64_t p = begin; p <= last; ++p) {
      kernels.axpy_f32(weights[p - begin] / norm, cache.value(layer, kv_head, p), query, dim);
    }
  }
};

}  // namespace

KvCache::KvCache(std::uint64_t layers, std::uint64_t heads, std::uint64_t positions, std::uint64_t head_dim)
    : heads_(heads), positions_(positions), head_dim_(head_dim) {
  const std::uint64_t extents[] = {layers, heads, positions, head_dim};
  const std::uint64_t elems = checked_product(extents, "key/value cache");
  keys_ = allocate(elems);
  values_ = allocate(elems);
}

void KvCache::store(std::uint64_t layer, std::uint64_t position, const float* keys, const float* values) noexcept {
  for (std::uint64_t head = 0; head < heads_; ++head) {
    std::copy_n(keys + head * head_dim_, head_dim_, key(layer, head, position));
    std::copy_n(values + head * head_dim_, head_dim_, value(layer, head, position));
  }
}

void attend(KvCache& cache, std::uint64_t layer, const AttentionShape& shape, std::uint64_t first, std::uint64_t count,
            float* q, std::uint64_t stride, std::vector<std::vector<float>>& scores) {
  const Region region = {cache, layer, shape, first, q, stride, scores, kernels::best()};
  parallel_for(count * shape.query_heads, 1,
               [&region](std::uint64_t begin, std::uint64_t end, int worker) { region.run(begin, end, worker); });
}

}  // namespace ingot::runtime

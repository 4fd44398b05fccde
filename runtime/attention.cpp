// Queries that read the same keys and values are taken together, those of several positions too: rows of the cache are
// decoded once for all of them. Every score and every element of a result is the same chain of operations however they
// are grouped.
#include "runtime/attention.h"

#include <algorithm>
#include <cmath>

#include "format/base/parallel.h"

namespace ingot::runtime {
namespace {

constexpr std::uint64_t kQueriesAtOnce = 48;
constexpr std::uint64_t kScoresAtOnce = std::uint64_t{1} << 16;  // of a worker: they stay in the second-level cache
constexpr std::uint64_t kRowGroup = 4;  // rows_dot() adds rows up alike as long as they come in fours

std::uint64_t in_groups(std::uint64_t count) noexcept { return (count + kRowGroup - 1) / kRowGroup * kRowGroup; }

// The positions [begin, end) that one or more queries look at.
struct Span {
  std::uint64_t begin, end;
};

// Memory of a worker, in a row.
struct Parts {
  float* scores;   // (queries, stride)
  float* decoded;  // (kRowsAtOnce, head_dim)
  float* queries;  // (kQueriesAtOnce, head_dim)
  float* results;  // the same
};

// What the parallel region needs; the lambda captures one pointer, so that std::function allocates nothing.
struct Region {
  const KvCache& cache;
  std::uint64_t layer;
  const AttentionShape& shape;
  std::uint64_t first, count;
  float* q;
  std::uint64_t stride;
  std::vector<std::vector<float>>& scratch;
  const kernels::KernelTable& kernels;
  std::uint64_t at_once;  // queries of one piece of work

  // Query heads that read the same head of the cache.
  [[nodiscard]] std::uint64_t sharing() const noexcept { return shape.query_heads / cache.heads(); }
  [[nodiscard]] std::uint64_t blocks() const noexcept { return (count * sharing() + at_once - 1) / at_once; }

  void run(std::uint64_t begin, std::uint64_t end, int worker) const noexcept {
    float* const memory = scratch[static_cast<std::size_t>(worker)].data();
    const std::uint64_t rows = kQueriesAtOnce * cache.head_dim();
    float* const decoded = memory + cache.scratch_elems() - 2 * rows - KvCache::kRowsAtOnce * cache.head_dim();
    float* const queries = decoded + KvCache::kRowsAtOnce * cache.head_dim();
    const Parts parts = {memory, decoded, queries, queries + rows};
    for (std::uint64_t i = begin; i < end; ++i) {
      const std::uint64_t from = i / cache.heads() * at_once;
      some_queries(i % cache.heads(), from, std::min(from + at_once, count * sharing()), parts);
    }
  }

  // Queries of a head of the cache are numbered position by position.
  [[nodiscard]] float* query(std::uint64_t head, std::uint64_t index) const noexcept {
    return q + index / sharing() * stride + (head * sharing() + index % sharing()) * cache.head_dim();
  }
  [[nodiscard]] Span span_of(std::uint64_t index) const noexcept {
    const std::uint64_t end = first + index / sharing() + 1;
    return {shape.window != 0 && end > shape.window ? end - shape.window : 0, end};
  }

  void some_queries(std::uint64_t head, std::uint64_t from, std::uint64_t to, const Parts& parts) const noexcept {
    const std::uint64_t dim = cache.head_dim(), rows = to - from;
    for (std::uint64_t i = 0; i < rows; ++i) std::copy_n(query(head, from + i), dim, parts.queries + i * dim);
    const Span all = {span_of(from).begin / kRowGroup * kRowGroup, span_of(to - 1).end};
    const std::uint64_t width = in_groups(all.end - all.begin);
    for (std::uint64_t p = all.begin; p < all.end; p += KvCache::kRowsAtOnce) {
      const std::uint64_t some = std::min(KvCache::kRowsAtOnce, all.end - p);
      const float* const keys = whole_groups(KvCache::Part::keys, head, p, some, parts.decoded);
      kernels.rows_dot(keys, dim, in_groups(some), parts.queries, dim, rows, dim, parts.scores + (p - all.begin),
                       width);
    }
    for (std::uint64_t i = 0; i < rows; ++i) {
      const Span own = span_of(from + i);
      to_weights(parts.scores + i * width, own.begin - all.begin, own.end - all.begin, width);
    }
    std::fill_n(parts.results, rows * dim, 0.0f);
    for (std::uint64_t p = all.begin; p < all.end; p += KvCache::kRowsAtOnce) {
      const std::uint64_t some = std::min(KvCache::kRowsAtOnce, all.end - p);
      const float* const values = cache.rows(KvCache::Part::values, layer, head, p, some, parts.decoded);
      add_values(values, {p, p + some}, all.begin, from, rows, parts);
    }
    for (std::uint64_t i = 0; i < rows; ++i) std::copy_n(parts.results + i * dim, dim, query(head, from + i));
  }

  // Adds the rows of the positions `there`, which `values` holds, to the results of some queries. What all of them look
  // at is added at once. Of the rest each adds its own only: with a weight of 0 an infinite value would be no number.
  void add_values(const float* values, Span there, std::uint64_t first_score, std::uint64_t from, std::uint64_t queries,
                  const Parts& parts) const noexcept {
    const std::uint64_t dim = cache.head_dim(), width = in_groups(span_of(from + queries - 1).end - first_score);
    const Span common = {span_of(from + queries - 1).begin,
                         std::max(span_of(from + queries - 1).begin, span_of(from).end)};
    const auto add = [&](std::uint64_t begin, std::uint64_t end, std::uint64_t query, std::uint64_t some) {
      begin = std::max(begin, there.begin);
      end = std::min(end, there.end);
      if (begin >= end) return;
      kernels.add_rows(values + (begin - there.begin) * dim, end - begin, dim,
                       parts.scores + query * width + (begin - first_score), width, some, parts.results + query * dim,
                       dim);
    };
    for (std::uint64_t i = 0; i < queries; ++i) {
      const Span own = span_of(from + i);
      add(own.begin, std::min(own.end, common.begin), i, 1);
    }
    add(common.begin, common.end, 0, queries);
    for (std::uint64_t i = 0; i < queries; ++i) {
      const Span own = span_of(from + i);
      add(std::max(own.begin, common.end), own.end, i, 1);
    }
  }

  // Rows of the cache, with rows of zeros behind them until they come in fours.
  [[nodiscard]] const float* whole_groups(KvCache::Part part, std::uint64_t head, std::uint64_t position,
                                          std::uint64_t rows, float* decoded) const noexcept {
    const std::uint64_t elems = rows * cache.head_dim(), wanted = in_groups(rows) * cache.head_dim();
    const float* const stored = cache.rows(part, layer, head, position, rows, decoded);
    if (elems == wanted) return stored;
    if (stored != decoded) std::copy_n(stored, elems, decoded);
    std::fill_n(decoded + elems, wanted - elems, 0.0f);
    return decoded;
  }

  // Products become the weights of the positions [begin, end); of the others they become 0.
  void to_weights(float* scores, std::uint64_t begin, std::uint64_t end, std::uint64_t width) const noexcept {
    float scale = shape.scale;
    if (shape.softcap != 0) {
      for (std::uint64_t i = begin; i < end; ++i)
        scores[i] = shape.softcap * std::tanh(scores[i] * shape.scale / shape.softcap);
      scale = 1;
    }
    kernels.functions.softmax(scores + begin, end - begin, scale);
    std::fill(scores, scores + begin, 0.0f);
    std::fill(scores + end, scores + width, 0.0f);
  }
};

}  // namespace

std::uint64_t KvCache::scratch_elems() const noexcept {
  const std::uint64_t scores = std::max(kScoresAtOnce, in_groups(positions_) + kRowGroup);
  return scores + (kRowsAtOnce + 2 * kQueriesAtOnce) * head_dim_;
}

void attend(const KvCache& cache, std::uint64_t layer, const AttentionShape& shape, std::uint64_t first,
            std::uint64_t count, float* q, std::uint64_t stride, std::vector<std::vector<float>>& scratch) {
  const std::uint64_t fitting = kScoresAtOnce / (in_groups(first + count) + kRowGroup);
  const std::uint64_t fair = count * shape.query_heads / static_cast<std::uint64_t>(thread_count());
  const std::uint64_t at_once = std::clamp<std::uint64_t>(std::min(fitting, fair), 1, kQueriesAtOnce);
  const Region region = {cache, layer, shape, first, count, q, stride, scratch, kernels::best(), at_once};
  parallel_for(region.blocks() * cache.heads(), 1,
               [&region](std::uint64_t begin, std::uint64_t end, int worker) { region.run(begin, end, worker); });
}

}  // namespace ingot::runtime

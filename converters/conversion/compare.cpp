// Two tensors, value by value, whatever their schemes: errors, counts and both fingerprints in one parallel pass with
// bounded memory.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>

#include "converters/conversion/step_source.h"
#include "converters/equal_values.h"
#include "converters/registry.h"
#include "format/base/parallel.h"
#include "format/tensor/block_hasher.h"
#include "format/tensor/bulk.h"
#include "format/tensor/canonical_reader.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"

namespace ingot::convert {
namespace {

using tensor::kFingerprintBlockElems;
using tensor::Tensor;

/// What one worker has seen.
struct Tally {
  std::uint64_t differing = 0;
  double squared_error = 0, squared_value = 0, squared_steps = 0, squared_ulp = 0;
  double worst_error = 0, worst_steps = 0, worst_ulp = 0;
  std::uint64_t worst_element = 0;
  std::vector<float> a, b, steps;
};

double total(const double (&lanes)[tensor::Differences::kLanes]) noexcept {
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

double largest(const double (&lanes)[tensor::Differences::kLanes]) noexcept {
  return *std::max_element(std::begin(lanes), std::end(lanes));
}

/// Read at once where that costs nothing: so few that they stay in the first-level cache from one loop to the next.
constexpr std::size_t kPieceElems = 4096;

/// |b - a| as tensor::Differences means it; 0 where the two are the same value.
double error_of(float a, float b) noexcept {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double error = std::fabs(static_cast<double>(b) - a);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

/// Reads blocks of both tensors and of b's steps.
class Comparison {
 public:
  Comparison(const Tensor& a, const Tensor& b)
      : a_(a),
        b_(b),
        pieces_of_a_(a_.reads_in_pieces()),
        pieces_of_b_(b_.reads_in_pieces()),
        grid_(float_grid(b.scheme)),
        builder_a_(a.shape),
        builder_b_(b.shape),
        tallies_(static_cast<std::size_t>(thread_count())) {
    if (const std::optional<StepSizes> steps = step_sizes(b)) {
      step_sizes_.emplace(steps->values);
      run_elems_ = steps->run_elems;
    }
  }

  void add_block(std::uint64_t block, std::uint64_t elements, int worker) {
    Tally& tally = tallies_[static_cast<std::size_t>(worker)];
    const std::uint64_t begin = block * kFingerprintBlockElems;
    const std::size_t count = static_cast<std::size_t>(std::min(kFingerprintBlockElems, elements - begin));
    tally.a.resize(pieces_of_a_ ? std::min(count, kPieceElems) : count);
    tally.b.resize(pieces_of_b_ ? std::min(count, kPieceElems) : count);
    if (!pieces_of_a_) a_.read(begin, tally.a, worker);
    if (!pieces_of_b_) b_.read(begin, tally.b, worker);
    read_steps(tally, begin, count, worker);
    tensor::BlockHasher hash_a, hash_b;
    for (std::size_t from = 0; from < count; from += kPieceElems) {
      const std::size_t some = std::min(kPieceElems, count - from);
      const std::span<float> a(tally.a.data() + (pieces_of_a_ ? 0 : from), some);
      const std::span<float> b(tally.b.data() + (pieces_of_b_ ? 0 : from), some);
      if (pieces_of_a_) a_.read(begin + from, a, worker);
      if (pieces_of_b_) b_.read(begin + from, b, worker);
      hash_a.add_canonical_values(a);
      hash_b.add_canonical_values(b);
      add_differences(tally, begin, begin + from, a, b);
    }
    builder_a_.add_hash(block, hash_a.digest());
    builder_b_.add_hash(block, hash_b.digest());
  }

  void done_with(std::uint64_t begin, std::uint64_t end) const {
    a_.done_with(begin, end);
    b_.done_with(begin, end);
  }

  [[nodiscard]] ValueComparison finish(std::uint64_t elements) const {
    ValueComparison result;
    result.elements = elements;
    result.fingerprint_a = builder_a_.finish();
    result.fingerprint_b = builder_b_.finish();
    double squared_error = 0, squared_value = 0, squared_steps = 0, squared_ulp = 0;
    for (const Tally& tally : tallies_) {
      squared_steps += tally.squared_steps;
      squared_ulp += tally.squared_ulp;
      result.worst_error_ulp = std::max(result.worst_error_ulp, tally.worst_ulp);
      result.differing += tally.differing;
      squared_error += tally.squared_error;
      squared_value += tally.squared_value;
      result.worst_error_steps = std::max(result.worst_error_steps, tally.worst_steps);
      const bool earlier = tally.worst_error == result.worst_error && tally.worst_element < result.worst_element;
      if (tally.worst_error > result.worst_error || earlier) {
        result.worst_error = tally.worst_error;
        result.worst_element = tally.worst_element;
      }
    }
    if (elements > 0) {
      result.rms_error = std::sqrt(squared_error / static_cast<double>(elements));
      result.rms_value = std::sqrt(squared_value / static_cast<double>(elements));
      result.rms_error_steps = std::sqrt(squared_steps / static_cast<double>(elements));
      result.rms_error_ulp = std::sqrt(squared_ulp / static_cast<double>(elements));
    }
    return result;
  }

 private:
  void read_steps(Tally& tally, std::uint64_t begin, std::size_t count, int worker) {
    if (!step_sizes_) return;
    const std::uint64_t first = begin / run_elems_, last = (begin + count - 1) / run_elems_;
    tally.steps.resize(last - first + 1);
    step_sizes_->read(first, tally.steps, worker);
  }

  /// Of a piece that begins at element `begin`, in the block that begins at `block_begin`.
  void add_differences(Tally& tally, std::uint64_t block_begin, std::uint64_t begin, std::span<const float> a,
                       std::span<const float> b) {
    tensor::Steps steps;
    if (grid_) steps.grid = *grid_;
    if (step_sizes_) {
      steps.sizes = tally.steps.data() + (begin / run_elems_ - block_begin / run_elems_);
      steps.run_elems = run_elems_;
      steps.skipped = begin % run_elems_;
    }
    tensor::Differences sum;
    sum.worst_error[0] = tally.worst_error;  // what is smaller need not be exact
    sum.worst_steps[0] = tally.worst_steps;
    sum.worst_places[0] = tally.worst_ulp;
    tensor::bulk().add_near_differences(a.data(), b.data(), steps, a.size(), sum);
    tally.differing += sum.differing;
    tally.squared_error += total(sum.squared_error);
    tally.squared_value += total(sum.squared_value);
    tally.squared_ulp += total(sum.squared_places);
    tally.worst_ulp = std::max(tally.worst_ulp, largest(sum.worst_places));
    if (step_sizes_ || grid_) {
      tally.squared_steps += total(sum.squared_steps);
      tally.worst_steps = std::max(tally.worst_steps, largest(sum.worst_steps));
    }
    const double worst_error = largest(sum.worst_error);
    if (worst_error <= tally.worst_error) return;
    tally.worst_error = worst_error;
    std::size_t i = 0;
    while (error_of(a[i], b[i]) != worst_error) ++i;
    tally.worst_element = begin + i;
  }

  tensor::CanonicalReader a_, b_;
  bool pieces_of_a_, pieces_of_b_;
  std::optional<tensor::ValueReader> step_sizes_;
  std::uint64_t run_elems_ = 1;
  std::optional<tensor::FloatGrid> grid_;
  tensor::FingerprintBuilder builder_a_, builder_b_;
  std::vector<Tally> tallies_;
};

ValueComparison compare_opaque(const Tensor& a, const Tensor& b) {
  ValueComparison result;
  result.elements = a.elements();
  result.fingerprint_a = tensor::fingerprint(a);
  result.fingerprint_b = tensor::fingerprint(b);
  if (result.fingerprint_a != result.fingerprint_b) {
    result.differing = result.elements;
    result.worst_error = result.rms_error = std::numeric_limits<double>::infinity();
  }
  return result;
}

std::string shape_text(const tensor::Shape& shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

/// So many that pages are given back a few megabytes at a time, each of which stops all threads for a moment, and so
/// few that all threads have something to do.
std::uint64_t blocks_at_once(std::uint64_t blocks) noexcept {
  constexpr std::uint64_t kMost = 16, kRangesPerThread = 4;
  return std::clamp<std::uint64_t>(blocks / (kRangesPerThread * static_cast<std::uint64_t>(thread_count())), 1, kMost);
}

/// Elements that have_equal_values() reads at once: so few that a difference is found before much was read.
constexpr std::uint64_t kGlanceElems = std::uint64_t{1} << 13;

}  // namespace

bool have_equal_values(const Tensor& a, const Tensor& b) {
  const std::uint64_t elements = a.elements();
  tensor::ValueReader reader_a(a), reader_b(b);
  std::atomic<bool> equal{true};
  std::vector<std::vector<float>> values_a(static_cast<std::size_t>(thread_count())), values_b(values_a.size());
  const auto look = [&](std::uint64_t begin_piece, std::uint64_t end_piece, int worker) {
    std::vector<float>& x = values_a[static_cast<std::size_t>(worker)];
    std::vector<float>& y = values_b[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = begin_piece; piece < end_piece && equal.load(std::memory_order_relaxed); ++piece) {
      const std::uint64_t begin = piece * kGlanceElems, count = std::min(kGlanceElems, elements - begin);
      x.resize(count);
      y.resize(count);
      reader_a.read(begin, x, worker);
      reader_b.read(begin, y, worker);
      bool same = true;
      for (std::size_t i = 0; i < count; ++i) same &= error_of(x[i], y[i]) == 0;
      if (!same) equal = false;
      reader_a.done_with(begin, begin + count);
      reader_b.done_with(begin, begin + count);
    }
  };
  const std::uint64_t pieces = elements / kGlanceElems + (elements % kGlanceElems != 0);
  if (pieces > 0) look(0, 1, 0);
  parallel_for(pieces, 8, look);
  return equal;
}

ValueComparison compare_values(const Tensor& a, const Tensor& b, const std::function<void(std::uint64_t)>& progress) {
  if (a.shape != b.shape) {
    throw Error(ErrorKind::mismatch,
                a.name + ": shapes differ: " + shape_text(a.shape) + " and " + shape_text(b.shape));
  }
  const std::uint64_t stored = a.stored_bytes() + b.stored_bytes();
  if (a.scheme.codes.kind == tensor::CodeKind::opaque || b.scheme.codes.kind == tensor::CodeKind::opaque) {
    ValueComparison result = compare_opaque(a, b);
    if (progress) progress(stored);
    return result;
  }
  const std::uint64_t elements = a.elements();
  Comparison comparison(a, b);
  std::mutex progress_mutex;
  std::uint64_t done = 0;
  const std::uint64_t blocks = elements / kFingerprintBlockElems + (elements % kFingerprintBlockElems != 0);
  parallel_for(blocks, blocks_at_once(blocks), [&](std::uint64_t block_begin, std::uint64_t block_end, int worker) {
    for (std::uint64_t block = block_begin; block < block_end; ++block) comparison.add_block(block, elements, worker);
    comparison.done_with(block_begin * kFingerprintBlockElems, std::min(elements, block_end * kFingerprintBlockElems));
    if (!progress) return;
    const std::scoped_lock lock(progress_mutex);
    done += block_end - block_begin;
    progress(static_cast<std::uint64_t>(static_cast<double>(stored) * static_cast<double>(done) /
                                        static_cast<double>(blocks)));
  });
  for (const Tensor* tensor : {&a, &b}) tensor->planes->done_with(0, tensor->geometry().units);
  return comparison.finish(elements);
}

}  // namespace ingot::convert

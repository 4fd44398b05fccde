// Two tensors, value by value, whatever their schemes: errors, counts and both fingerprints in one parallel pass with
// bounded memory.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>

#include "converters/equal_values.h"
#include "converters/registry.h"
#include "converters/step_source.h"
#include "format/base/parallel.h"
#include "format/tensor/bulk.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"

namespace ingot::convert {
namespace {

using tensor::kFingerprintBlockElems;
using tensor::Tensor;

/// What one worker has seen.
struct Tally {
  std::uint64_t differing = 0;
  double worst_error = 0, worst_steps = 0, squared_error = 0, squared_value = 0;
  double squared_steps = 0, worst_ulp = 0, squared_ulp = 0;
  std::uint64_t worst_element = 0;
  std::vector<float> a, b, steps;
};

/// |b - a| as tensor::Differences means it; 0 where the two are the same value.
double error_of(float a, float b) noexcept {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double error = std::fabs(static_cast<double>(b) - a);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

/// One over the distance of neighbours at `value` in a float type, a power of two: made of its exponent, because this is
/// asked for every value that differs.
double inverse_spacing(tensor::FloatGrid grid, float value) noexcept {
  constexpr int kBias = 127, kNotFinite = 255, kBiasOfDouble = 1023, kFractionOfDouble = 52;
  const int field = static_cast<int>(std::bit_cast<std::uint32_t>(value) >> 23 & 255);
  int exponent = grid.min_exponent;
  if (field != 0 && field != kNotFinite) exponent = std::max(exponent, field - kBias);
  if (field == 0 && value != 0) exponent = std::max(exponent, std::ilogb(value));
  const auto inverse = static_cast<std::uint64_t>(kBiasOfDouble + grid.mantissa_bits - exponent);
  return std::bit_cast<double>(inverse << kFractionOfDouble);
}

/// Reads blocks of both tensors and of b's steps.
class Comparison {
 public:
  Comparison(const Tensor& a, const Tensor& b)
      : a_(a),
        b_(b),
        grid_(float_grid(b.scheme)),
        builder_a_(a.shape),
        builder_b_(b.shape),
        tallies_(static_cast<std::size_t>(thread_count())) {
    if (const std::optional<Tensor> steps = step_tensor(b)) steps_.emplace(*steps);
  }

  void add_block(std::uint64_t block, std::uint64_t elements, int worker) {
    Tally& tally = tallies_[static_cast<std::size_t>(worker)];
    const std::uint64_t begin = block * kFingerprintBlockElems;
    const std::size_t count = static_cast<std::size_t>(std::min(kFingerprintBlockElems, elements - begin));
    tally.a.resize(count);
    tally.b.resize(count);
    a_.read(begin, tally.a, worker);
    b_.read(begin, tally.b, worker);
    builder_a_.add_block(block, tally.a);
    builder_b_.add_block(block, tally.b);
    add_differences(tally, begin, count, worker);
    a_.done_with(begin, begin + count);
    b_.done_with(begin, begin + count);
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
  void add_differences(Tally& tally, std::uint64_t begin, std::size_t count, int worker) {
    constexpr tensor::FloatGrid kNoGrid{0, 0};
    const auto sum_up = [&](const float* steps) {
      tensor::Differences sum;
      tensor::bulk().add_differences(tally.a.data(), tally.b.data(), steps, grid_.value_or(kNoGrid), count, sum);
      return sum;
    };
    tensor::Differences sum = sum_up(nullptr);
    if (steps_ && sum.differing > 0) {
      tally.steps.resize(count);
      steps_->read(begin, tally.steps, worker);
      sum = sum_up(tally.steps.data());
    }
    for (const double part : sum.squared_error) tally.squared_error += part;
    for (const double part : sum.squared_value) tally.squared_value += part;
    tally.differing += sum.differing;
    if (steps_ || grid_) tally.worst_steps = std::max(tally.worst_steps, sum.worst_steps);
    if (sum.differing > 0) add_relative_errors(tally, count);
    if (sum.worst_error <= tally.worst_error) return;
    tally.worst_error = sum.worst_error;
    std::size_t i = 0;
    while (error_of(tally.a[i], tally.b[i]) != sum.worst_error) ++i;
    tally.worst_element = begin + i;
  }

  /// Errors in steps and in units of the last place; only where values differ.
  void add_relative_errors(Tally& tally, std::size_t count) const {
    constexpr tensor::FloatGrid kBinary32{23, -126};
    double worst_ulp = tally.worst_ulp, squared_ulp = 0, squared_steps = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double error = error_of(tally.a[i], tally.b[i]);
      if (error == 0) continue;
      const double ulp = error * inverse_spacing(kBinary32, tally.a[i]);
      worst_ulp = std::max(worst_ulp, ulp);
      squared_ulp += ulp * ulp;
      double in_steps = 0;
      if (steps_) {
        const double step = std::fabs(static_cast<double>(tally.steps[i]));
        in_steps = step > 0 ? error / step : 0;
      } else if (grid_) {
        in_steps = error * inverse_spacing(*grid_, tally.b[i]);
      }
      squared_steps += in_steps * in_steps;
    }
    tally.worst_ulp = worst_ulp;
    tally.squared_ulp += squared_ulp;
    tally.squared_steps += squared_steps;
  }

  tensor::ValueReader a_, b_;
  std::optional<tensor::ValueReader> steps_;
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
  parallel_for(blocks, 1, [&](std::uint64_t block_begin, std::uint64_t block_end, int worker) {
    for (std::uint64_t block = block_begin; block < block_end; ++block) comparison.add_block(block, elements, worker);
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

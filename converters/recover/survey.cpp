// All blocks of a tensor against one grid. Implements spec/recovery.md section 3.
#include <algorithm>
#include <atomic>
#include <mutex>

#include "converters/recover/form.h"
#include "format/base/parallel.h"

namespace ingot::convert::recovering {
namespace {

/// The least width whose codes, with zero in the middle, hold the numbers or their negatives; 9: none of 8 bits.
int symmetric_bits(int least, int greatest) noexcept {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const int half = 1 << (bits - 1);
    if ((least >= -half && greatest < half) || (-greatest >= -half && -least < half)) return bits;
  }
  return 9;
}
int asymmetric_bits(int least, int greatest) noexcept {
  for (const int bits : {2, 3, 4, 5, 6, 8})
    if (greatest - least < 1 << bits) return bits;
  return 9;
}

void add(const Fit& fit, Survey& sum) {
  sum.exact = sum.exact && fit.exact;
  sum.symmetric_bits = std::max(sum.symmetric_bits, symmetric_bits(fit.least, fit.greatest));
  sum.asymmetric_bits = std::max(sum.asymmetric_bits, asymmetric_bits(fit.least, fit.greatest));
  sum.evidence += fit.evidence;
  sum.telling_blocks += fit.evidence > 0 ? 1 : 0;
}
void add(const Survey& part, Survey& sum) {
  sum.exact = sum.exact && part.exact;
  sum.symmetric_bits = std::max(sum.symmetric_bits, part.symmetric_bits);
  sum.asymmetric_bits = std::max(sum.asymmetric_bits, part.asymmetric_bits);
  sum.evidence += part.evidence;
  sum.telling_blocks += part.telling_blocks;
}

struct Scratch {
  std::vector<float> values;
  std::vector<BlockValues> blocks;
};

/// Row `row`, whose blocks end in it; at most `most` blocks. False: one does not fit.
bool survey_row(BlockRows& rows, const Form& form, std::uint64_t row, std::uint64_t most, int worker, Scratch& scratch,
                Survey& sum) {
  const std::uint64_t count = rows.read(row, scratch.values, worker);
  scratch.blocks.resize(1, BlockValues(form.lattice.widest()));
  BlockValues& block = scratch.blocks[0];
  for (std::uint64_t begin = 0, done = 0; begin < count && done < most; begin += rows.block_cols(), ++done) {
    block.clear();
    Fit fit;
    if (!block.add(scratch.values.data() + begin, std::min(rows.block_cols(), count - begin)) ||
        !form.lattice.fit(block, fit))
      return false;
    add(fit, sum);
  }
  return true;
}

/// The blocks of one row of whole parameters.
bool survey_rows(BlockRows& rows, const Form& form, std::uint64_t parameter_row, int worker, Scratch& scratch,
                 Survey& sum, Fit* fits) {
  scratch.blocks.assign(rows.blocks(), BlockValues(form.lattice.widest()));
  const std::uint64_t matrix = parameter_row / rows.parameter_rows() * rows.view().rows;
  const std::uint64_t first = parameter_row % rows.parameter_rows() * rows.block_rows();
  const std::uint64_t last = std::min(first + rows.block_rows(), rows.view().rows);
  for (std::uint64_t row = first; row < last; ++row) {
    const std::uint64_t count = rows.read(matrix + row, scratch.values, worker);
    for (std::uint64_t b = 0, begin = 0; begin < count; ++b, begin += rows.block_cols())
      if (!scratch.blocks[b].add(scratch.values.data() + begin, std::min(rows.block_cols(), count - begin)))
        return false;
  }
  for (std::uint64_t b = 0; b < rows.blocks(); ++b) {
    if (!form.lattice.fit(scratch.blocks[b], fits[b])) return false;
    add(fits[b], sum);
  }
  return true;
}

/// Ordinary floats end here.
bool samples_fit(BlockRows& rows, const Form& form) {
  constexpr std::uint64_t kRows = 4, kBlocks = 4;
  Scratch scratch;
  Survey unused;
  for (std::uint64_t i = 0; i < kRows; ++i) {
    const std::uint64_t row = (2 * i + 1) * rows.rows() / (2 * kRows);
    if (!survey_row(rows, form, row, kBlocks, 0, scratch, unused)) return false;
  }
  return true;
}

}  // namespace

BlockRows::BlockRows(const tensor::Tensor& source, const tensor::Scheme& scheme)
    : view_(tensor::geometry(source.shape, scheme, tensor::Packing::rows)), reader_(source) {
  const tensor::Block block = scheme.scales.at(0).block;
  block_cols_ = block.cols == 0 ? view_.cols : block.cols;
  block_rows_ = block.rows == 0 ? view_.rows : block.rows;
}

std::uint64_t BlockRows::read(std::uint64_t row, std::vector<float>& out, int worker) {
  const std::uint64_t begin = std::min(row * view_.cols, view_.elements);
  const std::uint64_t count = std::min(view_.cols, view_.elements - begin);
  out.resize(view_.cols);
  reader_.read(begin, std::span(out).first(count), worker);
  return count;
}

bool survey(const tensor::Tensor& source, const Form& candidate, Survey& found) {
  BlockRows rows(source, candidate.scheme);
  found = Survey{};
  const bool whole = candidate.scheme.scales[0].block.rows != 1;
  if (!whole && !samples_fit(rows, candidate)) return false;
  const std::uint64_t tasks = whole ? rows.view().matrices * rows.parameter_rows() : rows.rows();
  if (whole) found.whole.resize(tasks * rows.blocks());
  constexpr std::uint64_t kGrainElements = std::uint64_t{1} << 16;
  const std::uint64_t grain = whole ? 1 : std::max<std::uint64_t>(1, kGrainElements / rows.view().cols);
  std::atomic<bool> fits = true;
  std::mutex mutex;
  parallel_for(tasks, grain, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    Scratch scratch;
    Survey part;
    for (std::uint64_t task = begin; task < end && fits; ++task) {
      const bool good =
          whole ? survey_rows(rows, candidate, task, worker, scratch, part, found.whole.data() + task * rows.blocks())
                : survey_row(rows, candidate, task, rows.blocks(), worker, scratch, part);
      if (!good) fits = false;
    }
    const std::scoped_lock lock(mutex);
    add(part, found);
  });
  return fits;
}

}  // namespace ingot::convert::recovering

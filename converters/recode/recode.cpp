// The decision: can `source` take the wanted form, and what is lost? Implements converters/recode/recode.h.
#include "converters/recode/recode.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "converters/equal_values.h"
#include "converters/recode/plan.h"
#include "converters/recode/planes.h"
#include "format/base/error.h"
#include "format/base/parallel.h"

namespace ingot::convert {
namespace {

using recoding::BiasLoss;
using recoding::Conversion;
using recoding::Finding;
using recoding::RowMaker;
using tensor::CodeKind;
using tensor::Tensor;
using tensor::Transform;
using tensor::TransformKind;

constexpr std::uint64_t kElemsAtOnce = std::uint64_t{1} << 20;

Recoded refused(std::string reason) {
  Recoded result;
  result.reason = std::move(reason);
  return result;
}

/// Why the stored arrangement cannot be changed; empty: it can.
std::string rearrangement_problem(const Tensor& source, const std::vector<Transform>& wanted) {
  if (source.transforms == wanted) return {};
  std::size_t ones = 0, wanted_ones = 0;
  std::vector<Transform> columns, wanted_columns;
  const auto look = [&](const std::vector<Transform>& transforms, std::size_t& count, std::vector<Transform>& moves) {
    bool transposed = false;
    for (const Transform& transform : transforms) {
      if (transform.kind == TransformKind::column_order) moves.push_back(transform);
      if (transform.kind == TransformKind::add_one) ++count;
      if (transform.kind == TransformKind::transpose) transposed = true;
    }
    return transposed;
  };
  const bool transposed = look(source.transforms, ones, columns),
             wanted_transposed = look(wanted, wanted_ones, wanted_columns);
  if (transposed || wanted_transposed) return "it would have to be transposed";
  if (columns != wanted_columns) return "its columns would change places";
  if (ones != wanted_ones) return "values + 1 would have to be computed";
  if (source.shape.size() != 2) return "rows change places only in matrices";
  for (const auto* transforms : {&source.transforms, &wanted}) {
    for (const Transform& transform : *transforms) {
      if (transform.kind == TransformKind::rope_interleave &&
          (transform.heads == 0 || source.shape[0] % (2 * transform.heads) != 0))
        return std::to_string(source.shape[0]) + " rows cannot be cut into " + std::to_string(transform.heads) +
               " heads of even size";
    }
  }
  return {};
}

bool has_small_codes(const tensor::Scheme& scheme) {
  return (scheme.codes.kind == CodeKind::number || scheme.codes.kind == CodeKind::table) &&
         tensor::bits(scheme.codes.type) <= 8;
}

/// Equal schemes whose codes are not looked into: rows move as bytes.
Recoded move_rows(const Tensor& source, Tensor target) {
  for (const tensor::PlaneSpec& spec : source.plane_specs())
    if (!spec.sliced && spec.rows > 1) return refused("blocks of rows cannot change places");
  if (source.packing != tensor::Packing::rows || target.packing != tensor::Packing::rows || source.scheme.flat != 0)
    return refused("its packing cannot change");
  const recoding::RowMap rows(source.transforms, target.transforms, source.shape[0]);
  target.planes = rows.identity() ? source.planes : recoding::moved_rows(source, rows);
  return {ProofClass::exact, {}, 0, std::move(target)};
}

/// Parameters in whole planes: from the first element of each block.
void make_whole_levels(Conversion& conversion) {
  RowMaker rows(conversion, false);
  const recoding::Side& wanted = conversion.wanted;
  const tensor::Geometry& view = wanted.geometry;
  for (std::size_t level = 0; level < wanted.levels.size(); ++level) {
    const recoding::LevelPlane& plane = wanted.levels[level];
    if (plane.sliced || view.rows == 0) continue;
    std::vector<double> exact, rounded;
    for (std::uint64_t i = 0; i < view.matrices * plane.rows; ++i) {
      rows.make(i / plane.rows * view.rows + i % plane.rows * plane.level.block.rows, nullptr);
      exact.insert(exact.end(), rows.exact_numbers(level).begin(), rows.exact_numbers(level).end());
      rounded.insert(rounded.end(), rows.numbers(level).begin(), rows.numbers(level).end());
    }
    conversion.whole_wanted[level] = std::move(exact);
    conversion.whole_rounded[level] = std::move(rounded);
  }
}

/// Looks at all rows; stops early once one is worse than `worst`.
Finding judge_rows(const Conversion& conversion, ProofClass worst, bool& codes_move) {
  const tensor::Geometry& view = conversion.wanted.geometry;
  const std::uint64_t rows = view.matrices * view.rows;
  const std::uint64_t grain = std::max<std::uint64_t>(kElemsAtOnce / std::max<std::uint64_t>(view.cols, 1), 1);
  Finding all;
  if (rows == 0) return all;
  // Most refusals show in the first row, many in its parameters, before all threads read codes.
  RowMaker(conversion, false).make(0, &all);
  if (all.proof > worst) return all;
  std::mutex mutex;
  std::atomic<std::uint64_t> failed_row{~std::uint64_t{0}};
  std::atomic<bool> move{false};
  const bool look_at_moves = conversion.code_rule == recoding::CodeRule::shift;
  parallel_for(rows, (grain + 15) / 16 * 16, [&](std::uint64_t begin, std::uint64_t end, int) {
    RowMaker maker(conversion, conversion.map_has_gaps);
    Finding own;
    for (std::uint64_t row = begin; row < end && row < failed_row; ++row) {
      maker.make(row, &own);
      if (look_at_moves && !move && maker.moves_codes()) move = true;
      if (own.proof > worst) break;
    }
    const std::scoped_lock lock(mutex);
    all.add(own);
    if (all.proof > worst) failed_row = std::min(failed_row.load(), all.row);
  });
  codes_move = move;
  return all;
}

/// Biases of groups are looked at in bulk; only the first that loses something is put into words.
Finding judge(Conversion& conversion, ProofClass worst, bool& codes_move) {
  if (conversion.biases) {
    const BiasLoss loss =
        recoding::look_at_biases(conversion.source_tensor, *conversion.biases, worst == ProofClass::exact);
    if (loss.regular) {
      Finding finding;
      if (loss.worst_steps == 0) return finding;
      RowMaker(conversion, false).make(loss.first_row, &finding);
      finding.worst_steps = std::max(finding.worst_steps, loss.worst_steps);
      if (loss.worst_steps <= recoding::kMostSteps) return finding;
    }
    conversion.biases.reset();
  }
  return judge_rows(conversion, worst, codes_move);
}

}  // namespace

Recoded recode(const Tensor& source, const StoredForm& wanted, ProofClass worst) {
  tensor::validate(wanted.scheme, "wanted scheme");
  Tensor target = source;
  target.scheme = wanted.scheme;
  target.transforms = wanted.transforms;
  if (std::string problem = rearrangement_problem(source, wanted.transforms); !problem.empty())
    return refused(std::move(problem));
  target.packing = tensor::canonical_packing(target.stored_shape(), wanted.scheme);
  if (source.scheme == wanted.scheme && source.transforms == wanted.transforms && source.packing == target.packing)
    return {ProofClass::exact, {}, 0, source};
  if (!has_small_codes(source.scheme) || !has_small_codes(wanted.scheme)) {
    if (source.scheme == wanted.scheme) return move_rows(source, std::move(target));
    return refused("codes of " + tensor::describe(source.scheme) + " cannot become those of " +
                   tensor::describe(wanted.scheme));
  }
  recoding::Plan plan = recoding::make_plan(source, target);
  if (!plan.refusal.empty()) return refused(std::move(plan.refusal));
  Conversion& conversion = *plan.conversion;
  Finding finding;
  make_whole_levels(conversion);
  const bool in_bulk = plan.settled || conversion.biases.has_value();
  const auto biases = in_bulk ? nullptr : recoding::ZerosIntoBiases::of(plan.conversion);
  if (!plan.settled && biases == nullptr) {
    bool codes_move = false;
    finding = judge(conversion, worst, codes_move);
    if (finding.proof > worst) return refused(std::move(finding.reason));
    if (!codes_move && conversion.code_rule == recoding::CodeRule::shift &&
        source.scheme.codes.type == wanted.scheme.codes.type)
      conversion.code_rule = recoding::CodeRule::copy;
  }
  target.planes = recoding::converted_planes(plan.conversion, biases);
  // Scales that change lose nothing where all codes that they scale mean 0.
  if (finding.proof == ProofClass::codes && have_equal_values(source, target)) finding = {};
  if (finding.proof != ProofClass::exact) target.fingerprint.reset();
  return {finding.proof, std::move(finding.reason), finding.worst_steps, std::move(target)};
}

Recoded recode_to_first(const Tensor& source, const std::vector<StoredForm>& wanted) {
  // What a form loses at worst takes a look at all of it, and is of interest only where none is exact.
  for (const StoredForm& form : wanted) {
    Recoded result = recode(source, form, ProofClass::exact);
    if (result.proof == ProofClass::exact) return result;
  }
  Recoded best = refused("no form is wanted");
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    Recoded result = recode(source, wanted[i]);
    if (i == 0 || result.proof < best.proof) best = std::move(result);
  }
  return best;
}

}  // namespace ingot::convert

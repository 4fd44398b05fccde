#include "converters/conversion/proof.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "converters/conversion/equal_codes.h"
#include "converters/conversion/equal_planes.h"
#include "converters/recover/recover.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "format/tensor/scheme.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert {
namespace {

using tensor::TakenFingerprint;
using tensor::Tensor;

constexpr std::string_view kPhase = "proving";

/// The proof of one tensor, and what is wrong with it (empty: nothing).
struct Verdict {
  TensorProof proof;
  std::string failure;
};

std::uint64_t opened_bytes(const Tensor& tensor) { return tensor.stored_bytes(); }

std::uint64_t opened_bytes(const tensor::Model& model) {
  std::uint64_t total = 0;
  for (const Tensor& tensor : model.tensors) total += opened_bytes(tensor);
  return total;
}

std::map<std::string, ProofClass> forecasts_of(const ConversionReport& report) {
  std::map<std::string, ProofClass> forecasts;
  for (const TensorOutcome& outcome : report.forecast.tensors) forecasts.emplace(outcome.name, outcome.forecast);
  return forecasts;
}

ProofClass forecast_of(const std::map<std::string, ProofClass>& forecasts, const std::string& tensor) {
  const auto found = forecasts.find(tensor);
  return found == forecasts.end() ? ProofClass::exact : found->second;
}

/// Why the proof of a tensor fails whose values are not those that its file recorded.
std::string damage_of(const Hash128& recorded) {
  return "the source is damaged: its values do not match its recorded fingerprint " + recorded.hex();
}

/// The fingerprint of both tensors where their bytes tell that the values are the same.
std::optional<Hash128> fingerprint_of_equals(const Tensor& source, const Tensor& written) {
  if (const std::optional<Hash128> both = fingerprint_if_equal_codes(source, written)) return both;
  return have_equal_planes(source, written) ? std::optional(tensor::fingerprint(source)) : std::nullopt;
}

bool have_equal_ends(const Tensor& a, const Tensor& b) {
  constexpr std::uint64_t kSome = 4096;
  tensor::ValueReader reader_a(a), reader_b(b);
  const std::uint64_t elements = a.elements(), count = std::min(elements, kSome);
  std::vector<float> of_a(count), of_b(count);
  for (const std::uint64_t begin : {std::uint64_t{0}, elements - count}) {
    reader_a.read(begin, of_a, 0);
    reader_b.read(begin, of_b, 0);
    if (std::memcmp(of_a.data(), of_b.data(), count * sizeof(float)) != 0) return false;
  }
  return true;
}

/// Each value was decoded once, on its way into the file, from the bytes that were then written. That those are what
/// the file has is told by their hashes (Layout::check_bytes); to decode them all again would be to compute the same
/// from the same. That the reader finds them in the right place, some of them tell.
bool are_written_bytes(const Tensor& source, const Tensor& written, const TakenFingerprint& taken) {
  return taken.of_written_bytes && source.scheme.codes.kind != tensor::CodeKind::opaque &&
         written.shape == source.shape && have_one_form(source, written) && written.fingerprint == taken.hash &&
         have_equal_ends(source, written);
}

/// By tensor of the source. Together, for one alone does not keep all threads busy.
std::vector<std::uint8_t> find_written_bytes(const tensor::Model& source, const tensor::TensorIndex& written,
                                             const std::vector<TakenFingerprint>& taken) {
  std::vector<std::uint8_t> found(source.tensors.size(), 0);
  if (taken.size() != found.size()) return found;
  parallel_for(found.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t i = begin; i < end; ++i) {
      const Tensor& tensor = source.tensors[i];
      const Tensor* counterpart = written.find(tensor.name);
      if (counterpart == nullptr || !are_written_bytes(tensor, *counterpart, taken[i])) continue;
      found[i] = 1;
      for (const Tensor* one : {&tensor, counterpart}) one->planes->done_with(0, one->geometry().units);
    }
  });
  return found;
}

/// What need not be computed for a tensor; null where nothing is known.
struct Known {
  const TakenFingerprint* taken = nullptr;  // what the writer computed in passing
  bool has_written_bytes = false;           // are_written_bytes() of the three
  const SeenUnits* seen = nullptr;          // the source
};

/// Everything that prove() carries from tensor to tensor.
class Prover {
 public:
  Prover(const ConvertOptions& options, const Recovery* recovery, std::uint64_t total_bytes)
      : options_(options), recovery_(recovery), total_bytes_(total_bytes) {}

  Verdict check(const Tensor& source, const Tensor* written, const Known& known, ProofClass forecast) {
    Verdict verdict;
    verdict.proof.name = source.name;
    verdict.proof.reached = ProofClass::refused;
    if (written == nullptr) {
      verdict.failure = "missing in the written file";
    } else if (written->shape != source.shape) {
      verdict.failure = "another shape in the written file";
    } else if (forecast == ProofClass::exact) {
      check_equality(source, *written, known, verdict);
    } else {
      check_errors(source, *written, forecast, verdict);
    }
    return verdict;
  }

  /// From any thread.
  void report(std::uint64_t more_bytes) {
    const std::scoped_lock lock(mutex_);
    done_bytes_ += more_bytes;
    show(0);
  }

 private:
  void check_equality(const Tensor& source, const Tensor& written, const Known& known, Verdict& verdict) {
    TensorProof& proof = verdict.proof;
    std::optional<Hash128> both;
    if (known.taken != nullptr) {
      if (known.has_written_bytes) both = known.taken->hash;
    } else if (known.seen != nullptr) {
      if (has_equal_codes(source, known.seen->codes, written)) both = known.seen->values;
      source.planes->done_with(0, source.geometry().units);
    } else if (!source.fingerprint) {  // a recorded one is a claim about the source: only its values can tell
      both = fingerprint_of_equals(source, written);
      source.planes->done_with(0, source.geometry().units);
    }
    if (both) {
      proof.before = proof.after = *both;
    } else {
      proof.before = known.taken != nullptr  ? known.taken->hash
                     : known.seen != nullptr ? known.seen->values
                     : source.fingerprint    ? *source.fingerprint
                                             : tensor::fingerprint(source);
      proof.after = tensor::fingerprint(written);
    }
    written.planes->done_with(0, written.geometry().units);
    report(opened_bytes(source) + opened_bytes(written));
    judge_equality(source, written, verdict);
  }

  static void judge_equality(const Tensor& source, const Tensor& written, Verdict& verdict) {
    TensorProof& proof = verdict.proof;
    const bool recorded_matches = !source.fingerprint || *source.fingerprint == proof.before;
    if (recorded_matches && proof.before == proof.after) {
      if (!written.fingerprint || *written.fingerprint == proof.after) {
        proof.reached = ProofClass::exact;
      } else {
        verdict.failure =
            "the written file records another fingerprint (" + written.fingerprint->hex() + ") than its values have";
      }
    } else if (source.fingerprint && tensor::fingerprint(source) != *source.fingerprint) {
      verdict.failure = damage_of(*source.fingerprint);
    } else {
      verdict.failure =
          "the values differ (fingerprint before " + proof.before.hex() + ", after " + proof.after.hex() + ")";
    }
  }

  void check_errors(const Tensor& source, const Tensor& written, ProofClass forecast, Verdict& verdict) {
    const ValueComparison comparison = compare_values(source, written, [this](std::uint64_t bytes) {
      const std::scoped_lock lock(mutex_);
      show(bytes);
    });
    report(opened_bytes(source) + opened_bytes(written));
    TensorProof& proof = verdict.proof;
    proof.before = comparison.fingerprint_a;
    proof.after = comparison.fingerprint_b;
    proof.worst_error = comparison.worst_error;
    proof.worst_error_steps = comparison.worst_error_steps;
    proof.rms_error_steps = comparison.rms_error_steps;
    proof.worst_error_ulp = comparison.worst_error_ulp;
    proof.rms_error_ulp = comparison.rms_error_ulp;
    proof.elements = comparison.elements;
    if (proof.before == proof.after) {
      proof.reached = ProofClass::exact;
    } else if (forecast == ProofClass::codes && (is_half_step(comparison) || is_recovered(source, written))) {
      proof.reached = ProofClass::codes;
    } else {
      proof.reached = ProofClass::requantized;
    }
    if (source.fingerprint && *source.fingerprint != proof.before) {
      verdict.failure = damage_of(*source.fingerprint);
    } else if (std::isinf(comparison.worst_error)) {
      verdict.failure = "element " + std::to_string(comparison.worst_element) +
                        " is infinite or NaN before or after, and not the same on both sides, as " +
                        tensor::describe(written.scheme) + "; --keep leaves a tensor as it is";
    } else if (proof.reached > options_.allow) {
      verdict.failure =
          "forecast " + std::string(name(forecast)) + ", reached only " + std::string(name(proof.reached));
    }
  }

  static bool is_half_step(const ValueComparison& comparison) {
    return comparison.worst_error_steps > 0 && comparison.worst_error_steps <= 0.5;
  }
  /// The floats are the written values rounded to their type: tables have no step that could tell.
  bool is_recovered(const Tensor& source, const Tensor& written) const {
    return recovery_ != nullptr && recovery_->tensors.contains(source.name) && rounds_to(written, source);
  }

  void show(std::uint64_t bytes_of_current) const {
    if (options_.write.progress) options_.write.progress(kPhase, done_bytes_ + bytes_of_current, total_bytes_);
  }

  const ConvertOptions& options_;
  const Recovery* recovery_;  // may be null
  std::uint64_t total_bytes_;
  std::mutex mutex_;  // of the reports
  std::uint64_t done_bytes_ = 0;
};

/// Verdicts by tensor. Small tensors are shared out among the threads, for many short loops leave threads waiting; all
/// threads work on a large one.
std::vector<Verdict> check_all(const tensor::Model& source, const std::function<Verdict(std::size_t)>& check) {
  constexpr std::uint64_t kSharesOfThread = 8;
  const std::uint64_t total = opened_bytes(source),
                      shares = kSharesOfThread * static_cast<std::uint64_t>(thread_count());
  std::vector<Verdict> verdicts(source.tensors.size());
  std::vector<std::size_t> small, large;
  for (std::size_t i = 0; i < verdicts.size(); ++i)
    (opened_bytes(source.tensors[i]) <= total / shares ? small : large).push_back(i);
  parallel_for(small.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t i = begin; i < end; ++i) verdicts[small[i]] = check(small[i]);
  });
  for (const std::size_t i : large) verdicts[i] = check(i);
  return verdicts;
}

/// Tensors that the written file must not have: neither in the source (under any name) nor computable.
std::vector<std::string> unexpected(const tensor::Model& source, const tensor::Model& written) {
  const tensor::TensorIndex index(source);
  std::vector<std::string> names;
  for (const Tensor& tensor : written.tensors)
    if (!tensor.derived && index.find(tensor.name) == nullptr) names.push_back(tensor.name + ": not in the source");
  return names;
}

void throw_failures(const std::vector<std::string>& failures) {
  constexpr std::size_t kNamed = 5;
  std::string message = "the proof failed, nothing was written";
  for (std::size_t i = 0; i < failures.size() && i < kNamed; ++i) message += "; " + failures[i];
  if (failures.size() > kNamed) message += "; and " + std::to_string(failures.size() - kNamed) + " more";
  throw Error(ErrorKind::mismatch, message);
}

}  // namespace

std::vector<TensorProof> prove_file(const tensor::Model& source, const tensor::Model& written_file,
                                    const std::map<std::string, TensorProof>& known, const ConvertOptions& options,
                                    const ConversionReport& report) {
  const std::map<std::string, ProofClass> forecasts = forecasts_of(report);
  const tensor::TensorIndex index(source);
  Prover prover(options, report.recovery.get(), 2 * opened_bytes(written_file));
  std::vector<std::string> failures = unexpected(source, written_file);
  std::vector<TensorProof> proofs;
  for (const Tensor& written : written_file.tensors) {
    const Tensor* tensor = index.find(written.name);
    if (tensor == nullptr) continue;  // derived, or among the failures
    if (const auto found = known.find(tensor->name); found != known.end()) {
      proofs.push_back(found->second);
      continue;
    }
    Verdict verdict = prover.check(*tensor, &written, {}, forecast_of(forecasts, tensor->name));
    if (!verdict.failure.empty()) failures.push_back(tensor->name + ": " + verdict.failure);
    proofs.push_back(std::move(verdict.proof));
  }
  if (!failures.empty()) throw_failures(failures);
  return proofs;
}

void prove(const tensor::Model& source, const tensor::Model& written, const TakenValues& taken,
           const std::map<std::string, TensorProof>& known, const ConvertOptions& options, ConversionReport& report) {
  const std::map<std::string, ProofClass> forecasts = forecasts_of(report);
  const tensor::TensorIndex written_index(written);
  Prover prover(options, report.recovery.get(), opened_bytes(source) + opened_bytes(written));
  std::vector<std::string> failures = unexpected(source, written);
  const std::vector<std::uint8_t> has_written_bytes = find_written_bytes(source, written_index, taken.fingerprints);
  const auto is_computed = [&](const Tensor& tensor) {  // by the target
    return tensor.derived && written_index.find(tensor.name) == nullptr;
  };
  const auto check = [&](std::size_t i) {
    const Tensor& tensor = source.tensors[i];
    const Tensor* counterpart = written_index.find(tensor.name);
    Verdict verdict;
    if (is_computed(tensor)) {
      verdict.proof.before = tensor.fingerprint ? *tensor.fingerprint : tensor::fingerprint(tensor);
    } else if (const auto found = known.find(tensor.name); found != known.end() && counterpart != nullptr) {
      verdict.proof = found->second;
      prover.report(opened_bytes(tensor) + opened_bytes(*counterpart));
    } else {
      const bool is_taken = taken.fingerprints.size() == source.tensors.size();
      const bool is_seen = taken.units.size() == source.tensors.size() && taken.units[i];
      verdict = prover.check(tensor, counterpart,
                             {is_taken ? &taken.fingerprints[i] : nullptr, has_written_bytes[i] != 0,
                              is_seen ? &*taken.units[i] : nullptr},
                             forecast_of(forecasts, tensor.name));
    }
    return verdict;
  };
  std::vector<Verdict> verdicts = check_all(source, check);
  std::vector<Hash128> before;
  std::map<const Tensor*, Hash128> after;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const Tensor& tensor = source.tensors[i];
    const Tensor* counterpart = written_index.find(tensor.name);
    Verdict& verdict = verdicts[i];
    before.push_back(verdict.proof.before);
    if (is_computed(tensor)) continue;
    if (!verdict.failure.empty()) failures.push_back(tensor.name + ": " + verdict.failure);
    if (counterpart != nullptr) after[counterpart] = verdict.proof.after;
    report.proofs.push_back(std::move(verdict.proof));
  }
  if (!failures.empty()) throw_failures(failures);
  std::vector<Hash128> after_in_order;
  for (const Tensor& tensor : written.tensors) {
    const auto found = after.find(&tensor);
    after_in_order.push_back(found != after.end() ? found->second : tensor::fingerprint(tensor));
  }
  report.model_before = tensor::model_fingerprint(source, before);
  report.model_after = tensor::model_fingerprint(written, after_in_order);
  report.proven = true;
}

}  // namespace ingot::convert

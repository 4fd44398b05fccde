#include "converters/conversion/work_time.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "converters/conversion/source_removal.h"
#include "converters/with_views.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert {
namespace {

using Clock = std::chrono::steady_clock;

/// Rates of one thread in bytes per second, in round numbers: measured (best of many) on a virtual machine with two
/// cores of an AMD EPYC, the loops with AVX2. Decoding and hashing are not here because they depend on the scheme.
struct WorkRates {
  double write = 2.0e9;    // of the file, into the page cache; a file system takes one writer per file at a time
  double encode = 5.0e9;   // of values as binary32 that become another type (16 bits: 28e9, Q8_0: far slower)
  double compare = 4.0e9;  // of values as binary32 whose errors are measured
};
constexpr WorkRates kRates;

/// Seconds of one thread to decode and hash one element of this tensor.
double sampled_seconds_per_element(const tensor::Tensor& tensor) {
  constexpr std::uint64_t kSampleElems = 2 * tensor::kFingerprintBlockElems;
  if (tensor.scheme.codes.kind == tensor::CodeKind::opaque) return 0;
  std::vector<float> values(std::min(tensor.elements(), kSampleElems));
  if (values.empty()) return 0;
  tensor::ValueReader reader(tensor);
  double best = 0;
  for (int round = 0; round < 2; ++round) {  // the first one also pays for pages and buffers
    const Clock::time_point start = Clock::now();
    reader.read(0, values, 0);
    (void)hash128(std::as_bytes(std::span(values)));
    best = std::chrono::duration<double>(Clock::now() - start).count();
  }
  reader.done_with(0, values.size());
  return best / static_cast<double>(values.size());
}

double expected_seconds(const TensorOutcome& outcome, std::uint64_t elements, double seconds_per_element, bool prove) {
  const auto value_bytes = 4.0 * static_cast<double>(elements);
  const double decoding = seconds_per_element * static_cast<double>(elements);
  const bool kept = outcome.forecast == ProofClass::exact && outcome.target_bytes == outcome.source_bytes;
  double parallel = kept ? 0 : decoding + value_bytes / kRates.encode;
  if (prove) parallel += 2 * decoding;  // before and after
  if (prove && outcome.forecast != ProofClass::exact) parallel += value_bytes / kRates.compare;
  return static_cast<double>(outcome.target_bytes) / kRates.write + parallel / thread_count();
}

/// Bytes that a writer which packs from views wants to see of this tensor at once. Floats are streamed by every writer.
std::uint64_t viewed_bytes(const tensor::Tensor* tensor, const TensorOutcome& outcome) {
  const bool is_plain = tensor != nullptr && outcome.target_bytes >= 2 * tensor->elements();
  return is_plain ? 0 : outcome.target_bytes;
}

/// The directory that is there already and will hold `output`.
std::filesystem::path existing_directory_of(const std::filesystem::path& output) {
  std::filesystem::path directory = std::filesystem::absolute(output).lexically_normal();
  std::error_code status;
  while (directory.has_relative_path() && !std::filesystem::is_directory(directory, status))
    directory = directory.parent_path();
  return directory;
}

bool lies_elsewhere(std::uint64_t bytes, const Forecast& forecast, const std::filesystem::path& output) {
  if (bytes <= kLargePlanesBytes) return false;
  return output.empty() || planes_go_to_disk(existing_directory_of(output), forecast.output_bytes, bytes);
}

}  // namespace

void estimate_times(const tensor::Model& model, bool prove, Forecast& forecast) {
  std::map<std::string, const tensor::Tensor*> largest;  // by source scheme
  const tensor::TensorIndex index(model);
  std::vector<const tensor::Tensor*> tensors;
  for (const TensorOutcome& outcome : forecast.tensors) {
    const tensor::Tensor* tensor = index.find(outcome.name);
    tensors.push_back(tensor);
    if (tensor == nullptr || is_removed(*tensor)) continue;
    const tensor::Tensor*& best = largest[outcome.source_scheme];
    if (best == nullptr || tensor->elements() > best->elements()) best = tensor;
  }
  std::map<std::string, double> cost;
  for (const auto& [scheme, tensor] : largest) cost[scheme] = sampled_seconds_per_element(*tensor);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i] == nullptr) continue;
    TensorOutcome& outcome = forecast.tensors[i];
    outcome.expected_seconds = expected_seconds(outcome, tensors[i]->elements(), cost[outcome.source_scheme], prove);
  }
}

std::uint64_t estimated_memory(const tensor::Model& model, const Layout& layout, const Forecast& forecast,
                               const std::filesystem::path& output) {
  // Measured as the most anonymous memory of whole conversions of 1.3 to 2 GB with two threads: 16 to 71 MiB where
  // nothing is kept whole.
  constexpr std::uint64_t kProgramBytes = std::uint64_t{24} << 20;    // code, names, headers, window buffers
  constexpr std::uint64_t kBytesPerThread = std::uint64_t{24} << 20;  // pieces being decoded, packed and compared
  // Names, plans, index entries and their text: 18,771 tensors took 5 to 15 KiB each, most on their way into .ingot.
  constexpr std::uint64_t kBytesPerTensor = std::uint64_t{16} << 10;
  const tensor::TensorIndex index(model);
  std::uint64_t largest = 0;
  if (layout.packs_from_views) {
    for (const TensorOutcome& outcome : forecast.tensors) {
      const std::uint64_t bytes = viewed_bytes(index.find(outcome.name), outcome);
      if (bytes > largest && !lies_elsewhere(bytes, forecast, output)) largest = bytes;
    }
  }
  std::uint64_t kept = 0;  // files that travel with the model
  for (const tensor::Attachment& attachment : model.attachments) kept += attachment.bytes.size();
  return kProgramBytes + kBytesPerThread * static_cast<std::uint64_t>(thread_count()) +
         kBytesPerTensor * model.tensors.size() + kept + largest;
}

}  // namespace ingot::convert

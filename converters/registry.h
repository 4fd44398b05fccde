// All layouts, and the jobs that work on any of them. The one header of converters/ that other folders may include.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "converters/layout.h"

namespace ingot::convert {

struct Recovery;      // recover/recover.h
struct Rearranged;    // conversion/fold.h
class SourceWitness;  // conversion/source_witness.h

[[nodiscard]] std::span<const Layout> layouts() noexcept;
[[nodiscard]] const Layout* find_layout(std::string_view name) noexcept;  // null when unknown
/// The layout whose detect() accepts the path; throws Error (io when the path is missing, unsupported naming what was
/// looked for).
[[nodiscard]] const Layout& detect_layout(const std::filesystem::path& path);
/// `from` empty: detect.
[[nodiscard]] tensor::Model read_model(const std::filesystem::path& path, std::string_view from = {},
                                       const ReadOptions& options = {});

/// The same for a conversion into `output` that is to be resumed: files that an earlier run removed after converting
/// them are taken as it left them (conversion/source_removal.h).
[[nodiscard]] tensor::Model read_remaining_model(const std::filesystem::path& path, const std::filesystem::path& output,
                                                 std::string_view from, const ReadOptions& options);

// --- convert (conversion/engine.cpp) ---------------------------------------------------------------------------------
struct ConvertOptions {
  std::string from, to;  // layout names; from may be empty
  WriteOptions write;
  ProofClass allow = ProofClass::exact;  // worst class the user consents to
  bool prove = true;                     // read the result back and compare fingerprints
  bool overwrite = false;                // replace what stands at the output path
  bool resume = false;                   // go on with what an ended process left of the same conversion
  bool recover = false;        // floats that lie on a quantization grid are written as codes (recover/recover.h)
  bool trust_config = false;   // how the model was read, for join()
  bool delete_source = false;  // remove the files of the source as they are converted (conversion/source_removal.h)
  std::string drop;            // names (a regular expression) of tensors that drop_tensors() leaves out
  std::vector<std::string> dropped;  // that it has left out: for the report
  bool check_space = true;           // refuse before writing where the disk has too little room
  /// Called with the finished forecast before the consent check, so that a person sees it first.
  std::function<void(const Forecast&)> on_forecast;
};

/// One line of the proof.
struct TensorProof {
  std::string name;
  ProofClass reached = ProofClass::exact;
  Hash128 before, after;         // fingerprints of the logical values, source and written file
  double worst_error = 0;        // largest absolute difference (0 when exact)
  double worst_error_steps = 0;  // in units of the target's quantization step or ulp of its type; 0 when exact
  double rms_error_steps = 0;    // the same, root mean square over all elements
  /// In units of the last place, as binary32, of the larger value: at most 2^25, whatever became of a zero.
  double worst_error_ulp = 0, rms_error_ulp = 0;
  std::uint64_t elements = 0;
};

struct ConversionReport {
  Forecast forecast;
  std::shared_ptr<SourceWitness> witness;        // of what the writer reads; null without
  std::shared_ptr<const Recovery> recovery;      // of ConvertOptions::recover; null without
  std::shared_ptr<const Rearranged> rearranged;  // what was written, where rows or columns moved; null without
  std::vector<std::string> dropped;              // names of tensors that were left out: neither written nor proven
  std::vector<TensorProof> proofs;
  Hash128 model_before, model_after;
  std::uint64_t source_bytes = 0, written_bytes = 0;
  std::uint64_t disk_bytes = 0;  // as needed_disk() said before
  std::uint64_t kept_bytes = 0;  // of written_bytes: finished by an earlier process and confirmed by their hashes
  std::vector<std::string> repeated_files;  // names of those of which something had been finished and was lost
  double forecast_seconds = 0, write_seconds = 0, prove_seconds = 0;
  std::vector<std::filesystem::path> files;  // OUT and its members, or those that OUT was split into; none of a part
  bool proven = false;                       // false with prove = false: proofs and the model fingerprints are empty
};

/// The forecast alone (`--dry-run`). `output`: where it would be written, which decides whether large planes lie on the
/// disk or in memory; empty: not known.
[[nodiscard]] Forecast forecast(const tensor::Model& model, const ConvertOptions& options,
                                const std::filesystem::path& output = {});
/// The most that the conversion takes on the disk at a time, beside what stands at the output and less what it has
/// removed of the source until then.
[[nodiscard]] std::uint64_t needed_disk(const tensor::Model& model, const Forecast& forecast,
                                        const ConvertOptions& options);
/// Forecast, consent check (throws mismatch naming the tensors when the class is worse than `allow`), write, proof by
/// an independent read. Throws mismatch, and leaves nothing under the final name, when the proof does not reach the
/// forecast. The result is written into a staging directory beside `output`, proven there, made durable and then
/// renamed.
ConversionReport convert(const tensor::Model& model, const std::filesystem::path& output,
                         const ConvertOptions& options);

/// Is there work of an ended conversion into `output` that --resume would go on with?
[[nodiscard]] bool is_resumable(const std::filesystem::path& output);
/// Makes `output` of the parts that ConvertOptions::write.part left, from the source and with the options that they
/// recorded. Throws mismatch where they do not belong together, io naming the parts that are missing. `options` gives
/// prove, overwrite, sync and progress.
ConversionReport join(const std::filesystem::path& output, const ConvertOptions& options);

// --- compare (conversion/compare.cpp) --------------------------------------------------------------------------------
/// How the values of `b` differ from those of `a`, whatever their schemes, packings and transforms.
struct ValueComparison {
  Hash128 fingerprint_a, fingerprint_b;
  std::uint64_t elements = 0, differing = 0;
  double worst_error = 0;  // largest |b - a|; infinite where only one of the two is NaN
  /// The largest |b - a| in units of b's scale (integer codes), of the smallest distance of two entries (tables and
  /// e2m1) or of the last place, in b's type, of the larger value (floats); 0 for grids and coded floats of 8 bits,
  /// which have no step.
  double worst_error_steps = 0;
  double rms_error_steps = 0;
  double worst_error_ulp = 0, rms_error_ulp = 0;  // in units of the last place, as binary32, of the larger value
  double rms_error = 0;
  double rms_value = 0;  // of a: what rms_error is to be seen against
  std::uint64_t worst_element = 0;
};
/// Streams both; bounded memory; parallel. Shapes must agree (throws mismatch). Opaque tensors are compared by
/// fingerprint alone. `progress` is called with the stored bytes of both that are done.
[[nodiscard]] ValueComparison compare_values(const tensor::Tensor& a, const tensor::Tensor& b,
                                             const std::function<void(std::uint64_t)>& progress = {});

// --- restore (conversion/restore.cpp) --------------------------------------------------------------------------------
struct RestoredFile {
  std::string path;
  std::uint64_t size;
  Hash128 hash;
};
/// Writes the original files into `directory` (created; existing files of the same name are an error unless
/// `overwrite`), each checked against the hash recorded when it was read.
std::vector<RestoredFile> restore(const tensor::Model& model, const std::filesystem::path& directory, bool overwrite,
                                  const Progress& progress);

}  // namespace ingot::convert

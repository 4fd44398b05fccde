// All layouts, and the jobs that work on any of them. The one header of converters/ that other folders may include.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "converters/layout.h"

namespace ingot::convert {

[[nodiscard]] std::span<const Layout> layouts() noexcept;
[[nodiscard]] const Layout* find_layout(std::string_view name) noexcept;       // null when unknown
/// The layout whose detect() accepts the path; throws Error (io when the path is missing, unsupported naming what was looked for).
[[nodiscard]] const Layout& detect_layout(const std::filesystem::path& path);
/// `from` empty: detect.
[[nodiscard]] tensor::Model read_model(const std::filesystem::path& path, std::string_view from = {}, const ReadOptions& options = {});

// --- convert (engine.cpp) --------------------------------------------------------------------------------------------------------
struct ConvertOptions {
  std::string from, to;                    // layout names; from may be empty
  WriteOptions write;
  ProofClass allow = ProofClass::exact;    // worst class the user consents to
  bool prove = true;                       // read the result back and compare fingerprints
};

/// One line of the proof.
struct TensorProof {
  std::string name;
  ProofClass reached = ProofClass::exact;
  Hash128 before, after;                   // fingerprints of the logical values, source and written file
  double worst_error = 0;                  // largest absolute difference (0 when exact)
  double worst_error_steps = 0;            // in units of the target's quantization step or ulp of its type; 0 when exact
};

struct ConversionReport {
  Forecast forecast;
  std::vector<TensorProof> proofs;
  Hash128 model_before, model_after;
  std::uint64_t source_bytes = 0, written_bytes = 0;
  double forecast_seconds = 0, write_seconds = 0, prove_seconds = 0;
};

/// The forecast alone (`--dry-run`).
[[nodiscard]] Forecast forecast(const tensor::Model& model, const ConvertOptions& options);
/// Forecast, consent check (throws mismatch naming the tensors when the class is worse than `allow`), write, proof by an independent read.
/// Throws mismatch, and leaves nothing under the final name, when the proof does not reach the forecast.
ConversionReport convert(const tensor::Model& model, const std::filesystem::path& output, const ConvertOptions& options);

// --- restore (restore.cpp) -------------------------------------------------------------------------------------------------------
struct RestoredFile { std::string path; std::uint64_t size; Hash128 hash; };
/// Writes the original files into `directory` (created; existing files of the same name are an error unless `overwrite`), each checked
/// against the hash recorded when it was read.
std::vector<RestoredFile> restore(const tensor::Model& model, const std::filesystem::path& directory, bool overwrite, const Progress& progress);

}  // namespace ingot::convert

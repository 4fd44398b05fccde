// The proof of a conversion: source and written file compared value by value.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "converters/conversion/source_witness.h"
#include "converters/registry.h"

namespace ingot::convert {

/// What is known of the source since the writer read it, by tensor; each empty when nothing is.
struct TakenValues {
  std::vector<tensor::TakenFingerprint> fingerprints;
  std::vector<std::optional<SeenUnits>> units;
};

/// Fills report.proofs, model_before, model_after and proven. `written` was opened from the written file by the
/// target's own reader. `taken`: fingerprints that are of_written_bytes are believed where the first and last values
/// agree, so the bytes of the file must have been checked against its hashes; seen units stand for the source, and all
/// of the written file is read and compared with them. `known`: by name, proofs of tensors that are not to be read
/// again. Throws mismatch naming the tensors when one is missing, unexpected, or worse than both its forecast and
/// options.allow.
void prove(const tensor::Model& source, const tensor::Model& written, const TakenValues& taken,
           const std::map<std::string, TensorProof>& known, const ConvertOptions& options, ConversionReport& report);

/// The same for the tensors of one of several written files, in its order; those that are `known` are taken from there.
[[nodiscard]] std::vector<TensorProof> prove_file(const tensor::Model& source, const tensor::Model& written_file,
                                                  const std::map<std::string, TensorProof>& known,
                                                  const ConvertOptions& options, const ConversionReport& report);

}  // namespace ingot::convert

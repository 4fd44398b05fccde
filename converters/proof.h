// The proof of a conversion: source and written file compared value by value.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "converters/registry.h"

namespace ingot::convert {

/// Fills report.proofs, model_before, model_after and proven. `written` was opened from the written file by the
/// target's own reader. `taken`: fingerprints by tensor of `source`, or empty when the writer did not compute them; those
/// that are of_written_bytes are believed where the first and last values agree, so the bytes of the file must have been
/// checked against its hashes. `known`: by name, proofs of tensors that are not to be read again. Throws mismatch naming
/// the tensors when one is missing, unexpected, or worse than both its forecast and options.allow.
void prove(const tensor::Model& source, const tensor::Model& written,
           const std::vector<tensor::TakenFingerprint>& taken, const std::map<std::string, TensorProof>& known,
           const ConvertOptions& options, ConversionReport& report);

/// The same for the tensors of one of several written files, in its order; those that are `known` are taken from there.
[[nodiscard]] std::vector<TensorProof> prove_file(const tensor::Model& source, const tensor::Model& written_file,
                                                  const std::map<std::string, TensorProof>& known,
                                                  const ConvertOptions& options, const ConversionReport& report);

}  // namespace ingot::convert

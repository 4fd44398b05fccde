// Stored predictions of a model over a text. Implements spec/baseline.md.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "format/base/hash.h"
#include "format/base/output_file.h"
#include "runtime/evaluation.h"

namespace ingot::runtime {

/// The number of entries that makes a record a hundredth of its logits.
[[nodiscard]] std::uint64_t usual_listed(std::uint64_t vocab_size) noexcept;

/// Passes the predictions of another reference on and writes them. The file appears with finish().
class BaselineWriter final : public Reference {
 public:
  /// Borrows `source`, whose predictions list `listed` tokens each.
  BaselineWriter(const std::filesystem::path& path, Reference& source, std::uint64_t listed);
  const std::vector<Prediction>& window(std::uint64_t index, RunningMean& surprise) override;
  /// All windows have been asked for. `perplexity`: of the model that predicted. `model`: its name.
  void finish(const EvaluationText& text, std::uint64_t vocab_size, double perplexity, std::string_view model);

 private:
  OutputFile file_;
  Reference& source_;
  std::uint64_t listed_;
};

/// A baseline of this text. Throws corrupt, truncated or unsupported for a bad file, mismatch when it is of another
/// text, window or vocabulary.
[[nodiscard]] std::unique_ptr<Reference> read_baseline(const std::filesystem::path& path, const EvaluationText& text,
                                                       std::uint64_t vocab_size);

}  // namespace ingot::runtime

// What a writer reads of its source is looked at while it lies in the cache: the proof then need not read the source a
// second time. Knows nothing of what is written.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "converters/layout.h"

namespace ingot::convert {

/// Of all units of a tensor of the source, as its own reader gave them.
struct SeenUnits {
  Hash128 values;  // the fingerprint
  Hash128 codes;   // as CodeHashes makes it
};

class WatchedPlanes;

/// A model whose planes are those of another, and watched. Tensors are watched whose blocks of values can be made of
/// some units (UnitFingerprint), which the source makes when they are read, and which claim no fingerprint of their
/// own. Keeps 17 bytes for every tile of the tensors that have been read in part.
class SourceWitness {
 public:
  /// Null where the model has no tensor to be watched.
  [[nodiscard]] static std::shared_ptr<SourceWitness> of(const tensor::Model& model);
  [[nodiscard]] const tensor::Model& model() const noexcept { return model_; }

  /// From here on the units of tensors whose values are to stay are looked at, when they are read for the first time.
  void start(const Forecast& forecast);
  /// By tensor of the model; nothing where not every unit has been read, or too few at a time. Ends the watch. Whoever
  /// read a last unit has read once more what lies across the borders of reads.
  [[nodiscard]] std::vector<std::optional<SeenUnits>> finish();

 private:
  SourceWitness() = default;
  tensor::Model model_;
  std::vector<std::shared_ptr<WatchedPlanes>> watched_;  // by tensor; null where it is not
};

}  // namespace ingot::convert

// What a GGUF writer does with each tensor, decided before a byte is written: name, type, arrangement, and how the
// bytes come about.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "converters/gguf/blocks.h"
#include "converters/gguf/expert_stacks.h"
#include "converters/gguf/names.h"
#include "converters/layout.h"

namespace ingot::convert::gguf {

enum class Action : std::uint8_t {
  copy,    ///< same numbers in the same type: bytes move, rows may change places
  join,    ///< same codes and parameters: planes become blocks, rows may change places
  encode,  ///< values are decoded and written as another float type, or as Q8_0
  given,   ///< values computed from the configuration
  drop,    ///< not written: the target takes it from elsewhere
  refuse,
};

struct TensorPlan {
  const tensor::Tensor* source = nullptr;  // null: given
  std::string name;                        // in the file
  std::vector<std::uint64_t> shape;        // outermost first
  const BlockType* type = nullptr;
  Action action = Action::refuse;
  std::uint64_t target_heads = 0;  // rope_interleave of the stored rows; 0: none
  bool add_one = false;            // stored = value + 1
  std::vector<float> values;       // given
  /// join: the source with the codes and parameters of the type, where its own are others.
  std::optional<tensor::Tensor> recoded;
  ProofClass proof = ProofClass::exact;  // of recoded
  std::string reason;                    // of refuse and drop, and why recoded is not exact

  /// What join reads.
  [[nodiscard]] const tensor::Tensor& blocks() const noexcept { return recoded ? *recoded : *source; }

  [[nodiscard]] std::uint64_t size() const;  // bytes in the file, without padding
};

struct WritePlan {
  const Architecture* architecture = nullptr;  // null: tensors keep their names
  std::vector<TensorPlan> tensors;
  std::shared_ptr<const StackedModel> stacked;  // what the plans are of, where experts are stacked

  /// The tensors of the model that `plan` writes: one, or the experts of a stack; none where it is given.
  [[nodiscard]] std::vector<const tensor::Tensor*> sources(const TensorPlan& plan) const;
};

/// Throws invalid_value for a --scheme that is no word of the encoder table, unsupported for an architecture without
/// GGUF names.
[[nodiscard]] WritePlan make_plan(const tensor::Model& model, const WriteOptions& options);

/// The model's own GGUF header, when it was read from GGUF: then its keys are kept.
[[nodiscard]] const tensor::Attachment* source_header(const tensor::Model& model) noexcept;

/// Decides the proof class of a planned tensor by looking at the values where types alone do not tell. Fills `reason`
/// unless exact.
[[nodiscard]] ProofClass check_values(const TensorPlan& plan, std::string& reason);

/// Produces the bytes of a planned tensor in order, piece by piece; the sink may be called from several threads with
/// disjoint ranges.
void emit_tensor(const TensorPlan& plan,
                 const std::function<void(std::uint64_t offset, std::span<const std::byte>)>& sink);

}  // namespace ingot::convert::gguf

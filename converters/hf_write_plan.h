// What a tensor becomes in a Hugging Face directory, and its bytes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "converters/layout.h"
#include "format/base/output_file.h"

namespace ingot::convert {

/// One tensor of the output.
struct HfItem {
  enum class Form : std::uint8_t {
    bytes,       ///< the stored bytes are the file's bytes
    values,      ///< logical values in row-major order, rounded to `type`
    transposed,  ///< the same, the matrix written as [in, out] (Conv1D)
    refused,
  };
  tensor::Tensor tensor;  // in the file's orientation, except for `transposed`
  std::string file_name;  // name inside the file
  tensor::DType type = tensor::DType::f32;
  tensor::Shape file_shape;
  Form form = Form::bytes;
  std::string reason;  // refused: why
};

/// Element type asked for with --scheme; empty: keep. Throws unsupported for a word that is none.
[[nodiscard]] std::optional<tensor::DType> wanted_hf_type(const std::string& scheme);

/// The tensors to be written, in model order: all but those that follow from the config.
[[nodiscard]] std::vector<HfItem> plan_hf_items(const tensor::Model& model, std::optional<tensor::DType> wanted);

/// Can `item.type` hold every value exactly? Decided by the types where possible, else by the values (streams, parallel).
[[nodiscard]] bool all_values_fit(const HfItem& item);

/// Writes the tensor at `offset` of the file; streams in pieces, parallel; calls progress(bytes) from any thread, one at a time.
void write_hf_item(const HfItem& item, OutputFile& file, std::uint64_t offset,
                   const std::function<void(std::uint64_t)>& progress);

}  // namespace ingot::convert

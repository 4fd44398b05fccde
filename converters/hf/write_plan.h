// What a tensor becomes in a Hugging Face directory, and its bytes.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "converters/hf/codec.h"
#include "converters/with_views.h"
#include "format/base/write_journal.h"

namespace ingot::convert {

/// One tensor of the output.
struct HfItem {
  enum class Form : std::uint8_t {
    bytes,       ///< the stored bytes are the file's bytes
    values,      ///< logical values in row-major order, rounded to `type`
    transposed,  ///< the same, the matrix written as [in, out] (Conv1D)
    packed,      ///< `part` of a coded tensor, packed by the layout's codec
    given,       ///< `given_bytes`
    refused,
  };
  tensor::Tensor tensor;  // in the file's orientation, except for `transposed`
  std::string file_name;  // name inside the file
  tensor::DType type = tensor::DType::f32;
  tensor::Shape file_shape;
  Form form = Form::bytes;
  std::string reason;     // refused: why
  std::string why_plain;  // why a tensor that the layout might code is written as a plain one; empty: no reason

  std::shared_ptr<const CodedPlan> coded = nullptr;  // packed and given: the plan that they are items of
  std::string plain_name;                            // the same: name of the tensor, were it a plain one
  std::string part;                                  // packed
  std::vector<std::byte> given_bytes;                // given
  /// Bytes in the file.
  [[nodiscard]] std::uint64_t bytes() const;
};

/// Element type asked for with --scheme; empty: keep, or a word for the codec. Throws unsupported for any other word.
[[nodiscard]] std::optional<tensor::DType> wanted_hf_type(const std::string& scheme, const HfCodec* codec);

/// The tensors to be written, in model order: all but those that follow from the config. With a codec, the items of a
/// coded tensor follow each other and share their plan.
[[nodiscard]] std::vector<HfItem> plan_hf_items(const tensor::Model& model, const WriteOptions& options,
                                                const HfCodec* codec);

/// Can `item.type` hold every value exactly? Decided by the types where possible, else by the values (streams,
/// parallel).
[[nodiscard]] bool all_values_fit(const HfItem& item);

/// Writes items one after the other; keeps the planes of the coded tensor that it packed last.
class HfItemWriter {
 public:
  /// `directory`: where large planes may lie meanwhile, on the disk that gets `output_bytes` too.
  HfItemWriter(const HfCodec* codec, std::filesystem::path directory, std::uint64_t output_bytes) : codec_(codec) {
    buffers_.scratch = std::move(directory);
    buffers_.left_free = output_bytes;
  }
  /// So many bytes of the output have their place on the disk.
  void reserved(std::uint64_t bytes) noexcept { buffers_.left_free -= std::min(buffers_.left_free, bytes); }
  /// Writes the tensor at `offset` of the file unless an earlier run did; streams in pieces, parallel; calls
  /// progress(bytes) from any thread, one at a time.
  void write(const HfItem& item, JournaledRange& file, std::uint64_t offset,
             const std::function<void(std::uint64_t)>& progress);

 private:
  const HfCodec* codec_;
  std::shared_ptr<const CodedPlan> viewed_plan_;
  tensor::Tensor viewed_;  // of viewed_plan_, with views
  PlaneBuffers buffers_;   // of its planes
};

}  // namespace ingot::convert

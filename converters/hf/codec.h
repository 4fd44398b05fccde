// Quantized layouts inside safetensors checkpoints (GPTQ, AWQ, bitsandbytes, ...): which tensors of the files make up
// one neutral tensor, and the way back. A codec knows bytes and names of its own layout only; files, shards, indexes,
// tokenizers, plain tensors and the restore recipe are shared by all of them (read.h, write.h).
//
// To add a layout: one file that defines an HfCodec and its Layout row (hf_coded_layout of codec_layout.h), and one row
// in registry.cpp.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "converters/hf/directory.h"
#include "converters/layout.h"
#include "format/base/json.h"

namespace ingot::convert {

/// A checkpoint directory as a codec sees it: headers and config are parsed, tensor data is mapped and untouched.
class HfCheckpoint {
 public:
  struct Stored {
    const WeightFile* file = nullptr;
    const WeightEntry* entry = nullptr;
    [[nodiscard]] const std::string& name() const noexcept { return entry->name; }
    [[nodiscard]] tensor::DType type() const noexcept { return entry->type; }
    [[nodiscard]] const std::vector<std::uint64_t>& shape() const noexcept { return entry->shape; }
    /// Elements in row-major order. Throws unsupported where the file holds them in another one.
    [[nodiscard]] Bytes bytes() const;
  };

  /// `path` is a directory or one file of weights. Throws what open_hf_directory and parse_json throw.
  explicit HfCheckpoint(const std::filesystem::path& path);

  [[nodiscard]] const HfDirectory& directory() const noexcept { return directory_; }
  /// The path as it was given: how messages name the place.
  [[nodiscard]] const std::string& where() const noexcept { return where_; }
  /// All tensors, by file and in its order.
  [[nodiscard]] const std::vector<Stored>& tensors() const noexcept { return tensors_; }
  /// Null when no file holds a tensor of this name.
  [[nodiscard]] const Stored* find(std::string_view name) const noexcept;
  /// What a PyTorch file says beside its tensors; null when it says nothing under this name.
  [[nodiscard]] const WeightFact* fact(std::string_view name) const noexcept;
  /// config.json; null when there is none.
  [[nodiscard]] const Json* config() const noexcept { return config_ ? &*config_ : nullptr; }
  /// What says how the weights are quantized: quantization_config or quantization of config.json (or of its
  /// text_config), else quantize_config.json, else quant_config.json, else hf_quant_config.json; null: nothing does.
  [[nodiscard]] const Json* quantization() const noexcept { return quantization_ ? &*quantization_ : nullptr; }
  /// The word that names the method in quantization(): quant_method, lower case; empty when absent.
  [[nodiscard]] std::string quant_method() const;

 private:
  HfDirectory directory_;
  std::string where_;
  std::vector<Stored> tensors_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
  std::optional<Json> config_, quantization_;
};

/// A neutral tensor and the tensors of the files that it is made of.
struct CodedTensor {
  struct Part {
    std::string file_name;  // "model.layers.0.mlp.up_proj.qweight"
    std::string part;       // what HfCodec::pack makes of the tensor ("qweight"); empty: kept verbatim (small facts)
  };
  /// Named as an unquantized checkpoint would name it in this directory ("model.layers.0.mlp.up_proj.weight"); the
  /// reader turns that into the neutral spelling. Planes, shape, scheme and packing are set; packing is
  /// canonical_packing() of them.
  tensor::Tensor tensor;
  std::vector<Part> parts;
};

/// What a codec found. Tensors of the files that no part names stay plain tensors.
struct CodedTensors {
  std::vector<CodedTensor> tensors;
  std::vector<std::string> findings;  // evidence against what the metadata says, one sentence each
};

/// One tensor of the files to be written.
struct CodedItem {
  std::string file_name;
  tensor::DType type = tensor::DType::u8;
  tensor::Shape shape;
  std::string part;                // packed from CodedPlan::tensor; empty: `bytes`
  std::vector<std::byte> bytes{};  // given content
};

/// How a layout would write one tensor. No items and not refused: as a plain tensor, values in floating point.
struct CodedPlan {
  ProofClass proof = ProofClass::exact;
  std::string reason;     // why it is not exact
  std::string scheme;     // as the layout names it ("gptq 4-bit g128"), for the forecast
  tensor::Tensor tensor;  // in one of the layout's own schemes, identity transforms: what pack() takes
  std::vector<CodedItem> items;
};

/// One tensor of the model and what becomes of it.
struct CodedOutput {
  std::string file_name;         // of a coded tensor: the name that it would have as a plain one
  std::string tensor;            // neutral name
  const tensor::Tensor* source;  // the tensor of the model
  const CodedPlan* plan;         // null: written as a plain tensor
  tensor::DType type;            // plain: its element type in the file
};

struct HfCodec {
  std::string_view layout;       // registry name: "gptq"
  std::string_view description;  // one line for --help and README
  /// Is this checkpoint written in this layout? By config and by tensor names; never reads tensor data.
  bool (*claims)(const HfCheckpoint& checkpoint);
  /// Throws Error naming file and tensor where the parts contradict each other.
  CodedTensors (*read)(const HfCheckpoint& checkpoint, const ReadOptions& options);
  /// Bytes [begin, begin + out.size()) of `part`, as the files hold it. `tensor` is in a scheme that read() or plan()
  /// made; all its planes have views. Thread-safe. Throws invalid_value for an unknown part or a foreign scheme.
  void (*pack)(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out);
  /// True where every content of the part is the packing of some planes, so that packing what was read must give the
  /// same bytes; the others are compared when the model is stored as .ingot. Null: no part is.
  bool (*one_encoding)(const tensor::Tensor& tensor, std::string_view part) = nullptr;
  /// Settings that hold for the whole output and follow from all tensors (one group size for all modules); called once,
  /// before plan() sees them beside the user's. Null: there are none.
  std::map<std::string, std::string> (*settle)(const tensor::Model& model, const WriteOptions& options) = nullptr;
  /// Null: the layout is read-only. Called for every tensor of the model with the file's name for it.
  CodedPlan (*plan)(const tensor::Tensor& source, const std::string& file_name, const tensor::Model& model,
                    const WriteOptions& options) = nullptr;
  /// Completes config.json (which holds no word about quantization yet; an object, empty when the model has no config)
  /// and adds files ("quantize_config.json" -> text) for the tensors as planned, in model order.
  void (*configure)(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions& options,
                    Json& config, std::map<std::string, std::string>& files) = nullptr;
  /// Words of --scheme beyond f32, f16 and bf16, and keys of --set, that plan() understands.
  std::vector<std::string_view> schemes = {}, settings = {};
  bool (*carries_column_order)(const WriteOptions& options) noexcept = nullptr;  // as in Layout
  bool holds_activation_divisors = false;  // vectors "X.scales" that its loaders divide activations by (AutoAWQ)
  bool packs_by_rows = false;              // every part is a matrix with a row for each of the tensor's
  bool is_strict = false;                  // its loaders refuse a directory with tensors that they do not know
};

}  // namespace ingot::convert

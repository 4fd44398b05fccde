// The `quanto` row: modules of optimum-quanto in safetensors, as transformers and diffusers save them (X.weight._data,
// X.weight._scale, X.weight._shift). Read-only.
//
// Weights of 2 and 4 bits do not store their shape, only that of their groups: [out * in / group, group]. The number of
// inputs is then found by the bias, or by the sizes in config.json.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <set>

#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/element_planes.h"
#include "converters/layouts/linear_modules.h"
#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::Block;
using tensor::DType;

constexpr std::string_view kPacked = ".weight._data._data", kBytes = ".weight._data";
constexpr std::string_view kMapFile = "quanto_qmap.json";
constexpr std::uint64_t kMaxMapBytes = std::uint64_t{64} << 20;

bool ends_with_module(const Stored& stored, std::string_view suffix) {
  return stored.name().size() > suffix.size() && stored.name().ends_with(suffix);
}

/// The group size that optimum-quanto chooses for so many inputs; 0: the whole row is one group.
std::uint64_t group_size_for(std::uint64_t inputs) {
  std::uint64_t size = 128;
  if (inputs <= size) return 0;
  while (inputs % size != 0 && size > 32) size -= 32;
  return inputs % size == 0 ? size : 0;
}

// --- The number of inputs of grouped weights -------------------------------------------------------------------------
std::optional<std::uint64_t> count_in(const Json& json, std::string_view key) {
  const Json* found = json.find(key);
  if (found == nullptr || !found->is_integer()) return std::nullopt;
  const double value = found->as_double(key);
  if (value < 1 || value > 1e9) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

/// The sizes that config.json names, by what they are inputs of.
class ConfigSizes {
 public:
  explicit ConfigSizes(const HfCheckpoint& checkpoint) {
    const Json* config = checkpoint.config();
    for (const Json* place : {config, config != nullptr ? config->find("text_config") : nullptr}) {
      if (place == nullptr || !place->is_object()) continue;
      for (const auto& [key, value] : place->as_object("config.json"))
        if (const auto count = count_in(*place, key)) all_.insert(*count);
      const auto first_of = [&](std::initializer_list<std::string_view> keys) {
        std::uint64_t size = 0;
        for (const std::string_view key : keys)
          if (size == 0) size = count_in(*place, key).value_or(0);
        return size;
      };
      hidden_ = std::max(hidden_, first_of({"hidden_size", "n_embd", "d_model"}));
      inner_ = std::max(inner_, first_of({"intermediate_size", "n_inner", "ffn_dim", "d_ff"}));
      const std::uint64_t heads = first_of({"num_attention_heads"}), width = first_of({"head_dim"});
      if (heads != 0 && width != 0) all_.insert(heads_ = heads * width);
    }
    if (heads_ == 0) heads_ = hidden_;
  }
  /// What the module's name says; 0: nothing.
  [[nodiscard]] std::uint64_t inputs_of(std::string_view module) const {
    const std::string_view last = module.substr(module.rfind('.') + 1);
    for (const std::string_view name : {"down_proj", "fc2", "w2", "dense_4h_to_h"})
      if (last == name) return inner_;
    for (const std::string_view name : {"o_proj", "out_proj"})
      if (last == name) return heads_;
    for (const std::string_view name : {"q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj",
                                        "gate_up_proj", "fc1", "w1", "w3", "lm_head", "query_key_value"})
      if (last == name) return hidden_;
    return 0;
  }
  [[nodiscard]] const std::set<std::uint64_t>& all() const noexcept { return all_; }

 private:
  std::uint64_t hidden_ = 0, inner_ = 0, heads_ = 0;
  std::set<std::uint64_t> all_;
};

class ModuleReader {
 public:
  ModuleReader(const HfCheckpoint& checkpoint, const ConfigSizes& sizes, const Json* map, FindingList& findings)
      : checkpoint_(checkpoint), sizes_(sizes), map_(map), findings_(findings) {}

  [[nodiscard]] CodedTensor read_packed(const Stored& codes) {
    module_ = codes.name().substr(0, codes.name().size() - kPacked.size());
    if (codes.type() != DType::u8 || codes.shape().size() < 2) fail_at(codes, "expected a matrix of bytes");
    if (element_count(codes) == 0) fail_at(codes, "empty");
    const Stored& scale = part(codes, "_scale");
    const Stored& shift = part(codes, "_shift");
    const std::uint64_t groups = element_count(scale);
    if (element_count(shift) != groups) fail_at(shift, "expected the shape of '" + scale.name() + "'");
    if (!is_parameter_float(scale.type())) fail_at(scale, "expected f16, bf16 or f32");
    const bool whole_shift = shift.type() == DType::i8;
    if (!whole_shift && !is_parameter_float(shift.type())) fail_at(shift, "expected f16, bf16, f32 or i8");
    const SegmentWords words = words_of(codes, groups);
    const std::uint64_t group = element_count(codes) / codes.shape()[0];

    tensor::Tensor& tensor = start(codes, packed_shape(codes, scale, group));
    tensor.scheme.codes.type = unsigned_codes(words.bits);
    const Block block{1, as_extent(group, codes)};
    tensor.scheme.scales = {{.type = scale.type(), .block = block}};
    tensor.scheme.offset.kind = whole_shift ? tensor::OffsetKind::zero_points : tensor::OffsetKind::bias;
    tensor.scheme.offset.levels = {{.type = shift.type(), .block = block}};
    if (tensor.shape.size() > 2) finish_convolution(tensor);
    tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);
    const tensor::Geometry view = tensor.geometry();
    ElementParts parts;
    parts.load_codes = load_segments(codes, words, view.cols, view.elements);
    const std::uint64_t row_groups = groups / (view.matrices * view.rows);
    parts.others.push_back(dense_parameters(scale, row_groups * tensor::bits(scale.type()) / 8));
    const std::uint64_t shift_bytes = tensor::bits(shift.type()) / 8;
    parts.others.push_back(dense_parameters(shift, row_groups * shift_bytes));
    if (!whole_shift) parts.others.back() = negated(parts.others.back(), row_groups, shift_bytes);
    parts.files = {part_of(codes), part_of(scale), part_of(shift)};
    tensor.planes = element_planes(tensor, std::move(parts));
    coded_.parts.push_back({codes.name(), "packed"});
    coded_.parts.push_back({scale.name(), "scales_0"});
    coded_.parts.push_back({shift.name(), whole_shift ? "zero_points" : "shift"});
    return finish();
  }

  [[nodiscard]] CodedTensor read_bytes(const Stored& codes) {
    module_ = codes.name().substr(0, codes.name().size() - kBytes.size());
    const DType type = codes.type();
    if (type != DType::i8 && type != DType::e4m3 && type != DType::e5m2 && type != DType::e4m3fnuz)
      fail_at(codes, "weights of this type are none of quanto's", ErrorKind::unsupported);
    if (codes.shape().size() < 2 || element_count(codes) == 0) fail_at(codes, "expected a matrix");
    const Stored& scale = part(codes, "_scale");
    if (!is_parameter_float(scale.type())) fail_at(scale, "expected f16, bf16 or f32");
    tensor::Tensor& tensor = start(codes, codes.shape());
    tensor.scheme.codes.type = type;
    tensor.scheme.scales = {{.type = scale.type(), .block = block_of(codes, scale)}};
    if (tensor.shape.size() > 2) finish_convolution(tensor);
    tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);
    RowParts parts;
    parts.codes = {codes.bytes(), codes.file->mapping};
    parts.others.push_back({scale.bytes(), scale.file->mapping});
    tensor.planes = row_planes(tensor, std::move(parts));
    coded_.parts.push_back({codes.name(), "codes"});
    coded_.parts.push_back({scale.name(), "scales_0"});
    return finish();
  }

 private:
  const Stored& part(const Stored& codes, const std::string& attribute) const {
    return required_part(checkpoint_, codes, module_ + ".weight." + attribute);
  }
  tensor::Tensor& start(const Stored& codes, tensor::Shape shape) {
    for (const std::uint64_t extent : shape)
      if (extent == 0) fail_at(codes, "empty");
    coded_ = {};
    coded_.tensor.name = module_ + ".weight";
    coded_.tensor.shape = std::move(shape);
    return coded_.tensor;
  }
  static std::uint32_t as_extent(std::uint64_t value, const Stored& stored) {
    if (value == 0 || value > std::numeric_limits<std::uint32_t>::max()) fail_at(stored, "impossible group size");
    return static_cast<std::uint32_t>(value);
  }
  /// Kernels of a convolution, [out, in, h, w]: every output is one group, so the tensor is one flat run of them.
  static void finish_convolution(tensor::Tensor& tensor) {
    tensor::Level& scale = tensor.scheme.scales[0];
    if (scale.block == Block{0, 0}) return;
    const std::uint64_t row = tensor.elements() / tensor.shape[0];
    tensor.scheme.flat = static_cast<std::uint32_t>(row);
    scale.block = {1, 0};
    for (tensor::Level& level : tensor.scheme.offset.levels) level.block = {1, 0};
  }

  /// 2 or 4 bits: by the number of groups, which are the rows before packing.
  [[nodiscard]] SegmentWords words_of(const Stored& codes, std::uint64_t groups) const {
    for (const std::uint8_t bits : {std::uint8_t{4}, std::uint8_t{2}}) {
      const std::uint64_t fields = 8 / bits;
      if (ceil_div(groups, fields) == codes.shape()[0] && agrees_with_map(bits, groups, codes))
        return {bits, static_cast<std::uint8_t>(fields), 1, 0, false};
    }
    fail_at(codes, std::to_string(groups) + " scales fit neither 2 nor 4 bits");
  }
  /// One row of bytes can hold one or two groups either way: then quanto_qmap.json, or else the config, decides.
  [[nodiscard]] bool agrees_with_map(std::uint8_t bits, std::uint64_t groups, const Stored& codes) const {
    const bool both = ceil_div(groups, 2) == codes.shape()[0] && ceil_div(groups, 4) == codes.shape()[0];
    if (!both) return true;
    const Json* weights = map_ != nullptr ? map_->find(module_) : checkpoint_.quantization();
    if (weights != nullptr && weights->is_object()) weights = weights->find("weights");
    const bool two = weights != nullptr && weights->is_string() && weights->as_string("weights").ends_with("int2");
    return two == (bits == 2);
  }

  [[nodiscard]] tensor::Shape packed_shape(const Stored& codes, const Stored& scale, std::uint64_t group) const {
    const std::uint64_t groups = element_count(scale);
    if (codes.shape().size() > 2) {
      tensor::Shape shape = codes.shape();
      shape[0] = groups;
      return shape;
    }
    std::set<std::uint64_t> candidates;  // of the number of inputs
    const auto fits = [&](std::uint64_t inputs) {
      if (inputs == 0 || inputs % group != 0 || groups % (inputs / group) != 0) return false;
      return group_size_for(inputs) == group || inputs == group;
    };
    if (const Stored* bias = checkpoint_.find(module_ + ".bias")) {
      const std::uint64_t outputs = element_count(*bias);
      if (outputs == 0 || groups % outputs != 0) fail_at(*bias, "expected a divisor of " + std::to_string(groups));
      return {outputs, groups / outputs * group};
    }
    const std::uint64_t named = sizes_.inputs_of(module_);
    if (fits(named)) return {groups / (named / group), named};
    for (const std::uint64_t inputs : sizes_.all())
      if (fits(inputs)) candidates.insert(inputs);
    // Groups of another size than quanto chooses are whole rows.
    if (candidates.empty() && (group > 128 || group % 32 != 0)) candidates.insert(group);
    if (candidates.size() != 1) {
      fail_at(codes, std::to_string(groups) + " groups of " + std::to_string(group) +
                         " weights: quanto stores no shape, and config.json " +
                         (candidates.empty() ? "names no number of inputs that fits" : "allows several"));
    }
    return {groups / (*candidates.begin() / group), *candidates.begin()};
  }
  [[nodiscard]] static Block block_of(const Stored& codes, const Stored& scale) {
    const tensor::Shape& shape = codes.shape();
    const std::uint64_t count = element_count(scale);
    if (count == 1) return {0, 0};
    const tensor::Shape& scales = scale.shape();
    if (count == shape[0] && scales[0] == count) return {1, 0};
    if (shape.size() == 2 && count == shape[1]) return {0, 1};
    fail_at(scale, "expected one element, one per output or one per input of " + shape_text(shape));
  }

  /// The library subtracts its shift; a bias is added.
  static ElementParameters negated(ElementParameters shift, std::uint64_t cols, std::uint64_t element_bytes) {
    const LoadParameters load = std::move(shift.load);
    return {[load, cols, element_bytes](std::uint64_t first, std::uint64_t count, std::byte* out) {
              load(first, count, out);
              for (std::uint64_t i = 0; i < count * cols; ++i) out[(i + 1) * element_bytes - 1] ^= std::byte{0x80};
            },
            {}};
  }

  /// Scales of activations belong to the library's way of computing, not to the weights.
  CodedTensor finish() {
    for (const std::string_view name : {"input_scale", "output_scale"}) {
      const Stored* stored = checkpoint_.find(module_ + "." + std::string(name));
      if (stored == nullptr) continue;
      coded_.parts.push_back({stored->name(), ""});
      if (!is_one(*stored))
        findings_.add("activations are quantized, too (" + std::string(name) + "): the weights alone are read",
                      module_);
    }
    return std::move(coded_);
  }
  [[nodiscard]] static bool is_one(const Stored& stored) {
    const Bytes bytes = stored.bytes();
    if (element_count(stored) != 1) return false;
    if (stored.type() == DType::f32) return load_le<std::uint32_t>(bytes.data()) == 0x3F800000u;
    if (stored.type() == DType::f16) return load_le<std::uint16_t>(bytes.data()) == 0x3C00u;
    return stored.type() == DType::bf16 && load_le<std::uint16_t>(bytes.data()) == 0x3F80u;
  }

  const HfCheckpoint& checkpoint_;
  const ConfigSizes& sizes_;
  const Json* map_;  // quanto_qmap.json: by module; null when absent
  FindingList& findings_;
  std::string module_;
  CodedTensor coded_;
};

bool claims(const HfCheckpoint& checkpoint) {
  return std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(), [](const Stored& stored) {
    return ends_with_module(stored, kPacked) || ends_with_module(stored, kBytes);
  });
}

std::optional<Json> read_map(const HfCheckpoint& checkpoint) {
  const HfDirectory& directory = checkpoint.directory();
  if (std::find(directory.others.begin(), directory.others.end(), kMapFile) == directory.others.end())
    return std::nullopt;
  const std::filesystem::path path = directory.root / kMapFile;
  Json map = parse_json(read_text_file(path, kMaxMapBytes), path.string());
  if (!map.is_object()) throw Error(ErrorKind::invalid_value, path.string() + ": expected an object");
  return map;
}

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions&) {
  CodedTensors result;
  FindingList findings;
  const ConfigSizes sizes(checkpoint);
  const std::optional<Json> map = read_map(checkpoint);
  ModuleReader reader(checkpoint, sizes, map ? &*map : nullptr, findings);
  for (const Stored& stored : checkpoint.tensors()) {
    if (ends_with_module(stored, kPacked))
      result.tensors.push_back(reader.read_packed(stored));
    else if (ends_with_module(stored, kBytes))
      result.tensors.push_back(reader.read_bytes(stored));
  }
  result.findings = findings.sentences();
  return result;
}

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  if (part == "codes") return pack_row_codes(tensor, Nibbles::low_first, begin, out);
  if (part == "scales_0" || part == "zero_points") return pack_row_plane(tensor, part, begin, out);
  const std::uint8_t bits = tensor::bits(tensor.scheme.codes.type);
  if (part == "packed") {
    const std::uint64_t group = tensor.scheme.flat != 0 ? tensor.scheme.flat : tensor.scheme.scales.at(0).block.cols,
                        fields = 8 / bits;
    const std::uint64_t words = ceil_div(tensor.elements() / group, fields) * group;
    return pack_segments(tensor, {bits, static_cast<std::uint8_t>(fields), 1, 0, false}, words, begin, out);
  }
  if (part != "shift")
    throw Error(ErrorKind::invalid_value,
                "tensor '" + tensor.name + "': quanto has no part '" + std::string(part) + "'");
  pack_row_plane(tensor, "biases", begin, out);
  const std::uint64_t element_bytes = tensor::bits(tensor.scheme.offset.levels.at(0).type) / 8;
  for (std::uint64_t i = 0; i < out.size(); ++i)
    if ((begin + i + 1) % element_bytes == 0) out[i] ^= std::byte{0x80};
}

/// The last row of bytes has unused bits where the groups do not fill it.
bool one_encoding(const tensor::Tensor& tensor, std::string_view part) {
  if (part != "packed") return true;
  const std::uint64_t group = tensor.scheme.flat != 0 ? tensor.scheme.flat : tensor.scheme.scales.at(0).block.cols;
  return tensor.elements() / group % (8 / tensor::bits(tensor.scheme.codes.type)) == 0;
}

const HfCodec& quanto_codec() noexcept {
  static const HfCodec codec = {
      .layout = "quanto",
      .description = "optimum-quanto checkpoint directory: qint2, qint4, qint8, qfloat8 (read only)",
      .claims = claims,
      .read = read,
      .pack = pack,
      .one_encoding = one_encoding};
  return codec;
}

}  // namespace

const Layout& quanto_layout() noexcept {
  static const Layout row = hf_coded_layout<quanto_codec>();
  return row;
}

}  // namespace ingot::convert

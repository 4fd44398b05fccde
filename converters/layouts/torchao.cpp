// The `torchao` row: tensor subclasses of torchao, flattened into safetensors as transformers saves them:
// X._weight_qdata, X._weight_scale, ..., and for every weight a JSON text in the header's metadata ({"_type":
// "Int8Tensor", ...}). Read-only.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "converters/files/safetensors.h"
#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/element_planes.h"
#include "converters/layouts/linear_modules.h"
#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::Block;
using tensor::DType;
using tensor::Level;

constexpr std::string_view kTypeKey = "_type", kDataKey = "_data";
constexpr std::uint64_t kSwizzledRows = 128, kSwizzledCols = 4;  // scales of a tile of 512 bytes

/// Weights whose bytes nothing on a CPU can make or read back; by the name of their class.
struct RefusedClass {
  std::string_view name, reason;
};
constexpr std::array<RefusedClass, 3> kRefused = {
    {{"Int4Tensor", "its packing belongs to GPU kernels (mslk)"},
     {"Int4TilePackedTo4dTensor", "its codes lie in the tiles of a GPU kernel (tinygemm)"},
     {"Int4PlainInt32Tensor", "its packing belongs to the kernels of XPU and NPU devices"}}};

bool may_be_torchao(const HfCheckpoint& checkpoint) {
  return std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                     [](const Stored& stored) { return stored.name().ends_with("_qdata"); });
}

/// "model.layers.0.up_proj.weight" -> its JSON text, from all files.
std::map<std::string, std::string> metadata_of(const HfCheckpoint& checkpoint) {
  std::map<std::string, std::string> all;
  for (const WeightFile& file : checkpoint.directory().weights) {
    const Bytes bytes = file.mapping->bytes();
    if (!looks_like_safetensors(bytes.first(std::min<std::size_t>(bytes.size(), 16)), bytes.size())) continue;
    all.merge(parse_safetensors(bytes, file.path).metadata);
  }
  return all;
}

/// The module's name with the attribute's beginning: "a.weight" -> "a._weight_".
std::string prefix_of(const std::string& weight) {
  const std::size_t dot = weight.rfind('.');
  return weight.substr(0, dot + 1) + "_" + weight.substr(dot + 1) + "_";
}

std::string class_of(const Json& json) {
  const Json* type = json.is_object() ? json.find(kTypeKey) : nullptr;
  return type != nullptr && type->is_string() ? type->as_string(kTypeKey) : std::string();
}

// --- Scales in the order of GPU tensor cores: tiles of 128 rows x 4 columns ------------------------------------------
std::uint64_t swizzled_bytes(std::uint64_t rows, std::uint64_t cols) noexcept {
  return ceil_div(rows, kSwizzledRows) * ceil_div(cols, kSwizzledCols) * kSwizzledRows * kSwizzledCols;
}
std::uint64_t swizzled_place(std::uint64_t row, std::uint64_t col, std::uint64_t cols) noexcept {
  const std::uint64_t tile = row / kSwizzledRows * ceil_div(cols, kSwizzledCols) + col / kSwizzledCols;
  const std::uint64_t r = row % kSwizzledRows;
  return tile * kSwizzledRows * kSwizzledCols + r % 32 * 16 + r / 32 * 4 + col % kSwizzledCols;
}

class WeightReader {
 public:
  WeightReader(const HfCheckpoint& checkpoint, std::string name, const Json& json, FindingList& findings)
      : checkpoint_(checkpoint), name_(std::move(name)), json_(json), findings_(findings), class_(class_of(json)) {}

  [[nodiscard]] CodedTensor read() {
    const Stored* codes = find("qdata");
    if (codes == nullptr)
      throw Error(ErrorKind::mismatch, checkpoint_.where() + ": no tensor '" + prefix_of(name_) + "qdata'");
    codes_ = codes;
    for (const RefusedClass& refused : kRefused)
      if (refused.name == class_)
        fail_at(*codes_, class_ + " cannot be read: " + std::string(refused.reason), ErrorKind::unsupported);
    if (const Stored* pre_scale = find("act_pre_scale"))
      fail_at(*pre_scale, "activations are multiplied before the weights: they cannot be read alone",
              ErrorKind::unsupported);
    coded_.tensor.name = name_;
    if (codes_->shape().size() < 2 || codes_->shape().size() > 3)
      fail_at(*codes_, "expected a matrix, or a stack of them");
    if (element_count(*codes_) == 0) fail_at(*codes_, "empty");
    if (class_ == "Int8Tensor" || class_ == "Float8Tensor")
      read_bytes();
    else if (class_ == "IntxUnpackedToInt8Tensor")
      read_unpacked();
    else if (class_ == "MXTensor" || class_ == "NVFP4Tensor")
      read_microscaled();
    else
      fail_at(*codes_, "torchao's class \"" + class_ + "\" is not known", ErrorKind::unsupported);
    return finish();
  }

 private:
  [[nodiscard]] const Stored* find(std::string_view attribute) const {
    return checkpoint_.find(prefix_of(name_) + std::string(attribute));
  }
  [[nodiscard]] const Stored& at(std::string_view attribute) const {
    return required_part(checkpoint_, *codes_, prefix_of(name_) + std::string(attribute));
  }
  [[nodiscard]] const Json* field(std::string_view key) const {
    const Json* data = json_.find(kDataKey);
    return data != nullptr && data->is_object() ? data->find(key) : nullptr;
  }
  /// {"_type": "torch.dtype", "_data": "int4"} -> "int4".
  [[nodiscard]] std::string word(std::string_view key) const {
    const Json* found = field(key);
    const Json* data = found != nullptr && found->is_object() ? found->find(kDataKey) : nullptr;
    if (data == nullptr || !data->is_string()) fail_at(*codes_, "its metadata gives no " + std::string(key));
    return data->as_string(key);
  }
  [[nodiscard]] bool flag(std::string_view key) const {
    const Json* found = field(key);
    return found != nullptr && found->is_bool() && found->as_bool(key);
  }

  /// The rectangle of weights that shares an element of `parameter`, whose shape counts the rectangles.
  [[nodiscard]] Block block_of(const Stored& parameter) const {
    const tensor::Shape &weights = coded_.tensor.shape, &counts = parameter.shape();
    bool fits = counts.size() == weights.size();
    for (std::size_t i = 0; fits && i < weights.size(); ++i) {
      const bool leading = i + 2 < weights.size();
      fits = counts[i] != 0 && weights[i] % counts[i] == 0 && (!leading || counts[i] == weights[i]);
    }
    if (!fits && element_count(parameter) == 1 && weights.size() == 2) return {0, 0};
    if (!fits) fail_at(parameter, "expected one element per block of " + shape_text(weights));
    const std::size_t last = weights.size() - 1;
    const std::uint64_t rows = weights[last - 1] / counts[last - 1], cols = weights[last] / counts[last];
    if (std::max(rows, cols) > std::numeric_limits<std::uint32_t>::max()) fail_at(parameter, "blocks above 2^32 - 1");
    return {counts[last - 1] == 1 && rows != 1 ? 0 : static_cast<std::uint32_t>(rows),
            counts[last] == 1 ? 0 : static_cast<std::uint32_t>(cols)};
  }
  void add_level(const Stored& stored, std::string_view role, Level level, bool is_offset = false) {
    level.type = stored.type();
    level.block = block_of(stored);
    tensor::Scheme& scheme = coded_.tensor.scheme;
    if (is_offset) {
      scheme.offset.kind = tensor::OffsetKind::zero_points;
      scheme.offset.levels = {level};
    } else {
      scheme.scales.push_back(level);
    }
    const std::uint64_t row_elems = stored.shape().empty() ? 1 : stored.shape().back();  // one for all may be a scalar
    parts_.others.push_back(dense_parameters(stored, row_elems * tensor::bits(stored.type()) / 8));
    parts_.files.push_back(part_of(stored));
    coded_.parts.push_back({stored.name(), std::string(role)});
  }
  void add_scale() {
    const Stored& scale = at("scale");
    if (!is_parameter_float(scale.type())) fail_at(scale, "expected f16, bf16 or f32");
    add_level(scale, "scales_0", {});
  }

  /// Elements of one byte as they stand.
  void read_bytes() {
    const DType type = codes_->type();
    const bool fits = class_ == "Int8Tensor" ? type == DType::i8 : type == DType::e4m3 || type == DType::e5m2;
    if (!fits) fail_at(*codes_, "this type is none of " + class_);
    coded_.tensor.shape = codes_->shape();
    coded_.tensor.scheme.codes.type = type;
    coded_.parts.push_back({codes_->name(), "codes"});
    add_scale();
    if (const Stored* zero = class_ == "Int8Tensor" ? find("zero_point") : nullptr) {
      if (zero->type() != DType::i8) fail_at(*zero, "expected i8");
      add_level(*zero, "zero_points", {}, true);
    }
    parts_.load_codes = load_bytes(0, 8);
  }
  /// Codes of 1 to 8 bits, each in a byte of its own. Below 8 bits they are stored as unsigned ones of so many bits,
  /// which moves the zero points alike.
  void read_unpacked() {
    if (codes_->type() != DType::i8) fail_at(*codes_, "expected i8");
    const std::string target = word("target_dtype");
    const bool known = target.size() == 4 && target.starts_with("int") && target[3] >= '1' && target[3] <= '8';
    if (!known) fail_at(*codes_, "target_dtype \"" + target + "\", expected int1 to int8");
    const Stored& zero = at("zero_point");
    const bool whole = zero.type() == DType::i8;
    if (!whole && !is_parameter_float(zero.type())) fail_at(zero, "expected i8, f16, bf16 or f32");
    const auto bits = static_cast<std::uint8_t>(target[3] - '0');
    const bool narrow = whole && bits < 8;
    const int half = narrow ? 1 << (bits - 1) : 0;
    coded_.tensor.shape = codes_->shape();
    coded_.tensor.scheme.codes.type = narrow ? unsigned_codes(bits) : DType::i8;
    coded_.parts.push_back({codes_->name(), narrow ? "bytes" : "codes"});
    add_scale();
    Level level;
    level.add = half;
    add_level(zero, "zero_points", level, true);
    parts_.load_codes = load_bytes(half, narrow ? bits : 8);
  }
  void read_microscaled() {
    const bool nv = class_ == "NVFP4Tensor";
    const std::string element = nv ? "float4_e2m1fn_x2" : word("elem_dtype");
    const bool packed = element == "float4_e2m1fn_x2";
    const DType type = packed ? DType::e2m1 : element == "float8_e5m2" ? DType::e5m2 : DType::e4m3;
    if (!packed && element != "float8_e5m2" && element != "float8_e4m3fn")
      fail_at(*codes_, "elements of type " + element + " cannot be read", ErrorKind::unsupported);
    if (codes_->type() != (packed ? DType::u8 : type)) fail_at(*codes_, "this type does not hold " + element);
    tensor::Tensor& tensor = coded_.tensor;
    tensor.shape = codes_->shape();
    if (packed) tensor.shape.back() = checked_mul(tensor.shape.back(), 2, "inputs of " + name_);
    tensor.scheme.codes.type = type;
    coded_.parts.push_back({codes_->name(), "codes"});
    add_block_scales(nv ? 16 : 32, nv ? DType::e4m3 : DType::e8m0);
    if (const Stored* global = nv ? find("per_tensor_scale") : nullptr) {
      if (global->type() != DType::f32 || element_count(*global) != 1) fail_at(*global, "expected one f32");
      tensor.scheme.scales.push_back({.type = DType::f32, .block = {0, 0}});
      const std::uint64_t matrices = tensor.shape.size() == 3 ? tensor.shape[0] : 1;
      if (matrices != 1) fail_at(*global, "a global scale of stacked weights cannot be read", ErrorKind::unsupported);
      parts_.others.push_back(dense_parameters(*global, 0));
      coded_.parts.push_back({global->name(), "scales_1"});
    }
    parts_.load_codes = packed ? load_nibbles() : load_bytes(0, 8);
  }
  void add_block_scales(std::uint64_t default_size, DType type) {
    const tensor::Shape& shape = coded_.tensor.shape;
    const Stored& scale = at("scale");
    if (scale.type() != type) fail_at(scale, "expected " + std::string(tensor::name(type)));
    const Json* said = field("block_size");
    const std::uint64_t size = said != nullptr && said->is_integer() ? said->as_u64("block_size") : default_size;
    if (size == 0 || size > shape.back() || shape.back() % size != 0)
      fail_at(scale,
              "blocks of " + std::to_string(size) + " do not divide " + std::to_string(shape.back()) + " inputs");
    const std::uint64_t cols = shape.back() / size;
    std::uint64_t rows = 1;
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows = checked_mul(rows, shape[i], "rows of " + name_);
    const bool swizzled = flag("is_swizzled_scales");
    if (swizzled && shape.size() != 2)
      fail_at(scale, "swizzled scales of stacked weights cannot be read", ErrorKind::unsupported);
    const std::uint64_t bytes = swizzled ? swizzled_bytes(rows, cols) : checked_mul(rows, cols, "scales of " + name_);
    if (scale.bytes().size() != bytes) fail_at(scale, "expected " + std::to_string(bytes) + " bytes");
    coded_.tensor.scheme.scales.push_back({.type = type, .block = {1, static_cast<std::uint32_t>(size)}});
    parts_.others.push_back(swizzled ? swizzled_parameters(scale, cols) : dense_parameters(scale, cols));
    parts_.files.push_back(part_of(scale));
    coded_.parts.push_back({scale.name(), swizzled ? "swizzled" : "scales_0"});
  }
  static ElementParameters swizzled_parameters(const Stored& stored, std::uint64_t cols) {
    return {[bytes = stored.bytes(), cols](std::uint64_t first, std::uint64_t count, std::byte* out) {
              for (std::uint64_t row = first; row < first + count; ++row)
                for (std::uint64_t col = 0; col < cols; ++col) *out++ = bytes[swizzled_place(row, col, cols)];
            },
            {}};
  }

  /// Bytes, `half` added; what then takes more than `bits` bits is an error.
  [[nodiscard]] LoadCodes load_bytes(int half, std::uint8_t bits) const {
    const std::uint64_t cols = coded_.tensor.shape.back();
    return [bytes = codes_->bytes(), place = place_of(*codes_), half, bits, cols](
               std::uint64_t first, std::uint64_t count, std::uint8_t* codes) {
      const Bytes rows = bytes.subspan(first * cols, count * cols);
      std::uint8_t seen = 0;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        codes[i] = static_cast<std::uint8_t>(std::to_integer<int>(rows[i]) + half);
        seen |= codes[i];
      }
      if (seen >> bits != 0)
        throw Error(ErrorKind::invalid_value, place + ": codes beyond " + std::to_string(bits) + " bits");
    };
  }
  [[nodiscard]] LoadCodes load_nibbles() const {
    const std::uint64_t row_bytes = coded_.tensor.shape.back() / 2;
    return [bytes = codes_->bytes(), row_bytes](std::uint64_t first, std::uint64_t count, std::uint8_t* codes) {
      const Bytes rows = bytes.subspan(first * row_bytes, count * row_bytes);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto both = std::to_integer<std::uint8_t>(rows[i]);
        codes[2 * i] = both & 15;
        codes[2 * i + 1] = both >> 4;
      }
    };
  }

  CodedTensor finish() {
    tensor::Tensor& tensor = coded_.tensor;
    tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);
    parts_.files.push_back(part_of(*codes_));
    tensor.planes = element_planes(tensor, std::move(parts_));
    for (const std::string_view attribute : {"act_quant_scale", "act_quant_zero_point"})
      if (const Stored* stored = find(attribute)) coded_.parts.push_back({stored->name(), ""});
    const Json* activations = field("act_quant_kwargs");
    if (activations == nullptr) activations = field("activation_quantization");
    if (activations != nullptr && !activations->is_null())
      findings_.add("activations are quantized, too: the weights alone are read", name_);
    return std::move(coded_);
  }

  const HfCheckpoint& checkpoint_;
  std::string name_;
  const Json& json_;
  FindingList& findings_;
  std::string class_;
  const Stored* codes_ = nullptr;
  ElementParts parts_;
  CodedTensor coded_;
};

bool claims(const HfCheckpoint& checkpoint) {
  if (!may_be_torchao(checkpoint)) return false;
  return metadata_of(checkpoint).contains("tensor_names") || checkpoint.quant_method() == "torchao";
}

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions&) {
  CodedTensors result;
  FindingList findings;
  const std::map<std::string, std::string> metadata = metadata_of(checkpoint);
  for (const Stored& stored : checkpoint.tensors()) {
    if (!stored.name().ends_with("_qdata")) continue;
    const std::size_t dot = stored.name().rfind("._");
    if (dot == std::string::npos) continue;
    const std::string attribute = stored.name().substr(dot + 2, stored.name().size() - dot - 2 - 6);
    const std::string weight = stored.name().substr(0, dot + 1) + attribute;
    const auto text = metadata.find(weight);
    if (text == metadata.end()) fail_at(stored, "the header's metadata has no entry '" + weight + "'");
    const Json json = parse_json(text->second, stored.file->path + ": metadata of '" + weight + "'");
    if (!json.is_object()) fail_at(stored, "the metadata of '" + weight + "' is no object");
    result.tensors.push_back(WeightReader(checkpoint, weight, json, findings).read());
  }
  result.findings = findings.sentences();
  return result;
}

/// One byte per code, as before `half` was added.
void pack_bytes(const tensor::Tensor& tensor, std::uint64_t begin, std::span<std::byte> out) {
  std::vector<std::uint8_t> codes(out.size());
  ElementView(tensor).codes(begin, codes);
  const int half = tensor.scheme.offset.levels.at(0).add;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(codes[i] - half);
}

void pack_swizzled(const tensor::Tensor& tensor, std::uint64_t begin, std::span<std::byte> out) {
  const std::uint64_t rows = tensor.geometry().rows, cols = tensor.shape.back() / tensor.scheme.scales.at(0).block.cols;
  std::vector<std::byte> row(cols);
  std::fill(out.begin(), out.end(), std::byte{0});
  for (std::uint64_t r = 0; r < rows; ++r) {
    const std::uint64_t tile = r / kSwizzledRows * ceil_div(cols, kSwizzledCols);
    const std::uint64_t tile_bytes = kSwizzledRows * kSwizzledCols, first = tile * tile_bytes;
    const std::uint64_t last = first + ceil_div(cols, kSwizzledCols) * tile_bytes;
    if (first >= begin + out.size() || last <= begin) continue;
    pack_row_plane(tensor, "scales_0", r * cols, row);
    for (std::uint64_t col = 0; col < cols; ++col) {
      const std::uint64_t place = swizzled_place(r, col, cols);
      if (place >= begin && place < begin + out.size()) out[place - begin] = row[col];
    }
  }
}

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  if (part == "codes") return pack_row_codes(tensor, Nibbles::low_first, begin, out);
  if (part == "bytes") return pack_bytes(tensor, begin, out);
  if (part == "swizzled") return pack_swizzled(tensor, begin, out);
  if (part == "scales_0" || part == "scales_1" || part == "zero_points")
    return pack_row_plane(tensor, part, begin, out);
  throw Error(ErrorKind::invalid_value,
              "tensor '" + tensor.name + "': torchao has no part '" + std::string(part) + "'");
}

bool one_encoding(const tensor::Tensor&, std::string_view part) { return part != "swizzled"; }  // padded to whole tiles

const HfCodec& torchao_codec() noexcept {
  static const HfCodec codec = {
      .layout = "torchao",
      .description = "torchao checkpoint directory, safetensors: int1 to int8, float8, MX, NVFP4 (read only)",
      .claims = claims,
      .read = read,
      .pack = pack,
      .one_encoding = one_encoding};
  return codec;
}

}  // namespace

const Layout& torchao_layout() noexcept {
  static const Layout row = hf_coded_layout<torchao_codec>();
  return row;
}

}  // namespace ingot::convert

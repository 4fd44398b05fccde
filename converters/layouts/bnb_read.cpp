#include "converters/layouts/bnb_read.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <set>

#include "converters/layouts/linear_modules.h"
#include "converters/layouts/row_planes.h"
#include "format/base/checked_math.h"
#include "format/tensor/tables.h"

namespace ingot::convert::bnb {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;

constexpr std::string_view kState = ".quant_state.bitsandbytes__";
constexpr std::string_view kRowScales = ".SCB";
constexpr std::uint64_t kMaxStateBytes = std::uint64_t{1} << 16;
constexpr std::size_t kTableEntries = 16, kScaleTableEntries = 256;

[[noreturn]] void fail(const Stored& stored, const std::string& why, ErrorKind kind = ErrorKind::mismatch) {
  throw Error(kind, stored.file->path + ": tensor '" + stored.name() + "' at byte " +
                        std::to_string(stored.entry->begin) + ": " + why);
}

std::uint64_t elements_of(const Stored& stored) { return stored.bytes().size() * 8 / tensor::bits(stored.type()); }

/// A tensor that must be there, of this type and number of elements.
const Stored& part(const HfCheckpoint& checkpoint, const Stored& owner, const std::string& name, DType type,
                   std::uint64_t elements) {
  const Stored* found = checkpoint.find(name);
  if (found == nullptr) fail(owner, "needs a tensor '" + name + "'");
  if (found->type() != type)
    fail(*found, "expected " + std::string(tensor::name(type)) + ", got " + std::string(tensor::name(found->type())));
  if (elements_of(*found) != elements)
    fail(*found, "expected " + std::to_string(elements) + " elements, got " + std::to_string(elements_of(*found)));
  return *found;
}

RowPart part_of(const Stored& stored) { return {stored.bytes(), stored.file->mapping}; }

std::vector<std::byte> bytes_of(float value) {
  std::vector<std::byte> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// --- 4 bits ----------------------------------------------------------------------------------------------------------
/// The JSON text that bitsandbytes stores as a tensor of bytes.
struct State {
  std::string table;                              // "nf4", "fp4"
  std::uint32_t block_size = 0, nested_size = 0;  // nested_size 0: scales are stored as they are
  float nested_offset = 0;
  tensor::Shape shape;
};

std::uint32_t block_size_in(const Json& json, std::string_view key, const Stored& stored, const std::string& where) {
  const std::uint64_t size = json.at(key, where).as_u64(where);
  if (size < 2 || size % 2 != 0 || size > (std::uint64_t{1} << 24))
    fail(stored, std::string(key) + " " + std::to_string(size) + ", expected an even number from 2 to 2^24");
  return static_cast<std::uint32_t>(size);
}

State state_of(const Stored& stored, const std::string& suffix) {
  const std::string where = stored.file->path + ": tensor '" + stored.name() + "'";
  if (stored.type() != DType::u8) fail(stored, "expected bytes of JSON text");
  const Json json = parse_json(as_text(stored.bytes()), where, {.max_bytes = kMaxStateBytes});
  State state;
  state.table = json.at("quant_type", where).as_string(where);
  if (state.table != suffix) fail(stored, "quant_type \"" + state.table + "\" under the name of " + suffix);
  if (state.table != "nf4" && state.table != "fp4")
    fail(stored, "quant_type \"" + state.table + "\", expected nf4 or fp4", ErrorKind::unsupported);
  state.block_size = block_size_in(json, "blocksize", stored, where);
  const Json& shape = json.at("shape", where);
  if (!shape.is_array() || shape.as_array(where).empty())
    fail(stored, "holds no shape: written by a bitsandbytes before 0.42", ErrorKind::unsupported);
  for (const Json& extent : shape.as_array(where)) state.shape.push_back(extent.as_u64(where));
  const bool nested = json.find("nested_blocksize") != nullptr;
  if (!nested) return state;
  state.nested_size = block_size_in(json, "nested_blocksize", stored, where);
  state.nested_offset = static_cast<float>(json.at("nested_offset", where).as_double(where));
  return state;
}

/// Bytes of packed codes: two elements each, and up to a whole element of the storage type.
void check_codes(const Stored& weight, std::uint64_t elements) {
  const std::uint64_t needed = ceil_div(elements, 2), unit = tensor::bits(weight.type()) / 8;
  const tensor::Shape& shape = weight.shape();
  if (shape.size() != 2 || shape[1] != 1)
    fail(weight, "packed codes are one column, [n, 1]: another form is not what bitsandbytes reads back",
         ErrorKind::unsupported);
  if (weight.bytes().size() < needed || weight.bytes().size() >= needed + std::max<std::uint64_t>(unit, 1)) {
    fail(weight, std::to_string(elements) + " elements need " + std::to_string(needed) + " bytes, got " +
                     std::to_string(weight.bytes().size()));
  }
}

class FourBitReader {
 public:
  FourBitReader(const HfCheckpoint& checkpoint, const Stored& state, FindingList& findings)
      : checkpoint_(checkpoint), state_tensor_(state), findings_(findings) {}

  [[nodiscard]] CodedTensor read() {
    const std::size_t at = state_tensor_.name().find(kState);
    name_ = state_tensor_.name().substr(0, at);
    const State state = state_of(state_tensor_, state_tensor_.name().substr(at + kState.size()));
    const Stored* weight = checkpoint_.find(name_);
    if (weight == nullptr) fail(state_tensor_, "needs a tensor '" + name_ + "'");
    std::uint64_t elements = 1;
    for (const std::uint64_t extent : state.shape) elements = checked_mul(elements, extent, "shape of " + name_);
    if (elements == 0) fail(state_tensor_, "empty shape");
    check_codes(*weight, elements);

    tensor::Tensor& tensor = coded_.tensor;
    tensor.name = name_;
    tensor.shape = state.shape;
    tensor.scheme = block_scheme(state.table, state.shape, state.block_size, state.nested_size);
    RowParts parts;
    parts.codes = part_of(*weight);
    parts.nibbles = Nibbles::high_first;
    coded_.parts.push_back({name_, "codes"});
    add_scales(state, ceil_div(elements, state.block_size), *weight, parts);
    add_table(state, *weight, parts);
    if (state.nested_size != 0) {
      add_part(".nested_quant_map", "scale_table", DType::f32, kScaleTableEntries, *weight, parts);
      parts.others.push_back(owned_part(bytes_of(state.nested_offset)));
    }
    coded_.parts.push_back({state_tensor_.name(), ""});
    tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);
    tensor.planes = row_planes(tensor, std::move(parts));
    return std::move(coded_);
  }

 private:
  void add_part(const std::string& suffix, const std::string& role, DType type, std::uint64_t elements,
                const Stored& weight, RowParts& parts) {
    const Stored& stored = part(checkpoint_, weight, name_ + suffix, type, elements);
    coded_.parts.push_back({stored.name(), role});
    parts.others.push_back(part_of(stored));
  }
  void add_scales(const State& state, std::uint64_t blocks, const Stored& weight, RowParts& parts) {
    const bool nested = checkpoint_.find(name_ + ".nested_absmax") != nullptr;
    if (nested != (state.nested_size != 0))
      fail(state_tensor_, nested ? "no nested_blocksize for '" + name_ + ".nested_absmax'"
                                 : "nested_blocksize without a tensor '" + name_ + ".nested_absmax'");
    add_part(".absmax", "scales_0", nested ? DType::u8 : DType::f32, blocks, weight, parts);
    if (nested) add_part(".nested_absmax", "scales_1", DType::f32, ceil_div(blocks, state.nested_size), weight, parts);
  }
  /// The stored map is what bitsandbytes itself ignores: another one than its own table counts here.
  void add_table(const State& state, const Stored& weight, RowParts& parts) {
    const Stored& map = part(checkpoint_, weight, name_ + ".quant_map", DType::f32, kTableEntries);
    const std::vector<float> known = quant_map(state.table);
    if (std::memcmp(map.bytes().data(), known.data(), known.size() * sizeof(float)) == 0) {
      coded_.parts.push_back({map.name(), "map." + state.table});
      return;
    }
    if (differs_in_sign_of_zero(map, known)) {
      coded_.parts.push_back({map.name(), ""});
      return;
    }
    findings_.add("the quant_map is not the table of " + state.table +
                      ": read with the stored map; bitsandbytes decodes with its own table",
                  name_);
    coded_.tensor.scheme.codes.table = std::string(tensor::kCustomTable);
    coded_.parts.push_back({map.name(), "table"});
    parts.others.push_back(part_of(map));
  }
  [[nodiscard]] static bool differs_in_sign_of_zero(const Stored& map, std::span<const float> known) {
    std::array<float, kTableEntries> stored;
    std::memcpy(stored.data(), map.bytes().data(), sizeof stored);
    return std::equal(stored.begin(), stored.end(), known.begin());
  }

  const HfCheckpoint& checkpoint_;
  const Stored& state_tensor_;
  FindingList& findings_;
  std::string name_;
  CodedTensor coded_;
};

// --- 8 bits ----------------------------------------------------------------------------------------------------------
CodedTensor read_rows(const HfCheckpoint& checkpoint, const Stored& scales) {
  const std::string module = scales.name().substr(0, scales.name().size() - kRowScales.size());
  const Stored* weight = checkpoint.find(module + ".weight");
  if (weight == nullptr) fail(scales, "needs a tensor '" + module + ".weight'");
  if (weight->shape().size() != 2 || elements_of(*weight) == 0) fail(*weight, "expected a matrix");
  CodedTensor coded;
  coded.tensor.name = weight->name();
  coded.tensor.shape = weight->shape();
  coded.tensor.scheme = row_scheme();
  coded.tensor.packing = tensor::canonical_packing(coded.tensor.shape, coded.tensor.scheme);
  coded.parts = {{weight->name(), "codes"}, {scales.name(), "scales_0"}};
  (void)part(checkpoint, *weight, scales.name(), DType::f32, weight->shape()[0]);
  if (const Stored* format = checkpoint.find(module + ".weight_format")) {
    const Bytes bytes = format->bytes();
    if (format->type() != DType::u8 || bytes.size() != 1) fail(*format, "expected one byte");
    if (bytes[0] != std::byte{0}) {
      fail(*format,
           "format " + std::to_string(std::to_integer<int>(bytes[0])) +
               " (1: col32, 2: col_turing, 3: col_ampere): only row-major weights (0) can be read",
           ErrorKind::unsupported);
    }
    coded.parts.push_back({format->name(), ""});
  }
  RowParts parts;
  parts.codes = part_of(*weight);
  parts.others.push_back(part_of(scales));
  parts.others.push_back(owned_part(bytes_of(kRowScaleUnit)));
  coded.tensor.planes = row_planes(coded.tensor, std::move(parts));
  return coded;
}

bool is_row_scale(const HfCheckpoint& checkpoint, const Stored& stored) {
  if (!stored.name().ends_with(kRowScales)) return false;
  const std::string module = stored.name().substr(0, stored.name().size() - kRowScales.size());
  const Stored* weight = checkpoint.find(module + ".weight");
  return weight != nullptr && weight->type() == DType::i8;
}

bool is_state(const Stored& stored) { return stored.name().find(kState) != std::string::npos; }

/// Scales that share a scale must share it by whole rows, or all be of one row.
std::optional<tensor::Block> nested_block(std::uint64_t row_blocks, std::uint32_t block_size,
                                          std::uint32_t nested_size) {
  if (nested_size % row_blocks == 0) return tensor::Block{static_cast<std::uint32_t>(nested_size / row_blocks), 0};
  const std::uint64_t cols = std::uint64_t{nested_size} * block_size;
  if (row_blocks % nested_size == 0 && cols <= std::numeric_limits<std::uint32_t>::max())
    return tensor::Block{1, static_cast<std::uint32_t>(cols)};
  return std::nullopt;
}

}  // namespace

std::vector<float> quant_map(std::string_view table) {
  const tensor::CodeTable* found = tensor::find_code_table(table);
  if (found == nullptr) return {};
  std::vector<float> map(found->entries.begin(), found->entries.end());
  for (float& entry : map) entry += 0.0f;
  return map;
}

tensor::Scheme block_scheme(const std::string& table, const tensor::Shape& shape, std::uint32_t block_size,
                            std::uint32_t nested_size) {
  tensor::Scheme scheme;
  scheme.codes = {tensor::CodeKind::table, DType::u4, table};
  const bool by_rows = shape.size() == 2 && shape[1] % block_size == 0;
  std::optional<tensor::Block> nested;
  if (by_rows && nested_size != 0) nested = nested_block(shape[1] / block_size, block_size, nested_size);
  const bool grouped = by_rows && (nested_size == 0 || nested);
  if (!grouped) {
    scheme.flat = block_size;
    nested = tensor::Block{nested_size, 0};
  }
  tensor::Level finest{.type = nested_size != 0 ? DType::u8 : DType::f32, .block = {1, grouped ? block_size : 0}};
  finest.custom_table = nested_size != 0;
  scheme.scales.push_back(finest);
  if (nested_size == 0) return scheme;
  scheme.scales.push_back({.type = DType::f32, .block = *nested});
  scheme.rounded_scale = true;
  scheme.scale_offset = true;
  return scheme;
}

tensor::Scheme row_scheme() {
  tensor::Scheme scheme;
  scheme.codes.type = DType::i8;
  scheme.scales = {{.type = DType::f32, .block = {1, 0}}, {.type = DType::f32, .block = {0, 0}}};
  scheme.rounded_steps = true;
  return scheme;
}

namespace {

/// Every module says itself how it was made, and loaders believe that; a config that is right about none misleads.
void compare_config(const HfCheckpoint& checkpoint, const CodedTensors& coded, FindingList& findings) {
  const Json* const config = checkpoint.quantization();
  if (config == nullptr) return;
  std::set<std::string> tables;
  std::set<bool> nested;
  for (const CodedTensor& one : coded.tensors) {
    if (one.tensor.scheme.codes.kind != tensor::CodeKind::table) continue;
    tables.insert(one.tensor.scheme.codes.table);
    nested.insert(one.tensor.scheme.scales.size() > 1);
  }
  const Json *const type = config->find("bnb_4bit_quant_type"), *const twice =
                                                                    config->find("bnb_4bit_use_double_quant");
  if (type != nullptr && type->is_string() && tables.size() == 1 && !tables.contains(type->as_string("config.json")))
    findings.add("the config says " + type->as_string("config.json") + ", the tensors are " + *tables.begin(), "");
  if (twice != nullptr && twice->is_bool() && nested.size() == 1 && !nested.contains(twice->as_bool("config.json"))) {
    findings.add(*nested.begin() ? "the config says single quantization, the tensors are quantized twice"
                                 : "the config says double quantization, the tensors are quantized once",
                 "");
  }
}

}  // namespace

bool claims(const HfCheckpoint& checkpoint) {
  return std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                     [&](const Stored& stored) { return is_state(stored) || is_row_scale(checkpoint, stored); });
}

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions&) {
  CodedTensors result;
  FindingList findings;
  for (const Stored& stored : checkpoint.tensors()) {
    if (is_state(stored)) {
      result.tensors.push_back(FourBitReader(checkpoint, stored, findings).read());
    } else if (is_row_scale(checkpoint, stored)) {
      result.tensors.push_back(read_rows(checkpoint, stored));
    }
  }
  compare_config(checkpoint, result, findings);
  result.findings = findings.sentences();
  return result;
}

}  // namespace ingot::convert::bnb

#include "converters/layouts/scaled_read.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "converters/layouts/word_planes.h"
#include "format/base/checked_math.h"

namespace ingot::convert::scaled {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;

constexpr DType kCodeTypes[] = {DType::u1, DType::u1, DType::u2, DType::u3, DType::u4,
                                DType::u5, DType::u6, DType::u7, DType::u8};

DType scale_type(const Stored& scale) { return scale.type() == DType::u8 ? DType::e8m0 : scale.type(); }

tensor::Scheme scheme_of(const Module& module) {
  const Parts& parts = module.parts;
  tensor::Scheme scheme;
  scheme.codes.type = parts.form == Form::packed_words                             ? kCodeTypes[module.bits]
                      : parts.form == Form::integers || parts.form == Form::floats ? parts.codes->type()
                                                                                   : DType::e2m1;
  scheme.scales = {{.type = scale_type(*parts.scale), .block = module.block}};
  if (parts.form == Form::nvfp4 || parts.form == Form::nvfp4_divided) {
    scheme.scales.push_back({.type = DType::f32, .block = {0, 0}, .divide = parts.form == Form::nvfp4_divided});
    scheme.rounded_scale = true;
  }
  if (module.has_zeros) {
    scheme.offset.kind = tensor::OffsetKind::zero_points;
    const DType type = parts.form == Form::packed_words ? DType::u8 : DType::i8;
    scheme.offset.levels = {{.type = type, .block = module.block}};
  } else if (parts.form == Form::packed_words) {
    scheme.offset.kind = tensor::OffsetKind::zero;
    scheme.offset.zero = 1 << (module.bits - 1);
  }
  if (!module.indexes.empty()) scheme.order = tensor::Order::group_index;
  return scheme;
}

RowPart part_of(const Stored& stored) { return {stored.bytes(), stored.file->mapping}; }

/// Signed zero points of compressed-tensors before 0.9.4, as codes.
RowPart shifted_zeros(const Module& module) {
  const Stored& stored = *module.parts.zero;
  const int middle = 1 << (module.bits - 1);
  const Bytes bytes = stored.bytes();
  std::vector<std::byte> zeros(bytes.size());
  for (std::size_t i = 0; i < zeros.size(); ++i) {
    const int zero = std::to_integer<int>(bytes[i]) - (std::to_integer<int>(bytes[i]) > 127 ? 256 : 0);
    if (zero < -middle || zero >= middle) {
      throw Error(ErrorKind::mismatch,
                  stored.file->path + ": tensor '" + stored.name() + "': element " + std::to_string(i) + " is " +
                      std::to_string(zero) + ", no zero point of " + std::to_string(module.bits) + "-bit codes",
                  stored.entry->begin + i);
    }
    zeros[i] = static_cast<std::byte>(zero + middle);
  }
  return owned_part(std::move(zeros));
}

RowPart zero_part(const Module& module, const tensor::Tensor& tensor, CodedTensor& coded) {
  const Stored& stored = *module.parts.zero;
  if (module.parts.form == Form::integers) {
    coded.parts.push_back({stored.name(), "zeros"});
    return part_of(stored);
  }
  if (stored.type() == DType::i8) {
    coded.parts.push_back({stored.name(), "zeros.signed"});
    return shifted_zeros(module);
  }
  coded.parts.push_back({stored.name(), module.spread_words ? "zeros.spread" : "zeros.words"});
  const tensor::Geometry geometry = tensor.geometry();
  return owned_part(unpack_columns(stored.bytes(), geometry.matrices, stored.shape().back(), geometry.rows, module.bits,
                                   module.spread_words));
}

RowPart index_part(const Module& module) {
  const Bytes bytes = std::as_bytes(std::span(module.indexes));
  return owned_part({bytes.begin(), bytes.end()});
}

void add_planes(const Module& module, CodedTensor& coded) {
  const Parts& parts = module.parts;
  std::vector<RowPart> others = {part_of(*parts.scale)};
  coded.parts.push_back({parts.scale->name(), "scales"});
  if (coded.tensor.scheme.scales.size() > 1) {
    others.push_back(part_of(*parts.global));
    coded.parts.push_back({parts.global->name(), "global"});
  }
  if (module.has_zeros) others.push_back(zero_part(module, coded.tensor, coded));
  if (!module.indexes.empty()) others.push_back(index_part(module));
  const bool whole_words = !module.spread_words && module.shape.back() * module.bits % 32 == 0;
  if (parts.form != Form::packed_words || whole_words) {
    coded.tensor.planes = row_planes(coded.tensor, {.codes = part_of(*parts.codes), .others = std::move(others)});
  } else {
    const WordRows rows{module.shape.back(), module.bits, module.spread_words};
    coded.tensor.planes = word_planes(coded.tensor, part_of(*parts.codes), rows, std::move(others));
  }
}

CodedTensor coded_tensor(const Module& module) {
  const Parts& parts = module.parts;
  CodedTensor coded;
  coded.tensor.name = parts.name;
  coded.tensor.shape = module.shape;
  coded.tensor.scheme = scheme_of(module);
  coded.tensor.packing = tensor::canonical_packing(coded.tensor.shape, coded.tensor.scheme);
  const bool words = parts.form == Form::packed_words;
  coded.parts.push_back({parts.codes->name(), words ? module.spread_words ? "spread" : "words" : "codes"});
  add_planes(module, coded);
  if (words) coded.parts.push_back({parts.shape->name(), ""});
  if (parts.zero != nullptr && !module.has_zeros) coded.parts.push_back({parts.zero->name(), ""});
  if (parts.group_index != nullptr)
    coded.parts.push_back({parts.group_index->name(), module.index_is_kept ? "" : "g_idx"});
  return coded;
}

void look_at_global(const Module& module, FindingList& findings) {
  if (module.parts.form != Form::nvfp4_divided) return;
  const Bytes bytes = module.parts.global->bytes();
  for (std::size_t at = 0; at < bytes.size(); at += 4) {
    const float divisor = load_le<float>(bytes.data() + at);
    if (divisor == 0 || !std::isfinite(divisor)) {
      findings.add("weight_global_scale is 0 or not finite (an uncalibrated module): the weights are no numbers",
                   module.parts.name);
      return;
    }
  }
}

/// Packings of compressed-tensors that no longer exist in it.
void refuse_old_forms(const HfCheckpoint& checkpoint) {
  for (const Stored& stored : checkpoint.tensors()) {
    for (const std::string_view suffix : {".bitmask", ".scale_packed"}) {
      if (!stored.name().ends_with(suffix)) continue;
      throw Error(ErrorKind::unsupported,
                  stored.file->path + ": tensor '" + stored.name() +
                      "': sparse packings of compressed-tensors before 0.15 are not read",
                  stored.entry->begin);
    }
  }
}

void pack_zeros(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  if (part == "zeros") return pack_row_plane(tensor, "zero_points", begin, out);
  const std::uint8_t bits = tensor::bits(tensor.scheme.codes.type);
  if (part == "zeros.signed") {
    pack_row_plane(tensor, "zero_points", begin, out);
    for (std::byte& value : out) value = static_cast<std::byte>(std::to_integer<int>(value) - (1 << (bits - 1)));
    return;
  }
  const tensor::Geometry geometry = tensor.geometry();
  const std::uint32_t size = tensor.scheme.offset.levels.at(0).block.cols;
  const std::uint64_t cols = size == 0 ? 1 : ceil_div(geometry.cols, size);
  std::vector<std::byte> fields(geometry.matrices * geometry.rows * cols);
  pack_row_plane(tensor, "zero_points", 0, fields);
  const std::vector<std::byte> words =
      pack_columns(fields, geometry.matrices, cols, geometry.rows, bits, part == "zeros.spread");
  std::memcpy(out.data(), words.data() + begin, out.size());
}

void pack_indexes(const tensor::Tensor& tensor, std::uint64_t begin, std::span<std::byte> out) {
  if (tensor.scheme.order == tensor::Order::group_index) return pack_row_plane(tensor, "group_index", begin, out);
  const std::uint64_t inputs = tensor.geometry().cols, block = tensor.scheme.scales.at(0).block.cols;
  for (std::uint64_t at = 0; at < out.size(); ++at) {
    const std::uint64_t group = block == 0 ? 0 : (begin + at) / 4 % inputs / block;
    out[at] = static_cast<std::byte>(group >> ((begin + at) % 4 * 8));
  }
}

}  // namespace

namespace {

struct NamedFormat {
  std::string_view word;
  Form form;
};
constexpr std::array<NamedFormat, 5> kFormats = {{{"pack-quantized", Form::packed_words},
                                                  {"int-quantized", Form::integers},
                                                  {"float-quantized", Form::floats},
                                                  {"nvfp4-pack-quantized", Form::nvfp4_divided},
                                                  {"mxfp4-pack-quantized", Form::mxfp4}}};

/// Tensors tell their form themselves; a config that names another one misleads loaders.
void compare_format(const Module& module, const Config& config, FindingList& findings) {
  const auto said =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const auto& row) { return row.word == config.format; });
  const auto found =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const auto& row) { return row.form == module.parts.form; });
  if (said == kFormats.end() || found == kFormats.end() || said == found) return;
  findings.add("the config says format " + config.format + ", the tensors are " + std::string(found->word),
               module.parts.name);
}

}  // namespace

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions& options) {
  Config config(checkpoint.quantization());
  config.trusted = options.trust_config;
  if (config.transforms && !options.trust_config) {
    throw Error(ErrorKind::unsupported,
                checkpoint.where() +
                    ": transform_config is not empty: the weights are stored rotated, and the rotations "
                    "are part of the model (--trust-config reads them as they are)");
  }
  refuse_old_forms(checkpoint);
  CodedTensors result;
  FindingList findings;
  for (const Parts& parts : find_parts(checkpoint)) {
    const Module module = inspect(parts, config, findings);
    look_at_global(module, findings);
    compare_format(module, config, findings);
    result.tensors.push_back(coded_tensor(module));
  }
  result.findings = findings.sentences();
  return result;
}

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  if (part == "codes") return pack_row_codes(tensor, Nibbles::low_first, begin, out);
  if (part == "words" || part == "spread") return pack_words(tensor, part == "spread", begin, out);
  if (part == "scales") return pack_row_plane(tensor, "scales_0", begin, out);
  if (part == "global") return pack_row_plane(tensor, "scales_1", begin, out);
  if (part == "g_idx") return pack_indexes(tensor, begin, out);
  if (part == "zeros" || part.starts_with("zeros.")) return pack_zeros(tensor, part, begin, out);
  throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': no part '" + std::string(part) + "' in " +
                                            tensor::describe(tensor.scheme));
}

bool one_encoding(const tensor::Tensor& tensor, std::string_view part) {
  const tensor::Geometry geometry = tensor.geometry();
  const std::uint64_t bits = tensor::bits(tensor.scheme.codes.type);
  if (part == "spread" || part == "zeros.spread") return false;
  if (part == "words") return geometry.cols * bits % 32 == 0;
  if (part == "zeros.words") return geometry.rows * bits % 32 == 0;
  return true;
}

}  // namespace ingot::convert::scaled

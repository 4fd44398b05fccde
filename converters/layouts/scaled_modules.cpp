#include "converters/layouts/scaled_modules.h"

#include <algorithm>

#include "format/base/checked_math.h"

namespace ingot::convert::scaled {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;
using tensor::Shape;

constexpr std::uint32_t kDefaultBlock = 128;  // DeepSeek's, where no config says otherwise
constexpr std::uint32_t kLeastBlock = 8, kGreatestBlock = 4096;
constexpr std::uint64_t kMxGroup = 32, kNvGroup = 16;

std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

[[noreturn]] void fail(const Stored& stored, const std::string& why, ErrorKind kind = ErrorKind::mismatch) {
  throw Error(kind,
              stored.file->path + ": tensor '" + stored.name() + "' " + std::string(tensor::name(stored.type())) + " " +
                  shape_text(stored.shape()) + " at byte " + std::to_string(stored.entry->begin) + ": " + why,
              stored.entry->begin);
}

bool is_float8(DType type) {
  return type == DType::e4m3 || type == DType::e5m2 || type == DType::e4m3fnuz || type == DType::e5m2fnuz;
}
bool is_number(DType type) { return type == DType::f32 || type == DType::f16 || type == DType::bf16; }
bool is_exponent(DType type) { return type == DType::e8m0 || type == DType::u8; }

// --- Names --------------------------------------------------------------------------------------------------------
std::optional<std::string> without(const std::string& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return std::nullopt;
  return name.substr(0, name.size() - suffix.size());
}

Parts packed_parts(const HfCheckpoint& checkpoint, const Stored& codes, const std::string& module) {
  Parts parts;
  parts.codes = &codes;
  parts.name = module + ".weight";
  parts.scale = checkpoint.find(parts.name + "_scale");
  parts.global = checkpoint.find(parts.name + "_global_scale");
  parts.shape = checkpoint.find(parts.name + "_shape");
  parts.zero = checkpoint.find(parts.name + "_zero_point");
  parts.group_index = checkpoint.find(parts.name + "_g_idx");
  const bool small_scale = parts.scale != nullptr && parts.scale->type() == DType::e4m3;
  parts.form = codes.type() == DType::i32               ? Form::packed_words
               : small_scale || parts.global != nullptr ? Form::nvfp4_divided
                                                        : Form::mxfp4;
  return parts;
}

std::optional<Parts> block_parts(const HfCheckpoint& checkpoint, const Stored& codes) {
  if (codes.type() != DType::u8) return std::nullopt;
  for (const char separator : {'_', '.'}) {
    const auto name = without(codes.name(), separator + std::string("blocks"));
    const Stored* scale = name ? checkpoint.find(*name + separator + "scales") : nullptr;
    if (scale == nullptr || !is_exponent(scale->type())) continue;
    Parts parts;
    parts.form = Form::mxfp4_blocks;
    // transformers' own unquantized experts are [in, out]: these [out, in] must not be taken for them.
    parts.name = separator == '_' ? *name + ".weight" : *name;
    parts.codes = &codes;
    parts.scale = scale;
    return parts;
  }
  return std::nullopt;
}

std::optional<Parts> weight_parts(const HfCheckpoint& checkpoint, const Stored& codes) {
  if (!is_float8(codes.type()) && codes.type() != DType::i8 && codes.type() != DType::u8) return std::nullopt;
  Parts parts;
  parts.codes = &codes;
  parts.name = codes.name();
  for (const char* suffix : {"_scale_inv", "_scales_inv", "_scale"})
    if (parts.scale == nullptr) parts.scale = checkpoint.find(parts.name + suffix);
  bool deepseek = false;
  if (const auto module = without(parts.name, ".weight"); parts.scale == nullptr && module) {
    parts.scale = checkpoint.find(*module + ".scale");
    deepseek = parts.scale != nullptr;
  }
  if (parts.scale == nullptr) return std::nullopt;
  const DType scale = parts.scale->type();
  if (is_float8(codes.type())) {
    parts.form = Form::floats;
  } else if (codes.type() == DType::i8 && !deepseek && is_number(scale)) {
    parts.form = Form::integers;
    parts.zero = checkpoint.find(parts.name + "_zero_point");
    parts.group_index = checkpoint.find(parts.name + "_g_idx");
  } else if (codes.type() == DType::u8 && scale == DType::e4m3) {
    parts.form = Form::nvfp4;
    parts.global = checkpoint.find(parts.name + "_scale_2");
  } else if (scale == DType::e8m0 || (scale == DType::u8 && codes.type() == DType::u8)) {
    parts.form = Form::mxfp4;
  } else {
    return std::nullopt;
  }
  return parts;
}

// --- Shapes -------------------------------------------------------------------------------------------------------
Shape leading(const Shape& shape) { return Shape(shape.begin(), shape.end() - 2); }
Shape joined(Shape shape, std::initializer_list<std::uint64_t> more) {
  shape.insert(shape.end(), more);
  return shape;
}
void check_matrix(const Stored& stored) {
  if (stored.shape().size() < 2) fail(stored, "expected a matrix");
  for (const std::uint64_t extent : stored.shape())
    if (extent == 0) fail(stored, "is empty");
}

const Stored& required(const Parts& parts, const Stored* part, const std::string& suffix) {
  if (part == nullptr) fail(*parts.codes, "has no '" + parts.name + suffix + "'");
  return *part;
}

void check_type(const Stored& stored, bool fits, const std::string& expected) {
  if (!fits) fail(stored, "expected " + expected);
}

/// [b, 1, c, 1] of ModelOpt's blocks means [b, c].
Shape scale_shape(const Module& module) {
  const Shape& shape = module.parts.scale->shape();
  if (shape.size() == 4 && module.shape.size() == 2 && shape[1] == 1 && shape[3] == 1) return {shape[0], shape[2]};
  return shape;
}

std::uint64_t group_size_of(const Module& module, std::uint64_t groups, const Config& config, FindingList& findings) {
  const std::uint64_t inputs = module.shape.back();
  const std::uint64_t whole = groups <= inputs && inputs % groups == 0 ? inputs / groups : 0;
  std::uint64_t configured = 0;
  bool said = false;
  for (const Config::Group& group : config.groups) {
    for (const std::uint64_t size : {group.group_size, group.block_cols}) {
      said |= size != 0;
      if (size != 0 && ceil_div(inputs, size) == groups && configured != whole) configured = size;
    }
  }
  if (configured != 0) return configured;
  if (whole == 0) {
    fail(*module.parts.scale,
         "no group size cuts " + std::to_string(inputs) + " inputs into " + std::to_string(groups) + " groups");
  }
  if (said) {
    findings.add(
        "the config gives another group size than " + std::to_string(whole) + ", which the shape of the scales says",
        module.parts.name);
  }
  return whole;
}

bool cuts(const tensor::Block& block, const Module& module, const Shape& scales) {
  return ceil_div(module.shape[module.shape.size() - 2], block.rows) == scales[scales.size() - 2] &&
         ceil_div(module.shape.back(), block.cols) == scales.back();
}

/// The one power of two whose squares give so many scales; a single scale tells nothing.
std::optional<tensor::Block> square_of(const Module& module, const Shape& scales) {
  if (scales[scales.size() - 2] == 1 && scales.back() == 1) return std::nullopt;
  std::optional<tensor::Block> only;
  for (std::uint32_t size = kLeastBlock; size <= kGreatestBlock; size *= 2) {
    const tensor::Block block{size, size};
    if (!cuts(block, module, scales)) continue;
    if (only) return std::nullopt;
    only = block;
  }
  return only;
}

/// The config's block sizes, one after the other: "[128, 128]"; empty: it gives none.
std::string configured_blocks(const Config& config) {
  std::string text;
  for (const Config::Group& group : config.groups)
    if (group.block_rows != 0 && group.block_cols != 0)
      text += (text.empty() ? "" : ", ") + shape_text({group.block_rows, group.block_cols});
  return text;
}

std::optional<tensor::Block> rectangle_of(const Module& module, const Shape& scales, const Config& config,
                                          FindingList& findings) {
  for (const Config::Group& group : config.groups) {
    if (group.block_rows == 0 || group.block_cols == 0) continue;
    const tensor::Block block{static_cast<std::uint32_t>(group.block_rows),
                              static_cast<std::uint32_t>(group.block_cols)};
    if (cuts(block, module, scales)) return block;
  }
  const std::string configured = configured_blocks(config);
  if (const tensor::Block common{kDefaultBlock, kDefaultBlock}; configured.empty() && cuts(common, module, scales))
    return common;
  const auto shown = configured.empty() || !config.trusted ? square_of(module, scales) : std::nullopt;
  if (!shown) return std::nullopt;
  findings.add(
      (configured.empty() ? "no config gives the size of blocks" : "the config gives blocks of " + configured) +
          ", the shape of the scales says " + shape_text({shown->rows, shown->cols}) + ": read by this evidence",
      module.parts.name);
  return shown;
}

/// Which weights share a scale: the shape of the scales against that of the codes.
void find_block(Module& module, const Config& config, FindingList& findings) {
  const Shape scales = scale_shape(module), lead = leading(module.shape);
  const std::uint64_t rows = module.shape[module.shape.size() - 2];
  for (const std::uint64_t extent : scales)
    if (extent == 0) fail(*module.parts.scale, "is empty");
  const bool one_matrix = std::all_of(lead.begin(), lead.end(), [](std::uint64_t extent) { return extent == 1; });
  const bool one_scale = std::all_of(scales.begin(), scales.end(), [](std::uint64_t extent) { return extent == 1; });
  // A matrix no greater than a block, among others that have several: one form for all.
  const bool in_blocks = module.parts.scale->name().ends_with("_scale_inv") ||
                         std::any_of(config.groups.begin(), config.groups.end(),
                                     [](const Config::Group& group) { return group.block_rows != 0; });
  const auto only_block = module.parts.form == Form::floats && one_scale && in_blocks && scales == joined(lead, {1, 1})
                              ? rectangle_of(module, scales, config, findings)
                              : std::nullopt;
  if (only_block) {
    module.block = *only_block;
  } else if ((one_matrix && one_scale) || scales == joined(lead, {1, 1}) || (!lead.empty() && scales == lead)) {
    module.block = {0, 0};
  } else if (scales == joined(lead, {rows}) || scales == joined(lead, {rows, 1})) {
    module.block = {1, 0};
  } else if (scales.size() == module.shape.size() && leading(scales) == lead) {
    const auto rectangle =
        scales[scales.size() - 2] == rows ? std::nullopt : rectangle_of(module, scales, config, findings);
    if (scales[scales.size() - 2] == rows) {
      module.block = {1, static_cast<std::uint32_t>(group_size_of(module, scales.back(), config, findings))};
    } else if (rectangle) {
      module.block = *rectangle;
    } else {
      fail(*module.parts.scale,
           "fits weights of " + shape_text(module.shape) + " neither by row, by group nor by block" +
               (configured_blocks(config).empty() ? ""
                                                  : " (the config gives blocks of " + configured_blocks(config) + ")"));
    }
  } else {
    fail(*module.parts.scale, "expected scales for weights of " + shape_text(module.shape));
  }
}

/// Scales of 4-bit floats and of MX: one for `group` inputs, rows as in the codes.
void check_groups(const Module& module, std::uint64_t group) {
  Shape wanted = module.shape;
  wanted.back() = ceil_div(wanted.back(), group);
  if (module.parts.scale->shape() != wanted) {
    fail(*module.parts.scale, "expected " + shape_text(wanted) + ", one scale for " + std::to_string(group) +
                                  " of the " + std::to_string(module.shape.back()) + " inputs");
  }
}

// --- Packed integers ----------------------------------------------------------------------------------------------
void read_shape(Module& module) {
  const Stored& stored = required(module.parts, module.parts.shape, "_shape");
  const Stored& codes = *module.parts.codes;
  check_type(stored, stored.type() == DType::i64 || stored.type() == DType::i32, "i64");
  if (stored.shape() != Shape{codes.shape().size()})
    fail(stored, "expected " + std::to_string(codes.shape().size()) + " extents");
  const std::uint64_t word_codes = checked_mul(codes.shape().back(), 32, "codes of a row");
  for (std::size_t i = 0; i < codes.shape().size(); ++i) {
    const std::byte* at = stored.bytes().data() + i * tensor::bits(stored.type()) / 8;
    const std::int64_t extent = stored.type() == DType::i64 ? load_le<std::int64_t>(at) : load_le<std::int32_t>(at);
    const bool last = i + 1 == codes.shape().size();
    if (extent <= 0 || (last ? static_cast<std::uint64_t>(extent) > word_codes
                             : static_cast<std::uint64_t>(extent) != codes.shape()[i])) {
      fail(stored, "extent " + std::to_string(i) + " is " + std::to_string(extent) + ", '" + codes.name() + "' is " +
                       shape_text(codes.shape()));
    }
    module.shape.push_back(static_cast<std::uint64_t>(extent));
  }
}

struct Width {
  std::uint8_t bits;
  bool spread;
};

/// Widths, and ways of packing, that give the words of a row.
std::vector<Width> possible_widths(std::uint64_t inputs, std::uint64_t words) {
  std::vector<Width> widths;
  for (const int width : {4, 8, 2, 1, 3, 5, 6, 7}) {
    const auto bits = static_cast<std::uint8_t>(width);
    const std::uint64_t per_word = 32u / bits;
    if (ceil_div(inputs * bits, 32) == words) widths.push_back({bits, false});
    const bool alike = 32 % bits == 0 || inputs <= per_word;
    if (!alike && ceil_div(inputs, per_word) == words) widths.push_back({bits, true});
  }
  return widths;
}

void find_width(Module& module, const Config& config, FindingList& findings) {
  const Stored& codes = *module.parts.codes;
  const std::vector<Width> all = possible_widths(module.shape.back(), codes.shape().back());
  std::vector<Width> widths;
  const auto is_configured = [&](const Width& width) {
    return std::any_of(config.groups.begin(), config.groups.end(),
                       [&](const Config::Group& group) { return group.bits == width.bits; });
  };
  std::copy_if(all.begin(), all.end(), std::back_inserter(widths), is_configured);
  if (widths.empty()) {
    widths = all;
    if (!all.empty() && !config.groups.empty())
      findings.add("the config gives another number of bits than the " + std::to_string(all.front().bits) +
                       " that weight_packed and weight_shape say",
                   module.parts.name);
  }
  if (widths.empty())
    fail(codes, "no code width of 1 to 8 bits packs " + std::to_string(module.shape.back()) + " inputs so");
  if (std::any_of(widths.begin(), widths.end(), [&](const Width& w) { return w.bits != widths.front().bits; }))
    fail(codes, "several code widths fit, and the config does not decide");
  if (widths.size() > 1 && !config.dense_words) {
    fail(codes,
         std::to_string(widths.front().bits) +
             "-bit codes may be packed as before or since compressed-tensors 0.18, and the config names no version");
  }
  module.bits = widths.front().bits;
  module.spread_words = widths.size() > 1 ? !*config.dense_words : widths.front().spread;
}

void find_zeros(Module& module, const Config& config, FindingList& findings) {
  const Stored* zero = module.parts.zero;
  if (zero == nullptr) {
    if (config.all_asymmetric())
      fail(*module.parts.codes, "the config says asymmetric, but there is no '" + module.parts.name + "_zero_point'");
    return;
  }
  if (config.all_symmetric()) {
    const Bytes bytes = zero->bytes();
    if (zero->type() == DType::i8 &&
        std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{}; }))
      findings.add("zero points that are not 0 although the config says symmetric: ignored, as the library does",
                   module.parts.name);
    return;
  }
  module.has_zeros = true;
  if (zero->type() == DType::i8) {
    if (zero->shape() != module.parts.scale->shape())
      fail(*zero, "expected the shape of the scales, " + shape_text(module.parts.scale->shape()));
    return;
  }
  if (module.parts.form != Form::packed_words || zero->type() != DType::i32)
    fail(*zero, module.parts.form == Form::packed_words ? "expected i32 or i8" : "expected i8");
  if (module.block.rows != 1) fail(*zero, "packed zero points go with scales by row or group");
  Shape wanted = module.shape;
  std::uint64_t& words = wanted[wanted.size() - 2];
  words = module.spread_words ? ceil_div(words, 32u / module.bits) : ceil_div(words * module.bits, 32);
  wanted.back() = module.block.cols == 0 ? 1 : ceil_div(module.shape.back(), module.block.cols);
  if (zero->shape() != wanted) fail(*zero, "expected " + shape_text(wanted));
}

void find_indexes(Module& module) {
  const Stored* stored = module.parts.group_index;
  if (stored == nullptr) return;
  const std::uint64_t inputs = module.shape.back(), size = module.block.cols == 0 ? inputs : module.block.cols;
  if (stored->type() != DType::i32 || stored->shape() != Shape{inputs})
    fail(*stored, "expected i32 [" + std::to_string(inputs) + "]");
  const Bytes bytes = stored->bytes();
  std::vector<std::uint32_t> indexes(inputs);
  bool in_order = true;
  for (std::uint64_t i = 0; i < inputs; ++i) {
    const auto group = load_le<std::int32_t>(bytes.data() + i * 4);
    if (group < 0) {  // llm-compressor left it as it was made: no order
      module.index_is_kept = true;
      return;
    }
    indexes[i] = static_cast<std::uint32_t>(group);
    in_order &= indexes[i] == i / size;
    if (indexes[i] >= ceil_div(inputs, size)) {
      fail(*stored, "entry " + std::to_string(i) + " is " + std::to_string(group) + ", there are " +
                        std::to_string(ceil_div(inputs, size)) + " groups");
    }
  }
  if (in_order) return;
  if (module.block.rows != 1) fail(*stored, "goes with scales by group");
  module.indexes = std::move(indexes);
}

void inspect_four_bits(Module& module) {
  const Parts& parts = module.parts;
  const bool nv = parts.form == Form::nvfp4 || parts.form == Form::nvfp4_divided;
  check_type(*parts.codes, tensor::bits(parts.codes->type()) == 8, "bytes of two codes");
  module.bits = 4;
  module.shape = parts.codes->shape();
  if (parts.form == Form::mxfp4_blocks) {
    if (module.shape.size() < 3 || module.shape.back() != kMxGroup / 2)
      fail(*parts.codes, "expected blocks of 16 bytes");
    module.shape.pop_back();
    if (module.shape != parts.scale->shape())
      fail(*parts.scale, "expected " + shape_text(module.shape) + ", one scale for a block");
    module.shape.back() = checked_mul(module.shape.back(), kMxGroup, "inputs");
  } else {
    module.shape.back() = checked_mul(module.shape.back(), 2, "inputs");
    check_type(*parts.scale, nv ? parts.scale->type() == DType::e4m3 : is_exponent(parts.scale->type()),
               nv ? "e4m3" : "u8 or e8m0");
    check_groups(module, nv ? kNvGroup : kMxGroup);
  }
  module.block = {1, static_cast<std::uint32_t>(nv ? kNvGroup : kMxGroup)};
  if (!nv) return;
  const Stored& global = required(parts, parts.global, parts.form == Form::nvfp4 ? "_scale_2" : "_global_scale");
  const Shape lead = leading(module.shape), shape = global.shape();
  const bool one = std::all_of(shape.begin(), shape.end(), [](std::uint64_t extent) { return extent == 1; });
  const bool fits = (lead.empty() && one) ||
                    (!lead.empty() && (shape == lead || shape == joined(lead, {1}) || shape == joined(lead, {1, 1})));
  if (global.type() != DType::f32 || !fits) fail(global, "expected one f32 for a matrix");
}

}  // namespace

std::vector<Parts> find_parts(const HfCheckpoint& checkpoint) {
  std::vector<Parts> found;
  for (const Stored& stored : checkpoint.tensors()) {
    std::optional<Parts> parts;
    if (const auto module = without(stored.name(), ".weight_packed")) {
      if (stored.type() == DType::i32 || stored.type() == DType::u8) parts = packed_parts(checkpoint, stored, *module);
    } else {
      parts = block_parts(checkpoint, stored);
      if (!parts) parts = weight_parts(checkpoint, stored);
    }
    if (parts) found.push_back(std::move(*parts));
  }
  return found;
}

bool has_form(const HfCheckpoint& checkpoint, std::initializer_list<Form> forms) {
  const std::vector<Parts> found = find_parts(checkpoint);
  return std::any_of(found.begin(), found.end(), [&](const Parts& parts) {
    return std::find(forms.begin(), forms.end(), parts.form) != forms.end();
  });
}

Module inspect(const Parts& parts, const Config& common, FindingList& findings) {
  const Config config = common.of(without(parts.name, ".weight").value_or(parts.name));
  Module module;
  module.parts = parts;
  check_matrix(*parts.codes);
  const Stored& scale = required(parts, parts.scale, "_scale");
  if (parts.form == Form::packed_words) {
    check_type(scale, is_number(scale.type()), "f16, bf16 or f32");
    read_shape(module);
    find_width(module, config, findings);
  } else if (parts.form == Form::integers || parts.form == Form::floats) {
    check_type(scale, is_number(scale.type()) || is_exponent(scale.type()), "f16, bf16, f32 or e8m0");
    module.shape = parts.codes->shape();
  } else {
    inspect_four_bits(module);
    return module;
  }
  if (scale.type() == DType::u8) {
    check_groups(module, kMxGroup);
    module.block = {1, kMxGroup};
    return module;
  }
  find_block(module, config, findings);
  if (parts.form == Form::floats) return module;
  find_zeros(module, config, findings);
  find_indexes(module);
  return module;
}

}  // namespace ingot::convert::scaled

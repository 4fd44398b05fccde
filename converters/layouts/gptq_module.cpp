#include "converters/layouts/gptq_module.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "format/base/checked_math.h"

namespace ingot::convert::gptq {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;

constexpr std::uint64_t kMarlinGroup = 128;

std::string shape_text(const Stored& stored) {
  std::string text = "[";
  for (const std::uint64_t extent : stored.shape()) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

[[noreturn]] void fail(const HfCheckpoint& checkpoint, const Stored& stored, const std::string& what) {
  throw Error(ErrorKind::invalid_value,
              (checkpoint.directory().root / stored.file->path).string() + ": tensor '" + stored.name() + "' " +
                  std::string(tensor::name(stored.type())) + " " + shape_text(stored) + ": " + what,
              stored.entry->begin);
}

void check_present(const HfCheckpoint& checkpoint, const LinearModule& parts) {
  if (parts.scales == nullptr) fail(checkpoint, *parts.codes, "has no '" + parts.name + ".scales'");
  if (parts.zeros == nullptr && !parts.marlin_names)
    fail(checkpoint, *parts.codes,
         "has no '" + parts.name + ".qzeros' (float zero points of GPTQ-for-LLaMa are not read)");
  if (!fits_gptq(parts)) {
    fail(
        checkpoint, *parts.codes,
        "expected qweight [words, out], qzeros [groups, words] of the same type and scales [groups, out], got scales " +
            shape_text(*parts.scales) + (parts.zeros != nullptr ? ", qzeros " + shape_text(*parts.zeros) : ""));
  }
  for (const Stored* stored : {parts.codes, parts.scales})
    if (stored->entry->size() == 0) fail(checkpoint, *stored, "is empty");
}

/// Code widths that the shapes allow.
std::vector<std::uint8_t> possible_bits(const Module& module, const LinearModule& parts) {
  std::vector<std::uint8_t> widths;
  const std::uint64_t rows = parts.codes->shape()[0], zero_words = parts.zeros->shape()[1];
  for (const int width : {4, 8, 2, 3, 5, 6, 7}) {
    const auto bits = static_cast<std::uint8_t>(width);
    if (32 % bits != 0 && module.word_bits != 32) continue;
    if (ceil_div(module.outputs * bits, module.word_bits) != zero_words) continue;
    if (module.inputs != 0 && ceil_div(module.inputs * bits, module.word_bits) != rows) continue;
    if (module.inputs == 0 && rows * module.word_bits / bits == 0) continue;
    widths.push_back(bits);
  }
  return widths;
}

void find_bits(Module& module, const HfCheckpoint& checkpoint, FindingList& findings) {
  const LinearModule& parts = module.parts;
  const std::vector<std::uint8_t> widths = possible_bits(module, parts);
  if (widths.empty()) {
    fail(checkpoint, *parts.codes,
         "no code width of 2 to 8 bits gives these shapes (qzeros " + shape_text(*parts.zeros) + ", " +
             (module.inputs != 0 ? std::to_string(module.inputs) + " inputs by g_idx, " : std::string()) +
             std::to_string(module.outputs) + " outputs)");
  }
  module.bits = widths.front();
  for (const std::uint8_t bits : widths)
    if (module.config.bits == bits) module.bits = bits;
  if (module.config.bits && *module.config.bits != module.bits) {
    if (widths.size() > 1) {
      fail(checkpoint, *parts.codes,
           "the config says " + std::to_string(*module.config.bits) + " bits, the shapes allow several other widths");
    }
    findings.add("the config says " + std::to_string(*module.config.bits) +
                     " bits, the shapes of qweight and qzeros say " + std::to_string(module.bits),
                 parts.name);
  }
  if (module.inputs == 0) module.inputs = parts.codes->shape()[0] * module.word_bits / module.bits;
}

/// g_idx with negative entries counted from the end, as torch indexes.
std::vector<std::uint32_t> group_indexes(const Module& module, const HfCheckpoint& checkpoint, bool& negative) {
  const Stored& stored = *module.parts.group_index;
  const Bytes bytes = stored.bytes();
  const bool wide = stored.type() == DType::i64;
  std::vector<std::uint32_t> groups(module.inputs);
  for (std::uint64_t i = 0; i < module.inputs; ++i) {
    const std::int64_t raw =
        wide ? load_le<std::int64_t>(bytes.data() + i * 8) : load_le<std::int32_t>(bytes.data() + i * 4);
    const std::int64_t group = raw < 0 ? raw + static_cast<std::int64_t>(module.groups) : raw;
    negative |= raw < 0;
    if (group < 0 || group >= static_cast<std::int64_t>(module.groups)) {
      fail(checkpoint, stored,
           "entry " + std::to_string(i) + " is " + std::to_string(raw) + ", scales have " +
               std::to_string(module.groups) + " groups");
    }
    groups[i] = static_cast<std::uint32_t>(group);
  }
  return groups;
}

/// Group size without g_idx: the config's where it fits, else the one that divides the inputs.
std::uint64_t implied_group_size(const Module& module, const HfCheckpoint& checkpoint, FindingList& findings) {
  if (module.groups == 1) return module.inputs;
  const std::int64_t configured = module.config.group_size.value_or(0);
  if (configured > 0 && ceil_div(module.inputs, static_cast<std::uint64_t>(configured)) == module.groups)
    return static_cast<std::uint64_t>(configured);
  if (module.inputs % module.groups != 0) {
    fail(checkpoint, *module.parts.scales,
         "no group size cuts " + std::to_string(module.inputs) + " inputs into " + std::to_string(module.groups) +
             " groups (the config says " + std::to_string(configured) + ")");
  }
  const std::uint64_t size = module.inputs / module.groups;
  if (module.config.group_size) {
    findings.add("the config says group size " + std::to_string(configured) + ", the number of scales says " +
                     std::to_string(size),
                 module.parts.name);
  }
  return size;
}

/// Columns sorted stably by group.
std::vector<std::uint32_t> sorted_columns(const std::vector<std::uint32_t>& groups,
                                          const std::vector<std::uint64_t>& counts) {
  std::vector<std::uint64_t> next(counts.size(), 0);
  for (std::size_t g = 1; g < counts.size(); ++g) next[g] = next[g - 1] + counts[g - 1];
  std::vector<std::uint32_t> columns(groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) columns[next[groups[i]]++] = static_cast<std::uint32_t>(i);
  return columns;
}

/// A size that gives so many parameter columns, for groups that are no runs of equal length.
std::uint64_t covering_size(const Module& module, const HfCheckpoint& checkpoint) {
  const std::int64_t configured = module.config.group_size.value_or(0);
  for (const std::uint64_t size :
       {configured > 0 ? static_cast<std::uint64_t>(configured) : 0, ceil_div(module.inputs, module.groups)})
    if (size != 0 && ceil_div(module.inputs, size) == module.groups) return size;
  fail(checkpoint, *module.parts.scales,
       std::to_string(module.groups) + " groups for " + std::to_string(module.inputs) +
           " inputs: no group size gives that number");
}

/// Decides order and group size by the groups of all inputs; true where g_idx follows from them.
void find_order(Module& module, const std::vector<std::uint32_t>& groups, const HfCheckpoint& checkpoint,
                std::uint64_t& group_size) {
  std::vector<std::uint64_t> counts(module.groups, 0);
  for (const std::uint32_t group : groups) ++counts[group];
  group_size = counts[0];
  bool full = group_size > 0;
  for (std::uint64_t g = 0; g < module.groups && full; ++g)
    full = g * group_size < module.inputs && counts[g] == std::min(group_size, module.inputs - g * group_size);
  if (!full) {
    group_size = covering_size(module, checkpoint);
    module.order = tensor::Order::group_index;
    module.order_plane = groups;
    return;
  }
  if (std::is_sorted(groups.begin(), groups.end())) return;
  module.order = tensor::Order::permutation;
  module.order_plane = sorted_columns(groups, counts);
}

void find_groups(Module& module, const HfCheckpoint& checkpoint, const Config& config, FindingList& findings) {
  const std::string& name = module.parts.name;
  std::uint64_t group_size = 0;
  if (module.parts.group_index == nullptr) {
    group_size = implied_group_size(module, checkpoint, findings);
  } else {
    bool negative = false;
    const std::vector<std::uint32_t> groups = group_indexes(module, checkpoint, negative);
    module.index_is_implied = !negative && module.parts.group_index->type() == DType::i32;
    const bool all_first = std::all_of(groups.begin(), groups.end(), [](std::uint32_t group) { return group == 0; });
    if (module.groups > 1 && all_first) {
      findings.add("g_idx is zero everywhere although there are several groups: read as groups in order", name);
      module.index_is_implied = false;
      group_size = implied_group_size(module, checkpoint, findings);
    } else {
      find_order(module, groups, checkpoint, group_size);
    }
  }
  if (module.order != tensor::Order::identity && config.denies_act_order())
    findings.add("the config says desc_act false, g_idx is in activation order", name);
  const std::int64_t configured = module.config.group_size.value_or(0);
  const bool whole = module.groups == 1 && (configured == -1 || configured >= static_cast<std::int64_t>(module.inputs));
  if (module.config.group_size && !whole && configured != static_cast<std::int64_t>(group_size) &&
      module.parts.group_index != nullptr)
    findings.add(
        "the config says group size " + std::to_string(configured) + ", g_idx says " + std::to_string(group_size),
        name);
  module.block_cols =
      group_block(module.inputs, module.groups,
                  module.groups == 1 ? static_cast<std::uint64_t>(std::max<std::int64_t>(configured, 0)) : group_size);
}

void inspect_marlin(Module& module, const HfCheckpoint& checkpoint) {
  const Stored &codes = *module.parts.codes, &scales = *module.parts.scales;
  module.bits = 4;
  module.inputs = checked_mul(codes.shape()[0], 16, "inputs");
  module.outputs = scales.shape()[1];
  module.groups = scales.shape()[0];
  if (codes.type() != DType::i32 || module.outputs % 64 != 0)
    fail(checkpoint, codes, "Marlin needs i32 and outputs in 64s");
  const std::uint64_t size = module.groups == 1 ? module.inputs : kMarlinGroup;
  if (size * module.groups != module.inputs)
    fail(checkpoint, scales, "expected 1 group or groups of 128 for " + std::to_string(module.inputs) + " inputs");
  module.block_cols = module.groups == 1 ? 0 : static_cast<std::uint32_t>(size);
}

}  // namespace

Module inspect_module(const LinearModule& parts, const HfCheckpoint& checkpoint, const Config& config,
                      FindingList& findings) {
  if (parts.name.ends_with("embed_tokens") || parts.name.ends_with("wte")) {
    throw Error(ErrorKind::unsupported, (checkpoint.directory().root / parts.codes->file->path).string() +
                                            ": tensor '" + parts.codes->name() +
                                            "': embeddings are packed along the tokens, which is not read");
  }
  check_present(checkpoint, parts);
  Module module;
  module.parts = parts;
  module.config = config.of(parts.name);
  if (parts.marlin_names) {
    inspect_marlin(module, checkpoint);
    return module;
  }
  module.word_bits = tensor::bits(parts.codes->type());
  module.outputs = parts.scales->shape()[1];
  module.groups = parts.scales->shape()[0];
  if (const Stored* index = parts.group_index) {
    const bool whole = index->type() == DType::i32 || index->type() == DType::i64;
    if (!whole || index->shape().size() != 1 || index->shape()[0] == 0)
      fail(checkpoint, *index, "expected i32 or i64 [inputs]");
    module.inputs = index->shape()[0];
  }
  if (config.word_bits() != 0 && config.word_bits() != module.word_bits)
    findings.add("the config says pack_dtype int" + std::to_string(config.word_bits()) + ", the words of qweight are " +
                     std::string(tensor::name(parts.codes->type())) + ": read as they are stored",
                 parts.name);
  find_bits(module, checkpoint, findings);
  module.planar = config.label() == ZeroLabel::planar || (32 % module.bits != 0 && module.bits != 3);
  if (module.planar && (module.inputs % 32 != 0 || module.outputs % 32 != 0))
    fail(checkpoint, *parts.codes, "planar codes need inputs and outputs in 32s");
  if (module.groups > module.inputs)
    fail(checkpoint, *parts.scales, "more groups than the " + std::to_string(module.inputs) + " inputs");
  find_groups(module, checkpoint, config, findings);
  return module;
}

ZeroWords zero_words(const Module& module) {
  const std::uint64_t row_bytes = row_bytes_of_words(module.outputs, module.bits, module.word_bits);
  return {module.parts.zeros->bytes().data(), module.groups, module.outputs, row_bytes, module.bits, module.coding};
}

}  // namespace ingot::convert::gptq

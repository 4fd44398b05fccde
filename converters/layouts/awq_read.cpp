#include "converters/layouts/awq_read.h"

#include <algorithm>
#include <cctype>

#include "converters/layouts/awq_planes.h"
#include "converters/layouts/linear_modules.h"
#include "format/base/checked_math.h"

namespace ingot::convert::awq {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;

struct Config {
  std::string version;                     // lower case; empty: none
  std::optional<std::int64_t> group_size;  // -1: one group
  bool zero_point = true;
};

struct Module {
  LinearModule parts;
  AwqForm form = AwqForm::none;
  std::uint64_t inputs = 0, outputs = 0, groups = 0;
  std::uint32_t block_cols = 0;
  [[nodiscard]] const Stored* offsets() const { return parts.zeros != nullptr ? parts.zeros : parts.scaled_zeros; }
};

[[noreturn]] void fail(const HfCheckpoint& checkpoint, const Stored& stored, const std::string& what) {
  std::string shape;
  for (const std::uint64_t extent : stored.shape()) shape += (shape.empty() ? "" : ", ") + std::to_string(extent);
  throw Error(ErrorKind::invalid_value,
              (checkpoint.directory().root / stored.file->path).string() + ": tensor '" + stored.name() + "' " +
                  std::string(tensor::name(stored.type())) + " [" + shape + "]: " + what,
              stored.entry->begin);
}

const Json* first_of(const Json& json, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    const Json* found = json.find(key);
    if (found != nullptr && !found->is_null()) return found;
  }
  return nullptr;
}

Config read_config(const HfCheckpoint& checkpoint, FindingList& findings) {
  Config config;
  const Json* json = checkpoint.quantization();
  if (json == nullptr) return config;
  const std::string where = checkpoint.where() + " quantization config";
  if (const Json* version = first_of(*json, {"version", "checkpoint_format", "format"})) {
    config.version = version->as_string(where + ": version");
    std::transform(config.version.begin(), config.version.end(), config.version.begin(),
                   [](unsigned char c) { return std::tolower(c); });
  }
  if (const Json* size = first_of(*json, {"group_size", "q_group_size"}))
    config.group_size = size->as_i64(where + ": group_size");
  if (const Json* zero_point = first_of(*json, {"zero_point"}))
    config.zero_point = zero_point->as_bool(where + ": zero_point");
  const Json* bits = first_of(*json, {"bits", "w_bit"});
  if (bits != nullptr && bits->as_u64(where + ": bits") != 4)
    findings.add("the config says " + std::to_string(bits->as_u64(where)) + " bits, AWQ packs 4", "");
  return config;
}

/// One group, or groups that divide the inputs: GEMM and Marlin have one row of scales per group.
void find_groups_by_rows(Module& module, const Config& config, const HfCheckpoint& checkpoint, FindingList& findings) {
  module.groups = module.parts.scales->shape()[0];
  if (module.inputs % module.groups != 0) {
    fail(checkpoint, *module.parts.scales,
         std::to_string(module.groups) + " groups do not divide " + std::to_string(module.inputs) + " inputs");
  }
  const std::uint64_t size = module.inputs / module.groups;
  const std::int64_t configured = config.group_size.value_or(0);
  const bool whole = module.groups == 1 && (configured == -1 || configured >= static_cast<std::int64_t>(size));
  if (configured != 0 && !whole && configured != static_cast<std::int64_t>(size))
    findings.add("the config says group size " + std::to_string(configured) + ", the number of scales says " +
                     std::to_string(size),
                 module.parts.name);
  module.block_cols = group_block(module.inputs, module.groups,
                                  size == static_cast<std::uint64_t>(configured) || module.groups > 1 ? size : 0);
}

/// GEMV pads the groups, so that their number follows from the group size alone: the config's where the shapes allow
/// it, else the only one that does.
void find_groups_by_width(Module& module, std::uint64_t padded_groups, const Config& config,
                          const HfCheckpoint& checkpoint, FindingList& findings) {
  const auto fits = [&](std::uint64_t size) {
    return size != 0 && module.inputs % size == 0 && gemv_zeros_width(module.inputs, size) * 8 == padded_groups;
  };
  std::vector<std::uint64_t> sizes;
  for (std::uint64_t size = 32; size < module.inputs && size <= (std::uint64_t{1} << 20); size *= 2)
    if (fits(size)) sizes.push_back(size);
  if (fits(module.inputs)) sizes.push_back(module.inputs);
  const std::int64_t configured = config.group_size.value_or(0);
  const std::uint64_t wanted = configured > 0   ? static_cast<std::uint64_t>(configured)
                               : configured < 0 ? module.inputs
                                                : 0;
  std::uint64_t size = fits(wanted) ? wanted : 0;
  if (size == 0 && sizes.size() == 1) {
    size = sizes.front();
    if (wanted != 0)
      findings.add("the config says group size " + std::to_string(configured) + ", the width of the scales says " +
                       std::to_string(size),
                   module.parts.name);
  }
  if (size == 0) {
    fail(checkpoint, *module.parts.scales,
         std::to_string(padded_groups) + " padded groups for " + std::to_string(module.inputs) +
             " inputs fit several group sizes or none (the config says " + std::to_string(configured) + ")");
  }
  module.groups = module.inputs / size;
  module.block_cols = group_block(module.inputs, module.groups, module.groups > 1 || configured > 0 ? size : 0);
}

void find_shape(Module& module, const Config& config, const HfCheckpoint& checkpoint, FindingList& findings) {
  const tensor::Shape &codes = module.parts.codes->shape(), &scales = module.parts.scales->shape();
  switch (module.form) {
    case AwqForm::gemm:
      module.inputs = codes[0];
      module.outputs = scales[1];
      return find_groups_by_rows(module, config, checkpoint, findings);
    case AwqForm::marlin:
      module.inputs = checked_mul(codes[0], 16, "inputs");
      module.outputs = scales[1];
      if (module.outputs % 64 != 0) fail(checkpoint, *module.parts.codes, "Marlin needs outputs in 64s");
      return find_groups_by_rows(module, config, checkpoint, findings);
    case AwqForm::gemv:
      module.outputs = codes[0];
      module.inputs = checked_mul(codes[1], 8, "inputs");
      return find_groups_by_width(module, scales[1], config, checkpoint, findings);
    case AwqForm::fast:
      module.outputs = scales[1];
      module.inputs = codes[1];
      if (module.inputs % 64 != 0) fail(checkpoint, *module.parts.codes, "GEMV_FAST needs inputs in 64s");
      if (module.offsets()->type() != module.parts.scales->type())
        fail(checkpoint, *module.offsets(), "expected the type of the scales");
      return find_groups_by_width(module, scales[0], config, checkpoint, findings);
    case AwqForm::none: break;
  }
}

std::string_view version_of(AwqForm form) {
  constexpr std::string_view kWords[] = {"", "gemm", "gemv", "gemv_fast", "marlin"};
  return kWords[static_cast<std::size_t>(form)];
}

Module inspect_module(const LinearModule& parts, const Config& config, const HfCheckpoint& checkpoint,
                      FindingList& findings) {
  Module module;
  module.parts = parts;
  if (parts.scales == nullptr) fail(checkpoint, *parts.codes, "has no '" + parts.name + ".scales'");
  for (const Stored* stored : {parts.codes, parts.scales})
    if (stored->entry->size() == 0) fail(checkpoint, *stored, "is empty");
  module.form = awq_form(parts, config.version);
  if (module.form == AwqForm::none)
    fail(checkpoint, *parts.codes, "the shapes of qweight, qzeros and scales are those of no AWQ packing");
  find_shape(module, config, checkpoint, findings);
  const bool comparable = config.version == "gemm" || config.version == "gemv" || config.version == "gemv_fast" ||
                          config.version == "marlin";
  if (comparable && config.version != version_of(module.form)) {
    findings.add(
        "the config says version " + config.version + ", the shapes say " + std::string(version_of(module.form)),
        parts.name);
  }
  return module;
}

/// A config without zero points, and qzeros that are not the constant 8.
void check_zero_point(const Module& module, const Config& config, FindingList& findings) {
  if (config.zero_point || module.form != AwqForm::gemm || module.parts.zeros == nullptr) return;
  const Bytes bytes = module.parts.zeros->bytes();
  if (std::any_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte != std::byte{0x88}; }))
    findings.add("the config says zero_point false, qzeros are not all 8: read as they are stored", module.parts.name);
}

tensor::Scheme scheme_of(const Module& module) {
  tensor::Scheme scheme;
  scheme.codes.type = DType::u4;
  const tensor::Block block{1, module.block_cols};
  scheme.scales = {{.type = module.parts.scales->type(), .block = block}};
  if (module.form == AwqForm::fast) {
    scheme.offset.kind = tensor::OffsetKind::bias;  // -scale * zero, rounded to the type of the scales
    scheme.offset.levels = {{.type = module.offsets()->type(), .block = block}};
  } else if (module.parts.zeros == nullptr) {
    scheme.offset.kind = tensor::OffsetKind::zero;
    scheme.offset.zero = 8;
  } else {
    scheme.offset.kind = tensor::OffsetKind::zero_points;
    scheme.offset.levels = {{.type = DType::u8, .block = block}};
  }
  return scheme;
}

template <class Words>
void load_lines_with(LinearParts& parts, const Words& words) {
  parts.load_lines = [words](std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride) {
    words.load(begin, end, lines, stride);
  };
}
template <class Rows>
std::function<void(std::uint64_t, std::byte*)> loader(const Rows& rows) {
  return [rows](std::uint64_t tile, std::byte* out) { rows.load(tile, out); };
}

/// Names of the parts for pack(), in the order codes, zeros, scales.
struct PartNames {
  std::string codes, zeros, scales;
};

PartNames load_with(LinearParts& parts, const Module& module) {
  const std::byte* codes = module.parts.codes->bytes().data();
  const std::byte* scales = module.parts.scales->bytes().data();
  const std::byte* zeros = module.offsets() != nullptr ? module.offsets()->bytes().data() : nullptr;
  const std::uint64_t scale_bytes = tensor::bits(module.parts.scales->type()) / 8;
  const std::uint64_t inputs = module.inputs, outputs = module.outputs, groups = module.groups;
  switch (module.form) {
    case AwqForm::gemm:
      load_lines_with(parts, GemmWords{codes, inputs, outputs});
      parts.load_scales = loader(GroupRows{scales, groups, outputs, scale_bytes});
      if (zeros != nullptr) parts.load_offsets = loader(GemmZeros{zeros, groups, outputs});
      return {"qweight.gemm", "qzeros.gemm", "scales"};
    case AwqForm::gemv: {
      const std::uint64_t padded = module.parts.scales->shape()[1];
      load_lines_with(parts, GemvWords{codes, inputs, outputs});
      parts.load_scales = loader(GemvParameters{scales, groups, outputs, scale_bytes, padded * scale_bytes});
      parts.load_offsets = loader(GemvParameters{zeros, groups, outputs, 0, padded / 2});
      return {"qweight.gemv", "qzeros.gemv", "scales.gemv"};
    }
    case AwqForm::fast:
      load_lines_with(parts, FastWords{codes, inputs, outputs});
      parts.load_scales = loader(GroupRows{scales, groups, outputs, scale_bytes});
      parts.load_offsets = loader(GroupRows{zeros, groups, outputs, scale_bytes});
      return {"qweight.fast", "qzeros.fast", "scales.fast"};
    default:
      load_lines_with(parts, MarlinWords{codes, inputs, outputs});
      parts.load_scales = loader(MarlinScales{scales, groups, outputs, scale_bytes});
      return {"qweight.marlin", "", "scales.marlin"};
  }
}

CodedTensor coded_tensor(const Module& module) {
  CodedTensor coded;
  coded.tensor.name = module.parts.name + ".weight";
  coded.tensor.shape = {module.outputs, module.inputs};
  coded.tensor.scheme = scheme_of(module);
  coded.tensor.packing = tensor::canonical_packing(coded.tensor.shape, coded.tensor.scheme);
  LinearParts parts;
  const PartNames names = load_with(parts, module);
  coded.parts.push_back({module.parts.codes->name(), names.codes});
  if (module.offsets() != nullptr) coded.parts.push_back({module.offsets()->name(), names.zeros});
  coded.parts.push_back({module.parts.scales->name(), names.scales});
  for (const Stored* stored : {module.parts.codes, module.parts.scales, module.offsets()}) {
    if (stored == nullptr) continue;
    parts.files.push_back(stored->file->mapping);
    parts.ranges.push_back(stored->bytes());
  }
  coded.tensor.planes = linear_planes(coded.tensor, std::move(parts));
  return coded;
}

}  // namespace

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions&) {
  FindingList findings;
  const Config config = read_config(checkpoint, findings);
  CodedTensors coded;
  for (const LinearModule& parts : linear_modules(checkpoint)) {
    const Module module = inspect_module(parts, config, checkpoint, findings);
    check_zero_point(module, config, findings);
    coded.tensors.push_back(coded_tensor(module));
  }
  coded.findings = findings.sentences();
  return coded;
}

}  // namespace ingot::convert::awq

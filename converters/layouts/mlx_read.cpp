#include "converters/layouts/mlx_read.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "converters/layouts/linear_modules.h"
#include "converters/layouts/row_planes.h"
#include "format/base/checked_math.h"

namespace ingot::convert::mlx {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;

constexpr std::array<FloatMode, 3> kFloatModes = {{{"mxfp4", 32, DType::e2m1, DType::e8m0},
                                                   {"mxfp8", 32, DType::e4m3, DType::e8m0},
                                                   {"nvfp4", 16, DType::e2m1, DType::e4m3}}};
constexpr std::array<std::uint64_t, 3> kGroupSizes = {32, 64, 128};
constexpr std::string_view kWeight = ".weight";

struct Module {
  std::string name;  // "model.layers.0.mlp.up_proj"
  const Stored *weight = nullptr, *scales = nullptr, *biases = nullptr;
  std::uint64_t words = 0, groups = 0;  // columns of weight and scales
};

std::string shape_text(const tensor::Shape& shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

[[noreturn]] void fail(const Stored& stored, const std::string& why) {
  throw Error(ErrorKind::mismatch, stored.file->path + ": tensor '" + stored.name() + "' " +
                                       std::string(tensor::name(stored.type())) + " " + shape_text(stored.shape()) +
                                       " at byte " + std::to_string(stored.entry->begin) + ": " + why);
}

bool is_float(const Stored& stored) {
  return stored.type() == DType::f16 || stored.type() == DType::bf16 || stored.type() == DType::f32;
}

std::vector<Module> modules_of(const HfCheckpoint& checkpoint) {
  std::vector<Module> modules;
  for (const Stored& stored : checkpoint.tensors()) {
    if (stored.type() != DType::u32 || !stored.name().ends_with(kWeight)) continue;
    Module module;
    module.name = stored.name().substr(0, stored.name().size() - kWeight.size());
    module.weight = &stored;
    module.scales = checkpoint.find(module.name + ".scales");
    module.biases = checkpoint.find(module.name + ".biases");
    if (module.scales != nullptr) modules.push_back(std::move(module));
  }
  return modules;
}

void check_shapes(Module& module, const HfCheckpoint& checkpoint) {
  const Stored &weight = *module.weight, &scales = *module.scales;
  if (weight.shape().size() < 2) fail(weight, "packed codes need two or more dimensions");
  for (const std::uint64_t extent : weight.shape())
    if (extent == 0) fail(weight, "empty");
  const bool same_rows = weight.shape().size() == scales.shape().size() &&
                         std::equal(weight.shape().begin(), weight.shape().end() - 1, scales.shape().begin());
  if (!same_rows || scales.shape().back() == 0)
    fail(scales, "expected the rows of '" + weight.name() + "' " + shape_text(weight.shape()));
  if (!is_float(scales) && scales.type() != DType::u8) fail(scales, "expected f16, bf16, f32 or u8");
  if (is_float(scales) && module.biases == nullptr)
    fail(scales, "affine scales need a tensor '" + module.name + ".biases'");
  if (module.biases != nullptr) {
    if (!is_float(scales)) fail(*module.biases, "scales of type u8 go with no biases");
    if (!is_float(*module.biases)) fail(*module.biases, "expected f16, bf16 or f32");
    if (module.biases->shape() != scales.shape())
      fail(*module.biases, "expected the shape of the scales, " + shape_text(scales.shape()));
  }
  if (const Stored* global = checkpoint.find(module.name + ".global_scale"))
    throw Error(ErrorKind::unsupported, global->file->path + ": tensor '" + global->name() +
                                            "': nvfp4 with a global scale is not read from MLX checkpoints");
  module.words = weight.shape().back();
  module.groups = scales.shape().back();
}

// --- Group size and bits: the shapes give their product, the config both ---------------------------------------------
const Json* settings_of(const HfCheckpoint& checkpoint) {
  const Json* config = checkpoint.config();
  for (const Json* place : {config, config != nullptr ? config->find("text_config") : nullptr}) {
    const Json* found = place != nullptr ? place->find("quantization") : nullptr;
    if (found != nullptr && found->is_object()) return found;
  }
  return checkpoint.quantization();
}

/// mlx-lm writes the same under both names.
bool has_two_settings(const HfCheckpoint& checkpoint) {
  const Json* const used = settings_of(checkpoint);
  const Json* const other = checkpoint.config() != nullptr ? checkpoint.config()->find("quantization_config") : nullptr;
  if (used == nullptr || other == nullptr || !other->is_object()) return false;
  for (const std::string_view key : {"bits", "group_size", "mode"}) {
    const Json *const a = used->find(key), *const b = other->find(key);
    if (a != nullptr && b != nullptr && !(*a == *b)) return true;
  }
  return false;
}

std::optional<std::uint64_t> count_in(const Json& json, std::string_view key) {
  const Json* found = json.find(key);
  if (found == nullptr || !found->is_integer()) return std::nullopt;
  const double value = found->as_double(key);
  if (value < 1 || value > 1e15) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

Sizes sizes_in(const Json& json) {
  Sizes sizes;
  if (const Json* mode = json.find("mode"); mode != nullptr && mode->is_string()) sizes.mode = mode->as_string("mode");
  for (const FloatMode& row : kFloatModes)
    if (row.mode == sizes.mode) sizes = {sizes.mode, row.group_size, tensor::bits(row.code)};
  sizes.group_size = count_in(json, "group_size").value_or(sizes.group_size);
  sizes.bits = count_in(json, "bits").value_or(sizes.bits);
  return sizes;
}

std::string sizes_text(const Sizes& sizes) {
  return sizes.mode + " " + std::to_string(sizes.bits) + "-bit in groups of " + std::to_string(sizes.group_size);
}

/// Numbers in the config that a matrix could have as its input size.
std::set<std::uint64_t> input_sizes(const HfCheckpoint& checkpoint) {
  std::set<std::uint64_t> sizes;
  const Json* config = checkpoint.config();
  for (const Json* place : {config, config != nullptr ? config->find("text_config") : nullptr}) {
    if (place == nullptr || !place->is_object()) continue;
    for (const auto& [key, value] : place->as_object("config.json"))
      if (const auto count = count_in(*place, key)) sizes.insert(*count);
    const auto heads = count_in(*place, "num_attention_heads"), width = count_in(*place, "head_dim");
    if (heads && width && *heads < (1u << 20) && *width < (1u << 20)) sizes.insert(*heads * *width);
  }
  return sizes;
}

constexpr int kPartsOfParts = 4;  // how deep the parts of a composed model's config lie, at most

void add_hidden_sizes(const Json& place, int depth, std::set<std::uint64_t>& sizes) {
  if (!place.is_object() || depth > kPartsOfParts) return;
  if (const auto size = count_in(place, "hidden_size")) sizes.insert(*size);
  for (const auto& [key, value] : place.as_object("config.json")) add_hidden_sizes(value, depth + 1, sizes);
}

/// What the config calls the width of the hidden states, in itself and in the parts of a composed model.
std::set<std::uint64_t> hidden_sizes(const HfCheckpoint& checkpoint) {
  std::set<std::uint64_t> sizes;
  if (checkpoint.config() != nullptr) add_hidden_sizes(*checkpoint.config(), 0, sizes);
  return sizes;
}

/// Modules whose input is the hidden state, by the names of the usual decoders.
bool takes_hidden_state(std::string_view module) {
  constexpr std::array<std::string_view, 6> kNames = {"embed_tokens", ".q_proj",    ".k_proj",
                                                      ".v_proj",      ".gate_proj", ".up_proj"};
  return std::any_of(kNames.begin(), kNames.end(), [&](std::string_view name) { return module.ends_with(name); });
}

class SizeFinder {
 public:
  SizeFinder(const HfCheckpoint& checkpoint, const std::vector<Module>& modules, bool trust_config)
      : settings_(settings_of(checkpoint)), inputs_(input_sizes(checkpoint)), trust_config_(trust_config) {
    is_refuted_ = !trust_config && contradicts_widths(modules, hidden_sizes(checkpoint));
  }

  [[nodiscard]] Sizes find(const Module& module, FindingList& findings) const {
    const Configured configured = configured_for(module);
    if (configured.off) findings.add("the config says not quantized, the tensors are", module.name);
    const Sizes found = module.biases != nullptr ? affine(module, configured) : floating(module);
    if (configured.given && !(found == configured.sizes)) {
      findings.add("the config says " + sizes_text(configured.sizes) + ", the tensors are " + sizes_text(found),
                   module.name);
    }
    return found;
  }

 private:
  struct Configured {
    Sizes sizes;
    bool given = false, off = false, own = false;
  };
  /// Does the common entry give no module that takes the hidden state the width of one? Two wrong numbers may have the
  /// product that the shapes tell.
  [[nodiscard]] bool contradicts_widths(const std::vector<Module>& modules,
                                        const std::set<std::uint64_t>& widths) const {
    bool any = false;
    for (const Module& module : modules) {
      if (module.biases == nullptr || widths.empty() || !takes_hidden_state(module.name)) continue;
      const Configured configured = configured_for(module);
      if (!configured.given || configured.own || configured.off) continue;
      if (configured.sizes.group_size > std::numeric_limits<std::uint32_t>::max()) continue;
      if (widths.contains(module.groups * configured.sizes.group_size)) return false;
      any = true;
    }
    return any;
  }
  /// The module's own entry where there is one; else the tensors are judged by the common entry.
  [[nodiscard]] Configured configured_for(const Module& module) const {
    Configured configured;
    if (settings_ == nullptr) return configured;
    const Json* own = settings_->find(module.name);
    configured.off = own != nullptr && own->is_bool() && !own->as_bool(module.name);
    const bool own_sizes = own != nullptr && own->is_object();
    configured.own = own_sizes;
    configured.sizes = sizes_in(own_sizes ? *own : *settings_);
    configured.given = own_sizes || settings_->find("group_size") != nullptr || settings_->find("bits") != nullptr;
    return configured;
  }

  [[nodiscard]] static Sizes floating(const Module& module) {
    for (const FloatMode& row : kFloatModes) {
      const std::uint64_t bits = tensor::bits(row.code);
      if (module.words % module.groups == 0 && module.words / module.groups * 32 == row.group_size * bits)
        return {std::string(row.mode), row.group_size, bits};
    }
    fail(*module.weight, "fits no mode with " + std::to_string(module.groups) + " byte scales per row");
  }

  [[nodiscard]] Sizes affine(const Module& module, const Configured& configured) const {
    const std::uint64_t row_bits = checked_mul(module.words, 32, "bits of a row");
    const std::uint64_t group_bits = row_bits / module.groups;
    const std::string product = "groups of " + std::to_string(group_bits) + " bits";
    if (row_bits % module.groups != 0)
      fail(*module.weight, "rows do not divide into " + std::to_string(module.groups) + " groups");
    const Sizes& wanted = configured.sizes;
    const bool legal = wanted.mode == "affine" && code_type(wanted.bits) && group_bits % wanted.bits == 0 &&
                       group_bits / wanted.bits == wanted.group_size;
    if (legal && (trust_config_ || (configured.given && (configured.own || !is_refuted_)))) return wanted;
    std::vector<Sizes> candidates;
    for (const std::uint64_t group_size : kGroupSizes) {
      const std::uint64_t bits = group_bits / group_size;
      if (group_bits % group_size == 0 && code_type(bits)) candidates.push_back({"affine", group_size, bits});
    }
    if (candidates.empty()) fail(*module.weight, product + " fit no number of bits and no group size of MLX");
    if (candidates.size() > 1)
      std::erase_if(candidates,
                    [&](const Sizes& sizes) { return !inputs_.contains(module.groups * sizes.group_size); });
    if (candidates.size() != 1) {
      fail(*module.weight,
           product + " can be " + (candidates.empty() ? "no size of the config" : "several sizes") +
               (configured.given ? "; the config says " + sizes_text(wanted) + " (convert --trust-config takes them)"
                                 : ", and no config says which (convert --trust-config takes the usual " +
                                       sizes_text(wanted) + ")"));
    }
    return candidates.front();
  }

  const Json* settings_;
  std::set<std::uint64_t> inputs_;
  bool trust_config_, is_refuted_ = false;
};

// --- Tensors ---------------------------------------------------------------------------------------------------------
tensor::Scheme scheme_of(const Module& module, const Sizes& sizes) {
  tensor::Scheme scheme;
  const tensor::Block block{1, static_cast<std::uint32_t>(sizes.group_size)};
  if (module.biases != nullptr) {
    scheme.codes.type = code_type(sizes.bits).value();
    scheme.scales = {{.type = module.scales->type(), .block = block}};
    scheme.offset.kind = tensor::OffsetKind::bias;
    scheme.offset.levels = {{.type = module.biases->type(), .block = block}};
    return scheme;
  }
  const auto row = std::find_if(kFloatModes.begin(), kFloatModes.end(),
                                [&](const FloatMode& mode) { return mode.mode == sizes.mode; });
  scheme.codes.type = row->code;
  scheme.scales = {{.type = row->scale, .block = block}};
  return scheme;
}

RowPart part_of(const Stored& stored) { return {stored.bytes(), stored.file->mapping}; }

CodedTensor coded_tensor(const Module& module, const Sizes& sizes) {
  if (sizes.group_size > std::numeric_limits<std::uint32_t>::max())
    fail(*module.scales, "group size " + std::to_string(sizes.group_size) + ", limit 2^32 - 1");
  CodedTensor coded;
  coded.tensor.name = module.weight->name();
  coded.tensor.shape = module.weight->shape();
  coded.tensor.shape.back() = module.groups * sizes.group_size;
  coded.tensor.scheme = scheme_of(module, sizes);
  coded.tensor.packing = tensor::canonical_packing(coded.tensor.shape, coded.tensor.scheme);
  coded.parts = {{module.weight->name(), "codes"}, {module.scales->name(), "scales"}};
  RowParts parts;
  parts.codes = part_of(*module.weight);
  parts.others.push_back(part_of(*module.scales));
  if (module.biases != nullptr) {
    coded.parts.push_back({module.biases->name(), "biases"});
    parts.others.push_back(part_of(*module.biases));
  }
  coded.tensor.planes = row_planes(coded.tensor, std::move(parts));
  return coded;
}

}  // namespace

std::span<const FloatMode> float_modes() noexcept { return kFloatModes; }

std::optional<DType> code_type(std::uint64_t bits) noexcept {
  switch (bits) {
    case 2: return DType::u2;
    case 3: return DType::u3;
    case 4: return DType::u4;
    case 5: return DType::u5;
    case 6: return DType::u6;
    case 8: return DType::u8;
    default: return std::nullopt;
  }
}

bool claims(const HfCheckpoint& checkpoint) { return !modules_of(checkpoint).empty(); }

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions& options) {
  CodedTensors result;
  std::vector<Module> modules = modules_of(checkpoint);
  for (Module& module : modules) check_shapes(module, checkpoint);
  const SizeFinder sizes(checkpoint, modules, options.trust_config);
  FindingList findings;
  if (has_two_settings(checkpoint))
    findings.add(
        "config.json says one thing under quantization and another under quantization_config: the first counts", "");
  for (const Module& module : modules) result.tensors.push_back(coded_tensor(module, sizes.find(module, findings)));
  result.findings = findings.sentences();
  return result;
}

}  // namespace ingot::convert::mlx
